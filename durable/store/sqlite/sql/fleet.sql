-- name: set_queue_state
INSERT INTO queue_states VALUES (?, ?)
ON CONFLICT (task_queue) DO UPDATE SET state = excluded.state WHERE state <> excluded.state

-- name: open_queue
DELETE FROM queue_states WHERE task_queue = ?

-- name: queue_state
SELECT state FROM queue_states WHERE task_queue = ?

-- name: survey_turn
SELECT holder, until FROM survey_turn WHERE single = 1

-- name: take_survey_turn
UPDATE survey_turn SET holder = ?, until = ? WHERE single = 1

-- name: next_place_of_runs
SELECT min(task_queue) FROM runs WHERE status = 1 AND owner IS NULL AND wake_at IS NOT NULL AND task_queue > ?

-- name: next_place_of_gated
SELECT min(task_queue) FROM runs WHERE status = 1 AND gate = 1 AND task_queue > ?

-- name: next_place_of_activities
SELECT min(task_queue) FROM activity_tasks WHERE state = 1 AND task_queue > ?

-- name: next_place_of_messages
SELECT min(task_queue) FROM inbox WHERE task_queue > ?

-- name: count_runs_due
SELECT count(*), min(at) FROM (
    SELECT wake_at AS at FROM runs
    WHERE status = 1 AND owner IS NULL AND wake_at IS NOT NULL
      AND task_queue = :place AND priority = :priority AND wake_at <= :now
    ORDER BY wake_at LIMIT :most)

-- name: count_gated
SELECT count(*), min(at) FROM (
    SELECT gate_at AS at FROM runs WHERE status = 1 AND gate = 1 AND task_queue = :place AND gate_at <= :now
    ORDER BY gate_at LIMIT :most)

-- name: count_activities_due
SELECT count(*), min(at) FROM (
    SELECT max(due_at, scheduled_at) AS at FROM activity_tasks
    WHERE state = 1 AND task_queue = :place AND priority = :priority AND due_at <= :now
    ORDER BY due_at LIMIT :most)

-- name: count_messages
SELECT count(*) FROM (SELECT 1 FROM inbox WHERE task_queue = :place ORDER BY position LIMIT :most)

-- name: count_owned
SELECT task_queue, count(*) FROM (
    SELECT task_queue FROM runs WHERE owner IS NOT NULL AND owner >= '' ORDER BY owner LIMIT :most) GROUP BY task_queue

-- name: queue_states
SELECT task_queue, state FROM queue_states WHERE task_queue >= ''

-- name: count_open
SELECT count(*) FROM (SELECT 1 FROM runs WHERE status = 1 AND workflow_id >= '' ORDER BY workflow_id LIMIT :most)

-- name: count_held
SELECT hold, count(*) FROM (
    SELECT hold FROM runs WHERE status = 1 AND hold > 0 AND (hold > 1 OR gate IS NOT 1)
    ORDER BY hold, started_at LIMIT :most) GROUP BY hold

-- name: count_retrying
SELECT count(*) FROM (
    SELECT 1 FROM activity_tasks WHERE state = 1 AND attempt > 1 AND run_id >= '' ORDER BY run_id LIMIT :most)
