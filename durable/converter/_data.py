from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Self

from durable._internal.shown import shown
from durable.converter._codec import PayloadCodec, decoded, encoded
from durable.converter._composite import CompositePayloadConverter, DefaultPayloadConverter
from durable.converter._context import (
    SerializationContext,
    WithSerializationContext,
    WorkflowSerializationContext,
    in_context,
)
from durable.converter._failures import DefaultFailureConverter, FailureConverter
from durable.converter._limits import PayloadLimits
from durable.converter._payloads import PayloadConverter
from durable.exceptions import PayloadTooLargeError
from durable.history import Failure, Payload


@dataclass(frozen=True)
class DataConverter(WithSerializationContext):
    """Everything that a program's values pass on their way into the log and out of it, and the limits they keep.

    Clients, workers and replayers that share a database share one of these. `dataclasses.replace` makes another one.

    Attributes:
        payload_converter_class: Makes the payload converter; a class, or anything else to be called without arguments.
        payload_codec: Changes payloads on their way to the database and back, for example to encrypt them; `None` for
            nothing.
        failure_converter_class: Makes the failure converter, likewise.
        limits: How large values may be, before the codec.
        payload_converter: Values to bytes and back.
        failure_converter: Exceptions to data and back.
        takes_context: Whether one of the converters wants to know whose a value is.
        default: The one that is used where none is given.
    """

    payload_converter_class: Callable[[], PayloadConverter] = DefaultPayloadConverter
    payload_codec: PayloadCodec | None = None
    failure_converter_class: Callable[[], FailureConverter] = DefaultFailureConverter
    limits: PayloadLimits = field(default_factory=PayloadLimits)
    payload_converter: PayloadConverter = field(init=False)
    failure_converter: FailureConverter = field(init=False)
    takes_context: bool = field(init=False, repr=False)
    _unremarkable: int = field(init=False, repr=False, compare=False)

    default: ClassVar[DataConverter]

    def __post_init__(self) -> None:
        _check(self.payload_codec, PayloadCodec, "payload_codec", "an instance of a subclass")
        # Of a value up to this size the limits say nothing; most are, and need no further look.
        object.__setattr__(self, "_unremarkable", min(self.limits.warn, self.limits.error))
        payload_converter = _check(
            self.payload_converter_class(), PayloadConverter, "payload_converter_class", "a subclass"
        )
        failure_converter = _check(
            self.failure_converter_class(), FailureConverter, "failure_converter_class", "a subclass"
        )
        self._set(payload_converter, failure_converter)

    def _set(self, payload_converter: PayloadConverter, failure_converter: FailureConverter) -> None:
        takes_context = isinstance(failure_converter, WithSerializationContext) or (
            payload_converter.takes_context
            if isinstance(payload_converter, CompositePayloadConverter)
            else isinstance(payload_converter, WithSerializationContext)
        )
        object.__setattr__(self, "payload_converter", payload_converter)
        object.__setattr__(self, "failure_converter", failure_converter)
        object.__setattr__(self, "takes_context", takes_context)

    def with_context(self, context: SerializationContext) -> Self:
        """Return a data converter whose parts know whose values they convert; itself, if none wants to."""
        codec = None if self.payload_codec is None else in_context(self.payload_codec, context)
        if codec is self.payload_codec and not self.takes_context:
            return self
        made = dataclasses.replace(self, payload_codec=codec)
        made._set(in_context(self.payload_converter, context), in_context(self.failure_converter, context))
        return made

    def of_workflow(self, namespace: str, workflow_id: str) -> Self:
        """Return the converter of a workflow's values; itself, if none of its converters wants to know whose they are."""
        if not self.takes_context:
            return self
        return self.with_context(WorkflowSerializationContext(namespace, workflow_id))

    # ------------------------------------------------------------------ as workflow code does it, without the codec

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
        if len(payloads) != 1 or payloads[0].metadata or len(payloads[0].data) > self._unremarkable:
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
        if not payload.metadata and len(payload.data) <= self._unremarkable:
            return payload
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

    # ------------------------------------------------------------------ with the codec

    async def encode(self, values: Sequence[Any]) -> list[Payload]:
        """Return one payload for each of `values`, as the database gets to see it.

        Raises:
            ConversionError: One of them, or a part of it, cannot be stored.
            PayloadTooLargeError: They are larger than the limit.
            PayloadCodecError: The codec failed.
        """
        payloads = self.to_payloads(values)
        return (
            list(payloads)
            if self.payload_codec is None
            else await encoded(self.payload_codec, payloads, "a program")
        )

    async def decode(self, payloads: Sequence[Payload], type_hints: Sequence[Any] | None = None) -> list[Any]:
        """Return one value for each of `payloads`, which are as the database has them.

        Raises:
            PayloadCodecError: The codec failed.
            ConversionError: One of them cannot be read as its type, or there are more or fewer hints than payloads.
        """
        if self.payload_codec is not None:
            payloads = await decoded(self.payload_codec, payloads, "a program")
        return self.from_payloads(payloads, type_hints)


def _check(given: Any, kind: type[Any], name: str, what: str) -> Any:
    if given is not None and not isinstance(given, kind):
        raise TypeError(
            f"{name} must be {what} of {kind.__name__}, not {type(given).__name__}: {shown(given)}"
        )
    return given


DataConverter.default = DataConverter()
PayloadConverter.default = DataConverter.default.payload_converter
FailureConverter.default = DataConverter.default.failure_converter


def default() -> DataConverter:
    """Return the data converter that is used where none is given; it is one object."""
    return DataConverter.default
