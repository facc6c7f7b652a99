-- name: replace_activities
INSERT OR REPLACE INTO activity_tasks
    (run_id, id, activity_type, task_queue, state, attempt, priority, due_at, deadline, start_by, close_by,
     start_to_close, heartbeat, worker, started_at, scheduled_at, progress)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)

-- name: replace_inputs
INSERT OR REPLACE INTO activity_inputs (run_id, id, scheduled) VALUES (?, ?, ?)

-- name: drop
DELETE FROM activity_tasks WHERE (run_id, id) IN (VALUES (?, ?))

-- name: request_cancel
UPDATE activity_tasks SET cancel_requested = 1 WHERE (run_id, id) IN (VALUES (?, ?))

-- name: read
SELECT
    json_group_array(json_array(
        run_id, id, workflow_id, workflow_type, activity_type, task_queue, state, attempt, due_at, deadline, start_by,
        close_by, start_to_close, heartbeat, worker, started_at, scheduled_at, cancel_requested, outside_since,
        paused_at, pause_reason, cancel_reason, attempt_base, anew, revision, refused, length(scheduled),
        length(progress))),
    CAST(group_concat(scheduled, '') AS BLOB),
    CAST(group_concat(progress, '') AS BLOB)
FROM (
    SELECT tasks.*, scheduled, workflow_id, workflow_type FROM activity_tasks AS tasks
    CROSS JOIN activity_inputs USING (run_id, id) CROSS JOIN runs USING (run_id)
    WHERE (run_id, id) IN (VALUES (?, ?))
)

-- name: read_of_runs
SELECT
    json_group_array(json_array(
        run_id, id, workflow_id, workflow_type, activity_type, task_queue, state, attempt, due_at, deadline, start_by,
        close_by, start_to_close, heartbeat, worker, started_at, scheduled_at, cancel_requested, outside_since,
        paused_at, pause_reason, cancel_reason, attempt_base, anew, revision, refused, length(scheduled),
        length(progress))),
    CAST(group_concat(scheduled, '') AS BLOB),
    CAST(group_concat(progress, '') AS BLOB)
FROM (
    SELECT tasks.*, scheduled, workflow_id, workflow_type FROM activity_tasks AS tasks
    CROSS JOIN activity_inputs USING (run_id, id) CROSS JOIN runs USING (run_id)
    WHERE run_id IN (SELECT value FROM json_each(?)) ORDER BY run_id, id
)

-- name: next_priority
SELECT min(priority) FROM activity_tasks WHERE state = 1 AND task_queue = ? AND priority > ?

-- name: due
-- What has outlived its deadline in the queue is left to whoever looks for expired activities.
SELECT json_group_array(json_array(run_id, id, due_at)) FROM (
    SELECT run_id, id, due_at FROM activity_tasks
    WHERE state = 1 AND task_queue = :queue AND priority = :priority AND due_at <= :now
      AND (deadline IS NULL OR deadline > :now)
      AND (:types IS NULL OR activity_type IN (SELECT value FROM json_each(:types)))
      AND EXISTS (
          SELECT 1 FROM runs r WHERE r.run_id = activity_tasks.run_id AND r.format <= :format AND r.hold <> 3
            AND (:whole OR (durable_ramp(r.workflow_id) >= :low AND durable_ramp(r.workflow_id) < :high)))
    ORDER BY due_at LIMIT :limit
)

-- name: first_due
SELECT min(due_at) FROM activity_tasks WHERE state = 1 AND due_at > ? AND task_queue = ? AND priority = ?

-- name: start
UPDATE activity_tasks SET state = 2, worker = given.column3, started_at = given.column4,
    deadline = nullif(min(
        coalesce(close_by, 9223372036854775807),
        coalesce(given.column4 + start_to_close, 9223372036854775807),
        coalesce(given.column4 + heartbeat, 9223372036854775807)), 9223372036854775807)
FROM (VALUES (?, ?, ?, ?)) AS given WHERE run_id = given.column1 AND id = given.column2

-- name: attempt
SELECT state, attempt, worker, cancel_requested, outside_since, paused_at, anew, revision FROM activity_tasks WHERE run_id = ? AND id = ?

-- name: finish
UPDATE activity_tasks SET state = 3, outside_since = NULL, worker = NULL, started_at = NULL, deadline = NULL WHERE run_id = ? AND id = ?

-- name: retry
UPDATE activity_tasks SET state = 1, attempt = attempt + 1, worker = NULL, started_at = NULL, start_by = NULL,
    outside_since = NULL, deadline = close_by, progress = :progress, attempt_base = :base, anew = 0,
    due_at = CASE WHEN paused_at IS NOT NULL AND NOT cancel_requested THEN :never ELSE :due_at END
WHERE run_id = :run_id AND id = :id

-- name: hand_out
UPDATE activity_tasks SET state = 1, worker = NULL, outside_since = started_at, started_at = NULL, due_at = :due_at,
    progress = :progress,
    deadline = nullif(min(
        coalesce(close_by, 9223372036854775807),
        coalesce(started_at + start_to_close, 9223372036854775807),
        coalesce(:now + heartbeat, 9223372036854775807)), 9223372036854775807)
WHERE run_id = :run_id AND id = :id

-- name: beat
UPDATE activity_tasks SET progress = :progress,
    deadline = nullif(min(
        coalesce(close_by, 9223372036854775807),
        coalesce(coalesce(outside_since, started_at) + start_to_close, 9223372036854775807),
        coalesce(:now + heartbeat, 9223372036854775807)), 9223372036854775807)
WHERE run_id = :run_id AND id = :id

-- name: owned
SELECT json_group_array(json_array(run_id, id)) FROM activity_tasks WHERE state = 2 AND worker = ?

-- name: expired
SELECT json_group_array(json_array(run_id, id)) FROM (
    SELECT run_id, id FROM activity_tasks WHERE state = 2 AND worker IS NULL
    UNION
    SELECT run_id, id FROM (
        SELECT run_id, id FROM activity_tasks WHERE state < 3 AND deadline IS NOT NULL AND deadline <= :now
        ORDER BY deadline LIMIT :limit
    )
    LIMIT :limit
)

-- name: change
UPDATE activity_tasks SET paused_at = :paused_at, pause_reason = :pause_reason, attempt_base = :base, anew = :anew,
    revision = revision + 1, start_by = :start_by, close_by = :close_by, start_to_close = :start_to_close,
    heartbeat = :heartbeat, task_queue = CASE WHEN lane IS NULL THEN :task_queue ELSE char(31) || :task_queue END, progress = coalesce(:progress, progress),
    due_at = CASE state WHEN 1 THEN :due_at ELSE due_at END,
    deadline = CASE state WHEN 1 THEN :deadline ELSE deadline END,
    cancel_requested = cancel_requested OR :cancel,
    cancel_reason = CASE WHEN :cancel THEN :cancel_reason ELSE cancel_reason END
WHERE run_id = :run_id AND id = :id AND state = :state AND attempt = :attempt AND revision = :revision

-- name: began
SELECT started_at FROM runs WHERE run_id = ? AND status = 1

-- name: mark_sole
UPDATE activity_tasks SET sole = 1 WHERE (run_id, id) IN (VALUES (?, ?))

-- name: stray
SELECT json_group_array(json_array(run_id, id)) FROM (
    SELECT run_id, id FROM activity_tasks WHERE sole = 1 AND state = 3 LIMIT ?
)
