-- All that an owner needs of runs, in one snapshot: rows, events, unread messages, activity rows. Numbers of one kind come
-- as one array of arrays, since a composite type would tie every release to this one's columns.
create function durable.load_1(p_runs uuid[]) returns table (
    run_id uuid, workflow_id text, workflow_type text, task_queue text, status smallint, hold smallint, reason text,
    owner text, epoch integer, wake_at bigint, priority smallint, deaths smallint, started_at bigint, closed_at bigint,
    times_out_at bigint, info bytea, now bigint,
    event_numbers bigint[], event_data bytea[],
    message_numbers bigint[], message_ids text[], message_data bytea[],
    activity_numbers bigint[], activity_texts text[], activity_scheduled bytea[], activity_progress bytea[]
) language plpgsql stable
    set plan_cache_mode = force_generic_plan set enable_seqscan = off set enable_hashjoin = off
    set enable_mergejoin = off set jit = off
as $$
#variable_conflict use_column
begin
    return query
        select r.run_id, r.workflow_id, r.workflow_type, r.task_queue, r.status, r.hold, d.reason, r.owner, r.epoch,
            r.wake_at, r.priority, r.deaths, r.started_at, r.closed_at, r.times_out_at, d.info, durable.now_us(),
            e.numbers, e.data, m.numbers, m.ids, m.data, a.numbers, a.texts, a.scheduled, a.progress
        from unnest(p_runs) with ordinality t (run_id, n)
        join durable.runs r on r.run_id = t.run_id
        join durable.run_data d on d.run_id = t.run_id
        cross join lateral (
            select array_agg(array[e.seq, e.task, e.type, e.time]) as numbers, array_agg(e.data) as data
            from (select * from durable.events e where e.run_id = t.run_id order by e.seq) e) e
        cross join lateral (
            select array_agg(array[i.position, i.type, i.internal::integer]) as numbers,
                array_agg(i.message_id) as ids, array_agg(i.data) as data
            from (select * from durable.inbox i where i.run_id = t.run_id order by i.position) i) m
        cross join lateral (
            select array_agg(array[a.id, a.state, a.attempt, a.due_at, a.deadline, a.start_by, a.close_by,
                    a.start_to_close, a.heartbeat, a.started_at, a.scheduled_at, a.cancel_requested::integer]) as numbers,
                array_agg(array[a.activity_type, a.task_queue, a.worker]) as texts,
                array_agg(a.scheduled) as scheduled, array_agg(a.progress) as progress
            from (select * from durable.activity_tasks a where a.run_id = t.run_id order by a.id) a) a
        order by t.n;
end $$;

-- Make a live worker the owner of ready runs, and return them with all it needs, read by a later statement.
--
-- Two looks, never one with OR: due runs, by one range of the index for each queue and priority that has any, and unowned
-- runs with unread messages, by the first message of each. Up to half of a claim goes to messages first, so that neither
-- starves the other, and a quarter of the due ones is taken from the priorities in turn, so that low ones get on.
create function durable.claim_1(
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
                        and r.workflow_type = any (p_types) and r.run_id <> all (v_picked)
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
                            and r.workflow_type = any (p_types) and r.run_id <> all (v_picked)
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

-- Make a live worker run queued activities that are due; the same ranges, by priority, then age.
create function durable.claim_activities_1(
    p_worker text, p_queues text[], p_types text[], p_limit integer, p_format integer)
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
            select q.queue, (select min(a.priority) from durable.activity_tasks a
                where a.state = 1 and a.task_queue = q.queue) as priority
            from unnest(p_queues) q (queue)
            union all
            select s.queue, (select min(a.priority) from durable.activity_tasks a
                where a.state = 1 and a.task_queue = s.queue and a.priority > s.priority)
            from ranges s where s.priority is not null),
        locked as materialized (
            select l.* from ranges s cross join lateral (
                select a.run_id, a.id, a.priority, a.due_at from durable.activity_tasks a
                where a.state = 1 and a.task_queue = s.queue and a.priority = s.priority and a.due_at <= v_now
                    and (a.deadline is null or a.deadline > v_now) and a.activity_type = any (p_types)
                    and exists (select from durable.runs r where r.run_id = a.run_id and r.format <= p_format)
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
