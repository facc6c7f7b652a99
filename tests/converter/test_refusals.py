"""What is refused: at the caller, by type and place, in both directions."""

from __future__ import annotations

import ast
import asyncio
import collections
import enum
import math
import sys
import tempfile
from collections.abc import Callable
from contextlib import suppress
from dataclasses import InitVar, dataclass, field
from datetime import UTC, datetime, time, timedelta, timezone
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import UUID

import msgspec
import pytest

import durable.converter
from durable.converter import default
from durable.exceptions import ConversionError
from durable.history import BINARY_NULL, BINARY_PLAIN, Payload


@dataclass
class Item:
    price: Any


@dataclass
class Order:
    items: list[Item]


class Odd(enum.Enum):
    HALF = 0.5


class Flag(enum.Enum):
    ON = True


@dataclass
class WithInitVar:
    a: int
    b: InitVar[int] = 0


@dataclass
class Unclear:
    either: UUID | str


class Nanos(datetime):
    nanosecond = 7


def tower(height: int, make: Callable[[Any], Any] = lambda inner: [inner]) -> Any:
    value: Any = 1
    for _ in range(height):
        value = make(value)
    return value


def loop(kind: str) -> Any:
    items: list[Any] = []
    mapping: dict[str, Any] = {}
    if kind == "list":
        items.append(items)
        return items
    if kind == "dict":
        mapping["self"] = mapping
        return mapping
    item = Item(None)
    item.price = {"deep": [item]}
    return item


NAN = math.nan
REFUSED: list[tuple[Any, str, str]] = [
    (Order([Item(1), Item(2), Item(3), Item(NAN)]), "input[0].items[3].price", "float nan"),
    (NAN, "input[0]", "float nan"),
    ([None, 1.0, math.inf], "input[0][2]", "float inf"),
    ({"a": {"b c": -math.inf}}, "input[0].a['b c']", "float -inf"),
    ({"a": (1, {2, NAN})}, "input[0].a[1]{...}", "float nan"),
    ({NAN: 1}, "input[0]", "the key nan"),
    (Decimal("NaN"), "input[0]", "Decimal NaN"),
    ([Decimal("sNaN")], "input[0][0]", "Decimal sNaN"),
    ([Decimal("Infinity")], "input[0][0]", "Decimal Infinity"),
    ("\ud800", "input[0]", r"lone surrogate ('\ud800' at 0)"),
    ({"a": ["x\udfff"]}, "input[0].a[0]", r"lone surrogate ('\udfff' at 1)"),
    ({"\ud800": 1}, "input[0]", "lone surrogate"),
    (lambda: 1, "input[0]", "function"),
    ([len], "input[0][0]", "builtin_function_or_method"),
    ((x for x in ()), "input[0]", "generator"),
    ({"it": iter([])}, "input[0].it", "list_iterator"),
    (object(), "input[0]", "an object cannot"),
    (Item, "input[0]", "the class tests.converter.test_refusals.Item"),
    ({"t": int}, "input[0].t", "the class int"),
    (ValueError("x"), "input[0]", "a ValueError"),
    (1j, "input[0]", "a complex"),
    (range(3), "input[0]", "range"),
    (..., "input[0]", "ellipsis"),
    (msgspec.Raw(b"{bad"), "input[0]", "Raw does not hold JSON"),
    (loop("list"), "input[0][0]", "contains itself"),
    (loop("dict"), "input[0].self", "contains itself"),
    (loop("dataclass"), "input[0].price.deep[0]", "contains itself"),
    ({1: "a", "1": "b"}, "input[0]", "the keys 1 and '1' would both be written as \"1\""),
    ({"x": {Odd: 1}}, "input[0].x", "cannot be a key"),
    ([{UUID(int=0): 1, str(UUID(int=0)): 2}], "input[0][0]", "would both be written"),
    ({(1, 2): 1}, "input[0]", "a tuple cannot be a key"),
    ({None: 1}, "input[0]", "a NoneType cannot be a key"),
    ({True: 1}, "input[0]", "a bool cannot be a key"),
    (10**4300, "input[0]", "4,300 digits"),
    ([-(10**4299)], "input[0][0]", "4,300 digits"),
    (1 << 100_000, "input[0]", "4,300 digits"),
    (tower(129), "input[0][0]...", "deeper than 128"),
    (tower(1500), "input[0][0]...", "deeper than 128"),
    (tower(200_000), "input[0][0]...", "deeper than 128"),
    (tower(129, lambda inner: {"k": inner}), "input[0].k.k...", "deeper than 128"),
    (tower(129, Item), "input[0].price.price...", "deeper than 128"),
    (Odd.HALF, "input[0]", "neither all strings nor all integers"),
    ([Flag.ON], "input[0][0]", "neither all strings nor all integers"),
    (WithInitVar(1), "input[0]", "InitVar"),
    ([Unclear("a")], "input[0][0]", "cannot be read back"),
    (datetime(1850, 1, 1, tzinfo=timezone(timedelta(seconds=3208))), "input[0]", "whole number of minutes"),
    ([time(1, tzinfo=timezone(timedelta(seconds=1)))], "input[0][0]", "whole number of minutes"),
    ([Nanos(2024, 1, 1)], "input[0][0]", "nanoseconds"),
    ({"k" * 500: NAN}, "input[0].kkk...", "float nan"),
]


