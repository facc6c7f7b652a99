-- Task queues that an operator holds, and who looks at all of them for metrics.
--
-- Everything here only adds: workers of the release before go on beside it, and take work of a queue that is held.

-- No row: its workers take work.
CREATE TABLE queue_states (
    task_queue TEXT    NOT NULL PRIMARY KEY,
    state      INTEGER NOT NULL CHECK (state IN (1, 2)) -- paused, draining
) WITHOUT ROWID;

-- One worker at a time looks: the one that asked last before its turn was over.
CREATE TABLE survey_turn (
    single INTEGER NOT NULL PRIMARY KEY CHECK (single = 1),
    holder TEXT,
    until  INTEGER NOT NULL
);

INSERT INTO survey_turn VALUES (1, NULL, 0);

-- Activities that wait for another attempt.
CREATE INDEX activity_tasks_retrying ON activity_tasks (run_id) WHERE state = 1 AND attempt > 1;

-- Runs that are held, but for those that wait for their turn under a limit.
CREATE INDEX runs_held ON runs (hold, started_at, run_id)
    WHERE status = 1 AND hold > 0 AND (hold > 1 OR gate IS NOT 1);
