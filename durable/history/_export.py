"""A history as JSON that people can read, for files under version control: `docs/testing.md` describes the format.

    {"durable_history": 1, "workflow_id": .., "run_id": .., "namespace": .., "events": [
        {"seq": 1, "task": 1, "time": "2026-03-01T09:00:00.000000Z", "type": "WorkflowExecutionStarted", "data": {..}}]}

Facts are as in `_facts`, without what is as it is by default. A payload is its `encoding` and its bytes, in the form that is
easiest to read and gives the same bytes again: as `json`, else as `text`, else as `base64`. No other fact has a text for an
`encoding`, so that none is taken for a payload.

Whatever is not understood is refused: a replay of half a history proves nothing.
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from functools import cache
from typing import Any

import msgspec

from durable._internal.instants import from_datetime, to_datetime
from durable.exceptions import HistoryCorruptError, UnknownEventError
from durable.history._events import COMMANDS, INPUTS, Event, EventRow
from durable.history._facts import EventData
from durable.history._payloads import JSON_PLAIN, Payload
from durable.history._wire import decode_history, encode_data

EXPORT_FORMAT = 1
"""The version of the format, in the field `durable_history`. A reader refuses those that it does not know."""

DEEPEST = 50
"""Levels of nesting up to which JSON is shown as such; what is deeper is text, for the sake of other readers."""

# As tuples of `type[Any]`, so that an `isinstance` leaves `Any` alone instead of making it half unknown.
_LISTS: tuple[type[Any], ...] = (list,)
_TABLES: tuple[type[Any], ...] = (dict,)
_TUPLES: tuple[type[Any], ...] = (tuple,)

_KINDS: dict[str, type[EventData]] = {kind.__name__: kind for kind in (*INPUTS, *COMMANDS)}
_PARTS = frozenset(("seq", "task", "time", "type", "data"))
_HEAD = frozenset(("durable_history", "workflow_id", "run_id", "namespace", "events"))


def export_history(workflow_id: str, run_id: str, namespace: str, events: Sequence[Event]) -> dict[str, Any]:
    """Return a history as plain data that JSON can hold. `import_history` gives the same history again."""
    return {
        "durable_history": EXPORT_FORMAT,
        "workflow_id": workflow_id,
        "run_id": run_id,
        "namespace": namespace,
        "events": [
            {
                "seq": event.seq,
                "task": event.task,
                "time": to_datetime(event.time).isoformat(timespec="microseconds").replace("+00:00", "Z"),
                "type": type(event.data).__name__,
                "data": _exported_facts(event.data),
            }
            for event in events
        ],
    }


def import_history(given: Any) -> tuple[str, str, str, list[Event]]:
    """Return the workflow's id, the run's, the namespace and the events of an exported history.

    Raises:
        HistoryCorruptError: It is not one, or not a whole one.
        UnknownEventError: A newer release wrote it.
    """
    head = _object(given, "the history")
    version = head.get("durable_history")
    if version is None:
        raise HistoryCorruptError(_foreign(head))
    if version != EXPORT_FORMAT:
        raise UnknownEventError(
            f"the history has format {version!r}, this release reads {EXPORT_FORMAT}; a newer one wrote it"
        )
    _refuse_others(head, _HEAD, "the history")
    workflow_id, run_id, namespace = (_text(head, name) for name in ("workflow_id", "run_id", "namespace"))
    events = head.get("events")
    if not isinstance(events, _LISTS) or not events:
        raise HistoryCorruptError("a history has a list of events, beginning with WorkflowExecutionStarted")
    rows = [_row(entry, number) for number, entry in enumerate(events, 1)]
    return workflow_id, run_id, namespace, decode_history(rows)


def _foreign(head: Mapping[str, Any]) -> str:
    events: Any = head.get("events")
    if isinstance(events, _LISTS) and any("eventId" in one for one in events if isinstance(one, _TABLES)):
        return (
            "this is a history of Temporal's server, whose events are others; a replay needs one that "
            "WorkflowHistory.to_json() wrote"
        )
    return "it has no field durable_history; a replay needs a history that WorkflowHistory.to_json() wrote"


# ---------------------------------------------------------------------- out


def _exported_facts(data: EventData) -> dict[str, Any]:
    # Which version facts are written under is found out when they are encoded.
    version: int = msgspec.json.decode(encode_data(data)).get("v", 1)
    shown: dict[str, Any] = _exported(msgspec.structs.replace(data, v=version))
    return shown


def _exported(value: Any) -> Any:
    if isinstance(value, Payload):
        return _exported_payload(value)
    if isinstance(value, msgspec.Struct):
        config = value.__struct_config__
        shown: dict[str, Any] = {} if config.tag_field is None else {config.tag_field: config.tag}
        for name, default in _defaults(type(value)):
            own = getattr(value, name)
            if own != default:
                shown[name] = _exported(own)
        return shown
    if isinstance(value, _TUPLES):
        return [_exported(item) for item in value]
    if isinstance(value, _TABLES):
        return {key: _exported(entry) for key, entry in value.items()}
    return value


@cache
def _fields(kind: type[msgspec.Struct]) -> Mapping[str, msgspec.structs.FieldInfo]:
    """The fields of a kind by name; to ask msgspec costs as much as a hundred of them."""
    return {field.name: field for field in msgspec.structs.fields(kind)}


@cache
def _defaults(kind: type[msgspec.Struct]) -> Sequence[tuple[str, Any]]:
    """The fields of a kind, with what they are when nothing is said; none is ever changed."""
    return [
        (name, field.default if field.default_factory is msgspec.NODEFAULT else field.default_factory())
        for name, field in _fields(kind).items()
    ]


def _exported_payload(payload: Payload) -> dict[str, Any]:
    shown: dict[str, Any] = {"encoding": payload.encoding, **_readable(payload.data)}
    if payload.metadata:
        shown["metadata"] = {key: _readable_text(value) for key, value in payload.metadata.items()}
    return shown


def _readable(data: bytes) -> dict[str, Any]:
    try:
        value = json.loads(data)
        if _depth(value) <= DEEPEST and _compact(value) == data:
            return {"json": value}
    except (ValueError, RecursionError):
        pass
    found = _readable_text(data)
    return {"text": found} if isinstance(found, str) else found


def _readable_text(data: bytes) -> str | dict[str, str]:
    try:
        return data.decode()
    except UnicodeDecodeError:
        return {"base64": base64.b64encode(data).decode()}


def _compact(value: Any) -> bytes:
    return json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode()


def _depth(value: Any) -> int:
    level, depth = [value], 0
    while level:
        depth += 1
        below: list[Any] = []
        for one in level:
            if isinstance(one, _TABLES):
                below += one.values()
            elif isinstance(one, _LISTS):
                below += one
        level = below
    return depth


# ---------------------------------------------------------------------- in


def _row(given: Any, number: int) -> EventRow:
    where = f"event {number}"
    entry = _object(given, where)
    _refuse_others(entry, _PARTS, where)
    name = _text(entry, "type", where)
    kind = _KINDS.get(name)
    if kind is None:
        raise UnknownEventError(f"{where}: type {name!r} is not known to this release; a newer one wrote it")
    where = f"{where} ({name})"
    facts = _object(entry.get("data", {}), f"data of {where}")
    stored = _imported(facts, where)
    _refuse_unknown(kind, facts, where)
    try:
        data = json.dumps(stored, ensure_ascii=False, separators=(",", ":")).encode()
        time = from_datetime(datetime.fromisoformat(_text(entry, "time", where)), "time")
    except (ValueError, TypeError) as error:
        raise HistoryCorruptError(f"{where}: {error}") from None
    return EventRow(_number(entry, "seq", where), _number(entry, "task", where), int(kind.type), data, time)


def _imported(value: Any, where: str) -> Any:
    """Return facts as `_wire` reads them."""
    if isinstance(value, _TABLES):
        entry: dict[str, Any] = value
        if isinstance(entry.get("encoding"), str):
            return _imported_payload(entry, where)
        return {key: _imported(one, where) for key, one in entry.items()}
    if isinstance(value, _LISTS):
        return [_imported(one, where) for one in value]
    return value


def _imported_payload(entry: dict[str, Any], where: str) -> dict[str, Any]:
    forms = [form for form in ("json", "text", "base64") if form in entry]
    if len(forms) != 1 or entry.keys() - {forms[0], "encoding", "metadata"}:
        raise HistoryCorruptError(
            f"{where}: a payload has an encoding, one of json, text and base64, and perhaps metadata, not "
            f"{', '.join(entry)}"
        )
    form, value = forms[0], entry[forms[0]]
    try:
        data = (
            _compact(value) if form == "json" else _bytes(value if form == "text" else {form: value}, where)
        )
    except (ValueError, RecursionError) as error:
        raise HistoryCorruptError(f"{where}: a value is no JSON that a payload could be: {error}") from None
    metadata = _object(entry.get("metadata", {}), f"metadata of a payload of {where}")
    return {
        "data": base64.b64encode(data).decode(),
        # A default that is written out would come back as another text, and be stored as one.
        **({} if entry["encoding"] == JSON_PLAIN else {"encoding": entry["encoding"]}),
        "metadata": {key: base64.b64encode(_bytes(one, where)).decode() for key, one in metadata.items()},
    }


def _bytes(value: Any, where: str) -> bytes:
    try:
        if isinstance(value, str):
            return value.encode()
        return base64.b64decode(_object(value, where)["base64"], validate=True)
    except (KeyError, TypeError, binascii.Error, UnicodeEncodeError):
        raise HistoryCorruptError(f"{where}: {value!r} is neither text nor base64") from None


def _refuse_unknown(kind: Any, given: Any, where: str) -> None:
    """Refuse facts with fields that their kind does not have: to leave them out would change what happened.

    Raises:
        UnknownEventError: There is one.
    """
    for option in _choices(kind):
        if not (
            isinstance(given, _TABLES) and isinstance(option, type) and issubclass(option, msgspec.Struct)
        ):
            continue
        entry: dict[str, Any] = given
        config = option.__struct_config__
        if option is Payload or (config.tag_field is not None and entry.get(config.tag_field) != config.tag):
            continue
        fields = _fields(option)
        if others := entry.keys() - fields.keys() - {config.tag_field}:
            raise UnknownEventError(
                f"{where}: {option.__name__} has no {', '.join(sorted(others))} in this release; a newer one wrote it"
            )
        for name, one in entry.items():
            if name in fields:
                _refuse_unknown(fields[name].type, one, where)


def _choices(kind: Any) -> Sequence[Any]:
    return getattr(kind, "__args__", None) or (kind,)


# ---------------------------------------------------------------------- what it is made of


def _object(value: Any, where: str) -> dict[str, Any]:
    if not isinstance(value, _TABLES):
        raise HistoryCorruptError(f"{where} is no JSON object but {type(value).__name__}")
    found: dict[str, Any] = value
    return found


def _refuse_others(entry: Mapping[str, Any], known: frozenset[str], where: str) -> None:
    if others := entry.keys() - known:
        raise UnknownEventError(f"{where} has fields this release does not know: {', '.join(sorted(others))}")


def _text(entry: Mapping[str, Any], name: str, where: str = "the history") -> str:
    value = entry.get(name)
    if not isinstance(value, str):
        raise HistoryCorruptError(f"{where}: {name} must be a text, not {value!r}")
    return value


def _number(entry: Mapping[str, Any], name: str, where: str) -> int:
    value = entry.get(name)
    if isinstance(value, bool) or not isinstance(value, int):
        raise HistoryCorruptError(f"{where}: {name} must be a whole number, not {value!r}")
    return value
