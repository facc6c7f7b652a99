"""What follows the end of a run: nothing, or a run that goes on under the same workflow id.

Three things make a chain of runs: a workflow that continues as new, a retry policy of the workflow, and a cron schedule.
Whatever ends a run is looked at here once, when it is about to be written, and becomes the last event of the one run and
the first of the other, in one transaction.

A run goes on for its chain: the successor has the workflow's id, parent, memo, headers and policies, unless a
continue-as-new said otherwise, and what is left of the execution timeout. Its run id and its seed are digests of the run
before it, so that a close that is written twice makes one successor.
"""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import sha256

from msgspec import Struct
from msgspec.structs import replace

from durable._engine._messages import message
from durable._engine._retry import Retry, RetryState, decide
from durable._engine._run_info import after
from durable._engine._start import start
from durable._engine._state import CLOSING_STATUS, RunState
from durable._engine._updates import LOST
from durable._engine.records import Close, RunStatus, Unread
from durable._engine.versioning import AUTO_UPGRADE
from durable._internal.ids import derived_uuid
from durable._internal.instants import SECOND
from durable._timetables.ticks import next_tick
from durable.common import WorkflowIDConflictPolicy, WorkflowIDReusePolicy
from durable.history import (
    EventData,
    Failure,
    Payload,
    TimeoutFailure,
    WorkflowExecutionCompleted,
    WorkflowExecutionContinuedAsNew,
    WorkflowExecutionFailed,
    WorkflowExecutionSignaled,
    WorkflowExecutionStarted,
    WorkflowExecutionTimedOut,
)


class Ending(Struct, frozen=True, gc=False):
    """The last event of a run, and the close that goes with it."""

    event: EventData
    close: Close


def end(
    state: RunState,
    closing: EventData,
    *,
    now: int,
    untaken: Sequence[WorkflowExecutionSignaled] = (),
    unread: Unread = Unread.REFUSE,
    commands: Sequence[EventData] = (),
    pinned_to: str | None = None,
) -> Ending:
    """Return how a run ends that is about to end by `closing`.

    Args:
        state: The run.
        closing: What ends it, as its code asked for it or as it happens to it.
        now: The database's time, as well as it is known.
        untaken: Signals that the code was given and nobody received; they go on to the successor, before unread ones.
        unread: What unread messages mean when there is a successor; without one, each refuses the close.
        commands: Those before it that are not in the log yet, if they change what the run is found by.
        pinned_to: The version that it belongs to behind its last task; what the log says by default.
    """
    event, started = _succeed(state, closing, now)
    if started is not None:
        started = _versioned(started, state, closing, state.pinned_to if pinned_to is None else pinned_to)
    status = CLOSING_STATUS[type(event)]
    if started is None:
        return Ending(event, Close(status, update_lost=LOST))
    if commands:
        started = _found_by(started, state, closing, commands)
    run_id = next_run_id(state.run_id)
    if unread is Unread.MOVE:
        started = replace(started, known=_known(state, untaken, now))
    came = {id: place for place, id in enumerate(state.messages)} if untaken else {}
    moved = tuple(
        message(run_id, signal.message, signal)
        for signal in sorted(untaken, key=lambda signal: came[signal.message])
    )
    expires = started.expires_at
    successor = start(
        run_id,
        started,
        reuse=WorkflowIDReusePolicy.ALLOW_DUPLICATE,
        conflict=WorkflowIDConflictPolicy.FAIL,
        # At least something: the run is timed out for its chain, and not as one that never had time.
        remaining=None if expires is None else max(1, expires - now - started.delay),
        messages=moved,
    )
    if successor.lane is not None:
        # The slot is the workflow's, and goes on with it.
        successor = replace(successor, admitted=True)
    return Ending(event, Close(status, unread, successor, LOST))


def _versioned(
    started: WorkflowExecutionStarted, state: RunState, closing: EventData, pinned_to: str
) -> WorkflowExecutionStarted:
    """Let a run that goes on begin with the version that the one before it was pinned to, but at a tick of a schedule."""
    initial = getattr(closing, "initial_versioning_behavior", "")
    at_tick = started.attempt == 1 and not isinstance(closing, WorkflowExecutionContinuedAsNew)
    return replace(
        started,
        versioning_override="" if state.override == AUTO_UPGRADE else state.override,
        inherited_version="" if initial or at_tick else pinned_to,
        initial_versioning=initial,
    )


def _found_by(
    started: WorkflowExecutionStarted, state: RunState, closing: EventData, commands: Sequence[EventData]
) -> WorkflowExecutionStarted:
    memo, attributes, _ = after(state, commands)
    if isinstance(closing, WorkflowExecutionContinuedAsNew):
        memo = memo if closing.memo is None else closing.memo
        attributes = attributes if closing.search_attributes is None else closing.search_attributes
    return replace(started, memo=memo, search_attributes=attributes)


SENT_AGAIN = 30_000_000
"""Microseconds after its first sending within which a sender in doubt may send a message again: thrice its patience."""


def _known(state: RunState, untaken: Sequence[WorkflowExecutionSignaled], now: int) -> tuple[str, ...]:
    """Return the ids of signals and cancel requests that must not move on: the run has read them, but for those it gives
    away. Ids of other messages come again in the next run, which numbers its commands anew, and mean others there."""
    given_away = {signal.message for signal in untaken}
    return tuple(id for id, at in state.messages.items() if at >= now - SENT_AGAIN and id not in given_away)


