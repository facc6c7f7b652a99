-- name: set_queue_state
-- What is said again is not logged again.
with changed as (
    insert into durable.queue_states as q values ($1, $2)
    on conflict (task_queue) do update set state = excluded.state where q.state <> excluded.state returning task_queue)
select durable.log_2(null, $3, $4, $5, $6, $7, $8) from changed

-- name: open_queue
with changed as (delete from durable.queue_states where task_queue = $1 returning task_queue)
select durable.log_2(null, $2, $3, $4, $5, $6, $7) from changed

-- name: queue_state
select state from durable.queue_states where task_queue = $1

-- name: take_survey_turn
-- Whoever has it writes a row per look, and the others only read it.
update durable.survey_turn t set holder = $1, until = durable.now_us() + $2
    from (select single from durable.survey_turn where holder = $1 or until <= durable.now_us() for update skip locked) free
    where t.single = free.single
    returning t.holder

-- name: survey
-- From place to place and from priority to priority by the indexes that claims use, and of each no more than $1 rows.
with recursive
now as materialized (select durable.now_us() as us),
run_places as (
    select (select min(r.task_queue) from durable.runs r
        where r.status = 1 and r.owner is null and r.wake_at is not null) as place
    union all
    select (select min(r.task_queue) from durable.runs r
        where r.status = 1 and r.owner is null and r.wake_at is not null and r.task_queue > p.place)
    from run_places p where p.place is not null),
run_ranges as (
    select p.place, (select min(r.priority) from durable.runs r
        where r.status = 1 and r.owner is null and r.wake_at is not null and r.task_queue = p.place) as priority
    from run_places p where p.place is not null
    union all
    select s.place, (select min(r.priority) from durable.runs r
        where r.status = 1 and r.owner is null and r.wake_at is not null and r.task_queue = s.place
            and r.priority > s.priority)
    from run_ranges s where s.priority is not null),
gated_places as (
    select (select min(r.task_queue) from durable.runs r where r.status = 1 and r.gate = 1) as place
    union all
    select (select min(r.task_queue) from durable.runs r where r.status = 1 and r.gate = 1 and r.task_queue > p.place)
    from gated_places p where p.place is not null),
activity_places as (
    select (select min(a.task_queue) from durable.activity_tasks a where a.state = 1) as place
    union all
    select (select min(a.task_queue) from durable.activity_tasks a where a.state = 1 and a.task_queue > p.place)
    from activity_places p where p.place is not null),
activity_ranges as (
    select p.place, (select min(a.priority) from durable.activity_tasks a
        where a.state = 1 and a.task_queue = p.place) as priority
    from activity_places p where p.place is not null
    union all
    select s.place, (select min(a.priority) from durable.activity_tasks a
        where a.state = 1 and a.task_queue = s.place and a.priority > s.priority)
    from activity_ranges s where s.priority is not null),
mail_places as (
    select (select min(i.task_queue) from durable.inbox i) as place
    union all
    select (select min(i.task_queue) from durable.inbox i where i.task_queue > p.place)
    from mail_places p where p.place is not null),
due as (
    select 'workflows' as kind, s.place, d.at from run_ranges s cross join lateral (
        select r.wake_at as at from durable.runs r
        where r.status = 1 and r.owner is null and r.wake_at is not null and r.task_queue = s.place
            and r.priority = s.priority and r.wake_at <= (select us from now)
        order by r.wake_at limit $1) d
    union all
    select 'workflows', p.place, d.at from gated_places p cross join lateral (
        select r.gate_at as at from durable.runs r
        where r.status = 1 and r.gate = 1 and r.task_queue = p.place and r.gate_at <= (select us from now)
        order by r.gate_at limit $1) d
    union all
    select 'activities', s.place, d.at from activity_ranges s cross join lateral (
        select greatest(a.due_at, a.scheduled_at) as at from durable.activity_tasks a
        where a.state = 1 and a.task_queue = s.place and a.priority = s.priority and a.due_at <= (select us from now)
        order by a.due_at limit $1) d)
select d.kind, d.place as what, count(*) as number, (select us from now) - min(d.at) as age from due d group by d.kind, d.place
union all
select 'messages', p.place, (select count(*) from (
    select from durable.inbox i where i.task_queue = p.place order by i.position limit $1) i), null
    from mail_places p where p.place is not null
union all
select 'workers', q.queue, count(*), null from durable.workers w cross join unnest(w.task_queues) q (queue)
    where not w.dead and w.expires_at > (select us from now) group by q.queue
union all
select 'owned', o.task_queue, count(*), null from (
    select r.task_queue from durable.runs r where r.owner is not null order by r.owner limit $1) o group by o.task_queue
union all
select 'state', q.task_queue, q.state, null from durable.queue_states q
union all
select 'open', '', count(*), null from (
    select from durable.runs r where r.status = 1 order by r.workflow_id limit $1) o
union all
select 'held', h.hold::text, count(*), null from (
    select r.hold from durable.runs r where r.status = 1 and r.hold > 0 and (r.hold > 1 or r.gate is distinct from 1)
    order by r.hold, r.started_at limit $1) h group by h.hold
union all
select 'retrying', '', count(*), null from (
    select from durable.activity_tasks a where a.state = 1 and a.attempt > 1 order by a.run_id limit $1) t
