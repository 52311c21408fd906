-- Tasks in a third of the bytes, and less to write for each change of state. What is said again and again stands once, in
-- `words` and `named`; long documents are packed (see pack.rs; the functions `packed` and `packed_lease` are the
-- program's); a root activity is two numbers in the row of its task's status; and of the indexes only those are left that
-- no other structure answers for. People read the view `task_list`.

-- Words that rows carry the numbers of: types, queues, agents, persons; lists of tags (JSON arrays) and rules (JSON
-- objects) are words, too. Rows are added, and never changed or removed.
CREATE TABLE words (
    id                  INTEGER PRIMARY KEY,
    word                TEXT NOT NULL UNIQUE
) STRICT;

-- Policies and resources as they were named when a task was created. Rows are added, and never changed or removed.
CREATE TABLE named (
    id                  INTEGER PRIMARY KEY,
    ref                 TEXT NOT NULL,
    type                TEXT NOT NULL,      -- empty when unknown
    name                TEXT NOT NULL,      -- empty when unknown
    UNIQUE (ref, type, name)
) STRICT;

-- What was wished: written once, never changed.
CREATE TABLE new_tasks (
    id                  INTEGER PRIMARY KEY,
    uuid                BLOB NOT NULL UNIQUE CHECK (length(uuid) = 16),
    type                INTEGER NOT NULL,   -- of words, as the others without another note
    seeding             INTEGER NOT NULL CHECK (seeding IN (0, 1)),
    queue               INTEGER NOT NULL,
    priority            INTEGER NOT NULL CHECK (priority BETWEEN 0 AND 4),
    tenant              INTEGER NOT NULL REFERENCES tenants (number),
    tags                INTEGER,
    workflow_id         INTEGER,            -- the workflow's own number
    issuer_id           INTEGER,
    issuer_cluster_id   INTEGER,
    started_by          INTEGER,
    policy              INTEGER,            -- of named
    resource            INTEGER,            -- of named
    affinity_agent      INTEGER,
    affinity_cluster    INTEGER,
    rules               INTEGER NOT NULL,
    created_at          INTEGER NOT NULL,
    wish                ANY                 -- a document: argument, context, parent_entity
) STRICT;

-- Where it is: small, and written again with each change.
CREATE TABLE new_status (
    id                  INTEGER PRIMARY KEY REFERENCES new_tasks (id) ON DELETE CASCADE,
    rev                 INTEGER NOT NULL,
    state               INTEGER NOT NULL CHECK (state BETWEEN 0 AND 4),
    assign_count        INTEGER NOT NULL CHECK (assign_count >= 0),
    cancel_requested    INTEGER NOT NULL CHECK (cancel_requested IN (0, 1)),
    executor_id         INTEGER,            -- of words
    executor_cluster_id INTEGER,            -- of words
    lease               ANY,                -- a letter for the way it is written in, and the bytes; or TEXT as it is
    last_report_at      INTEGER,
    enqueued_at         INTEGER NOT NULL,
    assigned_at         INTEGER,
    started_at          INTEGER,
    updated_at          INTEGER NOT NULL,
    completed_at        INTEGER,
    deleted_at          INTEGER,
    deadline            INTEGER,            -- when its next timer runs out
    -- The root activity, which shows the task: its number and when it was made. Its uuid follows from the task's.
    root_id             INTEGER,
    root_at             INTEGER,
    result_code         INTEGER CHECK (result_code BETWEEN 0 AND 5),
    report              ANY,                -- a document: progress, blockers, result; plain when it tells of an error
    CHECK ((state = 4) = (completed_at IS NOT NULL)),
    CHECK ((state = 4) = (result_code IS NOT NULL)),
    CHECK ((state IN (1, 2, 3)) = (last_report_at IS NOT NULL)),
    CHECK (state NOT IN (1, 2, 3) OR (lease IS NOT NULL AND assigned_at IS NOT NULL)),
    CHECK (state NOT IN (2, 3) OR started_at IS NOT NULL),
    CHECK (state <> 0 OR (lease IS NULL AND assigned_at IS NULL AND started_at IS NULL)),
    CHECK (state = 4 OR deleted_at IS NULL),
    CHECK (state <> 4 OR deadline IS NULL),
    CHECK ((root_id IS NULL) = (root_at IS NULL))
) STRICT;

-- Activities that are no roots. They are numbered together with the roots.
CREATE TABLE steps (
    id                  INTEGER PRIMARY KEY,
    uuid                BLOB NOT NULL UNIQUE CHECK (length(uuid) = 16),
    task                INTEGER NOT NULL REFERENCES new_tasks (id) ON DELETE CASCADE,
    created_at          INTEGER NOT NULL,
    type                INTEGER NOT NULL,   -- of words
    parent              INTEGER,
    sustainable         INTEGER NOT NULL CHECK (sustainable IN (0, 1)),
    tags                INTEGER,            -- of words
    state               INTEGER NOT NULL CHECK (state IN (0, 2, 3, 4)),
    executor_id         INTEGER,            -- of words
    executor_cluster_id INTEGER,            -- of words
    started_at          INTEGER,
    completed_at        INTEGER,
    updated_at          INTEGER NOT NULL,
    result_code         INTEGER CHECK (result_code BETWEEN 0 AND 5),
    detail              ANY,                -- a document: context, progress, result
    CHECK ((state = 4) = (completed_at IS NOT NULL)),
    CHECK ((state = 4) = (result_code IS NOT NULL)),
    CHECK (state NOT IN (2, 3) OR started_at IS NOT NULL)
) STRICT;

-- What there is already.
CREATE TEMP VIEW rules_of AS
SELECT id, json_patch('{}', json_object(
    'cancellable', json(iif(cancellable, 'true', NULL)), 'sustainable', json(iif(sustainable, 'true', NULL)),
    'max_assign_count', max_assign_count, 'heartbeat_interval', heartbeat_interval, 'ack_timeout', ack_timeout,
    'queue_timeout', queue_timeout, 'exec_timeout', exec_timeout, 'life_time', life_time)) AS rules
FROM main.tasks;

INSERT INTO words (word)
SELECT type FROM tasks UNION SELECT queue FROM tasks UNION SELECT tags FROM tasks WHERE tags IS NOT NULL
UNION SELECT issuer_id FROM tasks WHERE issuer_id IS NOT NULL
UNION SELECT issuer_cluster_id FROM tasks WHERE issuer_cluster_id IS NOT NULL
UNION SELECT started_by FROM tasks WHERE started_by IS NOT NULL
UNION SELECT affinity_agent FROM tasks WHERE affinity_agent IS NOT NULL
UNION SELECT affinity_cluster FROM tasks WHERE affinity_cluster IS NOT NULL
UNION SELECT rules FROM rules_of
UNION SELECT executor_id FROM task_status WHERE executor_id IS NOT NULL
UNION SELECT executor_cluster_id FROM task_status WHERE executor_cluster_id IS NOT NULL
UNION SELECT type FROM activities WHERE type IS NOT NULL
UNION SELECT tags FROM activities WHERE tags IS NOT NULL
UNION SELECT executor_id FROM activities WHERE executor_id IS NOT NULL
UNION SELECT executor_cluster_id FROM activities WHERE executor_cluster_id IS NOT NULL;

INSERT INTO named (ref, type, name)
SELECT policy_id, coalesce(policy_type, ''), coalesce(policy_name, '') FROM tasks WHERE policy_id IS NOT NULL
UNION SELECT resource_id, coalesce(resource_type, ''), coalesce(resource_name, '') FROM tasks
WHERE resource_id IS NOT NULL;

INSERT INTO new_tasks
SELECT id, unhex(uuid, '-'),
    (SELECT id FROM words WHERE word = t.type), seeding, (SELECT id FROM words WHERE word = t.queue), priority,
    (SELECT number FROM tenants WHERE id = t.tenant), (SELECT id FROM words WHERE word = t.tags), workflow_id,
    (SELECT id FROM words WHERE word = t.issuer_id), (SELECT id FROM words WHERE word = t.issuer_cluster_id),
    (SELECT id FROM words WHERE word = t.started_by),
    (SELECT id FROM named WHERE ref = t.policy_id AND type = coalesce(t.policy_type, '')
        AND name = coalesce(t.policy_name, '')),
    (SELECT id FROM named WHERE ref = t.resource_id AND type = coalesce(t.resource_type, '')
        AND name = coalesce(t.resource_name, '')),
    (SELECT id FROM words WHERE word = t.affinity_agent), (SELECT id FROM words WHERE word = t.affinity_cluster),
    (SELECT id FROM words WHERE word = (SELECT rules FROM rules_of WHERE id = t.id)), created_at,
    packed(nullif('{' || substr(coalesce(',"argument":' || argument, '') || coalesce(',"context":' || context, '')
        || coalesce(',"parent_entity":' || parent_entity, ''), 2) || '}', '{}'))
FROM tasks t ORDER BY id;

INSERT INTO new_status
SELECT s.id, rev, state, assign_count, cancel_requested,
    (SELECT id FROM words WHERE word = s.executor_id), (SELECT id FROM words WHERE word = s.executor_cluster_id),
    packed_lease(lease), last_report_at, enqueued_at, assigned_at, started_at, updated_at, completed_at, deleted_at,
    deadline,
    (SELECT a.id FROM activities a WHERE a.task = s.id AND a.root = 1),
    (SELECT a.created_at FROM activities a WHERE a.task = s.id AND a.root = 1),
    result_code,
    CASE WHEN result ->> '$.error' IS NULL THEN packed(document) ELSE document END
FROM (SELECT *, nullif('{' || substr(coalesce(',"progress":' || progress, '') || coalesce(',"blockers":' || blockers, '')
        || coalesce(',"result":' || result, ''), 2) || '}', '{}') AS document FROM task_status) s
ORDER BY s.id;

INSERT INTO steps
SELECT id, unhex(uuid, '-'), task, created_at, (SELECT id FROM words WHERE word = a.type), parent, sustainable,
    (SELECT id FROM words WHERE word = a.tags), state, (SELECT id FROM words WHERE word = a.executor_id),
    (SELECT id FROM words WHERE word = a.executor_cluster_id), started_at, completed_at, updated_at, result_code,
    packed(nullif('{' || substr(coalesce(',"context":' || context, '') || coalesce(',"progress":' || progress, '')
        || coalesce(',"result":' || result, ''), 2) || '}', '{}'))
FROM activities a WHERE root = 0 ORDER BY id;

DROP VIEW temp.rules_of;
DROP VIEW task_list;
DROP TABLE activities;
DROP TABLE task_status;
DROP TABLE tasks;
ALTER TABLE new_tasks RENAME TO tasks;
ALTER TABLE new_status RENAME TO task_status;

CREATE INDEX tasks_of_tenant ON tasks (tenant);
CREATE INDEX task_status_rev ON task_status (rev);
CREATE INDEX task_status_deadline ON task_status (deadline) WHERE deadline IS NOT NULL;
CREATE INDEX task_status_deleted ON task_status (deleted_at) WHERE deleted_at IS NOT NULL;
CREATE UNIQUE INDEX task_status_root ON task_status (root_id) WHERE root_id IS NOT NULL;
CREATE INDEX steps_of_task ON steps (task);

-- For people with sqlite3.
CREATE VIEW task_list AS
SELECT
    t.id,
    lower(substr(hex(t.uuid), 1, 8) || '-' || substr(hex(t.uuid), 9, 4) || '-' || substr(hex(t.uuid), 13, 4) || '-'
        || substr(hex(t.uuid), 17, 4) || '-' || substr(hex(t.uuid), 21)) AS uuid,
    (SELECT word FROM words WHERE id = t.type) AS type,
    CASE s.state WHEN 0 THEN 'enqueued' WHEN 1 THEN 'assigned' WHEN 2 THEN 'started' WHEN 3 THEN 'paused'
        ELSE 'completed' END AS state,
    CASE s.result_code WHEN 0 THEN 'ok' WHEN 1 THEN 'error' WHEN 2 THEN 'warning' WHEN 3 THEN 'cancelled'
        WHEN 4 THEN 'abandoned' WHEN 5 THEN 'timedout' END AS result,
    CASE typeof(s.report) WHEN 'text' THEN s.report ->> '$.result.error.message' END AS error,
    (SELECT word FROM words WHERE id = t.queue) AS queue,
    CASE t.priority WHEN 0 THEN 'low' WHEN 1 THEN 'below_normal' WHEN 2 THEN 'normal' WHEN 3 THEN 'above_normal'
        ELSE 'high' END AS priority,
    n.name AS tenant,
    r.name AS resource_name, r.type AS resource_type, r.ref AS resource_id,
    p.name AS policy_name, p.type AS policy_type, p.ref AS policy_id,
    (SELECT word FROM words WHERE id = s.executor_id) AS executor_id,
    (SELECT word FROM words WHERE id = t.tags) AS tags,
    s.assign_count,
    datetime(t.created_at / 1000000000, 'unixepoch') AS created_at,
    datetime(s.started_at / 1000000000, 'unixepoch') AS started_at,
    datetime(s.completed_at / 1000000000, 'unixepoch') AS completed_at,
    datetime(s.deleted_at / 1000000000, 'unixepoch') AS deleted_at
FROM tasks t JOIN task_status s ON s.id = t.id LEFT JOIN tenants n ON n.number = t.tenant
    LEFT JOIN named r ON r.id = t.resource LEFT JOIN named p ON p.id = t.policy;

-- Which ledger this is, in the one row there is: a copy of the index that belongs to another one is not taken for its own.
CREATE TABLE ledger (
    one                 INTEGER PRIMARY KEY CHECK (one = 1),
    identity            TEXT NOT NULL
) STRICT;
INSERT INTO ledger VALUES (1, lower(hex(randomblob(16))));

-- The tasks that are gone for ever, with the revision of the commit that removed them: an index that was away meanwhile
-- learns of it here.
CREATE TABLE purged (
    rev                 INTEGER NOT NULL,
    id                  INTEGER NOT NULL,
    PRIMARY KEY (rev, id)
) STRICT, WITHOUT ROWID;
