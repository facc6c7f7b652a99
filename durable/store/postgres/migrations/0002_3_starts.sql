-- Enter runs, and apply the policies for workflow ids that are in use or were used: the part of a start that has to wait
-- for others. Only `runs` is written, so that whoever calls may still think better of it and delete the row;
-- `record_runs_2` is the rest. STARTED 1, SAME 2, USED_EXISTING 3, REJECTED 4; without an answer, the workflow id was
-- started and closed over and over meanwhile.
--
-- The insert comes first: the partial unique index makes two starts of one workflow id meet there, the later one waiting
-- for the earlier. Only then, in a statement of its own with a fresh snapshot, it is looked at what had been there; a look
-- before the insert, or in it, would miss a run that closed while the insert waited. Rows go in workflow-id order, so that
-- two batches never wait for each other.
create function durable.enter_runs_2(
    p_now bigint, p_which integer[], -- the subscripts of those to be entered, and of no others
    s_run uuid[], s_workflow_id text[], s_type text[], s_queue text[], s_format integer[], s_priority smallint[],
    s_delay bigint[], s_timeout bigint[], s_owner text[], s_reuse smallint[], s_conflict smallint[],
    s_first uuid[], s_parent uuid[], s_policy smallint[]
) returns table (n integer, outcome smallint, run_id uuid, workflow_type text, epoch integer)
language plpgsql volatile
as $$
#variable_conflict use_column
declare
    v_open integer[] := p_which; -- the starts not answered yet
    v_new uuid[]; -- runs inserted in this round
    v_all boolean; -- all of them were: then nothing has to be looked up in `v_new`, which costs its square
    v_again integer[];
    v_i integer;
    v_versions boolean := exists (select from durable.queue_routes);
begin
    for v_round in 1 .. 10 loop
        with inserted as (
            insert into durable.runs (run_id, workflow_id, workflow_type, task_queue, format, priority, started_at,
                    times_out_at, owner, epoch, wake_at, first_run_id, parent_run_id, parent_close_policy, execution_at,
                    parent_workflow_id, root_workflow_id, root_run_id, pinned_to, versioning_override)
                select s_run[i], s_workflow_id[i], s_type[i], v.place, s_format[i], s_priority[i], p_now,
                    p_now + s_delay[i] + s_timeout[i],
                    case when l.live then s_owner[i] end,
                    case when l.live then 1 else 0 end,
                    case when not l.live then p_now + s_delay[i] end,
                    s_first[i], s_parent[i], s_policy[i], case when s_delay[i] > 0 then p_now + s_delay[i] end,
                    p.workflow_id, p.root_workflow_id, p.root_run_id,
                    v.pinned_to, case when v.pinned_to is not null or split_part(s_queue[i], E'\x1f', 3) = 'auto_upgrade'
                        then nullif(split_part(s_queue[i], E'\x1f', 3), '') end
                from (select i from unnest(v_open) i order by s_workflow_id[i], i) s
                -- What stands in `s_queue` is a place, and behind it an override if there is one.
                cross join lateral (
                    select p.place, case when split_part(p.place, E'\x1f', 2) like '%:%'
                        then split_part(p.place, E'\x1f', 2) end as pinned_to
                    from (select case when strpos(s_queue[i], E'\x1f') = 0 then s_queue[i]
                        else durable.place_2(s_queue[i]) end as place offset 0) p offset 0) v
                -- A delayed start is not owned: the delay would be forgotten if its owner died.
                cross join lateral (select s_delay[i] = 0 and exists (
                    select from durable.workers w
                    where w.worker_id = s_owner[i] and not w.dead and w.expires_at > p_now
                        and (not v_versions or durable.reaches_2(w.version, v.place, s_workflow_id[i]))) as live) l
                left join lateral (
                    select r.workflow_id, coalesce(r.root_workflow_id, r.workflow_id) as root_workflow_id,
                        coalesce(r.root_run_id, r.run_id) as root_run_id
                    from durable.runs r where r.run_id = s_parent[i] offset 0) p on true
            on conflict do nothing returning durable.runs.run_id)
        select coalesce(array_agg(inserted.run_id), '{}') into v_new from inserted;
        v_all := cardinality(v_new) = cardinality(v_open);

        -- What the workflow ids were used for before, seen now that nobody else can start one of them.
        return query
            with refused as (
                select i, l.run_id, l.workflow_type from unnest(v_open) i
                cross join lateral (
                    select r.run_id, r.workflow_type, r.status from durable.runs r
                    where r.workflow_id = s_workflow_id[i] and r.status <> 1
                    order by r.started_at desc, r.run_id desc limit 1) l
                where (v_all or s_run[i] = any (v_new)) and (s_reuse[i] = 3 or (s_reuse[i] = 2 and l.status in (2, 6)))),
            forgotten as (
                delete from durable.runs r where r.run_id in (select s_run[i] from refused))
            select i, 4::smallint, refused.run_id, refused.workflow_type, 0 from refused;
        return query
            select min(i), 1::smallint, r.run_id, r.workflow_type, r.epoch from unnest(v_open) i
            cross join lateral (select r.* from durable.runs r where r.run_id = s_run[i] offset 0) r
            where v_all or s_run[i] = any (v_new)
            group by r.run_id, r.workflow_type, r.epoch;

        exit when v_all;

        -- Whoever was not inserted: the very run is there, or another one is open under its workflow id, or that one has
        -- closed between the two statements; then it is tried again.
        v_again := '{}';
        foreach v_i in array v_open loop
            if s_run[v_i] = any (v_new) then
                v_new := array_remove(v_new, s_run[v_i]); -- the first of this run id was answered above
                continue;
            end if;
            return query
                select v_i, 2::smallint, r.run_id, r.workflow_type, case when r.owner = s_owner[v_i] then r.epoch else 0 end
                from durable.runs r where r.run_id = s_run[v_i];
            continue when found;
            return query
                select v_i, case when s_conflict[v_i] = 2 then 3 else 4 end::smallint, r.run_id, r.workflow_type, 0
                from durable.runs r where r.workflow_id = s_workflow_id[v_i] and r.status = 1;
            continue when found;
            v_again := v_again || v_i;
        end loop;
        exit when cardinality(v_again) = 0;
        v_open := v_again;
    end loop;
