-- What runs are listed, counted and found by. See the migration for PostgreSQL for the why.
--
-- Everything here only adds: workers of the release before go on beside it, and their runs have no attributes to be found by.

ALTER TABLE runs ADD COLUMN execution_at INTEGER;
ALTER TABLE runs ADD COLUMN parent_workflow_id TEXT;
ALTER TABLE runs ADD COLUMN root_workflow_id TEXT;
ALTER TABLE runs ADD COLUMN root_run_id TEXT;

CREATE INDEX runs_started ON runs (started_at, run_id);
CREATE INDEX runs_parent_workflow ON runs (parent_workflow_id) WHERE parent_workflow_id IS NOT NULL;

CREATE TABLE search_attribute_types (
    name TEXT    NOT NULL PRIMARY KEY,
    type INTEGER NOT NULL CHECK (type BETWEEN 1 AND 7)
) WITHOUT ROWID;

CREATE TABLE search_attributes (
    run_id      TEXT    NOT NULL REFERENCES runs ON DELETE CASCADE,
    name        TEXT    NOT NULL,
    position    INTEGER NOT NULL DEFAULT 0 CHECK (position >= 0),
    text_value  TEXT,
    int_value   INTEGER,
    float_value REAL,
    PRIMARY KEY (run_id, name, position),
    CHECK ((text_value IS NOT NULL) + (int_value IS NOT NULL) + (float_value IS NOT NULL) = 1)
) WITHOUT ROWID;

CREATE INDEX search_attributes_text ON search_attributes (name, text_value, run_id) WHERE text_value IS NOT NULL;
CREATE INDEX search_attributes_int ON search_attributes (name, int_value, run_id) WHERE int_value IS NOT NULL;
CREATE INDEX search_attributes_float ON search_attributes (name, float_value, run_id) WHERE float_value IS NOT NULL;
