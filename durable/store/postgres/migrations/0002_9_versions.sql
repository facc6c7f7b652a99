-- Worker versions: which there are, whom each queue belongs to, and which runs are kept for one.
--
-- Everything here only adds. A run's `task_queue` is its place: the queue, and behind U+001F the version it is pinned to,
-- if it is. Workers of the release before ask for their queue alone and so never see it, by no index; what they send it is
-- put at its place all the same, since they copy it.

create table durable.deployments (
    name text collate "C" primary key,
    current_version text collate "C", -- '' is workers without a version, null that none was set
    ramping_version text collate "C",
    percentage double precision not null default 0,
    current_since bigint,
    ramping_since bigint,
    revision bigint not null default 0,
    created_at bigint not null,
    changed_by text not null default ''
);

create table durable.deployment_versions (
    version text collate "C", -- name:build
    task_queue text collate "C",
    deployment text collate "C" not null,
    created_at bigint not null,
    was_active boolean not null default false, -- it has been current, or ramping
    primary key (version, task_queue)
);

create index deployment_versions_of on durable.deployment_versions (deployment);

-- One row for each queue that a worker with a version has served: whom runs belong to that follow it. `ramp` is a share of
-- 2^32; '' is workers without a version. What is asked by every claim, and nothing else, so that it stays in one page.
create table durable.queue_routes (
    task_queue text collate "C" primary key,
    deployment text collate "C" not null,
    current_version text collate "C" not null default '',
    ramping_version text collate "C" not null default '',
    ramp bigint not null default 0
) with (fillfactor = 50);

alter table durable.workers add column version text collate "C" not null default '';

alter table durable.runs
    add column pinned_to text collate "C", -- the version in its place
    add column deployment_version text collate "C", -- which ran its newest task, as far as that is known
    add column versioning_behavior smallint, -- what its workflow said there: 1 pinned, 2 auto-upgrade
    add column versioning_override text collate "C"; -- a version, or auto_upgrade

create index runs_pinned on durable.runs (task_queue, wake_at) where status = 1 and pinned_to is not null;

-- Where a workflow id stands in a ramp: the first four bytes of its digest.
create function durable.ramp_of(p_workflow_id text) returns bigint language sql immutable parallel safe
    as $$ select ('x' || substr(encode(sha256(convert_to(p_workflow_id, 'UTF8')), 'hex'), 1, 8))::bit(32)::bigint $$;

-- A place where workers will look: a version that does not serve the queue has no part in it.
create function durable.place_2(p_place text) returns text language sql stable
as $$
    select case
        when split_part(p_place, E'\x1f', 2) = '~ramping' then split_part(p_place, E'\x1f', 1) || E'\x1f~ramping'
        when exists (
            select from durable.deployment_versions v
            where v.version = split_part(p_place, E'\x1f', 2) and v.task_queue = split_part(p_place, E'\x1f', 1))
        then split_part(p_place, E'\x1f', 1) || E'\x1f' || split_part(p_place, E'\x1f', 2)
        else split_part(p_place, E'\x1f', 1) end
$$;

