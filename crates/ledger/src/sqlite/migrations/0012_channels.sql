-- Who is told when something fails, is missed or goes well again, and how far the telling is.

CREATE TABLE channels (
    id              TEXT PRIMARY KEY,
    tenant          TEXT NOT NULL REFERENCES tenants (id),
    created_at      INTEGER NOT NULL,
    updated_at      INTEGER NOT NULL,
    "key"           TEXT UNIQUE,        -- the tenant and the name
    rev             INTEGER NOT NULL,
    name            TEXT,
    kind            TEXT,
    body            TEXT NOT NULL
) STRICT;
