-- On connections of callers: one text goes in, one comes out, so that every driver can do it.

-- name: look
-- Nothing here fails where the namespace is unknown: it would end the transaction of somebody who is in the wrong database.
select json_build_object(
    'database', (select d.oid::text from pg_catalog.pg_database d where d.datname = current_database()),
    'system', (select c.system_identifier::text from pg_catalog.pg_control_system() c),
    'name', current_database(),
    'there', exists (
        select from pg_catalog.pg_proc p join pg_catalog.pg_namespace n on n.oid = p.pronamespace
        where p.proname = 'caller_send_2' and n.nspname = cast($1 as text) and has_schema_privilege(n.oid, 'usage')),
    'isolation', current_setting('transaction_isolation'),
    'read_only', current_setting('transaction_read_only') = 'on',
    'transaction', case when current_setting('transaction_read_only') = 'off' and not pg_is_in_recovery()
        then pg_current_xact_id()::text end)::text

-- name: caller_start
select durable.caller_start_2(cast($1 as text))

-- name: caller_send
select durable.caller_send_2(cast($1 as text))

-- name: caller_types
select durable.caller_types_2(cast($1 as text))
