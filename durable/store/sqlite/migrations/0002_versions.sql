-- Worker versions: which there are, whom each queue belongs to, and which runs are kept for one. See the migration for
-- PostgreSQL for the why.
--
-- Everything here only adds: workers of the release before go on beside it, and never see a run that is pinned.

CREATE TABLE deployments (
    name            TEXT    NOT NULL PRIMARY KEY,
    current_version TEXT,
    ramping_version TEXT,
    percentage      REAL    NOT NULL DEFAULT 0,
    current_since   INTEGER,
    ramping_since   INTEGER,
    revision        INTEGER NOT NULL DEFAULT 0,
    created_at      INTEGER NOT NULL,
    changed_by      TEXT    NOT NULL DEFAULT ''
) WITHOUT ROWID;

CREATE TABLE deployment_versions (
    version    TEXT    NOT NULL,
    task_queue TEXT    NOT NULL,
    deployment TEXT    NOT NULL,
    created_at INTEGER NOT NULL,
    was_active INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY (version, task_queue)
) WITHOUT ROWID;

CREATE INDEX deployment_versions_of ON deployment_versions (deployment);

CREATE TABLE queue_routes (
    task_queue      TEXT    NOT NULL PRIMARY KEY,
    deployment      TEXT    NOT NULL,
    current_version TEXT    NOT NULL DEFAULT '',
    ramping_version TEXT    NOT NULL DEFAULT '',
    ramp            INTEGER NOT NULL DEFAULT 0
) WITHOUT ROWID;

ALTER TABLE workers ADD COLUMN version TEXT NOT NULL DEFAULT '';

ALTER TABLE runs ADD COLUMN pinned_to TEXT;
ALTER TABLE runs ADD COLUMN deployment_version TEXT;
ALTER TABLE runs ADD COLUMN versioning_behavior INTEGER;
ALTER TABLE runs ADD COLUMN versioning_override TEXT;

CREATE INDEX runs_pinned ON runs (task_queue, wake_at) WHERE status = 1 AND pinned_to IS NOT NULL;
