-- name: create_runs
select n, outcome, run_id, workflow_type, epoch, now from durable.start_2(
    $1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20, $21, $22)

-- name: create_plain_runs
-- Without a time none was created.
select durable.start_3($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)

-- name: create_sole_runs
select n, outcome, run_id, workflow_type, epoch, now from durable.start_sole_2(
    $1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20)

-- name: find_run
-- The history is measured, which reads all of it, only when asked for.
select r.run_id, r.workflow_id, r.workflow_type, r.task_queue, r.status, r.hold, d.reason, r.owner, r.epoch, r.wake_at,
    r.priority, r.deaths, r.started_at, r.closed_at, r.times_out_at, d.info, h.length, h.size,
    coalesce(r.first_run_id, r.run_id) as first_run_id, r.parent_run_id, r.pinned_to, r.versioning_override
from durable.runs r join durable.run_data d using (run_id)
cross join lateral (
    select count(*) as length, coalesce(sum(octet_length(e.data)), 0)::bigint as size
    from durable.events e where $3 and e.run_id = r.run_id) h
where r.workflow_id = $1 and r.run_id = $2

-- name: find_latest_run
select r.run_id, r.workflow_id, r.workflow_type, r.task_queue, r.status, r.hold, d.reason, r.owner, r.epoch, r.wake_at,
    r.priority, r.deaths, r.started_at, r.closed_at, r.times_out_at, d.info, h.length, h.size,
    coalesce(r.first_run_id, r.run_id) as first_run_id, r.parent_run_id, r.pinned_to, r.versioning_override
from durable.runs r join durable.run_data d using (run_id)
cross join lateral (
    select count(*) as length, coalesce(sum(octet_length(e.data)), 0)::bigint as size
    from durable.events e where $2 and e.run_id = r.run_id) h
where r.run_id = coalesce(
    (select o.run_id from durable.runs o where o.workflow_id = $1 and o.status = 1),
    (select l.run_id from durable.runs l where l.workflow_id = $1 order by l.started_at desc, l.run_id desc limit 1))

-- name: locked_by
-- Who has locked the row, if that transaction is still open.
select a.pid, a.application_name as application, a.state,
    extract(epoch from clock_timestamp() - a.xact_start)::bigint as seconds
from durable.lockers_2($1) l (pid) join pg_stat_activity a on a.pid = l.pid
where a.xact_start < clock_timestamp() - $2::bigint * interval '1 microsecond'

-- name: timed_out_runs
-- One that begins when it is claimed is overdue only then: it is given its time, from now on.
with begun as materialized (
    select durable.begin_2(array(
        select r.run_id from durable.runs r
        where r.status = 1 and r.times_out_at <= durable.now_us() and r.begins_at_claim
        order by r.times_out_at limit $1 for no key update skip locked)))
select r.run_id, r.workflow_id, r.workflow_type, r.task_queue, r.status, r.hold, d.reason, r.owner, r.epoch, r.wake_at,
    r.priority, r.deaths, r.started_at, r.closed_at, r.times_out_at, d.info, h.length, h.size,
    coalesce(r.first_run_id, r.run_id) as first_run_id, r.parent_run_id, r.pinned_to, r.versioning_override
from (
    select * from durable.runs r
    where r.status = 1 and r.times_out_at <= durable.now_us() and not r.begins_at_claim
    order by r.times_out_at limit $1) r
join durable.run_data d using (run_id)
cross join lateral (
    select count(*) as length, coalesce(sum(octet_length(e.data)), 0)::bigint as size
    from durable.events e where e.run_id = r.run_id) h
where (select count(*) from begun) = 1
order by r.times_out_at

-- name: condemned_runs
select r.run_id, r.workflow_id, r.workflow_type, r.task_queue, r.status, r.hold, d.reason, r.owner, r.epoch, r.wake_at,
    r.priority, r.deaths, r.started_at, r.closed_at, r.times_out_at, d.info, h.length, h.size,
    coalesce(r.first_run_id, r.run_id) as first_run_id, r.parent_run_id, r.pinned_to, r.versioning_override
from (
    select r.* from (select run_id, max(type) as type from durable.inbox where type in (3, 13) group by run_id) i
    join durable.runs r on r.run_id = i.run_id and r.status = 1 and (i.type = 13 or (r.gate = 1 and r.hold = 1))
    limit $1) r
join durable.run_data d using (run_id)
cross join lateral (
    select count(*) as length, coalesce(sum(octet_length(e.data)), 0)::bigint as size
    from durable.events e where e.run_id = r.run_id) h

-- name: read_events
select seq, task, type, data, time from durable.events where run_id = $1 and seq > $2 order by seq limit $3

-- name: read_closing_events
select r.run_id, e.seq, e.task, e.type, e.data, e.time
from durable.runs r
cross join lateral (
    select seq, task, type, data, time from durable.events where run_id = r.run_id order by seq desc limit 1) e
where r.run_id = any($1::uuid[]) and r.status <> 1

-- name: lock_open_run
-- FOR UPDATE before anything else: senders cannot pass it.
select run_id from durable.runs where run_id = $1 and status = 1 for update

-- name: lock_waiting_run
select run_id from durable.runs where run_id = $1 and status = 1 and gate = 1 and hold = 1 for update

-- name: next_seq
select coalesce(max(seq), 0) + 1 as seq, coalesce(max(time), 0) as latest from durable.events where run_id = $1

-- name: terminate
-- The run's row is locked by an earlier statement of this transaction.
select durable.terminate_2(
    $1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20, $21, $22, $23, $24, $25, $26,
    $27, $28, $29, $30)
