"""What only PostgreSQL can do wrong: locks, lost replies, killed sessions, poolers, plans.

What every store promises is in `durable.testing.conformance`. Nothing here sleeps: a test waits until the server says
that somebody waits for a lock, that a session is gone, and so on.
"""

from __future__ import annotations

import asyncio
import logging
import random
import threading
from collections import Counter
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import asyncpg
import pytest

from durable._internal.ids import uuid7
from durable.common import WorkflowIDReusePolicy
from durable.exceptions import SchemaError, StoreConfigurationError, StoreUnavailableError
from durable.history import EventRow
from durable.store import (
    ANY_KEY,
    RECENT,
    AttemptOutcome,
    Close,
    Hint,
    HintKind,
    Message,
    NewActivity,
    NewRun,
    Release,
    RunStatus,
    SendOutcome,
    StartOutcome,
    Transition,
    Verdict,
    WorkerRecord,
    _migrate,
    postgres,
)
from durable.store import postgres as adapter
from durable.store.postgres import PostgresStore
from durable.store.postgres._pack import pack
from tests._postgres import PostgresServer

LEASE = 3_600_000_000
PATIENCE = 20.0


@asynccontextmanager
async def opened(url: str, **options: Any) -> AsyncGenerator[PostgresStore]:
    store = await postgres.open(url, **options)
    try:
        yield store
    finally:
        await store.aclose()


@asynccontextmanager
async def connected(url: str) -> AsyncGenerator[asyncpg.Connection]:
    connection = await asyncpg.connect(url)
    try:
        yield connection
    finally:
        connection.terminate()


@pytest.fixture
async def store(postgres_url: str) -> AsyncIterator[PostgresStore]:
    async with opened(postgres_url) as store:
        await register(store, "me")
        yield store


@pytest.fixture
async def stranger(postgres_url: str) -> AsyncIterator[asyncpg.Connection]:
    """Somebody else's session."""
    async with connected(postgres_url) as connection:
        yield connection


async def register(store: PostgresStore, worker: str) -> None:
    await store.register_worker(WorkerRecord(worker, worker, ("q",), LEASE, 0, False, False))


async def start(store: PostgresStore, count: int = 1, owner: str | None = "me", **more: Any) -> list[str]:
    runs = [
        NewRun(run_id, f"workflow-{run_id}", "t", "q", b"{}", owner=owner, **more)
        for run_id in sorted(uuid7() for _ in range(count))
    ]
    verdicts = await store.create_runs(runs)
    assert {verdict.outcome for verdict in verdicts} <= {StartOutcome.STARTED}
    return [run.run_id for run in runs]


def step(run_id: str, seq: int = 2, epoch: int = 1, **more: Any) -> Transition:
    return Transition(run_id, epoch, (EventRow(seq, seq, 20, b"step %d" % seq),), **more)


def closing(run_id: str, seq: int = 2, epoch: int = 1, **more: Any) -> Transition:
    return step(run_id, seq, epoch, close=Close(RunStatus.COMPLETED), **more)


async def until(connection: asyncpg.Connection, question: str, *args: Any) -> None:
    """Return when the server answers yes."""
    async with asyncio.timeout(PATIENCE):
        while not await connection.fetchval(question, *args):
            pass


async def until_waiting(connection: asyncpg.Connection) -> None:
    """Return when some session waits for another's lock."""
    await until(
        connection,
        "select exists (select from pg_stat_activity "
        "where wait_event_type = 'Lock' and datname = current_database())",
    )


# --- locks ---


async def test_a_row_held_by_a_stranger_holds_up_that_run_only(
    store: PostgresStore, stranger: asyncpg.Connection
) -> None:
    runs = await start(store, 20)
    async with stranger.transaction():
        await stranger.execute("select from durable.runs where run_id = $1 for update", runs[7])
        result = await store.commit([step(run) for run in runs])
        assert [n for n, verdict in enumerate(result.verdicts) if verdict is not Verdict.WRITTEN] == [7]
        assert result.verdicts[7] is Verdict.BUSY
        assert len(await store.read_events(runs[7])) == 1
    assert (await store.commit([step(runs[7])])).verdicts == (Verdict.WRITTEN,)


async def test_nothing_of_a_busy_transition_is_written(
    store: PostgresStore, stranger: asyncpg.Connection
) -> None:
    busy, other = await start(store, 2)
    await store.send([Message(busy, "m", 2, b"m")])
    (message,) = await store.read_messages([busy])
    everything = step(
        busy,
        consumed=(message.position,),
        activities=(NewActivity(1, "a", "q", b"", 0),),
        messages=(Message(other, "from busy", 2, b""), Message(other, "internal", 2, b"", internal=True)),
        release=Release(reason="why"),
    )
    async with stranger.transaction():
        await stranger.execute("select from durable.runs where run_id = $1 for no key update", busy)
        assert (await store.commit([everything, step(other)])).verdicts == (Verdict.BUSY, Verdict.WRITTEN)
    assert await store.read_messages([busy, other]) == [message]
    assert await store.read_activities(busy) == []
    assert busy in await store.owned_runs("me")


