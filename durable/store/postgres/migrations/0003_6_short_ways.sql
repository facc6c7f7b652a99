-- What nearly every batch is, on the way that it takes nearly always. PL/pgSQL prepares each of its expressions anew in each
-- transaction, so for a batch of one run the many questions that `commit_3` and `start_2` ask of what is not there cost
-- more than its rows do. Whoever calls these knows that it is not there, and whatever they meet that is not as nearly
-- always they leave as it is: then they have written nothing, say so by answering null, and the long way is taken.

-- Append steps, and close runs from which nothing is left; all of them, or none. See `commit_3` for the locks and for what
-- the arguments mean.
create function durable.append_3(
    p_runs uuid[], p_epochs integer[], p_latest bigint,
    e_n integer[], e_seq integer[], e_task integer[], e_type smallint[], e_data bytea[],
    p_closes smallint[] -- of the last of `p_runs`; null for none
) returns bigint
language plpgsql volatile
    set lock_timeout = '2s' set plan_cache_mode = force_generic_plan set enable_seqscan = off
    set enable_hashjoin = off set enable_mergejoin = off set jit = off
as $$
declare
    v_steps integer := cardinality(p_runs);
    v_locked integer;
    v_closers uuid[];
    v_now bigint;
begin
    if current_setting('transaction_isolation') <> 'read committed' then
        raise exception 'durable needs READ COMMITTED, not %', current_setting('transaction_isolation')
            using errcode = 'DU001';
    end if;
    if p_closes is not null then
        v_steps := v_steps - cardinality(p_closes);
        v_closers := p_runs[v_steps + 1:];
        perform from (
                select t.* from unnest(v_closers, p_epochs[v_steps + 1:]) t (run_id, epoch) order by t.run_id) t
            cross join lateral (
                select from durable.runs r
                where r.run_id = t.run_id and r.epoch = t.epoch and r.closed_at is null
                for update skip locked) l;
        get diagnostics v_locked = row_count;
        if v_locked < cardinality(p_closes) then
            return null;
        end if;
        -- A later statement than the lock: it sees every message that a sender was told is accepted. (Without the offsets
        -- the planner may read a whole index once, for all of them.)
        if exists (
            select from unnest(v_closers) c (run_id)
            where exists (select from durable.inbox i where i.run_id = c.run_id offset 0)
                or exists (select from durable.activity_tasks a where a.run_id = c.run_id offset 0)
                or exists (select from durable.update_outcomes o where o.run_id = c.run_id and o.stage < 3 offset 0)
                or exists (select from durable.run_data d where d.run_id = c.run_id and d.reason <> '' offset 0)
                or exists (
                    select from durable.runs r
                    where r.parent_run_id = c.run_id and r.status = 1 and r.parent_close_policy in (1, 3) offset 0))
        then
            return null;
        end if;
    end if;
    if v_steps > 0 then
        perform from (
                select t.* from unnest(p_runs[:v_steps], p_epochs[:v_steps]) t (run_id, epoch) order by t.run_id) t
            cross join lateral (
                select from durable.runs r
                where r.run_id = t.run_id and r.epoch = t.epoch and r.closed_at is null
                for no key update skip locked) l;
        get diagnostics v_locked = row_count;
        if v_locked < v_steps then
            return null;
        end if;
    end if;
    v_now := durable.now_us();
    if p_latest > v_now then
        return null; -- the clock stepped back
    end if;
    insert into durable.events (run_id, seq, task, type, time, data)
        select p_runs[e.n], e.seq, e.task, e.type, v_now, e.data
        from unnest(e_n, e_seq, e_task, e_type, e_data) e (n, seq, task, type, data);
    if p_closes is not null then
        update durable.runs r
            set status = t.status, closed_at = v_now, owner = null, wake_at = null, hold = 0, deaths = 0
            from unnest(v_closers, p_closes) t (run_id, status)
            where r.run_id = t.run_id;
    end if;
    return v_now;
end $$;

-- Create runs without a parent, a delay, messages, or anything to be found by, whose workflow ids may all be used again; all of
-- them, or none. An owner has them only while its lease is live and no version is routed.
create function durable.start_3(
    p_owner text,
    s_run uuid[], s_workflow_id text[], s_type text[], s_queue text[], s_format integer[], s_priority smallint[],
    s_timeout bigint[], s_started bytea[], s_info bytea[]
) returns bigint
language plpgsql volatile
    set lock_timeout = '2s' set plan_cache_mode = force_generic_plan set enable_seqscan = off
    set enable_hashjoin = off set enable_mergejoin = off set jit = off
as $$
declare
    v_now bigint := durable.now_us();
    v_epoch integer := 0;
    v_new uuid[];
begin
    if current_setting('transaction_isolation') <> 'read committed' then
        raise exception 'durable needs READ COMMITTED, not %', current_setting('transaction_isolation')
            using errcode = 'DU001';
    end if;
    if p_owner is not null then
        if not exists (
                select from durable.workers w where w.worker_id = p_owner and not w.dead and w.expires_at > v_now)
            or exists (select from durable.queue_routes)
        then
            return null;
        end if;
        v_epoch := 1;
    end if;
    -- In the order of `enter_runs_2`, so that two batches never wait for each other.
    with entered as (
        insert into durable.runs (run_id, workflow_id, workflow_type, task_queue, format, priority, started_at,
                times_out_at, owner, epoch, wake_at)
            select s.run_id, s.workflow_id, s.type, s.queue, s.format, s.priority, v_now, v_now + s.timeout,
                p_owner, v_epoch, case when p_owner is null then v_now end
            from unnest(s_run, s_workflow_id, s_type, s_queue, s_format, s_priority, s_timeout) with ordinality
                s (run_id, workflow_id, type, queue, format, priority, timeout, n)
            order by s.workflow_id, s.n
            on conflict do nothing returning durable.runs.run_id)
    select array_agg(entered.run_id) into v_new from entered;
    if coalesce(cardinality(v_new), 0) < cardinality(s_run) then
        delete from durable.runs r where r.run_id = any (v_new);
        return null;
    end if;
    insert into durable.run_data (run_id, info)
        select s.run_id, s.info from unnest(s_run, s_info) s (run_id, info);
    insert into durable.events (run_id, seq, task, type, time, data)
        select s.run_id, 1, 1, 1, v_now, s.started from unnest(s_run, s_started) s (run_id, started);
    return v_now;
end $$;
