-- What every close does beside its event: the children are told, a successor takes over, updates get their outcome, and
-- what only open runs have is removed.

-- Lock the open children of runs that are about to close, but for abandoned ones, as a sender would, and without waiting.
-- A parent in `missed` has a child that is closing now: whether that one goes on as another run is seen a moment later.
create function durable.lock_children_2(p_parents uuid[], out children uuid[], out missed uuid[])
language plpgsql volatile
as $$
begin
    select array_agg(c.run_id) filter (where l.run_id is not null), array_agg(c.parent) filter (where l.run_id is null)
        into children, missed
        from (
            select r.run_id, r.parent_run_id as parent from unnest(p_parents) p (run_id)
            cross join lateral (
                select r.run_id, r.parent_run_id from durable.runs r
                where r.parent_run_id = p.run_id and r.status = 1 and r.parent_close_policy in (1, 3)) r
            order by r.run_id) c
        left join lateral (
            select r.run_id from durable.runs r where r.run_id = c.run_id and r.closed_at is null
            for key share skip locked) l on true;
end $$;

-- Whom messages are for: what a run that closes tells its parent goes to the parent in its row, which is another run than
-- its log says when the parent was reset.
create function durable.to_parents_2(p_closers uuid[], m_from uuid[], m_run uuid[], m_internal boolean[]) returns uuid[]
language sql volatile
as $$
    select array_agg(coalesce(r.parent_run_id, m.run_id) order by m.n)
    from unnest(m_from, m_run, m_internal) with ordinality m (sender, run_id, internal, n)
    left join lateral (
        select r.parent_run_id from durable.runs r
        where m.internal and m.run_id <> m.sender and m.sender = any (p_closers) and r.run_id = m.sender offset 0) r on true
$$;

-- Close runs that the caller has locked FOR UPDATE, with their activity rows, and return which of their successors were
-- started with an owner. Their unread messages have been judged; what is left of them moves or goes.
create function durable.close_2(
    p_now bigint, p_bad uuid[], -- runs that are left alone after all
    p_runs uuid[], p_statuses smallint[], p_closed_at bigint,
    p_lost bytea[], -- the outcomes of updates that end with the runs
    p_children uuid[], p_told bytea[], -- whom to tell; the facts of a termination, and of a cancel request
    p_successors integer[], s_from uuid[], -- the subscripts of successors, and whom they succeed
    s_run uuid[], s_workflow_id text[], s_type text[], s_queue text[], s_format integer[], s_priority smallint[],
    s_delay bigint[], s_timeout bigint[], s_owner text[], s_reuse smallint[],
    s_first uuid[], s_parent uuid[], s_policy smallint[], s_started bytea[], s_info bytea[],
    m_run uuid[], m_id text[], m_type smallint[], m_internal boolean[], m_data bytea[] -- those to successors are sent
) returns uuid[]
language plpgsql volatile
as $$
declare
    v_entered integer[];
    v_started uuid[];
