-- name: send
select durable.send_2($1, $2, $3, $4, $5) as outcomes

-- name: find_update
select stage, data from durable.update_outcomes where run_id = $1 and message_id = $2
union all
select 1, ''::bytea from durable.inbox where run_id = $1 and message_id = $2 and type = 60
limit 1

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
