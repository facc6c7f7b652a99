-- name: set_retention
insert into durable.retention values ($1, $2, $3)
    on conflict (workflow_type) do update set keep = excluded.keep, export = excluded.export

-- name: clear_retention
delete from durable.retention where workflow_type = $1

-- name: read_retention
select workflow_type, keep, export from durable.retention order by workflow_type

-- name: take_retention
select * from durable.take_retention_3($1, $2, $3)

-- name: retire
select durable.retire_3($1, $2, $3)
