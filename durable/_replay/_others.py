"""What a run's code does to other workflows: children, and messages to whoever has a workflow id.

Made when it is first needed: most runs do nothing of the kind.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Sequence
from functools import partial
from typing import Any, Protocol, cast

from durable._internal.ids import child_run_id
from durable._replay._awaitables import Operation
from durable._replay._commands import Commands
from durable._replay._loop import DeterministicLoop
from durable._replay._randomness import Randomness
from durable._replay.machines._child import CancelChildMachine, ChildMachine, ChildOperation
from durable._replay.machines._external import ExternalMachine
from durable._timetables.ticks import first_delay
from durable.converter import DataConverter
from durable.history import (
    ExternalCommand,
    RequestCancelExternalWorkflowExecutionInitiated,
    SignalExternalWorkflowExecutionInitiated,
    WorkflowExecutionStarted,
)
from durable.workflow._runtime import ChildRequest, Target


class Asking(Protocol):
    """The run whose code asks."""

    loop: DeterministicLoop
    run_id: str
    children_of: str
    namespace: str

    def now_us(self) -> int:
        """Return the time of the present workflow task."""
        ...


class OtherWorkflows:
    """See the module; it is what the authoring API calls `Others`."""

    __slots__ = (
        "_asked",
        "_commands",
        "_converter",
        "_instance",
        "_random",
        "_started",
        "_task",
    )

    def __init__(
        self,
        instance: Asking,
        started: WorkflowExecutionStarted,
        converter: DataConverter,
        random: Randomness,
        commands: Commands,
    ) -> None:
        """Serve one run.

        Args:
            instance: The run.
            started: Its first event.
            converter: How values are stored.
            random: Where the ids of children come from that are given none.
            commands: Its commands.
        """
        self._instance = instance
        self._started = started
        self._converter = converter
        self._random = random
        self._commands = commands
        self._task: object = None
        self._asked: dict[str, ChildMachine] = {}

    # ------------------------------------------------------------------ children

    async def start_child(self, request: ChildRequest) -> ChildOperation:
        """See `Others.start_child`."""
        handle = self.run_child(request)
        await self.until_there(handle)
        return handle

    async def until_there(self, handle: ChildOperation) -> None:
        """Return when the child of a handle is there.

        Raises:
            WorkflowAlreadyStartedError: It could not be started.
            asyncio.CancelledError: This was cancelled, and so is the child, in the way its options say: nobody has the
                handle to do it later. That it had just come to be there makes no difference.
        """
        starting = self._started_of(handle)
        try:
            await starting
        except asyncio.CancelledError:
            if not starting.cancelled() and starting.exception() is None:
                handle.cancel()
                with contextlib.suppress(Exception, asyncio.CancelledError):
                    await handle
            raise

    def run_child(self, request: ChildRequest) -> ChildOperation:
        """See `Others.run_child`. It is the handle, too, which nobody has before the child is there."""
        instance, id = self._instance, self._commands.new_id()
        machine = ChildMachine(id, request, self._converter)
        if machine.options.cron_schedule:
            first_delay(machine.options.cron_schedule, instance.now_us())  # refuses one that never comes
        command = machine.start(
            self._started,
            namespace=instance.namespace,
            run_id=child_run_id(instance.children_of, id),
            workflow_id=machine.options.id or str(self._random.child_id()),
        )
        handle = ChildOperation(loop=instance.loop)
        instance.loop.number(handle, id)
        handle.on_cancel = partial(self._cancel_child, machine)
        handle.command, handle.id, handle.first_execution_run_id = id, command.workflow_id, command.run_id
        machine.handle = handle
        self._commands.operations[id] = machine
        self._commands.issue(command)
        self._asked_now()[command.workflow_id] = machine
        return handle

    def _started_of(self, handle: ChildOperation) -> Operation[None]:
        machine = cast(ChildMachine, self._commands.operations[handle.command])
        machine.starting = self._instance.loop.operation(handle.command, partial(self._cancel_child, machine))
        return machine.starting

    def _cancel_child(self, machine: ChildMachine) -> bool:
        """Take the cancel of an await of a child or of its start; True when the await goes on."""
        # What was asked for in this very task never was.
        if self._commands.withdraw(machine.id, None):
            machine.let_pass()
        else:
            if machine.state != "cancel requested":
                self._ask_to_end(machine)
            if machine.waits:
                return True
        if machine.starting is not None and not machine.starting.done():
            # It is the start that is awaited, and nobody has the handle.
            machine.handle.complete_cancelled()
        return False

    def _ask_to_end(self, machine: ChildMachine) -> None:
        if not machine.asks:
            machine.step("cancel")
            return
        id = self._commands.new_id()
        self._commands.operations[id] = CancelChildMachine(id, machine)
        self._commands.issue(machine.cancel(id))

    # ------------------------------------------------------------------ messages

    def signal(
        self, target: Target, name: str, args: Sequence[Any], types: Sequence[Any] | None
    ) -> asyncio.Future[None]:
        """See `Others.signal`."""
        id, path = self._commands.new_id(), f"signal {name}"
        converter = self._converter.of_workflow(self._instance.namespace, target.workflow_id)
        input = converter.to_payloads(args, path=path)
        if types is not None:
            # At a replay too: code that catches the error does something else than code that meets none.
            converter.from_payloads(input, types[: len(input)], path=path)
        return self._send(
            SignalExternalWorkflowExecutionInitiated(
                id=id,
                workflow_id=target.workflow_id,
                run_id=target.run_id,
                first_run_id=target.first_run_id,
                name=name,
                input=input,
            )
        )

    def cancel(self, target: Target, reason: str) -> asyncio.Future[None]:
        """See `Others.cancel`."""
        return self._send(
            RequestCancelExternalWorkflowExecutionInitiated(
                id=self._commands.new_id(),
                workflow_id=target.workflow_id,
                run_id=target.run_id,
                first_run_id=target.first_run_id,
                reason=reason,
            )
        )

    def _send(self, command: ExternalCommand) -> asyncio.Future[None]:
        machine = ExternalMachine(command)
        operation: Operation[None] = self._instance.loop.operation(command.id)

        def on_cancel() -> bool:
            if machine.id in self._commands.operations and not self._commands.withdraw(command.id, None):
                machine.step("cancel")
            return False

        def issue() -> None:
            if not operation.done():
                self._commands.operations[command.id] = machine
                self._commands.issue(command)

        operation.on_cancel = on_cancel
        machine.operation = operation
        child = None if command.run_id else self._asked_now().get(command.workflow_id)
        if child is not None and child.id in self._commands.wanted:
            # A child that this very task asked for is not there before the task is written. Nor is the message.
            child.behind.append(issue)
        else:
            issue()
        return operation

    def _asked_now(self) -> dict[str, ChildMachine]:
        """The children that the present task has asked for, by workflow id."""
        if self._task is not self._commands.wanted:
            self._task, self._asked = self._commands.wanted, {}
        return self._asked
