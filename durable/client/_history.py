"""Histories as programs hold them: whole ones, to be kept and replayed, and their events one after the other."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Any

from durable._internal.shown import shown
from durable.exceptions import HistoryCorruptError
from durable.history import (
    CLOSING,
    Event,
    EventRow,
    decode_event,
    export_history,
    import_history,
)

PAGE = 1000
"""Events that are read at once by default."""

MAX_PAGE = 10_000
"""And at most."""

FIRST_LOOK, LONGEST_PAUSE = 0.02, 0.5
"""Seconds between looks for new events, doubled each time that there are none."""


class WorkflowHistoryEventFilterType(IntEnum):
    """Which events of a run are wanted. Values are Temporal's."""

    ALL_EVENT = 1
    """All."""
    CLOSE_EVENT = 2
    """The one that closed the run, and none while it is open."""


@dataclass(frozen=True)
class WorkflowHistory:
    """The log of one run, as `WorkflowHandle.fetch_history` reads it and `to_json` writes it, for a `Replayer`.

    Its values are decoded: what a payload codec keeps secret in the database is plain here, and in what `to_json` returns.

    Attributes:
        workflow_id: The workflow's id.
        run_id: The run's.
        events: What happened, in order.
        namespace: Where it did; a replay sees it again.
    """

    workflow_id: str
    run_id: str
    events: Sequence[Event]
    namespace: str = "default"

    @staticmethod
    def from_json(workflow_id: str, history: str | bytes | Mapping[str, Any]) -> WorkflowHistory:
        """Return the history that `to_json` or `to_json_dict` wrote, event by event the same.

        Args:
            workflow_id: What to call it; the code sees the id that is recorded.
            history: The JSON, as a text or read already.

        Raises:
            HistoryCorruptError: It is no history that this library wrote, or not a whole one.
            UnknownEventError: A newer release wrote it: it has a kind of event, a field or a version that is not known.
        """
        if isinstance(history, str | bytes):
            try:
                history = json.loads(history)
            except (ValueError, RecursionError) as error:
                raise HistoryCorruptError(f"the history is no JSON: {error}") from None
        _, run_id, namespace, events = import_history(history)
        return WorkflowHistory(workflow_id, run_id, events, namespace)

    def to_json(self) -> str:
        """Return the history as indented JSON that people can read; see `docs/testing.md`. Equal histories give equal texts."""
        return json.dumps(self.to_json_dict(), ensure_ascii=False, indent=1)

    def to_json_dict(self) -> dict[str, Any]:
        """Return what `to_json` writes, as plain data."""
        return export_history(self.workflow_id, self.run_id, self.namespace, self.events)


Read = Callable[[int, int], Awaitable[list[EventRow]]]
"""Returns the events behind a position, so many at most; raises `WorkflowNotFoundError` when the run is gone."""


class WorkflowHistoryEventAsyncIterator:
    """The events of one run, in order, read page by page. Made by `WorkflowHandle.fetch_history_events`.

    Attributes:
        next_page_token: Where to go on, for another iterator of the same run; None when all has been read.
    """

    def __init__(
        self,
        read: Read,
        page_size: int,
        next_page_token: bytes | None,
        wait_new_event: bool,
        event_filter_type: WorkflowHistoryEventFilterType,
    ) -> None:
        self._read = read
        self._page_size = page_size
        self._after = 0 if next_page_token is None else _position(next_page_token)
        self._wait = wait_new_event
        self._closing_only = event_filter_type is WorkflowHistoryEventFilterType.CLOSE_EVENT
        self._page: Sequence[Event] | None = None
        self._index = 0
        self.next_page_token: bytes | None = b"%d" % self._after

    @property
    def current_page(self) -> Sequence[Event] | None:
        """The page that is read now; None before the first one."""
        return self._page

    @property
    def current_page_index(self) -> int:
        """Which event of the present page comes next."""
        return self._index

    def __aiter__(self) -> WorkflowHistoryEventAsyncIterator:
        return self

    async def __anext__(self) -> Event:
        while self._page is None or self._index >= len(self._page):
            if self.next_page_token is None:
                raise StopAsyncIteration
            await self.fetch_next_page()
        self._index += 1
        return self._page[self._index - 1]

    async def fetch_next_page(self, *, page_size: int | None = None) -> None:
        """Read the next page, whatever is left of the present one; with `wait_new_event`, once there are new events.

        Args:
            page_size: How many events it has at most; as the iterator was asked for by default.

        Raises:
            WorkflowNotFoundError: The run is gone.
            HistoryError: An event cannot be read by this release.
        """
        size = self._page_size if page_size is None else check_page_size(page_size)
        pause = FIRST_LOOK
        while not (rows := await self._read(self._after, size)) and self._wait:
            await asyncio.sleep(pause)
            pause = min(pause * 2, LONGEST_PAUSE)
        events = [decode_event(row) for row in rows]
        for event in events:
            self._after += 1
            if event.seq != self._after:
                raise HistoryCorruptError(f"event {event.seq} stands where event {self._after} should be")
        closed = bool(events) and isinstance(events[-1].data, CLOSING)
        over = closed or (not self._wait and len(events) < size)
        self.next_page_token = None if over else b"%d" % self._after
        if self._closing_only:
            events = events[-1:] if closed else []
        self._page, self._index = events, 0


def _position(token: object) -> int:
    if not isinstance(token, bytes) or not token.isdigit():
        raise ValueError(f"next_page_token must be one of an iterator of this run, not {shown(token)}")
    return int(token)


def check_page_size(value: object) -> int:
    """Return a number of events that may be read at once.

    Raises:
        TypeError: It is no number.
        ValueError: It is out of range.
    """
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f"page_size must be a whole number, not {type(value).__name__}")
    if not 1 <= value <= MAX_PAGE:
        raise ValueError(f"page_size must be from 1 to {MAX_PAGE}, not {value}")
    return value
