-- Who can ask for access, the keys that sign what they are given, and who did what.

CREATE TABLE users (
    id              TEXT PRIMARY KEY,
    tenant          TEXT NOT NULL REFERENCES tenants (id),
    created_at      INTEGER NOT NULL,
    updated_at      INTEGER NOT NULL,
    "key"           TEXT UNIQUE,        -- the login, folded
    rev             INTEGER NOT NULL,
    name            TEXT,
    ended_at        INTEGER,
    body            TEXT NOT NULL
) STRICT;

CREATE TABLE clients (
    id              TEXT PRIMARY KEY,
    tenant          TEXT NOT NULL REFERENCES tenants (id),
    created_at      INTEGER NOT NULL,
    updated_at      INTEGER NOT NULL,
    "key"           TEXT UNIQUE,
    rev             INTEGER NOT NULL,
    name            TEXT,
    ended_at        INTEGER,
    body            TEXT NOT NULL
) STRICT;

CREATE TABLE signing_keys (
    id              TEXT PRIMARY KEY,
    tenant          TEXT NOT NULL REFERENCES tenants (id),
    created_at      INTEGER NOT NULL,
    updated_at      INTEGER NOT NULL,
    "key"           TEXT UNIQUE,
    rev             INTEGER NOT NULL,
    ended_at        INTEGER,
    body            TEXT NOT NULL
) STRICT;

CREATE TABLE audit (
    id              TEXT PRIMARY KEY,
    tenant          TEXT NOT NULL REFERENCES tenants (id),
    created_at      INTEGER NOT NULL,
    updated_at      INTEGER NOT NULL,
    "key"           TEXT UNIQUE,
    rev             INTEGER NOT NULL,
    name            TEXT,               -- of the credential
    kind            TEXT,               -- what was done
    actor           TEXT,
    object          TEXT,
    body            TEXT NOT NULL
) STRICT;
CREATE INDEX audit_of_tenant ON audit (tenant);

-- Who is below a tenant is asked for each tenant of a list.
CREATE INDEX tenants_of_parent ON tenants (parent);

-- One machine occurs with its id in both letter cases; asking for it must find both.
DROP INDEX tasks_of_resource;
CREATE INDEX tasks_of_resource ON tasks (resource_id COLLATE NOCASE) WHERE resource_id IS NOT NULL;
