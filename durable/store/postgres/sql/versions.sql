-- name: serve
select durable.serve_2($1, $2, $3)

-- name: find_deployments
select name, current_version, ramping_version, percentage, current_since, ramping_since, revision, created_at, changed_by
from durable.deployments where ($1::text is null or name = $1) order by name

-- name: find_versions
select v.version, v.task_queues, v.created_at,
    -- (With ORDER BY and LIMIT, by the index: an EXISTS may be turned round and read all that are pinned.)
    coalesce((
        select true from unnest(v.task_queues) q (queue) cross join lateral (
            select from durable.runs r
            where r.task_queue = q.queue || E'\x1f' || v.version and r.status = 1 and r.pinned_to is not null
            order by r.wake_at limit 1) r
        limit 1), false) as has_pinned,
    (select count(*) from durable.workers w
        where w.version = v.version and not w.dead and w.expires_at > durable.now_us())::integer as workers, v.was_active
from (
    select version, array_agg(task_queue order by task_queue) as task_queues, min(created_at) as created_at,
        bool_or(was_active) as was_active
    from durable.deployment_versions where deployment = $1 group by version) v
order by v.created_at, v.version

-- name: write_deployment
select durable.set_versions_2($1, $2, $3, $4, $5, $6) as done

-- name: forget_version
delete from durable.deployment_versions v where v.version = $1
    and not exists (select from durable.deployments d
        where d.name = v.deployment and (d.current_version = $1 or d.ramping_version = $1))
    and not exists (select from durable.workers w
        where w.version = $1 and not w.dead and w.expires_at > durable.now_us())
    and ($2::boolean or not exists (select from durable.runs r where r.pinned_to = $1 and r.status = 1))
returning 1

-- name: queue_routes
select task_queue, current_version, ramping_version, ramp from durable.queue_routes where task_queue = any ($1::text[])

-- name: moved_runs
with reach as materialized (select * from durable.reach_2($2::text[], $3))
select r.run_id from durable.runs r
where r.owner = $1 and exists (select from durable.queue_routes) and not exists (
    select from reach w where w.place = r.task_queue and (w.high - w.low = 4294967296
        or durable.ramp_of(r.workflow_id) >= w.low and durable.ramp_of(r.workflow_id) < w.high))

-- name: stranded_versions
-- Versions of which no worker lives, though runs are due that are pinned to them, or have messages.
select v.version, v.task_queue from durable.deployment_versions v
where coalesce((
        select true from durable.runs r
        where r.status = 1 and r.pinned_to is not null and r.owner is null and r.wake_at <= (select durable.now_us())
            and r.task_queue = v.task_queue || E'\x1f' || v.version order by r.wake_at limit 1), (
        select true from durable.inbox i where i.task_queue = v.task_queue || E'\x1f' || v.version limit 1), false)
    and not exists (select from durable.workers w where w.version = v.version
        and v.task_queue = any (w.task_queues) and not w.dead and w.expires_at > durable.now_us())
order by v.version, v.task_queue

-- name: override
select o.outcome, case when o.outcome = 1 then durable.log_2($1, $6, $7, $8, $9, $10, $11) end
from (select durable.override_2($1, $2, $3, $4, $5) as outcome offset 0) o
