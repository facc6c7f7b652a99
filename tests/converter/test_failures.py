"""Exceptions to failures and back: always, the same again, and nothing executed."""

from __future__ import annotations

import asyncio
import builtins
import logging
import sys
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import msgspec
import pytest

from durable.converter import default
from durable.exceptions import (
    ActivityError,
    ApplicationError,
    ApplicationErrorCategory,
    CancelledError,
    ChildWorkflowError,
    ConversionError,
    FailureError,
    NondeterminismError,
    PayloadTooLargeError,
    RetryState,
    TerminatedError,
    TimeoutError,
    TimeoutType,
    WorkflowAlreadyStartedError,
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
    TerminatedFailure,
    TimeoutFailure,
)


class CardDeclined(Exception):
    def __init__(self, *, code: int, retry: bool) -> None:
        self.code = code


class Tagged(ApplicationError):
    pass


class Unfinished(ApplicationError):
    def __init__(self) -> None:  # no super().__init__: none of the attributes exist
        pass


class Mute(Exception):
    def __init__(self, failure: type[BaseException]) -> None:
        self.failure = failure

    def __str__(self) -> str:
        raise self.failure("mute")

    __repr__ = __str__


class NotText(Exception):
    def __str__(self) -> str:
        return 3  # type: ignore[return-value]  # noqa: PLE0307 that is the point


class Sly(str):
    __slots__ = ()

    def __getitem__(self, key: Any) -> str:
        raise RuntimeError

    def encode(self, *args: Any) -> bytes:  # type: ignore[override]
        raise RuntimeError

    def __len__(self) -> int:
        raise RuntimeError


class SlyText(Exception):
    def __str__(self) -> str:
        return Sly("sly")


class Trap(ApplicationError):
    @property
    def details(self) -> Any:  # type: ignore[override]
        raise SystemExit

    @details.setter
    def details(self, value: Any) -> None: ...


class Unprintable:
    def __repr__(self) -> str:
        raise SystemExit


def stored(error: BaseException) -> Failure:
    return default().to_failure(error)


def again(failure: Failure) -> Failure:
    """Read it, raise it somewhere else, and store it again."""
    error = default().from_failure(failure)
    try:
        try:
            raise KeyError("something else that happens to be handled")
        except KeyError:
            raise error  # noqa: B904 what is handled must not become its cause
    except BaseException as raised:
        return default().to_failure(raised)


def raised(error: BaseException) -> BaseException:
    try:
        raise error
    except BaseException as caught:
        return caught


def application(error_type: str | None, **attributes: Any) -> ApplicationFailure:
    return ApplicationFailure(error_type, **attributes)


