-- Lanes, circuit breakers and rates. See the migration for PostgreSQL for the why.
--
-- Everything here only adds: workers of the release before go on beside it, and take nothing that waits in a lane.

ALTER TABLE activity_tasks ADD COLUMN lane TEXT;
ALTER TABLE activity_tasks ADD COLUMN share REAL;
ALTER TABLE activity_tasks ADD COLUMN limit_key TEXT;
ALTER TABLE activity_tasks ADD COLUMN limit_most INTEGER;
ALTER TABLE activity_tasks ADD COLUMN limit_weight INTEGER;
ALTER TABLE activity_tasks ADD COLUMN breaker TEXT;
ALTER TABLE activity_tasks ADD COLUMN fails_fast INTEGER;
ALTER TABLE activity_tasks ADD COLUMN refused INTEGER;

CREATE INDEX activity_tasks_lanes ON activity_tasks (task_queue, priority, lane, due_at)
    WHERE state = 1 AND lane IS NOT NULL;
CREATE INDEX activity_tasks_limited ON activity_tasks (limit_key)
    WHERE (state = 2 OR outside_since IS NOT NULL) AND limit_key IS NOT NULL;
CREATE INDEX activity_tasks_behind ON activity_tasks (breaker)
    WHERE (state = 2 OR outside_since IS NOT NULL) AND breaker IS NOT NULL;
CREATE INDEX activity_tasks_asked ON activity_tasks (limit_key, scheduled_at) WHERE limit_key IS NOT NULL;

-- What a client has set. Kind 1 for workflows, 2 for activities.
CREATE TABLE limit_keys (
    kind INTEGER NOT NULL CHECK (kind IN (1, 2)),
    key  TEXT    NOT NULL,
    most INTEGER CHECK (most >= 0),
    PRIMARY KEY (kind, key)
) WITHOUT ROWID;

-- `failures` is a JSON array of instants.
CREATE TABLE breakers (
    key        TEXT    NOT NULL PRIMARY KEY,
    open_until INTEGER,
    trials     INTEGER NOT NULL DEFAULT 1,
    forced     INTEGER CHECK (forced IN (1, 2)),
    failures   TEXT    NOT NULL DEFAULT '[]'
) WITHOUT ROWID;

CREATE TABLE rates (
    task_queue TEXT    NOT NULL PRIMARY KEY,
    per_second REAL    NOT NULL CHECK (per_second > 0),
    permits    REAL    NOT NULL,
    at         INTEGER NOT NULL
) WITHOUT ROWID;

ALTER TABLE runs ADD COLUMN gate INTEGER;
ALTER TABLE runs ADD COLUMN gate_at INTEGER;
ALTER TABLE runs ADD COLUMN lane TEXT;
ALTER TABLE runs ADD COLUMN share REAL;
ALTER TABLE runs ADD COLUMN limit_key TEXT;
ALTER TABLE runs ADD COLUMN limit_most INTEGER;
ALTER TABLE runs ADD COLUMN limit_weight INTEGER;

CREATE INDEX runs_lanes ON runs (task_queue, priority, lane, gate_at) WHERE status = 1 AND gate = 1;
CREATE INDEX runs_gated ON runs (task_queue, gate_at) WHERE status = 1 AND gate = 1;
CREATE INDEX runs_limited ON runs (limit_key) WHERE status = 1 AND gate = 2 AND limit_key IS NOT NULL;
CREATE INDEX runs_asked ON runs (limit_key, started_at) WHERE status = 1 AND limit_key IS NOT NULL;
