"""Exceptions to failures and back.

Two rules. Whatever is thrown is recorded: everything that user code can reach here (`__str__`, `__repr__`, attributes,
details) is read as if it could raise, because it can. And nothing stored is ever executed: a failure comes back as one
of this library's own errors, with the name of the original class as text.
"""

from __future__ import annotations

import asyncio
import logging
import traceback
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from enum import IntEnum
from typing import Any, ClassVar

from durable._internal.instants import to_duration
from durable.converter._limits import PayloadLimits
from durable.converter._payloads import PayloadConverter
from durable.converter._readers import STACK_TRACE, read_failure
from durable.converter._shapes import SEQUENCES
from durable.converter._text import MAX_REPR, class_name, clean, clean_middle, safe_repr, safe_str
from durable.exceptions import (
    ActivityError,
    ApplicationError,
    CancelledError,
    ChildWorkflowError,
    FailureError,
    PayloadTooLargeError,
    TerminatedError,
    TimeoutError,
)
from durable.history import (
    MAX_CAUSES,
    MAX_MESSAGE,
    MAX_STACK_TRACE,
    ActivityFailure,
    ApplicationFailure,
    CanceledFailure,
    ChildWorkflowFailure,
    Failure,
    FailureInfo,
    Payload,
    Payloads,
    TerminatedFailure,
    TimeoutFailure,
)

logger = logging.getLogger("durable.converter")

MAX_NAME = 1_000
"""Characters kept of a type, an id or an identity."""

MAX_FRAMES = 100
"""Frames kept from each end of a traceback. A recursion error has thousands, and each costs a look at its source."""

MAX_MEMBERS = 50
"""Members of an exception group that are listed."""

_MAX_MEMBER_MESSAGE = 500
"""Characters kept of the message of each listed member."""

CANCELLED = "Cancelled"
"""The message of every stored `asyncio.CancelledError`. Its own may hold addresses (asyncio and anyio put the repr of a
scope or a task there), and a replay would write another."""


ENCODED_MESSAGE = "Encoded failure"
"""What is read in place of a message that is a payload (Temporal's words)."""


class FailureConverter(ABC):
    """Turns exceptions into failures, always, and failures into exceptions, without executing anything stored."""

    default: ClassVar[FailureConverter]
    """The one that is used where none is given."""

    hides_messages = False
    """Whether messages of exceptions are kept from being stored as plain text."""

    @abstractmethod
    def to_failure(self, exception: BaseException, payload_converter: PayloadConverter) -> Failure:
        """Return `exception` as data. It never raises."""

    @abstractmethod
    def from_failure(self, failure: Failure, payload_converter: PayloadConverter) -> BaseException:
        """Return the exception that stands for `failure`, with its causes as `__cause__`. It never raises."""