ANY: list[tuple[Callable[[], BaseException], str, FailureInfo]] = [
    (lambda: ValueError("bad"), "bad", application("ValueError")),
    (lambda: ValueError(), "", application("ValueError")),
    (lambda: KeyError("k"), "'k'", application("KeyError")),
    (lambda: CardDeclined(code=5, retry=True), "", application("CardDeclined")),
    (lambda: builtins.TimeoutError("late"), "late", application("TimeoutError")),
    (lambda: SystemExit(3), "3", application("SystemExit")),
    (lambda: KeyboardInterrupt(), "", application("KeyboardInterrupt")),
    (lambda: GeneratorExit("g"), "g", application("GeneratorExit")),
    (lambda: BaseException("b"), "b", application("BaseException")),
    (lambda: StopIteration(3), "3", application("StopIteration")),
    (lambda: RecursionError("deep"), "deep", application("RecursionError")),
    (lambda: NondeterminismError("n"), "n", application("NondeterminismError")),
    (lambda: FailureError("f"), "f", application("FailureError")),
    (lambda: ConversionError("c", path="p"), "p: c", application("ConversionError")),
    (
        lambda: PayloadTooLargeError(3, 2, path="result"),
        "result: takes 3 bytes when encoded, the limit is 2; store it elsewhere and pass a reference",
        application("PayloadTooLargeError", non_retryable=True),
    ),
    (
        lambda: Mute(ValueError),
        "<Mute, whose text cannot be had: __str__ raised ValueError>",
        application("Mute"),
    ),
    (
        lambda: Mute(SystemExit),
        "<Mute, whose text cannot be had: __str__ raised SystemExit>",
        application("Mute"),
    ),
    (
        lambda: Mute(KeyboardInterrupt),
        "<Mute, whose text cannot be had: __str__ raised KeyboardInterrupt>",
        application("Mute"),
    ),
    (
        lambda: NotText(),
        "<NotText, whose text cannot be had: __str__ raised TypeError>",
        application("NotText"),
    ),
    (lambda: SlyText(), "sly", application("SlyText")),
    (
        lambda: ValueError("a\x00b\ud800c\x1b[31m\r\nd\te\x9b"),
        "a\\x00b\\ud800c\\x1b[31m\\x0d\nd\te\\x9b",
        application("ValueError"),
    ),
    (lambda: ApplicationError("m"), "m", application(None)),
    (lambda: ApplicationError("m", type=""), "m", application("")),
    (
        lambda: ApplicationError(
            "m",
            1,
            {"a": None},
            b"x",
            type="Declined",
            non_retryable=True,
            next_retry_delay=timedelta(seconds=1.5),
            category=ApplicationErrorCategory.BENIGN,
        ),
        "m",
        application(
            "Declined",
            non_retryable=True,
            details=(Payload(b"1"), Payload(b'{"a":null}'), Payload(b"x", "binary/plain")),
            next_retry_delay=1_500_000,
            category="benign",
        ),
    ),
    (lambda: ApplicationError("m", next_retry_delay=2), "m", application(None, next_retry_delay=2_000_000)),
    (lambda: ApplicationError("m", next_retry_delay=float("nan")), "m", application(None)),
    (lambda: ApplicationError("m", next_retry_delay=-1), "m", application(None)),
    (lambda: Tagged("m"), "m", application("Tagged")),
    (lambda: Tagged("m", type="T"), "m", application("T")),
    (lambda: Unfinished(), "", application("Unfinished")),
    (lambda: CancelledError(), "Cancelled", CanceledFailure()),
    (lambda: CancelledError("why", 1), "why", CanceledFailure((Payload(b"1"),))),
    (lambda: asyncio.CancelledError("scope 7f00deadbeef"), "Cancelled", CanceledFailure()),
    (lambda: TerminatedError("t", 1), "t", TerminatedFailure((Payload(b"1"),))),
    (lambda: TimeoutError("t"), "t", TimeoutFailure("unspecified")),
    (
        lambda: TimeoutError("t", type=TimeoutType.HEARTBEAT, last_heartbeat_details=[1, "a"]),
        "t",
        TimeoutFailure("heartbeat", (Payload(b"1"), Payload(b'"a"'))),
    ),
    (
        lambda: ActivityError(
            "a", activity_type="charge", activity_id="3", retry_state=RetryState.TIMEOUT, identity="w"
        ),
        "a",
        ActivityFailure("charge", "3", "timeout", "w"),
    ),
    (
        lambda: ActivityError("a", activity_type="charge", activity_id="3"),
        "a",
        ActivityFailure("charge", "3", None, ""),
    ),
    (
        lambda: ChildWorkflowError(
            "c",
            workflow_id="w",
            run_id="r",
            workflow_type="t",
            retry_state=RetryState.MAXIMUM_ATTEMPTS_REACHED,
        ),
        "c",
        ChildWorkflowFailure("w", "r", "t", "maximum_attempts_reached"),
    ),
    (
        lambda: WorkflowAlreadyStartedError("w", "t", run_id="r"),
        "workflow 'w' was already",
        application("WorkflowAlreadyStartedError"),
    ),
]


@pytest.mark.parametrize(
    ("make", "message", "info"), ANY, ids=lambda value: str(getattr(value, "tag", ""))[:20] or None
)
def test_every_exception_is_recorded_and_stays_as_it_was_recorded(
    make: Callable[[], BaseException], message: str, info: FailureInfo
) -> None:
    for error in (make(), raised(make())):
        failure = stored(error)
        assert failure.message == message or (len(message) > 20 and failure.message.startswith(message))
        assert failure.info == info
        assert failure.cause is None
        assert again(failure) == failure
    assert "test_failures.py" in failure.stack_trace
    assert "something else" not in failure.stack_trace


FAMILY: list[tuple[FailureInfo, type[BaseException], dict[str, Any]]] = [
    (
        application(
            "T", non_retryable=True, details=(Payload(b"[1]"),), next_retry_delay=1_000_000, category="benign"
        ),
        ApplicationError,
        {
            "type": "T",
            "non_retryable": True,
            "details": ([1],),
            "next_retry_delay": timedelta(seconds=1),
            "category": ApplicationErrorCategory.BENIGN,
        },
    ),
    (application("os.system"), ApplicationError, {"type": "os.system", "details": ()}),
    (application("KeyboardInterrupt"), ApplicationError, {"type": "KeyboardInterrupt"}),
    (
        application(None, category="of a later release"),
        ApplicationError,
        {"category": ApplicationErrorCategory.UNSPECIFIED},
    ),
    (TimeoutFailure("schedule_to_close"), TimeoutError, {"type": TimeoutType.SCHEDULE_TO_CLOSE}),
    (TimeoutFailure("of a later release"), TimeoutError, {"type": None}),
    (CanceledFailure((Payload(b"1"),)), CancelledError, {"details": (1,)}),
    (TerminatedFailure(), TerminatedError, {"details": ()}),
    (
        ActivityFailure("charge", "3", "cancel_requested", "w"),
        ActivityError,
        {
            "activity_type": "charge",
            "activity_id": "3",
            "retry_state": RetryState.CANCEL_REQUESTED,
            "identity": "w",
        },
    ),
    (
        ChildWorkflowFailure("w", "r", "t"),
        ChildWorkflowError,
        {"workflow_id": "w", "run_id": "r", "workflow_type": "t", "retry_state": None},
    ),
]


