-- Keys under which programs sign, and tokens without a record that are no longer accepted.

CREATE TABLE client_keys (
    id              TEXT PRIMARY KEY,
    tenant          TEXT NOT NULL REFERENCES tenants (id),
    created_at      INTEGER NOT NULL,
    updated_at      INTEGER NOT NULL,
    "key"           TEXT UNIQUE,
    rev             INTEGER NOT NULL,
    actor           TEXT,               -- the program
    ended_at        INTEGER,
    body            TEXT NOT NULL
) STRICT;
CREATE INDEX client_keys_of_client ON client_keys (actor);

CREATE TABLE revocations (
    id              TEXT PRIMARY KEY,
    tenant          TEXT NOT NULL REFERENCES tenants (id),
    created_at      INTEGER NOT NULL,
    updated_at      INTEGER NOT NULL,
    "key"           TEXT UNIQUE,
    rev             INTEGER NOT NULL,
    ended_at        INTEGER,            -- when the token expires by itself
    body            TEXT NOT NULL
) STRICT;
CREATE INDEX revocations_by_end ON revocations (ended_at);
