-- name: read_key
-- What waits is counted up to a limit.
select
    (select l.most from durable.limit_keys l where l.kind = $1 and l.key = $2) as pinned,
    durable.key_limit_2($1, $2) as most, durable.key_running_2($1, $2) as running,
    durable.key_waiting_2($1, $2, $3) as waiting

-- name: set_key
insert into durable.limit_keys (kind, key, most) values ($1, $2, $3)
on conflict (kind, key) do update set most = excluded.most

-- name: sweep_keys
-- Rows that nobody needs: they are made again when they are. One that is locked is in use.
with unused as materialized (
    select l.kind, l.key from durable.limit_keys l
    where l.most is null and l.kind > 0 and not durable.key_in_use_2(l.kind, l.key)
    limit $1 for update skip locked)
delete from durable.limit_keys l using unused u where l.kind = u.kind and l.key = u.key
returning l.key

-- name: tell_breakers
select durable.tell_breakers_2($1, $2, $3, $4, $5, $6)

-- name: read_breaker
select b.failures, b.open_until, b.trials, b.forced, durable.now_us() as now, (
    select count(*) from durable.activity_tasks a
    where (a.state = 2 or a.outside_since is not null) and a.breaker = $1 and a.refused is not true) as trying
from (select $1::text as key) k left join durable.breakers b using (key)

-- name: force_breaker
-- Given free, it is closed, and has forgotten what there was.
insert into durable.breakers (key, forced) values ($1, $2)
on conflict (key) do update set forced = excluded.forced, open_until = null, failures = '{}'

-- name: set_rate
insert into durable.rates (task_queue, per_second, permits, at)
    values ($1, $2::float8, greatest(1, $2::float8), durable.now_us())
on conflict (task_queue) do update set per_second = excluded.per_second
    where rates.per_second <> excluded.per_second

-- name: drop_rate
delete from durable.rates where task_queue = $1

-- name: read_rate
select per_second from durable.rates where task_queue = $1

-- name: enter_lanes
update durable.activity_tasks a set lane = l.lane, share = l.share, limit_key = l.limit_key, limit_most = l.limit_most,
        limit_weight = l.limit_weight, breaker = l.breaker, fails_fast = l.fails_fast
    from jsonb_to_recordset($1::jsonb) l (run_id uuid, id integer, lane text, share real, limit_key text,
        limit_most integer, limit_weight integer, breaker text, fails_fast boolean)
    where a.run_id = l.run_id and a.id = l.id
