-- The tables of one namespace. `durable.` stands for the namespace's schema and is replaced when this is run.
--
-- Instants and durations are bigint microseconds. Text is compared byte by byte (collate "C"): no folding, and no index
-- that a new collation library could corrupt. There are no foreign keys: their triggers lock a row without looking at its
-- status again, and no triggers: they would run in every step.

create function durable.now_us() returns bigint language sql volatile parallel safe
    as 'select (extract(epoch from clock_timestamp()) * 1000000)::bigint';

-- Narrow and rarely written: at its start, a claim, a release and its close; never by a step.
create table durable.runs (
    run_id uuid primary key,
    started_at bigint not null,
    closed_at bigint,
    wake_at bigint,
    times_out_at bigint,
    epoch integer not null default 0 check (epoch >= 0),
    format integer not null default 1,
    status smallint not null default 1 check (status between 1 and 7),
    hold smallint not null default 0 check (hold between 0 and 3),
    priority smallint not null default 3,
    deaths smallint not null default 0 check (deaths >= 0),
    workflow_id text collate "C" not null,
    workflow_type text collate "C" not null,
    task_queue text collate "C" not null,
    owner text collate "C",
    check ((status = 1) = (closed_at is null)),
    check (status = 1 or (owner is null and wake_at is null)),
    check (owner is null or wake_at is null)
) with (fillfactor = 80, autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_insert_scale_factor = 0.1,
        autovacuum_analyze_scale_factor = 0.05);

create unique index runs_open on durable.runs (workflow_id) where status = 1;
create index runs_workflow on durable.runs (workflow_id, started_at, run_id);
create index runs_due on durable.runs (task_queue, priority, wake_at)
    where status = 1 and owner is null and wake_at is not null;
create index runs_owner on durable.runs (owner) where owner is not null;
create index runs_timeout on durable.runs (times_out_at) where status = 1 and times_out_at is not null;

-- Wide: what only lists and descriptions show.
create table durable.run_data (
    run_id uuid primary key,
    info bytea not null,
    reason text not null default ''
);

-- Append-only. The primary key is the compare-and-set of every step.
create table durable.events (
    run_id uuid not null,
    time bigint not null,
    seq integer not null check (seq > 0),
    task integer not null check (task > 0),
    type smallint not null,
    data bytea not null,
    primary key (run_id, seq)
) with (autovacuum_vacuum_insert_scale_factor = 0.05, autovacuum_analyze_scale_factor = 0.05);

-- Unread messages. `position` is the one order of all messages. The queue is the run's, copied, so that a claim finds the
-- messages of its queues without visiting those of others. The table is nearly empty and rewritten all the time, hence
-- thresholds by count: a share of an empty table means nothing.
create table durable.inbox (
    run_id uuid not null,
    position bigint not null generated always as identity,
    type smallint not null,
    internal boolean not null,
    task_queue text collate "C" not null,
    message_id text collate "C" not null,
    data bytea not null,
    primary key (run_id, position),
    unique (run_id, message_id)
) with (fillfactor = 90, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 1000,
        autovacuum_analyze_scale_factor = 0, autovacuum_analyze_threshold = 5000);

create index inbox_queue on durable.inbox (task_queue, position);

-- Activities that need database state. A row lives until its outcome has been appended to the history.
create table durable.activity_tasks (
    run_id uuid not null,
    due_at bigint not null,
    scheduled_at bigint not null,
    started_at bigint,
    deadline bigint,
    start_by bigint,
    close_by bigint,
    start_to_close bigint,
    heartbeat bigint,
    id integer not null,
    attempt integer not null default 1 check (attempt > 0),
    state smallint not null check (state between 1 and 3),
    priority smallint not null default 3,
    cancel_requested boolean not null default false,
    activity_type text collate "C" not null,
    task_queue text collate "C" not null,
    worker text collate "C",
    scheduled bytea not null,
    progress bytea not null,
    primary key (run_id, id),
    check (worker is null or state = 2)
) with (fillfactor = 70, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 1000,
        autovacuum_analyze_scale_factor = 0, autovacuum_analyze_threshold = 5000);

create index activity_tasks_due on durable.activity_tasks (task_queue, priority, due_at) where state = 1;
create index activity_tasks_deadline on durable.activity_tasks (deadline) where state < 3 and deadline is not null;
create index activity_tasks_lost on durable.activity_tasks (run_id) where state = 2 and worker is null;
create index activity_tasks_worker on durable.activity_tasks (worker) where worker is not null;

create table durable.workers (
    worker_id text collate "C" primary key,
    identity text not null,
    task_queues text[] not null,
    lease bigint not null check (lease > 0),
    renewals bigint not null default 0,
    expires_at bigint not null,
    registered_at bigint not null,
    dead boolean not null default false
) with (fillfactor = 50, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 200);

-- Facts are opaque bytes. lz4 shrinks them for next to nothing; where the server was built without it nothing does, since
-- the default would cost more time in every commit than the bytes are worth.
do $$
begin
    alter table durable.events alter column data set compression lz4;
    alter table durable.inbox alter column data set compression lz4;
    alter table durable.run_data alter column info set compression lz4;
exception when feature_not_supported then
    alter table durable.events alter column data set storage external;
    alter table durable.inbox alter column data set storage external;
    alter table durable.run_data alter column info set storage external;
end $$;

-- For people: a history that can be read.
create view durable.history as
    select r.workflow_id, e.run_id, e.seq, e.task, e.type, to_timestamp(e.time / 1000000.0) as time,
           convert_from(e.data, 'UTF8') as data
    from durable.events e join durable.runs r using (run_id);
