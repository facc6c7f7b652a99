"""Queries: answered from the memory of a worker here, from the run's log by whoever has the code, or by other workers.

Nothing about the run is written. A query sees every message that was acknowledged before it was asked: it waits until
those are read. Who has the code of the workflow answers in its own process; who has not leaves the question with the
database, for the run's owner or any worker that serves its queue and type.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from durable._engine._questions import Answered, Asked, decode, encode
from durable._internal.ids import uuid7
from durable._internal.instants import SECOND
from durable._replay._instance import Instance
from durable._replay._intercepted import Interceptors, new_instance
from durable._replay._replay import replay
from durable._replay._turns import Turns
from durable.client._connection import Connection
from durable.client._described import why_waiting
from durable.common import QueryRejectCondition, WorkflowExecutionStatus
from durable.converter import DataConverter
from durable.exceptions import (
    WorkflowNotFoundError,
    WorkflowQueryFailedError,
    WorkflowQueryRejectedError,
    WorkflowQueryTimeoutError,
)
from durable.history import (
    ApplicationFailure,
    Event,
    EventRow,
    Payload,
    Payloads,
    WorkflowExecutionFailed,
    WorkflowExecutionUpdateCompleted,
    decode_history,
)
from durable.store import Hint, HintKind, Hold, Question, RunRecord, RunStatus, beneath
from durable.workflow._definition import REGISTRY, WorkflowDefinition

FIRST_LOOK, LONGEST_PAUSE = 0.002, 0.1
"""Seconds between looks at the inbox, or for the answer, doubled each time; hints make them come sooner."""


def definition_for(workflow_type: str, task_queue: str) -> WorkflowDefinition | None:
    """Return this process's code of a workflow type, or None."""
    found = REGISTRY.served(workflow_type, task_queue) or REGISTRY.named(workflow_type)
    return found[-1] if found else None


def answer(
    definition: WorkflowDefinition,
    run_id: str,
    rows: list[EventRow],
    name: str,
    input: Payloads,
    converter: DataConverter,
    namespace: str,
    headers: Mapping[str, Payload],
    interceptors: Interceptors,
) -> Payload:
    """Return the answer that the code gives in the state a log describes. The code logs nothing on its way there.

    Raises:
        WorkflowQueryFailedError: The code cannot be brought there, or the query failed.
    """
    events = decode_history(rows)
    # Which exceptions fail a workflow, and what an update is answered with, its worker may know alone; those that did are
    # in the log. Any other is a fault of the code, whatever has ended the run since.
    definition = definition.failing_with([*_recorded_failures(events)])

    def instance(*, trace: bool = False) -> Instance:
        return new_instance(
            definition,
            run_id,
            converter,
            namespace=namespace,
            note=lambda text, error: None,
            trace=trace,
            silent=True,
            interceptors=interceptors,
        )

    code = instance()
    try:
        with Turns() as turns:
            try:
                replay(code, turns, events, rebuild=lambda: instance(trace=True))
            except Exception as error:
                raise WorkflowQueryFailedError(
                    f"query {name!r}: the workflow's code fails: {error}"
                ) from error
            return code.query(turns, name, input, headers)
    finally:
        code.evict()


def _recorded_failures(events: Sequence[Event]) -> Iterator[type[BaseException]]:
    """Yield a class that exceptions belong to by the name of theirs, if a log tells of failures with such names."""
    failures = [
        event.data.failure
        for event in events
        if isinstance(event.data, WorkflowExecutionFailed | WorkflowExecutionUpdateCompleted)
    ]
    names = {one.info.type for one in failures if one and isinstance(one.info, ApplicationFailure)}
    if names:
        named: Any = _ByName("Recorded", (BaseException,), {"names": names})
        yield named


class _ByName(type):
    """The type of a class whose instances are told by the names of their classes."""

    names: set[str | None]

    def __instancecheck__(cls, instance: object) -> bool:
        return type(instance).__name__ in cls.names


def check_condition(record: RunRecord, condition: QueryRejectCondition | None) -> None:
    """Refuse a query that is not wanted in the state the run is in.

    Raises:
        WorkflowQueryRejectedError: It is not.
    """
    rejected = False
    if condition is QueryRejectCondition.NOT_OPEN:
        rejected = record.status is not RunStatus.RUNNING
    elif condition is QueryRejectCondition.NOT_COMPLETED_CLEANLY:
        rejected = record.status not in (RunStatus.RUNNING, RunStatus.COMPLETED)
    if rejected:
        assert condition is not None
        raise WorkflowQueryRejectedError(WorkflowExecutionStatus(int(record.status)), condition.name)


