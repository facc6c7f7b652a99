-- name: claim_activities
select run_id, id from durable.claim_activities_3($1, $2, $3, $4, $5, $6)

-- name: read_activities
select a.run_id, a.id, r.workflow_id, r.workflow_type, a.activity_type, a.task_queue, a.state, a.attempt, a.due_at,
    a.deadline, a.start_by, a.close_by, a.start_to_close, a.heartbeat, a.worker, a.started_at, a.scheduled_at, a.scheduled,
    a.progress, a.cancel_requested, a.outside_since, a.paused_at, a.pause_reason, a.cancel_reason, a.attempt_base, a.anew, a.revision,
    coalesce(a.refused, false) as refused,
    durable.now_us() as now
from durable.activity_tasks a join durable.runs r using (run_id) where a.run_id = $1 order by a.id

-- name: read_activity_rows
select a.run_id, a.id, r.workflow_id, r.workflow_type, a.activity_type, a.task_queue, a.state, a.attempt, a.due_at,
    a.deadline, a.start_by, a.close_by, a.start_to_close, a.heartbeat, a.worker, a.started_at, a.scheduled_at, a.scheduled,
    a.progress, a.cancel_requested, a.outside_since, a.paused_at, a.pause_reason, a.cancel_reason, a.attempt_base, a.anew, a.revision,
    coalesce(a.refused, false) as refused,
    durable.now_us() as now
from unnest($1::uuid[], $2::integer[]) with ordinality t (run_id, id, n)
join durable.activity_tasks a on a.run_id = t.run_id and a.id = t.id join durable.runs r on r.run_id = a.run_id
order by t.n

-- name: owned_activities
select run_id, id from durable.activity_tasks where worker = $1 and state = 2

-- name: expired_activities
select run_id, id from (
    (select a.run_id, a.id, 0 as deadline from durable.activity_tasks a where a.state = 2 and a.worker is null limit $1)
    union
    (select a.run_id, a.id, a.deadline from durable.activity_tasks a
        where a.state < 3 and a.deadline <= durable.now_us()
            and (a.worker is not null or a.state = 1) order by a.deadline limit $1)) e
order by deadline limit $1

-- name: attempt_is_held
-- A row: somebody has it locked.
select from durable.activity_tasks a where a.run_id = $1 and a.id = $2 and not exists (
    select from (
        select from durable.activity_tasks l where l.run_id = $1 and l.id = $2 for no key update skip locked) free)

-- name: finish_attempts
-- The row is the fence against other attempts. Rows are locked in the order of their keys; scanners pass over what is
-- locked, the worker that ran the attempt waits for it.
with given as materialized (
    select g.* from unnest($1::uuid[], $2::integer[], $3::integer[], $4::text[], $5::smallint[], $6::bigint[], $7::bytea[],
            $8::text[], $9::smallint[], $10::boolean[], $11::bytea[], $12::boolean[], $13::integer[], $14::integer[]) with ordinality
        as g (run_id, id, attempt, worker, state, retry_in, progress, message_id, type, internal, data, outside, revision,
            base, n)
    order by g.run_id, g.id, g.n),
waited as materialized (
    select g.n from given g cross join lateral (
        select from durable.activity_tasks a
        where a.run_id = g.run_id and a.id = g.id and a.attempt = g.attempt and a.state = g.state and a.worker = g.worker
            and (g.revision is null or a.revision = g.revision)
        for no key update) l
    where g.worker is not null),
scanned as materialized (
    select g.n from given g cross join lateral (
        select from durable.activity_tasks a
        where a.run_id = g.run_id and a.id = g.id and a.attempt = g.attempt and a.state = g.state
            and (g.revision is null or a.revision = g.revision)
        for no key update skip locked) l
    where g.worker is null),
firsts as materialized (
    select distinct on (g.run_id, g.id) g.* from given g
    where g.n in (select n from waited union all select n from scanned) order by g.run_id, g.id, g.n),
ended as (
    update durable.activity_tasks a set
        state = case when f.retry_in is null and not f.outside then 3 else 1 end,
        attempt = case when f.retry_in is null then a.attempt else a.attempt + 1 end,
        attempt_base = case when f.retry_in is null then a.attempt_base else f.base end,
        anew = case when f.retry_in is null then a.anew else 0 end,
        due_at = case when f.outside or (f.retry_in is not null and a.paused_at is not null and not a.cancel_requested) then 4000000000000000
            when f.retry_in is null then a.due_at else durable.now_us() + f.retry_in end,
        start_by = case when f.retry_in is null then a.start_by end,
        deadline = case
            when f.outside then least(a.close_by, a.started_at + a.start_to_close, durable.now_us() + a.heartbeat)
            when f.retry_in is not null then a.close_by end,
        outside_since = case when f.outside then a.started_at end,
        worker = null, started_at = null,
        progress = case when f.retry_in is null and not f.outside then a.progress else f.progress end
    from firsts f where a.run_id = f.run_id and a.id = f.id
    returning f.n),