def next_run_id(run_id: str) -> str:
    """Return the id of the run that goes on where this one ends."""
    return derived_uuid("durable successor", run_id)


def _succeed(
    state: RunState, closing: EventData, now: int
) -> tuple[EventData, WorkflowExecutionStarted | None]:
    """Return the event that ends the run, and the first one of its successor, if it has one."""
    match closing:
        case WorkflowExecutionContinuedAsNew():
            event = replace(closing, new_run_id=next_run_id(state.run_id))
            return event, _continued(state, closing)
        case WorkflowExecutionCompleted():
            next_run = _at_next_tick(state, now, last_result=closing.result)
        case WorkflowExecutionFailed():
            decided = _try_again(state, closing.failure, now)
            if isinstance(decided, RetryState):
                closing = replace(closing, retry_state=decided.value)
            next_run = _after_failure(state, decided, closing.failure, now)
        case WorkflowExecutionTimedOut():
            failure = _timed_out(state)
            next_run = _after_failure(state, _try_again(state, failure, now), failure, now)
        case _:
            next_run = None
    if next_run is not None:
        return replace(closing, new_run_id=next_run_id(state.run_id)), next_run
    return closing, None


TIMED_OUT = Failure("workflow timed out", info=TimeoutFailure("start_to_close"))
"""How a timeout is told."""


def _timed_out(state: RunState) -> Failure:
    """Return what the run behind a timeout is told, and its retry policy is asked about."""
    limit = state.started.run_timeout
    if limit is None:
        return TIMED_OUT
    return replace(TIMED_OUT, message=f"{TIMED_OUT.message}: its run_timeout of {limit / SECOND:g} s is over")


def _try_again(state: RunState, failure: Failure, now: int) -> Retry | RetryState | None:
    """Whether the workflow's retry policy has another run follow; None without a policy."""
    started = state.started
    if started.retry_policy is None:
        return None
    if state.cancel_requested:
        return RetryState.CANCEL_REQUESTED
    digest = sha256(f"durable retry\0{state.run_id}".encode()).digest()
    return decide(
        started.retry_policy,
        started.attempt,
        failure,
        now=now,
        close_by=state.expires_at,
        jitter=int.from_bytes(digest[:8]) / 2**64,
    )


def _after_failure(
    state: RunState, decided: Retry | RetryState | None, failure: Failure, now: int
) -> WorkflowExecutionStarted | None:
    if isinstance(decided, Retry):
        return _next(state, attempt=state.started.attempt + 1, delay=decided.delay, last_failure=failure)
    return _at_next_tick(state, now, last_failure=failure)


def _at_next_tick(
    state: RunState, now: int, *, last_result: Payload | None = None, last_failure: Failure | None = None
) -> WorkflowExecutionStarted | None:
    """Return the run for the next tick of the cron schedule, if there is a schedule and time enough."""
    schedule = state.started.cron_schedule
    if not schedule:
        return None
    now = max(now, state.time)
    began = state.created_at + state.started.delay
    # Never the tick that this run is for, though the clock here may be behind.
    tick = next_tick(schedule, began, max(now, began))
    expires = state.expires_at
    if tick is None or (expires is not None and tick >= expires):
        return None
    return _next(
        state,
        delay=tick - now,
        last_result=state.started.last_result if last_result is None else last_result,
        last_failure=last_failure,
    )


def _continued(state: RunState, asked: WorkflowExecutionContinuedAsNew) -> WorkflowExecutionStarted:
    old = state.started
    new = _next(state, delay=asked.backoff)
    return replace(
        new,
        workflow_type=asked.workflow_type or old.workflow_type,
        task_queue=asked.task_queue or old.task_queue,
        input=asked.input,
        run_timeout=old.run_timeout if asked.run_timeout is None else asked.run_timeout,
        task_timeout=old.task_timeout if asked.task_timeout is None else asked.task_timeout,
        retry_policy=old.retry_policy if asked.retry_policy is None else asked.retry_policy,
        memo=state.memo if asked.memo is None else asked.memo,
        search_attributes=state.search_attributes
        if asked.search_attributes is None
        else asked.search_attributes,
        headers=asked.headers or old.headers,
    )


def _next(
    state: RunState,
    *,
    delay: int,
    attempt: int = 1,
    last_result: Payload | None = None,
    last_failure: Failure | None = None,
) -> WorkflowExecutionStarted:
    """Return the first event of the next run: the last one's, but for what each run has of its own."""
    old = state.started
    digest = sha256(f"durable successor seed\0{state.run_id}".encode()).digest()
    return replace(
        old,
        message="",
        known=(),
        original_run_id="",
        seed=int.from_bytes(digest[:8]) >> 1,
        attempt=attempt,
        first_run_id=old.first_run_id or state.run_id,
        continued_run_id=state.run_id,
        expires_at=state.expires_at,
        last_result=old.last_result if last_result is None else last_result,
        last_failure=last_failure,
        delay=delay,
        memo=state.memo,
        search_attributes=state.search_attributes,
    )


def timed_out(state: RunState | None, now: int) -> Ending:
    """Return how a run ends that outlived its timeout; its log may be one that cannot be read, then nothing follows."""
    if state is None:
        return Ending(WorkflowExecutionTimedOut(), Close(RunStatus.TIMED_OUT))
    expires = state.expires_at
    kind = "run" if expires is None or now < expires else "execution"
    return end(state, WorkflowExecutionTimedOut(timeout_type=kind), now=now, unread=Unread.MOVE)
