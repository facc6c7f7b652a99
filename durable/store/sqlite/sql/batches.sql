-- name: begin_batch
INSERT INTO batches (batch_id, digest) VALUES (?, ?) ON CONFLICT DO NOTHING

-- name: read_batch
SELECT batch_id, digest, position, gathered, (SELECT count(*) FROM batch_runs WHERE batch_runs.batch_id = batches.batch_id),
    done, skipped, failed, errors
FROM batches WHERE batch_id = ?

-- name: move_batch
UPDATE batches SET position = :following, gathered = :gathered
WHERE batch_id = :batch_id AND position = :position AND NOT gathered

-- name: gather_batch
INSERT INTO batch_runs (batch_id, key, workflow_id, run_id) VALUES (?, ?, ?, ?)
ON CONFLICT (batch_id, key) DO UPDATE SET workflow_id = excluded.workflow_id, run_id = excluded.run_id

-- name: pending_batch_runs
SELECT number, key, workflow_id, run_id FROM batch_runs WHERE batch_id = ? ORDER BY number LIMIT ?

-- name: settle_run
DELETE FROM batch_runs WHERE batch_id = ? AND number = ?

-- name: count_settled
UPDATE batches SET done = done + ?, skipped = skipped + ?, failed = failed + ?, errors = ? WHERE batch_id = ?

-- name: errors_of_batch
SELECT errors FROM batches WHERE batch_id = ?
