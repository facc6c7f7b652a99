-- name: create
INSERT INTO schedules (schedule_id, revision, record, progress, wake_at, running)
VALUES (:schedule_id, :now, :record, :progress, :wake_at, :running)
ON CONFLICT DO NOTHING

-- name: write
UPDATE schedules SET revision = revision + 1, taken_until = 0,
    record = :record, progress = :progress, wake_at = :wake_at, running = :running
WHERE schedule_id = :schedule_id AND revision = :revision

-- name: find
SELECT schedule_id, revision, record, progress, wake_at FROM schedules WHERE schedule_id = ?

-- name: list
SELECT schedule_id, revision, record, progress, wake_at FROM schedules WHERE schedule_id > ? ORDER BY schedule_id LIMIT ?

-- name: next
SELECT min(max(wake_at, taken_until)) FROM (
    SELECT wake_at, taken_until FROM schedules WHERE wake_at IS NOT NULL ORDER BY wake_at LIMIT 100)

-- name: due
SELECT schedule_id, revision, record, progress, wake_at FROM schedules
WHERE wake_at IS NOT NULL AND wake_at <= :now AND taken_until <= :now ORDER BY wake_at, schedule_id LIMIT :limit

-- name: take
UPDATE schedules SET taken_until = ? WHERE schedule_id IN (SELECT value FROM json_each(?))

-- name: ended
-- Those with an action of which no run is open any more: a chain goes on under one workflow id, and without a gap.
SELECT schedule_id FROM schedules
WHERE running IS NOT NULL AND EXISTS (
    SELECT 1 FROM json_each(running) AS action WHERE NOT EXISTS (
        SELECT 1 FROM runs
        WHERE runs.workflow_id = json_extract(action.value, '$[0]') AND runs.status = 1
            AND coalesce(runs.first_run_id, runs.run_id) = json_extract(action.value, '$[1]')))
ORDER BY taken_until, schedule_id LIMIT ?

-- name: delete
DELETE FROM schedules WHERE schedule_id = ?
