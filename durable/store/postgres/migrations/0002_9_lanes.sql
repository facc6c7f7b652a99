-- Lanes: where activities wait that are limited by a key, are behind a circuit breaker, or share with others; and rates.
--
-- Everything here only adds. What waits in a lane stands in a task queue whose name begins with a control character, which
-- workers of the release before do not serve: they take nothing of it, and so break no limit.

alter table durable.activity_tasks
    add column lane text collate "C", -- those of one name wait in one line; null for what waits with its queue
    add column share real,
    add column limit_key text collate "C",
    add column limit_most integer, -- how much of the key may run, as this one was asked for
    add column limit_weight integer,
    add column breaker text collate "C",
    add column fails_fast boolean,
    add column refused boolean; -- given out to fail, since its breaker is open

create index activity_tasks_lanes on durable.activity_tasks (task_queue, priority, lane, due_at)
    where state = 1 and lane is not null;
create index activity_tasks_limited on durable.activity_tasks (limit_key) include (limit_weight)
    where (state = 2 or outside_since is not null) and limit_key is not null;
create index activity_tasks_behind on durable.activity_tasks (breaker)
    where (state = 2 or outside_since is not null) and breaker is not null;
create index activity_tasks_asked on durable.activity_tasks ((coalesce(limit_key, '')), scheduled_at)
    where limit_key is not null; -- by an expression, so that nobody counts with it those that run

-- Whoever gives out something of a key locks its row, so that two never count at the same time. Kind 0: the lanes of a task
-- queue, 1: workflows, 2: activities. `most` is what a client has set.
create table durable.limit_keys (
    kind smallint not null check (kind between 0 and 2),
    most integer check (most >= 0),
    key text collate "C" not null,
    primary key (kind, key)
) with (fillfactor = 50, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 1000);

-- Closed without a row, and with one that has no `open_until`; open until then, and half open from then on.
create table durable.breakers (
    key text collate "C" primary key,
    open_until bigint,
    trials integer not null default 1,
    forced smallint check (forced in (1, 2)), -- open, closed
    failures bigint[] not null default '{}'
) with (fillfactor = 50, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 1000);

-- How many activities of a task queue may start in a second: a bucket of permits, as it was at `at`.
create table durable.rates (
    task_queue text collate "C" primary key,
    per_second float8 not null check (per_second > 0),
    permits float8 not null,
    at bigint not null
) with (fillfactor = 50, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 200);

-- How many more may start behind a circuit breaker; null for any number.
create function durable.breaker_room_2(p_breaker text, p_now bigint) returns integer
language plpgsql stable
as $$
begin
    return (
        select case when b.forced = 2 or (b.forced is null and b.open_until is null) then null
            when b.forced = 1 or b.open_until > p_now then 0
            else greatest(0, b.trials - (
                select count(*)::integer from durable.activity_tasks a where (a.state = 2 or a.outside_since is not null)
                    and a.breaker = p_breaker and a.refused is not true)) end
        from durable.breakers b where b.key = p_breaker);
end $$;

-- How much of an activity's key may run: what a client has set, or what the newest that is there was asked for with.
create function durable.activity_limit_2(p_key text) returns integer
language plpgsql stable
as $$
begin
    return coalesce(
        (select l.most from durable.limit_keys l where l.kind = 2 and l.key = p_key),
        (select a.limit_most from durable.activity_tasks a 
            where coalesce(a.limit_key, '') = p_key and a.limit_key is not null order by a.scheduled_at desc limit 1));
end $$;

-- Make a live worker run queued activities of one place (a task queue, or what is kept there for a version), of workflow ids
-- from `p_low` to below `p_high`, whose lanes are in use, or that has a rate: by priority; in one
-- priority lots are drawn between lanes, the rest of the queue being one of them; in a lane by age.
--
-- (`between`, and the order by the lane, leave the planner one index only, whatever it thinks it knows of the table.)
--
-- One at a time is at the lanes of a queue, and of all queues one is at a key or a breaker: each waits for the other, for
-- milliseconds, and every statement behind the locks sees what those before it have given out.
create function durable.claim_queue_2(
    p_worker text, p_place text, p_low bigint, p_high bigint, p_types text[], p_limit integer, p_format integer)