begin
    if cardinality(p_children) > 0 then
        insert into durable.inbox (run_id, type, internal, task_queue, message_id, data)
            select r.run_id, case r.parent_close_policy when 1 then 13 else 3 end, true, r.task_queue, 'parent-closed',
                case r.parent_close_policy when 1 then p_told[1] else p_told[2] end
            from unnest(p_children) c (run_id)
            cross join lateral (select r.* from durable.runs r where r.run_id = c.run_id offset 0) r
            where r.parent_run_id <> all (p_bad)
            on conflict (run_id, message_id) do nothing;
    end if;

    update durable.runs r
        set status = t.status, closed_at = p_closed_at, owner = null, wake_at = null, hold = 0, deaths = 0
        from unnest(p_runs, p_statuses) t (run_id, status)
        where r.run_id = t.run_id and t.run_id <> all (p_bad);
    update durable.run_data d set reason = ''
        where d.run_id = any (p_runs) and d.run_id <> all (p_bad) and d.reason <> '';
    delete from durable.activity_tasks a where a.run_id = any (p_runs) and a.run_id <> all (p_bad);

    if cardinality(p_successors) > 0 then
        p_successors := array(select i from unnest(p_successors) i where s_from[i] <> all (p_bad));
        -- Its parent may have been reset, and is another run now than its log says.
        s_parent := array(
            select case when s_parent[i] is not null and i = any (p_successors) then (
                select r.parent_run_id from durable.runs r where r.run_id = s_from[i]) else s_parent[i] end
            from generate_subscripts(s_parent, 1) i order by i);
        select array_agg(e.n) filter (where e.outcome = 1), array_agg(e.run_id) filter (where e.epoch > 0)
            into v_entered, v_started
            from durable.enter_runs_2(p_now, p_successors, s_run, s_workflow_id, s_type, s_queue, s_format, s_priority,
                s_delay, s_timeout, s_owner, s_reuse, null, s_first, s_parent, s_policy) e;
        if coalesce(cardinality(v_entered), 0) < cardinality(p_successors) then
            raise unique_violation using message = 'a successor has the run id of another run, or another workflow id';
        end if;
        perform durable.record_runs_2(p_now, p_successors, s_run, s_started, s_info);
        -- The parent itself may be gone.
        update durable.runs n set parent_workflow_id = o.parent_workflow_id, root_workflow_id = o.root_workflow_id,
                root_run_id = o.root_run_id
            from unnest(p_successors) i
            cross join lateral (select r.* from durable.runs r where r.run_id = s_from[i] offset 0) o
            where n.run_id = s_run[i] and o.parent_workflow_id is not null and n.parent_workflow_id is null;
        if exists (select from unnest(p_successors) i where s_run[i] = any (m_run)) then
            perform durable.send_2(array_agg(m.run_id order by m.n), array_agg(m.id order by m.n),
                    array_agg(m.type order by m.n), array_agg(m.internal order by m.n), array_agg(m.data order by m.n))
                from unnest(m_run, m_id, m_type, m_internal, m_data) with ordinality m (run_id, id, type, internal, data, n)
                where m.run_id in (select s_run[i] from unnest(p_successors) i);
        end if;
        -- In their order, behind those; nobody else can write to either run now. That the parent has closed is the one
        -- message of the library that concerns the successor too.
        with moved as (
            delete from durable.inbox i using unnest(p_successors) n
                where i.run_id = any (p_runs) and i.run_id = s_from[n]
                    and (not i.internal or i.message_id = 'parent-closed')
                returning s_run[n] as run_id, i.position, i.type, i.internal, i.message_id, i.data)
        insert into durable.inbox (run_id, type, internal, task_queue, message_id, data)
            select m.run_id, m.type, m.internal, r.task_queue, m.message_id, m.data from moved m
            cross join lateral (select r.task_queue from durable.runs r where r.run_id = m.run_id offset 0) r
            order by m.position
            on conflict (run_id, message_id) do nothing;
    end if;

    if p_lost is not null then
        insert into durable.update_outcomes as o (run_id, message_id, stage, data)
            select i.run_id, i.message_id, 3, t.lost
            from unnest(p_runs, p_lost) t (run_id, lost)
            cross join lateral (
                select i.* from durable.inbox i where i.run_id = t.run_id and i.type = 60 offset 0) i
            where t.lost <> '' and t.run_id <> all (p_bad)
            on conflict (run_id, message_id) do update set stage = 3, data = excluded.data where o.stage < 3;
        update durable.update_outcomes o set stage = 3, data = t.lost
            from unnest(p_runs, p_lost) t (run_id, lost)
            where o.run_id = any (p_runs) and o.run_id = t.run_id and o.stage < 3 and t.lost <> ''
                and t.run_id <> all (p_bad);
    end if;
    -- Behind the activity rows, each of which may have brought one until it was gone.
    delete from durable.inbox i where i.run_id = any (p_runs) and i.run_id <> all (p_bad);
    return v_started;
end $$;

-- End a run from outside, the second half: its row is locked FOR UPDATE by an earlier statement of the transaction.
create function durable.terminate_2(
    p_run uuid, p_status smallint, p_seq integer, p_task integer, p_type smallint, p_data bytea,
    p_latest bigint, -- the time of the newest event
    p_lost bytea, p_told bytea[],
    s_run uuid[], s_workflow_id text[], s_type text[], s_queue text[], s_format integer[], s_priority smallint[],
    s_delay bigint[], s_timeout bigint[], s_owner text[], s_reuse smallint[],
    s_first uuid[], s_parent uuid[], s_policy smallint[], s_started bytea[], s_info bytea[], -- the successor, if any
    m_run uuid[], m_id text[], m_type smallint[], m_internal boolean[], m_data bytea[], -- to it, and to others
    s_rows jsonb[] -- what it is found by
) returns void
language plpgsql volatile
    set lock_timeout = '2s' set plan_cache_mode = force_generic_plan set enable_seqscan = off
    set enable_hashjoin = off set enable_mergejoin = off set jit = off
as $$
declare
    v_now bigint;
    v_children uuid[];
    v_missed uuid[];
begin
    select children, missed into v_children, v_missed from durable.lock_children_2(array[p_run]);
    if cardinality(v_missed) > 0 then
        raise lock_not_available using message = 'a child is closing';
    end if;
    v_now := greatest(durable.now_us(), p_latest);
    insert into durable.events (run_id, seq, task, type, time, data)
        values (p_run, p_seq, p_task, p_type, v_now, p_data);
    if true = any (m_internal) then
        m_run := durable.to_parents_2(array[p_run], array_fill(p_run, array[cardinality(m_run)]), m_run,
            array(select t.internal and t.run_id <> all (coalesce(s_run, '{}'))
                from unnest(m_run, m_internal) with ordinality t (run_id, internal, n) order by t.n));
    end if;
    perform durable.close_2(v_now, '{}', array[p_run], array[p_status], v_now, array[p_lost], v_children, p_told,
        array(select i from generate_subscripts(s_run, 1) i), array_fill(p_run, array[coalesce(cardinality(s_run), 0)]),
        s_run, s_workflow_id, s_type, s_queue, s_format, s_priority, s_delay, s_timeout, s_owner, s_reuse,
        s_first, s_parent, s_policy, s_started, s_info, m_run, m_id, m_type, m_internal, m_data);
    if s_rows is not null then
        perform durable.index_runs_2(s_run, s_rows);
    end if;
    if cardinality(m_run) > 0 then
        perform durable.send_2(m_run, m_id, m_type, m_internal, m_data);
    end if;
end $$;
