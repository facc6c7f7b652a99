-- Chains of runs, parents and children, updates, and runs that take no messages for a moment.
--
-- Everything here only adds: workers of the release before go on beside it, and know nothing of it.

-- The first run of a chain has no first run. What its parent's end does to a run: 1 terminates it, 3 asks it to cancel.
-- Until `held_back_until` no messages from outside are taken.
ALTER TABLE runs ADD COLUMN first_run_id TEXT;
ALTER TABLE runs ADD COLUMN parent_run_id TEXT;
ALTER TABLE runs ADD COLUMN parent_close_policy INTEGER;
ALTER TABLE runs ADD COLUMN held_back_until INTEGER;

CREATE INDEX runs_children ON runs (parent_run_id) WHERE status = 1 AND parent_close_policy IN (1, 3);

-- How far updates have come: accepted (2), completed (3). One without a row and without a message is unknown to the run.
CREATE TABLE update_outcomes (
    run_id     TEXT    NOT NULL REFERENCES runs ON DELETE CASCADE,
    message_id TEXT    NOT NULL,
    stage      INTEGER NOT NULL CHECK (stage IN (2, 3)),
    data       BLOB    NOT NULL CHECK (typeof(data) = 'blob'),
    PRIMARY KEY (run_id, message_id)
) WITHOUT ROWID;

-- Terminations are carried out by whoever finds them, not by the run's owner only; and so are cancel requests, as long as
-- their run waits to be admitted.
CREATE INDEX inbox_endings ON inbox (run_id) WHERE type IN (3, 13);
