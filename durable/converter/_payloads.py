from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, ClassVar

from durable.exceptions import ConversionError
from durable.history import Payload


class PayloadConverter(ABC):
    """Turns values into payloads and back, the same way in every process that uses it.

    A subclass implements `to_payload` and `from_payload`. It runs inside workflows: no I/O, no clock, no chance. One
    that adds encodings to the usual ones is a `CompositePayloadConverter`.
    """

    default: ClassVar[PayloadConverter]
    """The one that is used where none is given."""

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
