-- Chains of runs, parents and children, updates, and runs that take no messages for a moment.
--
-- Everything here only adds: workers of the release before go on beside it, and know nothing of it.

alter table durable.runs
    add column first_run_id uuid, -- null for the first run of a chain
    add column parent_run_id uuid,
    add column parent_close_policy smallint, -- what the parent's end does to it: 1 terminates, 3 asks to cancel
    add column held_back_until bigint; -- until then no messages from outside are taken

create index runs_children on durable.runs (parent_run_id) where status = 1 and parent_close_policy in (1, 3);

-- How far updates have come. An update without a row and without a message is unknown to the run.
create table durable.update_outcomes (
    run_id uuid not null,
    stage smallint not null check (stage in (2, 3)), -- accepted, completed
    message_id text collate "C" not null,
    data bytea not null,
    primary key (run_id, message_id)
) with (fillfactor = 90, autovacuum_vacuum_scale_factor = 0.05, autovacuum_vacuum_insert_scale_factor = 0.1,
        autovacuum_analyze_scale_factor = 0.05);

do $$
begin
    alter table durable.update_outcomes alter column data set compression lz4;
exception when feature_not_supported then
    alter table durable.update_outcomes alter column data set storage external;
end $$;

-- Terminations are carried out by whoever finds them, not by the run's owner only; and so are cancel requests, as long as
-- their run waits to be admitted.
create index inbox_endings on durable.inbox (run_id) where type in (3, 13);
