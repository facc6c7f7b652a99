"""What a literal means for a column: the value that is stored, or an error that says how to write it."""

from __future__ import annotations

import re
from datetime import datetime
from decimal import Decimal
from uuid import UUID

from durable._internal.instants import from_datetime
from durable.common import WorkflowExecutionStatus
from durable.store._filter._columns import Column, Kind
from durable.store._filter._fault import FilterError, nearest, shown
from durable.store._filter._syntax import Literal

Stored = str | int | float
"""A value as a database holds it: instants and durations in microseconds, truth values as 0 and 1."""

MAX_WORD = 255
"""Characters of a word of prose; longer ones are found by their beginning. An index entry must stay below 2,704 bytes."""

_BIGINT = range(-(2**63), 2**63)

_WORD = re.compile(r"\w+")

_TIME = re.compile(r"(\d{4}-\d\d-\d\d)[Tt ](\d\d:\d\d:\d\d)(?:\.(\d{1,9}))?([Zz]|[+-]\d\d:\d\d)", re.ASCII)
_TIME_SHOWN = "a time such as '2024-01-31T12:00:00Z'"

_UNITS = {
    "ns": Decimal("0.001"),
    "us": Decimal(1),
    "µs": Decimal(1),
    "μs": Decimal(1),
    "ms": Decimal(1_000),
    "s": Decimal(1_000_000),
    "m": Decimal(60_000_000),
    "h": Decimal(3_600_000_000),
    "d": Decimal(86_400_000_000),
    "w": Decimal(604_800_000_000),
}
_AMOUNT = r"(?:\d{1,18}(?:\.\d{0,18})?|\.\d{1,18})"
_GO = re.compile(rf"({_AMOUNT})(ns|us|µs|μs|ms|s|m|h|d)", re.ASCII)
_GO_WHOLE = re.compile(rf"[+-]?(?:{_AMOUNT}(?:ns|us|µs|μs|ms|s|m|h|d))+", re.ASCII)
_CLOCK = re.compile(r"(\d{1,6}):([0-5]\d):([0-5]\d(?:\.\d{1,9})?)", re.ASCII)
_ISO = re.compile(
    rf"[+-]?P(?=.)(?:({_AMOUNT})W)?(?:({_AMOUNT})D)?(?:T(?=.)(?:({_AMOUNT})H)?(?:({_AMOUNT})M)?(?:({_AMOUNT})S)?)?",
    re.ASCII,
)
_NANOSECONDS = re.compile(r"[+-]?\d{1,19}", re.ASCII)
_DURATION_SHOWN = "a duration such as '1h30m', '01:30:00', 'PT1H30M', or a number of nanoseconds"

_STATUSES = {status.name.replace("_", "").casefold(): status for status in WorkflowExecutionStatus}
PAUSED = "Paused"
_STATUS_NAMES = [*(status.name.title().replace("_", "") for status in WorkflowExecutionStatus), PAUSED]


def words(text: str) -> list[str]:
    """The different words of prose, as they are indexed and looked for: without regard to case, in order."""
    return list(dict.fromkeys(word[:MAX_WORD] for word in _WORD.findall(text.casefold())))