async def test_the_target_of_a_message_is_not_waited_for(
    store: PostgresStore, stranger: asyncpg.Connection
) -> None:
    sender, target = await start(store, 2)
    transition = step(sender, messages=(Message(target, "m", 2, b""),))
    async with stranger.transaction():
        await stranger.execute("select from durable.runs where run_id = $1 for update", target)
        assert (await store.commit([transition])).verdicts == (Verdict.BUSY,)
    assert (await store.commit([transition])).verdicts == (Verdict.WRITTEN,)


async def test_an_activity_row_is_not_waited_for(store: PostgresStore, stranger: asyncpg.Connection) -> None:
    (run,) = await start(store)
    await store.commit([step(run, activities=(NewActivity(1, "a", "q", b"", 0),))])
    async with stranger.transaction():
        await stranger.execute("select from durable.activity_tasks for update")
        assert (await store.commit([step(run, 3, activities_done=(1,))])).verdicts == (Verdict.BUSY,)
        assert (await store.commit([step(run, 3, activities_canceled=(1,))])).verdicts == (Verdict.BUSY,)
        assert (await store.commit([closing(run, 3)])).verdicts == (Verdict.BUSY,)
        assert (await store.commit([step(run, 3)])).verdicts == (Verdict.WRITTEN,)
    assert (await store.commit([closing(run, 4)])).verdicts == (Verdict.WRITTEN,)
    assert await store.read_activities(run) == []


async def test_a_senders_open_transaction_lets_steps_pass(
    store: PostgresStore, stranger: asyncpg.Connection
) -> None:
    (run,) = await start(store)
    async with stranger.transaction():
        await stranger.execute("select from durable.runs where run_id = $1 for key share", run)
        assert (await store.commit([step(run)])).verdicts == (Verdict.WRITTEN,)
        assert (await store.commit([closing(run, 3)])).verdicts == (Verdict.BUSY,)


async def test_claim_against_commit(store: PostgresStore, postgres_url: str) -> None:
    """A run is taken away from a worker that is writing: what it wrote is seen by the claim, or was not written."""
    async with opened(postgres_url) as other:
        await register(other, "other")
        for _ in range(60):
            runs = await start(store, 5)
            await store.commit([])

            async def take(runs: list[str] = runs) -> dict[str, int]:
                async with other._pool.session() as session:
                    await session.fetch(
                        "update durable.runs set owner = null, wake_at = 0 where run_id = any ($1::uuid[])",
                        [runs],
                    )
                claimed = await other.claim_runs("other", ["q"], ["t"], 10, format=1)
                return {one.run.run_id: len(one.events) for one in claimed}

            result, claimed = await asyncio.gather(store.commit([step(run) for run in runs]), take())
            for run, verdict in zip(runs, result.verdicts, strict=True):
                assert len(await other.read_events(run)) == (2 if verdict is Verdict.WRITTEN else 1)
                if run in claimed:
                    assert claimed[run] == (2 if verdict is Verdict.WRITTEN else 1)
            await asyncio.gather(*[terminate(store, run) for run in runs])


async def terminate(store: PostgresStore, run: str) -> None:
    assert await store.terminate(run, lambda seq: EventRow(seq, seq, 13, b"{}"), Close(RunStatus.TERMINATED))


async def test_claimers_share_without_overlap(store: PostgresStore, postgres_url: str) -> None:
    runs = set(await start(store, 200, owner=None))
    async with opened(postgres_url) as other:
        await register(other, "other")
        taken = await asyncio.gather(
            *[
                (store, other)[n % 2].claim_runs(("me", "other")[n % 2], ["q"], ["t"], 10, format=1)
                for n in range(20)
            ]
        )
    ids = [one.run.run_id for batch in taken for one in batch]
    assert len(ids) == len(set(ids))
    assert all(len(batch) <= 10 for batch in taken)
    assert set(ids) | set(await remaining(store)) == runs


async def remaining(store: PostgresStore) -> list[str]:
    ids: list[str] = []
    while batch := await store.claim_runs("me", ["q"], ["t"], 50, format=1):
        ids += [one.run.run_id for one in batch]
    return ids


