-- The one writer of histories: a batch of transitions of different runs, each all or nothing, in one round trip.
--
-- It decides nothing beyond locks and presence. VOLATILE, so at READ COMMITTED each statement inside sees what had been
-- committed when it began; that is what makes the late look for unread messages right, so any other isolation is refused.
-- It never waits for a row that somebody else has locked: every lock is SKIP LOCKED, and a run that missed one is told
-- BUSY. `lock_timeout` bounds what is left, an insert that meets an uncommitted one with the same key. Arrays that are not
-- needed are null and cost nothing. Closing runs come last in `p_runs`, `p_closes` holds their statuses.
--
-- What runs say to others, children started and workflows messaged by their ids, is worked out first and becomes
-- messages: one to the other run, and the reply to the sender. Entering runs is what may wait for a stranger with an open
-- transaction, so batches with `s_run` come on a connection of their own, and wait for milliseconds only.
--
-- The plan settings are for a table that was nearly empty when it was planned for and is not now: each statement goes
-- from the arrays to rows by an index, row by row, and may never come to read a table or an index from end to end. For
-- the same reason rows are looked up, and locked, in lateral subqueries with a lock or an OFFSET 0, which no planner turns
-- round; and a run is open by its `closed_at` there, since the index of open runs looks better to a planner that has seen
-- few of them.
--
-- It is named by version, and leaves `commit_2` to workers of the release before. That one lost the cancel of an activity
-- whose row came in the same transition, and replaced less than the whole of a row.
create function durable.commit_3(
    p_runs uuid[], p_epochs integer[],
    p_latest bigint, p_not_befores bigint[], -- the latest `not_before`, and all of them if one may be in the future
    p_times bigint[], -- when the events of each happened, if some of them know it
    e_n integer[], e_seq integer[], e_task integer[], e_type smallint[], e_data bytea[], -- events; `e_n` counts in `p_runs`
    c_run uuid[], c_position bigint[], -- messages consumed
    p_closes smallint[], p_unread smallint[], p_lost bytea[], p_told bytea[], -- of closing runs: what unread messages mean,
        -- outcomes of updates that end with them; and what their children are told
    r_run uuid[], r_wake_at bigint[], r_wake_in bigint[], r_hold smallint[], r_reason text[], -- releases
    p_proven uuid[],
    m_from uuid[], m_run uuid[], m_id text[], m_type smallint[], m_internal boolean[], m_data bytea[], -- messages sent
    a_run uuid[], a_id integer[], a_type text[], a_queue text[], a_attempt integer[], a_priority smallint[],
    a_scheduled_at bigint[], a_due_in bigint[], a_start_by bigint[], a_close_by bigint[], a_start_to_close bigint[],
    a_heartbeat bigint[], a_worker text[], a_running_for bigint[], a_scheduled bytea[], a_progress bytea[],
    a_lanes jsonb, -- where those of them wait that do not wait with their queues
    d_run uuid[], d_id integer[], -- activity rows to delete
    x_run uuid[], x_id integer[], -- activity rows whose cancellation is requested
    h_run uuid[], h_for bigint[], -- who holds messages back, and for how long
    o_run uuid[], o_id text[], o_stage smallint[], o_data bytea[], -- outcomes of updates
    w_from uuid[], w_workflow_id text[], w_run text[], w_first text[], w_id text[], w_type smallint[], w_data bytea[],
        -- messages to workflows by their ids; the text of a run id, since people write them
    s_from uuid[], s_run uuid[], s_workflow_id text[], s_type text[], s_queue text[], s_format integer[],
    s_priority smallint[], s_delay bigint[], s_timeout bigint[], s_owner text[], s_reuse smallint[],
    s_first uuid[], s_parent uuid[], s_policy smallint[], s_started bytea[], s_info bytea[],
        -- runs to create: children, then successors, which have no reuse policy
    y_id text[], y_done_type smallint[], y_done bytea[], y_failed_type smallint[], y_failed bytea[],
        -- replies: to the messages by workflow id, then to the children
    f_run uuid[], f_info bytea[], f_rows jsonb[], -- what runs are found by, new ones and others, see `index_runs_2`; for
        -- the latter what is shown of them
    v_run uuid[], v_version text[], v_behavior smallint[], v_pinned_to text[], -- see `stamp_2`
    out now bigint, out verdicts smallint[], out started uuid[] -- runs created that have an owner
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
    v_sends integer := 0;
    v_starts integer[]; -- the subscripts of children to enter
    v_outcomes smallint[]; -- by the same subscripts: what became of each, and the run that it is about
    v_entered uuid[];
    v_row record;
    v_children uuid[]; -- of runs that close
    v_parents uuid[]; -- runs that close and have a child that cannot be locked
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
            where r.run_id = t.run_id and r.epoch = t.epoch and r.closed_at is null
            for no key update skip locked) l;
    get diagnostics v_locked = row_count;
    if v_closing > 0 then
        v_closers := p_runs[v_count - v_closing + 1:];
        select coalesce(array_agg(t.run_id), '{}') into v_held
            from (select t.* from unnest(v_closers, p_epochs[v_count - v_closing + 1:]) t (run_id, epoch)
                order by t.run_id) t
            cross join lateral (
                select from durable.runs r
                where r.run_id = t.run_id and r.epoch = t.epoch and r.closed_at is null
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
                where r.run_id = t.run_id and r.epoch = t.epoch and r.closed_at is null
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
                select from durable.runs r where r.run_id = m.run_id and r.closed_at is null
                for key share skip locked) l);
        v_bad := v_bad || array(
            select m.sender from unnest(m_from, m_run, m_internal) m (sender, run_id, internal)
            cross join lateral (
                select from durable.runs r where r.run_id = m.run_id and r.closed_at is null offset 0) r
            where not m.internal and m.run_id <> all (v_held));
    end if;

    if cardinality(w_from) > 0 then
        v_sends := cardinality(w_from);
        with looked as materialized (
            select w.*, o.run_id as target,
                l.run_id is null or (l.run_id <> w.sender and coalesce(l.held_back_until > durable.now_us(), false)) as busy
            from unnest(w_from, w_workflow_id, w_run, w_first) with ordinality w (sender, workflow_id, run, first, n)
            left join lateral (
                select r.run_id from durable.runs r
                where r.workflow_id = w.workflow_id and r.status = 1
                    and (w.run is null or r.run_id::text = w.run)
                    and (w.first is null or coalesce(r.first_run_id, r.run_id)::text = w.first)) o on true
            left join lateral (
                select r.run_id, r.held_back_until from durable.runs r where r.run_id = o.run_id and r.closed_at is null
                for key share skip locked) l on true)
        select v_bad || coalesce(array_agg(k.sender) filter (where k.part = 1 and k.busy), '{}'),
                m_from || array_agg(k.sender order by k.n, k.part), m_run || array_agg(k.run_id order by k.n, k.part),
                m_id || array_agg(k.id order by k.n, k.part), m_type || array_agg(k.type order by k.n, k.part),
                m_internal || array_agg(k.part = 2 order by k.n, k.part), m_data || array_agg(k.data order by k.n, k.part)
            into v_bad, m_from, m_run, m_id, m_type, m_internal, m_data
            from (
                select k.n, 1 as part, k.busy, k.sender, k.target as run_id, w_id[k.n] as id, w_type[k.n] as type,
                    w_data[k.n] as data
                from looked k where k.target is not null
                union all
                select k.n, 2, k.busy, k.sender, k.sender, y_id[k.n],
                    case when k.target is null then y_failed_type[k.n] else y_done_type[k.n] end,
                    case when k.target is null then y_failed[k.n] else y_done[k.n] end
                from looked k) k;
    end if;

    if v_closing > 0 or cardinality(a_run) > 0 or cardinality(d_run) > 0 or cardinality(x_run) > 0 then
        v_bad := v_bad || array(
            select t.run_id from (
                select a.run_id, a.id from durable.activity_tasks a where a.run_id = any (v_closers)
                union select a.run_id, a.id from unnest(a_run || d_run || x_run, a_id || d_id || x_id) t (run_id, id)
                    cross join lateral (
                        select a.run_id, a.id from durable.activity_tasks a where a.run_id = t.run_id and a.id = t.id
                        offset 0) a
                order by 1, 2) t
            left join lateral (
                select a.id from durable.activity_tasks a where a.run_id = t.run_id and a.id = t.id
                for update skip locked) l on true
            where l.id is null);
    end if;

    -- Behind all locks, so that whoever gets one of them later also reads a later clock.
    now := durable.now_us();
    if p_latest > now and p_not_befores is null then
        now := p_latest; -- the clock stepped back by less than the caller could know
    end if;

    if cardinality(s_run) > 0 then
        v_starts := array(
            select i from generate_subscripts(s_run, 1) i where s_reuse[i] is not null and s_from[i] <> all (v_bad));
    end if;
    if cardinality(v_starts) > 0 then
        for v_row in
            select * from durable.enter_children_2(now, v_starts, s_run, s_workflow_id, s_type, s_queue, s_format,
                s_priority, s_delay, s_timeout, s_owner, s_reuse, s_first, s_parent, s_policy)
        loop
            v_outcomes[v_row.n] := v_row.outcome;
            v_entered[v_row.n] := v_row.run_id;
            if v_row.outcome = 1 and v_row.epoch > 0 then
                started := started || v_row.run_id;
            end if;
        end loop;
        -- One that another run of this batch started is not there yet, should that run write nothing after all.
        v_bad := v_bad || array(
            select s_from[i] from unnest(v_starts) i
            where v_outcomes[i] is null or (v_outcomes[i] = 4 and exists (
                select from unnest(v_starts) j
                where v_outcomes[j] = 1 and s_run[j] = v_entered[i] and s_from[j] <> s_from[i])));
        select m_from || array_agg(s_from[i] order by i), m_run || array_agg(s_from[i] order by i),
                m_id || array_agg(y_id[v_sends + i] order by i),
                m_type || array_agg(
                    case v_outcomes[i] when 4 then y_failed_type[v_sends + i] else y_done_type[v_sends + i] end order by i),
                m_internal || array_agg(true),
                m_data || array_agg(
                    case v_outcomes[i] when 4 then y_failed[v_sends + i] else y_done[v_sends + i] end order by i)
            into m_from, m_run, m_id, m_type, m_internal, m_data
            from unnest(v_starts) i;
    end if;

    if v_closing > 0 and true = any (m_internal) then
        m_run := durable.to_parents_2(v_closers, m_from, m_run, m_internal);
    end if;

    if v_closing > 0 then
        select children, missed into v_children, v_parents from durable.lock_children_2(v_closers);
        v_bad := v_bad || v_parents;
    end if;

    if cardinality(m_run) > 0 then
        insert into durable.inbox (run_id, type, internal, task_queue, message_id, data)
            select m.run_id, m.type, m.internal, r.task_queue, m.id, m.data
            from unnest(m_from, m_run, m_id, m_type, m_internal, m_data) with ordinality
                as m (sender, run_id, id, type, internal, data, n)
            cross join lateral (
                select r.task_queue from durable.runs r where r.run_id = m.run_id and r.closed_at is null offset 0) r
            where m.sender <> all (v_bad || v_closers)
            order by m.n
            on conflict (run_id, message_id) do nothing;
    end if;

    if v_closing > 0 then
        -- A later statement than the lock: it sees every message that a sender was told is accepted. Of two closing runs
        -- of one batch of which one writes to the other, the first goes now and the second with the next batch.
        select coalesce(array_agg(distinct i.run_id), '{}') into v_refused from durable.inbox i
            where i.run_id = any (v_closers) and not i.internal and i.run_id <> all (v_bad)
                and i.position <> all (coalesce(c_position, '{}'))
                and (p_unread is null or case p_unread[array_position(v_closers, i.run_id)]
                    when 1 then true when 2 then i.type <> 60 else false end);
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
                cross join lateral (
                    select r.task_queue from durable.runs r where r.run_id = m.run_id and r.closed_at is null offset 0) r
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
        if p_latest <= now and p_times is null then
            insert into durable.events (run_id, seq, task, type, time, data)
                select p_runs[e.n], e.seq, e.task, e.type, now, e.data
                from unnest(e_n, e_seq, e_task, e_type, e_data) e (n, seq, task, type, data)
                where p_runs[e.n] <> all (v_bad);
        else
            insert into durable.events (run_id, seq, task, type, time, data)
                select p_runs[e.n], e.seq, e.task, e.type, coalesce(p_times[e.n], greatest(now, p_not_befores[e.n])),
                    e.data
                from unnest(e_n, e_seq, e_task, e_type, e_data) e (n, seq, task, type, data)
                where p_runs[e.n] <> all (v_bad);
        end if;
    end if;

    if cardinality(v_run) > 0 then
        perform durable.stamp_2(array_agg(t.run_id), array_agg(t.version), array_agg(t.behavior), array_agg(t.pinned_to))
            from unnest(v_run, v_version, v_behavior, v_pinned_to) t (run_id, version, behavior, pinned_to)
            where t.run_id <> all (v_bad);
    end if;

    if cardinality(d_run) > 0 then
        delete from durable.activity_tasks a using unnest(d_run, d_id) d (run_id, id)
            where a.run_id = d.run_id and a.id = d.id and d.run_id <> all (v_bad);
    end if;
    if cardinality(a_run) > 0 then
        insert into durable.activity_tasks as t (
                run_id, id, activity_type, task_queue, attempt, priority, scheduled_at, start_by, close_by,
                start_to_close, heartbeat, worker, scheduled, progress, state, due_at, started_at, deadline)
            select a.run_id, a.id, a.type,
                -- Of a pinned run, as its row says that it is.
                case when strpos(a.queue, E'\x1f') = 0 then a.queue else durable.activity_place_2(a.run_id, a.queue) end,
                a.attempt, a.priority, a.scheduled_at, a.start_by, a.close_by,
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
            -- Whole: nothing stays of what operators, or its queue, said of the one that was there.
            on conflict (run_id, id) do update set
                activity_type = excluded.activity_type, task_queue = excluded.task_queue, attempt = excluded.attempt,
                priority = excluded.priority, scheduled_at = excluded.scheduled_at, start_by = excluded.start_by,
                close_by = excluded.close_by, start_to_close = excluded.start_to_close,
                heartbeat = excluded.heartbeat, worker = excluded.worker, scheduled = excluded.scheduled,
                progress = excluded.progress, state = excluded.state, due_at = excluded.due_at,
                started_at = excluded.started_at, deadline = excluded.deadline,
                cancel_requested = excluded.cancel_requested, cancel_reason = excluded.cancel_reason,
                outside_since = excluded.outside_since, paused_at = excluded.paused_at,
                pause_reason = excluded.pause_reason, attempt_base = excluded.attempt_base, anew = excluded.anew,
                revision = excluded.revision, lane = excluded.lane, share = excluded.share,
                limit_key = excluded.limit_key, limit_most = excluded.limit_most,
                limit_weight = excluded.limit_weight, breaker = excluded.breaker, fails_fast = excluded.fails_fast,
                refused = excluded.refused, sole = excluded.sole;
    end if;
    if cardinality(x_run) > 0 then
        -- Behind the rows that this very transition brings.
        update durable.activity_tasks a set cancel_requested = true from unnest(x_run, x_id) x (run_id, id)
            where a.run_id = x.run_id and a.id = x.id and x.run_id <> all (v_bad);
    end if;
    if a_lanes is not null then
        update durable.activity_tasks a set lane = l.lane, share = l.share, limit_key = l.limit_key,
                limit_most = l.limit_most, limit_weight = l.limit_weight, breaker = l.breaker, fails_fast = l.fails_fast
            from jsonb_to_recordset(a_lanes) l (run_id uuid, id integer, lane text, share real, limit_key text,
                limit_most integer, limit_weight integer, breaker text, fails_fast boolean)
            where a.run_id = l.run_id and a.id = l.id and l.run_id <> all (v_bad);
    end if;

    if cardinality(p_proven) > 0 then
        with lifted as (
            update durable.runs r set deaths = 0, hold = case r.hold when 3 then 3 else 0 end
                where r.run_id = any (p_proven) and r.run_id <> all (v_bad) and (r.deaths > 0 or r.hold in (1, 2))
                returning r.run_id, r.hold)
        update durable.run_data d set reason = '' from lifted l
            where d.run_id = l.run_id and l.hold = 0 and d.reason <> '';
    end if;
    if cardinality(r_run) > 0 then
        -- What was paused meanwhile stays so.
        update durable.runs r set owner = null, hold = case r.hold when 3 then 3 else t.hold end,
                wake_at = case when r.hold <> 3 then coalesce(t.wake_at, now + t.wake_in) end
            from unnest(r_run, r_wake_at, r_wake_in, r_hold) t (run_id, wake_at, wake_in, hold)
            where r.run_id = t.run_id and t.run_id <> all (v_bad);
        update durable.run_data d set reason = t.reason
            from unnest(r_run, r_reason, r_hold) t (run_id, reason, hold)
            where d.run_id = t.run_id and t.run_id <> all (v_bad) and d.reason <> t.reason
                and (t.hold = 3 or not exists (select from durable.runs r where r.run_id = t.run_id and r.hold = 3));
    end if;
    if cardinality(h_run) > 0 then
        update durable.runs r set held_back_until = now + t.held_back
            from unnest(h_run, h_for) t (run_id, held_back)
            where r.run_id = t.run_id and t.run_id <> all (v_bad);
    end if;
    if cardinality(o_run) > 0 then
        -- The one outcome is never overwritten; of two in one transition the farther one counts.
        insert into durable.update_outcomes as u (run_id, message_id, stage, data)
            select distinct on (o.run_id, o.id) o.run_id, o.id, o.stage, o.data
            from unnest(o_run, o_id, o_stage, o_data) with ordinality o (run_id, id, stage, data, n)
            where o.run_id <> all (v_bad)
            order by o.run_id, o.id, o.stage desc, o.n
            on conflict (run_id, message_id) do update set stage = excluded.stage, data = excluded.data
                where u.stage < 3;
    end if;
    if v_closing > 0 then
        started := started || durable.close_2(now, v_bad, v_closers, p_closes, now, p_lost, v_children, p_told,
            array(select i from generate_subscripts(s_run, 1) i where s_reuse[i] is null), s_from,
            s_run, s_workflow_id, s_type, s_queue, s_format, s_priority, s_delay, s_timeout, s_owner, s_reuse,
            s_first, s_parent, s_policy, s_started, s_info, m_run, m_id, m_type, m_internal, m_data);
    end if;
    if cardinality(v_starts) > 0 then
        perform durable.record_runs_2(now, array(
            select i from unnest(v_starts) i where v_outcomes[i] = 1 and s_from[i] <> all (v_bad)),
            s_run, s_started, s_info);
        if cardinality(v_bad) > 0 then
            -- Nobody else has seen these.
            delete from durable.runs r using unnest(v_starts) i
                where r.run_id = s_run[i] and v_outcomes[i] = 1 and s_from[i] = any (v_bad);
            started := array(
                select r.run_id from unnest(started) t (run_id) join durable.runs r on r.run_id = t.run_id);
        end if;
    end if;

    if cardinality(f_run) > 0 then
        perform durable.index_runs_2(array_agg(t.run_id), array_agg(t.rows))
            from unnest(f_run, f_rows) t (run_id, rows)
            cross join lateral (select from durable.runs r where r.run_id = t.run_id offset 0) r
            where t.run_id <> all (v_bad);
        update durable.run_data d set info = t.info from unnest(f_run, f_info) t (run_id, info)
            where d.run_id = t.run_id and t.info is not null and t.run_id <> all (v_bad);
    end if;

    if cardinality(v_bad) > 0 then
        -- WRITTEN 1, BUSY 2, LOST 3, REFUSED 4. The run may have changed hands since: then it is lost now.
        verdicts := array(
            select case when t.run_id <> all (v_bad) then 1
                        when t.run_id = any (v_refused) then 4
                        when r.epoch = t.epoch and r.closed_at is null then 2
                        else 3 end
            from unnest(p_runs, p_epochs) with ordinality t (run_id, epoch, n)
            left join durable.runs r using (run_id) order by t.n);
    end if;
end $$;
