-- Schedules: what each is for, what it has done, and when it must be looked at again.
--
-- Everything here only adds: workers of the release before go on beside it, and run no schedules.

-- Whoever replaces a row names the revision that it replaces; the first one is the time, so that a schedule which is deleted
-- and made anew never has an old one. Until `taken_until` somebody is at it. Workflow and first run of each chain whose end
-- it waits for stand in two arrays, null when there is none.
create table durable.schedules (
    schedule_id text collate "C" primary key,
    wake_at bigint,
    taken_until bigint not null default 0,
    revision bigint not null,
    workflow_ids text[] collate "C",
    run_ids uuid[],
    record bytea not null,
    progress bytea not null
) with (fillfactor = 50, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 200);

create index schedules_due on durable.schedules (wake_at) where wake_at is not null;
create index schedules_running on durable.schedules (schedule_id) where run_ids is not null;
