-- name: commit
select now, verdicts, started from durable.commit_3(:arguments)

-- name: append
-- Without a time nothing was written. Most columns come as text, see `_pack.py`.
select append_3 as now, null::smallint[] as verdicts, null::uuid[] as started
from durable.append_3($1::text::uuid[], $2::text::integer[], $3, $4::text::integer[], $5::text::integer[],
    $6::text::integer[], $7::text::smallint[], $8, $9::text::smallint[])

-- name: taken_positions
-- Which of these positions are taken, and whether by the very bytes that were to be written there.
select e.run_id, e.seq, e.data = t.data as same from unnest($1::uuid[], $2::integer[], $3::bytea[]) t (run_id, seq, data)
join durable.events e on e.run_id = t.run_id and e.seq = t.seq

-- name: written_before
-- How many of these events stand there byte for byte, under the epoch they are to be written under.
select t.run_id, count(*) as count
from unnest($1::uuid[], $2::integer[], $3::integer[], $4::integer[], $5::smallint[], $6::bytea[])
    t (run_id, epoch, seq, task, type, data)
join durable.runs r on r.run_id = t.run_id and r.epoch = t.epoch
join durable.events e on e.run_id = t.run_id and e.seq = t.seq
where e.task = t.task and e.type = t.type and e.data = t.data
group by t.run_id

-- name: end_session
-- No row: it has ended.
select pg_terminate_backend(pid, 1000) as ended from pg_stat_activity 
where pid = $1 and backend_start = $2 and application_name = $3

-- name: transaction_status
select pg_xact_status($1::text::xid8) = 'in progress' as running
