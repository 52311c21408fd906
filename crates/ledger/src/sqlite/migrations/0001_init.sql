-- The ledger. Times are nanoseconds since 1970, UTC; uuids are lower-case text; states, priorities and results are
-- numbers in the order of the documentation (the view `task_list` has their names); empty text is stored as NULL.

-- What has been given out so far, in the one row there is.
CREATE TABLE counters (
    one             INTEGER PRIMARY KEY CHECK (one = 1),
    rev             INTEGER NOT NULL,   -- the newest revision
    stamp           INTEGER NOT NULL,   -- the latest time of a change
    last_task       INTEGER NOT NULL,
    last_activity   INTEGER NOT NULL
) STRICT;
INSERT INTO counters VALUES (1, 0, 0, 0, 0);

CREATE TABLE tenants (
    id              TEXT PRIMARY KEY,
    tenant          TEXT NOT NULL CHECK (tenant = id),
    created_at      INTEGER NOT NULL,
    updated_at      INTEGER NOT NULL,
    "key"           TEXT UNIQUE,
    rev             INTEGER NOT NULL,
    name            TEXT,
    number          INTEGER NOT NULL UNIQUE,
    parent          TEXT REFERENCES tenants (id),
    locator         TEXT NOT NULL UNIQUE CHECK (locator LIKE '/%/'),
    body            TEXT NOT NULL
) STRICT;

CREATE TABLE resources (
    id              TEXT PRIMARY KEY,
    tenant          TEXT NOT NULL REFERENCES tenants (id),
    created_at      INTEGER NOT NULL,
    updated_at      INTEGER NOT NULL,
    "key"           TEXT UNIQUE,
    rev             INTEGER NOT NULL,
    name            TEXT,
    kind            TEXT,
    instance_id     TEXT,
    agent           TEXT,
    body            TEXT NOT NULL
) STRICT;

CREATE TABLE policies (
    id              TEXT PRIMARY KEY,
    tenant          TEXT NOT NULL REFERENCES tenants (id),
    created_at      INTEGER NOT NULL,
    updated_at      INTEGER NOT NULL,
    "key"           TEXT UNIQUE,
    rev             INTEGER NOT NULL,
    name            TEXT,
    kind            TEXT,
    repository      TEXT,
    body            TEXT NOT NULL
) STRICT;

CREATE TABLE applications (
    id              TEXT PRIMARY KEY,
    tenant          TEXT NOT NULL REFERENCES tenants (id),
    created_at      INTEGER NOT NULL,
    updated_at      INTEGER NOT NULL,
    "key"           TEXT UNIQUE,
    rev             INTEGER NOT NULL,
    policy          TEXT,
    resource        TEXT,
    next_run_at     INTEGER,
    body            TEXT NOT NULL
) STRICT;
CREATE INDEX applications_due ON applications (next_run_at) WHERE next_run_at IS NOT NULL;
CREATE INDEX applications_of_resource ON applications (resource);

CREATE TABLE agents (
    id              TEXT PRIMARY KEY,
    tenant          TEXT NOT NULL REFERENCES tenants (id),
    created_at      INTEGER NOT NULL,
    updated_at      INTEGER NOT NULL,
    "key"           TEXT UNIQUE,
    rev             INTEGER NOT NULL,
    name            TEXT,
    body            TEXT NOT NULL
) STRICT;

CREATE TABLE repositories (
    id              TEXT PRIMARY KEY,
    tenant          TEXT NOT NULL REFERENCES tenants (id),
    created_at      INTEGER NOT NULL,
    updated_at      INTEGER NOT NULL,
    "key"           TEXT UNIQUE,
    rev             INTEGER NOT NULL,
    name            TEXT,
    body            TEXT NOT NULL
) STRICT;

CREATE TABLE backups (
    id              TEXT PRIMARY KEY,
    tenant          TEXT NOT NULL REFERENCES tenants (id),
    created_at      INTEGER NOT NULL,
    updated_at      INTEGER NOT NULL,
    "key"           TEXT UNIQUE,
    rev             INTEGER NOT NULL,
    name            TEXT,
    kind            TEXT,
    resource        TEXT,
    policy          TEXT,
    repository      TEXT,
    task            INTEGER,            -- no reference: backups outlive their tasks
    body            TEXT NOT NULL
) STRICT;
CREATE INDEX backups_of_resource ON backups (resource);

