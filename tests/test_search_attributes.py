"""Search attributes: what can be made can be stored, and comes back as it was."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from durable.common import (
    SearchAttributeIndexedValueType,
    SearchAttributeKey,
    SearchAttributePair,
    TypedSearchAttributes,
)
from durable.exceptions import HistoryCorruptError
from durable.history import BINARY_NULL, Payload
from durable.history._search_attributes import (
    MAX_ATTRIBUTES,
    decode_search_attributes,
    encode_search_attribute_updates,
    encode_search_attributes,
    merge_search_attributes,
)

CUSTOMER = SearchAttributeKey.for_keyword("Customer")
NOTES = SearchAttributeKey.for_text("Notes")
ITEMS = SearchAttributeKey.for_int("Items")
AMOUNT = SearchAttributeKey.for_float("Amount")
VIP = SearchAttributeKey.for_bool("Vip")
DUE = SearchAttributeKey.for_datetime("Due")
TAGS = SearchAttributeKey.for_keyword_list("Tags")
NOON = datetime(2024, 2, 29, 12, tzinfo=UTC)


def of(*pairs: tuple[SearchAttributeKey[Any], Any]) -> TypedSearchAttributes:
    return TypedSearchAttributes([SearchAttributePair(key, value) for key, value in pairs])


# --- the collection ---


def test_attributes_are_found_by_name_and_type() -> None:
    attributes = of((TAGS, ("b", "a")), (CUSTOMER, "ada"), (AMOUNT, 3))
    assert [pair.key.name for pair in attributes] == ["Amount", "Customer", "Tags"]
    assert attributes[CUSTOMER] == "ada"
    assert attributes[TAGS] == ["b", "a"]
    assert isinstance(attributes[AMOUNT], float)
    assert CUSTOMER in attributes
    assert ITEMS not in attributes
    assert attributes.get(ITEMS) is None
    assert attributes.get(ITEMS, 7) == 7
    assert len(attributes) == 3


def test_the_wrong_type_is_not_the_same_attribute() -> None:
    other = SearchAttributeKey.for_int("Customer")
    attributes = of((CUSTOMER, "ada"))
    assert other not in attributes
    assert attributes.get(other) is None
    with pytest.raises(KeyError, match="'Customer' is of type Keyword, not Int"):
        attributes[other]
    with pytest.raises(KeyError, match="'Items' is not set"):
        attributes[ITEMS]


def test_false_and_zero_are_values() -> None:
    attributes = of((VIP, False), (ITEMS, 0), (CUSTOMER, ""))
    assert attributes[VIP] is False
    assert attributes.get(ITEMS, 9) == 0
    assert attributes[CUSTOMER] == ""


def test_updated_replaces_by_name() -> None:
    attributes = of((CUSTOMER, "ada"), (ITEMS, 1))
    changed = attributes.updated(SearchAttributePair(ITEMS, 2), SearchAttributePair(VIP, True))
    assert changed == of((CUSTOMER, "ada"), (ITEMS, 2), (VIP, True))
    assert attributes == of((CUSTOMER, "ada"), (ITEMS, 1))


def test_a_list_is_not_shared_with_whoever_gave_it() -> None:
    tags = ["a"]
    attributes = of((TAGS, tags))
    tags.append("b")
    assert attributes[TAGS] == ["a"]


def test_a_name_is_there_once() -> None:
    with pytest.raises(ValueError, match="'Items' is there twice"):
        of((ITEMS, 1), (ITEMS, 2))


def test_numbers_of_types_are_temporals() -> None:
    assert {kind.label: int(kind) for kind in SearchAttributeIndexedValueType} == {
        "Text": 1, "Keyword": 2, "Int": 3, "Double": 4, "Bool": 5, "Datetime": 6, "KeywordList": 7,
    }  # fmt: skip


# --- what is refused ---


@pytest.mark.parametrize(
    ("make", "error", "text"),
    [
        (lambda: SearchAttributeKey.for_int(""), ValueError, "must not be empty"),
        (lambda: SearchAttributeKey.for_int(" a"), ValueError, "no space at its ends"),
        (lambda: SearchAttributeKey.for_int("a\nb"), ValueError, "control characters"),
        (lambda: SearchAttributeKey.for_int("a\0"), ValueError, "NUL"),
        (lambda: SearchAttributeKey.for_int("\ud800"), ValueError, "surrogate"),
        (lambda: SearchAttributeKey.for_int("ä" * 128), ValueError, "at most 255 bytes, not 256"),
        (lambda: SearchAttributeKey.for_int(3), TypeError, "must be a str, not int"),  # type: ignore[arg-type]
        (
            lambda: SearchAttributeKey.for_keyword("RunId").value_set("x"),
            ValueError,
            "'RunId' is built in .* for example 'MyRunId'",
        ),
        (lambda: SearchAttributeKey.for_keyword("WorkflowType").value_unset(), ValueError, "built in"),
        (
            lambda: SearchAttributeKey.for_keyword("TemporalX").value_set("x"),
            ValueError,
            "begin with 'Temporal' are the library's",
        ),
        (lambda: CUSTOMER.value_set(3), TypeError, r"'Customer' \(Keyword\) takes a str, not int: 3"),  # type: ignore[arg-type]
        (lambda: CUSTOMER.value_set("x" * 2049), ValueError, "at most 2048 bytes, not 2049; .* memo"),
        (lambda: CUSTOMER.value_set("ä" * 1025), ValueError, "not 2050"),
        (lambda: CUSTOMER.value_set("a\0b"), ValueError, "no NUL character"),
        (lambda: CUSTOMER.value_set("\udfff"), ValueError, "surrogate"),
        (lambda: ITEMS.value_set(True), TypeError, "takes an int, not bool"),
        (lambda: ITEMS.value_set(1.0), TypeError, "takes an int, not float"),  # type: ignore[arg-type]
        (lambda: ITEMS.value_set(2**63), ValueError, "fit into 64 bits"),
        (lambda: AMOUNT.value_set(float("nan")), ValueError, "finite number, not nan; use value_unset"),
        (lambda: AMOUNT.value_set(float("inf")), ValueError, "finite"),
        (lambda: AMOUNT.value_set(10**400), ValueError, "finite"),
        (lambda: AMOUNT.value_set(True), TypeError, "takes a float, not bool"),
        (lambda: VIP.value_set(1), TypeError, "takes a bool, not int"),  # type: ignore[arg-type]
        (lambda: DUE.value_set(datetime(2024, 1, 1)), ValueError, "must carry a time zone"),  # noqa: DTZ001
        (lambda: DUE.value_set("2024-01-01"), TypeError, "takes a datetime, not str"),  # type: ignore[arg-type]
        (lambda: TAGS.value_set("abc"), TypeError, "takes a list of str, not str: 'abc'; put it into a list"),
        (lambda: TAGS.value_set(["a", 3]), TypeError, "and one is int: 3"),  # type: ignore[list-item]
        (lambda: TAGS.value_set(["a" * 1025, "b" * 1024]), ValueError, "not 2049"),
        (lambda: of((AMOUNT, float("nan"))), ValueError, "finite"),
        (lambda: of((CUSTOMER, None)), TypeError, "not NoneType"),
    ],
)
def test_refused_at_the_caller(make: Callable[[], object], error: type[Exception], text: str) -> None:
    with pytest.raises(error, match=text):
        make()


def test_a_built_in_name_can_be_read_but_not_written() -> None:
    by_schedule = SearchAttributeKey.for_keyword("TemporalScheduledById")
    attributes = of((by_schedule, "nightly"))
    with pytest.raises(ValueError, match="cannot be set"):
        encode_search_attributes(attributes)
    stored = encode_search_attributes(attributes, reserved=True)
    assert decode_search_attributes(stored)[by_schedule] == "nightly"


# --- the stored form ---


def test_stored_form() -> None:
    stored = encode_search_attributes(
        of(
            (CUSTOMER, "ada"),
            (AMOUNT, 3),
            (TAGS, ["b", "a"]),
            (DUE, NOON.astimezone(timezone(timedelta(hours=2)))),
        )
    )
    assert {name: (payload.data, payload.metadata["type"]) for name, payload in stored.items()} == {
        "Amount": (b"3.0", b"Double"),
        "Customer": (b'"ada"', b"Keyword"),
        "Due": (b'"2024-02-29T12:00:00+00:00"', b"Datetime"),
        "Tags": (b'["b","a"]', b"KeywordList"),
    }
    assert decode_search_attributes(stored)[DUE] == NOON


texts = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=50)
values: st.SearchStrategy[tuple[SearchAttributeKey[Any], Any]] = st.one_of(
    st.tuples(st.just(CUSTOMER), texts),
    st.tuples(st.just(NOTES), texts),
    st.tuples(st.just(ITEMS), st.integers(-(2**63), 2**63 - 1)),
    st.tuples(st.just(AMOUNT), st.floats(allow_nan=False, allow_infinity=False)),
    st.tuples(st.just(VIP), st.booleans()),
    st.tuples(st.just(DUE), st.datetimes(timezones=st.just(UTC))),
    st.tuples(st.just(TAGS), st.lists(texts, max_size=5)),
)


@given(st.lists(values, unique_by=lambda pair: pair[0].name))
def test_whatever_is_stored_comes_back(pairs: list[tuple[SearchAttributeKey[Any], Any]]) -> None:
    attributes = of(*pairs)
    assert decode_search_attributes(encode_search_attributes(attributes)) == attributes


def test_updates_set_and_unset() -> None:
    stored = encode_search_attributes(of((CUSTOMER, "ada"), (ITEMS, 1)))
    updates = encode_search_attribute_updates(
        [ITEMS.value_set(5), CUSTOMER.value_unset(), VIP.value_unset(), ITEMS.value_set(6)]
    )
    assert updates["Customer"].encoding == BINARY_NULL
    assert decode_search_attributes(merge_search_attributes(stored, updates)) == of((ITEMS, 6))
    assert decode_search_attributes(updates) == of((ITEMS, 6))


def test_totals_are_limited() -> None:
    many = [(SearchAttributeKey.for_bool(f"b{n}"), True) for n in range(MAX_ATTRIBUTES + 1)]
    with pytest.raises(ValueError, match="at most 100 search attributes, not 101"):
        encode_search_attributes(of(*many))
    large = [(SearchAttributeKey.for_keyword(f"k{n}"), "x" * 2000) for n in range(21)]
    with pytest.raises(ValueError, match="at most 40960 bytes together"):
        encode_search_attributes(of(*large))
    with pytest.raises(ValueError, match="at most 100 search attributes"):
        merge_search_attributes(
            encode_search_attributes(of(*many[:60])), encode_search_attributes(of(*many[60:]))
        )


@pytest.mark.parametrize(
    "payload",
    [
        Payload(b"1"),
        Payload(b"1", metadata={"type": b"Complex"}),
        Payload(b"{", metadata={"type": b"Int"}),
        Payload(b'"x"', metadata={"type": b"Int"}),
        Payload(b'"yesterday"', metadata={"type": b"Datetime"}),
    ],
)
def test_damage_is_told(payload: Payload) -> None:
    with pytest.raises(HistoryCorruptError, match="search attributes cannot be read"):
        decode_search_attributes({"X": payload})
