-- What lists find at once among millions of runs: a state that few are in, and a type.

CREATE INDEX runs_ended ON runs (status, started_at, run_id) WHERE status > 2;
CREATE INDEX runs_type ON runs (workflow_type, started_at, run_id);

-- The whole tree below a run. Few have another root than themselves: a start without a parent writes nothing here.
CREATE INDEX runs_root ON runs (root_workflow_id) WHERE root_workflow_id IS NOT NULL;
