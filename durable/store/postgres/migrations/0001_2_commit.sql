-- The one writer of histories: a batch of transitions of different runs, each all or nothing, in one round trip.
--
-- It decides nothing beyond locks and presence. VOLATILE, so at READ COMMITTED each statement inside sees what had been
-- committed when it began; that is what makes the late look for unread messages right, so any other isolation is refused.
-- It never waits for a row that somebody else has locked: every lock is SKIP LOCKED, and a run that missed one is told
-- BUSY. `lock_timeout` bounds what is left, an insert that meets an uncommitted one with the same key. Arrays that are not
-- needed are null and cost nothing. Closing runs come last in `p_runs`, `p_closes` holds their statuses.
--
-- The plan settings are for a table that was nearly empty when it was planned for and is not now: each statement goes
-- from the arrays to rows by an index, row by row, and may never come to read a table or an index from end to end. For
-- the same reason locks are taken in lateral subqueries, which no planner turns round.
--
-- It is named by version: a release that needs another shape adds `commit_2` and leaves this one to its predecessors.
create function durable.commit_1(
    p_runs uuid[], p_epochs integer[],
    p_latest bigint, p_not_befores bigint[], -- the latest `not_before`, and all of them if one may be in the future
    e_n integer[], e_seq integer[], e_task integer[], e_type smallint[], e_data bytea[], -- events; `e_n` counts in `p_runs`
    c_run uuid[], c_position bigint[], -- messages consumed
    p_closes smallint[],
    r_run uuid[], r_wake_at bigint[], r_wake_in bigint[], r_hold smallint[], r_reason text[], -- releases
    p_proven uuid[],
    m_from uuid[], m_run uuid[], m_id text[], m_type smallint[], m_internal boolean[], m_data bytea[], -- messages sent
    a_run uuid[], a_id integer[], a_type text[], a_queue text[], a_attempt integer[], a_priority smallint[],
    a_scheduled_at bigint[], a_due_in bigint[], a_start_by bigint[], a_close_by bigint[], a_start_to_close bigint[],
    a_heartbeat bigint[], a_worker text[], a_running_for bigint[], a_scheduled bytea[], a_progress bytea[],
    d_run uuid[], d_id integer[], -- activity rows to delete
    x_run uuid[], x_id integer[], -- activity rows whose cancellation is requested
    out now bigint, out verdicts smallint[]
) language plpgsql volatile
    set lock_timeout = '2s'
    set plan_cache_mode = force_generic_plan set enable_seqscan = off set enable_hashjoin = off
    set enable_mergejoin = off set jit = off
as $$
declare
    v_count integer := cardinality(p_runs);
    v_closing integer := coalesce(cardinality(p_closes), 0);
    v_locked integer;
    v_missed boolean := false;
    v_closers uuid[];
    v_held uuid[];
    v_bad uuid[] := '{}'; -- runs that write nothing
    v_refused uuid[] := '{}'; -- those of them that close over an unread message
