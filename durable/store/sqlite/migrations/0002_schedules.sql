-- Schedules: what each is for, what it has done, and when it must be looked at again. See the migration for PostgreSQL.
--
-- Everything here only adds: workers of the release before go on beside it, and run no schedules.

-- `running` is a JSON array of [workflow id, first run] of each chain whose end it waits for.
CREATE TABLE schedules (
    schedule_id TEXT    NOT NULL PRIMARY KEY,
    wake_at     INTEGER,
    taken_until INTEGER NOT NULL DEFAULT 0,
    revision    INTEGER NOT NULL,
    running     TEXT,
    record      BLOB    NOT NULL CHECK (typeof(record) = 'blob'),
    progress    BLOB    NOT NULL CHECK (typeof(progress) = 'blob')
);

CREATE INDEX schedules_due ON schedules (wake_at) WHERE wake_at IS NOT NULL;
CREATE INDEX schedules_running ON schedules (schedule_id) WHERE running IS NOT NULL;