def label(value: object) -> str:
    return ascii(value)[:40] if isinstance(value, str) else type(value).__name__


@pytest.mark.parametrize(("value", "path", "text"), REFUSED, ids=label)
def test_refused_with_its_place(value: Any, path: str, text: str) -> None:
    with pytest.raises(ConversionError) as caught:
        default().to_payloads([value])
    if path.endswith("..."):
        assert caught.value.path.startswith(path[:-3])
    else:
        assert caught.value.path == path
    assert text in str(caught.value)
    assert len(str(caught.value)) < 1_000
    assert not isinstance(caught.value.__cause__, ConversionError)


def test_refused_open_file_coroutine_and_async_generator() -> None:
    async def work() -> None: ...

    async def stream() -> Any:
        yield 1

    coroutine = work()
    with tempfile.TemporaryFile() as file, pytest.raises(ConversionError, match="lives in this process only"):
        default().to_payload([file])
    with pytest.raises(ConversionError, match="an `await` is missing"):
        default().to_payload({"a": coroutine})
    with pytest.raises(ConversionError, match="async_generator cannot be stored"):
        default().to_payload(stream())
    coroutine.close()
    loop = asyncio.new_event_loop()
    with pytest.raises(ConversionError, match="an `await` is missing"):
        default().to_payload(loop.create_future())
    loop.close()


def test_the_caller_gives_the_root_its_name() -> None:
    for convert, path in (
        (lambda: default().to_payload([NAN], path="result"), "result[0]"),
        (lambda: default().to_payloads([1, [NAN]], path="signal decide"), "signal decide[1][0]"),
        (lambda: default().from_payload(Payload(b'["x"]'), list[int], path="result"), "result[0]"),
        (
            lambda: default().from_payloads([Payload(b"1"), Payload(b'"x"')], [int, int], path="memo"),
            "memo[1]",
        ),
    ):
        with pytest.raises(ConversionError) as caught:
            convert()
        assert caught.value.path == path


def test_an_integer_too_long_is_refused_even_where_python_would_write_it() -> None:
    before = sys.get_int_max_str_digits()
    sys.set_int_max_str_digits(0)
    try:
        with pytest.raises(ConversionError, match="4,300 digits"):
            default().to_payload({"a": [10**4300]})
        assert default().to_payload("1" * 5000).data == b'"' + b"1" * 5000 + b'"'
    finally:
        sys.set_int_max_str_digits(before)


@pytest.mark.parametrize(
    "make", [lambda v: [v], lambda v: {"a": v}, Item, lambda v: (v,), lambda v: [Item(v)]]
)
def test_depth_128_is_written_and_read(make: Callable[[Any], Any]) -> None:
    height = 64 if isinstance(make(1), list) and isinstance(make(1)[0], Item) else 128
    payload = default().to_payload(tower(height, make))
    default().from_payload(payload)
    with pytest.raises(ConversionError, match="deeper than 128"):
        default().to_payload(tower(height + 1, make))


