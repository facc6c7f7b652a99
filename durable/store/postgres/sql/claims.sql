-- name: claim_runs
-- What never changes is looked up beside the claim.
select c.*, coalesce((select r.first_run_id from durable.runs r where r.run_id = c.run_id), c.run_id) as first_run_id,
    (select r.parent_run_id from durable.runs r where r.run_id = c.run_id) as parent_run_id
from (select case when $6 = 0 then durable.admit_2(
    coalesce((select array_agg(w.place) from durable.reach_2($2, $8) w), '{}'), $3, $4, $5) end offset 0) a
cross join lateral durable.claim_2($1, $2, $3, $4, $5, $6, $7, $8) c

-- name: owned_runs
select run_id, epoch from durable.runs where owner = $1

-- name: reload_run
select l.*, coalesce((select r.first_run_id from durable.runs r where r.run_id = l.run_id), l.run_id) as first_run_id,
    (select r.parent_run_id from durable.runs r where r.run_id = l.run_id) as parent_run_id
from durable.load_1(array[$1::uuid]) l where l.owner = $2 and l.epoch = $3

-- name: next_wake
with recursive runs_ranges as (
    select q.queue, (select min(r.priority) from durable.runs r
        where r.status = 1 and r.owner is null and r.wake_at is not null and r.task_queue = q.queue) as priority
    from unnest($1::text[]) q (queue)
    union all
    select s.queue, (select min(r.priority) from durable.runs r
        where r.status = 1 and r.owner is null and r.wake_at is not null and r.task_queue = s.queue
            and r.priority > s.priority)
    from runs_ranges s where s.priority is not null),
activity_ranges as (
    select q.queue, (select min(a.priority) from durable.activity_tasks a
        where a.state = 1 and a.task_queue = q.queue) as priority
    from unnest($1::text[]) q (queue)
    union all
    select s.queue, (select min(a.priority) from durable.activity_tasks a
        where a.state = 1 and a.task_queue = s.queue and a.priority > s.priority)
    from activity_ranges s where s.priority is not null)
-- (No greatest(0, ..) around it: that would make 0 of nothing.)
select case when w.wake_at is null then null else greatest(0, w.wake_at - durable.now_us()) end as wake_in,
    -- Also what has been due for long.
    coalesce((select bool_or((select min(r.wake_at) from durable.runs r
        where r.status = 1 and r.owner is null and r.wake_at is not null and r.task_queue = s.queue
            and r.priority = s.priority) <= durable.now_us()) from runs_ranges s), false)
    or coalesce((select bool_or((select min(a.due_at) from durable.activity_tasks a
        where a.state = 1 and a.task_queue = s.queue and a.priority = s.priority) <= durable.now_us())
        from activity_ranges s), false)
    or coalesce((select bool_or((select min(r.gate_at) from durable.runs r
        where r.status = 1 and r.gate = 1 and r.task_queue = q.queue) <= durable.now_us())
        from unnest($1::text[]) q (queue)), false) as due
from (select least(
    (select min((select min(r.wake_at) from durable.runs r
        where r.status = 1 and r.owner is null and r.wake_at > (select durable.now_us() - $2) and r.task_queue = s.queue
            and r.priority = s.priority)) from runs_ranges s),
    (select min((select min(a.due_at) from durable.activity_tasks a
        where a.state = 1 and a.due_at > (select durable.now_us() - $2) and a.task_queue = s.queue
            and a.priority = s.priority)) from activity_ranges s),
    (select min((select min(r.gate_at) from durable.runs r
        where r.status = 1 and r.gate = 1 and r.gate_at > (select durable.now_us() - $2) and r.task_queue = q.queue))
        from unnest($1::text[]) q (queue))
    ) as wake_at) w

-- name: glance
-- Each part is one look into an index.
select w.wake_in,
    w.due or exists (select from unnest($3::text[]) q (queue) cross join lateral (
        select from durable.inbox i where i.task_queue = q.queue order by i.position limit 1) i) as ready,
    exists (select from durable.activity_tasks a where a.state = 2 and a.worker is null)
    or exists (select from durable.activity_tasks a
        where a.state < 3 and a.deadline <= durable.now_us() and (a.worker is not null or a.state = 1))
    or exists (select from durable.activity_tasks a where a.sole and a.state = 3)
    or exists (select from durable.runs r where r.status = 1 and r.times_out_at <= durable.now_us()) as overdue,
    exists (select from durable.queries) as asked,
    exists (select from durable.queue_routes r where r.task_queue = any ($3::text[])) as routed,
    (:next_schedule) as schedule_in,
    coalesce((select max(s.state) from durable.queue_states s where s.task_queue = any ($3::text[])), 0) as queue_state
from (:next_wake) w
