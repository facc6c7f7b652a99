-- What operators do to runs: functions that know of paused runs, beside those of the release before.

-- Free what belongs to workers that are dead or do not exist; a paused run stays paused.
create function durable.take_over_2(p_limit integer, p_reason text) returns integer
language plpgsql volatile
    set lock_timeout = '2s' set plan_cache_mode = force_generic_plan set enable_seqscan = off
    set enable_hashjoin = off set enable_mergejoin = off set jit = off
as $$
declare
    v_lost text[];
    v_runs uuid[];
    v_count integer;
    v_activities integer;
begin
    v_lost := array(
        with recursive owners as (
            select (select min(r.owner) from durable.runs r where r.owner is not null) as owner
            union all
            select (select min(r.owner) from durable.runs r where r.owner > o.owner) from owners o where o.owner is not null),
        busy as (
            select (select min(a.worker) from durable.activity_tasks a where a.worker is not null) as worker
            union all
            select (select min(a.worker) from durable.activity_tasks a where a.worker > b.worker)
            from busy b where b.worker is not null)
        select o.owner from (select owner from owners union select worker from busy) o (owner)
        where o.owner is not null
            and not exists (select from durable.workers w where w.worker_id = o.owner and not w.dead));

    with locked as materialized (
        select l.run_id from unnest(v_lost) o (owner) cross join lateral (
            select r.run_id from durable.runs r where r.owner = o.owner limit p_limit for no key update skip locked) l
        limit p_limit),
    freed as (
        update durable.runs r set owner = null, epoch = r.epoch + 1, deaths = r.deaths + 1,
                wake_at = case when r.deaths < 2 and r.hold <> 3 then durable.now_us() end,
                hold = case when r.deaths < 2 or r.hold = 3 then r.hold else 2 end
            from locked l where r.run_id = l.run_id
            returning r.run_id, r.deaths, r.hold),
    quarantined as (
        update durable.run_data d set reason = replace(p_reason, '{deaths}', f.deaths::text)
            from freed f where d.run_id = f.run_id and f.hold = 2 and f.deaths > 2)
    select count(*) into v_count from freed;

    with locked as materialized (
        select l.run_id, l.id from unnest(v_lost) o (owner) cross join lateral (
            select a.run_id, a.id from durable.activity_tasks a where a.worker = o.owner
            limit p_limit - v_count for update skip locked) l
        limit p_limit - v_count)
    update durable.activity_tasks a set worker = null from locked l where a.run_id = l.run_id and a.id = l.id;
    get diagnostics v_activities = row_count;

    delete from durable.workers w where w.dead
        and not exists (select from durable.runs r where r.owner = w.worker_id)
        and not exists (select from durable.activity_tasks a where a.worker = w.worker_id);
    return v_count + v_activities;
end $$;

-- Make a live worker run queued activities that are due, by priority, then age; not those of paused runs, nor what is for
-- workers of another version.
create function durable.claim_activities_2(
    p_worker text, p_queues text[], p_types text[], p_limit integer, p_format integer, p_version text)
returns table (run_id uuid, id integer)
language plpgsql volatile
    set lock_timeout = '2s' set plan_cache_mode = force_generic_plan set enable_seqscan = off
    set enable_hashjoin = off set enable_mergejoin = off set jit = off
as $$
#variable_conflict use_column
declare
    v_now bigint := durable.now_us();
begin
    return query
        with recursive ranges as (
            select w.place, w.low, w.high, (select min(a.priority) from durable.activity_tasks a
                where a.state = 1 and a.task_queue = w.place) as priority
            from durable.reach_2(p_queues, p_version) w
            union all
            select s.place, s.low, s.high, (select min(a.priority) from durable.activity_tasks a
                where a.state = 1 and a.task_queue = s.place and a.priority > s.priority)
            from ranges s where s.priority is not null),
        locked as materialized (
            select l.* from ranges s cross join lateral (
                select a.run_id, a.id, a.priority, a.due_at from durable.activity_tasks a
                where a.state = 1 and a.task_queue = s.place and a.priority = s.priority and a.due_at <= v_now
                    and (a.deadline is null or a.deadline > v_now) and (p_types is null or a.activity_type = any (p_types))
                    and exists (select from durable.runs r where r.run_id = a.run_id and r.format <= p_format
                        and r.hold <> 3 and (s.high - s.low = 4294967296
                            or durable.ramp_of(r.workflow_id) >= s.low and durable.ramp_of(r.workflow_id) < s.high))
                order by a.due_at limit p_limit for update skip locked) l),
        picked as materialized (
            select l.run_id, l.id from locked l order by l.priority, l.due_at limit p_limit)
        update durable.activity_tasks a set state = 2, worker = p_worker, started_at = v_now,
                deadline = least(a.close_by, v_now + a.start_to_close, v_now + a.heartbeat)
            from picked p where a.run_id = p.run_id and a.id = p.id and exists (
                select from durable.workers w
                where w.worker_id = p_worker and not w.dead and w.expires_at > durable.now_us())
            returning a.run_id, a.id;
end $$;

-- Remove a closed run with all its rows: CHANGED 1, UNCHANGED 2 for one that is open, NOT_FOUND 4. A run that has closed
-- stays closed, so nobody has to be kept out but another who removes it.
create function durable.purge_2(p_run uuid) returns smallint
language plpgsql volatile
    set lock_timeout = '2s' set plan_cache_mode = force_generic_plan set enable_seqscan = off
    set enable_hashjoin = off set enable_mergejoin = off set jit = off
as $$
declare
    v_closed_at bigint;
begin
    select r.closed_at into v_closed_at from durable.runs r where r.run_id = p_run for update;
    if not found then
        return 4;
    elsif v_closed_at is null then
        return 2;
    end if;
    delete from durable.inbox where run_id = p_run;
    delete from durable.activity_tasks where run_id = p_run;
    delete from durable.queries where run_id = p_run;
    delete from durable.update_outcomes where run_id = p_run;
    delete from durable.search_attributes where run_id = p_run;
    delete from durable.events where run_id = p_run;
    delete from durable.run_data where run_id = p_run;
    delete from durable.runs where run_id = p_run;
    return 1;
end $$;
