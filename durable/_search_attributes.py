"""Search attributes: what a workflow says of itself so that it can be found. `durable.common` is where they are public.

A key is a name and a type. One name has one type in all workflows of a database, so that a filter on it means one thing.
Everything is checked when it is made, in the caller's frame: what can be constructed can be stored and indexed.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import IntEnum
from itertools import pairwise
from typing import Any, ClassVar, Generic, NamedTuple, TypeVar, cast, overload

from durable._internal.shown import shown

MAX_NAME = 255
"""Bytes of a name. It is in every index entry of its values, and PostgreSQL's take 2,704 bytes in all."""

MAX_VALUE = 2048
"""Bytes of a value's text, all keywords of a list together. Temporal's limit."""

RESERVED_PREFIX = "Temporal"
"""Names that begin so are the library's."""

BUILT_IN_NAMES = frozenset(
    {
        "BuildIds", "CloseTime", "ExecutionDuration", "ExecutionStatus", "ExecutionTime", "HistoryLength", "HistorySizeBytes", "Hold",
        "HoldReason", "ParentRunId", "ParentWorkflowId", "RootRunId", "RootWorkflowId", "RunId", "StartTime",
        "StateTransitionCount", "TaskQueue", "WorkflowId", "WorkflowType",
    }
)  # fmt: skip
"""What is known of every run and can be filtered by without being set."""

SearchAttributeValue = str | int | float | bool | datetime | Sequence[str]
SearchAttributeValueType = TypeVar("SearchAttributeValueType", str, int, float, bool, datetime, Sequence[str])
_Default = TypeVar("_Default")


class SearchAttributeIndexedValueType(IntEnum):
    """How a search attribute is indexed. Values are Temporal's, and are stored."""

    TEXT = 1
    """Prose, found by any of its words."""
    KEYWORD = 2
    """One text, found whole or by how it begins."""
    INT = 3
    DOUBLE = 4
    BOOL = 5
    DATETIME = 6
    KEYWORD_LIST = 7
    """Several texts, found by any of them."""

    @property
    def label(self) -> str:
        """The type's name in a payload's metadata and in messages: `KeywordList`."""
        return self.name.title().replace("_", "")


_T = SearchAttributeIndexedValueType

_PYTHON: dict[SearchAttributeIndexedValueType, tuple[type, str]] = {
    _T.TEXT: (str, "a str"),
    _T.KEYWORD: (str, "a str"),
    _T.INT: (int, "an int"),
    _T.DOUBLE: (float, "a float"),
    _T.BOOL: (bool, "a bool"),
    _T.DATETIME: (datetime, "a datetime"),
    _T.KEYWORD_LIST: (Sequence, "a list of str"),
}


@dataclass(frozen=True)
class SearchAttributeKey(Generic[SearchAttributeValueType]):
    """A search attribute's name and type. Make one with a `for_...` method, so that type checkers know the type too.

    Attributes:
        name: At most 255 bytes, without control characters. Names of built-in attributes can be read, not set.
        indexed_value_type: How it is indexed.

    Raises:
        ValueError: The name will not do; the text says why.
        TypeError: The name is not a `str`.
    """

    name: str
    indexed_value_type: SearchAttributeIndexedValueType

    def __post_init__(self) -> None:
        _check_name(self.name)

    @property
    def value_type(self) -> type[SearchAttributeValueType]:
        """The Python type of its values, without type arguments."""
        return _PYTHON[self.indexed_value_type][0]

    def value_set(self, value: SearchAttributeValueType) -> SearchAttributeUpdate[SearchAttributeValueType]:
        """Return the update that gives this attribute a value.

        Raises:
            ValueError: The name is reserved, or the value is too large or means nothing (NaN, a naive datetime).
            TypeError: The value is not of the key's type.
        """
        check_settable(self)
        return SearchAttributeUpdate(self, check_value(self, value))

    def value_unset(self) -> SearchAttributeUpdate[SearchAttributeValueType]:
        """Return the update that removes this attribute.

        Raises:
            ValueError: The name is reserved.
        """
        check_settable(self)
        return SearchAttributeUpdate(self, None)

    @staticmethod
    def for_text(name: str) -> SearchAttributeKey[str]:
        """Return the key of prose that is found by any of its words."""
        return SearchAttributeKey[str](name, _T.TEXT)

    @staticmethod
    def for_keyword(name: str) -> SearchAttributeKey[str]:
        """Return the key of a text that is found whole or by how it begins."""
        return SearchAttributeKey[str](name, _T.KEYWORD)

    @staticmethod
    def for_int(name: str) -> SearchAttributeKey[int]:
        """Return the key of a whole number of at most 64 bits."""
        return SearchAttributeKey[int](name, _T.INT)

    @staticmethod
    def for_float(name: str) -> SearchAttributeKey[float]:
        """Return the key of a finite number."""
        return SearchAttributeKey[float](name, _T.DOUBLE)

    @staticmethod
    def for_bool(name: str) -> SearchAttributeKey[bool]:
        """Return the key of a truth value."""
        return SearchAttributeKey[bool](name, _T.BOOL)

    @staticmethod
    def for_datetime(name: str) -> SearchAttributeKey[datetime]:
        """Return the key of an instant."""
        return SearchAttributeKey[datetime](name, _T.DATETIME)

    @staticmethod
    def for_keyword_list(name: str) -> SearchAttributeKey[Sequence[str]]:
        """Return the key of several texts, found by any of them. An empty list is found as if it were unset."""
        return SearchAttributeKey[Sequence[str]](name, _T.KEYWORD_LIST)


