-- Starts and messages inside transactions of callers: on their connections, at whatever isolation level, from whatever
-- driver, hence with one text for an argument and one for an answer. And the same for triggers and for other languages.
--
-- Everything here only adds: workers of the release before claim such runs too, but count their time from the start.

-- A run that was started in somebody's transaction begins when it is first claimed: nobody knows when that commits.
alter table durable.runs add column begins_at_claim boolean not null default false;

-- Let runs begin now, the rows locked by whoever calls: their time, timeouts included, is moved on by what has passed.
create function durable.begin_2(p_run uuid[]) returns void language plpgsql volatile
as $$
declare
    v_now bigint := durable.now_us();
begin
    with begun as (
        select r.run_id, greatest(0, v_now - coalesce(r.execution_at, r.started_at)) as waited
        from durable.runs r where r.run_id = any (p_run) and r.begins_at_claim),
    told as (
        update durable.events e set time = e.time + b.waited from begun b where e.run_id = b.run_id and e.seq = 1)
    update durable.runs r set begins_at_claim = false, started_at = r.started_at + b.waited,
            execution_at = r.execution_at + b.waited, times_out_at = r.times_out_at + b.waited
        from begun b where r.run_id = b.run_id;
end $$;

-- Hint at something when the caller commits. The server keeps one of equal hints; and one who tells hundreds of runs
-- something in one transaction says "anything" at last. (A hint is a kind and a key behind whoever sent it: nobody here.)
create function durable.tell_caller_2(p_kind integer, p_key text) returns void language plpgsql volatile
as $$
declare
    v_told integer := coalesce(nullif(current_setting('durable_caller.told', true), ''), '0')::integer + 1;
begin
    perform set_config('durable_caller.told', v_told::text, true);
    perform pg_notify('durable ' || split_part('durable.', '"', 2),
        '--------' || p_kind || case when v_told > 20 or octet_length(p_key) > 180 then '*' else p_key end);
end $$;

-- Start a run in the caller's transaction, as `start_2` does in one of its own: STARTED 1, SAME 2, USED_EXISTING 3,
-- REJECTED 4; 0 when the run that it is content with takes no message at the moment, and nothing was written.
create function durable.start_inside_2(
    s_run uuid, s_workflow_id text, s_type text, s_queue text, s_format integer, s_priority smallint, s_delay bigint,
    s_timeout bigint, s_reuse smallint, s_conflict smallint, s_started bytea, s_info bytea, s_rows jsonb,
    m_id text[], m_type smallint[], m_data bytea[]
) returns table (outcome smallint, run_id uuid, workflow_type text)
language plpgsql volatile
    set lock_timeout = '2s' set plan_cache_mode = force_generic_plan set enable_seqscan = off
    set enable_hashjoin = off set enable_mergejoin = off set jit = off
as $$
#variable_conflict use_column
declare
    v_now bigint;
    v_start record;
    v_sent smallint[];
begin
    for v_round in 1 .. 10 loop
        v_now := durable.now_us();
        select * into v_start from durable.enter_runs_2(v_now, array[1], array[s_run], array[s_workflow_id], array[s_type],
            array[s_queue], array[s_format], array[s_priority], array[s_delay], array[s_timeout], array[null::text],
            array[s_reuse], array[s_conflict], array[null::uuid], array[null::uuid], array[null::smallint]);
        exit when not found;
        if v_start.outcome <> 4 and cardinality(m_id) > 0 then
            v_sent := durable.send_2(array_fill(v_start.run_id, array[cardinality(m_id)]), m_id, m_type,
                array_fill(false, array[cardinality(m_id)]), m_data);
            continue when v_start.outcome = 3 and 3 = any (v_sent); -- it has closed meanwhile
            if 5 = any (v_sent) then
                v_start.outcome := 0;
            end if;
        end if;
        if v_start.outcome = 1 then
            perform durable.record_runs_2(v_now, array[1], array[s_run], array[s_started], array[s_info]);
            if s_rows is not null then
                perform durable.index_runs_2(array[s_run], array[s_rows]);
            end if;
            update durable.runs r set begins_at_claim = true where r.run_id = s_run;
        end if;
        return query select v_start.outcome::smallint, v_start.run_id, v_start.workflow_type;
        return;
    end loop;
    raise exception 'workflow id %: it was started and closed over and over meanwhile', s_workflow_id
        using errcode = 'serialization_failure';
end $$;

-- Tell a workflow something in the caller's transaction: SENT 1, REPEATED 2, CLOSED 3, NOT_FOUND 4, HELD_BACK 5, and the
-- run that was found. Without a run id it is the workflow's open run, wherever that has gone on meanwhile.
create function durable.send_inside_2(
    p_workflow_id text, p_run uuid, p_first uuid, m_id text, m_type smallint, m_data bytea
) returns table (outcome smallint, run_id uuid)
language plpgsql volatile
    set lock_timeout = '2s' set plan_cache_mode = force_generic_plan set enable_seqscan = off
    set enable_hashjoin = off set enable_mergejoin = off set jit = off
as $$
#variable_conflict use_column
declare
    v_run record;
    v_before uuid;
    v_outcome smallint;
