-- name: log
INSERT INTO operator_log (at, run_id, operation, workflow_id, identity, reason, detail, batch_id)
VALUES (:at, :run_id, :operation, :workflow_id, :identity, :reason, :detail, :batch_id)

-- name: read_log
SELECT number, at, run_id, operation, workflow_id, identity, reason, detail, batch_id FROM operator_log
WHERE number < :before ORDER BY number DESC LIMIT :limit

-- name: read_log_of_workflow
SELECT number, at, run_id, operation, workflow_id, identity, reason, detail, batch_id FROM operator_log
WHERE workflow_id = :workflow_id AND number < :before ORDER BY number DESC LIMIT :limit

-- name: read_log_of_batch
SELECT number, at, run_id, operation, workflow_id, identity, reason, detail, batch_id FROM operator_log
WHERE batch_id = :batch_id AND batch_id <> '' AND number < :before ORDER BY number DESC LIMIT :limit

-- name: read_log_of_both
SELECT number, at, run_id, operation, workflow_id, identity, reason, detail, batch_id FROM operator_log
WHERE batch_id = :batch_id AND batch_id <> '' AND workflow_id = :workflow_id AND number < :before
ORDER BY number DESC LIMIT :limit

-- name: oldest_deed
SELECT min(at) FROM (SELECT at FROM operator_log WHERE number > 0 ORDER BY number LIMIT 1)

-- name: prune_log
DELETE FROM operator_log
WHERE number IN (SELECT number FROM operator_log WHERE number > 0 ORDER BY number LIMIT :limit) AND at <= :until
RETURNING batch_id

-- name: is_in_log
SELECT 1 FROM operator_log WHERE batch_id = ? AND batch_id <> '' LIMIT 1

-- name: drop_batch
DELETE FROM batches WHERE batch_id = ?

-- name: drop_batch_runs
DELETE FROM batch_runs WHERE batch_id = ?
