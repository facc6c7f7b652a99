"""Search attributes as rows of the table they are found by. The rows of a name replace those it had."""

from __future__ import annotations

from datetime import datetime

from msgspec import Struct

from durable._internal.instants import from_datetime
from durable._search_attributes import SearchAttributeIndexedValueType, TypedSearchAttributes
from durable.store._filter._values import words

_T = SearchAttributeIndexedValueType


class AttributeRow(Struct, frozen=True, gc=False):
    """One value of one attribute; exactly one of the values is set.

    Attributes:
        type: A `SearchAttributeIndexedValueType`.
        position: Counts the words of a text and the keywords of a list, from 0.
    """

    name: str
    type: int
    position: int = 0
    text_value: str | None = None
    int_value: int | None = None
    float_value: float | None = None


def attribute_rows(attributes: TypedSearchAttributes) -> list[AttributeRow]:
    """The rows of a run's attributes. An empty list has none: it is found as if it were unset."""
    rows: list[AttributeRow] = []
    for key, value in attributes:
        kind = int(key.indexed_value_type)
        match key.indexed_value_type:
            case _T.TEXT | _T.KEYWORD_LIST:
                # A text without a word has an empty one, which nobody looks for, so that it is found to be set.
                texts = (words(value) or [""]) if kind == _T.TEXT else list(dict.fromkeys(value))
                rows.extend(AttributeRow(key.name, kind, n, text_value=text) for n, text in enumerate(texts))
            case _T.KEYWORD:
                rows.append(AttributeRow(key.name, kind, text_value=value))
            case _T.DOUBLE:
                rows.append(AttributeRow(key.name, kind, float_value=value))
            case _T.DATETIME:
                assert isinstance(value, datetime)
                rows.append(AttributeRow(key.name, kind, int_value=from_datetime(value, key.name)))
            case _T.INT | _T.BOOL:
                rows.append(AttributeRow(key.name, kind, int_value=int(value)))
    return rows
