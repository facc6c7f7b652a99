"""Rows in few steps: many into one statement, many out of one row.

Every step of a statement hands over the interpreter lock (see `_connection`), so what is written as many rows goes in as one
statement of many values, and what is read as many rows comes out as one row: its scalars as JSON, its blobs joined, with
their lengths among the scalars.
"""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Callable, Iterable, Sequence
from itertools import chain
from types import GenericAlias
from typing import Any, TypeVar

import msgspec

from durable._engine.lanes import LANES
from durable._engine.records import ActivityRecord, ActivityState, Anew, Hold, Message, RunRecord, RunStatus
from durable._engine.versioning import queue_of
from durable._internal import named_sql
from durable.history import EventRow

T = TypeVar("T")

ROWS_AT_ONCE = 512
"""Most rows of one statement. SQLite allows 32,766 values, the widest rows here have 17."""

_VALUES = re.compile(r"VALUES (\(\?(?:, \?)*\))")

to_json = msgspec.json.Encoder().encode


def queries(file: str) -> dict[str, str]:
    """The named queries of `sql/<file>.sql`."""
    return named_sql.load("durable.store.sqlite", f"sql/{file}.sql")


def ids(values: Iterable[Any]) -> str:
    """A list of values as a parameter for `json_each`."""
    return to_json(list(values)).decode()


class Many:
    """A statement with one `VALUES (?, ...)`, for any number of rows.

    There is one text for each power of two, so that a few prepared statements serve all numbers; the rows that are too
    many are NULLs. An INSERT leaves them out (one that selects does so itself), a comparison with them is never true.
    """

    def __init__(self, sql: str) -> None:
        found = _VALUES.search(sql)
        if found is None:
            raise ValueError(f"no VALUES (?, ...) in: {sql}")
        self._row = found[1]
        self._before, self._after = sql[: found.start()], sql[found.end() :]
        self._filter = self._before.lstrip().startswith("INSERT") and "SELECT" not in self._before
        self._width = self._row.count("?")
        self._one = sql
        self._texts: dict[int, str] = {1: sql}

    def _text(self, size: int) -> str:
        text = self._texts.get(size)
        if text is None:
            values = f"VALUES {', '.join([self._row] * size)}"
            if self._filter:
                values = f"SELECT * FROM ({values}) WHERE column1 IS NOT NULL"  # noqa: S608 - only question marks
            text = self._texts[size] = self._before + values + self._after
        return text

    def __call__(
        self, db: sqlite3.Connection, rows: Sequence[Sequence[Any]], *more: Any
    ) -> sqlite3.Cursor | None:
        """Run it for all rows; the cursor is that of the last statement, None without rows.

        Args:
            db: Where.
            rows: The values.
            *more: The parameters behind them.
        """
        cursor = None
        for start in range(0, len(rows), ROWS_AT_ONCE):
            part = rows[start : start + ROWS_AT_ONCE]
            size = 1 << (len(part) - 1).bit_length()
            values = list(chain.from_iterable(part))
            values += [None] * (self._width * (size - len(part)))
            values += more
            cursor = db.execute(self._text(size), values)
        return cursor

    def read(self, db: sqlite3.Connection, rows: Sequence[Sequence[Any]]) -> list[Any]:
        """Run a query that returns one row for each statement; return these."""
        cursors = (
            self(db, rows[start : start + ROWS_AT_ONCE]) for start in range(0, len(rows), ROWS_AT_ONCE)
        )
        return [cursor.fetchone() for cursor in cursors if cursor is not None]


def decoder(row: type[T]) -> Callable[[str], list[T]]:
    """Return what reads a JSON array of rows of that type."""
    rows: Any = GenericAlias(list, (row,))  # written as a subscript it would be a type to checkers
    decode: Callable[[str], list[T]] = msgspec.json.Decoder(rows).decode
    return decode


class _Run(msgspec.Struct, array_like=True):
    run_id: str
    workflow_id: str
    workflow_type: str
    task_queue: str
    status: RunStatus
    hold: Hold
    reason: str
    owner: str | None
    epoch: int
    wake_at: int | None
    priority: int
    deaths: int
    started_at: int
    closed_at: int | None
    times_out_at: int | None
    history_length: int | None
    history_size: int | None
    info_length: int
    first_run_id: str
    parent_run_id: str | None
    pinned_to: str
    override: str


