"""The kinds of values that can be stored, and those that are refused: `docs/values.md` is made from this.

`python -m tests.converter.kinds` writes the page; a test holds both to each other, and every line to the converter.
"""

from __future__ import annotations

import collections
import enum
import math
import uuid
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal
from pathlib import Path, PurePosixPath
from typing import Annotated, Any, Generic, Literal, NamedTuple, NewType, TypedDict, TypeVar

import msgspec

T = TypeVar("T")
PAGE = Path(__file__).parents[2] / "docs" / "values.md"


class Color(enum.Enum):
    RED = "red"


class Size(enum.IntEnum):
    BIG = 3


class Mode(enum.StrEnum):
    FAST = "fast"


class Rights(enum.Flag):
    READ = 1
    WRITE = 2


class Half(enum.Enum):
    HALF = 0.5


@dataclass(frozen=True)
class Order:
    id: int
    note: str | None = None


@dataclass(frozen=True)
class Box(Generic[T]):
    content: T


class Point(msgspec.Struct, frozen=True):
    x: int
    y: int = 0


class Cat(msgspec.Struct, tag=True):
    name: str


class Dog(msgspec.Struct, tag=True):
    name: str


class Pair(NamedTuple):
    left: int
    right: str


class Movie(TypedDict):
    title: str


UserId = NewType("UserId", int)


@dataclass
class Kind:
    """A line of the page.

    Attributes:
        name: What the page calls it.
        samples: Values with the types that are asked for.
        note: What else there is to say.
    """

    name: str
    samples: list[tuple[Any, Any]]
    note: str = ""


KINDS = [
    Kind("`None`", [(None, None), (None, int | None)]),
    Kind("`bool`", [(True, bool)]),
    Kind("`int`", [(0, int), (2**64, int), (-(10**4299) + 1, int)], "up to 4,300 characters"),
    Kind("`float`", [(0.1, float), (-0.0, float), (1e16, float), (5e-324, float)], "finite"),
    Kind("`str`", [("", str), ("a\x00\u2028\U0001f600", str)], "valid Unicode"),
    Kind("`bytes`, `bytearray`", [(b"\x00\xff", bytes), (bytearray(b"x"), bytearray), ([b"x"], list[bytes])]),
    Kind("`list`, `Sequence`, `Iterable`", [([1], list[int]), ([1], Sequence[int]), ([1], Iterable[int])]),
    Kind("`tuple`", [((1, "a"), tuple[int, str]), ((1, 2), tuple[int, ...])]),
    Kind("`NamedTuple`", [(Pair(1, "a"), Pair)]),
    Kind(
        "`set`, `frozenset`",
        [({1, 2}, set[int]), (frozenset({"a"}), frozenset[str])],
        "in one order in every process",
    ),
    Kind("`collections.deque`", [(collections.deque([1]), collections.deque[int])], "without its `maxlen`"),
    Kind("`dict`, `Mapping`", [({"a": 1}, dict[str, int]), ({"a": 1}, Mapping[str, int])]),
    Kind(
        "`dict` with other keys",
        [
            ({1: 1}, dict[int, int]),
            ({1.5: 1}, dict[float, int]),
            ({b"x": 1}, dict[bytes, int]),
            ({Color.RED: 1}, dict[Color, int]),
            ({uuid.UUID(int=1): 1}, dict[uuid.UUID, int]),
            ({date(2024, 1, 1): 1}, dict[date, int]),
            ({Decimal("1.50"): 1}, dict[Decimal, int]),
        ],
        "numbers, enums, UUIDs, dates, times, bytes; no two keys that would be written alike",
    ),
    Kind("`TypedDict`", [(Movie(title="t"), Movie)]),
    Kind(
        "`collections.Counter`, `OrderedDict`",
        [
            (collections.Counter("aab"), collections.Counter[str]),
            (collections.OrderedDict(b=1, a=2), collections.OrderedDict[str, int]),
        ],
    ),
    Kind("dataclasses", [(Order(1), Order), (Box(Order(1)), Box[Order])], "generic ones too"),
    Kind("`msgspec.Struct`", [(Point(1), Point)]),
    Kind("attrs classes, pydantic models", [], "if the program uses them; of pydantic v2, and its v1"),
    Kind(
        "`Enum`, `Flag`",
        [(Color.RED, Color), (Rights.READ | Rights.WRITE, Rights)],
        "all values strings, or all integers",
    ),
    Kind("`IntEnum`, `StrEnum`", [(Size.BIG, Size), (Mode.FAST, Mode)]),
    Kind("`uuid.UUID`", [(uuid.UUID(int=5), uuid.UUID)]),
    Kind("`decimal.Decimal`", [(Decimal("1.50"), Decimal), (Decimal("1E+500"), Decimal)], "finite"),
    Kind(
        "`datetime`",
        [
            (datetime(2024, 1, 2, 3, 4, 5, 6), datetime),  # noqa: DTZ001
            (datetime(2024, 1, 2, tzinfo=UTC), datetime),
            (datetime(2024, 1, 2, tzinfo=timezone(timedelta(hours=-5))), datetime),
        ],
        "naive ones stay naive; aware ones keep instant and offset, not the name of the zone",
    ),
    Kind(
        "`date`, `time`, `timedelta`",
        [(date(2024, 1, 2), date), (time(1, 2), time), (timedelta(days=-1, microseconds=1), timedelta)],
    ),
    Kind("`pathlib.Path`", [(Path("/a/b"), Path), (PurePosixPath("a"), PurePosixPath)], "as its text"),
    Kind(
        "`Optional`, unions",
        [(1, int | str), ("a", int | str), (None, Order | None), (Point(1), Order | Point)],
        "of kinds that JSON, or the names of fields, tell apart",
    ),
    Kind("tagged unions of `msgspec.Struct`", [([Cat("a"), Dog("a")], list[Cat | Dog])]),
    Kind(
        "`Literal`, `NewType`, `Annotated`",
        [("a", Literal["a", 1]), (UserId(5), UserId), (5, Annotated[int, msgspec.Meta(gt=1)])],
    ),
]

