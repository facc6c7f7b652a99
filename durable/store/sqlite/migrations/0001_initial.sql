-- The tables of an SQLite database of `durable`.
--
-- Instants and durations are integers of microseconds. A CHECK states what the code must never break, so that a bug is an
-- error at its first write and not a run nobody can find. Tables that are always reached by their key have no rowid: one
-- tree instead of two.

-- Narrow and rarely written: at the start, a claim, a release and the close. A step does not touch it.
CREATE TABLE runs (
    run_id         TEXT    NOT NULL PRIMARY KEY,
    workflow_id    TEXT    NOT NULL,
    workflow_type  TEXT    NOT NULL,
    task_queue     TEXT    NOT NULL,
    status         INTEGER NOT NULL DEFAULT 1 CHECK (status BETWEEN 1 AND 7),
    hold           INTEGER NOT NULL DEFAULT 0 CHECK (hold BETWEEN 0 AND 3),
    reason         TEXT    NOT NULL DEFAULT '',
    owner          TEXT,
    epoch          INTEGER NOT NULL DEFAULT 0 CHECK (epoch >= 0),
    wake_at        INTEGER,
    priority       INTEGER NOT NULL,
    format         INTEGER NOT NULL,
    deaths         INTEGER NOT NULL DEFAULT 0 CHECK (deaths >= 0),
    started_at     INTEGER NOT NULL,
    closed_at      INTEGER,
    times_out_at   INTEGER,
    history_length INTEGER, -- both are known when the run has closed; until then the events are counted
    history_size   INTEGER,
    CHECK ((status = 1) = (closed_at IS NULL)),
    CHECK (status = 1 OR (owner IS NULL AND wake_at IS NULL AND hold = 0)),
    CHECK (owner IS NULL OR wake_at IS NULL),
    CHECK (owner IS NULL OR epoch > 0)
) WITHOUT ROWID;

CREATE UNIQUE INDEX runs_open ON runs (workflow_id) WHERE status = 1;
CREATE INDEX runs_by_workflow ON runs (workflow_id, started_at);
CREATE INDEX runs_due ON runs (task_queue, priority, wake_at)
    WHERE status = 1 AND owner IS NULL AND wake_at IS NOT NULL;
CREATE INDEX runs_owned ON runs (owner) WHERE owner IS NOT NULL;
CREATE INDEX runs_timing_out ON runs (times_out_at) WHERE status = 1 AND times_out_at IS NOT NULL;

-- What only lists and descriptions read.
CREATE TABLE run_data (
    run_id TEXT NOT NULL PRIMARY KEY REFERENCES runs ON DELETE CASCADE,
    info   BLOB NOT NULL CHECK (typeof(info) = 'blob')
);

-- The histories. The key is the compare-and-set: a position is written once. With a rowid, so that what is committed
-- together lies together: by its key alone each run of a commit would write a page of its own, twice the log in all, while
-- a history is written at every step and read once or never.
CREATE TABLE events (
    run_id TEXT    NOT NULL,
    seq    INTEGER NOT NULL CHECK (seq > 0),
    task   INTEGER NOT NULL CHECK (task > 0),
    type   INTEGER NOT NULL,
    time   INTEGER NOT NULL,
    data   BLOB    NOT NULL CHECK (typeof(data) = 'blob'),
    PRIMARY KEY (run_id, seq)
);

-- Unread messages of open runs. AUTOINCREMENT, because a position must never come back: a consumer names positions, and
-- may do so twice. The queue is the run's, copied so that a claim scans the messages of its own queues only.
CREATE TABLE inbox (
    position   INTEGER PRIMARY KEY AUTOINCREMENT,
    run_id     TEXT    NOT NULL,
    message_id TEXT    NOT NULL,
    task_queue TEXT    NOT NULL,
    type       INTEGER NOT NULL,
    internal   INTEGER NOT NULL CHECK (internal IN (0, 1)),
    data       BLOB    NOT NULL CHECK (typeof(data) = 'blob'),
    UNIQUE (run_id, message_id)
);

CREATE INDEX inbox_by_run ON inbox (run_id, position);
CREATE INDEX inbox_by_queue ON inbox (task_queue, position);

-- Activities that need the database: queued (1), running and heartbeating (2), done but not yet in the history (3).
CREATE TABLE activity_tasks (
    run_id           TEXT    NOT NULL,
    id               INTEGER NOT NULL,
    activity_type    TEXT    NOT NULL,
    task_queue       TEXT    NOT NULL,
    state            INTEGER NOT NULL CHECK (state BETWEEN 1 AND 3),
    attempt          INTEGER NOT NULL CHECK (attempt > 0),
    priority         INTEGER NOT NULL,
    due_at           INTEGER NOT NULL,
    deadline         INTEGER,
    start_by         INTEGER,
    close_by         INTEGER,
    start_to_close   INTEGER,
    heartbeat        INTEGER,
    worker           TEXT,
    started_at       INTEGER,
    scheduled_at     INTEGER NOT NULL,
    cancel_requested INTEGER NOT NULL DEFAULT 0 CHECK (cancel_requested IN (0, 1)),
    progress         BLOB    NOT NULL CHECK (typeof(progress) = 'blob'),
    PRIMARY KEY (run_id, id),
    CHECK ((state = 2) OR worker IS NULL),
    CHECK ((state = 2) = (started_at IS NOT NULL))
) WITHOUT ROWID;

CREATE INDEX activity_tasks_queued ON activity_tasks (task_queue, priority, due_at) WHERE state = 1;
CREATE INDEX activity_tasks_deadline ON activity_tasks (deadline) WHERE state < 3 AND deadline IS NOT NULL;
CREATE INDEX activity_tasks_running ON activity_tasks (worker) WHERE state = 2;

-- Apart from the row above, which every heartbeat writes anew, since these bytes never change and may be large.
CREATE TABLE activity_inputs (
    run_id    TEXT    NOT NULL,
    id        INTEGER NOT NULL,
    scheduled BLOB    NOT NULL CHECK (typeof(scheduled) = 'blob'),
    PRIMARY KEY (run_id, id),
    FOREIGN KEY (run_id, id) REFERENCES activity_tasks ON DELETE CASCADE
);

-- One row for each incarnation. Whether it lives is not written here: it holds a lock on a file of its own.
CREATE TABLE workers (
    worker_id     TEXT    NOT NULL PRIMARY KEY,
    identity      TEXT    NOT NULL,
    task_queues   TEXT    NOT NULL,
    lease         INTEGER NOT NULL,
    dead          INTEGER NOT NULL DEFAULT 0 CHECK (dead IN (0, 1)),
    registered_at INTEGER NOT NULL
);
