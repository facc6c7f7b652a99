"""Going back in a workflow: what is read beforehand, and the tries until nothing has changed meanwhile."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from msgspec import Struct

from durable._engine._children import news_for_parent
from durable._engine._reset import Base, Excluded, cut_at, first_task, last_good_task
from durable.client._connection import Connection
from durable.exceptions import StoreUnavailableError
from durable.history import (
    CLOSING,
    ChildWorkflowExecutionStarted,
    Event,
    ParentLink,
    StartChildWorkflowExecutionFailed,
    StartChildWorkflowExecutionInitiated,
    WorkflowExecutionStarted,
    WorkflowExecutionTerminated,
    decode_data,
    decode_history,
    encode_data,
)
from durable.store import (
    ANY_KEY,
    Deed,
    Hint,
    HintKind,
    Message,
    Reset,
    ResetView,
    RunRecord,
    Store,
    as_stored,
    beneath,
)

TRIES = 50
"""Tries before a reset gives up: each fails only because the workflow has changed its run meanwhile."""

TO = ("first_task", "last_good_task")


class Wanted(Struct, frozen=True, gc=False):
    """What a reset is to do; see `WorkflowHandle.reset`."""

    run_id: str
    event_id: int | None
    to: str
    excluded: Excluded
    deed: Deed


async def reset(connection: Connection, record: RunRecord, wanted: Wanted) -> None:
    """Reset a run to the run id that is wanted.

    Raises:
        ValueError: There is no such point.
        HistoryError: The history cannot be read.
        StoreUnavailableError: The database is away, or the workflow has never stood still.
    """
    store = connection.store
    for _ in range(TRIES):
        if await connection.patiently(lambda: store.find_run(record.workflow_id, wanted.run_id)):
            return
        if await connection.patiently(partial(_try, store, record, wanted)):
            store.hint(
                [
                    Hint(HintKind.RUN, record.task_queue),
                    Hint(HintKind.ACTIVITY, ANY_KEY),
                    Hint(HintKind.CLOSED, ANY_KEY),
                    Hint(HintKind.MESSAGE, ANY_KEY),
                ]
            )
            return
    raise StoreUnavailableError(
        f"workflow {record.workflow_id!r} changed its run each of {TRIES} times it was about to be reset; try again, "
        "or pause it before"
    )


async def _try(encoded: Store, record: RunRecord, wanted: Wanted) -> bool:
    # What is moved within a workflow is moved as it is stored.
    store = beneath(encoded)
    # First which run is open: what is read behind that of another one is all there will ever be of it.
    newest = await store.find_run(record.workflow_id)
    open_run = None if newest is None or newest.closed_at is not None else newest.run_id
    events = decode_history(await store.read_events(record.run_id))
    base = Base(record.run_id, events, _cut(events, wanted))
    behind, follows = await _behind(store, base, events, open_run)
    news = await _news(encoded, base, events)

    def plan(view: ResetView) -> Reset | None:
        return base.plan(
            wanted.run_id,
            view,
            behind,
            news,
            wanted.excluded,
            open_run=open_run,
            follows=follows,
            reason=wanted.deed.reason,
            identity=wanted.deed.identity,
        )

    after = base.cut if open_run == base.run_id else 0
    return await store.reset(
        base.run_id, wanted.run_id, open_run, plan, after=after, children=base.children, deed=wanted.deed
    )


def _cut(events: Sequence[Event], wanted: Wanted) -> int:
    if wanted.event_id is not None:
        return cut_at(events, wanted.event_id)
    return first_task(events) if wanted.to == "first_task" else last_good_task(events)


async def _behind(
    store: Store, base: Base, events: Sequence[Event], open_run: str | None
) -> tuple[list[tuple[str, Sequence[Event]]], bool]:
    """Return what came after the point in closed runs, and whether the open one goes on where they ended."""
    run_id, own = base.run_id, events[base.cut :]
    behind: list[tuple[str, Sequence[Event]]] = []
    while run_id != open_run:
        behind.append((run_id, own))
        last = own[-1].data if own else None
        following: str = getattr(last, "new_run_id", "") or getattr(last, "reset_run_id", "")
        if not isinstance(last, CLOSING) or not following:
            return behind, False
        run_id = following
        if run_id != open_run:
            own = decode_history(await store.read_events(run_id))
    return behind, True


async def _news(store: Store, base: Base, events: Sequence[Event]) -> dict[int, Message]:
    """Return what the children that have ended tell, or would have told had there been somebody to tell."""
    news: dict[int, Message] = {}
    for id, child in base.state.children.items():
        was_there = any(
            isinstance(event.data, ChildWorkflowExecutionStarted) and event.data.id == id for event in events
        )
        found = await _end_of(store, base.run_id, child.asked, was_there)
        if found is not None:
            # Another workflow's words: a codec has to say them anew for this one.
            news[id] = await as_stored(store, found)
    return news


async def _end_of(
    store: Store, base_run_id: str, asked: StartChildWorkflowExecutionInitiated, was_there: bool
) -> Message | None:
    run_id, link = asked.run_id, ParentLink(run_id=base_run_id, id=asked.id)
    found = await store.find_run(asked.workflow_id, run_id)
    if found is None and was_there:
        # It has ended, since only what has ended is deleted; how is not known any more.
        deleted = WorkflowExecutionTerminated(
            reason="the child workflow was deleted, and with it how it ended"
        )
        return news_for_parent(WorkflowExecutionStarted(parent=link), deleted)
    if found is None:
        failed = StartChildWorkflowExecutionFailed(message=f"child:{asked.id}:started", id=asked.id)
        return Message(base_run_id, failed.message, int(failed.type), encode_data(failed), internal=True)
    while True:
        rows = await store.read_closing_events([run_id])
        if run_id not in rows:
            return None
        end = decode_data(rows[run_id].type, rows[run_id].data)
        following: str = getattr(end, "new_run_id", "") or getattr(end, "reset_run_id", "")
        if not following:
            return news_for_parent(WorkflowExecutionStarted(parent=link), end)
        run_id = following
