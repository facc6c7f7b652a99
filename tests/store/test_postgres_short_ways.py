"""The short ways of commits and starts on PostgreSQL: taken for what is common, left to the long ones for what is not."""

from __future__ import annotations

import random
import re
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import asyncpg
import pytest
from msgspec.structs import replace

from durable._internal.ids import uuid7
from durable._internal.instants import SECOND
from durable.common import ParentClosePolicy, WorkflowIDConflictPolicy, WorkflowIDReusePolicy
from durable.store import (
    Close,
    Message,
    NewActivity,
    NewRun,
    RunStatus,
    StartOutcome,
    Transition,
    Unread,
    UpdateOutcome,
    UpdateStage,
    Verdict,
)
from durable.store.postgres import PostgresStore
from durable.store.postgres._pack import pack, pack_steps
from durable.store.postgres._runs import pack_plain, pack_starts
from durable.store.postgres._session import Row, Session
from tests.store.postgres_rig import closing, commit_by, opened, register, start, step

W, R, B = Verdict.WRITTEN, Verdict.REFUSED, Verdict.BUSY


@pytest.fixture
def called(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The functions of the schema that were called by name."""
    names: list[str] = []
    for method in ("fetch", "fetch_often"):
        real = getattr(Session, method)

        async def fetch(session: Session, sql: str, args: Sequence[Any] = (), real: Any = real) -> list[Row]:
            names.extend(re.findall(r"\.((?:append|commit|start)_\d)\(", sql))
            rows: list[Row] = await real(session, sql, args)
            return rows

        monkeypatch.setattr(Session, method, fetch)
    return names


async def test_steps_and_ends_go_the_short_way(store: PostgresStore, called: list[str]) -> None:
    ends, goes_on = await start(store, 2)
    assert called.pop() == "start_3"
    assert (await store.commit([closing(ends), step(goes_on)])).verdicts == (W, W)
    assert (await store.commit([step(goes_on, 3)])).verdicts == (W,)
    assert called == ["append_3"] * 2
    found = {run: await store.find_run(f"workflow-{run}") for run in (ends, goes_on)}
    ended, going = found[ends], found[goes_on]
    assert ended is not None
    assert going is not None
    assert (ended.status, ended.owner, ended.history_length) == (RunStatus.COMPLETED, None, 2)
    assert (going.status, going.owner, going.history_length) == (RunStatus.RUNNING, "me", 3)
    times = [event.time for run in (ends, goes_on) for event in await store.read_events(run)]
    assert ended.closed_at == times[1] == times[3]


async def unread(store: PostgresStore, run: str) -> None:
    await store.send([Message(run, "m", 2, b"")])


async def an_activity(store: PostgresStore, run: str) -> None:
    await store.commit([step(run, activities=(NewActivity(2, "a", "q", b"", scheduled_at=1),))])


async def an_update(store: PostgresStore, run: str) -> None:
    accepted = UpdateOutcome("u", UpdateStage.ACCEPTED, b"")
    await store.commit([step(run, outcomes=(accepted,))])


async def a_child(store: PostgresStore, run: str) -> None:
    child = NewRun(
        uuid7(),
        "child",
        "t",
        "q",
        b"{}",
        parent_run_id=run,
        parent_close_policy=ParentClosePolicy.TERMINATE,
    )
    assert [one.outcome for one in await store.create_runs([child])] == [StartOutcome.STARTED]


async def test_the_first_step_of_a_run_that_others_started_goes_the_short_way(
    store: PostgresStore, postgres_url: str, called: list[str]
) -> None:
    async with opened(postgres_url) as other:
        await register(other, "other")
        for _ in range(2):
            (run,) = await start(store, owner=None)
            (claimed,) = await other.claim_runs("other", ["q"], None, 1, format=1)
            called.clear()
            assert (await other.commit([closing(run, not_before=claimed.events[-1].time)])).verdicts == (W,)
            assert called == ["append_3"]


async def test_a_time_that_is_to_come_is_that_of_its_own_run(
    store: PostgresStore, stranger: asyncpg.Connection, called: list[str]
) -> None:
    one, other = await start(store, 2)
    now: int = await stranger.fetchval("select durable.now_us()")
    called.clear()
    await store.commit([step(one, not_before=now), step(other)])
    assert called == ["append_3"]
    ahead = now + 3600 * SECOND
    await store.commit([step(one, 3, not_before=ahead), step(other, 3)])
    assert called == ["append_3", "append_3", "commit_3"]
    assert [(await store.read_events(run))[-1].time == ahead for run in (one, other)] == [True, False]


async def test_an_end_reads_nothing_of_what_others_have_left(
    store: PostgresStore, stranger: asyncpg.Connection
) -> None:
    """However little there was when it was planned."""
    first, last = await start(store, 2)
    await commit_by(stranger, store, [closing(first)])
    async with stranger.transaction():
        await stranger.execute(
            """
            insert into durable.runs (run_id, workflow_id, workflow_type, task_queue, started_at, owner, parent_run_id,
                    parent_close_policy)
                select gen_random_uuid(), 'child-' || i, 't', 'q', 1, 'me', gen_random_uuid(), 1
                from generate_series(1, 500) i;
            insert into durable.inbox (run_id, type, internal, task_queue, message_id, data)
                select gen_random_uuid(), 2, false, 'q', '', '' from generate_series(1, 500);
            insert into durable.activity_tasks (run_id, id, activity_type, task_queue, state, due_at, scheduled_at, scheduled,
                    progress)
                select gen_random_uuid(), 1, 'a', 'q', 1, 1, 1, '', '' from generate_series(1, 500);
            insert into durable.update_outcomes (run_id, message_id, stage, data)
                select gen_random_uuid(), '', 2, '' from generate_series(1, 500);
            """
        )
        read = "select sum(coalesce(seq_tup_read, 0) + coalesce(idx_tup_fetch, 0))::integer from pg_stat_xact_user_tables"
        before: int = await stranger.fetchval(read)
        await commit_by(stranger, store, [closing(last)])
        assert await stranger.fetchval(read) - before < 20


Left = Callable[[PostgresStore, str], Awaitable[None]]


@pytest.mark.parametrize(
    ("left", "verdict"),
    [(unread, R), (an_activity, W), (an_update, W), (a_child, W)],
    ids=lambda x: getattr(x, "__name__", x),
)
async def test_a_run_that_leaves_something_is_closed_on_the_long_way(
    store: PostgresStore, called: list[str], left: Left, verdict: Verdict
) -> None:
    one, other = await start(store, 2)
    await left(store, one)
    length = len(await store.read_events(one))
    called.clear()
    assert (await store.commit([closing(one, length + 1), step(other)])).verdicts == (verdict, W)
    assert called == ["append_3", "commit_3"]
    assert len(await store.read_events(other)) == 2
    assert len(await store.read_events(one)) == length + (verdict is W)
    assert await store.read_activities(one) == []
    child = await store.find_run("child")
    told = [] if child is None else await store.read_messages([child.run_id])
    assert [message.message_id for message in told] == (["parent-closed"] if left is a_child else [])


async def test_a_batch_of_which_a_run_is_not_ours_is_judged_on_the_long_way(
    store: PostgresStore, stranger: asyncpg.Connection, called: list[str]
) -> None:
    runs = await start(store, 3)
    called.clear()
    lost = step(runs[0], epoch=7)
    assert (await store.commit([lost, step(runs[1])])).verdicts == (Verdict.LOST, W)
    assert called == ["append_3", "commit_3"]
    async with stranger.transaction():
        await commit_by(stranger, store, [step(runs[2])])
        assert (await store.commit([closing(runs[2]), step(runs[1], 3)])).verdicts == (B, W)
    assert [len(await store.read_events(run)) for run in runs] == [1, 3, 2]


TABLES = "runs", "run_data", "events", "inbox", "activity_tasks", "update_outcomes"


async def all_there_is(connection: asyncpg.Connection, began: int) -> dict[str, list[str]]:
    """All rows, with minutes since the test began for instants."""
    there: dict[str, list[str]] = {}
    for table in TABLES:
        rows = await connection.fetch(
            f"select (to_jsonb(t) - 'position')::text from durable.{table} t order by 1"
        )
        there[table] = [
            re.sub(r"\b\d{16}\b", lambda at: str((int(at[0]) - began) // (60 * SECOND)), row[0])
            for row in rows
        ]
    return there


async def lives(connection: asyncpg.Connection, run: str, chance: random.Random) -> None:
    """Something may happen to a run, or be there beside it."""
    for sql in (
        "update durable.runs set status = 2, closed_at = 1, owner = null where run_id = $1",
        "update durable.runs set epoch = 2 where run_id = $1",
        "update durable.runs set hold = 3, deaths = 1 where run_id = $1",
        "update durable.runs set held_back_until = 9e15 where run_id = $1",
        "update durable.run_data set reason = 'r' where run_id = $1",
        "insert into durable.inbox (run_id, type, internal, task_queue, message_id, data) "
        "values ($1, 2, true, 'q', 'm', '')",
        "insert into durable.inbox (run_id, type, internal, task_queue, message_id, data) "
        "values ($1, 2, false, 'q', 'n', '')",
        "insert into durable.activity_tasks (run_id, id, activity_type, task_queue, state, due_at, scheduled_at, "
        "scheduled, progress) values ($1, 1, 'a', 'q', 1, 1, 1, '', '')",
        "insert into durable.update_outcomes (run_id, message_id, stage, data) values ($1, 'u', 2, '')",
        "insert into durable.update_outcomes (run_id, message_id, stage, data) values ($1, 'v', 3, '')",
        *(
            "insert into durable.runs (run_id, workflow_id, workflow_type, task_queue, started_at, parent_run_id, "
            f"parent_close_policy) values (gen_random_uuid(), $1::uuid::text || '{policy}', 't', 'q', 1, $1, {policy})"
            for policy in ("1", "3", "null")
        ),
    ):
        if chance.random() < 0.04:
            await connection.execute(sql, run)


Way = tuple[list[asyncpg.Record], dict[str, list[str]], dict[str, list[str]]]


async def gone(connection: asyncpg.Connection, began: int, sql: str, args: Sequence[Any]) -> Way:
    """What a call answers, and all rows before and behind it; it is undone."""
    way = connection.transaction()
    await way.start()
    before = await all_there_is(connection, began)
    answers = await connection.fetch(sql, *args)
    behind = await all_there_is(connection, began)
    await way.rollback()
    return answers, before, behind


def any_transition(run: str, began: int, chance: random.Random) -> Transition:
    not_before = chance.choice((0, began, began, began, began + 3600 * SECOND))
    some = chance.choice((step, step, closing))(run, not_before=not_before)
    if some.close is not None:
        status = chance.choice((RunStatus.COMPLETED, RunStatus.FAILED))
        lost = chance.choice((b"", b"lost"))
        some = replace(some, close=Close(status, chance.choice(list(Unread)), update_lost=lost))
    return replace(some, events=()) if chance.random() < 0.1 else some


async def test_whatever_the_short_way_writes_the_long_one_would(
    store: PostgresStore, stranger: asyncpg.Connection
) -> None:
    chance = random.Random(36)
    runs = await start(store, 6)
    began: int = await stranger.fetchval("select durable.now_us()")
    taken = 0
    for _ in range(150):
        batch = [any_transition(run, began, chance) for run in sorted(chance.sample(runs, 3))]
        batch.sort(key=lambda one: one.close is not None)
        steps, args = pack_steps(batch), pack(batch, began, {})
        assert steps is not None
        scene = stranger.transaction()
        await scene.start()
        for run in runs:
            await lives(stranger, run, chance)
        (answer,), before, behind = await gone(stranger, began, store._sql["append"], steps)
        if answer["now"] is None:
            assert behind == before
        else:
            taken += 1
            (long,), _, there = await gone(stranger, began, store._statements[len(args)], args)
            assert (long["verdicts"], long["started"], there) == (None, None, behind)
        await scene.rollback()
    assert 30 < taken < 120


async def test_whatever_the_short_way_starts_the_long_one_would(
    store: PostgresStore, stranger: asyncpg.Connection
) -> None:
    chance = random.Random(37)
    began: int = await stranger.fetchval("select durable.now_us()")
    there = await start(store, 2)
    taken = 0
    for _ in range(60):
        owner = chance.choice((None, "me", "nobody"))
        runs = [
            NewRun(
                there[0] if chance.random() < 0.05 else uuid7(),
                f"workflow-{there[1]}" if chance.random() < 0.05 else chance.choice("abcdefghijklmnop"),
                chance.choice("tu"),
                chance.choice("qr"),
                b"started",
                b"info",
                format=chance.choice((1, 2)),
                priority=chance.choice((1, 5)),
                run_timeout=chance.choice((None, 7200 * SECOND)),
                owner=owner,
                conflict=chance.choice(list(WorkflowIDConflictPolicy)),
            )
            for _ in range(3)
        ]
        plain = pack_plain(runs)
        assert plain is not None
        ((now,),), before, behind = await gone(stranger, began, store._sql["create_plain_runs"], plain)
        answers, _, would = await gone(stranger, began, store._sql["create_runs"], pack_starts(runs, {}))
        told = [(answer["outcome"], answer["epoch"]) for answer in answers]
        if now is None:
            assert behind == before
            assert told != [(StartOutcome.STARTED, int(owner is not None))] * 3
        else:
            taken += 1
            assert behind == would
            assert told == [(StartOutcome.STARTED, int(owner is not None))] * 3
    assert 15 < taken < 55


@pytest.mark.parametrize("more", [{}, {"reuse": WorkflowIDReusePolicy.REJECT_DUPLICATE}], ids=["any", "new"])
async def test_a_workflow_id_that_is_taken_sends_all_starts_the_long_way(
    store: PostgresStore, called: list[str], more: dict[str, Any]
) -> None:
    def new(workflow_id: str) -> NewRun:
        return NewRun(uuid7(), workflow_id, "t", "q", b"{}", owner="me", **more)

    first, same = new("a"), new("b")
    await store.create_runs([first])
    called.clear()
    answers = await store.create_runs([same, new("a"), same])
    assert [answer.outcome for answer in answers] == [
        StartOutcome.STARTED,
        StartOutcome.REJECTED,
        StartOutcome.SAME,
    ]
    assert answers[1].run_id == first.run_id
    assert called == (["start_2"] if more else ["start_3", "start_2"])
    assert len(await store.read_events(same.run_id)) == 1


async def test_nobody_owns_what_is_started_for_a_worker_whose_lease_is_over(
    store: PostgresStore, called: list[str]
) -> None:
    run = NewRun(uuid7(), "w", "t", "q", b"{}", owner="nobody")
    (answer,) = await store.create_runs([run])
    assert (answer.outcome, answer.epoch) == (StartOutcome.STARTED, 0)
    assert called == ["start_3", "start_2"]
    found = await store.find_run("w")
    assert found is not None
    assert found.owner is None
    assert found.wake_at == found.started_at
