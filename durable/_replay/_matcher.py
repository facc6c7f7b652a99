"""What the code asks for now, held against what its history recorded.

Compared are the kind of each command, its number, and what names it: an activity's or a child's type and id, whether an
activity is local, the workflow and the name of a signal, an update's id, a patch. Timeouts, retry policies, queues and
durations may change under a running workflow, and are not compared. Arguments are: a difference means that something
else than the log decided, though the order of commands happened to stay; it is reported as a warning, and as an error in
strict mode.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from durable.history import (
    ActivityTaskScheduled,
    CommandEvent,
    Event,
    MarkerRecorded,
    RequestCancelExternalWorkflowExecutionInitiated,
    SignalExternalWorkflowExecutionInitiated,
    StartChildWorkflowExecutionInitiated,
    TimerStarted,
    WorkflowExecutionUpdateCompleted,
)

Warn = Callable[[str], None]


def differs(recorded: CommandEvent, wanted: CommandEvent) -> bool:
    """Whether two commands are not the same step of a workflow."""
    if type(recorded) is not type(wanted) or recorded.id != wanted.id:
        return True
    if isinstance(recorded, ActivityTaskScheduled) and isinstance(wanted, ActivityTaskScheduled):
        return (
            recorded.activity_type != wanted.activity_type
            or recorded.activity_id != wanted.activity_id
            or (recorded.local is None) != (wanted.local is None)
        )
    return any(getattr(recorded, name) != getattr(wanted, name) for name in _NAMES.get(type(wanted), ()))


_NAMES: dict[type[CommandEvent], tuple[str, ...]] = {
    StartChildWorkflowExecutionInitiated: ("workflow_type", "workflow_id"),
    SignalExternalWorkflowExecutionInitiated: ("workflow_id", "run_id", "name"),
    RequestCancelExternalWorkflowExecutionInitiated: ("workflow_id", "run_id"),
    WorkflowExecutionUpdateCompleted: ("update",),
    MarkerRecorded: ("name", "patch_id"),
}
"""What names the step that a command is, beside its kind and its number."""

_CALLS = (
    ActivityTaskScheduled,
    StartChildWorkflowExecutionInitiated,
    SignalExternalWorkflowExecutionInitiated,
)
"""Commands with arguments."""


def first_difference(recorded: Sequence[Event], wanted: Sequence[CommandEvent]) -> int | None:
    """Return the index of the first command in which a task differs from its record, or None."""
    known = len(recorded)
    for index, command in enumerate(wanted):
        if index == known or differs(recorded[index].data, command):  # type: ignore[arg-type]
            return index
    return None if len(wanted) == known else len(wanted)


def changed_arguments(
    recorded: Sequence[Event],
    wanted: Sequence[CommandEvent],
    sources: Callable[[int | str], str | None] = lambda id: None,
) -> list[str]:
    """Return a sentence for each call that is made with other arguments than recorded, with its line where that is known.

    The task is one without `first_difference`.
    """
    return [
        f"event {recorded[index].seq}: {_called(command)} is called with other arguments than were recorded"
        + (f", at {where}" if (where := sources(key_of(command))) else "")
        for index, command in enumerate(wanted)
        if isinstance(command, _CALLS)
        and isinstance(data := recorded[index].data, _CALLS)
        and data.input != command.input
    ]


def _called(
    command: ActivityTaskScheduled
    | StartChildWorkflowExecutionInitiated
    | SignalExternalWorkflowExecutionInitiated,
) -> str:
    if isinstance(command, ActivityTaskScheduled):
        return f"activity {command.activity_type!r}"
    if isinstance(command, StartChildWorkflowExecutionInitiated):
        return f"child workflow {command.workflow_type!r}"
    return f"signal {command.name!r}"


def describe(command: CommandEvent) -> str:
    """Return a command as a person reads it, in a few words."""
    kind = type(command).__name__
    if isinstance(command, ActivityTaskScheduled):
        return f"{kind} {command.activity_type}{'' if command.local is None else ' (local)'}"
    if isinstance(command, StartChildWorkflowExecutionInitiated):
        return f"{kind} {command.workflow_type} {command.workflow_id}"
    if isinstance(command, SignalExternalWorkflowExecutionInitiated):
        return f"{kind} {command.name} to {command.workflow_id}"
    if isinstance(command, RequestCancelExternalWorkflowExecutionInitiated):
        return f"{kind} {command.workflow_id}"
    if isinstance(command, TimerStarted):
        return f"{kind} {command.duration / 1_000_000:g} s"
    if isinstance(command, WorkflowExecutionUpdateCompleted):
        return f"{kind} {command.update}"
    if isinstance(command, MarkerRecorded):
        return f"{kind} {command.name} {command.patch_id}"
    return kind


def key_of(command: CommandEvent) -> int | str:
    """Return what a command of a task is known by: its number, or the patch that a marker is for."""
    return command.patch_id if isinstance(command, MarkerRecorded) else command.id


def _hint(recorded: Sequence[Event], wanted: Sequence[CommandEvent], at: int | None) -> str | None:
    """What to do about a patch that the code no longer asks for."""
    data = None if at is None or at >= len(recorded) else recorded[at].data
    if not isinstance(data, MarkerRecorded) or any(key_of(one) == data.patch_id for one in wanted):
        return None
    return (
        f"The run took the way of patch {data.patch_id!r}: leave workflow.deprecate_patch({data.patch_id!r}) where "
        "workflow.patched stood, until no such run is left."
    )


def report(
    recorded: Sequence[Event],
    wanted: Sequence[CommandEvent],
    *,
    title: str,
    sources: Callable[[int | str], str | None],
    defined: Callable[[str], str | None],
    stands: str | None = None,
) -> str:
    """Return the two columns: what the history recorded and what the code now wants, with source lines.

    Args:
        recorded: The command events of one task.
        wanted: What the code asks for in that task.
        title: What it is about.
        sources: The line that asked for a command, by its number; for a patch by its id.
        defined: The line where an activity is defined, by its type.
        stands: The line at which the code waits when the task is over.
    """
    at = first_difference(recorded, wanted)
    rows: list[tuple[str, str, str]] = [("", "history recorded", "the code now wants")]
    for index in range(max(len(recorded), len(wanted))):
        left = right = "(nothing)"
        left_source = right_source = None
        if index < len(recorded):
            event = recorded[index]
            data = event.data
            assert isinstance(data, CommandEvent)
            left = f"{event.seq}: {describe(data)}"
            if isinstance(data, ActivityTaskScheduled) and (where := defined(data.activity_type)):
                left_source = f"   defined at {where}"
        if index < len(wanted):
            right = describe(wanted[index])
            if where := sources(key_of(wanted[index])):
                right_source = f"   at {where}"
        elif stands is not None:
            right_source = f"   it waits at {stands}"
        rows.append((">" if index == at else "", left, right))
        if index == at and (left_source or right_source):
            rows.append(("", left_source or "", right_source or ""))
        if at is not None and index >= at + 3:
            rows.append(("", "...", "..."))
            break
    width = max(len(left) for _, left, _ in rows)
    lines = [f"{mark:1} {left:<{width}} | {right}".rstrip() for mark, left, right in rows]
    return "\n".join(
        [
            title,
            *lines,
            *([] if (hint := _hint(recorded, wanted, at)) is None else [hint]),
            "Deploy code that takes the recorded steps again, and the run goes on from where it is.",
        ]
    )