returns table (run_id uuid, id integer)
language plpgsql volatile
    set lock_timeout = '2s' set plan_cache_mode = force_generic_plan set enable_seqscan = off
    set enable_hashjoin = off set enable_mergejoin = off set jit = off
as $$
#variable_conflict use_column
declare
    v_queue text := split_part(p_place, chr(31), 1);
    v_lanes_of text := chr(31) || p_place;
    v_now bigint;
    v_limit integer := p_limit;
    v_permits float8;
    v_from text := lpad(to_hex((random() * 65535)::integer), 4, '0'); -- where the round of lanes begins
    v_priorities smallint[];
    v_lanes text[];
    v_keys text[];
    v_breakers text[];
    v_taken integer;
begin
    insert into durable.limit_keys (kind, key)
        select 0, v_queue where not exists (select from durable.limit_keys l where l.kind = 0 and l.key = v_queue)
        on conflict do nothing;
    perform from durable.limit_keys l where l.kind = 0 and l.key = v_queue for update;
    v_now := durable.now_us();
    select least(greatest(1, r.per_second), r.permits + greatest(0, v_now - r.at) / 1000000.0 * r.per_second)
        into v_permits from durable.rates r where r.task_queue = v_queue for update;
    v_limit := least(v_limit, floor(v_permits)::integer);
    if v_limit < 1 then
        return;
    end if;

    -- Lanes with something that could start, as far as can be seen without locks; of very many, some.
    with recursive priorities as (
        select (select min(a.priority) from durable.activity_tasks a
            where a.state = 1 and a.lane is not null and a.task_queue = v_lanes_of) as priority
        union all
        select (select min(a.priority) from durable.activity_tasks a
            where a.state = 1 and a.lane is not null and a.task_queue = v_lanes_of and a.priority > p.priority)
        from priorities p where p.priority is not null),
    lanes as materialized (
        select p.priority, l.lane from priorities p cross join lateral (
            (with recursive forth as (
                select (select min(a.lane) from durable.activity_tasks a where a.state = 1 and a.lane is not null
                    and a.task_queue = v_lanes_of and a.priority = p.priority and a.lane >= v_from) as lane
                union all
                select (select min(a.lane) from durable.activity_tasks a where a.state = 1 and a.lane is not null
                    and a.task_queue = v_lanes_of and a.priority = p.priority and a.lane > f.lane)
                from forth f where f.lane is not null)
            select f.lane from forth f where f.lane is not null limit 500)
            union all
            (with recursive back as (
                select (select min(a.lane) from durable.activity_tasks a where a.state = 1 and a.lane is not null
                    and a.task_queue = v_lanes_of and a.priority = p.priority and a.lane < v_from) as lane
                union all
                select (select min(a.lane) from durable.activity_tasks a where a.state = 1 and a.lane is not null
                    and a.task_queue = v_lanes_of and a.priority = p.priority and a.lane > b.lane and a.lane < v_from)
                from back b where b.lane is not null)
            select b.lane from back b where b.lane is not null limit 500)) l
        where p.priority is not null),
    heads as materialized (
        select l.priority, l.lane, h.* from lanes l cross join lateral (
            select a.share, a.limit_key, a.limit_weight, a.breaker, a.fails_fast from durable.activity_tasks a
            where a.state = 1 and a.lane is not null and a.task_queue = v_lanes_of and a.priority = l.priority
                and a.lane between l.lane and l.lane and a.due_at <= v_now and (a.deadline is null or a.deadline > v_now)
                and (p_types is null or a.activity_type = any (p_types))
                and exists (select from durable.runs r where r.run_id = a.run_id and r.format <= p_format and r.hold <> 3
                        and (p_high - p_low = 4294967296
                            or durable.ramp_of(r.workflow_id) >= p_low and durable.ramp_of(r.workflow_id) < p_high))
            order by a.lane, a.due_at limit 1) h),
    keys as materialized (
        select k.limit_key, durable.activity_limit_2(k.limit_key) as most, (
            select coalesce(sum(a.limit_weight), 0) from durable.activity_tasks a
            where (a.state = 2 or a.outside_since is not null) and a.limit_key = k.limit_key) as running
        from (select distinct h.limit_key from heads h where h.limit_key is not null) k),
    able as (
        select h.*, -ln(1 - random()) / h.share as lot from heads h left join keys k on k.limit_key = h.limit_key
        where (h.limit_key is null or (k.most > 0 and k.running + least(h.limit_weight, k.most) <= k.most))
            and (h.breaker is null or h.fails_fast
                or coalesce(durable.breaker_room_2(h.breaker, v_now), 1) > 0)),
    chosen as (select * from able order by priority, lot limit v_limit + 10)
    select array_agg(priority), array_agg(lane),
            array_agg(distinct limit_key) filter (where limit_key is not null),
            array_agg(distinct breaker) filter (where breaker is not null)
        into v_priorities, v_lanes, v_keys, v_breakers from chosen;

    if v_keys is not null then
        insert into durable.limit_keys (kind, key)
            select 2, k.key from unnest(v_keys) k (key)
            where not exists (select from durable.limit_keys l where l.kind = 2 and l.key = k.key)
            order by k.key on conflict do nothing;
        v_keys := array(
            select l.key from durable.limit_keys l where l.kind = 2 and l.key = any (v_keys) order by l.key for update);
    end if;
    if v_breakers is not null then
        perform from durable.breakers b where b.key = any (v_breakers) order by b.key for update;
    end if;

    return query
        with recursive keys as materialized (
            select k.key, durable.activity_limit_2(k.key) as most, (
                select coalesce(sum(a.limit_weight), 0) from durable.activity_tasks a
                where (a.state = 2 or a.outside_since is not null) and a.limit_key = k.key) as running
            from unnest(v_keys) k (key)),
        behind as materialized (
            select b.breaker, durable.breaker_room_2(b.breaker, v_now) as room from unnest(v_breakers) b (breaker)),
        waiting as materialized (
            select w.* from unnest(v_priorities, v_lanes) l (priority, lane) cross join lateral (
                select a.run_id, a.id, a.priority, a.lane, a.due_at, a.share, a.limit_key, a.limit_weight, a.breaker,
                    a.fails_fast
                from durable.activity_tasks a
                where a.state = 1 and a.lane is not null and a.task_queue = v_lanes_of and a.priority = l.priority
                    and a.lane between l.lane and l.lane and a.due_at <= v_now and (a.deadline is null or a.deadline > v_now)
                    and (p_types is null or a.activity_type = any (p_types))
                    and exists (
                        select from durable.runs r where r.run_id = a.run_id and r.format <= p_format and r.hold <> 3
                        and (p_high - p_low = 4294967296
                            or durable.ramp_of(r.workflow_id) >= p_low and durable.ramp_of(r.workflow_id) < p_high))
                order by a.lane, a.due_at limit v_limit) w),
        fitting as materialized (
            -- What does not fit holds up all that come behind it under its key, or it might never fit.
            select f.* from (
                select w.*, k.most, k.running, b.room,
                    sum(least(w.limit_weight, k.most)) over (
                        partition by w.limit_key order by w.priority, w.due_at, w.run_id, w.id) as used,
                    row_number() over (
                        partition by w.breaker order by w.priority, w.due_at, w.run_id, w.id) as trial
                from waiting w left join keys k on k.key = w.limit_key left join behind b on b.breaker = w.breaker) f
            where (f.limit_key is null or (f.most > 0 and f.running + f.used <= f.most))
                and (f.breaker is null or f.fails_fast or f.room is null or f.trial <= f.room)),
        ranges as (
            select (select min(a.priority) from durable.activity_tasks a
                where a.state = 1 and a.task_queue = p_place) as priority
            union all
            select (select min(a.priority) from durable.activity_tasks a
                where a.state = 1 and a.task_queue = p_place and a.priority > s.priority)
            from ranges s where s.priority is not null),
        plain as materialized (
            select p.* from ranges s cross join lateral (
                select a.run_id, a.id, a.priority, a.due_at from durable.activity_tasks a
                where a.state = 1 and a.task_queue = p_place and a.priority = s.priority and a.due_at <= v_now
                    and (a.deadline is null or a.deadline > v_now) and (p_types is null or a.activity_type = any (p_types))
                    and exists (select from durable.runs r where r.run_id = a.run_id and r.format <= p_format
                        and r.hold <> 3
                        and (p_high - p_low = 4294967296
                            or durable.ramp_of(r.workflow_id) >= p_low and durable.ramp_of(r.workflow_id) < p_high))
                order by a.due_at limit v_limit) p),
        ready as (
            select f.run_id, f.id, f.priority, f.lane, f.due_at, f.share,
                f.fails_fast and f.room is not null and f.trial > f.room as refused from fitting f
            union all
            select p.run_id, p.id, p.priority, '', p.due_at, 1, false from plain p),
        picked as materialized (
            select d.run_id, d.id, d.refused from (
                select r.*, sum(-ln(1 - random())) over (
                    partition by r.priority, r.lane order by r.due_at, r.run_id, r.id) / r.share as lot from ready r) d
            order by d.priority, d.lot limit v_limit),
        locked as materialized (
            select p.run_id, p.id, p.refused from picked p cross join lateral (
                select from durable.activity_tasks a where a.run_id = p.run_id and a.id = p.id and a.state = 1
                for update skip locked) l)
        update durable.activity_tasks a set state = 2, worker = p_worker, started_at = v_now,
                deadline = least(a.close_by, v_now + a.start_to_close, v_now + a.heartbeat),
                refused = l.refused
            from locked l where a.run_id = l.run_id and a.id = l.id and exists (
                select from durable.workers w
                where w.worker_id = p_worker and not w.dead and w.expires_at > durable.now_us())
            returning a.run_id, a.id;
    get diagnostics v_taken = row_count;
    if v_permits is not null then
        update durable.rates r set permits = v_permits - v_taken, at = v_now where r.task_queue = v_queue;
    end if;
