-- How long closed runs are kept, and how those that have been kept for long enough are removed.
--
-- Everything here only adds: workers of the release before go on beside it, and remove nothing by themselves.

-- Which runs of a type closed first; found by type, since each may be kept for another time.
create index runs_closed on durable.runs (workflow_type, closed_at) where closed_at is not null;

-- For a workflow type, or '' for all others: how long they are kept in microseconds, null for ever; and whether they are to be
-- exported before they are removed.
create table durable.retention (
    workflow_type text collate "C" primary key,
    keep bigint check (keep >= 0),
    export boolean not null
);

-- One worker at a time removes runs: whoever finds that the next turn has come.
create table durable.retention_turn (
    single boolean primary key default true check (single),
    next_at bigint not null default 0
);

insert into durable.retention_turn default values;

-- Runs that are gone but for the rest of a long history.
create table durable.retention_rest (run_id uuid primary key);

-- Take the turn if it has come, until `p_hold` from now, and return runs that have been kept for long enough. A row without a
-- run says that the turn was taken.
create function durable.take_retention_3(p_limit integer, p_exports boolean, p_hold bigint)
returns table (run_id uuid, workflow_id text, workflow_type text, status smallint, closed_at bigint, length integer)
language plpgsql volatile
    set lock_timeout = '2s' set plan_cache_mode = force_generic_plan set enable_seqscan = off
    set enable_hashjoin = off set enable_mergejoin = off set jit = off
as $$
#variable_conflict use_column
declare
    v_now bigint := durable.now_us();
begin
    if not exists (select from durable.retention) and not exists (select from durable.retention_rest) then
        return;
    end if;
    update durable.retention_turn t set next_at = v_now + p_hold
        from (select single from durable.retention_turn where next_at <= v_now for update skip locked) due
        where t.single = due.single;
    if not found then
        return;
    end if;
    return query select null::uuid, null::text, null::text, null::smallint, null::bigint, null::integer;
    return query
        with recursive types as (
            select (select min(r.workflow_type) from durable.runs r where r.closed_at is not null) as name
            union all
            select (select min(r.workflow_type) from durable.runs r
                where r.closed_at is not null and r.workflow_type > t.name)
            from types t where t.name is not null),
        kept as materialized (
            select t.name, p.keep from types t cross join lateral (
                select r.keep, r.export from durable.retention r where r.workflow_type in (t.name, '')
                order by r.workflow_type desc limit 1) p
            where p.keep is not null and (p_exports or not p.export))
        select o.run_id, o.workflow_id, o.workflow_type, o.status, o.closed_at,
            (select max(e.seq) from durable.events e where e.run_id = o.run_id)
        from kept k cross join lateral (
            select r.* from durable.runs r
            where r.workflow_type = k.name and r.closed_at is not null and r.closed_at < v_now - k.keep
            order by r.closed_at limit p_limit) o
        order by o.closed_at limit p_limit;
end $$;

-- Remove closed runs with all their rows, in one statement for each table; of each history at most `p_events` events, so that the
-- transaction stays small. What is left of one goes piece by piece. Return whether there is such a rest; the next turn comes in
-- `p_pause`, if this was one.
create function durable.retire_3(p_runs uuid[], p_events integer, p_pause bigint) returns boolean
language plpgsql volatile
    set lock_timeout = '2s' set plan_cache_mode = force_generic_plan set enable_seqscan = off
    set enable_hashjoin = off set enable_mergejoin = off set jit = off
as $$
declare
    v_runs uuid[];
    v_rest uuid;
begin
    v_rest := (select run_id from durable.retention_rest limit 1);
    if v_rest is not null then
        delete from durable.events e where e.run_id = v_rest and e.seq < p_events + (
            select min(f.seq) from durable.events f where f.run_id = v_rest);
        delete from durable.retention_rest r where r.run_id = v_rest
            and not exists (select from durable.events e where e.run_id = v_rest);
    end if;
    v_runs := array(select r.run_id from durable.runs r
        where r.run_id = any (p_runs) and r.closed_at is not null order by r.run_id for update skip locked);
    if v_runs <> '{}' then
        delete from durable.inbox where run_id = any (v_runs);
        delete from durable.activity_tasks where run_id = any (v_runs);
        delete from durable.queries where run_id = any (v_runs);
        delete from durable.update_outcomes where run_id = any (v_runs);
        delete from durable.search_attributes where run_id = any (v_runs);
        delete from durable.events where run_id = any (v_runs) and seq <= p_events;
        insert into durable.retention_rest
            select u.run_id from unnest(v_runs) u (run_id)
            where exists (select from durable.events e where e.run_id = u.run_id);
        delete from durable.run_data where run_id = any (v_runs);
        delete from durable.runs where run_id = any (v_runs);
    end if;
    if p_pause is not null then
        update durable.retention_turn set next_at = durable.now_us() + p_pause;
    end if;
    return exists (select from durable.retention_rest);
end $$;
