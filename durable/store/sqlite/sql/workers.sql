-- name: register
INSERT INTO workers (worker_id, identity, task_queues, lease, registered_at, version) VALUES (?, ?, ?, ?, ?, ?)

-- name: mark_dead
UPDATE workers SET dead = 1 WHERE worker_id = ? AND dead = 0

-- name: is_dead
SELECT dead, version FROM workers WHERE worker_id = ?

-- name: list
SELECT worker_id, identity, task_queues, lease, dead, version FROM workers ORDER BY registered_at, worker_id

-- name: remove_unnamed
DELETE FROM workers
WHERE dead = 1
  AND NOT EXISTS (SELECT 1 FROM runs WHERE owner = worker_id AND owner IS NOT NULL)
  AND NOT EXISTS (SELECT 1 FROM activity_tasks WHERE worker = worker_id AND state = 2)

-- name: lost_owners
-- Every owner once, by a jump from each to the next in the index, without those that live.
WITH RECURSIVE owners (owner) AS (
    SELECT min(owner) FROM runs WHERE owner IS NOT NULL
    UNION ALL
    SELECT (SELECT min(runs.owner) FROM runs WHERE runs.owner > owners.owner AND runs.owner IS NOT NULL)
    FROM owners WHERE owners.owner IS NOT NULL
)
SELECT json_group_array(owner) FROM owners
WHERE owner IS NOT NULL AND NOT EXISTS (SELECT 1 FROM workers WHERE worker_id = owner AND dead = 0)

-- name: lost_workers
WITH RECURSIVE busy (worker) AS (
    SELECT min(worker) FROM activity_tasks WHERE state = 2 AND worker IS NOT NULL
    UNION ALL
    SELECT (SELECT min(tasks.worker) FROM activity_tasks AS tasks WHERE state = 2 AND tasks.worker > busy.worker)
    FROM busy WHERE busy.worker IS NOT NULL
)
SELECT json_group_array(worker) FROM busy
WHERE worker IS NOT NULL AND NOT EXISTS (SELECT 1 FROM workers WHERE worker_id = worker AND dead = 0)

-- name: free_runs
UPDATE runs SET
    owner = NULL, epoch = epoch + 1, deaths = deaths + 1,
    wake_at = CASE WHEN deaths < :probation AND hold <> 3 THEN :now END,
    hold = CASE WHEN deaths < :probation OR hold = 3 THEN hold ELSE 2 END,
    reason = CASE WHEN deaths < :probation OR hold = 3 THEN reason ELSE replace(:reason, '{deaths}', deaths + 1) END
WHERE run_id IN (SELECT run_id FROM runs WHERE owner = :owner AND owner IS NOT NULL LIMIT :limit)

-- name: free_activities
UPDATE activity_tasks SET worker = NULL
WHERE (run_id, id) IN (SELECT run_id, id FROM activity_tasks WHERE state = 2 AND worker = :worker LIMIT :limit)