end $$;

-- As `claim_activities_2`, which does it where no lane is in use and no queue has a rate: all that this costs is a look.
create function durable.claim_activities_3(
    p_worker text, p_queues text[], p_types text[], p_limit integer, p_format integer, p_version text)
returns table (run_id uuid, id integer)
language plpgsql volatile
    set lock_timeout = '2s' set plan_cache_mode = force_generic_plan set enable_seqscan = off
    set enable_hashjoin = off set enable_mergejoin = off set jit = off
as $$
#variable_conflict use_column
declare
    v_reach record;
    v_left integer := p_limit;
    v_taken integer;
begin
    if not exists (
            select from durable.reach_2(p_queues, p_version) w cross join lateral (
                select from durable.activity_tasks a
                where a.state = 1 and a.task_queue = chr(31) || w.place limit 1) l)
        and not exists (
            select from unnest(p_queues) q (queue) cross join lateral (
                select from durable.rates r where r.task_queue = q.queue offset 0) r)
    then
        return query select c.run_id, c.id
            from durable.claim_activities_2(p_worker, p_queues, p_types, p_limit, p_format, p_version) c;
        return;
    end if;
    for v_reach in select w.* from durable.reach_2(p_queues, p_version) w loop
        exit when v_left < 1;
        return query select c.run_id, c.id
            from durable.claim_queue_2(
                p_worker, v_reach.place, v_reach.low, v_reach.high, p_types, v_left, p_format) c;
        get diagnostics v_taken = row_count;
        v_left := v_left - v_taken;
    end loop;