async def test_every_verdict_is_true_whoever_else_is_at_work(
    store: PostgresStore, postgres_url: str, stranger: asyncpg.Connection
) -> None:
    """Owners that step and close, against senders, claimers and people who terminate, judged by what stands there."""
    chance = random.Random(6)
    tally: Counter[Verdict] = Counter()
    runs = await start(store, 120)

    def next_transition(run: str, seq: int, epoch: int, read: tuple[int, ...]) -> Transition:
        close = Close(RunStatus.COMPLETED) if chance.random() < 0.2 else None
        return Transition(run, epoch, (EventRow(seq, seq, 20, uuid7().encode()),), consumed=read, close=close)

    async def own(store: PostgresStore, me: str) -> None:
        for _ in range(30):
            await store.claim_runs(me, ["q"], ["t"], 3, format=1)
            owned = await store.owned_runs(me)
            batch: list[Transition] = []
            for run, epoch in owned.items():
                read = tuple(message.position for message in await store.read_messages([run]))
                batch.append(next_transition(run, len(await store.read_events(run)) + 1, epoch, read))
            result = await store.commit(batch)
            for transition, verdict in zip(batch, result.verdicts, strict=True):
                tally[verdict] += 1
                (event,) = transition.events
                found = await store.read_events(transition.run_id, event.seq - 1, 1)
                assert (verdict is Verdict.WRITTEN) == ([row.data for row in found] == [event.data])
                if verdict is Verdict.LOST:
                    assert (await store.commit([transition])).verdicts == (Verdict.LOST,)
                elif verdict is Verdict.REFUSED:
                    assert transition.close
                    assert await disturbed(transition)
            await asyncio.sleep(0)

    async def disturbed(refused: Transition) -> bool:
        """There is a message still, unless the run has gone on without this owner."""
        record = await store.find_run(f"workflow-{refused.run_id}", refused.run_id)
        assert record is not None
        gone = record.status is not RunStatus.RUNNING or record.epoch != refused.epoch
        return gone or bool(await store.read_messages([refused.run_id]))

    async def disturb(other: PostgresStore) -> None:
        for _ in range(200):
            run = chance.choice(runs)
            match chance.randrange(20):
                case 0:
                    await other.terminate(
                        run, lambda seq: EventRow(seq, seq, 13, b"{}"), Close(RunStatus.TERMINATED)
                    )
                case 1 | 2 | 3 | 4:
                    async with other._pool.session() as session:  # as if its owner were dead
                        await session.fetch(
                            "update durable.runs set owner = null, epoch = epoch + 1, wake_at = 0 "
                            "where run_id = $1 and status = 1",
                            [run],
                        )
                case _:
                    await other.send([Message(run, uuid7(), 2, b"")])

    async with opened(postgres_url) as two, opened(postgres_url) as three:
        await register(two, "two")
        await asyncio.gather(own(store, "me"), own(two, "two"), disturb(three), disturb(three))
    assert {Verdict.WRITTEN, Verdict.LOST, Verdict.REFUSED} <= tally.keys(), tally
    question = "select deadlocks from pg_stat_database where datname = current_database()"
    assert await stranger.fetchval(question) == 0


# --- senders and closers ---


async def test_a_closer_does_not_pass_a_sender(store: PostgresStore, stranger: asyncpg.Connection) -> None:
    (run,) = await start(store)
    transaction = stranger.transaction()
    await transaction.start()
    await stranger.execute(store._sql["send"], [run], ["m"], [2], [False], [b"m"])
    assert (await store.commit([closing(run)])).verdicts == (Verdict.BUSY,)
    await transaction.commit()
    assert (await store.commit([closing(run)])).verdicts == (Verdict.REFUSED,)
    (message,) = await store.read_messages([run])
    assert (await store.commit([closing(run, consumed=(message.position,))])).verdicts == (Verdict.WRITTEN,)


async def test_a_sender_waits_for_a_closer(store: PostgresStore, stranger: asyncpg.Connection) -> None:
    (run,) = await start(store)
    args = pack([closing(run)])
    transaction = stranger.transaction()
    await transaction.start()
    await stranger.execute(store._statements[len(args)], *args)
    sending = asyncio.create_task(store.send([Message(run, "m", 2, b"")]))
    await until_waiting(stranger)
    await transaction.commit()
    assert await sending == [SendOutcome.CLOSED]


async def test_two_thousand_races_of_a_sender_and_a_closer_lose_nothing(
    store: PostgresStore, postgres_url: str
) -> None:
    chance = random.Random(20)
    tally = dict.fromkeys(("closed first", "sent first"), 0)
    async with opened(postgres_url) as sender:
        for _ in range(50):
            runs = await start(store, 40)
            order = runs.copy()
            chance.shuffle(order)

            async def send(some: list[str]) -> dict[str, SendOutcome]:
                return dict(
                    zip(some, await sender.send([Message(run, "m", 2, b"") for run in some]), strict=True)
                )

            async def close(runs: list[str] = runs) -> dict[str, Verdict]:
                verdicts: dict[str, Verdict] = {}
                while left := [run for run in runs if verdicts.get(run, Verdict.BUSY) is Verdict.BUSY]:
                    result = await store.commit([closing(run) for run in left])
                    verdicts.update(zip(left, result.verdicts, strict=True))
                return verdicts

            cuts = [order[n : n + 5] for n in range(0, 40, 5)]
            at = chance.randrange(len(cuts))
            jobs: list[Any] = [send(some) for some in cuts]
            jobs.insert(at, close())
            answers = await asyncio.gather(*jobs)
            verdicts = answers.pop(at)
            for run, outcome in {k: v for answer in answers for k, v in answer.items()}.items():
                if outcome is SendOutcome.SENT:
                    assert verdicts[run] is Verdict.REFUSED
                    tally["sent first"] += 1
                else:
                    assert outcome is SendOutcome.CLOSED
                    assert verdicts[run] is Verdict.WRITTEN
                    tally["closed first"] += 1
            left = {message.run_id for message in await store.read_messages(runs)}
            assert left == {run for run, verdict in verdicts.items() if verdict is Verdict.REFUSED}
    assert min(tally.values()) > 20, tally