class Asking:
    """One query of one run, with the time there is for it."""

    def __init__(
        self,
        connection: Connection,
        record: RunRecord,
        name: str,
        input: Payloads,
        seconds: float,
        headers: Mapping[str, Payload],
    ) -> None:
        self._connection = connection
        self._record = record
        self._name = name
        self._input = input
        self._headers = headers
        self._seconds = seconds
        self._until = asyncio.get_running_loop().time() + seconds

    async def answer(self) -> Payload:
        """Return the answer.

        Raises:
            WorkflowQueryFailedError: The query failed, or there was no answer in time.
        """
        await self._until_read()
        record, connection = self._record, self._connection
        found = connection.local.query(record.run_id, self._name, self._input, self._headers)
        if found is not None:
            return found
        definition = definition_for(record.workflow_type, record.task_queue)
        if definition is None or (record.pinned_to and record.closed_at is None):
            # The code of a pinned run is its version's, whatever this process has.
            return await self._ask_workers()
        rows = await connection.patiently(lambda: connection.store.read_events(record.run_id))
        return answer(
            definition,
            record.run_id,
            rows,
            self._name,
            self._input,
            connection.converter,
            connection.namespace,
            self._headers,
            connection.local.interceptors(record.task_queue, record.workflow_type)
            or connection.workflow_interceptors,
        )

    def _late(self, why: str) -> WorkflowQueryTimeoutError:
        return WorkflowQueryTimeoutError(
            f"query {self._name!r} of workflow {self._record.workflow_id!r} had no answer within {self._seconds:g} s: {why}"
        )

    @property
    def _left(self) -> float:
        return self._until - asyncio.get_running_loop().time()

    async def _until_read(self) -> None:
        """Wait until the messages that are unread now have been read."""
        # Beneath any codec: it is only their number that counts.
        record, store = self._record, beneath(self._connection.store)
        if record.closed_at is not None or record.hold is Hold.PAUSED:
            return
        last: int | None = None
        pause = FIRST_LOOK
        while True:
            unread = await self._connection.patiently(lambda: store.read_messages([record.run_id]))
            if last is None:
                last = max((message.position for message in unread), default=0)
            if not any(message.position <= last for message in unread):
                return
            if self._left <= 0:
                why = await why_waiting(self._connection, record.workflow_id, record.run_id)
                raise self._late(
                    f"it has not read {len(unread)} messages that were sent before"
                    + (why or f"; is a worker running on task queue {record.task_queue!r}?")
                )
            await asyncio.sleep(pause)
            pause = min(pause * 2, LONGEST_PAUSE)

    async def _ask_workers(self) -> Payload:
        """Leave the question with the database, and wait for a worker's answer."""
        record, connection = self._record, self._connection
        store = connection.store
        question = Question(
            query_id=uuid7(),
            run_id=record.run_id,
            workflow_type=record.workflow_type,
            task_queue=record.task_queue,
            name=self._name,
            input=encode(Asked(self._input, dict(self._headers))),
            expires_in=max(1, round(self._left * SECOND)),
        )
        told = asyncio.Event()

        def hinted(hint: Hint) -> None:
            if hint.key in ("*", question.query_id):
                told.set()

        stop = store.listen(hinted, HintKind.ANSWER)
        try:
            if not await connection.patiently(lambda: store.ask(question)):
                raise WorkflowNotFoundError(
                    f"workflow {record.workflow_id!r}: its run is gone",
                    workflow_id=record.workflow_id,
                    run_id=record.run_id,
                )
            store.hint([Hint(HintKind.QUERY, record.task_queue)])
            found = await self._until_answered(question.query_id, told)
        finally:
            stop()
        if found.result is None:
            why = found.failure
            text = "" if why is None else connection.converter.from_payload(why, str)
            raise WorkflowQueryFailedError(text)
        return found.result

    async def _until_answered(self, query_id: str, told: asyncio.Event) -> Answered:
        store, pause = self._connection.store, FIRST_LOOK
        while True:
            told.clear()
            answers = await self._connection.patiently(lambda: store.read_answers([query_id]))
            if answers:
                return decode(answers[0].data, Answered)
            if self._left <= 0:
                raise self._late(
                    f"this process does not know workflow {self._record.workflow_type!r}, and no worker on task queue "
                    f"{self._record.task_queue!r} has answered; import the module that defines it, or start a worker"
                )
            try:
                async with asyncio.timeout(min(pause, max(self._left, 0))):
                    await told.wait()
            except TimeoutError:
                pause = min(pause * 2, LONGEST_PAUSE)