end $$;

-- Take the news of how attempts ended that were behind circuit breakers, in this order.
create function durable.tell_breakers_2(
    p_keys text[], p_failed boolean[], p_thresholds integer[], p_windows bigint[], p_open_for bigint[], p_trials integer[])
returns void language plpgsql volatile
    set lock_timeout = '2s' set plan_cache_mode = force_generic_plan set enable_seqscan = off
    set enable_hashjoin = off set enable_mergejoin = off set jit = off
as $$
declare
    v_now bigint;
    v_row record;
    v_failures bigint[];
begin
    insert into durable.breakers (key)
        select distinct t.key from unnest(p_keys, p_failed) t (key, failed)
        where t.failed and not exists (select from durable.breakers b where b.key = t.key)
        order by t.key on conflict do nothing;
    perform from durable.breakers b where b.key = any (p_keys) order by b.key for update;
    v_now := durable.now_us();
    for v_row in
        select t.* from unnest(p_keys, p_failed, p_thresholds, p_windows, p_open_for, p_trials) with ordinality
            t (key, failed, threshold, remembered, open_for, trials, n) order by t.n
    loop
        if not v_row.failed then
            update durable.breakers b set open_until = null, failures = '{}'
                where b.key = v_row.key and b.open_until <= v_now;
            continue;
        end if;
        select array(select f from unnest(b.failures) f where f > v_now - v_row.remembered) || v_now into v_failures
            from durable.breakers b where b.key = v_row.key;
        update durable.breakers b set trials = v_row.trials,
                open_until = case
                    when b.open_until > v_now then b.open_until
                    when b.open_until is not null or cardinality(v_failures) >= v_row.threshold
                        then v_now + v_row.open_for end,
                failures = case
                    when b.open_until is not null or cardinality(v_failures) >= v_row.threshold then '{}'
                    else v_failures end
            where b.key = v_row.key;
    end loop;