class SearchAttributePair(NamedTuple, Generic[SearchAttributeValueType]):
    """A key and its value."""

    key: SearchAttributeKey[SearchAttributeValueType]
    value: SearchAttributeValueType


@dataclass(frozen=True)
class SearchAttributeUpdate(Generic[SearchAttributeValueType]):
    """A change of one attribute: see `SearchAttributeKey.value_set` and `value_unset`.

    Attributes:
        key: What is changed.
        value: The new value, or None if it is removed.
    """

    key: SearchAttributeKey[SearchAttributeValueType]
    value: SearchAttributeValueType | None


@dataclass(frozen=True)
class TypedSearchAttributes(Collection[SearchAttributePair[Any]]):
    """Search attributes of one workflow, sorted by name; no name is there twice, and nothing in it changes.

    Attributes:
        search_attributes: The pairs.

    Raises:
        ValueError: A name is there twice, or a value is too large or means nothing (NaN, a naive datetime).
        TypeError: A value is not of its key's type.
    """

    search_attributes: Sequence[SearchAttributePair[Any]] = ()

    empty: ClassVar[TypedSearchAttributes]
    """No attributes."""

    def __post_init__(self) -> None:
        pairs = [
            SearchAttributePair(pair.key, check_value(pair.key, pair.value))
            for pair in self.search_attributes
        ]
        pairs.sort(key=lambda pair: pair.key.name)
        for before, pair in pairwise(pairs):
            if before.key.name == pair.key.name:
                raise ValueError(f"search attribute {pair.key.name!r} is there twice; give it one value")
        object.__setattr__(self, "search_attributes", tuple(pairs))

    def __len__(self) -> int:
        return len(self.search_attributes)

    def __iter__(self) -> Iterator[SearchAttributePair[Any]]:
        return iter(self.search_attributes)

    def __contains__(self, key: object) -> bool:
        return any(pair.key == key for pair in self.search_attributes)

    def __getitem__(self, key: SearchAttributeKey[SearchAttributeValueType]) -> SearchAttributeValueType:
        """Return the value of this key, which must have the same name and the same type.

        Raises:
            KeyError: It is not set, or has another type; the text says which.
        """
        for pair in self.search_attributes:
            if pair.key == key:
                return cast("SearchAttributeValueType", pair.value)
            if pair.key.name == key.name:
                there, asked = pair.key.indexed_value_type.label, key.indexed_value_type.label
                raise KeyError(f"search attribute {key.name!r} is of type {there}, not {asked}")
        raise KeyError(f"search attribute {key.name!r} is not set")

    @overload
    def get(self, key: SearchAttributeKey[SearchAttributeValueType]) -> SearchAttributeValueType | None: ...
    @overload
    def get(
        self, key: SearchAttributeKey[SearchAttributeValueType], default: _Default
    ) -> SearchAttributeValueType | _Default: ...
    def get(self, key: SearchAttributeKey[Any], default: Any = None) -> Any:
        """Return the value of this key, or `default` if it is not set or has another type."""
        try:
            return self[key]
        except KeyError:
            return default

    def updated(self, *search_attributes: SearchAttributePair[Any]) -> TypedSearchAttributes:
        """Return a copy in which these replace those of the same names, or are added."""
        merged = {pair.key.name: pair for pair in (*self.search_attributes, *search_attributes)}
        return TypedSearchAttributes(tuple(merged.values()))


