"""Rows of the database as the port's records."""

from __future__ import annotations

import re
from typing import Any

from durable._engine.lanes import LANES
from durable._engine.records import (
    ActivityRecord,
    ActivityState,
    Anew,
    ClaimedRun,
    Hold,
    Message,
    RunRecord,
    RunStatus,
)
from durable._engine.versioning import queue_of
from durable.history import EventRow
from durable.store.postgres._session import Row

_UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")
_UNSTORABLE = re.compile("[\x00\ud800-\udfff]")


def is_run_id(text: str) -> bool:
    """Whether any run could have this id; what comes from outside is looked at before it is sent as a uuid."""
    return _UUID.fullmatch(text) is not None


def readable(text: str) -> str:
    """Text for people, without what the database cannot hold: NUL and lone surrogates."""
    return _UNSTORABLE.sub("\ufffd", text)


def event(row: Row) -> EventRow:
    """An event."""
    return EventRow(row["seq"], row["task"], row["type"], row["data"], row["time"])


def message(row: Row) -> Message:
    """An unread message."""
    return Message(
        str(row["run_id"]), row["message_id"], row["type"], row["data"], row["position"], row["internal"]
    )


def run(row: Row, length: int, size: int) -> RunRecord:
    """A run; what its history measures is counted elsewhere."""
    return RunRecord(
        run_id=str(row["run_id"]),
        workflow_id=row["workflow_id"],
        workflow_type=row["workflow_type"],
        task_queue=queue_of(row["task_queue"]),
        status=RunStatus(row["status"]),
        hold=Hold(row["hold"]),
        reason=row["reason"],
        owner=row["owner"],
        epoch=row["epoch"],
        wake_at=row["wake_at"],
        priority=row["priority"],
        deaths=row["deaths"],
        started_at=row["started_at"],
        closed_at=row["closed_at"],
        times_out_at=row["times_out_at"],
        history_length=length,
        history_size=size,
        info=row["info"],
        first_run_id=str(row["first_run_id"]),
        parent_run_id=None if row["parent_run_id"] is None else str(row["parent_run_id"]),
    )


def activity(row: Row) -> ActivityRecord:
    """An activity."""
    return ActivityRecord(
        run_id=str(row["run_id"]),
        id=row["id"],
        workflow_id=row["workflow_id"],
        workflow_type=row["workflow_type"],
        activity_type=row["activity_type"],
        task_queue=queue_of(row["task_queue"].removeprefix(LANES)),
        state=ActivityState(row["state"]),
        attempt=row["attempt"],
        due_at=max(row["due_at"], row["scheduled_at"]),  # earlier only to be claimed sooner
        deadline=row["deadline"],
        start_by=row["start_by"],
        close_by=row["close_by"],
        start_to_close=row["start_to_close"],
        heartbeat=row["heartbeat"],
        worker=row["worker"],
        started_at=row["started_at"],
        scheduled_at=row["scheduled_at"],
        scheduled=row["scheduled"],
        progress=row["progress"],
        cancel_requested=row["cancel_requested"],
        now=row["now"],
        outside_since=row["outside_since"],
        refused=row["refused"],
        paused_at=row["paused_at"],
        pause_reason=row["pause_reason"],
        cancel_reason=row["cancel_reason"],
        base=row["attempt_base"],
        anew=Anew(row["anew"]),
        revision=row["revision"],
    )


def claimed(row: Row) -> ClaimedRun:
    """A run with all that its owner needs, from a row of `load_1`."""
    run_id = str(row["run_id"])
    data: list[bytes] = _column(row, "event_data")
    events = tuple(
        EventRow(seq, task, kind, facts, time)
        for (seq, task, kind, time), facts in zip(_column(row, "event_numbers"), data, strict=True)
    )
    messages = tuple(
        Message(run_id, message_id, kind, facts, position, bool(internal))
        for (position, kind, internal), message_id, facts in zip(
            _column(row, "message_numbers"),
            _column(row, "message_ids"),
            _column(row, "message_data"),
            strict=True,
        )
    )
    return ClaimedRun(run(row, len(data), sum(map(len, data))), events, messages, _activities(row, run_id))


def _column(row: Row, name: str) -> list[Any]:
    return row[name] or []  # the aggregate of no rows is null


def _activities(row: Row, run_id: str) -> tuple[ActivityRecord, ...]:
    columns = [_column(row, f"activity_{name}") for name in ("numbers", "texts", "scheduled", "progress")]
    return tuple(
        ActivityRecord(
            run_id=run_id,
            id=numbers[0],
            workflow_id=row["workflow_id"],
            workflow_type=row["workflow_type"],
            activity_type=texts[0],
            task_queue=queue_of(texts[1].removeprefix(LANES)),
            state=ActivityState(numbers[1]),
            attempt=numbers[2],
            due_at=max(numbers[3], numbers[10]),
            deadline=numbers[4],
            start_by=numbers[5],
            close_by=numbers[6],
            start_to_close=numbers[7],
            heartbeat=numbers[8],
            worker=texts[2],
            started_at=numbers[9],
            scheduled_at=numbers[10],
            scheduled=scheduled,
            progress=progress,
            cancel_requested=bool(numbers[11]),
            now=row["now"],
        )
        for numbers, texts, scheduled, progress in zip(*columns, strict=True)
    )