-- Where an activity of a run is queued: with the version that the run is pinned to, as far as that serves the queue.
create function durable.activity_place_2(p_run uuid, p_queue text) returns text language sql stable
as $$
    -- (In front of a lane's queue stands U+001F too.)
    select case when left(p_queue, 1) = E'\x1f' then E'\x1f' else '' end || case when r.pinned_to is null then q.queue
        else durable.place_2(q.queue || E'\x1f' || r.pinned_to) end
    from durable.runs r cross join (select split_part(ltrim(p_queue, E'\x1f'), E'\x1f', 1) as queue) q
    where r.run_id = p_run
$$;

-- Which runs workers of a version ('' for none) may have: places, and a range of `ramp_of` at each.
create function durable.reach_2(p_queues text[], p_version text)
returns table (place text, low bigint, high bigint) language sql stable rows 3
as $$
    select q.queue || E'\x1f' || p_version, 0::bigint, 4294967296 from unnest(p_queues) q (queue) where p_version <> ''
    union all
    select q.queue,
        case when coalesce(r.current_version, '') <> p_version or r.ramp > 0 and r.ramping_version = p_version
            then 0::bigint else coalesce(r.ramp, 0) end,
        case when coalesce(r.current_version, '') = p_version then 4294967296 else r.ramp end
    from unnest(p_queues) q (queue) left join durable.queue_routes r on r.task_queue = q.queue
    where coalesce(r.current_version, '') = p_version or r.ramp > 0 and r.ramping_version = p_version
    union all
    select r.task_queue || E'\x1f~ramping', 0::bigint, 4294967296
    from unnest(p_queues) q (queue) join durable.queue_routes r on r.task_queue = q.queue
    where case when r.ramp > 0 then r.ramping_version else r.current_version end = p_version
$$;

-- Whether workers of a version may have a run.
create function durable.reaches_2(p_version text, p_place text, p_workflow_id text) returns boolean language sql stable
as $$
    select exists (
        select from durable.reach_2(array[split_part(p_place, E'\x1f', 1)], p_version) w
        where w.place = p_place and (w.high - w.low = 4294967296
            or durable.ramp_of(p_workflow_id) >= w.low and durable.ramp_of(p_workflow_id) < w.high))
$$;

-- Make a live worker the owner of ready runs, as `claim_1` does, of those that workers of its version may have. Without
-- types, `p_types` null, it gets runs of every type: all but those of one activity and no code, which nobody owns.
create function durable.claim_2(
    p_worker text, p_queues text[], p_types text[], p_limit integer, p_format integer, p_least integer, p_most integer,
    p_version text
) returns table (
    run_id uuid, workflow_id text, workflow_type text, task_queue text, status smallint, hold smallint, reason text,
    owner text, epoch integer, wake_at bigint, priority smallint, deaths smallint, started_at bigint, closed_at bigint,
    times_out_at bigint, info bytea, now bigint,
    event_numbers bigint[], event_data bytea[],
    message_numbers bigint[], message_ids text[], message_data bytea[],
    activity_numbers bigint[], activity_texts text[], activity_scheduled bytea[], activity_progress bytea[]
) language plpgsql volatile
    set lock_timeout = '2s' set plan_cache_mode = force_generic_plan set enable_seqscan = off
    set enable_hashjoin = off set enable_mergejoin = off set enable_bitmapscan = off set jit = off
as $$
#variable_conflict use_column
declare
    v_now bigint := durable.now_us();
    v_picked uuid[] := '{}';
    v_due integer;
    v_claimed bigint;
    v_begun uuid[];
    v_places text[];
    v_low bigint[];
    v_high bigint[];
    v_mail text[]; -- where messages are looked for: one that was sent before its run was pinned lies at the queue
begin
    if current_setting('transaction_isolation') <> 'read committed' then
        raise exception 'durable needs READ COMMITTED, not %', current_setting('transaction_isolation')
            using errcode = 'DU001';
    end if;
    select array_agg(w.place), array_agg(w.low), array_agg(w.high) into v_places, v_low, v_high
        from durable.reach_2(p_queues, p_version) w;
    if v_places is null then
        return;
    end if;
    v_mail := v_places || case when p_version <> '' then array(
        select q.queue from unnest(p_queues) q (queue) where q.queue <> all (v_places)) end;
    for v_look in 1 .. 3 loop
        if v_look = 2 then
            v_due := p_limit - cardinality(v_picked);
            with recursive ranges as (
                select w.place, w.low, w.high, (select min(r.priority) from durable.runs r
                    where r.status = 1 and r.owner is null and r.wake_at is not null and r.task_queue = w.place) as priority
                from unnest(v_places, v_low, v_high) w (place, low, high)
                union all
                select s.place, s.low, s.high, (select min(r.priority) from durable.runs r
                    where r.status = 1 and r.owner is null and r.wake_at is not null and r.task_queue = s.place
                        and r.priority > s.priority)
                from ranges s where s.priority is not null),
            locked as materialized (
                select l.* from ranges s cross join lateral (
                    select r.run_id, r.priority, r.wake_at from durable.runs r
                    where r.status = 1 and r.owner is null and r.wake_at is not null
                        and r.task_queue = s.place and r.priority = s.priority and r.wake_at <= v_now
                        and r.hold <> 2 and r.format <= p_format and r.deaths between p_least and p_most
                        and (p_types is null and not starts_with(r.workflow_type, E'activity\x1f') or r.workflow_type = any (p_types))
                        and r.run_id <> all (v_picked)
                        and (s.high - s.low = 4294967296
                            or durable.ramp_of(r.workflow_id) >= s.low and durable.ramp_of(r.workflow_id) < s.high)
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
                select l.* from unnest(v_mail) q (place) cross join lateral (
                    select r.run_id, i.position from durable.inbox i
                    cross join lateral (
                        select r.run_id from durable.runs r
                        where r.run_id = i.run_id and r.status = 1 and r.owner is null and r.hold = 0
                            and r.format <= p_format and r.deaths between p_least and p_most
                            and (p_types is null and not starts_with(r.workflow_type, E'activity\x1f') or r.workflow_type = any (p_types))
                            and r.run_id <> all (v_picked)
                            and exists (
                                select from unnest(v_places, v_low, v_high) w (place, low, high)
                                where w.place = r.task_queue and (w.high - w.low = 4294967296
                                    or durable.ramp_of(r.workflow_id) >= w.low and durable.ramp_of(r.workflow_id) < w.high))
                        for no key update skip locked) r
                    where i.task_queue = q.place and not exists (
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
    with claimed as (
        update durable.runs r set owner = p_worker, epoch = r.epoch + 1, wake_at = null
            where r.run_id = any (v_picked) and exists (
                select from durable.workers w
                where w.worker_id = p_worker and not w.dead and w.expires_at > durable.now_us())
            returning r.run_id, r.begins_at_claim)
    select count(*), array_agg(c.run_id) filter (where c.begins_at_claim) into v_claimed, v_begun from claimed c;
    if v_begun is not null then
        perform durable.begin_2(v_begun);
    end if;
    if v_claimed > 0 then
        return query select l.* from durable.load_1(v_picked) l;
    end if;
end $$;

-- Write which version ran the newest task of runs, and where they belong from now on; an override stands above that.
create function durable.stamp_2(p_run uuid[], p_version text[], p_behavior smallint[], p_pinned_to text[]) returns void
language plpgsql volatile
as $$
begin
    with stamped as (
        update durable.runs r set deployment_version = t.version, versioning_behavior = t.behavior,
                format = greatest(r.format, 2),
                pinned_to = case when r.versioning_override is null then t.pinned_to else r.pinned_to end,
                task_queue = case when r.versioning_override is null
                    then split_part(r.task_queue, E'\x1f', 1) || coalesce(E'\x1f' || t.pinned_to, '') else r.task_queue end
            from unnest(p_run, p_version, p_behavior, p_pinned_to) t (run_id, version, behavior, pinned_to)
            where r.run_id = t.run_id
            returning r.run_id, r.task_queue)
    update durable.inbox i set task_queue = s.task_queue from stamped s
        where i.run_id = s.run_id and i.task_queue <> s.task_queue;
end $$;

-- Set or lift the override of an open run, and tell the run: CHANGED 1, CLOSED 3, NOT_FOUND 4. FOR UPDATE, so that nobody
-- sends to its old place meanwhile; it is due at once, so that what it has lies nowhere unseen.
create function durable.override_2(p_run uuid, p_override text, p_id text, p_type smallint, p_data bytea) returns smallint
language plpgsql volatile
    set lock_timeout = '2s' set plan_cache_mode = force_generic_plan set enable_seqscan = off
    set enable_hashjoin = off set enable_mergejoin = off set jit = off
as $$
declare
    v_run durable.runs;
    v_pinned_to text;
    v_place text;
    v_waits boolean; -- its start was delayed, and a message would end that, or it is not admitted yet
begin
    select r.* into v_run from durable.runs r where r.run_id = p_run for update;
    if not found then
        return 4;
    elsif v_run.closed_at is not null then
        return 3;
    end if;
    v_pinned_to := case when p_override = 'auto_upgrade' then null when p_override is not null then p_override
        when v_run.versioning_behavior = 1 then v_run.deployment_version end;
    v_waits := coalesce(v_run.execution_at > durable.now_us(), false) or coalesce(v_run.gate = 1, false);
    v_place := split_part(v_run.task_queue, E'\x1f', 1) || coalesce(E'\x1f' || v_pinned_to, '');
    update durable.runs r set versioning_override = p_override, pinned_to = v_pinned_to, task_queue = v_place,
            format = greatest(r.format, 2),
            wake_at = case when r.owner is null and r.hold < 2 and not v_waits then durable.now_us() else r.wake_at end
        where r.run_id = p_run;
    update durable.inbox i set task_queue = v_place where i.run_id = p_run and i.task_queue <> v_place;
    update durable.activity_tasks a
        set task_queue = durable.activity_place_2(p_run, a.task_queue)
        where a.run_id = p_run and a.state = 1;
    if not v_waits then
        insert into durable.inbox (run_id, type, internal, task_queue, message_id, data)
            values (p_run, p_type, true, v_place, p_id, p_data) on conflict (run_id, message_id) do nothing;
    end if;
    return 1;
end $$;

-- Bring the routes of queues up to date with a deployment: of all queues that its versions serve, or of one of them.
create function durable.route_2(p_name text, p_queue text, p_percentage double precision) returns void language plpgsql volatile
as $$
begin
    insert into durable.queue_routes as t (task_queue, deployment, current_version, ramping_version, ramp)
        select q.task_queue, d.name,
            case when exists (select from durable.deployment_versions v
                where v.version = d.current_version and v.task_queue = q.task_queue) then d.current_version else '' end,
            case when r.ramps then d.ramping_version else '' end, case when r.ramps then round(p_percentage / 100 * 4294967296)::bigint else 0 end
        from durable.deployments d
        cross join lateral (
            select distinct v.task_queue from durable.deployment_versions v
            where v.deployment = d.name and (p_queue is null or v.task_queue = p_queue) order by 1) q
        cross join lateral (
            select d.ramping_version = '' or exists (select from durable.deployment_versions v
                where v.version = d.ramping_version and v.task_queue = q.task_queue) as ramps) r
        where d.name = p_name
        on conflict (task_queue) do update set deployment = excluded.deployment,
            current_version = excluded.current_version, ramping_version = excluded.ramping_version, ramp = excluded.ramp
            -- Of two deployments that serve a queue, it belongs to the one that was set last.
            where p_queue is null or t.deployment = excluded.deployment or t.current_version = '' and t.ramp = 0;
end $$;

-- A worker of a version has come: what it serves is known from now on. The deployment's row is locked first, so that
-- whoever sets its versions meanwhile sees the queue, or is seen.
create function durable.serve_2(p_name text, p_version text, p_queues text[]) returns void language plpgsql volatile
    set lock_timeout = '2s'
as $$
begin
    insert into durable.deployments (name, created_at) values (p_name, durable.now_us()) on conflict do nothing;
    perform from durable.deployments d where d.name = p_name for update;
    insert into durable.deployment_versions (version, task_queue, deployment, created_at)
        select p_version, q.queue, p_name, durable.now_us() from unnest(p_queues) q (queue) on conflict do nothing;
    perform durable.route_2(d.name, q.queue, d.percentage)
        from durable.deployments d cross join unnest(p_queues) q (queue) where d.name = p_name;
end $$;

-- Set the versions of a deployment that has this revision, and with them whom its queues belong to.
create function durable.set_versions_2(
    p_name text, p_revision bigint, p_current text, p_ramping text, p_percentage double precision, p_by text
) returns boolean language plpgsql volatile
    set lock_timeout = '2s'
as $$
begin
    update durable.deployments d set current_version = p_current, ramping_version = p_ramping, percentage = p_percentage,
            current_since = case when d.current_version is distinct from p_current then durable.now_us()
                else d.current_since end,
            ramping_since = case when p_ramping is null then null
                when d.ramping_version is distinct from p_ramping then durable.now_us() else d.ramping_since end,
            revision = revision + 1, changed_by = p_by
        where d.name = p_name and d.revision = p_revision;
    if not found then
        return false;
    end if;
    update durable.deployment_versions v set was_active = true
        where v.version in (p_current, p_ramping) and not v.was_active;
    perform durable.route_2(p_name, null, p_percentage);
    return true;
end $$;
