-- name: fence
-- Which of these runs (id: epoch) are not, or no longer, open under that epoch. Nothing, when all is well.
SELECT key FROM json_each(?) AS fenced
WHERE NOT EXISTS (SELECT 1 FROM runs WHERE run_id = fenced.key AND epoch = fenced.value AND status = 1)

-- name: append_fenced
-- Events of runs (id: epoch) that are all open under that epoch; of others, nothing at all.
INSERT INTO events (run_id, seq, task, type, time, data)
SELECT * FROM (VALUES (?, ?, ?, ?, ?, ?)) WHERE column1 IS NOT NULL AND NOT EXISTS (
    SELECT 1 FROM json_each(?) AS fenced
    WHERE NOT EXISTS (SELECT 1 FROM runs WHERE run_id = fenced.key AND epoch = fenced.value AND status = 1)
)

-- name: fence_one
SELECT 1 FROM runs WHERE run_id = ? AND epoch = ? AND status = 1

-- name: same_epoch
SELECT json_group_array(run_id) FROM runs WHERE (run_id, epoch) IN (VALUES (?, ?))

-- name: standing
-- Which of these events stand there byte for byte.
SELECT json_group_array(run_id) FROM (VALUES (?, ?, ?, ?, ?)) AS given
CROSS JOIN events ON run_id = given.column1 AND seq = given.column2
WHERE task = given.column3 AND type = given.column4 AND data = given.column5

-- name: withdraw
DELETE FROM events WHERE (run_id, seq) IN (VALUES (?, ?))

-- name: look
-- Of runs that close: which have messages, and updates, apart from those that the closing transitions have read; and
-- whether any of them has anything that goes, or is told, when it closes.
SELECT
    (SELECT json_group_array(json_array(run_id, is_update)) FROM (
        SELECT DISTINCT run_id, type = 60 AS is_update FROM inbox
        WHERE run_id IN (SELECT value FROM json_each(:runs)) AND internal = 0
          AND position NOT IN (SELECT value FROM json_each(:read)))),
    EXISTS (SELECT 1 FROM inbox WHERE run_id IN (SELECT value FROM json_each(:runs))
        AND position NOT IN (SELECT value FROM json_each(:read))),
    EXISTS (SELECT 1 FROM runs WHERE parent_run_id IN (SELECT value FROM json_each(:runs))
        AND status = 1 AND parent_close_policy IN (1, 3)),
    EXISTS (SELECT 1 FROM activity_tasks WHERE run_id IN (SELECT value FROM json_each(:runs))),
    EXISTS (SELECT 1 FROM update_outcomes WHERE run_id IN (SELECT value FROM json_each(:runs)) AND stage < 3)

-- name: consume
DELETE FROM inbox WHERE position IN (SELECT value FROM json_each(?))

-- name: release
-- What was paused meanwhile stays so.
UPDATE runs SET owner = NULL,
    wake_at = CASE hold WHEN 3 THEN NULL ELSE given.column2 END,
    hold = CASE hold WHEN 3 THEN 3 ELSE given.column3 END,
    reason = CASE hold WHEN 3 THEN reason ELSE given.column4 END
FROM (VALUES (?, ?, ?, ?)) AS given WHERE runs.run_id = given.column1

-- name: prove
UPDATE runs SET deaths = 0,
    hold = CASE hold WHEN 3 THEN 3 ELSE 0 END, reason = CASE hold WHEN 3 THEN reason ELSE '' END
WHERE (deaths > 0 OR hold IN (1, 2)) AND run_id IN (SELECT value FROM json_each(?))

-- name: close
UPDATE runs SET
    status = given.column2, closed_at = given.column3, owner = NULL, wake_at = NULL, hold = 0, reason = '',
    (history_length, history_size) = (SELECT count(*), sum(length(data)) FROM events WHERE events.run_id = runs.run_id)
FROM (VALUES (?, ?, ?)) AS given WHERE runs.run_id = given.column1

-- name: drop_messages
DELETE FROM inbox WHERE run_id IN (SELECT value FROM json_each(?))

-- name: drop_activities
DELETE FROM activity_tasks WHERE run_id IN (SELECT value FROM json_each(?))

-- name: parent
SELECT parent_run_id FROM runs WHERE run_id = ?

-- name: is_open
SELECT 1 FROM runs WHERE run_id = ? AND status = 1
