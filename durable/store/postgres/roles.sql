-- The roles of a namespace, each with what it needs and no more. Run by `durable migrate roles`, again after every migration;
-- doing it twice is doing it once. No role here can log in: grant one to those that do.
--
--   durable_owner    owns the schema and all in it; migrations run as it
--   durable_runtime  workers, and clients of programs: no history is changed or removed, and no table either
--   durable_ui_ro    looks: lists, histories, payloads as they are stored
--   durable_ui_rw    looks, and does what a client does (start, signal, cancel, terminate, reset); cannot be a worker
--   durable_janitor  removes closed runs and old entries of the operators' log; grant it beside durable_runtime
--
-- Functions run with the rights of whoever calls them, but for one: `begin_2` moves the time of a first event on, that of a run
-- which was started in somebody's transaction, and nobody may change events.

do $$
declare
    v_role text;
begin
    foreach v_role in array array['durable_owner', 'durable_runtime', 'durable_ui_ro', 'durable_ui_rw', 'durable_janitor'] loop
        if not exists (select from pg_catalog.pg_roles where rolname = v_role) then
            execute format('create role %I nologin', v_role);
        end if;
    end loop;
    if not pg_catalog.pg_has_role(current_user, 'durable_owner', 'usage') then
        execute format('grant durable_owner to %I', current_user);
    end if;
    execute format('grant connect, create on database %I to durable_owner', current_database());
end $$;

alter schema "durable" owner to durable_owner;

do $$
declare
    v_name text;
    v_language text;
begin
    for v_name in
        select c.oid::regclass::text from pg_catalog.pg_class c join pg_catalog.pg_namespace n on n.oid = c.relnamespace
        where n.nspname = 'durable' and c.relkind = 'r'
    loop
        execute format('alter table %s owner to durable_owner', v_name);
    end loop;
    for v_name, v_language in
        select p.oid::regprocedure::text, l.lanname from pg_catalog.pg_proc p
        join pg_catalog.pg_namespace n on n.oid = p.pronamespace join pg_catalog.pg_language l on l.oid = p.prolang
        where n.nspname = 'durable'
    loop
        execute format('alter function %s owner to durable_owner', v_name);
        execute format('revoke all on function %s from public, durable_runtime, durable_ui_ro, durable_ui_rw, durable_janitor',
            v_name);
        -- A function of SQL that is pinned is no longer taken into the query around it; and those are called by what is pinned.
        if v_language = 'plpgsql' then
            execute format('alter function %s set search_path = pg_catalog, pg_temp', v_name);
        end if;
    end loop;
end $$;

alter function durable.begin_2(uuid[]) security definer;

revoke all on schema "durable" from public;
revoke all on all tables in schema "durable" from public, durable_runtime, durable_ui_ro, durable_ui_rw, durable_janitor;
grant usage on schema "durable" to durable_runtime, durable_ui_ro, durable_ui_rw, durable_janitor;
grant select on all tables in schema "durable" to durable_runtime, durable_ui_ro, durable_ui_rw, durable_janitor;

grant insert, update, delete on all tables in schema "durable" to durable_runtime, durable_ui_rw;
revoke insert, update, delete on durable.schema_version from durable_runtime, durable_ui_rw;
revoke update, delete on durable.events, durable.operator_log from durable_runtime, durable_ui_rw;
revoke delete on durable.run_data, durable.batches, durable.deployments from durable_runtime, durable_ui_rw;
revoke insert, update, delete on durable.workers, durable.transactions, durable.breakers from durable_ui_rw;

grant update, delete on durable.runs to durable_janitor;
grant delete on durable.run_data, durable.events, durable.inbox, durable.activity_tasks, durable.queries, durable.update_outcomes,
    durable.search_attributes, durable.operator_log, durable.batches, durable.batch_runs to durable_janitor;
grant insert on durable.operator_log, durable.batches, durable.batch_runs to durable_janitor;
grant update on durable.batches to durable_janitor;

do $$
declare
    v_function text;
    v_name text;
    v_removes boolean;
begin
    for v_function, v_name, v_removes in
        select p.oid::regprocedure::text, p.proname, p.proname ~ '^(purge|take_retention|retire)_[0-9]+$' from pg_catalog.pg_proc p
        join pg_catalog.pg_namespace n on n.oid = p.pronamespace where n.nspname = 'durable'
    loop
        execute format('grant execute on function %s to durable_janitor', v_function);
        if not v_removes then
            execute format('grant execute on function %s to durable_runtime, durable_ui_rw', v_function);
        end if;
        if v_name ~ '^(now_us|ramp_of|(lockers|(key|workflow|activity)_(limit|running|waiting|in_use)|breaker_room)_[0-9]+)$' then
            execute format('grant execute on function %s to durable_ui_ro', v_function);
        end if;
    end loop;
    -- Whoever may remove runs by age finds its tables in the releases that have them.
    if to_regclass('durable.retention_turn') is not null then
        grant insert, update, delete on durable.retention_turn, durable.retention_rest to durable_janitor;
    end if;
end $$;