async def test_parent_and_child_closing_together_never_deadlock(
    store: PostgresStore, postgres_url: str, stranger: asyncpg.Connection
) -> None:
    async def close(store: PostgresStore, run: str, other: str) -> int:
        consumed: tuple[int, ...] = ()
        for tries in range(1, 100):
            transition = closing(run, consumed=consumed, messages=(Message(other, f"from {run}", 2, b""),))
            (verdict,) = (await store.commit([transition])).verdicts
            if verdict is Verdict.WRITTEN:
                return tries
            consumed = tuple(message.position for message in await store.read_messages([run]))
        raise AssertionError("closing starved")

    async with opened(postgres_url) as other:
        parents, children = await start(store, 100), await start(store, 100)
        for parent, child in zip(parents, children, strict=True):
            await asyncio.gather(close(store, parent, child), close(other, child, parent))
    assert await stranger.fetchval("select count(*) from durable.runs where status = 2") == 200
    assert await stranger.fetchval("select count(*) from durable.inbox") == 0
    question = "select deadlocks from pg_stat_database where datname = current_database()"
    assert await stranger.fetchval(question) == 0


async def test_two_that_close_in_one_batch_and_write_to_each_other_go_one_by_one(
    store: PostgresStore,
) -> None:
    first, second = await start(store, 2)
    batch = [
        closing(first, messages=(Message(second, "a", 2, b""),)),
        closing(second, messages=(Message(first, "b", 2, b""),)),
    ]
    assert (await store.commit(batch)).verdicts == (Verdict.WRITTEN, Verdict.BUSY)
    assert (await store.commit(batch[1:])).verdicts == (Verdict.REFUSED,)
    (message,) = await store.read_messages([first, second])
    again = closing(second, consumed=(message.position,), messages=(Message(first, "b", 2, b""),))
    assert (await store.commit([again])).verdicts == (Verdict.WRITTEN,)


async def test_a_duplicate_is_not_started_while_the_open_run_closes(
    store: PostgresStore, stranger: asyncpg.Connection
) -> None:
    (run,) = await start(store)
    workflow = f"workflow-{run}"
    again = NewRun(uuid7(), workflow, "t", "q", b"{}", reuse=WorkflowIDReusePolicy.REJECT_DUPLICATE)
    transaction = stranger.transaction()
    await transaction.start()
    args = pack([closing(run)])
    await stranger.execute(store._statements[len(args)], *args)
    starting = asyncio.create_task(store.create_runs([again]))
    await until_waiting(stranger)
    await transaction.commit()
    (verdict,) = await starting
    assert verdict.outcome is StartOutcome.REJECTED
    assert verdict.run_id == run
    assert await store.find_run(workflow, again.run_id) is None


async def test_terminate_drops_what_an_ending_attempt_brings(
    store: PostgresStore, stranger: asyncpg.Connection
) -> None:
    (run,) = await start(store)
    await store.commit([step(run, activities=(NewActivity(1, "a", "q", b"", 0),))])
    await store.claim_activities("me", ["q"], ["a"], 1, format=1)
    transaction = stranger.transaction()
    await transaction.start()
    outcome = AttemptOutcome(run, 1, 1, "me", Message(run, "done", 22, b"", internal=True))
    message = outcome.message
    assert message is not None
    await stranger.execute(
        store._sql["finish_attempts"],
        [run], [1], [1], ["me"], [2], [None], [b""], [message.message_id], [22], [True], [b""],
    )  # fmt: skip
    ending = asyncio.create_task(terminate(store, run))
    await until_waiting(stranger)
    await transaction.commit()
    await ending
    assert await store.read_messages([run]) == []
    assert await store.finish_attempts([outcome]) == [False]


# --- lost replies ---


class Proxy:
    """Stands between the store and the server, and cuts the connection of a commit at a chosen moment."""

    def __init__(self, url: str) -> None:
        self._target = urlsplit(url)
        self.cut: str | None = None
        self.cuts = 0
        self.url = ""

    async def __aenter__(self) -> Proxy:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        port = self._server.sockets[0].getsockname()[1]
        user = self._target.netloc.rpartition("@")[0]
        self.url = urlunsplit(self._target._replace(netloc=f"{user}@127.0.0.1:{port}"))
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        target = (self._target.hostname, self._target.port)
        server_reader, server_writer = await asyncio.open_connection(*target)
        state = {"commit": False}

        async def pump(source: asyncio.StreamReader, sink: asyncio.StreamWriter, *, requests: bool) -> None:
            try:
                while data := await source.read(65536):
                    if requests and self.cut and b"step " in data:
                        state["commit"] = True
                        if self.cut == "before the request":
                            break
                    if not requests and state["commit"] and self.cut == "before the reply":
                        break
                    sink.write(data)
                    await sink.drain()
                    if requests and state["commit"] and self.cut == "behind the request":
                        break
                else:
                    return
                self.cut, self.cuts = None, self.cuts + 1
            except OSError:
                pass
            finally:
                writer.transport.abort()
                server_writer.close()

        async with asyncio.TaskGroup() as group:
            group.create_task(pump(reader, server_writer, requests=True))
            group.create_task(pump(server_reader, writer, requests=False))


