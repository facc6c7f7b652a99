"""Ends of runs from outside: what they tell the run whose child it is, and the cancel of one that has not begun."""

from __future__ import annotations

from durable._engine._children import news_for_parent
from durable._engine._updates import LOST
from durable.history import (
    EventData,
    EventRow,
    WorkflowExecutionCanceled,
    WorkflowExecutionStarted,
    decode_data,
    encode_data,
)
from durable.store import ANY_KEY, Close, Hint, HintKind, Message, RunRecord, RunStatus, Store, beneath

CANCELED = WorkflowExecutionCanceled()
"""How a run ends that is cancelled while it waits to be admitted."""


async def news_of(store: Store, run: RunRecord, end: EventData) -> tuple[Message, ...]:
    """Return the messages that go with the end of a run: one to its parent, if it has one.

    Args:
        store: Where the run is.
        run: Its row.
        end: Its last event.

    Raises:
        HistoryError: Its first event cannot be read.
        StoreUnavailableError: The database is away.
    """
    if run.parent_run_id is None:
        return ()
    # Whose child it is and how it ended are plain to read, whatever a codec says.
    first = (await beneath(store).read_events(run.run_id, limit=1))[0]
    started = decode_data(first.type, first.data)
    assert isinstance(started, WorkflowExecutionStarted)
    news = news_for_parent(started, end)
    return () if news is None else (news,)


async def cancel_waiting(store: Store, run: RunRecord) -> bool:
    """End a run that waits to be admitted as cancelled, in no task of its own; False when it does not wait (any more).

    Raises:
        HistoryError: Its first event cannot be read.
        StoreUnavailableError: The database is away; it may or may not have been ended.
    """
    news = await news_of(store, run, CANCELED)

    def closing(seq: int) -> EventRow:
        return EventRow(seq, seq, int(CANCELED.type), encode_data(CANCELED))

    close = Close(RunStatus.CANCELED, update_lost=LOST)
    canceled: bool = await store.terminate(run.run_id, closing, close, news, waiting=True)
    if canceled:
        store.hint(
            [
                Hint(HintKind.CLOSED, run.run_id),
                *(Hint(HintKind.MESSAGE, message.run_id) for message in news),
                Hint(HintKind.RUN, ANY_KEY),
            ]
        )
    return canceled
