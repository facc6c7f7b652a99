"""A history told task by task: what came in, what the code asked for, and where it stands then."""

from __future__ import annotations

import linecache
import os
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from datetime import datetime
from types import FrameType
from typing import Any, cast

from durable._internal.instants import to_datetime
from durable._replay._instance import Instance
from durable._replay._matcher import describe, key_of
from durable._replay._replay import tasks_of
from durable._replay._sources import is_users
from durable._replay._stacks import frames, unfinished
from durable._replay._turns import Turns
from durable.client import WorkflowHistory
from durable.history import CommandEvent, Event
from durable.worker import Replayer

SHOWN = 80
"""Characters of a value that are shown."""


@dataclass(frozen=True)
class Place:
    """A line at which code stands.

    Attributes:
        function: What it is in.
        file: Its file.
        line: Its number.
        source: What it says.
        variables: The local variables there, each as a short text.
    """

    function: str
    file: str
    line: int
    source: str
    variables: dict[str, str]


@dataclass(frozen=True)
class WaitingTask:
    """A task of the workflow's event loop that waits.

    Attributes:
        name: The task's name; "workflow" is the workflow function itself.
        places: Where it stands: its own line first, then those of the functions it awaits.
    """

    name: str
    places: Sequence[Place]

    def __str__(self) -> str:
        lines = [f"  task {self.name!r} waits"]
        for place in self.places:
            lines.append(f"    {place.file}:{place.line} in {place.function}: {place.source}")
            lines += [f"      {name} = {value}" for name, value in place.variables.items()]
        return "\n".join(lines)


@dataclass(frozen=True)
class Asked:
    """Something that the code asked for.

    Attributes:
        event: The number of the event that recorded it; None when none has.
        text: What it is.
        source: The line that asked for it, as FILE:LINE; None if no line of the user's did.
    """

    event: int | None
    text: str
    source: str | None

    def __str__(self) -> str:
        number = "new" if self.event is None else str(self.event)
        return f"{number:>4} {self.text}" + (f"   {self.source}" if self.source else "")


@dataclass(frozen=True)
class ReplayStep:
    """One workflow task of a history, replayed. Its text is for people.

    Attributes:
        task: Its number.
        last: The number of its last event.
        time: When its last input was recorded.
        inputs: What came in: the number of each event, and what it was.
        commands: What the code then asked for.
        pending: What it has asked for so far and waits for.
        waiting: Where the tasks of the code stand.
        failure: What the code raised instead of coming to the end of the task, or where it parted from its history.
    """

    task: int
    last: int
    time: datetime
    inputs: Sequence[tuple[int, str]]
    commands: Sequence[Asked]
    pending: Sequence[Asked]
    waiting: Sequence[WaitingTask]
    failure: BaseException | None = None

    def __str__(self) -> str:
        lines = [f"task {self.task}, {self.time.isoformat()}"]
        lines += [f"  in   {seq:>4} {text}" for seq, text in self.inputs]
        lines += [f"  out  {asked}" for asked in self.commands]
        lines += [f"  open {asked}" for asked in self.pending]
        lines += [str(one) for one in self.waiting]
        if self.failure is not None:
            lines += [
                f"  {type(self.failure).__name__}:",
                *(f"    {one}" for one in str(self.failure).splitlines()),
            ]
        return "\n".join(lines)


@dataclass(frozen=True)
class ReplayTask:
    """A workflow task before it is replayed.

    Attributes:
        number: Its number.
        inputs: The events that came in.
        recorded: The events that were recorded of what the code asked for; none for a task that nobody has run yet.
    """

    number: int
    inputs: Sequence[Event]
    recorded: Sequence[Event]

    @property
    def last(self) -> int:
        """The number of its last event."""
        return [*self.inputs, *self.recorded][-1].seq


Around = Callable[[Instance, ReplayTask], AbstractContextManager[None]]
"""What stands around a task while it runs."""