@pytest.mark.parametrize("cut", ["before the request", "behind the request", "before the reply"])
async def test_what_is_read_back_behind_a_cut_is_final(postgres_url: str, cut: str) -> None:
    async with Proxy(postgres_url) as proxy, opened(proxy.url) as store:
        await register(store, "me")
        runs = await start(store, 5)
        assert set((await store.commit([step(run) for run in runs])).verdicts) == {Verdict.WRITTEN}
        for seq in range(3, 13):
            proxy.cut = cut
            with pytest.raises(StoreUnavailableError):
                await store.commit([step(run, seq) for run in runs])
            lengths = {len(await store.read_events(run)) for run in runs}
            assert len(lengths) == 1, "all or nothing"
            written = lengths == {seq}
            if cut != "behind the request":
                assert written == (cut == "before the reply")
            if not written:
                result = await store.commit([step(run, seq) for run in runs])
                assert set(result.verdicts) == {Verdict.WRITTEN}
        assert proxy.cuts == 10


async def test_a_commit_left_waiting_is_ended_before_anything_is_read_back(
    postgres_url: str, stranger: asyncpg.Connection
) -> None:
    async with Proxy(postgres_url) as proxy, opened(proxy.url) as store:
        await register(store, "me")
        run, target = await start(store, 2)
        transaction = stranger.transaction()
        await transaction.start()
        await stranger.execute(store._sql["send"], [target], ["same"], [2], [True], [b""])
        proxy.cut = "behind the request"
        commit = step(run, messages=(Message(target, "same", 2, b"", internal=True),))
        with pytest.raises(StoreUnavailableError):
            await store.commit([commit])
        assert len(await store.read_events(run)) == 1
        await transaction.commit()  # what it waited for is free now; nobody is there to go on
        assert len(await store.read_events(run)) == 1
        assert (await store.commit([commit])).verdicts == (Verdict.WRITTEN,)


async def test_a_cancelled_commit_is_read_back_for_good(store: PostgresStore) -> None:
    (run,) = await start(store)
    chance = random.Random(3)
    written = 0
    seq = 2
    for _ in range(60):
        task = asyncio.create_task(store.commit([step(run, seq)]))
        for _ in range(chance.randrange(12)):
            await asyncio.sleep(0)
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
        length = len(await store.read_events(run))
        assert length in (seq - 1, seq)
        written += length == seq
        seq = length + 1
        assert (await store.commit([step(run, seq)])).verdicts == (Verdict.WRITTEN,)
        seq += 1


async def test_a_server_that_stands_still_is_waited_for_before_reading_back(
    postgres: PostgresServer, postgres_url: str
) -> None:
    async with opened(postgres_url, statement=0.3, acquire=0.3, settle=0.3) as store:
        await register(store, "me")
        (run,) = await start(store)
        await store.commit([step(run)])
        postgres.pause()
        try:
            with pytest.raises(StoreUnavailableError):
                await store.commit([step(run, 3)])
            with pytest.raises(StoreUnavailableError):
                await store.read_events(run)
        finally:
            postgres.resume()
        async with asyncio.timeout(PATIENCE):
            length = 0
            while not length:
                with suppress(StoreUnavailableError):
                    length = len(await store.read_events(run))
        if length == 2:
            assert (await store.commit([step(run, 3)])).verdicts == (Verdict.WRITTEN,)
        assert len(await store.read_events(run)) == 3


async def test_a_position_taken_under_the_own_epoch_is_the_callers_mistake(store: PostgresStore) -> None:
    run, other = await start(store, 2)
    await store.commit([step(run)])
    more = Transition(run, 1, (*step(run).events, *step(run, 3).events))
    with pytest.raises(ValueError, match="these very bytes, but not all"):
        await store.commit([more, step(other)])
    with pytest.raises(ValueError, match=r"has an event 2 already$"):
        await store.commit([Transition(run, 1, (EventRow(2, 2, 20, b"another"),)), step(other)])
    assert len(await store.read_events(other)) == 1


async def test_killed_sessions_are_made_up_for(store: PostgresStore, stranger: asyncpg.Connection) -> None:
    (run,) = await start(store)
    await store.commit([step(run)])
    kill = (
        "select count(pg_terminate_backend(pid, 5000)) from pg_stat_activity "
        "where datname = current_database() and pid <> pg_backend_pid()"
    )
    for seq in range(3, 8):
        assert await stranger.fetchval(kill) > 0
        assert len(await store.read_events(run)) == seq - 1
        await stranger.fetchval(kill)
        try:
            (verdict,) = (await store.commit([step(run, seq)])).verdicts
        except StoreUnavailableError:
            assert len(await store.read_events(run)) == seq - 1
            (verdict,) = (await store.commit([step(run, seq)])).verdicts
        assert verdict is Verdict.WRITTEN


async def test_a_database_that_is_away_is_an_error_within_the_limit() -> None:
    url = "postgresql://someone:hunter2@127.0.0.1:1/nowhere"
    with pytest.raises(StoreUnavailableError) as caught:
        await postgres.open(url, acquire=0.2)
    assert "hunter2" not in str(caught.value)


async def test_waiting_for_a_connection_has_an_end(postgres_url: str) -> None:
    async with opened(postgres_url, pool_size=1, acquire=0.05) as store:
        async with store._pool.session():
            with pytest.raises(StoreUnavailableError, match="pool_size"):
                await store.now()
        assert await store.now() > 0