REFUSED: list[tuple[str, Any, str]] = [
    ("`nan`, `inf`", math.nan, "has no form in JSON"),
    ("strings with lone surrogates", "\ud800", "lone surrogate"),
    ("integers of more than 4,300 digits", 10**4300, "more than 4,300 digits"),
    ("`Decimal` that is not finite", Decimal("NaN"), "is not a finite number"),
    ("UTC offsets of seconds", datetime(2024, 1, 1, tzinfo=timezone(timedelta(seconds=28))), "would be rounded"),
    ("enums of mixed or other values", Half.HALF, "cannot be read back"),
    ("keys that are tuples, `bool` or `None`", {(1, 2): 3}, "cannot be a key"),
    ("keys that would be written alike", {1: "a", "1": "b"}, "would both be written as"),
    ("what contains itself, or is nested deeper than 128", (lambda own: own.append(own) or own)([]), "contains itself"),
    ("iterators and generators", iter([1]), "make a list of it"),
    ("functions and classes", len, "code is not data"),
    ("open files, locks, connections", open(__file__), "cannot be stored"),  # noqa: SIM115
    ("any other object", object(), "make it a dataclass, a msgspec.Struct or plain data"),
]  # fmt: skip
REFUSED[11][1].close()

HEAD = """\
# What can be stored

Arguments, results, signals, answers, memos and heartbeats come back equal and of the same type, at any depth, when the
annotation of whoever receives them says what they are; without one they are plain JSON data. What workflow code sees is
always read back from what was stored, the first time as at every replay. The rest is refused, where it is passed, by an
error that names the place in the value and what to pass instead. Nothing is ever stored as something else in silence.

This page is made from the tests: `python -m tests.converter.kinds`.

| Kind | For example | As |
|---|---|---|
"""

MIDDLE = """
## What is refused

| What | Because |
|---|---|
"""


def shown(value: Any) -> str:
    text = ascii(value)
    return f"`{text}`".replace("|", "\\|") if len(text) < 60 else f"`{text[:20]}...`"


def page() -> str:
    """Return the page."""
    lines = [HEAD]
    for kind in KINDS:
        values = list(dict.fromkeys(shown(value) for value, _ in kind.samples))
        lines.append(f"| {kind.name} | {', '.join(values)} | {kind.note} |\n")
    lines.append(MIDDLE)
    lines += [f"| {name} | {text} |\n" for name, _, text in REFUSED]
    return "".join(lines)


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
