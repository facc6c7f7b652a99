"""What comes back: the same value, of the same type, wherever it was nested."""

from __future__ import annotations

import collections
import dataclasses
import enum
import math
import os
import subprocess
import sys
import uuid
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal
from typing import Annotated, Any, Generic, Literal, NamedTuple, NewType, TypedDict, TypeVar
from zoneinfo import ZoneInfo

import msgspec
import pytest

from durable.common import RetryPolicy
from durable.converter import DefaultPayloadConverter, default
from durable.exceptions import ConversionError
from durable.history import BINARY_NULL, BINARY_PLAIN, JSON_PLAIN, Payload

T = TypeVar("T")
CONVERTER = DefaultPayloadConverter()


class Color(enum.Enum):
    RED = "red"


class Size(enum.IntEnum):
    BIG = 3


class Mode(enum.StrEnum):
    FAST = "fast"


class Rights(enum.Flag):
    READ = 1
    WRITE = 2


@dataclass
class Item:
    name: str
    price: float
    tags: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Money:
    amount: Decimal
    currency: str = "EUR"
    note: str | None = None


@dataclass
class Tree:
    value: int
    children: list[Tree] = field(default_factory=list)


@dataclass
class Box(Generic[T]):
    content: T


@dataclass
class Hidden:
    _secret: int
    derived: int = field(init=False)

    def __post_init__(self) -> None:
        self.derived = self._secret * 2


@dataclass
class Group:
    members: set[str]
    nested: dict[str, frozenset[int]] = field(default_factory=dict)


class Point(msgspec.Struct, frozen=True):
    x: int
    y: int = 0


class Frozen(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True):
    all_members: set[str]
    count_of: int = 0


class Cat(msgspec.Struct, tag=True):
    name: str


class Dog(msgspec.Struct, tag=True):
    name: str


class Pair(NamedTuple):
    left: int
    right: str = "r"


class Movie(TypedDict):
    title: str
    year: int


@dataclass
class Ok:
    value: int


@dataclass
class Err:
    reason: str
    code: int = 0


UserId = NewType("UserId", int)

