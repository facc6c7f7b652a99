"""Encodings: what a payload converter is made of. Each knows one form in which values are stored, by its name."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, ClassVar, NewType, TypeVar, overload

from durable.converter._decoding import UNTOUCHED, JsonReader, decode_bytes, decode_json, decode_null
from durable.converter._encoding import JsonWriter, encode_json
from durable.converter._shapes import BYTES
from durable.exceptions import ConversionError
from durable.history import BINARY_NULL, BINARY_PLAIN, JSON_PLAIN, Payload

T = TypeVar("T")

JSONTypeConverterUnhandled = NewType("JSONTypeConverterUnhandled", object)
"""The type of `JSONTypeConverter.Unhandled`."""


class EncodingPayloadConverter(ABC):
    """Turns values into payloads of one encoding and back, as a part of a `CompositePayloadConverter`.

    It runs inside workflows: no I/O, no clock, no chance. What it raises becomes a `ConversionError` that says where.
    """

    @property
    @abstractmethod
    def encoding(self) -> str:
        """The name of the encoding, `Payload.encoding` of all it makes."""

    @abstractmethod
    def to_payload(self, value: Any) -> Payload | None:
        """Return `value` in this encoding, or `None` to leave it to the next one."""

    @abstractmethod
    def from_payload(self, payload: Payload, type_hint: Any = None) -> Any:
        """Return the value that `payload` was made from, as `type_hint`; `Any` or `None` if nothing is known of it."""


class BinaryNullPayloadConverter(EncodingPayloadConverter):
    """`None`, as no bytes at all."""

    @property
    def encoding(self) -> str:
        """`binary/null`."""
        return BINARY_NULL

    def to_payload(self, value: Any) -> Payload | None:
        """Return the payload of `None`."""
        return Payload(b"", BINARY_NULL) if value is None else None

    def from_payload(self, payload: Payload, type_hint: Any = None) -> Any:
        """Return `None`, if the hint allows it."""
        if payload.data:
            raise ConversionError("a payload of the encoding 'binary/null' holds bytes")
        return decode_null(Any if type_hint is None else type_hint, "")


class BinaryPlainPayloadConverter(EncodingPayloadConverter):
    """Bytes, as they are."""

    @property
    def encoding(self) -> str:
        """`binary/plain`."""
        return BINARY_PLAIN

    def to_payload(self, value: Any) -> Payload | None:
        """Return the payload of bytes, a bytearray or a memoryview."""
        return Payload(bytes(value), BINARY_PLAIN) if isinstance(value, BYTES) else None

    def from_payload(self, payload: Payload, type_hint: Any = None) -> Any:
        """Return the bytes, as a bytearray if the hint says so."""
        return decode_bytes(payload.data, Any if type_hint is None else type_hint, "")


class JSONTypeConverter(ABC):
    """Teaches `JSONPlainPayloadConverter` a type that it does not know, at any depth of a value.

    It is asked about types that JSON, dataclasses and the like leave open, never about those that are known already.
    """

    Unhandled: ClassVar[JSONTypeConverterUnhandled] = JSONTypeConverterUnhandled(object())
    """What either method answers about a type that is not its own."""

    @abstractmethod
    def to_typed_value(self, hint: Any, value: Any) -> Any:
        """Return plain data as a value of type `hint`, or `Unhandled`.

        Args:
            hint: The type that is asked for.
            value: What stands in the JSON there: a string, a number, a list, a dict, ...
        """

    def to_json_value(self, value: Any) -> Any:
        """Return a value as one that can be stored, or `Unhandled`."""
        return self.Unhandled


class JSONPlainPayloadConverter(EncodingPayloadConverter):
    """Everything that JSON can hold, or refuses it; see `DefaultPayloadConverter` for what comes back equal.

    Args:
        encoding: The name of the encoding, where this form is meant to be told from the usual one.
        custom_type_converters: Further types; the first that handles one counts.
    """

    def __init__(
        self, *, encoding: str = JSON_PLAIN, custom_type_converters: Sequence[JSONTypeConverter] = ()
    ) -> None:
        self._encoding = encoding
        self._types = tuple(custom_type_converters)
        self._writer = JsonWriter(self._plain) if self._types else None
        self._read = JsonReader(self._typed).read if self._types else decode_json

    @property
    def encoding(self) -> str:
        """`json/plain`, unless it was given another name."""
        return self._encoding

    def to_payload(self, value: Any) -> Payload | None:
        """Return the payload of anything that JSON can hold."""
        return Payload(encode_json(value, "", None, self._writer), self._encoding)

    def from_payload(self, payload: Payload, type_hint: Any = None) -> Any:
        """Return the value, as the hint says."""
        return self._read(payload.data, Any if type_hint is None else type_hint, "")

    def _plain(self, value: Any) -> Any:
        for one in self._types:
            plain = one.to_json_value(value)
            if plain is not one.Unhandled:
                return plain
        return value

    def _typed(self, hint: Any, value: Any) -> Any:
        for one in self._types:
            typed = one.to_typed_value(hint, value)
            if typed is not one.Unhandled:
                return typed
        return UNTOUCHED


@overload
def value_to_type(hint: type[T], value: Any, custom_converters: Sequence[JSONTypeConverter] = ()) -> T: ...
@overload
def value_to_type(hint: Any, value: Any, custom_converters: Sequence[JSONTypeConverter] = ()) -> Any: ...
def value_to_type(hint: Any, value: Any, custom_converters: Sequence[JSONTypeConverter] = ()) -> Any:
    """Return plain JSON data as a value of type `hint`, as it would be if it had been stored.

    Args:
        hint: The type.
        value: Strings, numbers, lists and dicts, as a JSON parser returns them.
        custom_converters: Further types.

    Raises:
        ConversionError: It cannot be read as that type.
    """
    form = JSONPlainPayloadConverter(custom_type_converters=custom_converters)
    return form.from_payload(Payload(encode_json(value, "value")), hint)