# --- plans ---


async def test_parked_runs_cost_new_work_nothing(store: PostgresStore, stranger: asyncpg.Connection) -> None:
    """The tables are read by index only, a few rows at a time, whatever the planner knew about them."""
    runs = await start(store, 10)
    await store.commit([step(run) for run in runs])
    due = await start(store, 10, owner=None)
    called = await start(store, 10, owner=None, delay=10**15)
    await store.send([Message(run, "m", 2, b"") for run in called])

    async def work() -> tuple[int, int]:
        """How many rows of a table are read, at most: by the functions, and by all."""
        transaction = stranger.transaction()
        await transaction.start()
        batch = [step(run, 3, activities=(NewActivity(1, "a", "q", b"", 0),)) for run in runs[:5]]
        batch += [closing(run, 3) for run in runs[5:]]
        args = pack(batch)
        await stranger.fetch(store._statements[len(args)], *args)
        claimed = await stranger.fetch(store._sql["claim_runs"], "me", ["q"], ["t"], 20, 1, 0, 1)
        assert {str(row["run_id"]) for row in claimed} == {*due, *called}
        assert len(await stranger.fetch(store._sql["claim_activities"], "me", ["q"], ["a"], 20, 1)) == 5
        await stranger.fetch(store._sql["take_over"], 10, "")
        functions = await most_rows_read()
        for query, *args in (
            ("send", [runs[0]], ["m"], [2], [False], [b""]),
            ("find_latest_run", f"workflow-{runs[0]}"),
            ("next_wake", ["q"], RECENT),
            ("timed_out_runs", 10),
            ("read_owned_messages", "me", 10),
            ("owned_runs", "me"),
        ):
            await stranger.fetch(store._sql[query], *args)
        everything = await most_rows_read()
        await transaction.rollback()
        return functions, everything

    async def most_rows_read() -> int:
        return await stranger.fetchval(
            "select max(seq_tup_read + coalesce(idx_tup_fetch, 0)) from pg_stat_xact_user_tables "
            "where relname in ('runs', 'run_data', 'events', 'inbox', 'activity_tasks')"
        )

    await stranger.execute("analyze")
    for _ in range(7):  # until the plans for next to nothing are the ones that are kept
        await work()
    await stranger.execute("""
        alter table durable.runs set (autovacuum_enabled = off);
        insert into durable.runs (run_id, started_at, workflow_id, workflow_type, task_queue, wake_at, priority)
            select gen_random_uuid(), 0, 'parked ' || n, 't', 'q', 9000000000000000 + n, 1 + n % 5
            from generate_series(1, 100000) n;
        insert into durable.events (run_id, seq, task, type, time, data)
            select run_id, 1, 1, 1, 0, '' from durable.runs where workflow_id like 'parked %';
        insert into durable.run_data (run_id, info) select run_id, '' from durable.runs on conflict do nothing""")
    assert (await work())[0] < 1000
    await stranger.execute("analyze")  # which statements that are not in functions may need
    assert max(await work()) < 1000


# --- how the server and the role are set ---


async def test_a_role_that_defaults_to_another_isolation_is_set_right(
    store: PostgresStore, stranger: asyncpg.Connection
) -> None:
    database = await stranger.fetchval("select current_database()")
    await stranger.execute(
        f'alter database "{database}" set default_transaction_isolation to "repeatable read"'
    )
    async with opened(store._pool.settings.dsn) as other:
        (run,) = await start(other)
        assert (await other.commit([step(run)])).verdicts == (Verdict.WRITTEN,)
    async with opened(store._pool.settings.dsn + "?pooler=transaction") as pooled:
        (run,) = await start(pooled)
        assert (await pooled.commit([step(run)])).verdicts == (Verdict.WRITTEN,)
    async with stranger.transaction(isolation="repeatable_read"):
        args = pack([step(run, 3)])
        with pytest.raises(asyncpg.PostgresError, match="READ COMMITTED"):
            await stranger.execute(store._statements[len(args)], *args)


async def test_a_read_only_role_is_refused(postgres_url: str, stranger: asyncpg.Connection) -> None:
    database = await stranger.fetchval("select current_database()")
    await stranger.execute(f'alter database "{database}" set default_transaction_read_only to on')
    with pytest.raises(StoreConfigurationError, match="read-only"):
        await postgres.open(postgres_url)


async def test_risky_settings_are_said_once(
    postgres_url: str, stranger: asyncpg.Connection, caplog: pytest.LogCaptureFixture
) -> None:
    database = await stranger.fetchval("select current_database()")
    await stranger.execute(f'alter database "{database}" set synchronous_commit to off')
    with caplog.at_level(logging.WARNING, "durable.store"):
        for _ in range(2):
            async with opened(postgres_url) as store:
                await asyncio.gather(*[store.now() for _ in range(10)])
    assert [record.message.count("synchronous_commit = off") for record in caplog.records].count(1) == 1


