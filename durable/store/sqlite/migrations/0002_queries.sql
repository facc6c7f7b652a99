-- Queries of callers that do not have the workflow's code: each waits here for a worker that does, and then for its caller.
--
-- Everything here only adds: workers of the release before go on beside it, and answer none.

-- The queue and the type are the run's. Until `taken_until` somebody is at it; behind `expires_at` nobody waits for it.
CREATE TABLE queries (
    query_id      TEXT    NOT NULL PRIMARY KEY,
    run_id        TEXT    NOT NULL,
    workflow_type TEXT    NOT NULL,
    task_queue    TEXT    NOT NULL,
    name          TEXT    NOT NULL,
    asked_at      INTEGER NOT NULL,
    expires_at    INTEGER NOT NULL,
    taken_until   INTEGER NOT NULL DEFAULT 0,
    input         BLOB    NOT NULL CHECK (typeof(input) = 'blob'),
    answer        BLOB    CHECK (typeof(answer) IN ('blob', 'null'))
) WITHOUT ROWID;