end $$;

-- Enter the children of a batch, and wait for strangers no longer than a batch may: a start that would have to is not
-- answered. One that waits undoes all that are entered with it, hence the second try one by one.
create function durable.enter_children_2(
    p_now bigint, p_which integer[],
    s_run uuid[], s_workflow_id text[], s_type text[], s_queue text[], s_format integer[], s_priority smallint[],
    s_delay bigint[], s_timeout bigint[], s_owner text[], s_reuse smallint[],
    s_first uuid[], s_parent uuid[], s_policy smallint[]
) returns table (n integer, outcome smallint, run_id uuid, workflow_type text, epoch integer)
language plpgsql volatile
    set lock_timeout = '25ms'
as $$
declare
    v_i integer;
begin
    return query select * from durable.enter_runs_2(p_now, p_which, s_run, s_workflow_id, s_type, s_queue, s_format,
        s_priority, s_delay, s_timeout, s_owner, s_reuse, null, s_first, s_parent, s_policy);
exception when lock_not_available or deadlock_detected then
    perform set_config('lock_timeout', '5ms', true);
    foreach v_i in array p_which loop
        begin
            return query select * from durable.enter_runs_2(p_now, array[v_i], s_run, s_workflow_id, s_type, s_queue,
                s_format, s_priority, s_delay, s_timeout, s_owner, s_reuse, null, s_first, s_parent, s_policy);
        exception when lock_not_available or deadlock_detected then
            null;
        end;
    end loop;
end $$;

-- Write what belongs to runs that were entered: data and first events.
create function durable.record_runs_2(p_now bigint, p_which integer[], s_run uuid[], s_started bytea[], s_info bytea[])
returns void language plpgsql volatile
as $$
begin
    insert into durable.run_data (run_id, info) select s_run[i], s_info[i] from unnest(p_which) i;
    insert into durable.events (run_id, seq, task, type, time, data)
        select s_run[i], 1, 1, 1, p_now, s_started[i] from unnest(p_which) i;
end $$;

