-- How long closed runs are kept, and how those that have been kept for long enough are removed.
--
-- Everything here only adds: workers of the release before go on beside it, and remove nothing by themselves.

-- Which runs of a type closed first; found by type, since each may be kept for another time.
CREATE INDEX runs_closed ON runs (workflow_type, closed_at) WHERE closed_at IS NOT NULL;

-- For a workflow type, or '' for all others: how long they are kept in microseconds, NULL for ever; and whether they are to be
-- exported before they are removed.
CREATE TABLE retention (
    workflow_type TEXT    NOT NULL PRIMARY KEY,
    keep          INTEGER CHECK (keep >= 0),
    export        INTEGER NOT NULL CHECK (export IN (0, 1))
) WITHOUT ROWID;

-- One worker at a time removes runs: whoever finds that the next turn has come.
CREATE TABLE retention_turn (
    single  INTEGER NOT NULL PRIMARY KEY CHECK (single = 1),
    next_at INTEGER NOT NULL
);

INSERT INTO retention_turn VALUES (1, 0);

-- Runs that are gone but for the rest of a long history.
CREATE TABLE retention_rest (run_id TEXT NOT NULL PRIMARY KEY) WITHOUT ROWID;
