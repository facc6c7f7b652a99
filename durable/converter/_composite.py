"""Payload converters that are made of encodings, and the one that is used where none is given."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import NoneType
from typing import Any, ClassVar, NoReturn, Self

from durable.common import RawValue
from durable.converter._context import SerializationContext, WithSerializationContext, in_context
from durable.converter._decoding import MAX_TEXT, decode_bytes, decode_json, decode_null
from durable.converter._encoding import SIMPLE, encode_json
from durable.converter._encodings import (
    BinaryNullPayloadConverter,
    BinaryPlainPayloadConverter,
    EncodingPayloadConverter,
    JSONPlainPayloadConverter,
)
from durable.converter._faults import a_kind
from durable.converter._payloads import PayloadConverter
from durable.converter._shapes import BYTES
from durable.converter._text import clean, safe_str
from durable.exceptions import ConversionError
from durable.history import BINARY_NULL, BINARY_PLAIN, JSON_PLAIN, Payload


class CompositePayloadConverter(PayloadConverter, WithSerializationContext):
    """Converts each value with the first of several encodings that takes it, and reads it by the encoding it is in.

    Attributes:
        converters: The encodings, by name, in the order in which they are asked.

    Args:
        converters: The encodings, each with a name of its own.
    """

    converters: Mapping[bytes, EncodingPayloadConverter]

    def __init__(self, *converters: EncodingPayloadConverter) -> None:
        self.converters = {one.encoding.encode(): one for one in converters}

    def to_payload(self, value: Any, *, path: str = "value") -> Payload:
        if isinstance(value, RawValue):
            return _raw(value, path)
        for one in self.converters.values():
            try:
                payload = one.to_payload(value)
            except Exception as error:
                _refuse(error, one.encoding, path)
            if payload is not None:
                return payload
        raise ConversionError(f"{a_kind(value)} cannot be stored: none of the encodings takes it", path=path)

    def from_payload(self, payload: Payload, type_hint: Any = Any, *, path: str = "value") -> Any:
        if type_hint is RawValue:
            return RawValue(payload)
        one = self.converters.get(payload.encoding.encode())
        if one is None:
            raise unknown_encoding(payload.encoding, path)
        try:
            return one.from_payload(payload, NoneType if type_hint is None else type_hint)
        except Exception as error:
            _refuse(error, one.encoding, path)

    @property
    def takes_context(self) -> bool:
        """Whether one of the encodings wants to know whose a value is."""
        return any(isinstance(one, WithSerializationContext) for one in self.converters.values())

    def with_context(self, context: SerializationContext) -> Self:
        """Return a converter whose encodings know `context`; itself, if none of them changes.

        A subclass that needs arguments, or keeps more than its encodings, overrides this.
        """
        if not self.takes_context:
            return self
        converters = {name: in_context(one, context) for name, one in self.converters.items()}
        if all(one is self.converters[name] for name, one in converters.items()):
            return self
        made = type(self)()
        made.converters = converters
        return made


class DefaultPayloadConverter(CompositePayloadConverter):
    """Stores `None` and bytes as they are and everything else as JSON, or refuses; it never stores something else.

    These come back equal and of the same type, when the type hint says what they are, at any depth:
    `None`, `bool`, `int` up to 4,300 digits (4,299 below zero), finite `float`, `str`, `bytes`, `bytearray`, `list`, `tuple`, `set`,
    `frozenset`, `collections.deque`, `dict` with keys of `str`, `int`, `float`, `bytes`, `Enum`, `UUID`, `Decimal`,
    dates and times; dataclasses (generic ones too), `msgspec.Struct`, attrs classes, `NamedTuple`, `TypedDict`, `Enum`,
    `StrEnum`, `IntEnum` and flags, `UUID`, finite `Decimal`, `datetime`, `date`, `time`, `timedelta`; `Optional`, unions
    of kinds that JSON tells apart, `Literal`, `NewType`, `Annotated`; pydantic models, if the program uses pydantic.

    What differs:
        Without a hint (or with `Any`) nested values are plain JSON data: a dataclass is a `dict`, a tuple a `list`.
        An aware `datetime` keeps its instant and its offset, not the name of its zone; `fold` is resolved into the offset.
        A subclass of `str`, `int`, `float`, `bytes`, `datetime` or `dict` is stored as the plain type.
        Sets are stored in an order that is the same in every process; those inside pydantic models in their own.
        Of a name that occurs twice in a stored object the last counts; this converter writes none.

    Attributes:
        default_encoding_payload_converters: Its encodings, to make others of.
    """

    default_encoding_payload_converters: ClassVar[tuple[EncodingPayloadConverter, ...]] = (
        BinaryNullPayloadConverter(),
        BinaryPlainPayloadConverter(),
        JSONPlainPayloadConverter(),
    )

    def __init__(self) -> None:
        super().__init__(*self.default_encoding_payload_converters)

    # What follows is what the encodings do, without asking them one by one: most of what a step costs here.

    def to_payload(self, value: Any, *, path: str = "value") -> Payload:
        return _to_payload(value, path, None)

    def to_payloads(self, values: Sequence[Any], *, path: str = "input") -> tuple[Payload, ...]:
        # Without making a path for each value, which only an error would show; one argument is the common case.
        if len(values) == 1:
            return (_to_payload(values[0], path, 0),)
        return tuple([_to_payload(value, path, index) for index, value in enumerate(values)])

    def from_payload(self, payload: Payload, type_hint: Any = Any, *, path: str = "value") -> Any:
        if type_hint is RawValue:
            return RawValue(payload)
        encoding = payload.encoding
        if encoding == JSON_PLAIN:
            return decode_json(payload.data, type_hint, path)
        if encoding == BINARY_NULL:
            return decode_null(type_hint, path)
        if encoding == BINARY_PLAIN:
            return decode_bytes(payload.data, type_hint, path)
        raise unknown_encoding(encoding, path)

    def from_payloads(
        self, payloads: Sequence[Payload], type_hints: Sequence[Any] | None = None, *, path: str = "input"
    ) -> list[Any]:
        if len(payloads) == 1 and type_hints is not None and len(type_hints) == 1:
            payload = payloads[0]
            if payload.encoding == JSON_PLAIN and type_hints[0] is not RawValue:
                return [decode_json(payload.data, type_hints[0], path, 0)]
        return super().from_payloads(payloads, type_hints, path=path)


def _to_payload(value: Any, path: str, index: int | None) -> Payload:
    if type(value) not in SIMPLE:
        if value is None:
            return Payload(b"", BINARY_NULL)
        if isinstance(value, BYTES):
            return Payload(bytes(value), BINARY_PLAIN)
        if isinstance(value, RawValue):
            return _raw(value, path)
    return Payload(encode_json(value, path, index))


def _raw(value: RawValue, path: str) -> Payload:
    if not isinstance(value.payload, Payload):
        raise ConversionError(f"a RawValue holds a Payload, not {a_kind(value.payload)}", path=path)
    return value.payload


def unknown_encoding(encoding: str, path: str) -> ConversionError:
    """Return the error about a payload that no encoding of a converter reads."""
    if encoding.endswith("/protobuf"):
        return ConversionError(
            f"the encoding {encoding!r} is that of a protobuf message, which this library does not read; add an "
            "EncodingPayloadConverter for it to a CompositePayloadConverter",
            path=path,
        )
    return ConversionError(
        f"the encoding {encoding!r} is not known to this converter; use the converter or codec that wrote it",
        path=path,
    )


def _refuse(error: Exception, encoding: str, path: str) -> NoReturn:
    """Say where it happened: an encoding knows its value, and not what the caller calls it."""
    if isinstance(error, ConversionError):
        text = str(error).removeprefix(f"{error.path}: ") if error.path else str(error)
        raise ConversionError(text, path=path + error.path) from error.__cause__
    text = clean(safe_str(error), MAX_TEXT)
    raise ConversionError(
        f"the converter of {encoding!r} failed: {type(error).__name__}: {text}", path=path
    ) from error
