"""A history run again: through the same code to the same state, or a report of where they part."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import accumulate

from durable._replay._facts import counted_to
from durable._replay._instance import Instance
from durable._replay._matcher import changed_arguments, first_difference, report
from durable._replay._patches import marked, without_deprecated
from durable._replay._stacks import place
from durable._replay._turns import Turns
from durable.exceptions import NondeterminismError
from durable.history import (
    FROM_OUTSIDE,
    CommandEvent,
    Event,
    Input,
    WorkflowExecutionCancelRequested,
    WorkflowExecutionUpdateAccepted,
    WorkflowTaskCompleted,
    encode_data,
)

Activate = Callable[..., list[CommandEvent]]
"""Runs a task on an instance, as `Instance.activate`."""

Rebuild = Callable[[], Instance]
"""Makes a fresh instance of the same run that remembers source lines, to explain a mismatch."""


def tasks_of(events: Sequence[Event]) -> Iterator[tuple[list[Event], list[Event]]]:
    """Yield the workflow tasks of a history: the inputs of each, and the commands recorded for it.

    An end from outside belongs to no task: the code never hears of it.
    """
    inputs: list[Event] = []
    commands: list[Event] = []
    task = 0
    for event in events:
        is_input = isinstance(event.data, Input)
        if is_input and isinstance(event.data, FROM_OUTSIDE):
            continue
        if event.task != task:
            if inputs:
                yield inputs, commands
            inputs, commands, task = [], [], event.task
        (inputs if is_input else commands).append(event)
    if inputs:
        yield inputs, commands


def replay(
    instance: Instance,
    turns: Turns,
    events: Sequence[Event],
    *,
    rebuild: Rebuild,
    sizes: Sequence[int] | None = None,
    strict: bool = False,
    pending: Sequence[CommandEvent] | None = None,
    defined: Callable[[str], str | None] = lambda name: None,
    warn: Callable[[str], None] = lambda text: None,
    activate: Activate = Instance.activate,
) -> list[CommandEvent] | None:
    """Bring a fresh instance to the state that a history describes.

    The last task is *live* when nothing is recorded of its commands: it runs as for the first time.

    Args:
        instance: Fresh, of the code as it is now.
        turns: The batch of turns this belongs to.
        events: The whole history.
        rebuild: Makes another one, to explain a mismatch.
        sizes: Bytes of the history up to each event; found out here by default.
        strict: Whether changed arguments are an error.
        pending: What the last task asked for that the log does not have yet, when it has run before.
        defined: Where an activity is defined, for the report.
        warn: Where changed arguments are told when not strict.
        activate: What runs a task: a debugger stands around that.

    Returns:
        The commands of the last task if it was live, else None.

    Raises:
        NondeterminismError: The code asks for something else than was recorded; both are shown.
        BaseException: As `Instance.activate`.
    """
    if sizes is None:
        sizes = list(accumulate(len(encode_data(event.data)) for event in events))
    tasks = list(tasks_of(events))
    for index, (inputs, recorded) in enumerate(tasks):
        live = not recorded and index == len(tasks) - 1
        recorded = _versioned(instance, recorded, live=live)
        try:
            counted = counted_to(inputs)
            commands = activate(
                instance,
                turns,
                inputs,
                replaying=pending is not None or not live,
                size=sizes[counted - 1] if counted else 0,
                patches=marked(pending or ()) if live else marked([event.data for event in recorded]),
            )
        except NondeterminismError as error:
            raise NondeterminismError(f"{_title(instance, inputs)}\n{error}") from None
        if live:
            return commands
        if instance.closing is not None and index + 1 < len(tasks) and _only_late(tasks[index + 1][0]):
            # The close was refused over a cancel request or an update that came too late to matter to it, and written
            # behind these.
            commands = commands[:-1]
        recorded, commands = without_deprecated(recorded, commands)
        if first_difference(recorded, commands) is not None:
            raise NondeterminismError(_explain(rebuild(), turns, tasks[: index + 1], defined))
        for change in changed_arguments(recorded, commands):
            if strict:
                change = _explain_change(rebuild(), turns, tasks[: index + 1]) or change
                raise NondeterminismError(f"{_title(instance, inputs)}\n{change}")
            warn(change)
    return None


def _versioned(instance: Instance, recorded: list[Event], *, live: bool) -> list[Event]:
    """Tell the code which version runs a task, and return its commands without what says so."""
    if live:
        instance.version = instance.own_version
    elif recorded and isinstance(first := recorded[0].data, WorkflowTaskCompleted):
        instance.version = first.worker_deployment_version
        return recorded[1:]
    return recorded


def _only_late(inputs: Sequence[Event]) -> bool:
    late = (WorkflowExecutionCancelRequested, WorkflowExecutionUpdateAccepted)
    return all(isinstance(event.data, late) for event in inputs)


def _title(instance: Instance, inputs: Sequence[Event]) -> str:
    return (
        f"workflow {instance.definition.name!r} ({instance.definition.where}), run {instance.run_id}: task "
        f"{inputs[0].task} does not replay"
    )


def _explain(
    traced: Instance,
    turns: Turns,
    tasks: Sequence[tuple[list[Event], list[Event]]],
    defined: Callable[[str], str | None],
) -> str:
    """Run the tasks once more on an instance that remembers source lines, and return the report."""
    try:
        recorded, commands = _last_task(traced, turns, tasks)
        return report(
            recorded,
            commands,
            title=_title(traced, tasks[-1][0]),
            sources=(traced.sources or {}).get,
            defined=defined,
            stands=place(traced.loop),
        )
    finally:
        traced.evict()


def _explain_change(
    traced: Instance, turns: Turns, tasks: Sequence[tuple[list[Event], list[Event]]]
) -> str | None:
    """The same, and return the first call that is made with other arguments, with its line.

    None when the code, run once more, does not make that call so again: it follows chance.
    """
    try:
        recorded, commands = _last_task(traced, turns, tasks)
        if first_difference(recorded, commands) is not None:
            return None
        return next(iter(changed_arguments(recorded, commands, (traced.sources or {}).get)), None)
    finally:
        traced.evict()


def _last_task(
    traced: Instance, turns: Turns, tasks: Sequence[tuple[list[Event], list[Event]]]
) -> tuple[list[Event], list[CommandEvent]]:
    """What was recorded of the last task, and what the code asks for in it."""
    commands: list[CommandEvent] = []
    for inputs, recorded in tasks:
        _versioned(traced, recorded, live=False)
        patches = marked([event.data for event in recorded])
        commands = traced.activate(turns, inputs, replaying=True, patches=patches)
    return without_deprecated(_versioned(traced, tasks[-1][1], live=False), commands)
