"""What runs do to other runs, on PostgreSQL: nobody is waited for, nothing is missed, lost replies double nothing."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

import asyncpg
import pytest

from durable._internal.ids import uuid7
from durable.common import ParentClosePolicy, WorkflowIDConflictPolicy
from durable.exceptions import StoreUnavailableError
from durable.history import EventRow
from durable.store import (
    ChildStart,
    Close,
    CommitResult,
    ExternalSend,
    Message,
    NewRun,
    Reply,
    RunStatus,
    SendOutcome,
    StartOutcome,
    Transition,
    Unread,
    UpdateOutcome,
    UpdateStage,
    Verdict,
)
from durable.store.postgres import PostgresStore
from tests.store.postgres_rig import (
    Proxy,
    closing,
    commit_by,
    opened,
    register,
    start,
    step,
    until_waiting,
)

DEADLOCKS = "select deadlocks from pg_stat_database where datname = current_database()"
TERMINATE = ParentClosePolicy.TERMINATE


def reply(message_id: str) -> Reply:
    return Reply(message_id, 41, b"done", 42, b"failed")


def child(workflow_id: str | None = None, **more: Any) -> NewRun:
    run_id = uuid7()
    return NewRun(run_id, workflow_id or f"workflow-{run_id}", "t", "q", b"{}", **more)


def starting(parent: str, *children: NewRun, seq: int = 2, **more: Any) -> Transition:
    starts = tuple(ChildStart(run, reply(f"started {run.run_id}")) for run in children)
    return step(parent, seq, starts=starts, **more)


def sending(sender: str, target: str, message_id: str, seq: int = 2) -> Transition:
    send = ExternalSend(f"workflow-{target}", message_id, 2, b"{}", reply(f"reply {message_id}"))
    return step(sender, seq, sends=(send,))


def continuing(run_id: str, successor: NewRun, seq: int = 2, epoch: int = 1, **more: Any) -> Transition:
    close = Close(RunStatus.CONTINUED_AS_NEW, Unread.MOVE, successor)
    event = EventRow(seq, seq, 15, b"step %d" % seq)
    return Transition(run_id, epoch, (event,), close=close, **more)


async def verdicts(store: PostgresStore, *transitions: Transition) -> tuple[Verdict, ...]:
    return (await store.commit(transitions)).verdicts


async def patiently(store: PostgresStore, *transitions: Transition) -> None:
    """Commit until everything is written."""
    left: Sequence[Transition] = transitions
    async with asyncio.timeout(20):
        while left:
            result = await store.commit(left)
            assert set(result.verdicts) <= {Verdict.WRITTEN, Verdict.BUSY}, result.verdicts
            left = [
                one for one, verdict in zip(left, result.verdicts, strict=True) if verdict is Verdict.BUSY
            ]


async def soon(store: PostgresStore, batch: Sequence[Transition]) -> CommitResult:
    """Commit, and see that it does not wait for a lock as long as it might: that it would do each time that it is asked."""
    first: CommitResult | None = None
    for _ in range(10):
        before = time.monotonic()
        result = await store.commit(batch)
        first = first or result
        if time.monotonic() - before < 1:
            return first
    raise AssertionError("it waits each time")


async def told(store: PostgresStore, run_id: str) -> list[tuple[str, bytes]]:
    return [(message.message_id, message.data) for message in await store.read_messages([run_id])]


# --- somebody else's uncommitted run ---


async def insert(stranger: asyncpg.Connection, workflow_id: str) -> None:
    await stranger.execute(
        "insert into durable.runs (run_id, started_at, workflow_id, workflow_type, task_queue, wake_at) "
        "values (gen_random_uuid(), 0, $1, 't', 'elsewhere', 0)",
        workflow_id,
    )


@pytest.mark.parametrize("end", ["commit", "rollback"])
async def test_a_strangers_run_holds_up_only_who_wants_its_workflow_id(
    store: PostgresStore, stranger: asyncpg.Connection, end: str
) -> None:
    waiting, starter, stepper, closer = await start(store, 4)
    wanted, free, successor = child("wanted"), child(), child(f"workflow-{closer}", owner="me")
    other = child()
    transaction = stranger.transaction()
    await transaction.start()
    await insert(stranger, "wanted")
    batch = [
        starting(waiting, other, wanted),
        starting(starter, free),
        step(stepper),
        continuing(closer, successor),
    ]
    result = await soon(store, batch)
    assert result.verdicts == (Verdict.BUSY, Verdict.WRITTEN, Verdict.WRITTEN, Verdict.WRITTEN)
    assert [verdict.run_id for verdict in result.started] == [successor.run_id]
    assert await told(store, waiting) == []
    assert await store.find_run(other.workflow_id) is None
    assert await told(store, starter) == [(f"started {free.run_id}", b"done")]
    await (transaction.commit if end == "commit" else transaction.rollback)()
    assert await verdicts(store, batch[0]) == (Verdict.WRITTEN,)
    assert await told(store, waiting) == [
        (f"started {other.run_id}", b"done"),
        (f"started {wanted.run_id}", b"failed" if end == "commit" else b"done"),
    ]


async def test_many_strangers_do_not_add_up(store: PostgresStore, stranger: asyncpg.Connection) -> None:
    parents = await start(store, 30)
    children = [child(f"wanted {n}") for n in range(29)] + [child()]
    async with stranger.transaction():
        for n in range(29):
            await insert(stranger, f"wanted {n}")
        batch = [starting(parent, run) for parent, run in zip(parents, children, strict=True)]
        result = await soon(store, batch)
        assert result.verdicts == (Verdict.BUSY,) * 29 + (Verdict.WRITTEN,)


async def test_two_that_start_the_same_children_never_deadlock(
    store: PostgresStore, postgres_url: str, stranger: asyncpg.Connection
) -> None:
    chance = random.Random(7)
    async with opened(postgres_url) as other:
        for round in range(20):
            parents = await start(store, 20)

            def batch(parents: list[str], round: int = round) -> list[Transition]:
                return [starting(parent, child(f"{round}-{n}")) for n, parent in enumerate(parents)]

            first, second = batch(parents[:10]), batch(parents[10:])
            chance.shuffle(first)
            chance.shuffle(second)
            await asyncio.gather(patiently(store, *first), patiently(other, *second))
            answers = [data for parent in parents for _, data in await told(store, parent)]
            assert sorted(answers) == [b"done"] * 10 + [b"failed"] * 10
    assert await stranger.fetchval(DEADLOCKS) == 0


# --- parents and children ---


async def test_a_parent_waits_for_a_child_that_is_closing(
    store: PostgresStore, stranger: asyncpg.Connection
) -> None:
    (parent,) = await start(store)
    first = child(owner="me", parent_run_id=parent, parent_close_policy=TERMINATE)
    await store.commit([starting(parent, first)])
    second = child(first.workflow_id, parent_run_id=parent, parent_close_policy=TERMINATE)
    transaction = stranger.transaction()
    await transaction.start()
    await commit_by(stranger, store, [continuing(first.run_id, second)])
    assert await verdicts(store, closing(parent, 3)) == (Verdict.BUSY,)
    assert len(await store.read_events(parent)) == 2
    ending = asyncio.create_task(
        store.terminate(parent, lambda seq: EventRow(seq, seq, 13, b"{}"), Close(RunStatus.TERMINATED))
    )
    done, _ = await asyncio.wait([ending], timeout=0.05)
    assert not done
    await transaction.commit()
    assert await ending
    assert [id for id, _ in await told(store, second.run_id)] == ["parent-closed"]
    assert [record.run_id for record in await store.condemned_runs(10)] == [second.run_id]


async def test_a_child_waits_for_a_parent_that_tells_it(
    store: PostgresStore, stranger: asyncpg.Connection
) -> None:
    (parent,) = await start(store)
    first = child(owner="me", parent_run_id=parent, parent_close_policy=TERMINATE)
    await store.commit([starting(parent, first)])
    second = child(first.workflow_id, parent_run_id=parent, parent_close_policy=TERMINATE)
    transaction = stranger.transaction()
    await transaction.start()
    await commit_by(stranger, store, [closing(parent, 3)])
    assert await verdicts(store, continuing(first.run_id, second)) == (Verdict.BUSY,)
    assert await verdicts(store, step(first.run_id)) == (Verdict.WRITTEN,)
    await transaction.commit()
    assert await verdicts(store, continuing(first.run_id, second, 3)) == (Verdict.WRITTEN,)
    assert [id for id, _ in await told(store, second.run_id)] == ["parent-closed"]


async def test_families_that_close_all_at_once_miss_nobody_and_never_deadlock(
    store: PostgresStore, postgres_url: str, stranger: asyncpg.Connection
) -> None:
    """Parents close and are terminated, while their children close, continue, and tell them."""
    chance = random.Random(42)
    heirs: list[str] = []
    async with opened(postgres_url) as two, opened(postgres_url) as three:
        for _ in range(15):
            parents = await start(store, 6)
            families = {
                parent: [
                    child(owner="me", parent_run_id=parent, parent_close_policy=TERMINATE) for _ in range(3)
                ]
                for parent in parents
            }
            await store.commit([starting(parent, *family) for parent, family in families.items()])
            endings: list[Transition] = []
            for parent, family in families.items():
                for run in family:
                    news = (Message(parent, f"closed {run.run_id}", 43, b"", internal=True),)
                    if chance.random() < 0.5:
                        heir = child(run.workflow_id, parent_run_id=parent, parent_close_policy=TERMINATE)
                        heirs.append(heir.run_id)
                        endings.append(continuing(run.run_id, heir))
                    else:
                        endings.append(closing(run.run_id, messages=news))
            chance.shuffle(endings)
            await asyncio.gather(
                patiently(store, *[closing(parent, 3) for parent in parents[:4]]),
                *(
                    three.terminate(
                        parent, lambda seq: EventRow(seq, seq, 13, b"{}"), Close(RunStatus.TERMINATED)
                    )
                    for parent in parents[4:]
                ),
                patiently(two, *endings),
            )
    assert len(heirs) > 50
    messages = await store.read_messages(heirs)
    assert sorted(message.run_id for message in messages) == sorted(heirs)
    assert {message.message_id for message in messages} == {"parent-closed"}
    assert await stranger.fetchval("select count(*) from durable.inbox") == len(heirs)
    assert await stranger.fetchval(DEADLOCKS) == 0


# --- senders ---


async def test_a_sender_is_busy_while_the_receiver_closes(
    store: PostgresStore, stranger: asyncpg.Connection
) -> None:
    sender, target, other = await start(store, 3)
    successor = child(f"workflow-{target}")
    transaction = stranger.transaction()
    await transaction.start()
    await commit_by(stranger, store, [continuing(target, successor)])
    assert await verdicts(store, sending(sender, target, "m"), step(other)) == (
        Verdict.BUSY,
        Verdict.WRITTEN,
    )
    await transaction.commit()
    assert await verdicts(store, sending(sender, target, "m")) == (Verdict.WRITTEN,)
    assert await told(store, successor.run_id) == [("m", b"{}")]
    assert await told(store, sender) == [("reply m", b"done")]


async def test_two_busy_senders_do_not_keep_a_run_from_closing(
    store: PostgresStore, postgres_url: str
) -> None:
    """Two refusals, then it holds messages back, and closes with all it was sent; whatever came later was told so."""
    async with opened(postgres_url) as other:
        for _ in range(10):
            run, sender = await start(store, 2)
            accepted: set[str] = set()
            closed = asyncio.Event()

            async def send(
                run: str = run, closed: asyncio.Event = closed, accepted: set[str] = accepted
            ) -> None:
                while not closed.is_set():
                    (outcome,) = await other.send([Message(run, id := uuid7(), 2, b"")])
                    if outcome is SendOutcome.SENT:
                        accepted.add(id)
                    else:
                        assert outcome in (SendOutcome.HELD_BACK, SendOutcome.CLOSED)
                        await asyncio.sleep(0.001)

            async def signal(
                run: str = run,
                sender: str = sender,
                closed: asyncio.Event = closed,
                accepted: set[str] = accepted,
            ) -> None:
                seq = 2
                while not closed.is_set():
                    (verdict,) = await verdicts(other, sending(sender, run, f"m{seq}", seq))
                    if verdict is not Verdict.WRITTEN:
                        await asyncio.sleep(0.001)
                        continue
                    if (await told(other, sender))[-1] == (f"reply m{seq}", b"done"):
                        accepted.add(f"m{seq}")
                    seq += 1

            async def close(run: str = run, closed: asyncio.Event = closed) -> tuple[int, set[str]]:
                refused = 0
                while True:
                    read = await store.read_messages([run])
                    consumed = tuple(message.position for message in read)
                    (verdict,) = await verdicts(store, closing(run, consumed=consumed))
                    if verdict is Verdict.WRITTEN:
                        closed.set()
                        return refused, {message.message_id for message in read}
                    if verdict is Verdict.REFUSED:
                        refused += 1
                        if refused == 2:
                            hold = Transition(run, 1, hold_back=1_000_000)
                            assert await verdicts(store, hold) == (Verdict.WRITTEN,)

            async with asyncio.timeout(20):
                (refused, read), *_ = await asyncio.gather(close(), send(), send(), signal())
            assert read == accepted
            assert (
                refused <= 4
            )  # of those that were on their way when it began to hold back, each may be met once


async def test_an_update_sent_again_waits_for_the_step_that_reads_it(
    store: PostgresStore, stranger: asyncpg.Connection
) -> None:
    (run,) = await start(store)
    update = Message(run, "u", 60, b"{}")
    await store.send([update])
    (unread,) = await store.read_messages([run])
    rejected = UpdateOutcome("u", UpdateStage.COMPLETED, b"no")
    transaction = stranger.transaction()
    await transaction.start()
    await commit_by(stranger, store, [step(run, consumed=(unread.position,), outcomes=(rejected,))])
    again = asyncio.create_task(store.send([update]))
    content = child(f"workflow-{run}", conflict=WorkflowIDConflictPolicy.USE_EXISTING, messages=(update,))
    starting = asyncio.create_task(store.create_runs([content]))
    await until_waiting(stranger)
    await transaction.commit()
    assert await again == [SendOutcome.REPEATED]
    assert [verdict.outcome for verdict in await starting] == [StartOutcome.USED_EXISTING]
    assert await store.read_messages([run]) == []


# --- lost replies ---


@pytest.mark.parametrize("cut", ["before the request", "behind the request", "before the reply"])
async def test_a_reply_lost_behind_starts_and_sends_doubles_nothing(postgres_url: str, cut: str) -> None:
    async with Proxy(postgres_url) as proxy, opened(proxy.url) as store:
        await register(store, "me")
        await store.commit([starting((await start(store))[0], child())])  # both connections are there
        for _ in range(5):
            starter, sender, stepper, closer, target = await start(store, 5)
            new, heir = child(owner="me"), child(f"workflow-{closer}", owner="me")
            batch = [
                starting(starter, new),
                sending(sender, target, "m"),
                step(stepper),
                continuing(closer, heir),
            ]
            proxy.cut = cut
            with pytest.raises(StoreUnavailableError):
                await store.commit(batch)
            lengths = [len(await store.read_events(one.run_id)) for one in batch]
            # Each of the two parts is there as a whole or not at all.
            assert lengths[0] == lengths[3]
            assert lengths[1] == lengths[2]
            for _ in range(2):
                assert await verdicts(store, *batch) == (Verdict.WRITTEN,) * 4
            assert await told(store, starter) == [(f"started {new.run_id}", b"done")]
            assert await told(store, sender) == [("reply m", b"done")]
            assert await told(store, target) == [("m", b"{}")]
            for run in (new, heir):
                assert len(await store.read_events(run.run_id)) == 1
                assert (await store.owned_runs("me"))[run.run_id] == 1
        assert proxy.cuts == 5


async def test_a_cancelled_commit_of_two_parts_is_read_back_for_good(store: PostgresStore) -> None:
    chance = random.Random(11)
    for _ in range(30):
        starter, stepper = await start(store, 2)
        new = child()
        batch = [starting(starter, new), step(stepper)]
        task = asyncio.create_task(store.commit(batch))
        for _ in range(chance.randrange(15)):
            await asyncio.sleep(0)
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
        there = len(await store.read_events(starter)) == 2
        assert (await store.find_run(new.workflow_id) is not None) == there
        assert await told(store, starter) == ([(f"started {new.run_id}", b"done")] if there else [])
        assert await verdicts(store, *batch) == (Verdict.WRITTEN,) * 2
        assert await told(store, starter) == [(f"started {new.run_id}", b"done")]


async def test_a_malformed_start_does_not_undo_the_steps_beside_it(store: PostgresStore) -> None:
    starter, stepper = await start(store, 2)
    await store.commit([Transition(starter, 1, (EventRow(2, 2, 20, b"another"),))])
    with pytest.raises(ValueError, match="has an event 2 already"):
        await store.commit([starting(starter, child(), seq=2, proven=True), step(stepper)])
    assert len(await store.read_events(stepper)) == 2
    assert await verdicts(store, step(stepper)) == (Verdict.WRITTEN,)


# --- the release before ---


async def test_workers_of_the_release_before_go_on_beside_this_one(
    store: PostgresStore, stranger: asyncpg.Connection
) -> None:
    old = uuid7()
    (row,) = await stranger.fetch(
        "select * from durable.start_1(array[$1::uuid], '{w}', '{t}', '{q}', '{1}', '{3}', '{0}', '{null}', '{me}', '{1}', "
        "'{1}', array[''::bytea], array[''::bytea])",
        old,
    )
    assert row["epoch"] == 1
    nothing = ", ".join(["null"] * 35)
    commit = f"select verdicts from durable.commit_1(array[$1::uuid], '{{1}}', 0, null, '{{1}}', '{{2}}', '{{2}}', '{{20}}', array['x'::bytea], {nothing})"
    assert await stranger.fetchval(commit, old) is None
    assert await verdicts(store, sending((await start(store))[0], old, "m")) == (Verdict.WRITTEN,)
    assert await verdicts(store, step(old, 3)) == (Verdict.WRITTEN,)
    record = await store.find_run("w")
    assert record is not None
    assert (record.first_run_id, record.parent_run_id, record.history_length) == (old, None, 3)
