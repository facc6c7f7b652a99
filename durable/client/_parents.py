"""What the end of a run from outside tells the run whose child it is."""

from __future__ import annotations

from durable._engine._children import news_for_parent
from durable.history import EventData, WorkflowExecutionStarted, decode_data
from durable.store import Message, RunRecord, Store, beneath


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