end $$;

-- Workflows wait in lanes, too: such a run is open and held, has no `wake_at` and so no owner, until it is admitted (`gate`
-- 1, then 2). What is admitted counts until it closes, whoever owns it.
alter table durable.runs
    add column gate smallint check (gate in (1, 2)),
    add column gate_at bigint, -- when it is due, while it waits
    add column lane text collate "C",
    add column share real,
    add column limit_key text collate "C",
    add column limit_most integer,
    add column limit_weight integer;

create index runs_lanes on durable.runs (task_queue, priority, lane, gate_at) where status = 1 and gate = 1;
create index runs_gated on durable.runs (task_queue, gate_at) where status = 1 and gate = 1;
create index runs_limited on durable.runs (limit_key) include (limit_weight)
    where status = 1 and gate = 2 and limit_key is not null;
create index runs_asked on durable.runs ((coalesce(limit_key, '')), started_at) where status = 1 and limit_key is not null;

create function durable.workflow_limit_2(p_key text) returns integer
language plpgsql stable
as $$
begin
    return coalesce(
        (select l.most from durable.limit_keys l where l.kind = 1 and l.key = p_key),
        (select r.limit_most from durable.runs r
            where coalesce(r.limit_key, '') = p_key and r.limit_key is not null and r.status = 1
            order by r.started_at desc limit 1));
end $$;

-- Admit runs that wait in lanes, as `claim_queue_2` gives activities out: for a claim that follows in the same transaction.
-- They come before what is due for as long as an hour; where anything is due, half of a claim is left to that.
create function durable.admit_2(p_queues text[], p_types text[], p_limit integer, p_format integer) returns integer
language plpgsql volatile
    set lock_timeout = '2s' set plan_cache_mode = force_generic_plan set enable_seqscan = off
    set enable_hashjoin = off set enable_mergejoin = off set jit = off
as $$
declare
    v_queue text;
    v_now bigint;
    v_limit integer;
    v_from text;
    v_priorities smallint[];
    v_lanes text[];
    v_keys text[];
    v_count integer;
    v_all integer := 0;
