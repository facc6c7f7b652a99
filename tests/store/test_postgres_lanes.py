"""What waits in lanes, in tables that have grown: it is found by indexes, a few rows at a time."""

from __future__ import annotations

import asyncpg

from durable._engine.lanes import ACTIVITIES, WORKFLOWS
from durable.store import Lane, NewActivity
from durable.store.postgres import PostgresStore
from tests.store.postgres_rig import start, step

ONE = Lane("0000 key one", key="one", most=1, breaker="b")


async def test_a_crowd_under_one_key_costs_others_nothing(
    store: PostgresStore, stranger: asyncpg.Connection
) -> None:
    runs = await start(store, 5)
    waiting = (NewActivity(1, "a", "q", b"", 0, lane=ONE), NewActivity(2, "a", "q", b"", 0))
    await store.commit([step(run, activities=waiting) for run in runs])
    await start(store, 5, owner=None, lane=ONE)

    async def rows_read() -> dict[str, int]:
        """So far, by table; what was read before this transaction may be in it, or not."""
        found = await stranger.fetch(
            "select relname, seq_tup_read + coalesce(idx_tup_fetch, 0) as rows from pg_stat_xact_user_tables "
            "where relname in ('runs', 'run_data', 'activity_tasks')"
        )
        return {row["relname"]: row["rows"] for row in found}

    async def work() -> int:
        """How many rows of a table are read, at most."""
        transaction = stranger.transaction()
        await transaction.start()
        before = await rows_read()
        claimed = await stranger.fetch(store._sql["claim_activities"], "me", ["q"], ["a"], 20, 1, "")
        assert len(claimed) == 6, "one of the key, and all without"
        runs = await stranger.fetch(store._sql["claim_runs"], "me", ["q"], ["t"], 20, 1, 0, 1, "")
        assert len(runs) == 1
        await stranger.fetch(store._sql["next_wake"], ["q", "\x1fq"], 0)
        await stranger.fetch(store._sql["sweep_keys"], 100)
        after = await rows_read()
        await transaction.rollback()
        return max(after[table] - before[table] for table in after)

    for _ in range(7):  # until the plans for next to nothing are the ones that are kept
        await work()
    await stranger.execute("""
        alter table durable.runs set (autovacuum_enabled = off);
        alter table durable.activity_tasks set (autovacuum_enabled = off);
        insert into durable.activity_tasks (run_id, id, due_at, scheduled_at, state, activity_type, task_queue,
                scheduled, progress, lane, share, limit_key, limit_most, limit_weight, breaker)
            select a.run_id, 100 + n, 9000000 + n, 0, 1, 'a', chr(31) || 'q', '', '', a.lane, 1, 'one', 1, 1, 'b'
            from generate_series(1, 30000) n, (select * from durable.activity_tasks where lane is not null limit 1) a;
        insert into durable.runs (run_id, started_at, workflow_id, workflow_type, task_queue, hold, gate, gate_at,
                lane, share, limit_key, limit_most, limit_weight)
            select gen_random_uuid(), 0, 'waits ' || n, 't', 'q', 1, 1, 9000000000000000 + n, '0000 key one', 1, 'one', 1, 1
            from generate_series(1, 30000) n;
        insert into durable.run_data (run_id, info) select run_id, '' from durable.runs on conflict do nothing""")
    assert await work() < 1000
    await stranger.execute("analyze")
    assert await work() < 1000
    for kind in (ACTIVITIES, WORKFLOWS):
        known = await store.read_key(kind, "one")
        assert (known.most, known.running, known.waiting) == (1, 0, 10_000)
