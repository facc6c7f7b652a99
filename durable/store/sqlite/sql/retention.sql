-- name: set_retention
INSERT INTO retention (workflow_type, keep, export) VALUES (?, ?, ?)
ON CONFLICT (workflow_type) DO UPDATE SET keep = excluded.keep, export = excluded.export

-- name: clear_retention
DELETE FROM retention WHERE workflow_type = ?

-- name: read_retention
SELECT workflow_type, keep, export FROM retention WHERE workflow_type >= '' ORDER BY workflow_type

-- name: is_turn
SELECT 1 FROM retention_turn WHERE single = 1 AND next_at <= :now AND (
    EXISTS (SELECT 1 FROM retention WHERE workflow_type >= '') OR EXISTS (SELECT 1 FROM retention_rest WHERE run_id >= ''))

-- name: set_turn
UPDATE retention_turn SET next_at = ? WHERE single = 1

-- name: overdue
-- From type to type by the index, and of each type from the one that closed first.
WITH RECURSIVE types (name) AS (
    SELECT (SELECT workflow_type FROM runs INDEXED BY runs_closed
        WHERE closed_at IS NOT NULL AND workflow_type >= '' ORDER BY workflow_type LIMIT 1)
    UNION ALL
    SELECT (SELECT workflow_type FROM runs INDEXED BY runs_closed
        WHERE closed_at IS NOT NULL AND workflow_type > types.name ORDER BY workflow_type LIMIT 1)
    FROM types WHERE types.name IS NOT NULL)
SELECT name, keep FROM (
    SELECT name,
        (SELECT keep FROM retention WHERE workflow_type IN (name, '') ORDER BY workflow_type DESC LIMIT 1) AS keep,
        (SELECT export FROM retention WHERE workflow_type IN (name, '') ORDER BY workflow_type DESC LIMIT 1) AS export
    FROM types WHERE name IS NOT NULL)
WHERE keep IS NOT NULL AND export <= :exports

-- name: overdue_of_type
SELECT run_id, workflow_id, workflow_type, status, closed_at,
    coalesce((SELECT max(seq) FROM events WHERE events.run_id = runs.run_id), 0)
FROM runs INDEXED BY runs_closed
WHERE workflow_type = :type AND closed_at IS NOT NULL AND closed_at < :before ORDER BY closed_at LIMIT :limit

-- name: rest
SELECT run_id FROM retention_rest WHERE run_id >= '' LIMIT 1

-- name: cut_rest
DELETE FROM events WHERE run_id = :run_id
    AND seq < :events + (SELECT min(seq) FROM events WHERE run_id = :run_id)

-- name: end_rest
DELETE FROM retention_rest WHERE run_id = :run_id AND NOT EXISTS (SELECT 1 FROM events WHERE run_id = :run_id)

-- name: retire_events
DELETE FROM events WHERE run_id = :run_id AND seq <= :events

-- name: keep_rest
INSERT INTO retention_rest SELECT :run_id WHERE EXISTS (SELECT 1 FROM events WHERE run_id = :run_id)
