"""What a run's code does with activities beside asking for them: cancels, ids that must differ, and local activities."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any, Protocol

from durable._replay._awaitables import Operation
from durable._replay._commands import Commands
from durable._replay._loop import DeterministicLoop
from durable._replay.machines._activity import ActivityMachine
from durable._replay.machines._local_activity import LocalActivityMachine
from durable._replay.machines._timer import TimerMachine
from durable.activity._call import ActivityCall
from durable.converter import DataConverter
from durable.exceptions import WorkflowTaskError
from durable.history import WorkflowExecutionStarted

Serves = Callable[[str], bool]
"""Whether an activity of a type can run in this process."""


def cancel_activity(commands: Commands, loop: DeterministicLoop, machine: ActivityMachine) -> bool:
    """Take an await's cancel; True when the await goes on until the activity has ended."""
    if machine.id in commands.wanted:
        commands.withdraw(machine.id, None)
        return False
    command = machine.cancel()
    if command is not None:
        loop.progress += 1
        commands.withdraw(machine.id, command)
    return machine.cancellation.name == "WAIT_CANCELLATION_COMPLETED"


class OpenIds:
    """The ids of open activities, of a run whose code gives some of them ids of its own.

    Two open ones with one id could not be told apart by those who complete, cancel or look at activities by their id.
    """

    __slots__ = ("_by_id", "_commands", "_most")

    def __init__(self, commands: Commands) -> None:
        self._commands = commands
        self._by_id: dict[str, ActivityMachine] = {}
        self._most = 100
        self._note(one for one in commands.operations.values() if isinstance(one, ActivityMachine))

    def clash(self, machine: ActivityMachine) -> WorkflowTaskError | None:
        """Return the error of an activity that would have the id of one that is open; None if there is none."""
        other = self._by_id.get(machine.activity_id)
        if other is None or not self._is_open(other):
            return None
        return WorkflowTaskError(
            f"activity {machine.name!r} has the activity_id {machine.activity_id!r}, which activity {other.name!r} of "
            "the same run has too, and that one is still open; give each an id of its own, or none"
        )

    def take(self, machine: ActivityMachine) -> None:
        """Take the id of an activity that is asked for."""
        if len(self._by_id) >= self._most:
            known, self._by_id = self._by_id, {}
            self._note(one for one in known.values() if self._is_open(one))
            self._most = 2 * len(self._by_id) + 100
        self._by_id[machine.activity_id] = machine

    def _note(self, machines: Iterable[ActivityMachine]) -> None:
        self._by_id.update((one.activity_id, one) for one in machines)

    def _is_open(self, machine: ActivityMachine) -> bool:
        return machine.state == "backing off" or self._commands.operations.get(machine.id) is machine


class Asking(Protocol):
    """The run whose code asks."""

    loop: DeterministicLoop
    namespace: str

    def now_us(self) -> int:
        """Return the time of the present workflow task."""
        ...

    def take_id(self, machine: ActivityMachine) -> None:
        """Take the id of an activity that is asked for."""
        ...


class LocalActivities:
    """The local activities of one run; made when the first is asked for."""

    __slots__ = ("_commands", "_converter", "_instance", "_started")

    def __init__(
        self,
        instance: Asking,
        commands: Commands,
        started: WorkflowExecutionStarted,
        converter: DataConverter,
    ) -> None:
        self._instance = instance
        self._commands = commands
        self._started = started
        self._converter = converter

    def start(self, call: ActivityCall[Any]) -> asyncio.Future[Any]:
        """See `Runtime.start_local_activity`."""
        instance, commands = self._instance, self._commands
        id = commands.new_id()
        machine = LocalActivityMachine(id, call, self._converter, instance.now_us())
        command = machine.start(self._started, instance.namespace)
        instance.take_id(machine)
        operation: Operation[Any] = instance.loop.operation(id, partial(self._cancel, machine))
        machine.operation = operation
        machine.back_off = self._back_off
        self._issue(machine, id, command)
        return operation

    def _issue(self, machine: LocalActivityMachine, id: int, command: Any) -> None:
        commands = self._commands
        commands.operations[id] = machine
        commands.issue(command)
        # With the headers that were put on it.
        machine.command = commands.wanted[id]  # type: ignore[assignment]

    def _back_off(self, machine: LocalActivityMachine, delay: int) -> None:
        commands = self._commands
        id = commands.new_id()
        machine.timer = timer = TimerMachine(id, partial(self._again, machine))
        commands.operations[id] = timer
        commands.issue(timer.start(delay, f"before attempt {machine.attempt} of {machine.name}"))

    def _again(self, machine: LocalActivityMachine) -> None:
        id = self._commands.new_id()
        self._issue(machine, id, machine.again(id))

    def _cancel(self, machine: LocalActivityMachine) -> bool:
        """Take an await's cancel, as `cancel_activity`."""
        timer = machine.timer
        if timer is None:
            return cancel_activity(self._commands, self._instance.loop, machine)
        machine.step("cancel")
        machine.timer = None
        self._commands.forget(timer.id, timer.cancel())
        self._instance.loop.progress += 1
        return False


def not_served(activity_type: str) -> WorkflowTaskError:
    """Return the error of a local activity that cannot run where its run is."""
    return WorkflowTaskError(
        f"local activity {activity_type!r} is not registered on the worker that runs this workflow, and only that one "
        "could run it; list it in the worker's activities, or use workflow.execute_activity, which any worker of the "
        "task queue may run"
    )
