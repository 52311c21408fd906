-- What was taken out of backups to be fetched; and which agent made a backup, and when one goes that has an end of its own.

CREATE TABLE restored_files (
    id              TEXT PRIMARY KEY,
    tenant          TEXT NOT NULL REFERENCES tenants (id),
    created_at      INTEGER NOT NULL,
    updated_at      INTEGER NOT NULL,
    "key"           TEXT UNIQUE,        -- the task that fetches it
    rev             INTEGER NOT NULL,
    name            TEXT,
    resource        TEXT,
    expires_at      INTEGER,            -- none until it is there
    body            TEXT NOT NULL
) STRICT;
CREATE INDEX restored_files_by_end ON restored_files (expires_at);

ALTER TABLE backups ADD COLUMN agent TEXT;
ALTER TABLE backups ADD COLUMN expires_at INTEGER;
UPDATE backups SET agent = (SELECT agent FROM resources WHERE resources.id = backups.resource);
UPDATE backups SET body = json_set(body, '$.agent', agent) WHERE agent IS NOT NULL;
CREATE INDEX backups_by_end ON backups (expires_at) WHERE expires_at IS NOT NULL;
CREATE INDEX backups_by_time ON backups (created_at, id);