LOSSLESS: list[tuple[Any, Any]] = [
    (None, None),
    (None, int | None),
    (True, bool),
    (0, int),
    (-(2**63) - 1, int),
    (2**64, int),
    (10**4299, int),
    (10**4300 - 1, int),
    (-(10**4299) + 1, int),
    (0.1 + 0.2, float),
    (-0.0, float),
    (1e16, float),
    (5e-324, float),
    (sys.float_info.max, float),
    (1.0, int | float),
    (1, int | float),
    ("", str),
    ("a\x00b\n\u2028\U0001f600 \x7f", str),
    (b"", bytes),
    (b"\x00\xff", bytes),
    (b"abcd", bytes | str),
    ("abcd", bytes | str),
    (b"x", bytes | None),
    (bytearray(b"\xff"), bytearray),
    ([b"\xff", b""], list[bytes]),
    ({"k": bytearray(b"1")}, dict[str, bytearray]),
    ([1, "a", None, True, 1.5, {"x": []}], Any),
    ((1, "a"), tuple[int, str]),
    ((), tuple[int, ...]),
    ((1, 2), tuple[int, ...]),
    ({3, 1, 2}, set[int]),
    (frozenset({"b", "a"}), frozenset[str]),
    ({frozenset({1, 2}), frozenset({3})}, set[frozenset[int]]),
    (collections.deque([1, 2]), collections.deque[int]),
    ([collections.deque([date(2024, 1, 1)])], list[collections.deque[date]]),
    ({"b": 1, "a": 2}, dict[str, int]),
    ({1: "a", 2: "b"}, dict[int, str]),
    ({1.5: 1}, dict[float, int]),
    ({b"\xff": 1}, dict[bytes, int]),
    ({Color.RED: 1}, dict[Color, int]),
    ({Size.BIG: 1}, dict[Size, int]),
    ({uuid.UUID(int=1): 1}, dict[uuid.UUID, int]),
    ({date(2024, 1, 1): 1}, dict[date, int]),
    ({Decimal("1.50"): 1}, dict[Decimal, int]),
    ({timedelta(1): 1}, dict[timedelta, int]),
    (Color.RED, Color),
    (Size.BIG, Size),
    (Mode.FAST, Mode),
    (Rights.READ | Rights.WRITE, Rights),
    (uuid.UUID("12345678123456781234567812345678"), uuid.UUID),
    (Decimal("1.50"), Decimal),
    (Decimal("-0"), Decimal),
    (Decimal("1E+500"), Decimal),
    (datetime(2024, 1, 2, 3, 4, 5, 678901), datetime),  # noqa: DTZ001
    (datetime(2024, 1, 2, tzinfo=UTC), datetime),
    (datetime(2024, 1, 2, tzinfo=timezone(timedelta(hours=-5, minutes=-30))), datetime),
    (datetime(2024, 7, 2, tzinfo=ZoneInfo("Europe/Berlin")), datetime),
    (datetime.min, datetime),  # noqa: DTZ901
    (datetime.max, datetime),  # noqa: DTZ901
    (date.min, date),
    (time(1, 2, 3, 4), time),
    (time(1, 2, tzinfo=UTC), time),
    (timedelta(days=-1, microseconds=1), timedelta),
    (timedelta.max, timedelta),
    (timedelta.min, timedelta),
    (timedelta(microseconds=10**12 + 1), timedelta),
    (Item("a", 1.5, ["x"]), Item),
    (Money(Decimal("0.10")), Money),
    (Tree(1, [Tree(2), Tree(3, [Tree(4)])]), Tree),
    (Box(date(2024, 1, 1)), Box[date]),
    (Box(Box(1)), Box[Box[int]]),
    (Hidden(4), Hidden),
    (Group({"b", "a"}, {"k": frozenset({2, 1})}), Group),
    (Point(1, 2), Point),
    (Frozen({"a", "b"}), Frozen),
    ([Cat("a"), Dog("b")], list[Cat | Dog]),
    (Pair(1), Pair),
    (Movie(title="t", year=1), Movie),
    (Ok(1), Ok | Err),
    (Err("r"), Ok | Err),
    (Err("r"), Ok | Err | None),
    (None, Ok | Err | None),
    (3, Ok | Err | int),
    ("a", Literal["a", 1]),
    (UserId(5), UserId),
    (5, Annotated[int, msgspec.Meta(gt=1)]),
    ([1], list[int] | dict[str, int]),
    (None, Money | None),
]


def same(left: Any, right: Any) -> bool:
    """Equality that also compares types, the sign of zero, and everything inside."""
    if type(left) is not type(right) or left != right:
        return False
    if isinstance(left, float):
        return math.copysign(1, left) == math.copysign(1, right)
    if isinstance(left, list | tuple | collections.deque):
        return all(map(same, left, right))
    if isinstance(left, dict):
        return all(map(same, left, right)) and all(map(same, left.values(), right.values()))
    if dataclasses.is_dataclass(left):
        return all(same(getattr(left, f.name), getattr(right, f.name)) for f in dataclasses.fields(left))
    return True


def named(value: Any) -> str:
    """The same in every process: no address, and no set's order."""
    text = ascii(value)[:40]
    return type(value).__name__ if " at 0x" in text or "{'" in text else text


@pytest.mark.parametrize(("value", "hint"), LOSSLESS, ids=named)
def test_value_and_type_survive(value: Any, hint: Any) -> None:
    payloads = CONVERTER.to_payloads([value, [value]])
    # The value alone, and once more as a part of something: nested bytes, for one, are written differently.
    first, second = CONVERTER.from_payloads(payloads, [hint, Any])
    assert same(first, value)
    assert second is not None
    assert same(CONVERTER.from_payload(CONVERTER.to_payload(value), hint), value)
    assert payloads == CONVERTER.to_payloads([value, [value]]), "equal values give equal bytes"


@pytest.mark.parametrize(
    ("value", "hint"),
    [pair for pair in LOSSLESS if isinstance(pair[1], type) and pair[1] is not bytes],
    ids=named,
)
def test_value_and_type_survive_inside_a_dataclass(value: Any, hint: Any) -> None:
    assert same(CONVERTER.from_payload(CONVERTER.to_payload(Box(value)), Box[hint]), Box(value))


