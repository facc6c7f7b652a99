-- Deadlines of workflow types: which open runs of a type began long ago, and who looks for them.
--
-- Whoever has made the index before, with `concurrently`, keeps nobody from writing; see docs/operations/upgrades.md.

create index if not exists runs_open_of_type on durable.runs (workflow_type, (coalesce(execution_at, started_at)))
    where status = 1;

-- One worker at a time looks for a type: the one that asked last before its turn was over. Runs that began up to `near`
-- and `past` have been told of.
create table durable.deadline_turns (
    workflow_type text collate "C" primary key,
    holder text collate "C" not null,
    until bigint not null,
    near bigint not null,
    past bigint not null
);
