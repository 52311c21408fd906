-- Archives, the handles of calls, and what of resources and backups can be asked for since then.

CREATE TABLE archives (
    id              TEXT PRIMARY KEY,
    tenant          TEXT NOT NULL REFERENCES tenants (id),
    created_at      INTEGER NOT NULL,
    updated_at      INTEGER NOT NULL,
    "key"           TEXT UNIQUE,        -- policy and resource, as long as it is not deleted
    rev             INTEGER NOT NULL,
    name            TEXT,
    resource        TEXT,
    policy          TEXT,
    repository      TEXT,
    ended_at        INTEGER,
    body            TEXT NOT NULL
) STRICT;
CREATE INDEX archives_of_resource ON archives (resource);

CREATE TABLE operations (
    id              TEXT PRIMARY KEY,
    tenant          TEXT NOT NULL REFERENCES tenants (id),
    created_at      INTEGER NOT NULL,
    updated_at      INTEGER NOT NULL,
    "key"           TEXT UNIQUE,        -- of the caller who may repeat the call
    rev             INTEGER NOT NULL,
    kind            TEXT,
    resource        TEXT,
    body            TEXT NOT NULL
) STRICT;
CREATE INDEX operations_of_resource ON operations (resource, created_at);
CREATE INDEX operations_by_time ON operations (created_at);

ALTER TABLE resources ADD COLUMN external INTEGER NOT NULL DEFAULT 0;
ALTER TABLE resources ADD COLUMN ended_at INTEGER;
CREATE INDEX resources_of_tenant ON resources (tenant, created_at);

ALTER TABLE backups ADD COLUMN archive TEXT;
ALTER TABLE backups ADD COLUMN ended_at INTEGER;
ALTER TABLE backups ADD COLUMN resource_kind TEXT;
ALTER TABLE backups ADD COLUMN external INTEGER NOT NULL DEFAULT 0;
-- The backups of one policy and resource are one archive, also where the policy was taken away and applied anew between.
UPDATE backups SET archive = json_extract((
    SELECT newest.body FROM backups newest
    WHERE newest.policy IS backups.policy AND newest.resource = backups.resource
    ORDER BY newest.created_at DESC, newest.id DESC LIMIT 1
), '$.archive') WHERE policy IS NOT NULL;
UPDATE backups SET archive = json_extract(body, '$.archive') WHERE policy IS NULL;
UPDATE backups SET resource_kind = (SELECT kind FROM resources WHERE resources.id = backups.resource);
UPDATE backups SET body = json_set(body, '$.archive', archive, '$.resource_kind', resource_kind);
CREATE INDEX backups_of_archive ON backups (archive);
CREATE INDEX backups_of_policy ON backups (policy);

-- Until now an archive was known by its backups alone. It has the names of its newest backup.
INSERT INTO archives (id, tenant, created_at, updated_at, "key", rev, name, resource, policy, repository, body)
SELECT archive, tenant, first_made, updated_at, policy || '/' || resource, rev, title, resource, policy, repository,
       json_object('id', archive, 'tenant', tenant, 'name', title, 'resource', resource, 'resource_name', name,
                   'policy', policy, 'policy_name', policy_name, 'repository', repository, 'damaged', json('false'),
                   'last_seen_at', last_at, 'created_at', first_at, 'updated_at', changed_at, 'deleted_at', NULL)
FROM (
    SELECT b.*, coalesce(p.name, '') AS policy_name, b.name || '-' || b.policy || '-' || b.archive || 'A' AS title,
           json_extract(b.body, '$.created_at') AS last_at, json_extract(b.body, '$.updated_at') AS changed_at,
           first_value(b.created_at) OVER earlier AS first_made,
           first_value(json_extract(b.body, '$.created_at')) OVER earlier AS first_at,
           row_number() OVER (PARTITION BY b.archive ORDER BY b.created_at DESC, b.id DESC) AS place
    FROM backups b LEFT JOIN policies p ON p.id = b.policy
    WHERE b.policy IS NOT NULL
    WINDOW earlier AS (PARTITION BY b.archive ORDER BY b.created_at, b.id
                       ROWS BETWEEN UNBOUNDED PRECEDING AND UNBOUNDED FOLLOWING)
) WHERE place = 1;
