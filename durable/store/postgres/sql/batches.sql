-- name: begin_batch
-- Nothing when there is one of that id.
with begun as (
    insert into durable.batches (batch_id, digest) values ($1, $2) on conflict do nothing returning batch_id)
select durable.log_2(null, $3, $4, $5, $6, $7, b.batch_id) from begun b

-- name: read_batch
select b.batch_id, b.digest, b.position, b.gathered, b.done, b.skipped, b.failed, b.errors,
    (select count(*) from durable.batch_runs r where r.batch_id = b.batch_id) as pending
from durable.batches b where b.batch_id = $1

-- name: gather_batch
with moved as (
    update durable.batches set position = $3, gathered = $4
        where batch_id = $1 and position = $2 and not gathered returning batch_id)
insert into durable.batch_runs (batch_id, key, workflow_id, run_id)
    select m.batch_id, r.key, r.workflow_id, r.run_id
    from moved m, unnest($5::text[], $6::text[], $7::uuid[]) with ordinality r (key, workflow_id, run_id, n)
    order by r.n
    on conflict (batch_id, key) do update set workflow_id = excluded.workflow_id, run_id = excluded.run_id

-- name: pending_batch_runs
select number, key, workflow_id, run_id from durable.batch_runs where batch_id = $1 order by number limit $2

-- name: settle_batch
-- Each run counts once, whoever else has dealt with it.
with news as materialized (
    select * from unnest($2::bigint[], $3::smallint[], $4::text[]) n (number, dealt, error)),
gone as (
    delete from durable.batch_runs r using news n where r.batch_id = $1 and r.number = n.number
        returning n.number, n.dealt, n.error),
told as (
    select count(*) filter (where g.dealt = 1) as done, count(*) filter (where g.dealt = 2) as skipped,
        count(*) filter (where g.dealt = 3) as failed,
        array_agg(g.error order by g.number) filter (where g.dealt = 3) as errors
    from gone g)
update durable.batches b set done = b.done + t.done, skipped = b.skipped + t.skipped, failed = b.failed + t.failed,
        errors = (b.errors || coalesce(t.errors, '{}'))[1:$5]
    from told t where b.batch_id = $1
