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
