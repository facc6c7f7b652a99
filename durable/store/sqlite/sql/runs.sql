-- Queries that return many rows return them as one: every row that sqlite3 hands over is a race for the interpreter lock,
-- which a busy event loop gives away every 5 ms only. Scalars come as JSON, blobs as one blob, with their lengths.

-- name: insert_run
INSERT INTO runs
    (run_id, workflow_id, workflow_type, task_queue, owner, epoch, wake_at, priority, format, started_at, times_out_at,
     first_run_id, parent_run_id, parent_close_policy, execution_at, parent_workflow_id, root_workflow_id, root_run_id,
     pinned_to, versioning_override)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)

-- name: parent
SELECT workflow_id, coalesce(root_workflow_id, workflow_id), coalesce(root_run_id, run_id) FROM runs WHERE run_id = ?

-- name: insert_run_data
INSERT INTO run_data (run_id, info) VALUES (?, ?)

-- name: forget_run
DELETE FROM runs WHERE run_id = ?

-- name: same_run
SELECT workflow_type, owner, epoch FROM runs WHERE run_id = ?

-- name: open_run
SELECT run_id, workflow_type FROM runs WHERE workflow_id = ? AND status = 1

-- name: last_closed_run
SELECT run_id, workflow_type, status FROM runs
WHERE workflow_id = ? AND status <> 1
ORDER BY started_at DESC, run_id DESC LIMIT 1

-- name: find_run
SELECT run_id FROM runs WHERE workflow_id = ? AND run_id = ?

-- name: latest_run
SELECT run_id FROM runs WHERE workflow_id = ?
ORDER BY status = 1 DESC, started_at DESC, run_id DESC LIMIT 1

-- name: read_runs
SELECT
    json_group_array(json_array(
        run_id, workflow_id, workflow_type, task_queue, status, hold, reason, owner, epoch, wake_at, priority, deaths,
        started_at, closed_at, times_out_at, history_length, history_size, length(info),
        coalesce(first_run_id, run_id), parent_run_id, coalesce(pinned_to, ''), coalesce(versioning_override, ''))),
    CAST(group_concat(info, '') AS BLOB)
FROM (
    SELECT * FROM json_each(?) AS wanted
    CROSS JOIN runs ON runs.run_id = wanted.value
    CROSS JOIN run_data USING (run_id)
)

-- name: measure_histories
SELECT json_group_array(json_array(run_id, length, size)) FROM (
    SELECT run_id, count(*) AS length, sum(length(data)) AS size FROM events
    WHERE run_id IN (SELECT value FROM json_each(?)) GROUP BY run_id
)

-- name: insert_events
INSERT INTO events (run_id, seq, task, type, time, data) VALUES (?, ?, ?, ?, ?, ?)

-- name: read_events
SELECT
    json_group_array(json_array(seq, task, type, time, length(data))),
    CAST(group_concat(data, '') AS BLOB)
FROM (SELECT seq, task, type, time, data FROM events WHERE run_id = ? AND seq > ? ORDER BY seq LIMIT ?)

-- name: read_last_event
SELECT seq, task, type, data, time FROM events WHERE run_id = ? ORDER BY seq DESC LIMIT 1

-- name: read_closing_events
SELECT r.run_id, e.seq, e.task, e.type, e.data, e.time
FROM runs r JOIN events e ON e.run_id = r.run_id
    AND e.seq = (SELECT max(seq) FROM events WHERE run_id = r.run_id)
WHERE r.run_id IN (SELECT value FROM json_each(?)) AND r.status <> 1

-- name: read_events_of
SELECT
    run_id,
    json_group_array(json_array(seq, task, type, time, length(data))),
    CAST(group_concat(data, '') AS BLOB)
FROM (
    SELECT run_id, seq, task, type, time, data FROM events
    WHERE run_id IN (SELECT value FROM json_each(?)) ORDER BY run_id, seq
)
GROUP BY run_id

-- name: timed_out_runs
-- One that begins when it is claimed is overdue only then.
SELECT json_group_array(run_id) FROM (
    SELECT run_id FROM runs
    WHERE status = 1 AND times_out_at IS NOT NULL AND times_out_at <= ? AND begins_at_claim = ?
    ORDER BY times_out_at LIMIT ?
)

-- name: write_nothing
UPDATE runs SET begins_at_claim = begins_at_claim WHERE run_id = ''

-- name: begin_at_claim
UPDATE runs SET begins_at_claim = 1 WHERE run_id = ?

-- name: beginning
SELECT json_group_array(run_id) FROM runs WHERE run_id IN (SELECT value FROM json_each(?)) AND begins_at_claim

-- name: begin_event
UPDATE events SET time = time + max(0, :now - (
    SELECT coalesce(execution_at, started_at) FROM runs WHERE runs.run_id = events.run_id))
WHERE seq = 1 AND run_id IN (SELECT value FROM json_each(:run_ids))

-- name: begin_run
UPDATE runs SET begins_at_claim = 0,
    started_at = started_at + max(0, :now - coalesce(execution_at, started_at)),
    execution_at = execution_at + max(0, :now - coalesce(execution_at, started_at)),
    times_out_at = times_out_at + max(0, :now - coalesce(execution_at, started_at))
WHERE run_id IN (SELECT value FROM json_each(:run_ids))