CREATE TABLE tokens (
    id              TEXT PRIMARY KEY,
    tenant          TEXT NOT NULL REFERENCES tenants (id),
    created_at      INTEGER NOT NULL,
    updated_at      INTEGER NOT NULL,
    "key"           TEXT UNIQUE,        -- the SHA-256 of the secret
    rev             INTEGER NOT NULL,
    name            TEXT,
    kind            TEXT,
    ended_at        INTEGER,
    body            TEXT NOT NULL
) STRICT;

-- What was wished: written once, never changed.
CREATE TABLE tasks (
    id                  INTEGER PRIMARY KEY,
    uuid                TEXT NOT NULL UNIQUE,
    type                TEXT NOT NULL,
    seeding             INTEGER NOT NULL CHECK (seeding IN (0, 1)),
    queue               TEXT NOT NULL,
    priority            INTEGER NOT NULL CHECK (priority BETWEEN 0 AND 4),
    argument            TEXT,
    context             TEXT,
    tags                TEXT,           -- a JSON array
    workflow_id         INTEGER,
    tenant              TEXT NOT NULL REFERENCES tenants (id),
    issuer_id           TEXT,
    issuer_cluster_id   TEXT,
    started_by          TEXT,
    policy_id           TEXT,
    policy_type         TEXT,
    policy_name         TEXT,
    resource_id         TEXT,
    resource_type       TEXT,
    resource_name       TEXT,
    parent_entity       TEXT,           -- JSON
    affinity_agent      TEXT,
    affinity_cluster    TEXT,
    cancellable         INTEGER NOT NULL CHECK (cancellable IN (0, 1)),
    sustainable         INTEGER NOT NULL CHECK (sustainable IN (0, 1)),
    max_assign_count    INTEGER NOT NULL,
    heartbeat_interval  TEXT,           -- durations as people write them: 1h 30m
    ack_timeout         TEXT NOT NULL,
    queue_timeout       TEXT,
    exec_timeout        TEXT,
    life_time           TEXT,
    created_at          INTEGER NOT NULL
) STRICT;
CREATE INDEX tasks_of_tenant ON tasks (tenant);
CREATE INDEX tasks_of_resource ON tasks (resource_id) WHERE resource_id IS NOT NULL;

-- Where it is: small, and written again with each change.
CREATE TABLE task_status (
    id                  INTEGER PRIMARY KEY REFERENCES tasks (id) ON DELETE CASCADE,
    rev                 INTEGER NOT NULL,
    -- Copied from `tasks`, so that the index below serves the hand-out alone.
    queue               TEXT NOT NULL,
    priority            INTEGER NOT NULL,
    affinity_agent      TEXT,
    state               INTEGER NOT NULL CHECK (state BETWEEN 0 AND 4),
    assign_count        INTEGER NOT NULL CHECK (assign_count >= 0),
    cancel_requested    INTEGER NOT NULL CHECK (cancel_requested IN (0, 1)),
    executor_id         TEXT,
    executor_cluster_id TEXT,
    lease               TEXT,
    last_report_at      INTEGER,
    enqueued_at         INTEGER NOT NULL,
    assigned_at         INTEGER,
    started_at          INTEGER,
    updated_at          INTEGER NOT NULL,
    completed_at        INTEGER,
    deleted_at          INTEGER,
    deadline            INTEGER,        -- when its next timer runs out
    progress            TEXT,           -- JSON
    blockers            TEXT,           -- a JSON array
    result_code         INTEGER CHECK (result_code BETWEEN 0 AND 5),
    result              TEXT,           -- JSON
    CHECK ((state = 4) = (completed_at IS NOT NULL)),
    CHECK ((state = 4) = (result_code IS NOT NULL)),
    CHECK ((result_code IS NULL) = (result IS NULL)),
    CHECK ((state IN (1, 2, 3)) = (last_report_at IS NOT NULL)),
    CHECK (state NOT IN (1, 2, 3) OR (lease IS NOT NULL AND assigned_at IS NOT NULL)),
    CHECK (state NOT IN (2, 3) OR started_at IS NOT NULL),
    CHECK (state <> 0 OR (lease IS NULL AND assigned_at IS NULL AND started_at IS NULL)),
    CHECK (state = 4 OR deleted_at IS NULL),
    CHECK (state <> 4 OR deadline IS NULL)
) STRICT;
CREATE INDEX task_status_rev ON task_status (rev);
CREATE INDEX task_status_waiting ON task_status (queue, affinity_agent, priority DESC, id) WHERE state = 0;
CREATE INDEX task_status_open ON task_status (state) WHERE state < 4;
CREATE INDEX task_status_deadline ON task_status (deadline) WHERE deadline IS NOT NULL;
CREATE INDEX task_status_deleted ON task_status (deleted_at) WHERE deleted_at IS NOT NULL;

