-- Make a live worker the owner of ready runs, and return them with all it needs, read by a later statement.
--
-- Two looks, never one with OR: due runs, by one range of the index for each queue and priority that has any, and unowned
-- runs with unread messages, by the first message of each. Up to half of a claim goes to messages first, so that neither
-- starves the other, and a quarter of the due ones is taken from the priorities in turn, so that low ones get on.
-- Without types, `p_types` null, runs of every type are taken, for workers that run whatever there is: all but those of one
-- activity and no code, which nobody owns.
create function durable.claim_2(
    p_worker text, p_queues text[], p_types text[], p_limit integer, p_format integer, p_least integer, p_most integer
) returns table (
    run_id uuid, workflow_id text, workflow_type text, task_queue text, status smallint, hold smallint, reason text,
    owner text, epoch integer, wake_at bigint, priority smallint, deaths smallint, started_at bigint, closed_at bigint,
    times_out_at bigint, info bytea, now bigint,
    event_numbers bigint[], event_data bytea[],
    message_numbers bigint[], message_ids text[], message_data bytea[],
    activity_numbers bigint[], activity_texts text[], activity_scheduled bytea[], activity_progress bytea[]
) language plpgsql volatile
    set lock_timeout = '2s' set plan_cache_mode = force_generic_plan set enable_seqscan = off
    set enable_hashjoin = off set enable_mergejoin = off set jit = off
as $$
#variable_conflict use_column
declare
    v_now bigint := durable.now_us();
    v_picked uuid[] := '{}';
    v_due integer;
begin
    if current_setting('transaction_isolation') <> 'read committed' then
        raise exception 'durable needs READ COMMITTED, not %', current_setting('transaction_isolation')
            using errcode = 'DU001';
    end if;
    for v_look in 1 .. 3 loop
        if v_look = 2 then
            v_due := p_limit - cardinality(v_picked);
            with recursive ranges as (
                select q.queue, (select min(r.priority) from durable.runs r
                    where r.status = 1 and r.owner is null and r.wake_at is not null and r.task_queue = q.queue) as priority
                from unnest(p_queues) q (queue)
                union all
                select s.queue, (select min(r.priority) from durable.runs r
                    where r.status = 1 and r.owner is null and r.wake_at is not null and r.task_queue = s.queue
                        and r.priority > s.priority)
                from ranges s where s.priority is not null),
            locked as materialized (
                select l.* from ranges s cross join lateral (
                    select r.run_id, r.priority, r.wake_at from durable.runs r
                    where r.status = 1 and r.owner is null and r.wake_at is not null
                        and r.task_queue = s.queue and r.priority = s.priority and r.wake_at <= v_now
                        and r.hold <> 2 and r.format <= p_format and r.deaths between p_least and p_most
                        and (p_types is null and not starts_with(r.workflow_type, E'activity\x1f') or r.workflow_type = any (p_types)) and r.run_id <> all (v_picked)
                    order by r.wake_at limit v_due for no key update skip locked) l),
            ranked as (
                select l.run_id, l.priority, row_number() over (order by l.priority, l.wake_at) as overall,
                    row_number() over (partition by l.priority order by l.wake_at) as own
                from locked l)
            select v_picked || array(
                select k.run_id from ranked k
                order by least(k.overall, v_due - v_due / 4 + 1), k.own, k.priority limit v_due)
            into v_picked;
        else
            with locked as materialized (
                select l.* from unnest(p_queues) q (queue) cross join lateral (
                    select r.run_id, i.position from durable.inbox i
                    cross join lateral (
                        select r.run_id from durable.runs r
                        where r.run_id = i.run_id and r.status = 1 and r.owner is null and r.hold = 0
                            and r.format <= p_format and r.deaths between p_least and p_most
                            and (p_types is null and not starts_with(r.workflow_type, E'activity\x1f') or r.workflow_type = any (p_types)) and r.run_id <> all (v_picked)
                        for no key update skip locked) r
                    where i.task_queue = q.queue and not exists (
                        select from durable.inbox f where f.run_id = i.run_id and f.position < i.position)
                    order by i.position
                    limit case v_look when 1 then p_limit / 2 else p_limit - cardinality(v_picked) end) l)
            select v_picked || array(
                select l.run_id from locked l order by l.position
                limit case v_look when 1 then p_limit / 2 else p_limit - cardinality(v_picked) end)
            into v_picked;
        end if;
        exit when cardinality(v_picked) >= p_limit;
    end loop;
    if cardinality(v_picked) = 0 then
        return;
    end if;
    -- Nobody who has no live lease may become an owner: the look at the lease is in the statement that writes.
    update durable.runs r set owner = p_worker, epoch = r.epoch + 1, wake_at = null
        where r.run_id = any (v_picked) and exists (
            select from durable.workers w
            where w.worker_id = p_worker and not w.dead and w.expires_at > durable.now_us());
    if found then
        return query select l.* from durable.load_1(v_picked) l;
    end if;
end $$;
