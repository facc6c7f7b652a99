"""Every line of the page about values, and values made of such values at random."""

from __future__ import annotations

import collections
import math
import uuid
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from durable.converter import CompositePayloadConverter, DefaultPayloadConverter, default
from durable.exceptions import ConversionError
from tests.converter.kinds import KINDS, PAGE, REFUSED, Box, Color, Mode, Order, Point, Size, page
from tests.converter.test_values import same

SLOW = CompositePayloadConverter(*DefaultPayloadConverter.default_encoding_payload_converters)


def test_the_page_is_up_to_date() -> None:
    assert PAGE.read_text(encoding="utf-8") == page(), "run: python -m tests.converter.kinds"


@pytest.mark.parametrize(
    ("value", "hint"),
    [sample for kind in KINDS for sample in kind.samples],
    ids=lambda value: ascii(value)[:30],
)
def test_a_kind_comes_back(value: Any, hint: Any) -> None:
    assert same(default().from_payload(default().to_payload(value), hint), value)


@pytest.mark.parametrize(("name", "value", "text"), REFUSED, ids=[name for name, _, _ in REFUSED])
def test_a_kind_is_refused_with_its_place(name: str, value: Any, text: str) -> None:
    with pytest.raises(ConversionError) as caught:
        default().to_payloads([{"deep": [value]}], path="charge input")
    assert str(caught.value).startswith("charge input[0].deep[0]")
    assert text in str(caught.value)


def whole(offset: int) -> timezone:
    return timezone(timedelta(minutes=offset))


LEAVES: list[tuple[Any, st.SearchStrategy[Any]]] = [
    (bool, st.booleans()),
    (int, st.integers()),
    (float, st.floats(allow_nan=False, allow_infinity=False)),
    (str, st.text(st.characters(exclude_categories=["Cs"]))),
    (bytes, st.binary()),
    (bytearray, st.binary().map(bytearray)),
    (uuid.UUID, st.uuids()),
    (Decimal, st.decimals(allow_nan=False, allow_infinity=False)),
    (date, st.dates()),
    (datetime, st.datetimes(timezones=st.none() | st.just(UTC) | st.integers(-1439, 1439).map(whole))),
    (time, st.times()),
    (timedelta, st.timedeltas()),
    (Color, st.sampled_from(Color)),
    (Size, st.sampled_from(Size)),
    (Mode, st.sampled_from(Mode)),
    (Order, st.builds(Order, st.integers(), st.none() | st.just("note"))),
    (Point, st.builds(Point, st.integers(), st.integers())),
]
KEYS = [
    pair for pair in LEAVES if pair[0] in (int, str, bytes, uuid.UUID, date, timedelta, Color, Size, Mode)
]


def containers(inner: st.SearchStrategy[tuple[Any, Any]]) -> st.SearchStrategy[tuple[Any, Any]]:
    """Pairs of a type and a value, made of such pairs: lists repeat one value, which is all a type can tell apart."""

    @st.composite
    def one(draw: st.DrawFn) -> tuple[Any, Any]:
        hint, value = draw(inner)
        count = draw(st.integers(0, 3))
        key_hint, keys = draw(st.sampled_from(KEYS))
        shape = draw(st.integers(0, 6))
        if shape == 0:
            return list[hint], [value] * count
        if shape == 1:
            return tuple[hint, ...], (value,) * count
        if shape == 2:
            other_hint, other = draw(inner)
            return tuple[hint, other_hint], (value, other)
        if shape == 3:
            return dict[key_hint, hint], dict.fromkeys(draw(st.lists(keys, max_size=3)), value)
        if shape == 4:
            return hint | None, draw(st.sampled_from([None, value]))
        if shape == 5:
            return Box[hint], Box(value)
        return collections.deque[hint], collections.deque([value] * count)

    return one()


PAIRS = st.recursive(
    st.one_of([st.tuples(st.just(hint), values) for hint, values in LEAVES]), containers, max_leaves=8
)
SETS = st.one_of(
    [st.tuples(st.sampled_from([set[hint], frozenset[hint]]), st.sets(values)) for hint, values in KEYS]
)


@given(PAIRS)
@settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_what_is_made_of_kinds_comes_back_the_fast_way_and_the_slow_way(pair: tuple[Any, Any]) -> None:
    hint, value = pair
    fast = default().to_payload(value)
    assert fast == SLOW.to_payload(value)
    assert same(default().from_payload(fast, hint), value)
    assert same(SLOW.from_payload(fast, hint), value)
    assert default().to_payload(default().from_payload(fast, hint)) == fast


@given(SETS)
@settings(max_examples=100, deadline=None)
def test_sets_come_back_and_are_always_written_alike(pair: tuple[Any, set[Any]]) -> None:
    hint, value = pair
    made = hint.__origin__(value)
    payload = default().to_payload(made)
    assert same(default().from_payload(payload, hint), made)
    assert default().to_payload(hint.__origin__(sorted(value, key=repr, reverse=True))) == payload


@given(st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary() | st.builds(object),
    lambda inner: st.lists(inner) | st.dictionaries(st.text() | st.integers() | st.floats(), inner) | st.tuples(inner, inner),
    max_leaves=12,
))  # fmt: skip
@settings(max_examples=400, deadline=None)
def test_whatever_it_is_it_is_stored_or_refused(value: Any) -> None:
    try:
        payload = default().to_payload(value)
    except ConversionError as error:
        refused = error
        assert refused.path.startswith("value")
        return
    plain = default().from_payload(payload)
    assert default().to_payload(plain) == payload or isinstance(value, bytes)
    assert not (isinstance(plain, float) and math.isnan(plain))
