"""Updates, from outside: sent, waited for, and followed from run to run."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum
from functools import partial
from typing import Any, Generic, TypeVar

from durable._engine._updates import decode_result, message_id_of
from durable._internal.ids import check_name, uuid7
from durable._internal.instants import SECOND, Duration, to_duration
from durable._internal.left_out import explains_options
from durable.client._calls import call_of
from durable.client._checked import check_result_type
from durable.client._connection import Connection
from durable.client._described import why_waiting
from durable.converter._checked import to_checked_payloads
from durable.exceptions import (
    WorkflowNotFoundError,
    WorkflowUpdateFailedError,
    WorkflowUpdateRPCTimeoutOrCancelledError,
)
from durable.history import (
    Failure,
    Input,
    Payload,
    WorkflowExecutionStarted,
    WorkflowExecutionUpdateAccepted,
    decode_data,
)
from durable.store import UpdateOutcome, UpdateStage
from durable.workflow._calls import UpdateCall

R_co = TypeVar("R_co", covariant=True)

MAX_CHAIN = 10_000
"""Runs of a chain that are looked through for an update, forwards or backwards."""


class WorkflowUpdateStage(IntEnum):
    """How far an update has come. Values are Temporal's."""

    ADMITTED = 1
    """It is stored: whatever crashes, the workflow will look at it."""
    ACCEPTED = 2
    """The workflow has let it in, or refused it."""
    COMPLETED = 3
    """It has its outcome."""


@dataclass(frozen=True, slots=True)
class NewUpdate:
    """An update that is ready to be sent."""

    id: str
    event: Input
    result_type: Any

    @property
    def message_id(self) -> str:
        """The id it has as a message."""
        return message_id_of(self.id)


@dataclass(frozen=True, slots=True)
class SaidUpdate:
    """An update as somebody wrote it down."""

    name: str
    args: Sequence[Any]
    arg_types: Sequence[Any] | None
    result_type: Any

    @classmethod
    def of(cls, update: Any, values: tuple[Any, ...], args: Sequence[Any], result_type: Any) -> SaidUpdate:
        """Return what was written in either way.

        Raises:
            TypeError: The arguments do not fit the update, or `result_type` is no type.
            ValueError: The name cannot be one.
        """
        check_result_type(result_type)
        call = call_of(update, values, args, UpdateCall)
        if not isinstance(call, UpdateCall):
            name, arguments = call
            return cls(name, arguments, None, result_type)
        result_type = call.result_type if result_type is None else result_type
        return cls(call.name, call.args, call.definition.arg_types, result_type)


def new_update(
    connection: Connection,
    workflow_id: str,
    name: str,
    arguments: Sequence[Any],
    types: Sequence[Any] | None,
    id: str | None,
    result_type: Any,
    headers: dict[str, Payload],
) -> NewUpdate:
    """Return an update, ready to be sent.

    Raises:
        ValueError: The id cannot be one.
        ConversionError: An argument cannot be stored, or is not of its type.
    """
    update_id = uuid7() if id is None else check_name(id, "id")
    payloads = to_checked_payloads(connection.converter_for(workflow_id), arguments, types, f"update {name}")
    event = WorkflowExecutionUpdateAccepted(
        message=message_id_of(update_id),
        name=name,
        input=payloads,
        headers=headers,
        identity=connection.identity,
    )
    return NewUpdate(update_id, event, Any if result_type is None else result_type)


