-- name: open_target
SELECT run_id, coalesce(first_run_id, run_id), held_back_until FROM runs WHERE workflow_id = ? AND status = 1

-- name: children
-- The open children of these runs, but for abandoned ones.
SELECT json_group_array(json_array(run_id, parent_close_policy)) FROM json_each(?) AS parents
CROSS JOIN runs ON runs.parent_run_id = parents.value
WHERE runs.status = 1 AND runs.parent_close_policy IN (1, 3)

-- name: move_messages
-- To new places, in their order, behind what is there. That the parent has closed is the one message of the library that
-- concerns the successor too.
INSERT INTO inbox (run_id, message_id, task_queue, type, internal, data)
SELECT :to, message_id, (SELECT task_queue FROM runs WHERE run_id = :to), type, internal, data FROM inbox
WHERE run_id = :from AND (internal = 0 OR message_id = 'parent-closed') ORDER BY position
ON CONFLICT DO NOTHING

-- name: inherit_parents
-- The parent itself may be gone.
UPDATE runs SET (parent_workflow_id, root_workflow_id, root_run_id) =
    (SELECT parent_workflow_id, root_workflow_id, root_run_id FROM runs WHERE run_id = :from)
WHERE run_id = :to AND parent_run_id IS NOT NULL AND parent_workflow_id IS NULL

-- name: forget_moved
DELETE FROM inbox WHERE run_id = ? AND internal = 0

-- name: parent
SELECT parent_run_id FROM runs WHERE run_id = ?

-- name: hold_back
UPDATE runs SET held_back_until = given.column2 FROM (VALUES (?, ?)) AS given WHERE runs.run_id = given.column1

-- name: write_outcomes
INSERT INTO update_outcomes (run_id, message_id, stage, data) VALUES (?, ?, ?, ?)
ON CONFLICT DO UPDATE SET stage = excluded.stage, data = excluded.data WHERE update_outcomes.stage < 3

-- name: lose_unread_updates
INSERT INTO update_outcomes (run_id, message_id, stage, data)
SELECT run_id, message_id, 3, :lost FROM inbox
WHERE run_id IN (SELECT value FROM json_each(:run_ids)) AND type = 60
ON CONFLICT DO UPDATE SET stage = excluded.stage, data = excluded.data WHERE update_outcomes.stage < 3

-- name: lose_accepted_updates
UPDATE update_outcomes SET stage = 3, data = :lost
WHERE run_id IN (SELECT value FROM json_each(:run_ids)) AND stage < 3

-- name: known_outcomes
SELECT json_group_array(json_array(run_id, message_id)) FROM update_outcomes
WHERE (run_id, message_id) IN (VALUES (?, ?))

-- name: find_update
SELECT stage, data FROM update_outcomes WHERE run_id = :run_id AND message_id = :message_id
UNION ALL
SELECT 1, x'' FROM inbox WHERE run_id = :run_id AND message_id = :message_id AND type = 60
LIMIT 1

-- name: condemned_runs
SELECT json_group_array(run_id) FROM (
    SELECT DISTINCT inbox.run_id FROM inbox CROSS JOIN runs ON runs.run_id = inbox.run_id
    WHERE inbox.type IN (3, 13) AND runs.status = 1 AND (inbox.type = 13 OR (runs.gate = 1 AND runs.hold = 1)) LIMIT ?
)
