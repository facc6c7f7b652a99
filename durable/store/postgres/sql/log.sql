-- name: log
select durable.log_2($1, $2, $3, $4, $5, $6, $7)

-- name: read_log
-- Each of the two filters that is there is looked for by an index.
select number, at, run_id, operation, workflow_id, identity, reason, detail, batch_id
from durable.operator_log
where ($1::text is null or workflow_id = $1) and ($2::text is null or batch_id = $2 and batch_id <> '')
    and ($3::bigint is null or number < $3)
order by number desc limit $4

-- name: prune_log
-- In the order in which they were written, so that what is left is behind all that goes.
with old as materialized (
    select l.number from durable.operator_log l order by l.number limit $2),
gone as (
    delete from durable.operator_log l using old o where l.number = o.number and l.at <= durable.now_us() - $1::bigint
        returning l.number, l.batch_id),
over as materialized (
    select distinct g.batch_id from gone g where g.batch_id <> '' and not exists (
        select from durable.operator_log l where l.batch_id = g.batch_id and l.batch_id <> ''
            and l.number > (select max(number) from gone))),
batches as (
    delete from durable.batches b using over o where b.batch_id = o.batch_id),
runs as (
    delete from durable.batch_runs r using over o where r.batch_id = o.batch_id)
select count(*) from gone
