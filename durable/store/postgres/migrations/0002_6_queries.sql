-- Queries of callers that do not have the workflow's code: each waits here for a worker that does, and then for its caller.
--
-- Everything here only adds: workers of the release before go on beside it, and answer none.

-- The queue and the type are the run's. Until `taken_until` somebody is at it; behind `expires_at` nobody waits for it.
-- Nearly empty and rewritten all the time, as the inbox, so it needs no index but its key.
create table durable.queries (
    query_id uuid primary key,
    run_id uuid not null,
    asked_at bigint not null,
    expires_at bigint not null,
    taken_until bigint not null default 0,
    workflow_type text collate "C" not null,
    task_queue text collate "C" not null,
    name text collate "C" not null,
    input bytea not null,
    answer bytea
) with (fillfactor = 70, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 200,
        autovacuum_analyze_scale_factor = 0, autovacuum_analyze_threshold = 5000);
