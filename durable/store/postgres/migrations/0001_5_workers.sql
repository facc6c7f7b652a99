-- Free what belongs to workers that are dead or do not exist, in small bites, skipping what is locked; what was skipped is
-- found again by the next call. Each owner is found once, by a jump in the index from one to the next.
create function durable.take_over_1(p_limit integer, p_reason text) returns integer
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
                wake_at = case when r.deaths < 2 then durable.now_us() end,
                hold = case when r.deaths < 2 then r.hold else 2 end
            from locked l where r.run_id = l.run_id
            returning r.run_id, r.deaths),
    quarantined as (
        update durable.run_data d set reason = replace(p_reason, '{deaths}', f.deaths::text)
            from freed f where d.run_id = f.run_id and f.deaths > 2)
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
