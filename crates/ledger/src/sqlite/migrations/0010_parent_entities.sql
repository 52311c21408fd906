-- What a task hangs below in a vendor's model can be asked for. It stays in the document `wish`, and stands in `named` too,
-- as policies and resources do. The function `parent_entity` is the program's.

ALTER TABLE tasks ADD COLUMN parent INTEGER;        -- of named

CREATE TEMP TABLE parents AS
    SELECT id, parent_entity(wish) AS parent FROM tasks WHERE wish IS NOT NULL;
DELETE FROM parents WHERE parent IS NULL;
INSERT OR IGNORE INTO named (ref, type, name)
    SELECT parent ->> '$.id', parent ->> '$.type', parent ->> '$.value' FROM parents;
UPDATE tasks SET parent = (
    SELECT n.id FROM parents p JOIN named n
        ON n.ref = p.parent ->> '$.id' AND n.type = p.parent ->> '$.type' AND n.name = p.parent ->> '$.value'
    WHERE p.id = tasks.id)
    WHERE id IN (SELECT id FROM parents);
DROP TABLE parents;