begin
    if current_setting('transaction_isolation') <> 'read committed' then
        raise exception 'durable needs READ COMMITTED, not %', current_setting('transaction_isolation')
            using errcode = 'DU001';
    end if;

    -- The fence. A run that closes is locked against senders too.
    perform from (
            select t.* from unnest(p_runs[:v_count - v_closing], p_epochs[:v_count - v_closing]) t (run_id, epoch)
            order by t.run_id) t
        cross join lateral (
            select from durable.runs r
            where r.run_id = t.run_id and r.epoch = t.epoch and r.status = 1
            for no key update skip locked) l;
    get diagnostics v_locked = row_count;
    if v_closing > 0 then
        v_closers := p_runs[v_count - v_closing + 1:];
        select coalesce(array_agg(t.run_id), '{}') into v_held
            from (select t.* from unnest(v_closers, p_epochs[v_count - v_closing + 1:]) t (run_id, epoch)
                order by t.run_id) t
            cross join lateral (
                select from durable.runs r
                where r.run_id = t.run_id and r.epoch = t.epoch and r.status = 1
                for update skip locked) l;
        v_missed := cardinality(v_held) < v_closing;
    end if;
    if v_missed or v_locked < v_count - v_closing then
        -- Which ones? Asking again, now run by run, takes the same locks, and perhaps one that has become free.
        v_held := coalesce(v_held, '{}') || array(
            select t.run_id
            from (select t.* from unnest(p_runs[:v_count - v_closing], p_epochs[:v_count - v_closing])
                t (run_id, epoch) order by t.run_id) t
            cross join lateral (
                select from durable.runs r
                where r.run_id = t.run_id and r.epoch = t.epoch and r.status = 1
                for no key update skip locked) l);
        v_bad := array(select t.run_id from unnest(p_runs) t (run_id) where t.run_id <> all (v_held));
    end if;

    if cardinality(m_run) > 0 then
        -- A message from outside the library is accepted under a lock that a closing run cannot pass.
        v_held := array(
            select m.run_id from (
                select distinct m.run_id from unnest(m_run, m_internal) m (run_id, internal)
                where not m.internal order by m.run_id) m
            cross join lateral (
                select from durable.runs r where r.run_id = m.run_id and r.status = 1
                for key share skip locked) l);
        v_bad := v_bad || array(
            select m.sender from unnest(m_from, m_run, m_internal) m (sender, run_id, internal)
            join durable.runs r using (run_id)
            where not m.internal and r.status = 1 and m.run_id <> all (v_held));
    end if;

    if v_closing > 0 or cardinality(a_run) > 0 or cardinality(d_run) > 0 or cardinality(x_run) > 0 then
        v_bad := v_bad || array(
            select t.run_id from (
                select a.run_id, a.id from durable.activity_tasks a where a.run_id = any (v_closers)
                union select a.run_id, a.id from unnest(a_run || d_run || x_run, a_id || d_id || x_id) t (run_id, id)
                    join durable.activity_tasks a using (run_id, id)
                order by 1, 2) t
            left join lateral (
                select a.id from durable.activity_tasks a where a.run_id = t.run_id and a.id = t.id
                for update skip locked) l on true
            where l.id is null);
    end if;

    -- Behind all locks, so that whoever gets one of them later also reads a later clock.
    now := (extract(epoch from clock_timestamp()) * 1000000)::bigint;
    if p_latest > now and p_not_befores is null then
        now := p_latest; -- the clock stepped back by less than the caller could know
    end if;

    if cardinality(m_run) > 0 then
        insert into durable.inbox (run_id, type, internal, task_queue, message_id, data)
            select m.run_id, m.type, m.internal, r.task_queue, m.id, m.data
            from unnest(m_from, m_run, m_id, m_type, m_internal, m_data) with ordinality
                as m (sender, run_id, id, type, internal, data, n)
            join durable.runs r on r.run_id = m.run_id and r.status = 1
            where m.sender <> all (v_bad || v_closers)
            order by m.n
            on conflict (run_id, message_id) do nothing;
    end if;

    if v_closing > 0 then
        -- A later statement than the lock: it sees every message that a sender was told is accepted. Of two closing runs
        -- of one batch of which one writes to the other, the first goes now and the second with the next batch.
        select coalesce(array_agg(distinct i.run_id), '{}') into v_refused from durable.inbox i
            where i.run_id = any (v_closers) and not i.internal and i.run_id <> all (v_bad)
                and i.position <> all (coalesce(c_position, '{}'));
        v_bad := v_bad || v_refused;
        if cardinality(m_run) > 0 then
            v_bad := v_bad || array(
                select greatest(m.sender, m.run_id) from unnest(m_from, m_run, m_internal) m (sender, run_id, internal)
                where not m.internal and m.sender <> m.run_id and m.sender = any (v_closers)
                    and m.run_id = any (v_closers) and m.sender <> all (v_bad) and m.run_id <> all (v_bad));
            insert into durable.inbox (run_id, type, internal, task_queue, message_id, data)
                select m.run_id, m.type, m.internal, r.task_queue, m.id, m.data
                from unnest(m_from, m_run, m_id, m_type, m_internal, m_data) with ordinality
                    as m (sender, run_id, id, type, internal, data, n)
                join durable.runs r on r.run_id = m.run_id and r.status = 1
                where m.sender = any (v_closers) and m.sender <> all (v_bad)
                order by m.n
                on conflict (run_id, message_id) do nothing;
        end if;
    end if;

    if cardinality(c_run) > 0 then
        delete from durable.inbox i using unnest(c_run, c_position) c (run_id, position)
            where i.run_id = c.run_id and i.position = c.position and c.run_id <> all (v_bad);
    end if;

    if cardinality(e_n) > 0 then
        if p_latest <= now then
            insert into durable.events (run_id, seq, task, type, time, data)
                select p_runs[e.n], e.seq, e.task, e.type, now, e.data
                from unnest(e_n, e_seq, e_task, e_type, e_data) e (n, seq, task, type, data)
                where p_runs[e.n] <> all (v_bad);
        else
            insert into durable.events (run_id, seq, task, type, time, data)
                select p_runs[e.n], e.seq, e.task, e.type, greatest(now, p_not_befores[e.n]), e.data
                from unnest(e_n, e_seq, e_task, e_type, e_data) e (n, seq, task, type, data)
                where p_runs[e.n] <> all (v_bad);
        end if;
    end if;

    if cardinality(d_run) > 0 then
        delete from durable.activity_tasks a using unnest(d_run, d_id) d (run_id, id)
            where a.run_id = d.run_id and a.id = d.id and d.run_id <> all (v_bad);
    end if;
    if cardinality(x_run) > 0 then
        update durable.activity_tasks a set cancel_requested = true from unnest(x_run, x_id) x (run_id, id)
            where a.run_id = x.run_id and a.id = x.id and x.run_id <> all (v_bad);
    end if;
    if cardinality(a_run) > 0 then
        insert into durable.activity_tasks as t (
                run_id, id, activity_type, task_queue, attempt, priority, scheduled_at, start_by, close_by,
                start_to_close, heartbeat, worker, scheduled, progress, state, due_at, started_at, deadline)
            select a.run_id, a.id, a.type, a.queue, a.attempt, a.priority, a.scheduled_at, a.start_by, a.close_by,
                a.start_to_close, a.heartbeat, a.worker, a.scheduled, a.progress,
                case when a.worker is null then 1 else 2 end,
                case when a.worker is null then now + a.due_in else now - a.running_for end,
                case when a.worker is not null then now - a.running_for end,
                case when a.worker is null then least(a.start_by, a.close_by)
                    else least(a.close_by, now - a.running_for + a.start_to_close, now + a.heartbeat) end
            from unnest(a_run, a_id, a_type, a_queue, a_attempt, a_priority, a_scheduled_at, a_due_in, a_start_by,
                    a_close_by, a_start_to_close, a_heartbeat, a_worker, a_running_for, a_scheduled, a_progress)
                a (run_id, id, type, queue, attempt, priority, scheduled_at, due_in, start_by,
                    close_by, start_to_close, heartbeat, worker, running_for, scheduled, progress)
            where a.run_id <> all (v_bad)
            on conflict (run_id, id) do update set
                activity_type = excluded.activity_type, task_queue = excluded.task_queue, attempt = excluded.attempt,
                priority = excluded.priority, scheduled_at = excluded.scheduled_at, start_by = excluded.start_by,
                close_by = excluded.close_by, start_to_close = excluded.start_to_close,
                heartbeat = excluded.heartbeat, worker = excluded.worker, scheduled = excluded.scheduled,
                progress = excluded.progress, state = excluded.state, due_at = excluded.due_at,
                started_at = excluded.started_at, deadline = excluded.deadline, cancel_requested = false;
    end if;

    if cardinality(p_proven) > 0 then
        with lifted as (
            update durable.runs r set deaths = 0, hold = 0
                where r.run_id = any (p_proven) and r.run_id <> all (v_bad) and (r.deaths > 0 or r.hold > 0)
                returning r.run_id)
        update durable.run_data d set reason = '' from lifted l where d.run_id = l.run_id and d.reason <> '';
    end if;
    if cardinality(r_run) > 0 then
        update durable.runs r set owner = null, hold = t.hold, wake_at = coalesce(t.wake_at, now + t.wake_in)
            from unnest(r_run, r_wake_at, r_wake_in, r_hold) t (run_id, wake_at, wake_in, hold)
            where r.run_id = t.run_id and t.run_id <> all (v_bad);
        update durable.run_data d set reason = t.reason
            from unnest(r_run, r_reason) t (run_id, reason)
            where d.run_id = t.run_id and t.run_id <> all (v_bad) and d.reason <> t.reason;
    end if;
    if v_closing > 0 then
        update durable.runs r
            set status = t.status, closed_at = now, owner = null, wake_at = null, hold = 0, deaths = 0
            from unnest(v_closers, p_closes) t (run_id, status)
            where r.run_id = t.run_id and t.run_id <> all (v_bad);
        update durable.run_data d set reason = ''
            where d.run_id = any (v_closers) and d.run_id <> all (v_bad) and d.reason <> '';
        delete from durable.activity_tasks a where a.run_id = any (v_closers) and a.run_id <> all (v_bad);
        delete from durable.inbox i where i.run_id = any (v_closers) and i.run_id <> all (v_bad);
    end if;

    if cardinality(v_bad) > 0 then
        -- WRITTEN 1, BUSY 2, LOST 3, REFUSED 4. The run may have changed hands since: then it is lost now.
        verdicts := array(
            select case when t.run_id <> all (v_bad) then 1
                        when t.run_id = any (v_refused) then 4
                        when r.epoch = t.epoch and r.status = 1 then 2
                        else 3 end
            from unnest(p_runs, p_epochs) with ordinality t (run_id, epoch, n)
            left join durable.runs r using (run_id) order by t.n);
    end if;
end $$;