@pytest.mark.parametrize(
    ("data", "hint", "path", "text"),
    [
        (b"[" * 129 + b"]" * 129, Any, "value", "deeper than 128"),
        (b'{"a":' * 129 + b"1" + b"}" * 129, Any, "value", "deeper than 128"),
        (b"[" * 100_000 + b"]" * 100_000, Any, "value", "deeper than 128"),
        (b"[" * 100_000, Any, "value", "deeper than 128"),
        (b'["]",' * 129 + b'"["' + b',"["]' * 129, Any, "value", "deeper than 128"),
        (b'["\\"]",' * 129 + b"1" + b"]" * 129, Any, "value", "deeper than 128"),
        (b"NaN", float, "value", "not JSON"),
        (b"Infinity", Any, "value", "not JSON"),
        (b"1e400", float, "value", "out of range"),
        (b"1" * 5000, int, "value", "out of range"),
        (b'"\\ud800"', str, "value", "not JSON"),
        (b'"\xff"', str, "value", "not UTF-8"),
        (b'{"price":1,"unknown":"\xed\xa0\x80"}', Item, "value", "not UTF-8"),
        (b"\xef\xbb\xbf1", int, "value", "not JSON"),
        (b"1 2", Any, "value", "not JSON"),
        (b"", Any, "value", "not JSON"),
        (b'["a"', Any, "value", "not JSON"),
        (b'"x"', int, "value", "expected `int`, found `str`"),
        (b"1.0", int, "value", "expected `int`, found `float`"),
        (b"true", int, "value", "expected `int`, found `bool`"),
        (b"null", int, "value", "expected `int`, found `null`"),
        (b'{"items":[{"price":1},{}]}', Order, "value.items[1]", "missing required field `price`"),
        (b'{"items":[{"price":1},3]}', Order, "value.items[1]", "expected `object`, found `int`"),
        (b'{"k":["x"]}', dict[str, list[int]], "value[...][0]", "expected `int`, found `str`"),
        (b'{"k":1}', dict[int, int], "value", "as a key"),
        (b'"blue"', Odd, "value", "cannot be read"),
        (b'"abcd"', bytes, "value", "expected bytes, found JSON"),
        (b'"abcd"', bytes | None, "value", "found `str`"),
        (b"1", UUID | str, "value", "cannot be read as"),
        (b"1", "Order", "value", "cannot be read as Order"),
        (b"1", Path, "value", "expected `str`, found `int`"),
        (b'{"a":1}', collections.defaultdict, "value", "cannot be read back"),
        (b"1", complex, "value", "expected `complex`"),
        (b'{"name":1}', Item | Order, "value", "cannot be told to be one of them"),
        (b"1", Item | Order, "value", "found int"),
    ],
    ids=lambda value: ascii(value)[:30],
)
def test_refused_when_read(data: bytes, hint: Any, path: str, text: str) -> None:
    with pytest.raises(ConversionError) as caught:
        default().from_payload(Payload(data), hint)
    assert caught.value.path == path
    assert text in str(caught.value)
    assert len(str(caught.value)) < 2_000


@pytest.mark.parametrize(
    ("payload", "hint", "text"),
    [
        (Payload(b"", BINARY_NULL), int, "expected `int`, found `null`"),
        (Payload(b"", BINARY_NULL), bytes, "expected bytes, found null"),
        (Payload(b"", BINARY_NULL), Order, "found `null`"),
        (Payload(b"x", BINARY_PLAIN), str, "expected str, found bytes"),
        (Payload(b"x", BINARY_PLAIN), Order, "found bytes"),
        (Payload(b"x", "binary/encrypted"), Any, "'binary/encrypted' is not known"),
    ],
)
def test_refused_encodings(payload: Payload, hint: Any, text: str) -> None:
    with pytest.raises(ConversionError) as caught:
        default().from_payload(payload, hint, path="result")
    assert caught.value.path == "result"
    assert text in str(caught.value)


@pytest.mark.parametrize(
    "stored",
    [
        b'{"__class__":"os.system","args":["true"]}',
        b'{"__reduce__":["os.system",["true"]]}',
        b'{"lc":1,"type":"constructor","id":["os","system"]}',
        b'{"py/object":"os.system"}',
        b'"!!python/object/apply:os.system"',
    ],
)
def test_nothing_stored_is_executed(stored: bytes) -> None:
    assert default().from_payload(Payload(stored)) == msgspec.json.decode(stored)


def test_the_package_has_no_means_to_execute_what_is_stored() -> None:
    forbidden = {
        "pickle",
        "marshal",
        "shelve",
        "eval",
        "exec",
        "import_module",
        "__import__",
        "importlib",
        "literal_eval",
    }
    for file in Path(durable.converter.__path__[0]).glob("*.py"):
        for node in ast.walk(ast.parse(file.read_text())):
            names = {getattr(node, name, None) for name in ("id", "attr", "module")}
            names |= {alias.name for alias in getattr(node, "names", []) if isinstance(alias, ast.alias)}
            assert not names & forbidden, f"{file.name}:{getattr(node, 'lineno', 0)}"


def test_long_towers_of_strings_are_checked_in_linear_time() -> None:
    # Quoted quotes and open strings: patterns that scan backwards would take hours.
    for data in (
        b'["' + b'\\"' * 500_000,
        b"[" * 200 + b'"' + b"\\" * 1_000_001,
        b'[""' + b',"["' * 300_000 + b"]",
    ):
        with suppress(ConversionError):
            default().from_payload(Payload(data))


def test_naive_datetimes_are_allowed() -> None:
    for value in (
        datetime(2024, 1, 1, 12),  # noqa: DTZ001
        datetime(2024, 1, 1, tzinfo=UTC),
    ):
        assert default().from_payload(default().to_payload(value), datetime) == value


@dataclass
class Later:
    a: int
    b: int = field(default=1)


def test_fields_added_with_a_default_and_fields_removed_are_no_mismatch() -> None:
    assert default().from_payload(Payload(b'{"a":1,"gone":2}'), Later) == Later(1)
