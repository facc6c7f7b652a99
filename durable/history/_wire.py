"""Events as bytes: the format that outlives every release.

An event's facts are stored as JSON bytes, verbatim, in a binary column. Each carries the version of its kind's format
(absent means 1). A reader upgrades what is older by an upcaster, and refuses what is newer: msgspec would silently drop
the fields it does not know, and a replay would silently diverge.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from operator import attrgetter
from typing import Any

import msgspec

from durable.exceptions import HistoryCorruptError, UnknownEventError
from durable.history._events import (
    CLOSING,
    COMMANDS,
    FROM_OUTSIDE,
    INPUTS,
    Event,
    EventRow,
)
from durable.history._facts import (
    KNOWN_FLAGS,
    EventData,
    EventType,
    Input,
)
from durable.history._workflow_events import (
    WorkflowExecutionStarted,
)

FORMAT = 2
"""The newest format version of any event this release writes or reads. A run is claimed only by workers whose
`FORMAT` is at least the run's."""

Upcaster = Callable[[dict[str, Any]], dict[str, Any]]

UPCASTERS: dict[tuple[EventType, int], Upcaster] = {}
"""From (type, old version) to a function that turns the old fields into those of the next version."""

_encode = msgspec.json.Encoder().encode
_KINDS: dict[int, type[EventData]] = {int(kind.type): kind for kind in (*INPUTS, *COMMANDS)}
_CLOSING = frozenset(CLOSING)


class _Decoders(dict[int, Callable[[bytes], EventData]]):
    """By type, made when first asked for: all of them at once would be a tenth of `import durable`."""

    def __missing__(self, code: int) -> Callable[[bytes], EventData]:
        decode: Callable[[bytes], EventData] = msgspec.json.Decoder(_KINDS[code]).decode
        self[code] = decode
        return decode


_DECODERS = _Decoders()

_NEWEST: dict[int, int] = {code: max(kind.NEWER.values(), default=1) for code, kind in _KINDS.items()}


class _Newer:
    """The fields of a kind that came later: what they are when nothing is said, and the versions they came with."""

    __slots__ = ("_defaults", "_read", "_versions")

    def __init__(self, kind: type[EventData]) -> None:
        # `v` too, since it makes what is read a tuple however many fields there are.
        self._read = attrgetter("v", *kind.NEWER)
        self._defaults: tuple[Any, ...] = self._read(kind())
        self._versions = tuple(kind.NEWER.values())

    def encode(self, data: EventData) -> bytes:
        """Encode facts under the lowest version that knows all fields they use."""
        said = self._read(data)
        if said != self._defaults:
            used = zip(said[1:], self._defaults[1:], self._versions, strict=True)
            version = max([1, *(newer for value, default, newer in used if value != default)])
            if data.v != version:
                data = msgspec.structs.replace(data, v=version)
        return _encode(data)


_ENCODERS: dict[type[EventData], Callable[[EventData], bytes]] = {
    kind: _Newer(kind).encode if kind.NEWER else _encode for kind in (*INPUTS, *COMMANDS)
}
_CODES: dict[type[EventData], int] = {kind: int(kind.type) for kind in (*INPUTS, *COMMANDS)}


def encode_data(data: EventData) -> bytes:
    """Return the bytes an event's facts are stored as, under the lowest version that knows all fields they use.

    Equal facts give equal bytes.
    """
    return _ENCODERS[type(data)](data)


def encode_rows(rows: list[EventRow], task: int, facts: Iterable[EventData], seq: int) -> int:
    """Append the rows that facts of one task are stored as to `rows`, behind position `seq`; return their bytes.

    It is `encode_row` for each of them, in the loop that every step goes through.
    """
    size = 0
    for data in facts:
        seq += 1
        kind = type(data)
        encoded = _ENCODERS[kind](data)
        size += len(encoded)
        rows.append(EventRow(seq, task, _CODES[kind], encoded))
    return size


def encode_row(seq: int, task: int, data: EventData) -> EventRow:
    """Return the row that facts are stored as, at their place in the log; the store adds the time."""
    kind = type(data)
    return EventRow(seq, task, _CODES[kind], _ENCODERS[kind](data))


def encode_event(event: Event) -> EventRow:
    """Return the row an event is stored as."""
    return EventRow(event.seq, event.task, int(event.data.type), encode_data(event.data), event.time)


def decode_data(type: int, data: bytes) -> EventData:
    """Return the facts that `data` holds, brought to the present format.

    Raises:
        UnknownEventError: A newer release wrote it.
        HistoryCorruptError: It is not what any release wrote.
    """
    try:
        decode = _DECODERS[type]
    except KeyError:
        raise UnknownEventError(
            f"event type {type} is not known to this release; a newer one wrote it"
        ) from None
    try:
        facts = decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        return _decode_again(type, data, error)
    if facts.v <= _NEWEST[type] and (type, facts.v) not in UPCASTERS:
        return facts
    return _decode_again(type, data, None)


def _decode_again(type: int, data: bytes, error: Exception | None) -> EventData:
    """The slow way in: an old version, a newer one, or damage."""
    kind = EventType(type)
    try:
        fields: dict[str, Any] = msgspec.json.decode(data, type=dict[str, Any])
        version: object = fields.get("v", 1)
        while isinstance(version, int) and (kind, version) in UPCASTERS:
            fields = UPCASTERS[kind, version](fields)
            version = fields["v"]
        if isinstance(version, bool) or not isinstance(version, int) or version > _NEWEST[type]:
            raise UnknownEventError(
                f"{kind.name} has format version {version!r}, this release reads up to {_NEWEST[type]}"
            )
        if error is not None:
            raise error
        return msgspec.convert(fields, _KINDS[type])
    except (msgspec.DecodeError, UnicodeDecodeError) as damage:
        raise HistoryCorruptError(f"{kind.name}: {damage}") from None


def decode_event(row: EventRow) -> Event:
    """Return the event that `row` holds; see `decode_data` for what it raises."""
    return Event(row.seq, row.task, row.time, decode_data(row.type, row.data))


def decode_history(rows: Iterable[EventRow]) -> list[Event]:
    """Return a whole history, checked to be one.

    Raises:
        HistoryCorruptError: A gap, a duplicate, a wrong order, tasks or times that go backwards, a first event that is
            not a start, or something behind the closing event.
        UnknownEventError: A newer release wrote part of it.
    """
    return check_history([decode_event(row) for row in rows])


def check_history(events: list[Event]) -> list[Event]:
    """Return events that are a whole history; see `decode_history` for what it raises."""
    task = time = 0
    closed = False
    for position, event in enumerate(events, 1):
        if closed:
            raise HistoryCorruptError(f"event {event.seq} stands behind the event that closes the run")
        if event.seq != position:
            raise HistoryCorruptError(f"event {event.seq} stands where event {position} should be")
        if event.task < task or (event.task > task + 1 and not isinstance(event.data, FROM_OUTSIDE)):
            raise HistoryCorruptError(
                f"event {event.seq} belongs to task {event.task}, but follows task {task}"
            )
        if isinstance(event.data, Input) and event.data.flags & ~KNOWN_FLAGS:
            raise UnknownEventError(
                f"event {event.seq} has behaviour flags ({event.data.flags}) that are not known to this release; a "
                "newer one wrote it"
            )
        if event.time < time:
            raise HistoryCorruptError(f"event {event.seq} is older than the event before it")
        if (position == 1) != isinstance(event.data, WorkflowExecutionStarted):
            raise HistoryCorruptError(f"event {event.seq} is {event.type.name}")
        task, time = event.task, event.time
        closed = type(event.data) in _CLOSING
    return events
