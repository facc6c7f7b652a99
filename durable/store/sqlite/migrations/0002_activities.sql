-- Activities that are not a worker's for a while, and what operators do to activities. See the migration for PostgreSQL for the why.
--
-- Everything here only adds: workers of the release before go on beside it.

ALTER TABLE activity_tasks ADD COLUMN outside_since INTEGER;
ALTER TABLE activity_tasks ADD COLUMN paused_at INTEGER;
ALTER TABLE activity_tasks ADD COLUMN pause_reason TEXT NOT NULL DEFAULT '';
ALTER TABLE activity_tasks ADD COLUMN cancel_reason TEXT NOT NULL DEFAULT '';
ALTER TABLE activity_tasks ADD COLUMN attempt_base INTEGER NOT NULL DEFAULT 0;
ALTER TABLE activity_tasks ADD COLUMN anew INTEGER NOT NULL DEFAULT 0 CHECK (anew BETWEEN 0 AND 2);
ALTER TABLE activity_tasks ADD COLUMN revision INTEGER NOT NULL DEFAULT 0;

-- Rows of runs that have one activity and no code, and among them those that workers of the release before have ended.
ALTER TABLE activity_tasks ADD COLUMN sole INTEGER;
CREATE INDEX activity_tasks_stray ON activity_tasks (sole) WHERE sole = 1 AND state = 3;
