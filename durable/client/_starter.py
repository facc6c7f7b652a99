"""A start, from what it was asked for to the run that is there then."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from random import getrandbits
from typing import Any

import msgspec

from durable._engine._start import is_limited, start
from durable._timetables.ticks import first_delay
from durable.client._addressed import requested
from durable.client._attribute_types import check_types
from durable.client._connection import Connection
from durable.client._handle import WorkflowHandle
from durable.client._inside import create_inside
from durable.client._local import LocalWorker
from durable.client._start_options import Start
from durable.client._starts import Starts
from durable.client._target import Target
from durable.client._versioning import check_served
from durable.common import WorkflowIDConflictPolicy
from durable.converter import DataConverter
from durable.converter._checked import to_checked_payloads
from durable.exceptions import WorkflowAlreadyStartedError
from durable.history import IN_FORCE, Payload, WorkflowExecutionStarted, WorkflowExecutionTerminated
from durable.store import (
    Hint,
    HintKind,
    Message,
    NewRun,
    Release,
    StartOutcome,
    StartVerdict,
    Transition,
)


class Starter:
    """What starts the workflows of one client."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._store = connection.store
        self.starts = Starts(connection.store)

    async def aclose(self) -> None:
        """See `Starts.aclose`."""
        await self.starts.aclose()

    async def start(
        self, workflow_id: str, target: Target, said: Start, *messages: Message
    ) -> WorkflowHandle[Any, Any]:
        """Start a workflow, with messages in its inbox, and return its handle.

        Raises:
            Exception: As `Client.start_workflow`.
        """
        inside = None if said.connection is None else await self._store.inside(said.connection)
        if said.search_attributes:
            await check_types(self._connection, said.search_attributes, inside)
        if said.override:
            await check_served(self._connection, said.override, said.task_queue)
        run_id = requested(said.request_id, f"start {workflow_id}")
        converter = self._connection.converter_for(workflow_id)
        started = WorkflowExecutionStarted(
            workflow_id=workflow_id,
            workflow_type=target.name,
            task_queue=said.task_queue,
            input=to_checked_payloads(converter, target.args, target.arg_types, f"{target.name} input"),
            seed=getrandbits(63),
            execution_timeout=said.execution_timeout,
            run_timeout=said.run_timeout,
            task_timeout=said.task_timeout,
            first_run_id=run_id,
            memo=_memo(said.memo, converter) if said.memo else {},
            headers=said.headers,
            search_attributes=said.search_attributes,
            identity=self._connection.identity,
            static_summary=said.static_summary,
            static_details=said.static_details,
            retry_policy=said.retry_policy,
            cron_schedule=said.cron_schedule,
            priority=said.priority,
            limits=said.limits,
            delay=await self._until_first_tick(said.cron_schedule) if said.cron_schedule else said.delay,
            versioning_override=said.override,
            flags=IN_FORCE,
        )
        new = start(run_id, started, reuse=said.reuse, conflict=said.conflict, messages=messages)
        verdict = await (self._create(new) if inside is None else create_inside(inside, new))
        if verdict.outcome is StartOutcome.REJECTED:
            raise WorkflowAlreadyStartedError(
                started.workflow_id, verdict.workflow_type, run_id=verdict.run_id
            )
        return WorkflowHandle(
            self._connection,
            started.workflow_id,
            result_run_id=verdict.run_id,
            # Of a run that was there already it is not known which chain it belongs to.
            first_execution_run_id=None if verdict.outcome is StartOutcome.USED_EXISTING else verdict.run_id,
            result_type=target.result_type,
            tentative=inside is not None,
        )

    async def _until_first_tick(self, cron_schedule: str) -> int:
        """How long the start waits, by the database's clock."""
        return first_delay(cron_schedule, await self._connection.patiently(self._store.now))

    async def _create(self, new: NewRun) -> StartVerdict:
        """Create a run, beside a worker of this process if one wants it; terminate what is in the way if asked to."""
        while True:
            worker: LocalWorker | None = None
            if new.delay == 0 and not is_limited(new):
                worker = self._connection.local.owner_for(new.task_queue, new.workflow_type)
            owned = msgspec.structs.replace(new, owner=worker.worker_id) if worker is not None else new
            verdict = await self._connection.patiently(partial(self.starts.create, owned))
            if (
                verdict.outcome is StartOutcome.REJECTED
                and new.conflict is WorkflowIDConflictPolicy.TERMINATE_EXISTING
            ):
                await self._terminate_existing(new.workflow_id, verdict.run_id)
                again = await self._store.find_run(new.workflow_id, measured=False)
                if again is None or again.closed_at is not None:
                    continue
            break
        started = verdict.outcome in (StartOutcome.STARTED, StartOutcome.SAME)
        adopted = started and worker is not None and verdict.epoch > 0 and worker.adopt(owned, verdict)
        if started and not adopted:
            if verdict.epoch > 0:
                # Its worker began to leave meanwhile; any other one may have it.
                release = Transition(verdict.run_id, verdict.epoch, release=Release(wake_in=0))
                await self._connection.patiently(partial(self._store.commit, [release]))
            self._store.hint([Hint(HintKind.RUN, new.task_queue)])
        elif new.messages:
            self._store.hint([Hint(HintKind.MESSAGE, verdict.run_id)])
        return verdict

    async def _terminate_existing(self, workflow_id: str, run_id: str) -> None:
        reason = "terminated by a start with TERMINATE_EXISTING"
        record = await self._connection.patiently(
            lambda: self._store.find_run(workflow_id, run_id, measured=False)
        )
        if record is not None:
            end = WorkflowExecutionTerminated(reason=reason, identity=self._connection.identity)
            await self._connection.terminate(record, end)


def _memo(memo: Mapping[str, Any], converter: DataConverter) -> dict[str, Payload]:
    return {key: converter.to_payload(value, path=f"memo {key}") for key, value in memo.items()}