class DefaultFailureConverter(FailureConverter):
    """Records any exception there is, and gives it back as one of this library's errors.

    An exception of any other class becomes an `ApplicationError` whose `type` is the class's name. Text is kept valid
    and printable: lone surrogates and control characters are escaped, what is too long is cut. Details that cannot be
    stored are replaced by their repr. Converting there and back again changes nothing more.

    Args:
        limits: How large the details of one failure may be before they are replaced.
        encode_common_attributes: Whether messages and stack traces become payloads too, so that a codec hides them. The
            class names of exceptions stay readable: retry policies name them.
    """

    def __init__(
        self, limits: PayloadLimits | None = None, *, encode_common_attributes: bool = False
    ) -> None:
        self._limits = limits or PayloadLimits()
        self.hides_messages = encode_common_attributes

    def to_failure(self, exception: BaseException, payload_converter: PayloadConverter) -> Failure:
        chain: list[tuple[str, str, FailureInfo]] = []
        for error in _chain(exception):
            try:
                message = clean(_message(error), MAX_MESSAGE)
                chain.append((message, _stack_trace(error), self._info(error, payload_converter)))
            except BaseException as failed:
                # Attributes are user code as well, and a poor record is better than none.
                logger.warning("an exception could only be recorded in part", exc_info=failed)
                kind = clean(class_name(error), MAX_NAME)
                text = (
                    CANCELLED
                    if isinstance(error, asyncio.CancelledError)
                    else clean(safe_str(error), MAX_MESSAGE)
                )
                chain.append((text, "", ApplicationFailure(type=kind)))
        failure: Failure | None = None
        for message, stack_trace, info in reversed(chain):
            if self.hides_messages:
                hidden = {"message": message, "stack_trace": stack_trace}
                encoded = payload_converter.to_payload(hidden, path="failure")
                failure = Failure(ENCODED_MESSAGE, "", info, failure, encoded)
            else:
                failure = Failure(message, stack_trace, info, failure)
        return failure or Failure()

    def from_failure(self, failure: Failure, payload_converter: PayloadConverter) -> BaseException:
        return read_failure(failure, payload_converter)

    def _info(self, error: BaseException, converter: PayloadConverter) -> FailureInfo:
        def details(name: str = "details") -> Payloads:
            values: Any = getattr(error, name, ())
            return self._details(values if isinstance(values, SEQUENCES) else (values,), converter)

        match error:
            case asyncio.CancelledError():
                return CanceledFailure()
            case CancelledError():
                return CanceledFailure(details())
            case TerminatedError():
                return TerminatedFailure(details())
            case TimeoutError():
                return TimeoutFailure(
                    _name_of(error, "type") or "unspecified", details("last_heartbeat_details")
                )
            case ActivityError():
                return ActivityFailure(
                    activity_type=_text(error, "activity_type"),
                    activity_id=_text(error, "activity_id"),
                    retry_state=_name_of(error, "retry_state"),
                    identity=_text(error, "identity"),
                )
            case ChildWorkflowError():
                return ChildWorkflowFailure(
                    workflow_id=_text(error, "workflow_id"),
                    run_id=_text(error, "run_id"),
                    workflow_type=_text(error, "workflow_type"),
                    retry_state=_name_of(error, "retry_state"),
                    namespace=_text(error, "namespace"),
                )
            case ApplicationError():
                return _application(error, details())
            case BaseExceptionGroup():
                return self._group(error, converter)
            case _:
                # Running it once more would only make the same value again.
                return ApplicationFailure(
                    _type_of(error), non_retryable=isinstance(error, PayloadTooLargeError)
                )

    def _group(
        self, group: BaseExceptionGroup[BaseException], converter: PayloadConverter
    ) -> ApplicationFailure:
        """Its members as details, and final only if each of them is, as one of them alone would be."""
        members = list(_leaves(group))
        details = [
            {"type": _type_of(member), "message": clean(_own_message(member), _MAX_MEMBER_MESSAGE)}
            for member in members[:MAX_MEMBERS]
        ]
        final = all(isinstance(member, ApplicationError) and member.non_retryable for member in members)
        return ApplicationFailure(_type_of(group), final, self._details(details, converter))

    def _details(self, values: Sequence[Any], converter: PayloadConverter) -> Payloads:
        stored: list[Payload] = []
        room = self._limits.error
        for index, value in enumerate(values):
            try:
                payload = converter.to_payload(value, path=f"details[{index}]")
                if len(payload.data) > room:
                    raise PayloadTooLargeError(len(payload.data), room, path=f"details[{index}]")
            except Exception as error:
                logger.warning(
                    "a failure's details were replaced by their repr: %s", clean(safe_str(error), 500)
                )
                payload = converter.to_payload(
                    f"{_type_of(value)}: {clean(_own_message(value), MAX_REPR)}"
                    if isinstance(value, BaseException)
                    else safe_repr(value)
                )
            room -= min(room, len(payload.data))
            stored.append(payload)
        return tuple(stored)


class DefaultFailureConverterWithEncodedAttributes(DefaultFailureConverter):
    """The default one, with messages and stack traces as payloads: what to use beside a codec that encrypts."""

    def __init__(self) -> None:
        super().__init__(encode_common_attributes=True)


def _chain(error: BaseException) -> Iterator[BaseException]:
    """The exception and its causes, at most `MAX_CAUSES` of these, each once: chains may be circles."""
    seen: set[int] = set()
    following: BaseException | None = error
    while following is not None and id(following) not in seen and len(seen) <= MAX_CAUSES:
        seen.add(id(following))
        yield following
        following = _cause(following)