@pytest.mark.parametrize(("info", "kind", "attributes"), FAMILY, ids=lambda value: type(value).__name__)
def test_each_kind_comes_back_as_its_error(info: FailureInfo, kind: type, attributes: dict[str, Any]) -> None:
    error = default().from_failure(Failure("m", "trace", info, Failure("behind")))
    assert type(error) is kind
    assert isinstance(error, FailureError)
    assert {name: getattr(error, name) for name in attributes} == attributes
    assert (error.message, error.stack_trace) == ("m", "trace")
    assert isinstance(error.__cause__, ApplicationError)
    assert error.cause is error.__cause__
    assert error.__cause__.stack_trace is None


def test_causes_are_kept_explicit_before_implicit_and_suppressed_not_at_all() -> None:
    def chain(how: str) -> BaseException:
        try:
            try:
                raise KeyError("first")
            except KeyError as first:
                if how == "explicit":
                    raise ValueError("second") from OSError("other")
                if how == "suppressed":
                    raise ValueError("second") from None
                del first
                raise ValueError("second")  # noqa: B904 that is the point
        except ValueError as error:
            return error

    for how, cause in (("explicit", "other"), ("implicit", "'first'"), ("suppressed", None)):
        failure = stored(chain(how))
        assert (failure.cause.message if failure.cause else None) == cause
        assert again(failure) == failure


def test_circular_and_long_chains_end() -> None:
    one, two = ValueError("1"), ValueError("2")
    one.__cause__, two.__cause__ = two, one
    failure = stored(one)
    assert failure.cause is not None
    assert (failure.cause.message, failure.cause.cause) == ("2", None)
    error: BaseException = ValueError("0")
    for number in range(1, 1_000):
        following = ValueError(str(number))
        following.__cause__ = error
        error = following
    link: Failure | None = stored(error)
    length = -1
    while link is not None:
        length, link = length + 1, link.cause
    assert length == MAX_CAUSES


def test_a_stored_chain_of_any_length_is_read() -> None:
    failure = Failure("0")
    for number in range(50_000):
        failure = Failure(str(number), cause=failure)
    assert str(default().from_failure(failure)) == "49999"


def test_an_exception_group_keeps_the_messages_of_its_members() -> None:
    members = [raised(KeyError("k")), asyncio.CancelledError("scope 7f00"), Mute(ValueError)]
    inner = BaseExceptionGroup("inner", members)
    failure = stored(raised(BaseExceptionGroup("outer", [raised(ValueError("v\x00")), inner])))
    assert failure.message.splitlines() == [
        "outer (2 sub-exceptions)",
        "- ValueError: v\\x00",
        "- KeyError: 'k'",
        "- CancelledError: Cancelled",
        "- Mute: <Mute, whose text cannot be had: __str__ raised ValueError>",
    ]
    assert isinstance(failure.info, ApplicationFailure)
    assert failure.info.type == "BaseExceptionGroup"
    assert not failure.info.non_retryable
    error = default().from_failure(failure)
    assert isinstance(error, ApplicationError)
    assert error.details[1] == {"type": "KeyError", "message": "'k'"}
    assert failure.cause is not None
    assert failure.cause.message == "v\\x00"
    assert again(failure) == failure


def test_an_exception_group_is_final_only_if_each_member_is() -> None:
    final, other = ApplicationError("f", non_retryable=True), ApplicationError("o")
    for members, expected in (([final, final], True), ([final, other], False), ([other], False)):
        info = stored(ExceptionGroup("g", members)).info
        assert isinstance(info, ApplicationFailure)
        assert info.non_retryable is expected
    many = stored(ExceptionGroup("g", [ValueError("x" * 10_000)] * 1_000))
    assert len(many.message) <= MAX_MESSAGE
    assert again(many) == many