begin
    foreach v_queue in array p_queues loop
        continue when not exists (
            select from durable.runs r where r.status = 1 and r.gate = 1 and r.task_queue = v_queue limit 1);
        insert into durable.limit_keys (kind, key)
            select 0, chr(31) || v_queue
            where not exists (select from durable.limit_keys l where l.kind = 0 and l.key = chr(31) || v_queue)
            on conflict do nothing;
        perform from durable.limit_keys l where l.kind = 0 and l.key = chr(31) || v_queue for update;
        v_now := durable.now_us();
        v_from := lpad(to_hex((random() * 65535)::integer), 4, '0');
        v_limit := case when exists (
            select from durable.runs r
            where r.status = 1 and r.owner is null and r.wake_at is not null and r.task_queue = v_queue
                and r.wake_at <= v_now limit 1) then (p_limit + 1) / 2 else p_limit end;

        with recursive priorities as (
            select (select min(r.priority) from durable.runs r
                where r.status = 1 and r.gate = 1 and r.task_queue = v_queue) as priority
            union all
            select (select min(r.priority) from durable.runs r
                where r.status = 1 and r.gate = 1 and r.task_queue = v_queue and r.priority > p.priority)
            from priorities p where p.priority is not null),
        lanes as materialized (
            select p.priority, l.lane from priorities p cross join lateral (
                (with recursive forth as (
                    select (select min(r.lane) from durable.runs r where r.status = 1 and r.gate = 1
                        and r.task_queue = v_queue and r.priority = p.priority and r.lane >= v_from) as lane
                    union all
                    select (select min(r.lane) from durable.runs r where r.status = 1 and r.gate = 1
                        and r.task_queue = v_queue and r.priority = p.priority and r.lane > f.lane)
                    from forth f where f.lane is not null)
                select f.lane from forth f where f.lane is not null limit 500)
                union all
                (with recursive back as (
                    select (select min(r.lane) from durable.runs r where r.status = 1 and r.gate = 1
                        and r.task_queue = v_queue and r.priority = p.priority and r.lane < v_from) as lane
                    union all
                    select (select min(r.lane) from durable.runs r where r.status = 1 and r.gate = 1
                        and r.task_queue = v_queue and r.priority = p.priority and r.lane > b.lane and r.lane < v_from)
                    from back b where b.lane is not null)
                select b.lane from back b where b.lane is not null limit 500)) l
            where p.priority is not null),
        heads as materialized (
            select l.priority, l.lane, h.* from lanes l cross join lateral (
                select r.share, r.limit_key, r.limit_weight from durable.runs r
                where r.status = 1 and r.gate = 1 and r.task_queue = v_queue and r.priority = l.priority
                    and r.lane between l.lane and l.lane and r.gate_at <= v_now and r.hold = 1
                    and r.format <= p_format and (p_types is null or r.workflow_type = any (p_types))
                order by r.lane, r.gate_at limit 1) h),
        keys as materialized (
            select k.limit_key, durable.workflow_limit_2(k.limit_key) as most,
                durable.key_running_2(1, k.limit_key) as running
            from (select distinct h.limit_key from heads h where h.limit_key is not null) k),
        able as (
            select h.*, -ln(1 - random()) / h.share as lot from heads h left join keys k on k.limit_key = h.limit_key
            where h.limit_key is null or (k.most > 0 and k.running + least(h.limit_weight, k.most) <= k.most)),
        chosen as (select * from able order by priority, lot limit v_limit + 10)
        select array_agg(priority), array_agg(lane),
                array_agg(distinct limit_key) filter (where limit_key is not null)
            into v_priorities, v_lanes, v_keys from chosen;
        continue when v_lanes is null;

        if v_keys is not null then
            insert into durable.limit_keys (kind, key)
                select 1, k.key from unnest(v_keys) k (key)
                where not exists (select from durable.limit_keys l where l.kind = 1 and l.key = k.key)
                order by k.key on conflict do nothing;
            v_keys := array(
                select l.key from durable.limit_keys l where l.kind = 1 and l.key = any (v_keys) order by l.key for update);
        end if;

        with keys as materialized (
            select k.key, durable.workflow_limit_2(k.key) as most, durable.key_running_2(1, k.key) as running
            from unnest(v_keys) k (key)),
        waiting as materialized (
            select w.* from unnest(v_priorities, v_lanes) l (priority, lane) cross join lateral (
                select r.run_id, r.priority, r.lane, r.gate_at, r.share, r.limit_key, r.limit_weight
                from durable.runs r
                where r.status = 1 and r.gate = 1 and r.task_queue = v_queue and r.priority = l.priority
                    and r.lane between l.lane and l.lane and r.gate_at <= v_now and r.hold = 1
                    and r.format <= p_format and (p_types is null or r.workflow_type = any (p_types))
                order by r.lane, r.gate_at limit v_limit) w),
        fitting as materialized (
            select f.* from (
                select w.*, k.most, k.running, sum(least(w.limit_weight, k.most)) over (
                    partition by w.limit_key order by w.priority, w.gate_at, w.run_id) as used
                from waiting w left join keys k on k.key = w.limit_key) f
            where f.limit_key is null or (f.most > 0 and f.running + f.used <= f.most)),
        picked as materialized (
            select d.run_id from (
                select f.*, sum(-ln(1 - random())) over (
                    partition by f.priority, f.lane order by f.gate_at, f.run_id) / f.share as lot from fitting f) d
            order by d.priority, d.lot limit v_limit),
        locked as materialized (
            select p.run_id from picked p cross join lateral (
                select from durable.runs r where r.run_id = p.run_id and r.closed_at is null and r.gate = 1 and r.hold = 1
                for no key update skip locked) l)
        update durable.runs r set gate = 2, hold = 0, wake_at = r.gate_at - 3600000000 from locked l
            where r.run_id = l.run_id;
        get diagnostics v_count = row_count;
        v_all := v_all + v_count;
    end loop;
    return v_all;