def _cause(error: BaseException) -> BaseException | None:
    try:
        if error.__cause__ is not None:
            return error.__cause__
        if error.__context__ is not None and not error.__suppress_context__:
            return error.__context__
        if isinstance(error, BaseExceptionGroup):
            return error.exceptions[0]  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType]
    except Exception:
        return None
    return None


def _leaves(group: BaseExceptionGroup[BaseException]) -> Iterator[BaseException]:
    stack: list[BaseException] = [group]
    while stack:
        error = stack.pop()
        if isinstance(error, BaseExceptionGroup):
            stack.extend(reversed(error.exceptions))  # pyright: ignore[reportUnknownMemberType, reportUnknownArgumentType]
        else:
            yield error


def _own_message(error: BaseException) -> str:
    if isinstance(error, asyncio.CancelledError):
        return CANCELLED
    if isinstance(error, FailureError):
        message = getattr(error, "message", None)
        if isinstance(message, str):
            return str.__str__(message)
    return safe_str(error)


def _message(error: BaseException) -> str:
    message = _own_message(error)
    if not isinstance(error, BaseExceptionGroup):
        return message
    lines = [message]
    for count, member in enumerate(_leaves(error)):  # pyright: ignore[reportUnknownArgumentType]
        if count == MAX_MEMBERS:
            lines.append("- ...")
            break
        text = clean(_own_message(member), _MAX_MEMBER_MESSAGE)
        lines.append(f"- {_type_of(member)}: {text}" if text else f"- {_type_of(member)}")
    return "\n".join(lines)


def _type_of(error: BaseException) -> str:
    if isinstance(error, ApplicationError):
        kind = getattr(error, "type", None)
        if kind is not None:
            return clean(kind if isinstance(kind, str) else safe_repr(kind), MAX_NAME)
    return clean(class_name(error), MAX_NAME)


def _application(error: ApplicationError, details: Payloads) -> ApplicationFailure:
    kind = (
        None if type(error) is ApplicationError and getattr(error, "type", None) is None else _type_of(error)
    )
    delay: Any = getattr(error, "next_retry_delay", None)
    try:
        delay = None if delay is None else to_duration(delay, "next_retry_delay")
    except (TypeError, ValueError) as invalid:
        logger.warning("an ApplicationError's next_retry_delay is ignored: %s", clean(safe_str(invalid), 500))
        delay = None
    category = _name_of(error, "category")
    return ApplicationFailure(
        type=kind,
        non_retryable=getattr(error, "non_retryable", False) is True,
        details=details,
        next_retry_delay=delay,
        category=None if category == "unspecified" else category,
    )


def _text(error: BaseException, name: str) -> str:
    value = getattr(error, name, "")
    return clean(value if isinstance(value, str) else safe_repr(value), MAX_NAME)


def _name_of(error: BaseException, name: str) -> str | None:
    value = getattr(error, name, None)
    return value.name.lower() if isinstance(value, IntEnum) else None


def _stack_trace(error: BaseException) -> str:
    """Where it was raised: what storage said, or this process's traceback, without messages and without causes."""
    attributes: dict[str, Any] = getattr(error, "__dict__", {})
    if STACK_TRACE in attributes:
        stored = attributes[STACK_TRACE]
        return clean_middle(stored, MAX_STACK_TRACE) if isinstance(stored, str) else ""
    try:
        frames = list(traceback.walk_tb(error.__traceback__))
        if len(frames) > 2 * MAX_FRAMES:
            middle = [f"  ... {len(frames) - 2 * MAX_FRAMES} frames more ...\n"]
            lines = _format(frames[:MAX_FRAMES]) + middle + _format(frames[-MAX_FRAMES:])
        else:
            lines = _format(frames)
        # A note on a cancellation is text of a cancellation.
        is_cancel = isinstance(error, asyncio.CancelledError)
        notes: Any = () if is_cancel else attributes.get("__notes__", ())
        lines += [f"{note}\n" for note in notes if isinstance(note, str)]
        return clean_middle("".join(lines), MAX_STACK_TRACE)
    except Exception as failed:
        return f"<no traceback: {class_name(failed)}>"


def _format(frames: list[Any]) -> list[str]:
    return traceback.StackSummary.extract(iter(frames)).format()
