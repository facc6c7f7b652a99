"""What a run does to others, and what it hears of them: children, signals and cancel requests to other workflows.

Each of these commands is answered by the store, in the transaction that carries it out, with a message to the run
itself: it is there, or it is not. So no crash comes between the deed and the news of it, and recovery has nothing to
do. The end of a child is a message of the child's own last transition; the order of the inbox puts it behind the news
of the start. Message ids are made here and nowhere else, from the number of the command, so that nothing is told twice.

A child belongs to its parent's run: its run id is a digest of that run's and of the command's number, and its first event
names both. What the parent's end means to it is the store's business, by the policy in its row.
"""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import sha256

from msgspec.structs import replace

from durable._engine._start import start
from durable._engine._state import RunState
from durable._engine.hints import ANY_KEY
from durable._engine.records import ChildStart, ExternalSend, Message, Reply, Transition
from durable._engine.versioning import AUTO_UPGRADE
from durable._timetables.ticks import first_delay
from durable.common import WorkflowIDConflictPolicy, WorkflowIDReusePolicy
from durable.history import (
    ChildWorkflowExecutionCanceled,
    ChildWorkflowExecutionCompleted,
    ChildWorkflowExecutionFailed,
    ChildWorkflowExecutionStarted,
    ChildWorkflowExecutionTerminated,
    ChildWorkflowExecutionTimedOut,
    CommandEvent,
    EventData,
    ExternalCommand,
    ExternalWorkflowExecutionCancelRequested,
    ExternalWorkflowExecutionSignaled,
    Input,
    ParentLink,
    RequestCancelExternalWorkflowExecutionFailed,
    RequestCancelExternalWorkflowExecutionInitiated,
    SignalExternalWorkflowExecutionFailed,
    SignalExternalWorkflowExecutionInitiated,
    StartChildWorkflowExecutionFailed,
    StartChildWorkflowExecutionInitiated,
    WorkflowExecutionCanceled,
    WorkflowExecutionCancelRequested,
    WorkflowExecutionCompleted,
    WorkflowExecutionFailed,
    WorkflowExecutionSignaled,
    WorkflowExecutionStarted,
    WorkflowExecutionTerminated,
    WorkflowExecutionTimedOut,
    encode_data,
)

OUTGOING = (StartChildWorkflowExecutionInitiated, ExternalCommand)
"""Commands that reach other workflows with the transition in which they are written."""

ABANDON, REQUEST_CANCEL, TERMINATE = "abandon", "request_cancel", "terminate"
"""The names, in events, of what the end of a run does to its children."""


def outgoing(
    state: RunState, commands: Sequence[CommandEvent], *, closing: bool, pinned_to: str = ""
) -> tuple[tuple[ChildStart, ...], tuple[ExternalSend, ...]]:
    """Return what the `OUTGOING` commands of a transition ask of the store.

    Args:
        state: The run that asks.
        commands: In order.
        closing: Whether the run ends with the transition. Then only children that outlive it are started.
        pinned_to: The version that it is pinned to: its children begin there, as far as that serves their queues.
    """
    starts: list[ChildStart] = []
    sends: list[ExternalSend] = []
    for command in commands:
        if isinstance(command, ExternalCommand):
            sends.append(_send(state, command))
        elif isinstance(command, StartChildWorkflowExecutionInitiated) and (
            not closing or command.parent_close_policy == ABANDON
        ):
            starts.append(_start(state, command, pinned_to))
    return tuple(starts), tuple(sends)


def _start(state: RunState, asked: StartChildWorkflowExecutionInitiated, pinned_to: str) -> ChildStart:
    parent = state.started
    started = WorkflowExecutionStarted(
        workflow_id=asked.workflow_id,
        workflow_type=asked.workflow_type,
        task_queue=asked.task_queue,
        input=asked.input,
        seed=_seed(asked.run_id),
        execution_timeout=asked.execution_timeout,
        run_timeout=asked.run_timeout,
        task_timeout=asked.task_timeout,
        retry_policy=asked.retry_policy,
        first_run_id=asked.run_id,
        memo=asked.memo,
        headers=asked.headers,
        identity=_identity(state),
        static_summary=asked.static_summary,
        static_details=asked.static_details,
        parent=ParentLink(parent.workflow_id, state.run_id, asked.id),
        parent_close_policy=asked.parent_close_policy,
        root_workflow_id=parent.root_workflow_id or parent.workflow_id,
        root_run_id=parent.root_run_id or state.run_id,
        cron_schedule=asked.cron_schedule,
        search_attributes=asked.search_attributes,
        priority=asked.priority,
        limits=asked.limits,
        delay=first_delay(asked.cron_schedule, state.task_time) if asked.cron_schedule else 0,
        inherited_version=pinned_to,
        versioning_override="" if state.override == AUTO_UPGRADE else state.override,
    )
    run = start(
        asked.run_id,
        started,
        reuse=WorkflowIDReusePolicy[asked.id_reuse_policy.upper()],
        conflict=WorkflowIDConflictPolicy.FAIL,
    )
    reply = _reply(
        f"child:{asked.id}:started",
        ChildWorkflowExecutionStarted(id=asked.id, run_id=asked.run_id),
        StartChildWorkflowExecutionFailed(id=asked.id),
    )
    return ChildStart(run, reply)


