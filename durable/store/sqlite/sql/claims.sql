-- name: next_priority
-- The next priority, below the given one, that has runs waiting for an instant. One look into the index.
SELECT min(priority) FROM runs
WHERE status = 1 AND owner IS NULL AND wake_at IS NOT NULL AND task_queue = ? AND priority > ?

-- name: due_runs
SELECT json_group_array(run_id) FROM (
    SELECT run_id FROM runs
    WHERE status = 1 AND owner IS NULL AND wake_at IS NOT NULL
      AND task_queue = :queue AND priority = :priority AND wake_at <= :now
      AND hold < 2 AND format <= :format AND deaths BETWEEN :least AND :most
      AND (:types IS NULL AND substr(workflow_type, 1, 9) <> 'activity' || char(31) OR workflow_type IN (SELECT value FROM json_each(:types)))
      AND (:whole OR (durable_ramp(workflow_id) >= :low AND durable_ramp(workflow_id) < :high))
    ORDER BY wake_at LIMIT :limit
)

-- name: called_runs
-- Only the first message of a run counts, so that a run with thousands does not fill the claim.
SELECT json_group_array(run_id) FROM (
    SELECT runs.run_id FROM inbox CROSS JOIN runs ON runs.run_id = inbox.run_id
    WHERE inbox.task_queue = :mail AND runs.task_queue = :queue
      AND NOT EXISTS (
          SELECT 1 FROM inbox AS earlier WHERE earlier.run_id = inbox.run_id AND earlier.position < inbox.position)
      AND runs.status = 1 AND runs.owner IS NULL AND runs.hold = 0
      AND runs.format <= :format AND runs.deaths BETWEEN :least AND :most
      AND (:types IS NULL AND substr(runs.workflow_type, 1, 9) <> 'activity' || char(31) OR runs.workflow_type IN (SELECT value FROM json_each(:types)))
      AND (:whole OR (durable_ramp(runs.workflow_id) >= :low AND durable_ramp(runs.workflow_id) < :high))
    ORDER BY inbox.position LIMIT :limit
)

-- name: claim
UPDATE runs SET owner = ?, epoch = epoch + 1, wake_at = NULL WHERE run_id IN (SELECT value FROM json_each(?))

-- name: owned_runs
SELECT json_group_array(json_array(run_id, epoch)) FROM runs WHERE owner = ? AND owner IS NOT NULL

-- name: first_wake
SELECT min(wake_at) FROM runs
WHERE status = 1 AND owner IS NULL AND wake_at > ? AND task_queue = ? AND priority = ?

-- name: glance
-- Whether there are messages; attempts and runs that are overdue, or have nobody; queries; and versions.
SELECT
    EXISTS (SELECT 1 FROM inbox WHERE task_queue IN (SELECT value FROM json_each(:queues))),
    EXISTS (SELECT 1 FROM activity_tasks WHERE state < 3 AND deadline IS NOT NULL AND deadline <= :now)
        OR EXISTS (SELECT 1 FROM activity_tasks WHERE state = 2 AND worker IS NULL)
        OR EXISTS (SELECT 1 FROM activity_tasks WHERE sole = 1 AND state = 3)
        OR EXISTS (SELECT 1 FROM runs WHERE status = 1 AND times_out_at IS NOT NULL AND times_out_at <= :now),
    EXISTS (SELECT 1 FROM queries),
    EXISTS (SELECT 1 FROM queue_routes WHERE task_queue IN (SELECT value FROM json_each(:queues))),
    (SELECT coalesce(max(state), 0) FROM queue_states WHERE task_queue IN (SELECT value FROM json_each(:queues)))
