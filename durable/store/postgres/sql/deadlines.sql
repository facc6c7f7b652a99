-- name: take_deadline_turn
-- Whoever has it writes a row per look, and the others only read it.
insert into durable.deadline_turns as t
select $1, $2, durable.now_us() + $3::bigint, $4::bigint, $5::bigint
    where not exists (
        select from durable.deadline_turns o
        where o.workflow_type = $1 and o.holder <> $2 and o.until > durable.now_us())
on conflict (workflow_type) do update set holder = excluded.holder, until = excluded.until,
    near = greatest(t.near, excluded.near), past = greatest(t.past, excluded.past)
    where t.holder = excluded.holder or t.until <= durable.now_us()
returning durable.now_us() as now, t.near, t.past

-- name: late_runs
-- How many there are, by the row without an id, and those that are to be told of.
select null::uuid as run_id, null as workflow_id, count(*) as began_at from (
    select from durable.runs r
    where r.status = 1 and r.workflow_type = $1 and coalesce(r.execution_at, r.started_at) > $2
        and coalesce(r.execution_at, r.started_at) <= $3
    order by coalesce(r.execution_at, r.started_at) limit $5) c
union all
select l.* from (
    select r.run_id, r.workflow_id, coalesce(r.execution_at, r.started_at) from durable.runs r
    where r.status = 1 and r.workflow_type = $1 and coalesce(r.execution_at, r.started_at) > greatest($2, $4)
        and coalesce(r.execution_at, r.started_at) <= $3
    order by coalesce(r.execution_at, r.started_at) limit $6) l