@explains_options
class WorkflowUpdateHandle(Generic[R_co]):
    """One update of one workflow, to wait for.

    Attributes:
        id: The update's id.
        workflow_id: The workflow's.
        workflow_run_id: The run it was sent to, if that is known. It may have gone on to a later one.
    """

    def __init__(
        self,
        connection: Connection,
        id: str,
        workflow_id: str,
        *,
        workflow_run_id: str | None = None,
        result_type: Any = Any,
        outcome: UpdateOutcome | None = None,
    ) -> None:
        self._connection = connection
        self._result_type = check_result_type(result_type)
        self._outcome = outcome
        self.id = check_name(id, "id")
        self.workflow_id = workflow_id
        self.workflow_run_id = workflow_run_id

    def __repr__(self) -> str:
        return f"<WorkflowUpdateHandle {self.id!r} of workflow {self.workflow_id!r}>"

    async def result(self, *, rpc_timeout: Duration | None = None) -> R_co:
        """Return what the update's handler returned, once it has, however long that takes.

        Args:
            rpc_timeout: How long to wait; for ever when None. The update goes on.

        Raises:
            WorkflowUpdateFailedError: It was refused, failed, or ended with its workflow; `cause` says why.
            WorkflowUpdateRPCTimeoutOrCancelledError: It had no outcome after `rpc_timeout`.
            WorkflowNotFoundError: There is no such workflow, or it has no such update.
            ConversionError: The result cannot be read as its type.
        """
        outcome = await self.reach(WorkflowUpdateStage.COMPLETED, rpc_timeout=rpc_timeout)
        told = decode_result(outcome.data)
        converter = self._connection.converter_for(self.workflow_id)
        if told.result is None:
            raise WorkflowUpdateFailedError(cause=converter.from_failure(told.failure or Failure()))
        result: R_co = converter.from_payload(
            told.result, self._result_type, path=f"result of update {self.id}"
        )
        return result

    async def reach(
        self, stage: WorkflowUpdateStage, *, rpc_timeout: Duration | None = None, look: bool = True
    ) -> UpdateOutcome:
        """Return how far the update has come, once that is `stage`."""
        wanted = UpdateStage(stage)
        if self._outcome is None or self._outcome.stage < wanted:
            seconds = None if rpc_timeout is None else to_duration(rpc_timeout, "rpc_timeout") / SECOND
            timer = asyncio.timeout(seconds)
            try:
                async with timer:
                    self._outcome = await self._follow(wanted, look=look)
            except TimeoutError:
                if not timer.expired():
                    raise
                why = await why_waiting(self._connection, self.workflow_id, self.workflow_run_id)
                raise WorkflowUpdateRPCTimeoutOrCancelledError(
                    f"update {self.id!r} of workflow {self.workflow_id!r} was not {stage.name.lower()} within "
                    f"{seconds:g} s, but can be waited for again, for it goes on with the workflow{why}"
                ) from None
        return self._outcome

    async def _follow(self, stage: UpdateStage, *, look: bool) -> UpdateOutcome:
        """Wait for the update in the run that has it."""
        run_id = self.workflow_run_id or await self._where()
        for _ in range(MAX_CHAIN):
            with self._connection.updates.waiter(run_id, message_id_of(self.id)) as waiter:
                outcome = await waiter.reached(stage, look=look)
            if outcome is not None:
                self.workflow_run_id = run_id
                return outcome
            successor = await successor_of(self._connection, run_id)
            if successor is None:
                break
            run_id = successor
        raise self._unknown()

    async def _where(self) -> str:
        """Return the run that knows of the update: the newest one of the workflow, or one that it continued."""
        store, patiently = self._connection.store, self._connection.patiently
        record = await patiently(lambda: store.find_run(self.workflow_id, measured=False))
        run_id = None if record is None else record.run_id
        for _ in range(MAX_CHAIN):
            if run_id is None:
                break
            known: str = run_id
            if await patiently(partial(store.find_update, known, message_id_of(self.id))):
                return known
            started = await _started(self._connection, known)
            run_id = (started.continued_run_id or None) if started is not None else None
        raise self._unknown()

    def _unknown(self) -> WorkflowNotFoundError:
        return WorkflowNotFoundError(
            f"workflow {self.workflow_id!r} has no update {self.id!r}; check both ids",
            workflow_id=self.workflow_id,
            run_id=self.workflow_run_id,
        )


async def successor_of(connection: Connection, run_id: str) -> str | None:
    """Return the run that went on where this one ended, if it has ended and one did."""
    rows = await connection.patiently(lambda: connection.store.read_closing_events([run_id]))
    row = rows.get(run_id)
    if row is None:
        return None
    end = decode_data(row.type, row.data)
    # A run that was reset gave its updates to the run that goes on for it.
    following: str = getattr(end, "new_run_id", "") or getattr(end, "reset_run_id", "")
    return following or None


async def first_run_of(connection: Connection, run_id: str) -> str:
    """Return the first run of the chain that a run belongs to."""
    started = await _started(connection, run_id)
    return run_id if started is None else started.first_run_id or run_id


async def _started(connection: Connection, run_id: str) -> WorkflowExecutionStarted | None:
    rows = await connection.patiently(lambda: connection.store.read_events(run_id, 0, 1))
    first = decode_data(rows[0].type, rows[0].data) if rows else None
    return first if isinstance(first, WorkflowExecutionStarted) else None