class Steps:
    """Replays one history, and keeps what each task did.

    Args:
        history: The history.
        replayer: With the code.
        around: What stands around each task.
        told: Called with each step behind its task.

    Attributes:
        done: The steps so far.
    """

    def __init__(
        self,
        history: WorkflowHistory,
        replayer: Replayer,
        *,
        around: Around = lambda instance, task: nullcontext(),
        told: Callable[[ReplayStep], None] = lambda step: None,
    ) -> None:
        self.done: list[ReplayStep] = []
        self._history = history
        self._replayer = replayer
        self._around = around
        self._told = told
        self._tasks = {
            inputs[0].seq: ReplayTask(inputs[0].task, inputs, recorded)
            for inputs, recorded in tasks_of(history.events)
        }
        self._asked: dict[int, Asked] = {}

    def run(self) -> None:
        """Replay it to its end, or to where it does not replay: then the last step says why.

        Raises:
            RegistrationError: There is no such workflow.
            HistoryCorruptError: It is not a whole history.
        """
        try:
            self._replayer._replay(self._history, activate=self._activate, trace=True)
        except Exception as error:
            if not self.done:
                raise
            self.done[-1] = replace(self.done[-1], failure=error)
        if self.done:
            self._told(self.done[-1])

    def _activate(
        self, instance: Instance, turns: Turns, inputs: Sequence[Event], **how: Any
    ) -> list[CommandEvent]:
        if self.done:  # whether it replays is known only now
            self._told(self.done[-1])
        task = self._tasks[inputs[0].seq]
        commands: list[CommandEvent] = []
        try:
            with self._around(instance, task):
                commands = instance.activate(turns, inputs, **how)
        finally:
            self.done.append(self._step(instance, task, commands))
        return commands

    def _step(self, instance: Instance, task: ReplayTask, commands: Sequence[CommandEvent]) -> ReplayStep:
        numbers = {
            (type(event.data), key_of(event.data)): event.seq
            for event in task.recorded
            if isinstance(event.data, CommandEvent)
        }
        sources = instance.sources or {}
        inputs = [(event.seq, self._input(event)) for event in task.inputs]
        asked = [
            Asked(numbers.get((type(one), key_of(one))), describe(one), _near(sources.get(key_of(one))))
            for one in commands
        ]
        for command, one in zip(commands, asked, strict=True):
            self._asked.setdefault(command.id, one)
        pending = [self._asked[id] for id in instance._commands.operations if id in self._asked]
        return ReplayStep(
            task.number,
            task.last,
            to_datetime(task.inputs[-1].time),
            inputs,
            asked,
            pending,
            waiting_tasks(instance),
        )

    def _input(self, event: Event) -> str:
        data: Any = event.data
        text = type(data).__name__
        if (asked := self._asked.get(getattr(data, "id", 0))) is not None:
            return f"{text} for {asked.text.partition(' ')[2]} ({asked.event or 'new'})"
        if name := getattr(data, "name", "") or getattr(data, "workflow_type", ""):
            values = ", ".join(_short(one.data.decode("utf-8", "replace")) for one in data.input)
            return f"{text} {name}({values})"
        return text


def waiting_tasks(instance: Instance) -> list[WaitingTask]:
    """Where the tasks of a run's code stand that have not ended, the oldest first."""
    return [
        WaitingTask(task.get_name(), [_place(frame) for frame in frames(task.get_coro()) if is_users(frame)])
        for task in unfinished(instance.loop)
    ]


def _place(frame: FrameType) -> Place:
    file, line = frame.f_code.co_filename, frame.f_lineno
    source = linecache.getline(file, line).strip()
    return Place(frame.f_code.co_name, _near(file) or "", line, source, variables(frame))


def _near(path: str | None) -> str | None:
    """A path as seen from the working directory, if it is below that."""
    return path and path.removeprefix(os.getcwd() + os.sep)


def variables(frame: FrameType) -> dict[str, str]:
    """The local variables of a frame as short texts; of `self`, its attributes."""
    found: dict[str, str] = {}
    for name, value in frame.f_locals.items():
        if name == "self" and hasattr(value, "__dict__"):
            held = cast("dict[str, object]", vars(value))
            found |= {f"self.{one}": _shown(of_it) for one, of_it in held.items()}
        elif not name.startswith("__"):
            found[name] = _shown(value)
    return found


def _shown(value: object) -> str:
    try:
        return _short(repr(value))
    except Exception as error:
        return f"<{type(value).__name__}, whose repr raises {type(error).__name__}>"


def _short(text: str) -> str:
    return text if len(text) <= SHOWN else f"{text[: SHOWN - 3]}..."