-- Steps of tasks. A root shows its task, so nothing of it but its identity is stored.
CREATE TABLE activities (
    id                  INTEGER PRIMARY KEY,
    uuid                TEXT NOT NULL UNIQUE,
    task                INTEGER NOT NULL REFERENCES tasks (id) ON DELETE CASCADE,
    root                INTEGER NOT NULL CHECK (root IN (0, 1)),
    created_at          INTEGER NOT NULL,
    type                TEXT,
    parent              INTEGER,
    sustainable         INTEGER CHECK (sustainable IN (0, 1)),
    tags                TEXT,           -- a JSON array
    context             TEXT,
    state               INTEGER CHECK (state IN (0, 2, 3, 4)),
    executor_id         TEXT,
    executor_cluster_id TEXT,
    progress            TEXT,           -- JSON
    started_at          INTEGER,
    completed_at        INTEGER,
    result_code         INTEGER CHECK (result_code BETWEEN 0 AND 5),
    result              TEXT,           -- JSON
    updated_at          INTEGER,
    CHECK (root = (state IS NULL)),
    CHECK (root = (type IS NULL)),
    CHECK (root = (sustainable IS NULL)),
    CHECK (root = (updated_at IS NULL)),
    CHECK ((state IS 4) = (completed_at IS NOT NULL)),
    CHECK ((state IS 4) = (result_code IS NOT NULL)),
    CHECK ((result_code IS NULL) = (result IS NULL)),
    CHECK (state IS NULL OR state NOT IN (2, 3) OR started_at IS NOT NULL)
) STRICT;
CREATE INDEX activities_of_task ON activities (task);
CREATE UNIQUE INDEX activities_root ON activities (task) WHERE root = 1;

-- For people with sqlite3.
CREATE VIEW task_list AS
SELECT
    t.id, t.uuid, t.type,
    CASE s.state WHEN 0 THEN 'enqueued' WHEN 1 THEN 'assigned' WHEN 2 THEN 'started' WHEN 3 THEN 'paused'
        ELSE 'completed' END AS state,
    CASE s.result_code WHEN 0 THEN 'ok' WHEN 1 THEN 'error' WHEN 2 THEN 'warning' WHEN 3 THEN 'cancelled'
        WHEN 4 THEN 'abandoned' WHEN 5 THEN 'timedout' END AS result,
    s.result ->> '$.error.message' AS error,
    t.queue,
    CASE t.priority WHEN 0 THEN 'low' WHEN 1 THEN 'below_normal' WHEN 2 THEN 'normal' WHEN 3 THEN 'above_normal'
        ELSE 'high' END AS priority,
    n.name AS tenant, t.resource_name, t.policy_name, s.executor_id, s.assign_count,
    datetime(t.created_at / 1000000000, 'unixepoch') AS created_at,
    datetime(s.started_at / 1000000000, 'unixepoch') AS started_at,
    datetime(s.completed_at / 1000000000, 'unixepoch') AS completed_at,
    datetime(s.deleted_at / 1000000000, 'unixepoch') AS deleted_at
FROM tasks t JOIN task_status s ON s.id = t.id LEFT JOIN tenants n ON n.id = t.tenant;