def test_megabytes_are_cut_and_the_cut_is_marked() -> None:
    for text in ("x" * 5_000_000, "\x00" * 5_000_000, "\ud800" * MAX_MESSAGE, "x" * (MAX_MESSAGE + 1)):
        failure = stored(ValueError(text))
        assert len(failure.message) == MAX_MESSAGE
        assert failure.message.endswith(f"... ({len(text):,} characters)")
        assert again(failure) == failure
    assert stored(ValueError("x" * MAX_MESSAGE)).message == "x" * MAX_MESSAGE


def test_a_long_traceback_keeps_both_ends() -> None:
    def bottom() -> None:
        raise ValueError("bottom")

    # Of different functions: frames of one function are folded into one line.
    steps: dict[str, Any] = {"step_0": bottom}
    exec("\n".join(f"def step_{depth}(): step_{depth - 1}()" for depth in range(1, 1_000)), steps)
    limit = sys.getrecursionlimit()
    sys.setrecursionlimit(10_000)
    try:
        steps["step_999"]()
    except ValueError as error:
        failure = stored(error)
    finally:
        sys.setrecursionlimit(limit)
    assert len(failure.stack_trace) <= MAX_STACK_TRACE
    assert "in test_a_long_traceback_keeps_both_ends" in failure.stack_trace
    assert 'raise ValueError("bottom")' in failure.stack_trace
    assert again(failure) == failure


def test_a_recursion_error_is_recorded() -> None:
    def down() -> None:
        down()

    try:
        down()
    except RecursionError as error:
        failure = stored(error)
    assert failure.info == application("RecursionError")


def test_notes_are_kept_beside_the_traceback() -> None:
    error = ValueError("v")
    error.add_note("while \x00 charging")
    assert stored(error).stack_trace == "while \\x00 charging\n"
    assert stored(error).message == "v"


def test_nothing_of_a_cancellations_text_is_stored() -> None:
    secret = "7f00deadbeef"
    cancelled = asyncio.CancelledError(f"Cancelled by cancel scope {secret}")
    cancelled.add_note(secret)

    def during() -> BaseException:
        try:
            try:
                raise cancelled
            except asyncio.CancelledError:
                raise builtins.TimeoutError  # noqa: B904 as asyncio does
        except builtins.TimeoutError as error:
            return error

    for error in (
        cancelled,
        raised(cancelled),
        during(),
        BaseExceptionGroup("g", [cancelled]),
        ApplicationError("m", cancelled),
        ActivityError("a", activity_type="t", activity_id="1"),
    ):
        if isinstance(error, ActivityError):
            error.__cause__ = cancelled
        assert secret not in str(stored(error))
    assert isinstance(default().from_failure(stored(cancelled)), CancelledError)


def test_details_that_cannot_be_stored_are_replaced_and_the_failure_is_kept(
    caplog: pytest.LogCaptureFixture,
) -> None:
    loop: list[Any] = []
    loop.append(loop)
    values = [
        1,
        float("nan"),
        object(),
        loop,
        Unprintable(),
        "\ud800",
        "x" * 3_000_000,
        {"a": {1, 2}},
        ValueError("v"),
    ]
    with caplog.at_level(logging.WARNING, "durable.converter"):
        failure = stored(ApplicationError("m", *values))
    error = default().from_failure(failure)
    assert isinstance(error, ApplicationError)
    assert error.details[:6] == (
        1, "nan", "<object object>", "[[...]]", "<Unprintable, whose repr raised SystemExit>", "'\\ud800'"
    )  # fmt: skip
    assert error.details[6].startswith("'xxx")
    assert len(error.details[6]) == 1_000
    assert error.details[7:] == ({"a": [1, 2]}, "ValueError: v")
    assert again(failure) == failure
    assert len(caplog.records) == 7


def test_an_attribute_that_raises_costs_the_attribute_and_not_the_failure() -> None:
    failure = stored(Trap("m"))
    assert (failure.message, failure.info) == ("m", ApplicationFailure("Trap"))


def test_details_that_cannot_be_read_do_not_hide_the_failure() -> None:
    failure = Failure(
        "m", info=ApplicationFailure(details=(Payload(b"???", "binary/encrypted"), Payload(b"{")))
    )
    error = default().from_failure(failure)
    assert isinstance(error, ApplicationError)
    assert error.details == (
        "<3 bytes of binary/encrypted that cannot be read>",
        "<1 bytes of json/plain that cannot be read>",
    )


def test_a_failure_survives_the_wire_and_every_text_encoding() -> None:
    for make, _, _ in ANY:
        failure = stored(raised(make()))
        data = msgspec.json.encode(failure)
        assert b"\\u0000" not in data
        assert msgspec.json.decode(data, type=Failure) == failure
