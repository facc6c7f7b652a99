-- Starts and signals for those who speak SQL only: triggers, procedures, programs in other languages. They are part of
-- whatever transaction they are called in. What they do never changes under the names that end in a number; those without
-- one stand for the newest. Arguments are JSON, as the default converter reads it; no codec is asked.

create function durable.payloads_1(p_args jsonb) returns jsonb language plpgsql immutable
as $$
begin
    if jsonb_typeof(p_args) is distinct from 'array' then
        raise exception 'the arguments must be a JSON array, one element for each, not %', coalesce(p_args::text, 'null')
            using errcode = 'invalid_parameter_value';
    end if;
    return coalesce((
        select jsonb_agg(jsonb_build_object('data',
            translate(encode(convert_to(a.value::text, 'UTF8'), 'base64'), E'\n', '')) order by a.n)
        from jsonb_array_elements(p_args) with ordinality a (value, n)), '[]');
end $$;

create function durable.check_name_1(p_name text, p_what text) returns void language plpgsql immutable
as $$
begin
    if coalesce(btrim(p_name), '') = '' or octet_length(p_name) > 255 or p_name ~ '[[:cntrl:]\u2028\u2029]' then
        raise exception '% must be 1 to 255 bytes without control characters, not %', p_what,
            coalesce(quote_literal(left(p_name, 40)), 'null') using errcode = 'invalid_parameter_value';
    end if;
end $$;

-- An id that sorts by time: UUIDv7.
create function durable.new_id_1() returns uuid language sql volatile
as $$
    select encode(set_byte(set_byte(
        overlay(uuid_send(gen_random_uuid())
            placing substring(int8send((extract(epoch from clock_timestamp()) * 1000)::bigint) from 3) from 1 for 6),
        6, (get_byte(uuid_send(gen_random_uuid()), 0) & 15) | 112), 8, (get_byte(uuid_send(gen_random_uuid()), 0) & 63) | 128),
        'hex')::uuid
$$;

-- Start a workflow; return the run that there is then. `on_conflict`, for an id that has an open run: 'fail', or
-- 'use_existing'.
create function durable.start_workflow_1(
    workflow text, id text, args jsonb default '[]', task_queue text default 'default',
    run_timeout interval default null, on_conflict text default 'fail'
) returns uuid language plpgsql volatile
as $$
declare
    v_run uuid := durable.new_id_1();
    v_timeout bigint := extract(epoch from run_timeout) * 1000000;
    v_started jsonb;
    v_start record;
begin
    perform durable.check_name_1(workflow, 'the workflow''s type'), durable.check_name_1(id, 'the workflow''s id'),
        durable.check_name_1(task_queue, 'the task queue');
    if on_conflict is null or on_conflict not in ('fail', 'use_existing') then
        raise exception 'on_conflict must be fail or use_existing, not %', coalesce(quote_literal(on_conflict), 'null')
            using errcode = 'invalid_parameter_value';
    elsif v_timeout <= 0 then
        raise exception 'run_timeout must be longer than zero, not %', run_timeout
            using errcode = 'invalid_parameter_value';
    end if;
    v_started := jsonb_build_object('workflow_id', id, 'workflow_type', workflow, 'task_queue', task_queue,
        'input', durable.payloads_1(args), 'seed', (random() * 9007199254740991)::bigint, 'first_run_id', v_run,
        'identity', 'SQL ' || session_user);
    if v_timeout is not null then
        v_started := v_started || jsonb_build_object('run_timeout', v_timeout);
    end if;
    select s.* into v_start from durable.start_inside_2(v_run, id, workflow, task_queue, 1, 3::smallint, 0, v_timeout,
        1::smallint, case on_conflict when 'use_existing' then 2 else 1 end::smallint,
        convert_to(v_started::text, 'UTF8'), convert_to('{}', 'UTF8'), null, '{}', '{}', '{}') s;
    if v_start.outcome = 4 then
        raise exception 'workflow id % is in use', quote_literal(id) using errcode = 'unique_violation',
            hint = 'choose another id, or say on_conflict => ''use_existing''';
    elsif v_start.outcome = 1 then
        perform durable.tell_caller_2(1, task_queue);
    end if;
    return v_start.run_id;
end $$;

-- Send a signal to a workflow; return the run that takes it.
create function durable.signal_workflow_1(id text, signal text, args jsonb default '[]', run_id uuid default null)
returns uuid language plpgsql volatile
as $$
declare
    v_message text := durable.new_id_1();
    v_event bytea;
    v_sent record;
begin
    perform durable.check_name_1(id, 'the workflow''s id'), durable.check_name_1(signal, 'the signal');
    v_event := convert_to(jsonb_build_object('message', v_message, 'name', signal, 'input', durable.payloads_1(args),
        'identity', 'SQL ' || session_user)::text, 'UTF8');
    for v_try in 1 .. 100 loop
        select s.* into v_sent from durable.send_inside_2(id, signal_workflow_1.run_id, null, v_message, 2::smallint,
            v_event) s;
        exit when v_sent.outcome <> 5;
        perform pg_sleep(0.02); -- it is about to close, and takes nothing until it has: a moment
    end loop;
    if v_sent.outcome = 3 then
        raise exception 'workflow % is closed, and a closed workflow can be told nothing', quote_literal(id)
            using errcode = 'no_data_found';
    elsif v_sent.outcome = 4 then
        raise exception 'there is no workflow %', quote_literal(id) using errcode = 'no_data_found';
    elsif v_sent.outcome = 5 then
        raise exception 'workflow % is about to close, and took no message for long', quote_literal(id)
            using errcode = 'lock_not_available';
    end if;
    perform durable.tell_caller_2(3, v_sent.run_id::text);
    return v_sent.run_id;
end $$;

create function durable.start(
    workflow text, id text, args jsonb default '[]', task_queue text default 'default',
    run_timeout interval default null, on_conflict text default 'fail'
) returns uuid language sql volatile
    as $$ select durable.start_workflow_1($1, $2, $3, $4, $5, $6) $$;

create function durable.signal(id text, signal text, args jsonb default '[]', run_id uuid default null)
returns uuid language sql volatile
    as $$ select durable.signal_workflow_1($1, $2, $3, $4) $$;

-- Who has locked a run's row: sessions that are in a transaction. A row that several have locked names a group of them.
create function durable.lockers_2(p_run uuid) returns setof integer language plpgsql volatile
as $$
declare
    v_xmax xid := (select r.xmax from durable.runs r where r.run_id = p_run and r.status = 1);
begin
    return query select l.pid from pg_locks l
        where l.locktype = 'transactionid' and l.granted and l.mode = 'ExclusiveLock' and l.transactionid = v_xmax;
    if not found and v_xmax::text::bigint > 0 then
        return query select l.pid from pg_get_multixact_members(v_xmax) m
            join pg_locks l on l.locktype = 'transactionid' and l.granted and l.mode = 'ExclusiveLock'
                and l.transactionid = m.xid;
    end if;
exception when others then
    return; -- it is no group (any more)
end $$;
