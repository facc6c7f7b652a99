-- name: add_types
INSERT INTO search_attribute_types (name, type) VALUES (?, ?) ON CONFLICT DO NOTHING

-- name: types
SELECT name, type FROM search_attribute_types

-- name: drop_attributes
DELETE FROM search_attributes WHERE (run_id, name) IN (VALUES (?, ?))

-- name: insert_attributes
INSERT INTO search_attributes (run_id, name, position, text_value, int_value, float_value) VALUES (?, ?, ?, ?, ?, ?)

-- name: set_info
UPDATE run_data SET info = ? WHERE run_id = ?

-- name: list_runs
-- The page comes first, and with its keys, of which the next page's token is made.
SELECT p.*, r.run_id, r.workflow_id, r.workflow_type, r.task_queue, r.status, r.started_at,
    coalesce(r.execution_at, r.started_at), r.closed_at, r.history_length, coalesce(r.first_run_id, r.run_id),
    r.parent_workflow_id, r.parent_run_id, coalesce(r.root_workflow_id, r.workflow_id), coalesce(r.root_run_id, r.run_id),
    d.info, coalesce(r.pinned_to, r.deployment_version, ''), CASE r.versioning_override
        WHEN 'auto_upgrade' THEN 2 ELSE CASE WHEN r.versioning_override IS NULL
            THEN coalesce(r.versioning_behavior, 0) ELSE 1 END END,
    CASE WHEN r.hold = 1 AND r.wake_at IS NULL AND r.owner IS NULL THEN 0 ELSE r.hold END, r.reason
FROM (SELECT row_number() OVER () AS number, q.* FROM (:page) q) p
CROSS JOIN runs r ON r.run_id = p.run_id
CROSS JOIN run_data d ON d.run_id = r.run_id
ORDER BY p.number
