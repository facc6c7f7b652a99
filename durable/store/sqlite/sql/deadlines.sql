-- name: deadline_turn
SELECT holder, until FROM deadline_turns WHERE workflow_type = ?

-- name: take_deadline_turn
INSERT INTO deadline_turns VALUES (?, ?, ?, ?, ?)
ON CONFLICT (workflow_type) DO UPDATE SET holder = excluded.holder, until = excluded.until,
    near = max(near, excluded.near), past = max(past, excluded.past)
RETURNING near, past

-- name: count_late
SELECT count(*) FROM (
    SELECT 1 FROM runs WHERE status = 1 AND workflow_type = :type
      AND coalesce(execution_at, started_at) > :since AND coalesce(execution_at, started_at) <= :until
    ORDER BY coalesce(execution_at, started_at) LIMIT :most)

-- name: late_runs
SELECT workflow_id, run_id, coalesce(execution_at, started_at) FROM runs
WHERE status = 1 AND workflow_type = :type
  AND coalesce(execution_at, started_at) > max(:since, :told) AND coalesce(execution_at, started_at) <= :until
ORDER BY coalesce(execution_at, started_at) LIMIT :limit
