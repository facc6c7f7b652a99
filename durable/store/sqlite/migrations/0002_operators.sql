-- What operators did, and what they do to many runs at once. See the migration for PostgreSQL for the why.
--
-- Everything here only adds: workers of the release before go on beside it.

CREATE TABLE operator_log (
    number      INTEGER PRIMARY KEY AUTOINCREMENT,
    at          INTEGER NOT NULL,
    run_id      TEXT    NOT NULL,
    operation   TEXT    NOT NULL,
    workflow_id TEXT    NOT NULL,
    identity    TEXT    NOT NULL,
    reason      TEXT    NOT NULL,
    detail      TEXT    NOT NULL,
    batch_id    TEXT    NOT NULL
);

CREATE INDEX operator_log_workflow ON operator_log (workflow_id, number);
CREATE INDEX operator_log_batch ON operator_log (batch_id, workflow_id, number) WHERE batch_id <> '';

-- `errors` is a JSON array of texts.
CREATE TABLE batches (
    batch_id TEXT    NOT NULL PRIMARY KEY,
    digest   TEXT    NOT NULL,
    position BLOB    NOT NULL DEFAULT x'' CHECK (typeof(position) = 'blob'),
    gathered INTEGER NOT NULL DEFAULT 0 CHECK (gathered IN (0, 1)),
    done     INTEGER NOT NULL DEFAULT 0,
    skipped  INTEGER NOT NULL DEFAULT 0,
    failed   INTEGER NOT NULL DEFAULT 0,
    errors   TEXT    NOT NULL DEFAULT '[]'
) WITHOUT ROWID;

CREATE TABLE batch_runs (
    number       INTEGER PRIMARY KEY AUTOINCREMENT,
    batch_id     TEXT NOT NULL,
    key          TEXT NOT NULL,
    workflow_id  TEXT NOT NULL,
    run_id       TEXT NOT NULL,
    UNIQUE (batch_id, key)
);

CREATE INDEX batch_runs_pending ON batch_runs (batch_id, number);
