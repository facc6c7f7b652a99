-- name: adopt
-- The open ones of these children (by their first runs) are another run's from now on; a child that is closing is waited
-- for. They are in order of their ids, as everywhere.
with locked as materialized (
    select r.run_id from durable.runs r
    where r.status = 1 and r.workflow_id = any ($2::text[]) and r.parent_run_id is not null
        and coalesce(r.first_run_id, r.run_id) = any ($3::uuid[])
    order by r.run_id for no key update)
update durable.runs r set parent_run_id = $1 from locked l where r.run_id = l.run_id and r.closed_at is null
    returning r.run_id, coalesce(r.first_run_id, r.run_id) as first_run_id

-- name: acquit
delete from durable.inbox where run_id = any ($1::uuid[]) and message_id = 'parent-closed'

-- name: read_unread
select run_id, message_id, type, data, position, internal from durable.inbox where run_id = $1 order by position

-- name: end_with
select run_id from durable.runs where parent_run_id = $1 and status = 1 and parent_close_policy = 1 order by run_id

-- name: forget_updates
delete from durable.update_outcomes where run_id = $1 and stage < 3

-- name: enter_reset
-- It has the slot of the run that it ends ($7); without one it waits, as any run that starts.
insert into durable.runs (run_id, workflow_id, workflow_type, task_queue, epoch, wake_at, hold, gate_at, priority, format,
        started_at, times_out_at, first_run_id, parent_run_id, parent_close_policy, execution_at, parent_workflow_id,
        root_workflow_id, root_run_id, gate, lane, share, limit_key, limit_most, limit_weight,
        pinned_to, deployment_version, versioning_behavior, versioning_override)
    select $1, b.workflow_id, b.workflow_type, b.task_queue, 0, case when w.waits then null else $3::bigint end,
        case when w.waits then 1 else 0 end, case when w.waits then $3::bigint end, b.priority, greatest(b.format, $4), $3,
        $3 + $5::bigint, $6, b.parent_run_id, b.parent_close_policy, b.execution_at, b.parent_workflow_id,
        b.root_workflow_id, b.root_run_id, case when b.gate is not null then case when w.waits then 1 else 2 end end, b.lane, b.share, b.limit_key,
        b.limit_most, b.limit_weight, b.pinned_to, b.deployment_version, b.versioning_behavior, b.versioning_override
    from durable.runs b cross join lateral (
        select b.gate is not null and not exists (
            select from durable.runs o where o.run_id = $7::uuid and o.gate = 2) as waits) w
    where b.run_id = $2
    on conflict do nothing returning run_id

-- name: write_info
insert into durable.run_data (run_id, info) values ($1, $2)

-- name: write_attributes
insert into durable.search_attributes (run_id, name, position, text_value, int_value, float_value)
    select $1, a.name, a.position, a.text_value, a.int_value, a.float_value
    from unnest($2::text[], $3::smallint[], $4::integer[], $5::text[], $6::bigint[], $7::double precision[])
        a (name, type, position, text_value, int_value, float_value)
    join durable.search_attribute_types t on t.name = a.name and t.type = a.type

-- name: copy_events
insert into durable.events (run_id, seq, task, type, time, data)
    select $1, e.seq, e.task, e.type, e.time, case e.seq when 1 then $4 else e.data end
    from durable.events e where e.run_id = $2 and e.seq <= $3

-- name: append_reset
insert into durable.events (run_id, seq, task, type, time, data)
    select $1, $2, $3, $4, greatest($5, max(e.time)), $6 from durable.events e where e.run_id = $1

-- name: insert_activities
insert into durable.activity_tasks (run_id, id, activity_type, task_queue, attempt, priority, scheduled_at, start_by,
        close_by, start_to_close, heartbeat, scheduled, progress, state, due_at, deadline, cancel_requested)
    select $1, a.id, a.type, durable.activity_place_2($1, a.queue), a.attempt, a.priority, a.scheduled_at, a.start_by, a.close_by, a.start_to_close,
        a.heartbeat, a.scheduled, a.progress, 1, $2::bigint, least(a.start_by, a.close_by), a.id = any ($3::integer[])
    from unnest($4::integer[], $5::text[], $6::text[], $7::integer[], $8::smallint[], $9::bigint[], $10::bigint[],
            $11::bigint[], $12::bigint[], $13::bigint[], $14::bytea[], $15::bytea[])
        a (id, type, queue, attempt, priority, scheduled_at, start_by, close_by, start_to_close, heartbeat, scheduled,
            progress)

-- name: insert_outcomes
insert into durable.update_outcomes (run_id, message_id, stage, data)
    select $1, o.id, o.stage, o.data from unnest($2::text[], $3::smallint[], $4::bytea[]) o (id, stage, data)

-- name: pause
with found as (
    select r.run_id, r.closed_at, r.hold from durable.runs r where r.run_id = $1 for no key update),
paused as (
    update durable.runs r set hold = 3, wake_at = null from found f
        where r.run_id = f.run_id and f.closed_at is null and f.hold <> 3 returning r.run_id),
told as (
    update durable.run_data d set reason = $2 from paused p where d.run_id = p.run_id)
select o.outcome, case when o.outcome = 1 then durable.log_2($1, $3, $4, $5, $6, $7, $8) end from (
    select case when f.closed_at is not null then 3 when f.hold = 3 then 2 else 1 end as outcome from found f) o

-- name: unpause
with found as (
    -- One that waits for its turn is held, and no operator's business, unless it is paused beside that.
    select r.run_id, r.closed_at, case when r.gate = 1 and r.hold = 1 then 0 else r.hold end as hold
    from durable.runs r where r.run_id = $1 for no key update),
freed as (
    update durable.runs r set hold = case when r.gate = 1 then 1 else 0 end, deaths = least(r.deaths, 2),
            wake_at = case when r.owner is null and r.gate is distinct from 1 then durable.now_us() end
        from found f
        where r.run_id = f.run_id and f.closed_at is null and f.hold = any ($2::smallint[]) returning r.run_id),
told as (
    update durable.run_data d set reason = '' from freed f where d.run_id = f.run_id)
select o.outcome, case when o.outcome = 1 then durable.log_2($1, $3, $4, $5, $6, $7, $8) end from (
    select case when f.closed_at is not null then 3 when f.hold = any ($2::smallint[]) then 1 else 2 end as outcome
    from found f) o

-- name: paused_runs
select run_id from durable.runs where owner = $1 and hold = 3

-- name: purge
select o.outcome, case when o.outcome = 1 then durable.log_2($1, $2, $3, $4, $5, $6, $7) end
from (select durable.purge_2($1) as outcome offset 0) o
