"""`transaction`: the end of an attempt is committed with what its function has written, or neither is."""

from __future__ import annotations

import contextlib
import inspect
from typing import Any

from durable._internal.ids import uuid7
from durable.history import EventType
from durable.store import ActivityRecord, ActivityState, AttemptOutcome, Message, Store
from durable.testing.conformance._registry import OpenStore, check
from durable.testing.conformance._room import EVERY_BYTE, HOUR, new_activity, room


def _done(task: ActivityRecord, worker: str | None, **fields: Any) -> AttemptOutcome:
    kind = int(EventType.ACTIVITY_TASK_COMPLETED)
    told = Message(task.run_id, f"activity-{task.id}-{task.attempt}", kind, EVERY_BYTE, internal=True)
    return AttemptOutcome(task.run_id, task.id, fields.get("attempt", task.attempt), worker, message=told)


async def _execute(connection: Any, statement: str) -> None:
    made = connection.execute(statement)
    if inspect.isawaitable(made):
        await made


async def _is_written(store: Store) -> bool:
    """Whether the table is there that the attempts make."""
    async with store.transaction(uuid7(), 1, 1) as transaction:
        with contextlib.suppress(Exception):
            await _execute(transaction.connection, "select * from written")
            return True
    return False


@check()
async def check_a_transaction_ends_its_attempt_with_what_was_written(open_store: OpenStore) -> None:
    async with room(open_store) as one:
        if not one.store.transaction_types:
            return  # in memory there is one connection, and none to lend
        task = await one.begun(start_to_close=HOUR)
        async with one.store.transaction(task.run_id, task.id, task.attempt) as transaction:
            assert isinstance(transaction.connection, one.store.transaction_types)
            await _execute(transaction.connection, "create table written (number integer)")
            assert await transaction.commit(_done(task, one.worker))
        (told,) = await one.store.read_messages([task.run_id])
        assert (told.data, told.type, told.internal) == (EVERY_BYTE, EventType.ACTIVITY_TASK_COMPLETED, True)
        row = await one.task(task.run_id)
        assert (row.state, row.worker, row.deadline) == (ActivityState.DONE, None, None)
        assert await _is_written(one.store)


@check()
async def check_a_transaction_that_is_not_committed_is_undone(open_store: OpenStore) -> None:
    async with room(open_store) as one:
        if not one.store.transaction_types:
            return
        task = await one.begun()
        async with one.store.transaction(task.run_id, task.id, task.attempt) as transaction:
            await _execute(transaction.connection, "create table written (number integer)")
        with contextlib.suppress(ZeroDivisionError):
            async with one.store.transaction(task.run_id, task.id, task.attempt) as transaction:
                await _execute(transaction.connection, "create table written (number integer)")
                raise ZeroDivisionError
        assert not await _is_written(one.store)
        assert (await one.task(task.run_id)).state is ActivityState.RUNNING
        assert await one.store.finish_attempts([_done(task, one.worker)]) == [True]


@check()
async def check_a_transaction_of_an_attempt_that_is_over_is_undone(open_store: OpenStore) -> None:
    async with room(open_store) as one:
        if not one.store.transaction_types:
            return
        task = await one.begun()
        again = AttemptOutcome(task.run_id, task.id, task.attempt, one.worker, retry_in=HOUR)
        for end in (
            _done(task, "nobody"),
            _done(task, one.worker, attempt=2),
            None,
        ):
            if end is None:
                assert await one.store.finish_attempts([again]) == [True]
                end = _done(task, one.worker)
            async with one.store.transaction(task.run_id, task.id, end.attempt) as transaction:
                await _execute(transaction.connection, "create table written (number integer)")
                assert not await transaction.commit(end)
        assert not await _is_written(one.store)
        assert await one.store.read_messages([task.run_id]) == []


@check()
async def check_a_transaction_of_a_run_that_has_closed_is_undone(open_store: OpenStore) -> None:
    async with room(open_store) as one:
        if not one.store.transaction_types:
            return
        run = await one.scheduled(new_activity(1))
        (task,) = await one.claim_activities()
        await one.close(run, seq=3)
        async with one.store.transaction(task.run_id, task.id, task.attempt) as transaction:
            await _execute(transaction.connection, "create table written (number integer)")
            assert not await transaction.commit(_done(task, one.worker))
        assert not await _is_written(one.store)
