-- Task queues that an operator holds, and who looks at all of them for metrics.
--
-- Everything here only adds: workers of the release before go on beside it, and take work of a queue that is held.

-- No row: its workers take work.
create table durable.queue_states (
    task_queue text collate "C" primary key,
    state smallint not null check (state in (1, 2)) -- paused, draining
);

-- One worker at a time looks: the one that asked last before its turn was over.
create table durable.survey_turn (
    single boolean primary key default true check (single),
    holder text collate "C",
    until bigint not null default 0
);

insert into durable.survey_turn default values;

-- Activities that wait for another attempt.
create index if not exists activity_tasks_retrying on durable.activity_tasks (run_id) where state = 1 and attempt > 1;

-- Runs that are held, but for those that wait for their turn under a limit.
create index if not exists runs_held on durable.runs (hold, started_at, run_id)
    where status = 1 and hold > 0 and (hold > 1 or gate is distinct from 1);
