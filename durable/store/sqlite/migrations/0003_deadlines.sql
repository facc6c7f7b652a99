-- Deadlines of workflow types: which open runs of a type began long ago, and who looks for them.

CREATE INDEX runs_open_of_type ON runs (workflow_type, coalesce(execution_at, started_at)) WHERE status = 1;

-- One worker at a time looks for a type: the one that asked last before its turn was over. Runs that began up to `near`
-- and `past` have been told of.
CREATE TABLE deadline_turns (
    workflow_type TEXT    NOT NULL PRIMARY KEY,
    holder        TEXT    NOT NULL,
    until         INTEGER NOT NULL,
    near          INTEGER NOT NULL,
    past          INTEGER NOT NULL
) WITHOUT ROWID;