-- Create runs, each with its first event and its messages; each start stands or falls alone.
--
-- Messages to an existing run are sent as by a client. When that run closes meanwhile the start is judged again; when it
-- holds messages back, the start is answered 0, and nothing of it was written: it comes again.
create function durable.start_2(
    s_run uuid[], s_workflow_id text[], s_type text[], s_queue text[], s_format integer[], s_priority smallint[],
    s_delay bigint[], s_timeout bigint[], s_owner text[], s_reuse smallint[],
    s_first uuid[], s_parent uuid[], s_policy smallint[], s_started bytea[], s_info bytea[], s_conflict smallint[],
    m_start integer[], m_id text[], m_type smallint[], m_internal boolean[], m_data bytea[], -- `m_start` counts in `s_run`
    s_rows jsonb[] -- what the runs are found by, see `index_runs_2`
) returns table (n integer, outcome smallint, run_id uuid, workflow_type text, epoch integer, now bigint)
language plpgsql volatile
    set lock_timeout = '2s' set plan_cache_mode = force_generic_plan set enable_seqscan = off
    set enable_hashjoin = off set enable_mergejoin = off set jit = off
as $$
#variable_conflict use_column
declare
    v_now bigint;
    v_open integer[] := array(select i from generate_subscripts(s_run, 1) i);
    v_new integer[];
    v_again integer[];
    v_sent smallint[];
    v_start record;
begin
    if current_setting('transaction_isolation') <> 'read committed' then
        raise exception 'durable needs READ COMMITTED, not %', current_setting('transaction_isolation')
            using errcode = 'DU001';
    end if;
    if m_start is null and s_rows is null then
        -- As nearly always: all in one go.
        v_now := durable.now_us();
        return query
            with entered as materialized (
                select * from durable.enter_runs_2(v_now, v_open, s_run, s_workflow_id, s_type, s_queue, s_format,
                    s_priority, s_delay, s_timeout, s_owner, s_reuse, s_conflict, s_first, s_parent, s_policy)),
            described as (
                insert into durable.run_data (run_id, info)
                    select e.run_id, s_info[e.n] from entered e where e.outcome = 1),
            recorded as (
                insert into durable.events (run_id, seq, task, type, time, data)
                    select e.run_id, 1, 1, 1, v_now, s_started[e.n] from entered e where e.outcome = 1)
            select e.*, v_now from entered e;
        return;
    end if;
    for v_round in 1 .. 10 loop
        v_now := durable.now_us();
        v_new := '{}';
        v_again := '{}';
        for v_start in
            select * from durable.enter_runs_2(v_now, v_open, s_run, s_workflow_id, s_type, s_queue, s_format,
                s_priority, s_delay, s_timeout, s_owner, s_reuse, s_conflict, s_first, s_parent, s_policy)
        loop
            if v_start.outcome = 1 then
                v_new := v_new || v_start.n;
            end if;
            if v_start.outcome <> 4 and v_start.n = any (m_start) then
                select durable.send_2(array_agg(v_start.run_id), array_agg(m.id), array_agg(m.type),
                        array_agg(m.internal), array_agg(m.data)) into v_sent
                    from (
                        select m.* from unnest(m_start, m_id, m_type, m_internal, m_data) with ordinality
                            m (start, id, type, internal, data, n)
                        where m.start = v_start.n order by m.n) m;
                if v_start.outcome = 3 and 3 = any (v_sent) then
                    v_again := v_again || v_start.n;
                    continue;
                elsif 5 = any (v_sent) then
                    v_start.outcome := 0;
                end if;
            end if;
            n := v_start.n;
            outcome := v_start.outcome;
            run_id := v_start.run_id;
            workflow_type := v_start.workflow_type;
            epoch := v_start.epoch;
            now := v_now;
            return next;
        end loop;
        perform durable.record_runs_2(v_now, v_new, s_run, s_started, s_info);
        if s_rows is not null then
            perform durable.index_runs_2(
                array(select s_run[i] from unnest(v_new) i), array(select s_rows[i] from unnest(v_new) i));
        end if;
        exit when cardinality(v_again) = 0;
        v_open := v_again;
    end loop;
end $$;
