-- name: ask
INSERT INTO queries (query_id, run_id, workflow_type, task_queue, name, asked_at, expires_at, input)
SELECT :query_id, run_id, workflow_type, task_queue, :name, :now, :now + :expires_in, :input
FROM runs WHERE run_id = :run_id
ON CONFLICT DO NOTHING

-- name: has_run
SELECT 1 FROM runs WHERE run_id = ?

-- name: is_any_open
SELECT 1 FROM queries WHERE answer IS NULL AND expires_at > ? LIMIT 1

-- name: is_any_expired
SELECT 1 FROM queries WHERE expires_at <= ? LIMIT 1

-- name: take
-- For the owner at once; for anybody who has the code when there is none, or when it has been silent.
UPDATE queries SET taken_until = :now + :taken_for
WHERE query_id IN (
    SELECT q.query_id FROM queries AS q JOIN runs AS r ON r.run_id = q.run_id
    WHERE q.answer IS NULL AND q.expires_at > :now AND q.taken_until <= :now
        AND (r.owner = :worker_id OR (
            (r.owner IS NULL OR q.asked_at + :patience <= :now)
            AND r.task_queue IN (SELECT value FROM json_each(:task_queues))
            AND (:workflow_types IS NULL OR r.workflow_type IN (SELECT value FROM json_each(:workflow_types)))
            AND r.format <= :format))
    ORDER BY q.asked_at, q.query_id LIMIT :limit)
RETURNING query_id, run_id, workflow_type, task_queue, name, input, expires_at - :now

-- name: answer
UPDATE queries SET answer = :answer WHERE query_id = :query_id AND answer IS NULL

-- name: read_answers
SELECT query_id, run_id, answer FROM queries
WHERE query_id IN (SELECT value FROM json_each(?)) AND answer IS NOT NULL

-- name: sweep
DELETE FROM queries WHERE query_id IN (SELECT query_id FROM queries WHERE expires_at <= ? LIMIT ?)