class _Activity(msgspec.Struct, array_like=True):
    run_id: str
    id: int
    workflow_id: str
    workflow_type: str
    activity_type: str
    task_queue: str
    state: ActivityState
    attempt: int
    due_at: int
    deadline: int | None
    start_by: int | None
    close_by: int | None
    start_to_close: int | None
    heartbeat: int | None
    worker: str | None
    started_at: int | None
    scheduled_at: int
    cancel_requested: int
    outside_since: int | None
    paused_at: int | None
    pause_reason: str
    cancel_reason: str
    attempt_base: int
    anew: Anew
    revision: int
    refused: int | None
    scheduled_length: int
    progress_length: int


strings = decoder(str)
_event_rows = decoder(tuple[int, int, int, int, int])
_message_rows = decoder(tuple[str, str, int, int, int, int])
_run_rows = decoder(_Run)
_activity_rows = decoder(_Activity)


def _cut(joined: bytes | None, lengths: Iterable[int]) -> list[bytes]:
    """Take joined blobs apart."""
    whole = joined or b""
    parts: list[bytes] = []
    start = 0
    for length in lengths:
        parts.append(whole[start : start + length])
        start += length
    return parts


def events(scalars: str, data: bytes | None) -> list[EventRow]:
    """The events of one run."""
    rows = _event_rows(scalars)
    parts = _cut(data, [row[4] for row in rows])
    found = [
        EventRow(seq, task, kind, part, time)
        for (seq, task, kind, time, _), part in zip(rows, parts, strict=True)
    ]
    found.sort(key=_seq)  # they are, but an aggregate does not promise it
    return found


def _seq(event: EventRow) -> int:
    return event.seq


def messages(scalars: str, data: bytes | None) -> list[Message]:
    """Messages by position."""
    rows = _message_rows(scalars)
    parts = _cut(data, [row[5] for row in rows])
    found = [
        Message(run_id, message_id, kind, part, position, bool(internal))
        for (run_id, message_id, kind, position, internal, _), part in zip(rows, parts, strict=True)
    ]
    found.sort(key=_position)
    return found


def _position(message: Message) -> int:
    return message.position


def runs(scalars: str, info: bytes | None) -> list[RunRecord]:
    """Runs; the history of one that is open has not been measured (length -1)."""
    rows = _run_rows(scalars)
    parts = _cut(info, [row.info_length for row in rows])
    return [
        RunRecord(
            run_id=row.run_id,
            workflow_id=row.workflow_id,
            workflow_type=row.workflow_type,
            task_queue=queue_of(row.task_queue),
            status=row.status,
            hold=row.hold,
            reason=row.reason,
            owner=row.owner,
            epoch=row.epoch,
            wake_at=row.wake_at,
            priority=row.priority,
            deaths=row.deaths,
            started_at=row.started_at,
            closed_at=row.closed_at,
            times_out_at=row.times_out_at,
            history_length=-1 if row.history_length is None else row.history_length,
            history_size=row.history_size or 0,
            info=part,
            first_run_id=row.first_run_id,
            parent_run_id=row.parent_run_id,
            pinned_to=row.pinned_to,
            override=row.override,
        )
        for row, part in zip(rows, parts, strict=True)
    ]


def activities(
    now: int, scalars: str, scheduled: bytes | None, progress: bytes | None
) -> list[ActivityRecord]:
    """Activities, as they are at `now`."""
    rows = _activity_rows(scalars)
    inputs = _cut(scheduled, [row.scheduled_length for row in rows])
    states = _cut(progress, [row.progress_length for row in rows])
    return [
        ActivityRecord(
            run_id=row.run_id,
            id=row.id,
            workflow_id=row.workflow_id,
            workflow_type=row.workflow_type,
            activity_type=row.activity_type,
            task_queue=queue_of(row.task_queue.removeprefix(LANES)),
            state=row.state,
            attempt=row.attempt,
            due_at=max(row.due_at, row.scheduled_at),  # earlier only to be claimed sooner
            deadline=row.deadline,
            start_by=row.start_by,
            close_by=row.close_by,
            start_to_close=row.start_to_close,
            heartbeat=row.heartbeat,
            worker=row.worker,
            started_at=row.started_at,
            scheduled_at=row.scheduled_at,
            scheduled=one,
            progress=two,
            cancel_requested=bool(row.cancel_requested),
            now=now,
            outside_since=row.outside_since,
            refused=bool(row.refused),
            paused_at=row.paused_at,
            pause_reason=row.pause_reason,
            cancel_reason=row.cancel_reason,
            base=row.attempt_base,
            anew=row.anew,
            revision=row.revision,
        )
        for row, one, two in zip(rows, inputs, states, strict=True)
    ]
