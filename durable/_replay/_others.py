"""What a run's code does to other workflows: children, and messages to whoever has a workflow id.

Made when it is first needed: most runs do nothing of the kind.
"""

from __future__ import annotations

import asyncio
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


class OtherWorkflows:
    """See the module; it is what the authoring API calls `Others`."""

    __slots__ = (
        "_commands",
        "_converter",
        "_instance",
        "_random",
        "_started",
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

    # ------------------------------------------------------------------ children

    async def start_child(self, request: ChildRequest) -> ChildOperation:
        """See `Others.start_child`."""
        handle = self.run_child(request)
        await self.started(handle)
        return handle

    def run_child(self, request: ChildRequest) -> ChildOperation:
        """See `Others.run_child`. It is the handle, too, which nobody has before the child is there."""
        instance, id = self._instance, self._commands.new_id()
        machine = ChildMachine(id, request, self._converter)
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
        return handle

    def started(self, handle: asyncio.Future[Any]) -> asyncio.Future[None]:
        """Return a future that is done once the child of a handle is there, or could not be started."""
        assert isinstance(handle, ChildOperation)
        machine = cast(ChildMachine, self._commands.operations[handle.command])
        machine.starting = self._instance.loop.operation(handle.command, partial(self._cancel_child, machine))
        return machine.starting

    def _cancel_child(self, machine: ChildMachine) -> bool:
        """Take the cancel of an await of a child or of its start; True when the await goes on."""
        # What was asked for in this very task never was.
        if not self._commands.withdraw(machine.id, None):
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
            if not self._commands.withdraw(command.id, None):
                machine.step("cancel")
            return False

        operation.on_cancel = on_cancel
        machine.operation = operation
        self._commands.operations[command.id] = machine
        self._commands.issue(command)
        return operation
