-- name: log
select durable.log_2($1, $2, $3, $4, $5, $6, $7)

-- name: read_log
-- Each of the two filters that is there is looked for by an index.
select number, at, run_id, operation, workflow_id, identity, reason, detail, batch_id
from durable.operator_log
where ($1::text is null or workflow_id = $1) and ($2::text is null or batch_id = $2 and batch_id <> '')
    and ($3::bigint is null or number < $3)
order by number desc limit $4
