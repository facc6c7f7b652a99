-- name: adopt
-- The open ones of these children (by their first runs) are another run's from now on.
UPDATE runs SET parent_run_id = :run_id
WHERE status = 1 AND workflow_id IN (SELECT value FROM json_each(:workflows)) AND parent_run_id IS NOT NULL
  AND coalesce(first_run_id, run_id) IN (SELECT value FROM json_each(:children))

-- name: adopted
SELECT coalesce(first_run_id, run_id) FROM runs WHERE parent_run_id = ? AND status = 1

-- name: acquit
DELETE FROM inbox WHERE message_id = 'parent-closed'
    AND run_id IN (SELECT run_id FROM runs WHERE parent_run_id = ? AND status = 1)

-- name: is_waiting
SELECT 1 FROM runs WHERE run_id = ? AND status = 1 AND gate = 1 AND hold = 1

-- name: condemned
SELECT run_id FROM runs WHERE parent_run_id = ? AND status = 1 AND parent_close_policy = 1

-- name: forget_updates
DELETE FROM update_outcomes WHERE run_id = ? AND stage < 3

-- name: enter
-- It has the slot of the run that it ends; without one it waits, as any run that starts.
INSERT INTO runs
    (run_id, workflow_id, workflow_type, task_queue, epoch, wake_at, hold, gate_at, priority, format, started_at, times_out_at,
     first_run_id, parent_run_id, parent_close_policy, execution_at, parent_workflow_id, root_workflow_id, root_run_id,
     gate, lane, share, limit_key, limit_most, limit_weight,
     pinned_to, deployment_version, versioning_behavior, versioning_override)
SELECT :run_id, workflow_id, workflow_type, task_queue, 0, iif(waits, NULL, :now), waits, iif(waits, :now, NULL), priority, max(format, :format), :now, :times_out_at,
    :first_run_id, parent_run_id, parent_close_policy, execution_at, parent_workflow_id, root_workflow_id, root_run_id,
    CASE WHEN gate IS NOT NULL THEN iif(waits, 1, 2) END, lane, share, limit_key, limit_most, limit_weight,
    pinned_to, deployment_version, versioning_behavior, versioning_override
FROM (
    SELECT *, gate IS NOT NULL AND NOT EXISTS (SELECT 1 FROM runs WHERE run_id = :ended AND gate = 2) AS waits
    FROM runs WHERE run_id = :base
) WHERE true
ON CONFLICT DO NOTHING

-- name: write_info
INSERT INTO run_data (run_id, info) VALUES (:run_id, :info)

-- name: copy_events
INSERT INTO events (run_id, seq, task, type, time, data)
SELECT :run_id, seq, task, type, time, CASE seq WHEN 1 THEN :started ELSE data END
FROM events WHERE run_id = :base AND seq <= :cut ORDER BY seq

-- name: latest
SELECT max(time) FROM events WHERE run_id = ?

-- name: state_of
SELECT status, CASE WHEN gate = 1 AND hold = 1 THEN 0 ELSE hold END, owner, deaths FROM runs WHERE run_id = ?

-- name: pause
UPDATE runs SET hold = 3, wake_at = NULL, reason = :reason WHERE run_id = :run_id

-- name: unpause
UPDATE runs SET hold = CASE WHEN gate = 1 THEN 1 ELSE 0 END, reason = '', deaths = min(deaths, 2),
    wake_at = CASE WHEN owner IS NULL AND gate IS NOT 1 THEN :now END
WHERE run_id = :run_id

-- name: paused_runs
SELECT run_id FROM runs WHERE owner = ? AND hold = 3

-- name: purge_inbox
DELETE FROM inbox WHERE run_id = ?

-- name: purge_activities
DELETE FROM activity_tasks WHERE run_id = ?

-- name: purge_queries
DELETE FROM queries WHERE run_id = ?

-- name: purge_events
DELETE FROM events WHERE run_id = ?

-- name: purge_run
-- What hangs on the row goes with it.
DELETE FROM runs WHERE run_id = ?
