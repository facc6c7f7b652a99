from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

from durable.converter._decoding import decode_bytes, decode_json, decode_null
from durable.converter._encoding import SIMPLE, encode_json
from durable.converter._shapes import BYTES
from durable.exceptions import ConversionError
from durable.history import BINARY_NULL, BINARY_PLAIN, JSON_PLAIN, Payload


class PayloadConverter(ABC):
    """Turns values into payloads and back, the same way in every process that uses it.

    A subclass implements `to_payload` and `from_payload`. It runs inside workflows: no I/O, no clock, no chance.
    """

    @abstractmethod
    def to_payload(self, value: Any, *, path: str = "value") -> Payload:
        """Return `value`, encoded.

        Args:
            value: What is to be stored.
            path: What the caller calls the value, for the error's text.

        Raises:
            ConversionError: It, or a part of it, cannot be stored.
        """

    @abstractmethod
    def from_payload(self, payload: Payload, type_hint: Any = Any, *, path: str = "value") -> Any:
        """Return the value that `payload` was made from, as `type_hint`.

        Args:
            payload: What is stored.
            type_hint: The annotation to follow; with `Any` the value is plain JSON data.
            path: What the caller calls the value, for the error's text.

        Raises:
            ConversionError: It cannot be read as that type.
        """

    def to_payloads(self, values: Sequence[Any], *, path: str = "input") -> tuple[Payload, ...]:
        """Return one payload for each of `values`, in their order.

        Raises:
            ConversionError: One of them, or a part of it, cannot be stored.
        """
        return tuple([self.to_payload(value, path=f"{path}[{index}]") for index, value in enumerate(values)])

    def from_payloads(
        self, payloads: Sequence[Payload], type_hints: Sequence[Any] | None = None, *, path: str = "input"
    ) -> list[Any]:
        """Return one value for each of `payloads`, in their order.

        Args:
            payloads: What is stored.
            type_hints: One annotation for each payload, or `None` for plain JSON data.
            path: What the caller calls the values, for the error's text.

        Raises:
            ConversionError: One of them cannot be read as its type, or there are more or fewer hints than payloads.
        """
        hints = check_count(payloads, type_hints, path)
        return [
            self.from_payload(payload, hint, path=f"{path}[{index}]")
            for index, (payload, hint) in enumerate(zip(payloads, hints, strict=True))
        ]


def check_count(payloads: Sequence[Payload], type_hints: Sequence[Any] | None, path: str) -> Sequence[Any]:
    """Return the hints, one for each payload.

    Raises:
        ConversionError: There are more or fewer: a value would be dropped, or one be missing.
    """
    if type_hints is None:
        return [Any] * len(payloads)
    if len(type_hints) != len(payloads):
        raise ConversionError(f"expected {len(type_hints)} values, found {len(payloads)}", path=path)
    return type_hints


class DefaultPayloadConverter(PayloadConverter):
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
    """

    def to_payload(self, value: Any, *, path: str = "value") -> Payload:
        return _to_payload(value, path, None)

    def to_payloads(self, values: Sequence[Any], *, path: str = "input") -> tuple[Payload, ...]:
        # Without making a path for each value, which only an error would show; one argument is the common case.
        if len(values) == 1:
            return (_to_payload(values[0], path, 0),)
        return tuple([_to_payload(value, path, index) for index, value in enumerate(values)])

    def from_payload(self, payload: Payload, type_hint: Any = Any, *, path: str = "value") -> Any:
        encoding = payload.encoding
        if encoding == JSON_PLAIN:
            return decode_json(payload.data, type_hint, path)
        if encoding == BINARY_NULL:
            return decode_null(type_hint, path)
        if encoding == BINARY_PLAIN:
            return decode_bytes(payload.data, type_hint, path)
        raise ConversionError(
            f"the encoding {encoding!r} is not known to this converter; use the converter or codec that wrote it",
            path=path,
        )

    def from_payloads(
        self, payloads: Sequence[Payload], type_hints: Sequence[Any] | None = None, *, path: str = "input"
    ) -> list[Any]:
        if len(payloads) == 1 and type_hints is not None and len(type_hints) == 1:
            payload = payloads[0]
            if payload.encoding == JSON_PLAIN:
                return [decode_json(payload.data, type_hints[0], path, 0)]
        return super().from_payloads(payloads, type_hints, path=path)


def _to_payload(value: Any, path: str, index: int | None) -> Payload:
    if type(value) not in SIMPLE:
        if value is None:
            return Payload(b"", BINARY_NULL)
        if isinstance(value, BYTES):
            return Payload(bytes(value), BINARY_PLAIN)
    return Payload(encode_json(value, path, index))
