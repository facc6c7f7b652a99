-- name: ask
with run as materialized (
    select r.run_id, r.workflow_type, r.task_queue, durable.now_us() as now from durable.runs r where r.run_id = $2::uuid),
asked as (
    insert into durable.queries (query_id, run_id, asked_at, expires_at, workflow_type, task_queue, name, input)
        select $1::uuid, run_id, now, now + $5::bigint, workflow_type, task_queue, $3, $4 from run
        on conflict (query_id) do nothing)
select 1 from run

-- name: take_questions
-- For the owner at once; for anybody who has the code when there is none, or when it has been silent.
with clock as materialized (select durable.now_us() as now),
due as materialized (
    select q.query_id from clock, durable.queries q join durable.runs r using (run_id)
    where q.answer is null and q.expires_at > now and q.taken_until <= now
        and (r.owner = $1 or (
            (r.owner is null or q.asked_at + $6::bigint <= now)
            and r.task_queue = any ($2::text[]) and ($3::text[] is null or r.workflow_type = any ($3::text[])) and r.format <= $5))
    order by q.asked_at, q.query_id limit $4
    for update of q skip locked)
update durable.queries q set taken_until = now + $7::bigint from clock, due where q.query_id = due.query_id
returning q.query_id, q.run_id, q.workflow_type, q.task_queue, q.name, q.input, q.expires_at - now as expires_in

-- name: answer_questions
update durable.queries q set answer = a.answer
from unnest($1::uuid[], $2::bytea[]) as a (query_id, answer)
where q.query_id = a.query_id and q.answer is null

-- name: read_answers
select query_id, run_id, answer from durable.queries where query_id = any ($1::uuid[]) and answer is not null

-- name: sweep_questions
with old as materialized (
    select query_id from durable.queries where expires_at <= durable.now_us() limit $1 for update skip locked)
delete from durable.queries q using old where q.query_id = old.query_id returning 1
