-- name: create_schedule
insert into durable.schedules (schedule_id, revision, record, progress, wake_at, workflow_ids, run_ids)
select $1, durable.now_us(), $2::bytea, $3::bytea, $4::bigint, $5::text[], $6::uuid[]
on conflict (schedule_id) do nothing returning 1

-- name: write_schedule
update durable.schedules set revision = revision + 1, taken_until = 0,
    record = $3, progress = $4, wake_at = $5, workflow_ids = $6::text[], run_ids = $7::uuid[]
where schedule_id = $1 and revision = $2 returning 1

-- name: find_schedule
select schedule_id, revision, record, progress, wake_at, durable.now_us() as now from durable.schedules where schedule_id = $1

-- name: list_schedules
select schedule_id, revision, record, progress, wake_at, durable.now_us() as now from durable.schedules
where schedule_id > $1 order by schedule_id limit $2

-- name: next_schedule
select min(greatest(s.wake_at, s.taken_until)) - durable.now_us() as next from (
    select wake_at, taken_until from durable.schedules where wake_at is not null order by wake_at limit 100) s

-- name: claim_schedules
with clock as materialized (select durable.now_us() as now),
due as materialized (
    select s.schedule_id from clock, durable.schedules s
    where s.wake_at is not null and s.wake_at <= now and s.taken_until <= now
    order by s.wake_at, s.schedule_id limit $1
    for update of s skip locked)
update durable.schedules s set taken_until = now + $2::bigint from clock, due where s.schedule_id = due.schedule_id
returning s.schedule_id, s.revision, s.record, s.progress, s.wake_at, now

-- name: ended_schedules
-- Those with an action of which no run is open any more: a chain goes on under one workflow id, and without a gap.
select s.schedule_id from durable.schedules s
where s.run_ids is not null and exists (
    select from unnest(s.workflow_ids, s.run_ids) a (workflow_id, run_id) where not exists (
        select from durable.runs r
        where r.workflow_id = a.workflow_id and r.status = 1 and coalesce(r.first_run_id, r.run_id) = a.run_id))
order by s.taken_until, s.schedule_id limit $1

-- name: delete_schedule
delete from durable.schedules where schedule_id = $1 returning 1
