from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from durable.converter._failures import DefaultFailureConverter, FailureConverter
from durable.converter._limits import PayloadLimits
from durable.converter._payloads import DefaultPayloadConverter, PayloadConverter
from durable.exceptions import PayloadTooLargeError
from durable.history import Failure, Payload


@dataclass(frozen=True)
class DataConverter:
    """Everything that a program's values pass on their way into the log and out of it, and the limits they keep.

    Clients, workers and replayers that share a database share one of these.

    Attributes:
        payload_converter: Values to bytes and back.
        failure_converter: Exceptions to data and back.
        limits: How large values may be.
    """

    payload_converter: PayloadConverter = field(default_factory=DefaultPayloadConverter)
    failure_converter: FailureConverter = field(default_factory=DefaultFailureConverter)
    limits: PayloadLimits = field(default_factory=PayloadLimits)

    def to_payloads(self, values: Sequence[Any], *, path: str = "input") -> tuple[Payload, ...]:
        """Return one payload for each of `values`, together within the limits.

        Args:
            values: What is to be stored.
            path: What the caller calls them, for example `charge input`.

        Raises:
            ConversionError: One of them, or a part of it, cannot be stored.
            PayloadTooLargeError: They are larger than the limit.
        """
        payloads = self.payload_converter.to_payloads(values, path=path)
        self.limits.check(payloads, path)
        return payloads

    def from_payloads(
        self, payloads: Sequence[Payload], type_hints: Sequence[Any] | None = None, *, path: str = "input"
    ) -> list[Any]:
        """Return one value for each of `payloads`, each of its type.

        Raises:
            ConversionError: One of them cannot be read as its type, or there are more or fewer hints than payloads.
        """
        return self.payload_converter.from_payloads(payloads, type_hints, path=path)

    def to_payload(self, value: Any, *, path: str = "value") -> Payload:
        """Return `value`, encoded and within the limits.

        Raises:
            ConversionError: It, or a part of it, cannot be stored.
            PayloadTooLargeError: It is larger than the limit.
        """
        payload = self.payload_converter.to_payload(value, path=path)
        try:
            self.limits.check((payload,), path)
        except PayloadTooLargeError as error:
            raise PayloadTooLargeError(error.size, error.limit, path=path) from None
        return payload

    def from_payload(self, payload: Payload, type_hint: Any = Any, *, path: str = "value") -> Any:
        """Return the value that `payload` was made from, as `type_hint`.

        Raises:
            ConversionError: It cannot be read as that type.
        """
        return self.payload_converter.from_payload(payload, type_hint, path=path)

    def to_failure(self, exception: BaseException) -> Failure:
        """Return `exception` as data. It never raises."""
        return self.failure_converter.to_failure(exception, self.payload_converter)

    def from_failure(self, failure: Failure) -> BaseException:
        """Return the exception that stands for `failure`. It never raises."""
        return self.failure_converter.from_failure(failure, self.payload_converter)


_default = DataConverter()


def default() -> DataConverter:
    """Return the data converter that is used where none is given; it is one object."""
    return _default