told as (
    insert into durable.inbox (run_id, type, internal, task_queue, message_id, data)
        select f.run_id, f.type, f.internal, r.task_queue, f.message_id, f.data
        from firsts f join durable.runs r using (run_id)
        where f.message_id is not null and r.status = 1 order by f.n
        on conflict (run_id, message_id) do nothing)
select g.n in (select n from ended) as ended from given g order by g.n

-- name: heartbeat
with given as materialized (
    select g.* from unnest($1::uuid[], $2::integer[], $3::integer[], $4::text[], $5::bytea[]) with ordinality
        as g (run_id, id, attempt, worker, progress, n)
    order by g.run_id, g.id, g.n),
locked as materialized (
    select g.* from given g cross join lateral (
        select from durable.activity_tasks a
        where a.run_id = g.run_id and a.id = g.id and a.attempt = g.attempt
            and (a.state = 2 and a.worker = g.worker
                or a.state = 1 and g.worker is null and a.outside_since is not null)
        for no key update) l),
latest as materialized (
    select distinct on (run_id, id) * from locked order by run_id, id, n desc),
beaten as (
    update durable.activity_tasks a set progress = l.progress,
        deadline = least(a.close_by, coalesce(a.outside_since, a.started_at) + a.start_to_close,
            durable.now_us() + a.heartbeat)
    from latest l where a.run_id = l.run_id and a.id = l.id
    returning a.run_id, a.id, a.cancel_requested, a.anew, a.paused_at)
select case when k.n is null then 3 when b.cancel_requested then 2 when b.anew > 0 then 5
    when b.paused_at is not null then 4 else 1 end as answer
from given g left join locked k on k.n = g.n left join beaten b on b.run_id = g.run_id and b.id = g.id
order by g.n

-- name: change_activities
with given as materialized (
    select g.* from unnest($1::uuid[], $2::integer[], $3::smallint[], $4::integer[], $5::integer[], $6::bigint[],
            $7::text[], $8::integer[], $9::smallint[], $10::bigint[], $11::bigint[], $12::bigint[], $13::bigint[],
            $14::bigint[], $15::bigint[], $16::text[], $17::bytea[], $18::bytea[], $19::boolean[], $20::text[]) with ordinality
        as g (run_id, id, state, attempt, revision, paused_at, pause_reason, base, anew, due_at, deadline, start_by, close_by,
            start_to_close, heartbeat, task_queue, scheduled, progress, cancel, cancel_reason, n)
    order by g.run_id, g.id, g.n),
locked as materialized (
    select distinct on (g.run_id, g.id) g.* from given g cross join lateral (
        select from durable.activity_tasks a
        where a.run_id = g.run_id and a.id = g.id and a.state = g.state and a.attempt = g.attempt
            and a.revision = g.revision
        for no key update) l
    order by g.run_id, g.id, g.n),
changed as (
    update durable.activity_tasks a set
        paused_at = l.paused_at, pause_reason = l.pause_reason, attempt_base = l.base, anew = l.anew,
        revision = a.revision + 1,
        due_at = case when a.state = 1 then l.due_at else a.due_at end,
        deadline = case when a.state = 1 then l.deadline else a.deadline end,
        start_by = l.start_by, close_by = l.close_by, start_to_close = l.start_to_close, heartbeat = l.heartbeat,
        task_queue = durable.activity_place_2(
            l.run_id, case when a.lane is null then l.task_queue else chr(31) || l.task_queue end),
        scheduled = l.scheduled, progress = coalesce(l.progress, a.progress),
        cancel_requested = a.cancel_requested or l.cancel,
        cancel_reason = case when l.cancel then l.cancel_reason else a.cancel_reason end
    from locked l where a.run_id = l.run_id and a.id = l.id
    returning l.n)
select c.n is not null as changed,
    case when c.n = (select min(n) from changed) then durable.log_2(g.run_id, $21, $22, $23, $24, $25, $26) end
from given g left join changed c on c.n = g.n order by g.n

-- name: finish_sole
select durable.finish_sole_2($1, $2, $3, $4, $5, $6, $7, $8, $9, $10) as ended

-- name: begin_within
-- Two statements in one message, which therefore takes no arguments: these are ids of ours.
set transaction read write; insert into durable.transactions (run_id, id, attempt) values ('{}', {}, {})

-- name: finish_within
select durable.finish_within_2($1, $2, $3, $4, $5, $6, $7) as ended

-- name: leave_transaction
select durable.leave_transaction_2($1, $2, $3)

-- name: begin_borrowed
select durable.begin_borrowed_2(cast($1 as text))

-- name: finish_borrowed
select durable.finish_borrowed_2(cast($1 as text))

-- name: stray_outcomes
select t.run_id, t.id, i.message_id, i.type, i.data, i.position
from (select a.run_id, a.id from durable.activity_tasks a where a.sole and a.state = 3 limit $1) t
cross join lateral (
    select i.* from durable.inbox i where i.run_id = t.run_id and i.type between 22 and 25 order by i.position limit 1) i