def read(column: Column, literal: Literal) -> Stored:
    """What this literal means for this column, which is no prose.

    Raises:
        FilterError: It means nothing there; the text says what would.
    """
    value = literal.value
    match column.kind, value:
        case ((Kind.KEYWORD | Kind.KEYWORD_LIST), str()):
            return value
        case Kind.BOOL, bool():
            return int(value)
        case Kind.INT, int() | float() if not isinstance(value, bool):
            return _whole(column, literal, value)
        case Kind.DOUBLE, int() | float() if not isinstance(value, bool):
            return _double(literal, value)
        case Kind.DATETIME, str():
            return _instant(column, literal, value)
        case Kind.DATETIME, int() if not isinstance(value, bool):
            return _bigint(literal, value // 1000)
        case Kind.DURATION, str():
            return _duration(column, literal, value)
        case Kind.DURATION, int() if not isinstance(value, bool):
            return _bigint(literal, value // 1000)
        case Kind.STATUS, str() | int() if not isinstance(value, bool):
            return _status(literal, value)
        case Kind.RUN_ID, str():
            return _run_id(column, literal, value)
        case _:
            raise _unfit(column, literal)


_EXPECTED = {
    Kind.KEYWORD: "a text in quotes",
    Kind.KEYWORD_LIST: "a text in quotes",
    Kind.TEXT: "a text in quotes",
    Kind.INT: "a whole number",
    Kind.DOUBLE: "a number",
    Kind.BOOL: "true or false, without quotes",
    Kind.DATETIME: _TIME_SHOWN,
    Kind.DURATION: _DURATION_SHOWN,
    Kind.STATUS: f"one of {', '.join(_STATUS_NAMES)}, in quotes",
    Kind.RUN_ID: "a run id such as '01890a5d-ac96-774b-bcce-b302099a8057'",
}


def _unfit(column: Column, literal: Literal) -> FilterError:
    value = literal.value
    given = (
        str(value).lower()
        if isinstance(value, bool)
        else shown(value)
        if isinstance(value, str)
        else str(value)
    )
    called = f"{column.name} ({column.kind.value})"
    return FilterError(
        literal.column, f"{called} is compared with {_EXPECTED[column.kind]}, not {given[:60]}"
    )


def _bigint(literal: Literal, value: int) -> int:
    if value not in _BIGINT:
        raise FilterError(literal.column, "this number has more than 64 bits")
    return value


def _whole(column: Column, literal: Literal, value: float) -> int:
    if value != int(value):
        raise _unfit(column, literal)
    return _bigint(literal, int(value))


def _double(literal: Literal, value: float) -> float:
    try:
        return float(value)
    except OverflowError:
        raise FilterError(literal.column, "this number is too large") from None


def _instant(column: Column, literal: Literal, text: str) -> int:
    found = _TIME.fullmatch(text)
    if found is None:
        if _TIME.fullmatch(text + "Z"):
            raise FilterError(
                literal.column, f"the time {shown(text)} has no zone; add Z for UTC, or an offset like +02:00"
            )
        raise _unfit(column, literal)
    day, time, fraction, zone = found.groups()
    try:
        # Microseconds are what is stored; what is finer is dropped.
        micros = (fraction or "").ljust(6, "0")[:6]
        return from_datetime(datetime.fromisoformat(f"{day}T{time}.{micros}{zone.upper()}"), column.name)
    except (ValueError, OverflowError) as error:
        raise FilterError(literal.column, f"there is no time {shown(text)}: {error}") from None


def _duration(column: Column, literal: Literal, text: str) -> int:
    """Whole microseconds; what is finer is dropped."""
    if _NANOSECONDS.fullmatch(text):
        return _bigint(literal, int(text) // 1000)
    amount = Decimal(0)
    if _GO_WHOLE.fullmatch(text):
        for number, unit in _GO.findall(text):
            amount += Decimal(number) * _UNITS[unit]
    elif clock := _CLOCK.fullmatch(text):
        for number, unit in zip(clock.groups(), "hms", strict=True):
            amount += Decimal(number) * _UNITS[unit]
    elif iso := _ISO.fullmatch(text):
        for number, unit in zip(iso.groups(), "wdhms", strict=True):
            amount += Decimal(number or 0) * _UNITS[unit]
    else:
        raise _unfit(column, literal)
    return _bigint(literal, int(-amount if text.startswith("-") else amount))


def is_paused(literal: Literal) -> bool:
    """Whether this literal is the status of paused runs, which is Temporal's and none of ours."""
    return isinstance(literal.value, str) and _folded(literal.value) == PAUSED.casefold()


def _folded(status: str) -> str:
    return status.casefold().removeprefix("workflow_execution_status_").replace("_", "")


def _status(literal: Literal, value: str | int) -> int:
    if isinstance(value, int):
        if value in list(WorkflowExecutionStatus):
            return value
        raise FilterError(
            literal.column, f"there is no ExecutionStatus {str(value)[:20]}; they go from 1 to 7"
        )
    folded = _folded(value)
    if folded in _STATUSES:
        return int(_STATUSES[folded])
    close = nearest(value, _STATUS_NAMES)
    hint = f"did you mean {' or '.join(close)}?" if close else f"it is one of {', '.join(_STATUS_NAMES)}"
    raise FilterError(literal.column, f"there is no ExecutionStatus {shown(value)}; {hint}")


def _run_id(column: Column, literal: Literal, text: str) -> str:
    try:
        run_id = str(UUID(text))
    except ValueError:
        raise _unfit(column, literal) from None
    if len(text) != 36:  # `UUID` also reads braces, and forms without dashes
        raise _unfit(column, literal)
    return run_id
