-- What runs are listed, counted and found by.
--
-- Everything here only adds: workers of the release before go on beside it, and their runs have no attributes to be found by.

-- What is known of a run beside its row, null where it is the run itself or its start. A parent may be purged before its
-- child, so its workflow id is kept here.
alter table durable.runs
    add column execution_at bigint,
    add column parent_workflow_id text collate "C",
    add column root_workflow_id text collate "C",
    add column root_run_id uuid;

-- The order of a list without ORDER BY; run ids make it total. Read backwards.
create index runs_started on durable.runs (started_at, run_id);
create index runs_parent_workflow on durable.runs (parent_workflow_id) where parent_workflow_id is not null;

-- One name, one type: whoever writes an attribute first decides. Written ahead of what uses it, in a transaction of its own,
-- so that nobody waits for a stranger there; a type never changes. A value of another type is not indexed.
create table durable.search_attribute_types (
    name text collate "C" primary key,
    type smallint not null check (type between 1 and 7)
);

-- One row for a value, for each word of a Text and for each keyword of a KeywordList. Written with the start and with an
-- upsert (the rows of a name are replaced), never by another step; deleted with the run.
create table durable.search_attributes (
    run_id uuid not null,
    position integer not null default 0 check (position >= 0),
    name text collate "C" not null,
    text_value text collate "C",
    int_value bigint,
    float_value double precision,
    primary key (run_id, name, position),
    check (num_nonnulls(text_value, int_value, float_value) = 1)
) with (autovacuum_vacuum_insert_scale_factor = 0.05, autovacuum_analyze_scale_factor = 0.05);

-- Each finds by equality, range, beginning and membership; the run id makes it an index-only scan.
create index search_attributes_text on durable.search_attributes (name, text_value, run_id)
    where text_value is not null;
create index search_attributes_int on durable.search_attributes (name, int_value, run_id)
    where int_value is not null;
create index search_attributes_float on durable.search_attributes (name, float_value, run_id)
    where float_value is not null;

-- Bring what runs are found by up to date: for each run the names whose rows go (`drop`), and the rows that come (`rows`).
create function durable.index_runs_2(p_run uuid[], p_rows jsonb[]) returns void
language plpgsql volatile
as $$
begin
    delete from durable.search_attributes a
        using unnest(p_run, p_rows) t (run_id, rows)
        cross join lateral jsonb_array_elements_text(t.rows -> 'drop') n (name)
        where a.run_id = t.run_id and a.name = n.name;
    insert into durable.search_attributes (run_id, name, position, text_value, int_value, float_value)
        select t.run_id, v.name, v.position, v.text_value, v.int_value, v.float_value
        from unnest(p_run, p_rows) t (run_id, rows)
        cross join lateral jsonb_to_recordset(t.rows -> 'rows') v (
            name text, position integer, text_value text, int_value bigint, float_value double precision)
        on conflict do nothing;
    -- And where new ones wait that do not wait with their queue; the successor of one that has begun has begun.
    update durable.runs r set gate = case when l.admitted then 2 else 1 end,
            lane = l.lane, share = l.share, limit_key = l.limit_key, limit_most = l.limit_most,
            limit_weight = l.limit_weight,
            gate_at = case when not l.admitted then r.wake_at end,
            hold = case when l.admitted then r.hold else 1 end,
            wake_at = case when l.admitted then r.wake_at end
        from unnest(p_run, p_rows) t (run_id, rows)
        cross join lateral jsonb_to_record(t.rows -> 'lane') l (lane text, share real, limit_key text,
            limit_most integer, limit_weight integer, admitted boolean)
        where t.rows ? 'lane' and r.run_id = t.run_id and r.gate is null and r.closed_at is null
            and (l.admitted or r.owner is null);
end $$;
