-- name: add_attribute_types
insert into durable.search_attribute_types (name, type)
select t.name, t.type from unnest($1::text[], $2::smallint[]) with ordinality t (name, type, n) order by t.n
on conflict do nothing

-- name: attribute_types
select name, type from durable.search_attribute_types

-- name: list_runs
-- The page comes first, and with its keys, of which the next page's token is made.
select p.*, r.run_id as listed_id, r.workflow_id, r.workflow_type, r.task_queue, r.status, r.started_at,
    coalesce(r.execution_at, r.started_at) as begins_at, r.closed_at,
    case when r.status <> 1 then (select count(*) from durable.events e where e.run_id = r.run_id) end as length,
    coalesce(r.first_run_id, r.run_id) as first_id, r.parent_workflow_id, r.parent_run_id,
    coalesce(r.root_workflow_id, r.workflow_id) as root_workflow, coalesce(r.root_run_id, r.run_id) as root_run, d.info,
    coalesce(r.pinned_to, r.deployment_version) as version, case when r.versioning_override = 'auto_upgrade' then 2
        when r.versioning_override is not null then 1 else r.versioning_behavior end as behavior,
    case when r.hold = 1 and r.wake_at is null and r.owner is null then 0 else r.hold end as held, d.reason
from (select row_number() over () as number, q.* from (:page) q (run, :keys)) p
join durable.runs r on r.run_id = p.run
join durable.run_data d on d.run_id = r.run_id
order by p.number
