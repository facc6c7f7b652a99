-- What operators did, and what they do to many runs at once.
--
-- Everything here only adds: workers of the release before go on beside it.

-- Outlives the runs it tells of.
create table durable.operator_log (
    number bigint primary key generated always as identity,
    at bigint not null,
    run_id uuid, -- null for what is done to no single run
    operation text collate "C" not null,
    workflow_id text collate "C" not null,
    identity text not null,
    reason text not null,
    detail text not null,
    batch_id text collate "C" not null
);

create index operator_log_workflow on durable.operator_log (workflow_id, number);
create index operator_log_batch on durable.operator_log (batch_id, workflow_id, number) where batch_id <> '';

create function durable.log_2(
    p_run uuid, p_operation text, p_workflow text, p_identity text, p_reason text, p_detail text, p_batch text)
returns void language sql volatile
as $$
    insert into durable.operator_log (at, run_id, operation, workflow_id, identity, reason, detail, batch_id)
        select durable.now_us(), p_run, p_operation, p_workflow, p_identity, p_reason, p_detail, p_batch
        where p_operation is not null
$$;

create table durable.batches (
    batch_id text collate "C" primary key,
    digest text not null,
    position bytea not null default '',
    gathered boolean not null default false,
    done bigint not null default 0,
    skipped bigint not null default 0,
    failed bigint not null default 0,
    errors text[] not null default '{}'
);

-- Runs that a batch has not dealt with yet, one of each key.
create table durable.batch_runs (
    run_id uuid not null,
    number bigint not null generated always as identity,
    batch_id text collate "C" not null,
    key text collate "C" not null,
    workflow_id text collate "C" not null,
    primary key (batch_id, key)
);

create index batch_runs_pending on durable.batch_runs (batch_id, number);
