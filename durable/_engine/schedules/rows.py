"""What crosses the port for schedules: a row, and what replaces it. The store looks at instants and ids only."""

from __future__ import annotations

import msgspec
from msgspec import Struct

from durable._engine.records import NewRun
from durable._engine.schedules.records import ScheduleProgress, ScheduleRecord
from durable.exceptions import HistoryCorruptError

TAKEN_FOR = 5_000_000
"""Microseconds for which a schedule that was claimed is left to whoever claimed it: longer than a decision takes."""


class ScheduleRow(Struct, frozen=True, gc=False):
    """A schedule as it is stored.

    Attributes:
        revision: Changes with every write; a schedule that is deleted and made anew never has an old one.
        record: The encoded `ScheduleRecord`.
        progress: The encoded `ScheduleProgress`.
        wake_at: When it must be looked at next, None for not before somebody asks or a running action ends.
        now: The database's time when it was read.
        fault: Why a codec could not decode it; then it is as it is stored.
    """

    schedule_id: str
    revision: int
    record: bytes
    progress: bytes
    wake_at: int | None
    now: int
    fault: Exception | None = None


class ScheduleWrite(Struct, frozen=True, gc=False):
    """What replaces a schedule, and the runs that are created with it: all of it in one transaction, or nothing.

    Attributes:
        revision: The one that is replaced; None for a schedule that is not there yet.
        record: See `ScheduleRow`, as for `progress`.
        wake_at: When it must be looked at again, None for not before somebody asks or a running action ends.
        running: Workflow id and first run of each chain whose end it waits for.
        starts: Runs to create, in this order.
    """

    schedule_id: str
    revision: int | None
    record: bytes
    progress: bytes
    wake_at: int | None
    running: tuple[tuple[str, str], ...] = ()
    starts: tuple[NewRun, ...] = ()


_encode = msgspec.json.Encoder().encode
_decode_record = msgspec.json.Decoder(ScheduleRecord).decode
_decode_progress = msgspec.json.Decoder(ScheduleProgress).decode


def encode_schedule(facts: ScheduleRecord | ScheduleProgress) -> bytes:
    """Return what a schedule is for, or what it has done, as it is stored."""
    return _encode(facts)


def decode_record(data: bytes) -> ScheduleRecord:
    """Return what a schedule is for.

    Raises:
        HistoryCorruptError: It is not what this library wrote.
    """
    try:
        return _decode_record(data)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise HistoryCorruptError(f"a schedule: {error}") from None


def decode_progress(data: bytes) -> ScheduleProgress:
    """Return what a schedule has done.

    Raises:
        HistoryCorruptError: It is not what this library wrote.
    """
    try:
        return _decode_progress(data)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise HistoryCorruptError(f"the progress of a schedule: {error}") from None