@pytest.mark.parametrize(
    ("value", "plain"),
    [
        (Item("a", 1.5), {"name": "a", "price": 1.5, "tags": []}),
        ((1, 2), [1, 2]),
        ({2, 1, 10}, [1, 10, 2]),
        (Color.RED, "red"),
        ({1: 2}, {"1": 2}),
        (date(2024, 1, 2), "2024-01-02"),
        ([b"\xff"], ["/w=="]),
        (bytearray(b"x"), b"x"),
        (memoryview(b"x"), b"x"),
        (msgspec.Raw(b' {"a": 1} '), {"a": 1}),
        (type("Name", (str,), {})("a"), "a"),
        ([type("Count", (int,), {})(3)], [3]),
        ([type("Real", (float,), {})(1.5)], [1.5]),
        ([type("Stamp", (datetime,), {})(2024, 1, 2)], ["2024-01-02T00:00:00"]),
        (collections.OrderedDict(b=1, a=2), {"b": 1, "a": 2}),
    ],
    ids=named,
)
def test_without_a_hint_values_are_plain_json_data(value: Any, plain: Any) -> None:
    assert same(CONVERTER.from_payload(CONVERTER.to_payload(value)), plain)


def test_str_subclass_comes_back_where_it_is_asked_for() -> None:
    class Name(str):
        __slots__ = ()

    assert same(CONVERTER.from_payload(CONVERTER.to_payload([Name("a")]), list[Name]), [Name("a")])


def test_encodings_are_temporals() -> None:
    assert CONVERTER.to_payloads([None, b"x", 1]) == (
        Payload(b"", BINARY_NULL),
        Payload(b"x", BINARY_PLAIN),
        Payload(b"1", JSON_PLAIN),
    )


def test_keys_keep_their_order_and_numbers_their_form() -> None:
    assert CONVERTER.to_payload({"b": 1e16, "a": -0.0}).data == b'{"b":1e16,"a":-0.0}'


def test_sets_have_one_order_whatever_the_hash_seed() -> None:
    program = (
        "from durable.converter import default; from tests.converter.test_values import Group, Frozen;"
        "names = [f'n{i}' for i in range(50)];"
        "print(default().to_payload([set(names), {'x': frozenset(names)}, Group(set(names)), Frozen(set(names))]).data)"
    )
    outputs = {
        subprocess.run(
            [sys.executable, "-c", program],
            env={**os.environ, "PYTHONHASHSEED": seed},
            check=True,
            capture_output=True,
        ).stdout
        for seed in ("0", "1", "2")
    }
    assert len(outputs) == 1
    assert b"n49" in outputs.pop()


def test_a_set_in_a_value_leaves_the_value_alone() -> None:
    group, frozen = Group({"a", "b"}), Frozen({"a", "b"})
    CONVERTER.to_payload([group, frozen])
    assert group.members == {"a", "b"}
    assert frozen.all_members == {"a", "b"}


def test_hints_and_payloads_must_be_as_many() -> None:
    payloads = CONVERTER.to_payloads([1, 2])
    for hints in ([], [int], [int, int, int]):
        with pytest.raises(ConversionError, match=rf"^input: expected {len(hints)} values, found 2$"):
            default().from_payloads(payloads, hints)
    assert default().from_payloads(payloads) == [1, 2]
    assert default().from_payloads((), []) == []


def test_unhashable_hints_work() -> None:
    hint = Annotated[int, msgspec.Meta(extra={"a": []})]
    assert CONVERTER.from_payload(CONVERTER.to_payload(5), hint) == 5
    assert CONVERTER.from_payload(CONVERTER.to_payload(b"5"), Annotated[bytes, []]) == b"5"


@pytest.mark.parametrize(
    "policy",
    [
        RetryPolicy(),
        RetryPolicy(5, 1.5, timedelta(minutes=1), 3, [KeyError, "Final"]),
    ],
)
def test_a_retry_policy_is_a_value(policy: RetryPolicy) -> None:
    converter = default()
    assert converter.from_payload(converter.to_payload(policy), RetryPolicy) == policy


def test_default_is_one_object() -> None:
    assert default() is default()
