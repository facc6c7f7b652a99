-- Transactional activities: what a function writes, and that its attempt ended, are committed together.
--
-- Everything here only adds; workers of the release before end attempts as before.

-- The attempts whose transactions are open. A row is written when a transaction begins and removed when its attempt is
-- ended in it, so nobody ever sees one: a transaction that is committed while its row is still there is refused, because
-- the function committed it by itself.
create unlogged table durable.transactions (
    run_id uuid not null,
    id integer not null,
    attempt integer not null,
    primary key (run_id, id, attempt)
) with (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 1000);

create function durable.check_transaction_2() returns trigger
language plpgsql
as $$
begin
    if exists (
        select from durable.transactions t
        where t.run_id = new.run_id and t.id = new.id and t.attempt = new.attempt)
    then
        raise exception 'the transaction of an activity is committed by its worker, together with the end of the attempt'
            using errcode = 'DU002';
    end if;
    return null;
end $$;

create constraint trigger transactions_end after insert on durable.transactions
    deferrable initially deferred for each row execute function durable.check_transaction_2();

-- Take note that the attempt is ended, or else the transaction undone.
create function durable.leave_transaction_2(p_run uuid, p_id integer, p_attempt integer) returns void
language plpgsql volatile
as $$
begin
    delete from durable.transactions t where t.run_id = p_run and t.id = p_id and t.attempt = p_attempt;
    if not found then
        raise exception 'this is another transaction than the one that was begun for the activity'
            using errcode = 'DU003';
    end if;
end $$;

-- End an attempt in the transaction of its function: the last statement before the commit. The row of the activity is
-- the fence. Whoever has ended the attempt otherwise has changed it, and false is returned; whoever wants to now waits, for
-- as long as the commit takes, or passes over it.
create function durable.finish_within_2(
    p_run uuid, p_id integer, p_attempt integer, p_worker text, p_message_id text, p_type smallint, p_data bytea
) returns boolean
language plpgsql volatile
    set lock_timeout = '2s'
as $$
begin
    perform durable.leave_transaction_2(p_run, p_id, p_attempt);
    update durable.activity_tasks a set state = 3, worker = null, started_at = null, deadline = null
        where a.run_id = p_run and a.id = p_id and a.attempt = p_attempt and a.state = 2 and a.worker = p_worker;
    if not found then
        return false;
    end if;
    -- Its run cannot close before the row is free again.
    insert into durable.inbox (run_id, type, internal, task_queue, message_id, data)
        select r.run_id, p_type, true, r.task_queue, p_message_id, p_data from durable.runs r
        where r.run_id = p_run and r.status = 1;
    return found;
end $$;

-- The same for transactions of other libraries, whatever their driver: one text goes in, and one comes out.
create function durable.begin_borrowed_2(p_key text) returns text
language plpgsql volatile
as $$
declare
    k record;
begin
    select * into k from json_to_record(p_key::json) as k (run uuid, id integer, attempt integer);
    insert into durable.transactions (run_id, id, attempt) values (k.run, k.id, k.attempt);
    return '';
end $$;

create function durable.finish_borrowed_2(p_end text) returns text
language plpgsql volatile
as $$
declare
    e record;
begin
    select * into e from json_to_record(p_end::json)
        as e (run uuid, id integer, attempt integer, worker text, message_id text, type smallint, data text,
            state smallint, status smallint, end_type smallint, end_data text);
    if e.status is not null then -- a run of one activity, which ends with it
        perform durable.leave_transaction_2(e.run, e.id, e.attempt);
        return (cardinality(durable.finish_sole_2(array[e.run], array[e.attempt], array[e.worker], array[e.state],
            array[null::integer], array[e.status], array[e.type], array[decode(e.data, 'base64')], array[e.end_type],
            array[decode(e.end_data, 'base64')])) = 1)::text;
    end if;
    return durable.finish_within_2(
        e.run, e.id, e.attempt, e.worker, e.message_id, e.type, decode(e.data, 'base64'))::text;
end $$;
