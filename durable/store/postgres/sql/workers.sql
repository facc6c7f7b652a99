-- name: register
insert into durable.workers (worker_id, identity, task_queues, lease, expires_at, registered_at, version)
select $1, $2, $3, $4::bigint, n.now + $4::bigint, n.now, $5 from (select durable.now_us() as now) n
on conflict do nothing returning true as done

-- name: renew
update durable.workers set renewals = renewals + 1, expires_at = durable.now_us() + lease
where worker_id = $1 and not dead returning true as done

-- name: mark_dead
update durable.workers set dead = true where worker_id = $1

-- name: remove_unnamed
delete from durable.workers w where w.worker_id = $1 and w.dead
    and not exists (select from durable.runs r where r.owner = w.worker_id)
    and not exists (select from durable.activity_tasks a where a.worker = w.worker_id)

-- name: list_workers
-- Who is dead has no lease, however much of it was left when it said goodbye.
select worker_id, identity, task_queues, lease, renewals, dead or expires_at <= durable.now_us() as expired, dead, version
from durable.workers order by registered_at, worker_id

-- name: bury
update durable.workers set dead = true
where worker_id = $1 and renewals = $2 and not dead and expires_at <= durable.now_us() returning true as done

-- name: take_over
select durable.take_over_2($1, $2) as freed

-- name: tell
select pg_notify($1, payload) from unnest($2::text[]) payload

-- name: now
select durable.now_us() as now