TypedSearchAttributes.empty = TypedSearchAttributes()


def _check_name(name: object) -> None:
    if not isinstance(name, str):
        raise TypeError(f"a search attribute's name must be a str, not {type(name).__name__}: {name!r}")
    if not name:
        raise ValueError("a search attribute's name must not be empty")
    _check_text(f"search attribute name {name!r}", name)
    if any(not character.isprintable() for character in name) or name != name.strip():
        raise ValueError(
            f"search attribute name {name!r} must have no control characters, and no space at its ends"
        )
    if len(name.encode()) > MAX_NAME:
        raise ValueError(
            f"search attribute name {name[:40]!r}... must be at most {MAX_NAME} bytes, not {len(name.encode())}"
        )


def check_settable(key: SearchAttributeKey[Any]) -> None:
    """Return only if a program may set this attribute.

    Raises:
        ValueError: It is built in, or the prefix is the library's.
    """
    if key.name in BUILT_IN_NAMES:
        raise ValueError(
            f"search attribute {key.name!r} is built in and cannot be set; choose another name, "
            f"for example {'My' + key.name!r}"
        )
    if key.name.startswith(RESERVED_PREFIX):
        raise ValueError(
            f"search attribute {key.name!r} cannot be set: names that begin with {RESERVED_PREFIX!r} are the library's; "
            "choose another name"
        )


def check_value(key: SearchAttributeKey[Any], value: object) -> Any:
    """Return the value as it is kept: a list for a KeywordList, a float for a Double.

    Raises:
        ValueError: It is too large, or it means nothing.
        TypeError: It is not of the key's type.
    """
    what = f"search attribute {key.name!r} ({key.indexed_value_type.label})"
    match key.indexed_value_type, value:
        case ((_T.TEXT | _T.KEYWORD), str()):
            _check_text(what, value)
            _check_size(what, len(value.encode()))
            return value
        case _T.INT, int() if not isinstance(value, bool):
            if not -(2**63) <= value < 2**63:
                raise ValueError(f"{what} must fit into 64 bits, not {value}; use for_float or for_keyword")
            return int(value)
        case _T.DOUBLE, int() | float() if not isinstance(value, bool):
            number = _to_float(value)
            if not math.isfinite(number):
                raise ValueError(
                    f"{what} must be a finite number, not {shown(value)}; use value_unset() for none"
                )
            return number
        case _T.BOOL, bool():
            return value
        case _T.DATETIME, datetime():
            if value.utcoffset() is None:
                raise ValueError(
                    f"{what} must carry a time zone, for example datetime.now(timezone.utc), not {shown(value)}"
                )
            return value
        case _T.KEYWORD_LIST, list() | tuple():
            return _check_keywords(what, cast("Sequence[object]", value))
        case _:
            expected = _PYTHON[key.indexed_value_type][1]
            hint = "; put it into a list" if expected == "a list of str" and isinstance(value, str) else ""
            raise TypeError(f"{what} takes {expected}, not {type(value).__name__}: {shown(value)}{hint}")


def _check_keywords(what: str, values: Sequence[object]) -> list[str]:
    keywords: list[str] = []
    for keyword in values:
        if not isinstance(keyword, str):
            raise TypeError(
                f"{what} takes a list of str, and one is {type(keyword).__name__}: {shown(keyword)}"
            )
        _check_text(what, keyword)
        keywords.append(keyword)
    _check_size(what, sum(len(keyword.encode()) for keyword in keywords))
    return keywords


def _check_text(what: str, text: str) -> None:
    # What PostgreSQL cannot store as text.
    if "\0" in text:
        raise ValueError(f"{what} must have no NUL character")
    try:
        text.encode()
    except UnicodeEncodeError:
        raise ValueError(f"{what} has half of a surrogate pair, which is no text") from None


def _check_size(what: str, size: int) -> None:
    if size > MAX_VALUE:
        raise ValueError(
            f"{what} must be at most {MAX_VALUE} bytes, not {size}; "
            "keep what identifies the workflow here and the rest in the memo"
        )


def _to_float(value: float) -> float:
    try:
        return float(value)
    except OverflowError:  # an int beyond 10^308
        return math.inf
