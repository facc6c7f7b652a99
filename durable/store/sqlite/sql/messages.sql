-- name: run_statuses
SELECT json_group_array(json_array(run_id, status, task_queue, held_back_until)) FROM runs
WHERE run_id IN (SELECT value FROM json_each(?))

-- name: known_messages
SELECT json_group_array(json_array(run_id, message_id)) FROM inbox
WHERE (run_id, message_id) IN (VALUES (?, ?))

-- name: insert_messages
INSERT INTO inbox (run_id, message_id, task_queue, type, internal, data) VALUES (?, ?, ?, ?, ?, ?)

-- name: read_messages
SELECT
    json_group_array(json_array(run_id, message_id, type, position, internal, length(data))),
    CAST(group_concat(data, '') AS BLOB)
FROM (SELECT * FROM inbox WHERE run_id IN (SELECT value FROM json_each(?)) ORDER BY position)

-- name: read_owned_messages
SELECT
    json_group_array(json_array(run_id, message_id, type, position, internal, length(data))),
    CAST(group_concat(data, '') AS BLOB)
FROM (
    SELECT inbox.* FROM runs CROSS JOIN inbox ON inbox.run_id = runs.run_id
    WHERE runs.owner = ? AND runs.owner IS NOT NULL ORDER BY inbox.position LIMIT ?
)