def _send(state: RunState, asked: ExternalCommand) -> ExternalSend:
    id = asked.id
    # Unique for the receiver, to whom other runs write as well.
    message_id = f"external:{state.run_id}:{id}"
    if isinstance(asked, SignalExternalWorkflowExecutionInitiated):
        event: Input = WorkflowExecutionSignaled(
            message=message_id,
            name=asked.name,
            input=asked.input,
            headers=asked.headers,
            identity=_identity(state),
        )
        done: Input = ExternalWorkflowExecutionSignaled(id=id)
        failed: Input = SignalExternalWorkflowExecutionFailed(id=id)
    else:
        assert isinstance(asked, RequestCancelExternalWorkflowExecutionInitiated)
        event = WorkflowExecutionCancelRequested(
            message=message_id, reason=asked.reason, identity=_identity(state)
        )
        done = ExternalWorkflowExecutionCancelRequested(id=id)
        failed = RequestCancelExternalWorkflowExecutionFailed(id=id)
    return ExternalSend(
        workflow_id=asked.workflow_id,
        message_id=message_id,
        type=int(event.type),
        data=encode_data(event),
        reply=_reply(f"external:{id}", done, failed),
        run_id=asked.run_id or None,
        first_run_id=asked.first_run_id or None,
    )


def _reply(message_id: str, done: Input, failed: Input) -> Reply:
    done, failed = replace(done, message=message_id), replace(failed, message=message_id)
    return Reply(message_id, int(done.type), encode_data(done), int(failed.type), encode_data(failed))


def _identity(state: RunState) -> str:
    """How people find the sender of what a workflow sent."""
    return f"workflow {state.started.workflow_id}"


def _seed(run_id: str) -> int:
    """The seed of a child: chance for it, and the same at each try to start it."""
    return int.from_bytes(sha256(f"durable child seed\0{run_id}".encode()).digest()[:8]) >> 1


def told_by(transition: Transition, state: RunState) -> list[str]:
    """Return the runs that a committed transition gave messages to, as far as they are known; else `ANY_KEY`."""
    if not (transition.messages or transition.sends or state.children):
        return []
    told = [message.run_id for message in transition.messages if message.run_id != state.run_id]
    told += [send.run_id or send.first_run_id or ANY_KEY for send in transition.sends]
    if transition.close is not None:
        told += [
            child.asked.run_id
            for child in state.children.values()
            if child.started and child.asked.parent_close_policy == REQUEST_CANCEL
        ]
    return list(dict.fromkeys(told))


def condemns(state: RunState) -> bool:
    """Whether the end of a run ends children with it."""
    return any(child.asked.parent_close_policy == TERMINATE for child in state.children.values())


def _why_not_again(started: WorkflowExecutionStarted, end: WorkflowExecutionTimedOut) -> str | None:
    """Return why a run that timed out is not tried again; None when nobody said that it should be."""
    policy = started.retry_policy
    if end.timeout_type == "execution":
        return "timeout"
    if policy is None:
        return None
    return "maximum_attempts_reached" if 0 < policy.maximum_attempts <= started.attempt else "timeout"


def news_for_parent(started: WorkflowExecutionStarted, end: EventData) -> Message | None:
    """Return what a run's last event tells the run whose child it is; None if there is nothing to tell.

    A run that goes on in another one has not ended; one whose parent ended it has nobody to tell.

    Args:
        started: The run's first event.
        end: Its last one.
    """
    link = started.parent
    new_run_id: str = getattr(end, "new_run_id", "")
    if link is None or new_run_id:
        return None
    message_id = f"child:{link.id}:closed"
    match end:
        case WorkflowExecutionCompleted():
            news: Input = ChildWorkflowExecutionCompleted(message=message_id, id=link.id, result=end.result)
        case WorkflowExecutionFailed():
            news = ChildWorkflowExecutionFailed(
                message=message_id, id=link.id, failure=end.failure, retry_state=end.retry_state
            )
        case WorkflowExecutionCanceled():
            news = ChildWorkflowExecutionCanceled(message=message_id, id=link.id, details=end.details)
        case WorkflowExecutionTerminated():
            news = ChildWorkflowExecutionTerminated(message=message_id, id=link.id, reason=end.reason)
        case WorkflowExecutionTimedOut():
            news = ChildWorkflowExecutionTimedOut(
                message=message_id,
                id=link.id,
                timeout_type=end.timeout_type,
                retry_state=_why_not_again(started, end),
            )
        case _:
            return None
    return Message(link.run_id, message_id, int(news.type), encode_data(news), internal=True)
