-- name: in_use
SELECT EXISTS (SELECT 1 FROM runs INDEXED BY runs_lanes WHERE status = 1 AND gate = 1 AND task_queue = ?)

-- name: wait
-- Held and without an instant, so that nobody claims it.
UPDATE runs SET gate = 1, gate_at = wake_at, wake_at = NULL, hold = 1, lane = :lane, share = :share,
    limit_key = :key, limit_most = :most, limit_weight = :weight
WHERE run_id = :run_id AND owner IS NULL

-- name: go_on
UPDATE runs SET gate = 2, lane = :lane, share = :share, limit_key = :key, limit_most = :most, limit_weight = :weight
WHERE run_id = :run_id

-- name: next_priority
SELECT min(priority) FROM runs INDEXED BY runs_lanes WHERE status = 1 AND gate = 1 AND task_queue = ? AND priority > ?

-- name: next_lane
SELECT min(lane) FROM runs INDEXED BY runs_lanes
WHERE status = 1 AND gate = 1 AND task_queue = ? AND priority = ? AND lane > ?

-- name: waiting
SELECT json_group_array(json_array(run_id, gate_at, share, limit_key, limit_weight)) FROM (
    SELECT * FROM runs INDEXED BY runs_lanes
    WHERE status = 1 AND gate = 1 AND task_queue = :queue AND priority = :priority AND lane = :lane
      AND gate_at <= :now AND hold = 1 AND format <= :format
      AND (:types IS NULL OR workflow_type IN (SELECT value FROM json_each(:types)))
    ORDER BY gate_at LIMIT :limit
)

-- name: anything_due
SELECT EXISTS (
    SELECT 1 FROM runs WHERE status = 1 AND owner IS NULL AND wake_at IS NOT NULL AND task_queue = ? AND priority = ?
        AND wake_at <= ?)

-- name: admit
UPDATE runs SET gate = 2, hold = 0, wake_at = gate_at - 3600000000
WHERE run_id IN (SELECT value FROM json_each(?))

-- name: running
SELECT coalesce(sum(limit_weight), 0) FROM runs INDEXED BY runs_limited
WHERE status = 1 AND gate = 2 AND limit_key = ?

-- name: newest
SELECT limit_most FROM runs INDEXED BY runs_asked WHERE status = 1 AND limit_key = ? ORDER BY started_at DESC LIMIT 1

-- name: count_waiting
SELECT count(*) FROM (
    SELECT 1 FROM runs INDEXED BY runs_asked WHERE status = 1 AND limit_key = ? AND gate = 1 LIMIT ?)

-- name: first_due
SELECT min(gate_at) FROM runs INDEXED BY runs_gated WHERE status = 1 AND gate = 1 AND task_queue = ? AND gate_at > ?
