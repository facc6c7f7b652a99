-- What lists find at once among millions of runs: a state that few are in, and a type.
--
-- Whoever has made them before, with `concurrently`, keeps nobody from writing; see docs/operations/upgrades.md.

create index if not exists runs_ended on durable.runs (status, started_at, run_id) where status > 2;
create index if not exists runs_type on durable.runs (workflow_type, started_at, run_id);

-- The whole tree below a run. Few have another root than themselves: a start without a parent writes nothing here.
create index if not exists runs_root on durable.runs (root_workflow_id) where root_workflow_id is not null;