async def test_what_a_server_risks_is_said_once_for_all_its_databases(
    postgres: PostgresServer,
    postgres_url: str,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(adapter, "_warned", set[tuple[str, str]]())
    another = postgres.create_database()
    with caplog.at_level(logging.WARNING, "durable.store"):
        for url in (postgres_url, another, postgres_url):
            async with opened(url) as store:
                risky = await store._pool.fetch("select current_setting('fsync') = 'off' as risky")
    postgres.drop_database(another)
    said = [record.message for record in caplog.records if "fsync = off" in record.message]
    assert len(said) == int(risky[0]["risky"])


async def test_a_pooler_is_noticed_by_its_effects(
    store: PostgresStore, caplog: pytest.LogCaptureFixture
) -> None:
    (run,) = await start(store)
    await store.commit([step(run)])
    async with store._pool.session() as session:
        await session.connection.execute("deallocate all")
    committer = store._sessions["commit"]
    await committer.connection.execute("deallocate all")
    assert (await store.commit([step(run, 3)])).verdicts == (Verdict.WRITTEN,)
    assert len(await store.read_events(run)) == 3
    assert store._pool.settings.pooler
    assert [record.levelname for record in caplog.records].count("WARNING") == 1


async def test_an_ambiguous_commit_behind_a_pooler(postgres_url: str) -> None:
    async with Proxy(postgres_url) as proxy, opened(f"{proxy.url}?pooler=transaction") as store:
        await register(store, "me")
        (run,) = await start(store)
        for seq, cut in enumerate(("before the request", "before the reply"), 2):
            proxy.cut = cut
            with pytest.raises(StoreUnavailableError):
                await store.commit([step(run, seq)])
            # The reply that was cut off is that to the call; its COMMIT never reached the server.
            assert len(await store.read_events(run)) == seq - 1
            assert (await store.commit([step(run, seq)])).verdicts == (Verdict.WRITTEN,)


@pytest.mark.parametrize("namespace", ["", "Upper", "1st", "a-b", 'a"b', "pg_mine", "x" * 49, "a.b", "ä"])
async def test_a_namespace_that_cannot_be_a_schema_is_refused(namespace: str) -> None:
    with pytest.raises(StoreConfigurationError, match="namespace"):
        await postgres.open("postgresql://nobody@127.0.0.1:1/x", namespace=namespace)


async def test_namespaces_keep_apart_even_when_they_are_words_of_sql(postgres_url: str) -> None:
    async with opened(postgres_url, namespace="select") as one, opened(postgres_url, namespace="user") as two:
        await register(one, "me")
        (run,) = await start(one)
        assert (await one.commit([step(run)])).verdicts == (Verdict.WRITTEN,)
        assert await two.read_events(run) == []


async def test_tables_are_made_once_by_many(postgres_url: str) -> None:
    done = await asyncio.gather(*[postgres.migrate(postgres_url) for _ in range(8)])
    assert sorted(map(bool, done)) == [False] * 7 + [True]


async def test_tables_that_do_not_fit_are_refused(postgres_url: str, stranger: asyncpg.Connection) -> None:
    with pytest.raises(SchemaError, match="migrate"):
        await postgres.open(postgres_url, migrate=False)
    async with opened(postgres_url):
        pass
    async with opened(postgres_url, migrate=False):
        pass
    newest = _migrate.newest(_migrate.load("durable.store.postgres"))
    await stranger.execute(f"insert into durable.schema_version values ('{newest + 1:04}_next', 0)")
    async with opened(postgres_url):  # yesterday's worker on tomorrow's tables
        pass
    await stranger.execute(f"insert into durable.schema_version values ('{newest + 2:04}_later', 0)")
    with pytest.raises(SchemaError, match="newer"):
        await postgres.open(postgres_url)
    await stranger.execute("drop schema durable cascade; create schema durable")
    await stranger.execute("create table durable.schema_version (name text, applied_at bigint)")
    await stranger.execute("insert into durable.schema_version values ('0000_ancient', 0)")
    with pytest.raises(SchemaError, match="migrate"):
        await postgres.open(postgres_url)


async def test_no_password_is_ever_shown(postgres_url: str) -> None:
    parts = urlsplit(postgres_url)
    assert parts.password is not None
    async with opened(postgres_url) as store:
        assert parts.password not in store.url
    wrong = urlunsplit(parts._replace(netloc=parts.netloc.replace(parts.password, "s3cret%2Fpass")))
    for url in (wrong, f"{wrong}?sslmode=nonsense", f"{wrong}?password=0ther", wrong.replace("@", ":x@@")):
        with pytest.raises((StoreConfigurationError, StoreUnavailableError)) as caught:
            await postgres.open(url, acquire=0.2)
        assert not any(word in f"{caught.value!r}" for word in ("s3cret", "0ther"))


# --- leases and hints ---


async def test_a_lease_is_kept_up_from_a_thread_of_its_own(store: PostgresStore) -> None:
    lease = await store.register_worker(WorkerRecord("threaded", "x", (), LEASE, 0, False, False))
    answers: list[bool] = []

    async def live() -> None:
        answers.extend([await lease.renew(), await lease.renew()])
        await lease.aclose()

    thread = threading.Thread(target=lambda: asyncio.run(live()))
    thread.start()
    await asyncio.to_thread(thread.join)
    assert answers == [True, True]
    (worker,) = [worker for worker in await store.list_workers() if worker.worker_id == "threaded"]
    assert worker.renewals == 2


class Ear:
    """A listener that can be waited for."""

    def __init__(self) -> None:
        self.heard: list[Hint] = []
        self._news = asyncio.Event()

    def __call__(self, hint: Hint) -> None:
        self.heard.append(hint)
        self._news.set()

    async def hears(self, condition: Callable[[Hint], bool]) -> None:
        async with asyncio.timeout(PATIENCE):
            while not any(map(condition, self.heard)):
                self._news.clear()
                await self._news.wait()


async def test_hints_reach_other_processes_and_this_one(store: PostgresStore, postgres_url: str) -> None:
    async with opened(postgres_url) as other:
        here, there = Ear(), Ear()
        store.listen(here)
        other.listen(there)
        await asyncio.wait_for(other.listening.wait(), PATIENCE)
        store.hint([Hint(HintKind.RUN, "queue"), Hint(HintKind.RUN, "queue"), Hint(HintKind.RUN, "q" * 250)])
        await there.hears(lambda hint: hint == Hint(HintKind.RUN, ANY_KEY))
        store.hint([Hint(HintKind.MESSAGE, "run")])
        await there.hears(lambda hint: hint == Hint(HintKind.MESSAGE, "run"))
        assert Hint(HintKind.RUN, "queue") in here.heard


async def test_a_lost_listener_comes_back_and_says_that_anything_may_have_happened(
    store: PostgresStore, stranger: asyncpg.Connection
) -> None:
    ear = Ear()
    store.listen(ear)
    for _ in range(3):
        await ear.hears(lambda hint: hint == Hint(HintKind.RUN, ANY_KEY))
        ear.heard.clear()
        await stranger.fetch(
            "select pg_terminate_backend(pid, 5000) from pg_stat_activity where application_name like 'durable listen%'"
        )
    await ear.hears(lambda hint: hint == Hint(HintKind.CLOSED, ANY_KEY))


LISTENERS = """
    select count(*) {} from pg_stat_activity
    where datname = current_database() and application_name like 'durable listen%'
"""


async def test_there_is_a_listening_connection_only_while_somebody_listens(
    postgres_url: str, stranger: asyncpg.Connection
) -> None:
    async with opened(postgres_url, hint_linger=0.05) as store:
        store.hint([Hint(HintKind.RUN, "queue")])
        await store.now()
        assert await stranger.fetchval(LISTENERS.format("")) == 0
        for _ in range(3):
            first, second = Ear(), Ear()
            stops = [store.listen(ear) for ear in (first, second, second)]
            await second.hears(lambda hint: hint == Hint(HintKind.RUN, ANY_KEY))
            for stop in stops[:2] * 2:
                stop()
            await until(stranger, LISTENERS.format("= 1"))
            store.hint([Hint(HintKind.RUN, "queue")])
            await second.hears(lambda hint: hint == Hint(HintKind.RUN, "queue"))
            assert Hint(HintKind.RUN, "queue") not in first.heard
            stops[2]()
            await until(stranger, LISTENERS.format("= 0"))


async def test_who_listens_again_soon_finds_the_connection(
    postgres_url: str, stranger: asyncpg.Connection
) -> None:
    async with opened(postgres_url) as store:
        store.listen(Ear())()
        await asyncio.wait_for(store.listening.wait(), PATIENCE)
        listener = store._listener
        for _ in range(5):
            store.listen(Ear())()
        assert store._listener is listener
        assert await stranger.fetchval(LISTENERS.format("")) == 1
    await until(stranger, LISTENERS.format("= 0"))


async def test_a_hint_given_again_is_heard_again_here(store: PostgresStore) -> None:
    """Who was called has looked; what is written then is not covered by the hint before, sent or not."""
    ear = Ear()
    store.listen(ear)
    hint = Hint(HintKind.RUN, "queue")
    for heard in range(1, 5):
        store.hint([hint, hint])
        store.hint([hint])
        await asyncio.sleep(0)
        assert ear.heard.count(hint) == heard


async def test_many_hints_are_few_calls(
    store: PostgresStore, postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[int] = []
    fetch = store._fetch

    async def counted(name: str, *args: Any) -> Any:
        calls.append(len(args[1]))
        return await fetch(name, *args)

    monkeypatch.setattr(store, "_fetch", counted)
    async with opened(postgres_url) as other:
        ear = Ear()
        other.listen(ear)
        await asyncio.wait_for(other.listening.wait(), PATIENCE)
        for number in range(1000):
            store.hint([Hint(HintKind.MESSAGE, f"run {number % 20}")])
        store.hint([Hint(HintKind.RUN, "last")])
        await ear.hears(lambda hint: hint == Hint(HintKind.RUN, "last"))
    assert calls == [21]


async def test_messages_to_closed_runs_are_swept(store: PostgresStore, stranger: asyncpg.Connection) -> None:
    (run,) = await start(store)
    await store.commit([closing(run)])
    await stranger.execute(
        "insert into durable.inbox (run_id, type, internal, task_queue, message_id, data) "
        "values ($1, 22, true, 'q', 'late', '')",
        run,
    )
    await store.take_over(10)
    assert await store.read_messages([run]) == []