begin
    loop
        if p_run is not null then
            select r.run_id, coalesce(r.first_run_id, r.run_id) as first into v_run
                from durable.runs r where r.run_id = p_run and r.workflow_id = p_workflow_id;
        else
            select r.run_id, coalesce(r.first_run_id, r.run_id) as first into v_run
                from durable.runs r where r.run_id = coalesce(
                    (select o.run_id from durable.runs o where o.workflow_id = p_workflow_id and o.status = 1),
                    (select l.run_id from durable.runs l where l.workflow_id = p_workflow_id
                        order by l.started_at desc, l.run_id desc limit 1));
        end if;
        if not found then
            return query select 4::smallint, null::uuid;
            return;
        elsif p_first <> v_run.first then
            return query select 4::smallint, v_run.run_id;
            return;
        end if;
        v_outcome := (durable.send_2(array[v_run.run_id], array[m_id], array[m_type], array[false], array[m_data]))[1];
        -- It may have closed by going on in another run; look again.
        exit when v_outcome <> 3 or p_run is not null or v_before is not distinct from v_run.run_id;
        v_before := v_run.run_id;
    end loop;
    return query select v_outcome, v_run.run_id;
end $$;

-- Whether this is still the transaction that was looked at. Without an open one every statement is a transaction.
create function durable.check_caller_2(p_transaction text) returns void language plpgsql volatile
as $$
begin
    if pg_current_xact_id_if_assigned()::text is distinct from p_transaction then
        raise exception 'no transaction is open on this connection' using errcode = 'no_active_sql_transaction';
    end if;
end $$;

create function durable.caller_start_2(p_request text) returns text language plpgsql volatile
as $$
declare
    v_asked jsonb := p_request;
    v_start record;
begin
    perform durable.check_caller_2(v_asked ->> 'transaction');
    if v_asked ? 'activity' then
        return durable.caller_start_sole_2(v_asked);
    end if;
    select s.* into v_start from jsonb_to_record(v_asked) a (run uuid, workflow_id text, type text, queue text,
            format integer, priority smallint, delay bigint, timeout bigint, reuse smallint, conflict smallint,
            started text, info text, rows jsonb, message_ids text[], message_types smallint[], message_data text[])
        cross join lateral durable.start_inside_2(a.run, a.workflow_id, a.type, a.queue, a.format, a.priority, a.delay,
            a.timeout, a.reuse, a.conflict, decode(a.started, 'base64'), decode(a.info, 'base64'), a.rows,
            a.message_ids, a.message_types,
            array(select decode(m.data, 'base64') from unnest(a.message_data) with ordinality m (data, n) order by m.n)) s;
    if (v_asked ->> 'tell')::boolean then
        if v_start.outcome = 1 then
            perform durable.tell_caller_2(1, v_asked ->> 'task_queue');
        elsif v_start.outcome in (2, 3) and jsonb_array_length(v_asked -> 'message_ids') > 0 then
            perform durable.tell_caller_2(3, v_start.run_id::text);
        end if;
    end if;
    return json_build_object('outcome', v_start.outcome, 'run_id', v_start.run_id, 'workflow_type', v_start.workflow_type);
end $$;

-- The same for a run that is one activity and no code; its times are counted from here, since nobody claims the run.
create function durable.caller_start_sole_2(p_asked jsonb) returns json language plpgsql volatile
as $$
declare
    v_lane jsonb := nullif(p_asked -> 'activity' -> 'lane', 'null');
    v_start record;
begin
    for v_round in 1 .. 10 loop
        select s.* into v_start from jsonb_to_record(p_asked) r (run uuid, workflow_id text, type text, queue text,
                format integer, priority smallint, delay bigint, reuse smallint, conflict smallint, started text,
                info text, rows jsonb)
            cross join jsonb_to_record(p_asked -> 'activity') a (type text, queue text, scheduled text, start_by bigint,
                close_by bigint, start_to_close bigint, heartbeat bigint)
            cross join lateral durable.start_sole_2(array[r.run], array[r.workflow_id], array[r.type], array[r.queue],
                array[r.format], array[r.priority], array[r.delay], array[r.reuse], array[r.conflict],
                array[decode(r.started, 'base64')], array[decode(r.info, 'base64')], array[a.type], array[a.queue],
                array[decode(a.scheduled, 'base64')], array[a.start_by], array[a.close_by], array[a.start_to_close],
                array[a.heartbeat], case when v_lane is not null then jsonb_build_array(v_lane) end,
                case when r.rows is not null then array[r.rows] end, true) s;
        if found then
            if v_start.outcome = 1 and (p_asked ->> 'tell')::boolean then
                perform durable.tell_caller_2(2, p_asked ->> 'task_queue');
            end if;
            return json_build_object(
                'outcome', v_start.outcome, 'run_id', v_start.run_id, 'workflow_type', v_start.workflow_type);
        end if;
    end loop;
    raise exception 'activity id %: it was started and closed over and over meanwhile', p_asked ->> 'workflow_id'
        using errcode = 'serialization_failure';
end $$;

create function durable.caller_send_2(p_request text) returns text language plpgsql volatile
as $$
declare
    v_asked jsonb := p_request;
    v_sent record;
begin
    perform durable.check_caller_2(v_asked ->> 'transaction');
    select s.* into v_sent from jsonb_to_record(v_asked) a (workflow_id text, run uuid, first uuid, id text, type smallint,
            data text)
        cross join lateral durable.send_inside_2(a.workflow_id, a.run, a.first, a.id, a.type, decode(a.data, 'base64')) s;
    if (v_asked ->> 'tell')::boolean and v_sent.outcome in (1, 2) then
        perform durable.tell_caller_2(3, v_sent.run_id::text);
    end if;
    return json_build_object('outcome', v_sent.outcome, 'run_id', v_sent.run_id);
end $$;

-- Give types to search attributes in the caller's transaction, for those who have no other; return all types.
create function durable.caller_types_2(p_wanted text) returns text language plpgsql volatile
as $$
begin
    insert into durable.search_attribute_types (name, type)
        select w.key, w.value::smallint from jsonb_each_text(p_wanted::jsonb) w order by w.key on conflict do nothing;
    return (select coalesce(json_object_agg(t.name, t.type), '{}') from durable.search_attribute_types t);
end $$;