end $$;

-- What there is to know of a key; kind 1 for workflows, 2 for activities.
create function durable.key_limit_2(p_kind integer, p_key text) returns integer
language plpgsql stable
as $$
begin
    return case p_kind when 1 then durable.workflow_limit_2(p_key) else durable.activity_limit_2(p_key) end;
end $$;

create function durable.key_running_2(p_kind integer, p_key text) returns bigint
language plpgsql stable
    set plan_cache_mode = force_generic_plan set enable_seqscan = off
as $$
begin
    if p_kind = 1 then
        return (select coalesce(sum(r.limit_weight), 0) from durable.runs r
            where r.status = 1 and r.gate = 2 and r.limit_key = p_key);
    end if;
    return (select coalesce(sum(a.limit_weight), 0) from durable.activity_tasks a
        where (a.state = 2 or a.outside_since is not null) and a.limit_key = p_key);
end $$;

create function durable.key_waiting_2(p_kind integer, p_key text, p_most integer) returns bigint
language plpgsql stable
    set plan_cache_mode = force_generic_plan set enable_seqscan = off
as $$
begin
    if p_kind = 1 then
        return (select count(*) from (
            select from durable.runs r
            where coalesce(r.limit_key, '') = p_key and r.limit_key is not null and r.status = 1 and r.gate = 1
            limit p_most) w);
    end if;
    return (select count(*) from (
        select from durable.activity_tasks a
        where coalesce(a.limit_key, '') = p_key and a.limit_key is not null and a.state = 1 and a.outside_since is null
        limit p_most) w);
end $$;

create function durable.key_in_use_2(p_kind integer, p_key text) returns boolean
language plpgsql stable
    set plan_cache_mode = force_generic_plan set enable_seqscan = off
as $$
begin
    -- With an order, so that the index is read and not a map of it made.
    if p_kind = 1 then
        perform from durable.runs r
            where coalesce(r.limit_key, '') = p_key and r.limit_key is not null and r.status = 1
            order by r.started_at desc limit 1;
    else
        perform from durable.activity_tasks a
            where coalesce(a.limit_key, '') = p_key and a.limit_key is not null order by a.scheduled_at desc limit 1;
    end if;
    return found;
end $$;
