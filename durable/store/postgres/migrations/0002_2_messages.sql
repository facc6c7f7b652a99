-- Put messages into inboxes of open runs; each stands or falls alone: SENT 1, REPEATED 2, CLOSED 3, NOT_FOUND 4,
-- HELD_BACK 5.
--
-- KEY SHARE waits for a run that is closing (and then sees that it is closed), and lets its steps pass. Messages of the
-- library itself are not held back, and need no lock.
create function durable.send_2(m_run uuid[], m_id text[], m_type smallint[], m_internal boolean[], m_data bytea[])
returns smallint[]
language plpgsql volatile
    set plan_cache_mode = force_generic_plan set enable_seqscan = off set enable_hashjoin = off
    set enable_mergejoin = off set jit = off
as $$
declare
    v_outcomes smallint[];
    v_known integer[];
    v_n integer;
begin
    with given as materialized (
        select g.*, row_number() over (partition by g.run_id, g.message_id order by g.n) as nth
        from unnest(m_run, m_id, m_type, m_internal, m_data) with ordinality
            as g (run_id, message_id, type, internal, data, n)),
    locked as materialized (
        select l.* from (select distinct g.run_id from given g where not g.internal order by g.run_id) t
        cross join lateral (
            select r.run_id, r.task_queue, r.held_back_until from durable.runs r
            where r.run_id = t.run_id and r.closed_at is null for key share) l),
    seen as materialized (
        select l.* from (select distinct g.run_id from given g where g.internal) t
        cross join lateral (
            select r.run_id, r.task_queue from durable.runs r where r.run_id = t.run_id and r.closed_at is null
            offset 0) l),
    targets as materialized (
        select g.*, coalesce(l.task_queue, s.task_queue) as task_queue,
            coalesce(l.held_back_until > durable.now_us(), false) and not exists (
                select from durable.inbox i where i.run_id = g.run_id and i.message_id = g.message_id) as held_back
        from given g
        left join locked l on l.run_id = g.run_id and not g.internal
        left join seen s on s.run_id = g.run_id and g.internal),
    sent as (
        insert into durable.inbox (run_id, type, internal, task_queue, message_id, data)
            select t.run_id, t.type, t.internal, t.task_queue, t.message_id, t.data from targets t
            where t.task_queue is not null and not t.held_back and t.nth = 1 order by t.n
            on conflict (run_id, message_id) do nothing returning run_id, message_id)
    select array_agg(
            case
                when t.task_queue is null then case when exists (
                    select from durable.runs r where r.run_id = t.run_id) then 3 else 4 end
                when t.held_back then 5
                when t.nth = 1 and s.run_id is not null then 1
                else 2
            end order by t.n)
        into v_outcomes
        from targets t left join sent s on s.run_id = t.run_id and s.message_id = t.message_id;

    if 60 = any (m_type) then
        -- A rejected update leaves nothing in the history; only its outcome tells that it has been read. It is looked at
        -- by a later statement, which sees what the insert may have waited for.
        v_known := array(
            select m.n from unnest(m_run, m_id, m_type) with ordinality m (run_id, id, type, n)
            cross join lateral (
                select from durable.update_outcomes o where o.run_id = m.run_id and o.message_id = m.id offset 0) o
            where m.type = 60);
        delete from durable.inbox i using unnest(v_known) k (n)
            where v_outcomes[k.n] = 1 and i.run_id = m_run[k.n] and i.message_id = m_id[k.n];
        foreach v_n in array v_known loop
            v_outcomes[v_n] := 2;
        end loop;
    end if;
    return v_outcomes;
end $$;
