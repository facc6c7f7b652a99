-- name: add_deployment
INSERT INTO deployments (name, created_at) VALUES (?, ?) ON CONFLICT DO NOTHING

-- name: add_version
INSERT INTO deployment_versions (version, task_queue, deployment, created_at) VALUES (?, ?, ?, ?) ON CONFLICT DO NOTHING

-- name: serves
SELECT 1 FROM deployment_versions WHERE version = ? AND task_queue = ?

-- name: queues
SELECT DISTINCT task_queue FROM deployment_versions WHERE deployment = ? ORDER BY task_queue

-- name: find_deployments
SELECT name, current_version, ramping_version, percentage, current_since, ramping_since, revision, created_at, changed_by
FROM deployments WHERE :name IS NULL OR name = :name ORDER BY name

-- name: find_versions
SELECT version, json_group_array(task_queue), min(created_at),
    max(EXISTS (SELECT 1 FROM runs
        WHERE runs.task_queue = v.task_queue || char(31) || v.version AND status = 1 AND pinned_to IS NOT NULL)),
    max(was_active)
FROM deployment_versions AS v WHERE deployment = ? GROUP BY version ORDER BY min(created_at), version

-- name: write_deployment
UPDATE deployments SET
    current_since = CASE WHEN current_version IS NOT :current THEN :now ELSE current_since END,
    ramping_since = CASE WHEN :ramping IS NULL THEN NULL WHEN ramping_version IS NOT :ramping THEN :now
        ELSE ramping_since END,
    current_version = :current, ramping_version = :ramping, percentage = :percentage, revision = revision + 1,
    changed_by = :changed_by
WHERE name = :name AND revision = :revision

-- name: activate
UPDATE deployment_versions SET was_active = 1 WHERE version IN (?, ?) AND was_active = 0

-- name: route
-- Of two deployments that serve a queue, it belongs to the one that was set last.
INSERT INTO queue_routes (task_queue, deployment, current_version, ramping_version, ramp)
VALUES (:task_queue, :deployment, :current, :ramping, :ramp)
ON CONFLICT DO UPDATE SET deployment = excluded.deployment, current_version = excluded.current_version,
    ramping_version = excluded.ramping_version, ramp = excluded.ramp
    WHERE :set OR deployment = excluded.deployment OR (current_version = '' AND ramp = 0)

-- name: forget_version
DELETE FROM deployment_versions WHERE version = ?

-- name: workers_of
SELECT worker_id, task_queues FROM workers WHERE version = ? AND dead = 0

-- name: queue_route
SELECT current_version, ramping_version, ramp FROM queue_routes WHERE task_queue = ?

-- name: any_route
SELECT 1 FROM queue_routes LIMIT 1

-- name: owned_places
SELECT run_id, task_queue, workflow_id FROM runs WHERE owner = ? AND owner IS NOT NULL

-- name: stranded
SELECT version, task_queue FROM deployment_versions AS v
WHERE EXISTS (
        SELECT 1 FROM runs WHERE pinned_to IS NOT NULL AND status = 1 AND owner IS NULL AND wake_at <= ?
            AND runs.task_queue = v.task_queue || char(31) || v.version)
    OR EXISTS (SELECT 1 FROM inbox WHERE inbox.task_queue = v.task_queue || char(31) || v.version)
ORDER BY version, task_queue

-- name: versions_of_run
SELECT task_queue, pinned_to, deployment_version, versioning_behavior, versioning_override, execution_at,
    coalesce(gate = 1, 0)
FROM runs WHERE run_id = ?

-- name: stamp
UPDATE runs SET deployment_version = :version, versioning_behavior = :behavior, format = max(format, 2),
    pinned_to = :pinned_to, task_queue = :place
WHERE run_id = :run_id

-- name: override
UPDATE runs SET versioning_override = :override, format = max(format, 2), pinned_to = :pinned_to, task_queue = :place,
    wake_at = CASE WHEN owner IS NULL AND hold < 2 AND NOT :waits THEN :now ELSE wake_at END
WHERE run_id = :run_id

-- name: move_inbox
UPDATE inbox SET task_queue = :place WHERE run_id = :run_id

-- name: queued_activities
SELECT id, task_queue FROM activity_tasks WHERE run_id = ? AND state = 1

-- name: move_activity
UPDATE activity_tasks SET task_queue = ? WHERE run_id = ? AND id = ?
