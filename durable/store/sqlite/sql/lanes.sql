-- name: in_use
SELECT EXISTS (SELECT 1 FROM activity_tasks WHERE state = 1 AND task_queue = ?)

-- name: enter
UPDATE activity_tasks SET lane = given.column3, share = given.column4, limit_key = given.column5,
    limit_most = given.column6, limit_weight = given.column7, breaker = given.column8, fails_fast = given.column9
FROM (VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)) AS given WHERE run_id = given.column1 AND id = given.column2

-- name: next_priority
SELECT min(priority) FROM activity_tasks INDEXED BY activity_tasks_lanes
WHERE state = 1 AND lane IS NOT NULL AND task_queue = ? AND priority > ?

-- name: next_lane
SELECT min(lane) FROM activity_tasks INDEXED BY activity_tasks_lanes
WHERE state = 1 AND lane IS NOT NULL AND task_queue = ? AND priority = ? AND lane > ?

-- name: waiting
SELECT json_group_array(json_array(
    run_id, id, due_at, share, limit_key, limit_weight, breaker, fails_fast)) FROM (
    SELECT * FROM activity_tasks INDEXED BY activity_tasks_lanes
    WHERE state = 1 AND lane IS NOT NULL AND task_queue = :queue AND priority = :priority AND lane = :lane
      AND due_at <= :now AND (deadline IS NULL OR deadline > :now)
      AND (:types IS NULL OR activity_type IN (SELECT value FROM json_each(:types)))
      AND EXISTS (
          SELECT 1 FROM runs r WHERE r.run_id = activity_tasks.run_id AND r.format <= :format AND r.hold <> 3
            AND (:whole OR (durable_ramp(r.workflow_id) >= :low AND durable_ramp(r.workflow_id) < :high)))
    ORDER BY due_at LIMIT :limit
)

-- name: running
SELECT coalesce(sum(limit_weight), 0) FROM activity_tasks INDEXED BY activity_tasks_limited
WHERE (state = 2 OR outside_since IS NOT NULL) AND limit_key = ?

-- name: pinned
SELECT most FROM limit_keys WHERE kind = ? AND key = ?

-- name: newest
SELECT limit_most FROM activity_tasks INDEXED BY activity_tasks_asked
WHERE limit_key = ? ORDER BY scheduled_at DESC LIMIT 1

-- name: count_waiting
SELECT count(*) FROM (
    SELECT 1 FROM activity_tasks INDEXED BY activity_tasks_asked WHERE limit_key = ? AND state = 1
        AND outside_since IS NULL LIMIT ?)

-- name: refuse
UPDATE activity_tasks SET refused = given.column3
FROM (VALUES (?, ?, ?)) AS given WHERE run_id = given.column1 AND id = given.column2

-- name: set_key
INSERT INTO limit_keys (kind, key, most) VALUES (?, ?, ?) ON CONFLICT (kind, key) DO UPDATE SET most = excluded.most

-- name: drop_key
DELETE FROM limit_keys WHERE kind = ? AND key = ?

-- name: breaker
SELECT failures, open_until, trials, forced FROM breakers WHERE key = ?

-- name: trying
SELECT count(*) FROM activity_tasks INDEXED BY activity_tasks_behind
WHERE (state = 2 OR outside_since IS NOT NULL) AND breaker = ? AND refused IS NOT 1

-- name: write_breaker
INSERT INTO breakers (key, failures, open_until, trials, forced) VALUES (?, ?, ?, ?, ?)
ON CONFLICT (key) DO UPDATE SET failures = excluded.failures, open_until = excluded.open_until,
    trials = excluded.trials, forced = excluded.forced

-- name: rate
SELECT per_second, permits, at FROM rates WHERE task_queue = ?

-- name: set_rate
INSERT INTO rates (task_queue, per_second, permits, at) VALUES (?, ?, ?, ?)
ON CONFLICT (task_queue) DO UPDATE SET per_second = excluded.per_second

-- name: take_permits
UPDATE rates SET permits = ?, at = ? WHERE task_queue = ?

-- name: drop_rate
DELETE FROM rates WHERE task_queue = ?
