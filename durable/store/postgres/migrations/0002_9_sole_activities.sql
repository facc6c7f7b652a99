-- Runs of one activity and no code: nobody owns them, their activity's row is what keeps them going, and whoever ends the
-- row ends the run.
--
-- Everything here only adds: workers of the release before do not claim anything of such runs, for their format. But they
-- end what is overdue or lost, and leave the outcome in the inbox of a run that nobody owns; such rows have an index, so
-- that others find them.
alter table durable.activity_tasks add column sole boolean;
create index activity_tasks_stray on durable.activity_tasks (run_id) where sole and state = 3;

-- Create runs of one activity each: the run, its first two events and the activity's row; each start stands or falls alone.
-- Without a delay `enter_runs_2` gives a run no `wake_at`.
create function durable.start_sole_2(
    s_run uuid[], s_workflow_id text[], s_type text[], s_queue text[], s_format integer[], s_priority smallint[],
    s_delay bigint[], s_reuse smallint[], s_conflict smallint[], s_started bytea[], s_info bytea[],
    a_type text[], a_queue text[], a_scheduled bytea[], a_start_by bigint[], a_close_by bigint[], -- the latter from when it begins
    a_start_to_close bigint[], a_heartbeat bigint[],
    a_lanes jsonb, -- where those of them wait that do not wait with their queues
    s_rows jsonb[], -- what the runs are found by, see `index_runs_2`
    p_inside boolean default false -- in a transaction of a caller's, at whatever isolation level
) returns table (n integer, outcome smallint, run_id uuid, workflow_type text, epoch integer, now bigint)
language plpgsql volatile
    set lock_timeout = '2s' set plan_cache_mode = force_generic_plan set enable_seqscan = off
    set enable_hashjoin = off set enable_mergejoin = off set jit = off
as $$
#variable_conflict use_column
declare
    v_now bigint;
begin
    if not p_inside and current_setting('transaction_isolation') <> 'read committed' then
        raise exception 'durable needs READ COMMITTED, not %', current_setting('transaction_isolation')
            using errcode = 'DU001';
    end if;
    v_now := durable.now_us();
    return query
        with entered as materialized (
            select * from durable.enter_runs_2(v_now, array(select i from generate_subscripts(s_run, 1) i), s_run,
                s_workflow_id, s_type, s_queue, s_format, s_priority, null, null, null, s_reuse, s_conflict, null, null, null)),
        described as (
            insert into durable.run_data (run_id, info)
                select e.run_id, s_info[e.n] from entered e where e.outcome = 1),
        recorded as (
            insert into durable.events (run_id, seq, task, type, time, data)
                select e.run_id, f.seq, 1, f.type, v_now, f.data from entered e
                cross join lateral (values (1, 1, s_started[e.n]), (2, 20, a_scheduled[e.n])) f (seq, type, data)
                where e.outcome = 1),
        queued as (
            insert into durable.activity_tasks (run_id, id, activity_type, task_queue, priority, state, scheduled_at, due_at,
                    start_by, close_by, deadline, start_to_close, heartbeat, scheduled, progress, sole)
                select e.run_id, 1, a_type[e.n], a_queue[e.n], s_priority[e.n], 1, b.at, b.at, b.at + a_start_by[e.n],
                    b.at + a_close_by[e.n], b.at + least(a_start_by[e.n], a_close_by[e.n]), a_start_to_close[e.n],
                    a_heartbeat[e.n], a_scheduled[e.n], '', true
                from entered e cross join lateral (select v_now + s_delay[e.n] as at) b
                where e.outcome = 1)
        select e.*, v_now from entered e;
    if a_lanes is not null then
        update durable.activity_tasks a set lane = l.lane, share = l.share, limit_key = l.limit_key,
                limit_most = l.limit_most, limit_weight = l.limit_weight, breaker = l.breaker, fails_fast = l.fails_fast
            from jsonb_to_recordset(a_lanes) l (run_id uuid, lane text, share real, limit_key text, limit_most integer,
                limit_weight integer, breaker text, fails_fast boolean)
            where a.run_id = l.run_id and a.id = 1;
    end if;
    if s_rows is not null then
        perform durable.index_runs_2(array_agg(t.run_id), array_agg(t.rows))
            from unnest(s_run, s_rows) t (run_id, rows)
            cross join lateral (
                select from durable.runs r where r.run_id = t.run_id and r.started_at = v_now offset 0) r
            where t.rows is not null;
    end if;
    if 0 < any (s_delay) then
        update durable.runs r set execution_at = v_now + t.delay from unnest(s_run, s_delay) t (run_id, delay)
            where r.run_id = t.run_id and r.started_at = v_now and t.delay > 0;
    end if;
end $$;

-- End attempts that are the last of runs of one activity, and close these runs; each stands or falls alone, and those that
-- were closed are returned. Runs are locked before rows, as everywhere; the worker that ran an attempt waits for both,
-- scanners for neither.
create function durable.finish_sole_2(
    p_run uuid[], p_attempt integer[], p_worker text[], p_state smallint[], p_revision integer[], p_status smallint[],
    p_type smallint[], p_data bytea[], p_end_type smallint[], p_end_data bytea[]
) returns integer[]
language plpgsql volatile
    set lock_timeout = '2s' set plan_cache_mode = force_generic_plan set enable_seqscan = off
    set enable_hashjoin = off set enable_mergejoin = off set jit = off
as $$
declare
    v_now bigint;
    v_held uuid[];
    v_ended integer[];
begin
    v_held := array(
        select t.run_id from (
            select distinct t.run_id from unnest(p_run, p_worker) t (run_id, worker) where t.worker is not null order by 1) t
        cross join lateral (
            select from durable.runs r where r.run_id = t.run_id and r.closed_at is null for update) l);
    if array_position(p_worker, null) is not null then
        v_held := v_held || array(
            select t.run_id from (
                select distinct t.run_id from unnest(p_run, p_worker) t (run_id, worker) where t.worker is null order by 1) t
            cross join lateral (
                select from durable.runs r where r.run_id = t.run_id and r.closed_at is null for update skip locked) l);
    end if;
    select array_agg(e.n) into v_ended from (
        select distinct on (t.run_id) t.run_id, t.n
        from (
            select t.* from unnest(p_run, p_attempt, p_worker, p_state, p_revision) with ordinality
                t (run_id, attempt, worker, state, revision, n)
            where t.run_id = any (v_held) order by t.run_id) t
        cross join lateral (
            select from durable.activity_tasks a
            where a.run_id = t.run_id and a.id = 1 and a.attempt = t.attempt and a.state = t.state
                and (t.worker is null or a.worker = t.worker) and (t.revision is null or a.revision = t.revision)
            for update) l
        order by t.run_id, t.n) e;
    if v_ended is null then
        return '{}';
    end if;

    v_now := durable.now_us();
    insert into durable.events (run_id, seq, task, type, time, data)
        select r.run_id, f.seq, 2, f.type, greatest(v_now, r.started_at), f.data
        from unnest(v_ended) i
        cross join lateral (
            select r.run_id, r.started_at from durable.runs r where r.run_id = p_run[i] offset 0) r
        cross join lateral (values (3, p_type[i], p_data[i]), (4, p_end_type[i], p_end_data[i])) f (seq, type, data);
    update durable.runs r set status = p_status[i], closed_at = greatest(v_now, r.started_at), hold = 0
        from unnest(v_ended) i where r.run_id = p_run[i];
    delete from durable.activity_tasks a using unnest(v_ended) i where a.run_id = p_run[i];
    delete from durable.inbox b using unnest(v_ended) i where b.run_id = p_run[i];
    return v_ended;
end $$;
