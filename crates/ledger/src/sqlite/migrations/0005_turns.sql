-- Where tasks wait that the same executors may take, with the same urgency, and how far each of these lanes has come.
CREATE TABLE lanes (
    id              INTEGER PRIMARY KEY,
    queue           TEXT NOT NULL,
    agent           TEXT NOT NULL,      -- for this one alone; empty = any
    cluster         TEXT NOT NULL,      -- for agents of this group alone; empty = any
    priority        INTEGER NOT NULL CHECK (priority BETWEEN 0 AND 4),
    round           INTEGER NOT NULL,   -- the latest in which a task was handed out
    served          INTEGER,            -- when one was handed out last
    UNIQUE (queue, agent, cluster, priority)
) STRICT;

-- The tasks that wait, in the order in which they are handed out; a row goes with its hand-out.
CREATE TABLE waiting (
    lane            INTEGER NOT NULL,
    type            TEXT NOT NULL,
    round           INTEGER NOT NULL,
    joined          INTEGER NOT NULL,   -- the round in which its tenant came in
    id              INTEGER NOT NULL,   -- of the task
    tenant          TEXT NOT NULL,
    PRIMARY KEY (lane, type, round, joined DESC, id)
) STRICT, WITHOUT ROWID;
CREATE INDEX waiting_of_tenant ON waiting (lane, tenant, id);

-- What waits already takes turns from now on: each tenant's oldest in the first round, and so on.
CREATE TEMP VIEW waits AS
SELECT t.id, k.word AS type, q.word AS queue, coalesce(a.word, '') AS agent, coalesce(c.word, '') AS cluster, t.priority,
    n.id AS tenant
FROM main.task_status s JOIN main.tasks t ON t.id = s.id JOIN main.tenants n ON n.number = t.tenant
    JOIN main.words k ON k.id = t.type JOIN main.words q ON q.id = t.queue
    LEFT JOIN main.words a ON a.id = t.affinity_agent LEFT JOIN main.words c ON c.id = t.affinity_cluster
WHERE s.state = 0;
INSERT INTO lanes (queue, agent, cluster, priority, round)
SELECT DISTINCT queue, agent, cluster, priority, 0 FROM waits;
INSERT INTO waiting (lane, type, round, joined, id, tenant)
SELECT l.id, w.type, row_number() OVER (PARTITION BY l.id, w.tenant ORDER BY w.id), 1, w.id, w.tenant
FROM waits w JOIN lanes l USING (queue, agent, cluster, priority);
DROP VIEW temp.waits;
