-- name: send
-- One statement. KEY SHARE waits for a run that is closing (and then sees that it is closed), and lets its steps pass.
with given as materialized (
    select g.*, row_number() over (partition by run_id, message_id order by n) as nth
    from unnest($1::uuid[], $2::text[], $3::smallint[], $4::boolean[], $5::bytea[]) with ordinality
        as g (run_id, message_id, type, internal, data, n)),
locked as materialized (
    select l.* from (select distinct run_id from given where not internal order by run_id) t
    cross join lateral (
        select r.run_id, r.task_queue from durable.runs r where r.run_id = t.run_id and r.status = 1 for key share) l),
seen as materialized (
    select l.* from (select distinct run_id from given where internal) t
    cross join lateral (
        select r.run_id, r.task_queue from durable.runs r where r.run_id = t.run_id and r.status = 1) l),
targets as materialized (
    select g.*, coalesce(l.task_queue, s.task_queue) as task_queue from given g
    left join locked l on l.run_id = g.run_id and not g.internal
    left join seen s on s.run_id = g.run_id and g.internal),
sent as (
    insert into durable.inbox (run_id, type, internal, task_queue, message_id, data)
        select run_id, type, internal, task_queue, message_id, data from targets
        where task_queue is not null and nth = 1 order by n
        on conflict (run_id, message_id) do nothing returning run_id, message_id)
select case
        when t.task_queue is null then case when exists (
            select from durable.runs r where r.run_id = t.run_id) then 3 else 4 end
        when t.nth = 1 and s.run_id is not null then 1
        else 2
    end as outcome
from targets t left join sent s on s.run_id = t.run_id and s.message_id = t.message_id
order by t.n

-- name: read_messages
select run_id, message_id, type, data, position, internal from durable.inbox
where run_id = any ($1::uuid[]) order by position

-- name: read_owned_messages
select i.run_id, i.message_id, i.type, i.data, i.position, i.internal
from durable.runs r join durable.inbox i using (run_id)
where r.owner = $1 order by i.position limit $2

-- name: sweep_messages
-- Messages of the library itself need no lock, so one may reach a run that has just closed. A page at a time.
with page as materialized (
    select run_id, position from durable.inbox where (run_id, position) > ($1::uuid, $2::bigint)
    order by run_id, position limit $3),
closed as materialized (
    select p.* from page p join durable.runs r using (run_id) where r.status <> 1),
swept as (
    delete from durable.inbox i using closed c where i.run_id = c.run_id and i.position = c.position)
select run_id, position from page order by run_id desc, position desc limit 1
