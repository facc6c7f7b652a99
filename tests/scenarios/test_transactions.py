"""Transactional activities: what a function writes and that it has ended, together or not at all."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncIterator
from functools import partial
from typing import Any

import asyncpg
import pytest

import durable.client._client as client_module
from durable import ActivityError, Client, RetryPolicy, Worker, activity, workflow
from durable.client import WorkflowFailureError
from durable.exceptions import CancelledError, RegistrationError, TerminatedError
from durable.interceptor.worker import ActivityInboundInterceptor, ExecuteActivityInput, Interceptor
from durable.store import open_store
from tests.scenarios.bank import Bank, applied, balances, opened, trouble
from tests.scenarios.rig import PATIENCE, Env, event, events, until

ON_POSTGRES = pytest.mark.parametrize(
    "store_url", [pytest.param("postgres", marks=pytest.mark.postgres)], indirect=True
)
"""On SQLite nothing is written while a function has its transaction: nothing cancelled, nothing terminated."""

FAST = RetryPolicy(initial_interval=0.02, maximum_interval=0.05)


@pytest.fixture
async def bank(store_url: str, proxied: None) -> Bank:
    return await opened(store_url)


@workflow.defn(name="scn.move")
async def move(number: int, cents: int, timeout: float = 60) -> int:
    left: int = await workflow.execute_activity(
        "bank.transfer",
        args=[number, "a0", "a1", cents],
        retry_policy=FAST,
        start_to_close_timeout=timeout,
    )
    return left


@workflow.defn(name="scn.try_once")
async def try_once(number: int, cents: int) -> str:
    """Tell why one attempt failed."""
    try:
        await workflow.execute_activity(
            "bank.transfer", args=[number, "a0", "a1", cents], retry_policy=RetryPolicy(maximum_attempts=1)
        )
    except ActivityError as error:
        return str(error.cause)
    return "it did not fail"


async def untouched(bank: Bank) -> bool:
    return await balances(bank) == [1000, 1000] and await applied(bank) == []


async def test_rows_and_completion_are_there_together(env: Env, bank: Bank) -> None:
    async with env.worker(move, bank.transfer):
        handle = await env.start(move(1, 300))
        assert await handle.result(timeout=PATIENCE) == 700
    assert await balances(bank) == [700, 1300]
    assert await applied(bank) == [(1, 1)]
    assert await events(handle) == ["Started", "ActivityScheduled", "ActivityCompleted", "Completed"]
    assert (await event(handle, "ActivityCompleted")).attempt == 1


async def test_a_failed_attempt_leaves_nothing_and_the_next_one_everything(env: Env, bank: Bank) -> None:
    trouble.fail_before = 3
    async with env.worker(move, bank.transfer):
        handle = await env.start(move(1, 300))
        assert await handle.result(timeout=PATIENCE) == 700
    assert await balances(bank) == [700, 1300]
    assert await applied(bank) == [(1, 3)]
    assert (await event(handle, "ActivityCompleted")).attempt == 3


async def test_what_the_database_refuses_is_what_the_attempt_failed_with(plain: Env, bank: Bank) -> None:
    told = await plain.run(try_once(1, 3000), try_once, bank.transfer)
    assert told.startswith(("CheckViolationError: ", "IntegrityError: "))
    assert await untouched(bank)


async def test_what_an_attempt_wrote_that_ran_out_of_time_is_undone(plain: Env, bank: Bank) -> None:
    trouble.hang_before = 2
    async with plain.worker(move, bank.transfer):
        handle = await plain.start(move(1, 300, timeout=0.3))
        assert await handle.result(timeout=PATIENCE) == 700
    assert await balances(bank) == [700, 1300]
    # Once, and not by the attempt that hung; a later one may have run out of time too.
    ((number, attempt),) = await applied(bank)
    assert (number, attempt > 1) == (1, True)


@ON_POSTGRES
async def test_nothing_is_left_of_an_attempt_whose_workflow_is_terminated(plain: Env, bank: Bank) -> None:
    trouble.hold = True
    async with plain.worker(move, bank.transfer):
        handle = await plain.start(move(1, 300))
        await until("the function runs", lambda: trouble.running)
        await handle.terminate("enough")
        trouble.release()
        await until("the function has ended", lambda: not trouble.running)
        with pytest.raises(WorkflowFailureError) as failed:
            await handle.result(timeout=PATIENCE)
        assert isinstance(failed.value.cause, TerminatedError)
    assert await untouched(bank)


@ON_POSTGRES
async def test_nothing_is_left_of_an_attempt_that_is_cancelled(plain: Env, bank: Bank) -> None:
    trouble.hold = True
    async with plain.worker(move, bank.transfer):
        handle = await plain.start(move(1, 300))
        await until("the function runs", lambda: trouble.running)
        await handle.cancel()
        with pytest.raises(WorkflowFailureError) as failed:
            await handle.result(timeout=PATIENCE)
        assert isinstance(failed.value.cause, CancelledError)
        trouble.release()
    assert await untouched(bank)


async def test_several_run_at_once_and_none_is_lost(plain: Env, bank: Bank) -> None:
    async with plain.worker(move, bank.transfer):
        handles = [await plain.start(move(number, 1), id=f"move-{number}") for number in range(30)]
        await asyncio.gather(*(handle.result(timeout=PATIENCE) for handle in handles))
    assert await balances(bank) == [970, 1030]
    assert await applied(bank) == [(number, 1) for number in range(30)]


async def test_a_worker_that_stops_undoes_what_is_not_finished(plain: Env, bank: Bank) -> None:
    trouble.hold = True
    async with plain.worker(move, bank.transfer):
        handle = await plain.start(move(1, 300))
        await until("the function runs", lambda: trouble.running)
    assert await untouched(bank)
    trouble.release()
    async with plain.worker(move, bank.transfer):
        assert await handle.result(timeout=PATIENCE) == 700
    assert [number for number, _ in await applied(bank)] == [1]


# --- a function that does what it must not ---


async def test_a_function_cannot_commit_its_transaction(plain: Env, bank: Bank) -> None:
    trouble.behind = lambda tx: tx.execute("commit")
    told = await plain.run(try_once(1, 300), try_once, bank.transfer)
    assert told.startswith("TransactionError: the function ")
    assert await untouched(bank)


@pytest.mark.session
async def test_a_function_cannot_roll_its_transaction_back(plain: Env, bank: Bank) -> None:
    if bank.postgres:

        async def behind(tx: Any) -> None:
            await tx.execute("rollback")
            await tx.execute("insert into transfers values (99, 1)")

        trouble.behind = behind
    else:
        trouble.behind = lambda tx: tx.rollback()
    told = await plain.run(try_once(1, 300), try_once, bank.transfer)
    assert told.startswith("TransactionError: the function ")
    assert await untouched(bank)


async def test_a_commit_that_is_refused_cannot_be_passed_over(plain: Env, bank: Bank) -> None:
    if bank.postgres:

        async def behind(tx: Any) -> None:
            try:
                await tx.execute("commit")
            except asyncpg.PostgresError:
                pass
    else:

        def behind(tx: Any) -> Any:
            try:
                tx.commit()
            except sqlite3.Error:
                pass

    trouble.behind = behind
    told = await plain.run(try_once(1, 300), try_once, bank.transfer)
    assert told.startswith("TransactionError: the function ")
    assert await untouched(bank)


async def test_a_statement_that_fails_inside_cannot_be_passed_over_on_postgresql(
    plain: Env, bank: Bank
) -> None:
    if bank.postgres:

        async def behind(tx: Any) -> None:
            try:
                await tx.execute("select * from nowhere")
            except asyncpg.PostgresError:
                pass
    else:

        def behind(tx: Any) -> Any:
            with pytest.raises(sqlite3.OperationalError):
                tx.execute("select * from nowhere")

    trouble.behind = behind
    told = await plain.run(try_once(1, 300), try_once, bank.transfer)
    if bank.postgres:
        assert told.startswith("TransactionError: a statement failed inside")
        assert await untouched(bank)
    else:
        assert told == "it did not fail"


async def test_a_part_of_it_can_be_undone_alone(plain: Env, bank: Bank) -> None:
    if bank.postgres:

        async def behind(tx: Any) -> None:
            try:
                async with tx.transaction():
                    await tx.execute("insert into transfers values (98, 1)")
                    await tx.execute("update accounts set cents = -1")
            except asyncpg.CheckViolationError:
                pass
    else:

        def behind(tx: Any) -> Any:
            tx.execute("savepoint part")
            tx.execute("insert into transfers values (98, 1)")
            tx.execute("rollback to part")

    trouble.behind = behind
    assert await plain.run(move(1, 300), move, bank.transfer) == 700
    assert await applied(bank) == [(1, 1)]


async def test_a_connection_that_the_function_closes_fails_the_attempt(plain: Env, bank: Bank) -> None:
    trouble.behind = lambda tx: tx.close()
    told = await plain.run(try_once(1, 300), try_once, bank.transfer)
    assert "closed" in told
    assert await untouched(bank)


async def test_tables_can_be_made_and_go_with_a_failed_attempt(plain: Env, bank: Bank) -> None:
    trouble.behind = lambda tx: tx.execute("create table made (one integer)")
    assert await plain.run(move(1, 300), move, bank.transfer) == 700
    assert await bank.run("select * from made") == []

    def fail(tx: Any) -> Any:
        if not bank.postgres:
            tx.execute("create table made_again (one integer)")
            raise ValueError("no")

        async def failing() -> None:
            await tx.execute("create table made_again (one integer)")
            raise ValueError("no")

        return failing()

    trouble.behind = fail
    assert await plain.run(try_once(2, 300), try_once, bank.transfer) == "ValueError: no"
    with pytest.raises((asyncpg.UndefinedTableError, sqlite3.OperationalError)):
        await bank.run("select * from made_again")


@pytest.mark.session
async def test_what_a_function_does_to_its_connection_does_not_outlive_it(plain: Env, bank: Bank) -> None:
    if bank.postgres:
        trouble.behind = lambda tx: tx.execute("set search_path = nowhere; select pg_advisory_lock(7)")
    else:
        trouble.behind = lambda tx: setattr(tx, "row_factory", lambda cursor, row: {"row": row})
    async with plain.worker(move, bank.transfer):
        for number in range(3):
            await (await plain.start(move(number, 1))).result(timeout=PATIENCE)
    assert await balances(bank) == [997, 1003]


async def test_the_connection_is_as_it_was_when_a_function_has_failed(plain: Env, bank: Bank) -> None:
    trouble.fail_before = 2
    async with plain.worker(move, bank.transfer):
        for number in range(3):
            await (await plain.start(move(number, 1))).result(timeout=PATIENCE)
    assert await applied(bank) == [(0, 2), (1, 2), (2, 2)]


# --- where it is used ---


@workflow.defn(name="scn.locally")
async def locally() -> str:
    try:
        await workflow.execute_local_activity("bank.transfer", args=[1, "a0", "a1", 300])
    except ActivityError as error:
        return str(error.cause)
    return "it did not fail"


async def test_it_cannot_be_a_local_activity(plain: Env, bank: Bank) -> None:
    told = await plain.run(locally(), locally, bank.transfer)
    assert "cannot be a local one" in told
    assert await untouched(bank)


async def test_it_cannot_be_completed_from_outside(plain: Env, bank: Bank) -> None:
    trouble.behind = lambda tx: activity.raise_complete_async()
    told = await plain.run(try_once(1, 300), try_once, bank.transfer)
    assert "cannot be completed from outside" in told
    assert await untouched(bank)


async def test_a_client_can_start_it_by_itself(plain: Env, bank: Bank) -> None:
    trouble.fail_before = 2
    async with plain.worker(bank.transfer):
        left = await plain.client.execute_activity(
            "bank.transfer",
            args=[1, "a0", "a1", 300],
            id="alone",
            retry_policy=FAST,
            start_to_close_timeout=5,
        )
    assert left == 700
    assert await applied(bank) == [(1, 2)]


async def test_it_runs_from_the_queue_as_from_its_workflows_worker(plain: Env, bank: Bank) -> None:
    async with plain.worker(move, bank.transfer, disable_eager_activity_execution=True):
        handle = await plain.start(move(1, 300))
        assert await handle.result(timeout=PATIENCE) == 700
    assert await applied(bank) == [(1, 1)]


@ON_POSTGRES
async def test_a_workflow_can_be_started_in_its_transaction(plain: Env, bank: Bank) -> None:
    @activity.defn(name="bank.transfer", transactional=True)
    async def starts(tx: asyncpg.Connection[Any], number: int, source: str, target: str, cents: int) -> int:
        await activity.client().start_workflow(move(2, 1), id="inside", task_queue="later", connection=tx)
        if activity.info().attempt == 1:
            raise ValueError("the first time it is undone")
        return 0

    async with plain.worker(move, starts):
        handle = await plain.start(move(1, 300))
        assert await handle.result(timeout=PATIENCE) == 0
    assert (await plain.client.count_workflows("WorkflowId = 'inside'")).count == 1


async def test_it_tells_that_it_lives(plain: Env, bank: Bank) -> None:
    trouble.behind = lambda tx: activity.heartbeat("half way")
    assert await plain.run(move(1, 300), move, bank.transfer) == 700
    assert await applied(bank) == [(1, 1)]


class Doubling(Interceptor):
    """Sees the arguments without the transaction, and the result before it is committed."""

    def __init__(self) -> None:
        self.seen: list[Any] = []

    def intercept_activity(self, next: ActivityInboundInterceptor) -> ActivityInboundInterceptor:
        seen = self.seen

        class Inbound(ActivityInboundInterceptor):
            async def execute_activity(self, input: ExecuteActivityInput) -> Any:
                seen.append(input.args)
                return await super().execute_activity(input) * 2

        return Inbound(next)


async def test_interceptors_stand_around_the_function_inside_the_transaction(plain: Env, bank: Bank) -> None:
    doubling = Doubling()
    async with plain.worker(move, bank.transfer, interceptors=[doubling]):
        handle = await plain.start(move(1, 300))
        assert await handle.result(timeout=PATIENCE) == 1400
    assert [tuple(args) for args in doubling.seen] == [(1, "a0", "a1", 300)]


async def test_a_worker_does_not_start_with_one_for_another_database(plain: Env, bank: Bank) -> None:
    @activity.defn(name="bank.strange", transactional=True)
    async def strange(tx: sqlite3.Connection | None) -> None: ...

    with pytest.raises(RegistrationError, match="its first parameter is the transaction"):
        async with plain.worker(strange):
            pass


async def test_a_database_in_memory_has_none_to_lend(bank: Bank) -> None:
    async with Client.connect("sqlite://:memory:") as client:
        with pytest.raises(RegistrationError, match="is in memory"):
            async with Worker(client, workflows=[], activities=[bank.transfer]):
                pass


async def test_it_is_not_to_be_called_outside_of_a_workflow(bank: Bank) -> None:
    call: Any = bank.transfer
    with pytest.raises(TypeError, match=r"bank.transfer.fn\(connection, ...\)"):
        await call(1, "a0", "a1", 300)


class Ledger:
    """Activities that are methods."""

    def __init__(self, tag: str) -> None:
        self.tag = tag

    @activity.method(name="bank.note_async", transactional=True)
    async def note_async(self, tx: asyncpg.Connection[Any], number: int) -> str:
        await tx.execute("insert into transfers values ($1, 0)", number)
        return f"{self.tag}{number}"

    @activity.method(name="bank.note", transactional=True)
    def note(self, tx: sqlite3.Connection, number: int) -> str:
        tx.execute("insert into transfers values (?, 0)", (number,))
        return f"{self.tag}{number}"


@workflow.defn(name="scn.note")
async def note(postgres: bool) -> str:
    return await (Ledger.note_async(7) if postgres else Ledger.note(7))


async def test_methods_get_their_transaction_behind_self(plain: Env, bank: Bank) -> None:
    ledger = Ledger("no. ")
    method = ledger.note_async if bank.postgres else ledger.note
    assert await plain.run(note(bank.postgres), note, method) == "no. 7"
    assert await applied(bank) == [(7, 0)]


# --- SQLite: nothing else is written meanwhile ---


@pytest.fixture
async def brief(sqlite_url: str, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[tuple[Env, Bank]]:
    """An SQLite database whose transactions may take 0.2 s."""
    monkeypatch.setattr(client_module, "open_store", partial(open_store, transaction=0.2))
    async with Client.connect(sqlite_url) as client:
        yield Env(client, 1000), await opened(sqlite_url)


@pytest.mark.sqlite
async def test_a_transaction_that_takes_too_long_is_undone_and_others_go_on(brief: tuple[Env, Bank]) -> None:
    env, bank = brief
    trouble.hold = True
    async with env.worker(try_once, bank.transfer):
        handle = await env.client.start_workflow(try_once(1, 300), id="too long")
        await until("the function runs", lambda: trouble.running)
        # It is written behind the limit, with the function still in its thread.
        await env.client.start_workflow(try_once(2, 300), id="other", task_queue="elsewhere")
        assert trouble.running
        assert await untouched(bank)
        trouble.release()
        told = await handle.result(timeout=PATIENCE)
    assert "was undone after 0.2 s" in told
    assert await untouched(bank)


@activity.defn(name="bank.calls", transactional=True)
async def calls(tx: sqlite3.Connection, number: int) -> None:
    """On the event loop, where it may await what waits for its own transaction."""
    tx.execute("insert into transfers values (?, 1)", (number,))
    if number > 1:
        await activity.client().start_workflow(move(1, 1), id="inside")


@workflow.defn(name="scn.calls_inside")
async def calls_inside(number: int) -> str:
    try:
        await workflow.execute_activity(calls, number, retry_policy=RetryPolicy(maximum_attempts=1))
    except ActivityError as error:
        return str(error.cause)
    return "it did not fail"


@pytest.mark.sqlite
async def test_a_call_that_would_wait_for_the_transaction_is_refused(
    sqlite_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At once, and not when the time of its transaction is over, which is a minute here."""
    monkeypatch.setattr(client_module, "open_store", partial(open_store, transaction=60.0))
    async with Client.connect(sqlite_url) as client, Env(client, 1000).worker(calls_inside, calls):
        bank = await opened(sqlite_url)
        good = await client.start_workflow(calls_inside(1), id="good")
        assert await good.result(timeout=PATIENCE) == "it did not fail"
        bad = await client.start_workflow(calls_inside(2), id="bad")
        told = await bad.result(timeout=PATIENCE)
    assert "would wait for the transaction that it is called in" in told
    assert await applied(bank) == [(1, 1)]
