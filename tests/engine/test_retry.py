"""`decide` as a table: Temporal's rules for what is tried again, and when."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from durable._engine._retry import Retry, RetryState, decide
from durable.history import (
    ActivityFailure,
    ApplicationFailure,
    CanceledFailure,
    ChildWorkflowFailure,
    Failure,
    FailureInfo,
    RetryPolicyData,
    TerminatedFailure,
    TimeoutFailure,
)

SECOND = 1_000_000
NO = RetryState.NON_RETRYABLE_FAILURE
FIRST = Retry(SECOND)


def after(
    info: FailureInfo,
    attempt: int = 1,
    *,
    now: int = 0,
    close_by: int | None = None,
    jitter: float = 0.0,
    **policy: object,
) -> Retry | RetryState:
    made = RetryPolicyData(**policy)  # type: ignore[arg-type]
    return decide(made, attempt, Failure("x", info=info), now=now, close_by=close_by, jitter=jitter)


NAMED = {"non_retryable_error_types": ("Fatal", "TemporalTimeout:StartToClose")}

KINDS: list[tuple[str, FailureInfo, dict[str, object], Retry | RetryState]] = [
    ("an application error", ApplicationFailure("E"), {}, FIRST),
    ("one without a type", ApplicationFailure(), NAMED, FIRST),
    ("one that says it is final", ApplicationFailure("E", True), {}, NO),
    ("a final one, though it asks for a delay", ApplicationFailure("E", True, next_retry_delay=1), {}, NO),
    ("one of a listed type", ApplicationFailure("Fatal"), NAMED, NO),
    ("a type is compared whole", ApplicationFailure("FatalError"), NAMED, FIRST),
    ("a type is compared with its case", ApplicationFailure("fatal"), NAMED, FIRST),
    ("a start-to-close timeout", TimeoutFailure("start_to_close"), {}, FIRST),
    ("a heartbeat timeout", TimeoutFailure("heartbeat"), {}, FIRST),
    ("a schedule-to-start timeout", TimeoutFailure("schedule_to_start"), {}, NO),
    ("a schedule-to-close timeout", TimeoutFailure("schedule_to_close"), {}, NO),
    ("a listed timeout", TimeoutFailure("start_to_close"), NAMED, NO),
    ("a timeout that is not the listed one", TimeoutFailure("heartbeat"), NAMED, FIRST),
    (
        "a listed heartbeat timeout",
        TimeoutFailure("heartbeat"),
        {"non_retryable_error_types": ("TemporalTimeout:Heartbeat",)},
        NO,
    ),
    ("a cancellation", CanceledFailure(), {}, NO),
    ("a termination", TerminatedFailure(), {}, NO),
    ("an activity's failure inside an activity", ActivityFailure("a"), {}, FIRST),
    ("a child's failure", ChildWorkflowFailure("w"), {}, FIRST),
]


@pytest.mark.parametrize(
    ("info", "policy", "wanted"), [row[1:] for row in KINDS], ids=[row[0] for row in KINDS]
)
def test_what_is_tried_again(
    info: FailureInfo, policy: dict[str, object], wanted: Retry | RetryState
) -> None:
    assert after(info, **policy) == wanted  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("maximum", "attempt", "goes_on"),
    [
        (0, 1, True),
        (0, 10_000, True),
        (1, 1, False),
        (3, 1, True),
        (3, 2, True),
        (3, 3, False),
        (3, 4, False),
    ],
)
def test_how_often(maximum: int, attempt: int, goes_on: bool) -> None:
    found = after(ApplicationFailure("E"), attempt, maximum_attempts=maximum)
    assert isinstance(found, Retry) if goes_on else found is RetryState.MAXIMUM_ATTEMPTS_REACHED


def test_a_final_failure_of_the_last_attempt_is_called_final() -> None:
    assert after(ApplicationFailure("E", True), 3, maximum_attempts=3) is NO


def test_a_delay_the_failure_asks_for_does_not_buy_another_attempt() -> None:
    found = after(ApplicationFailure("E", next_retry_delay=5), 3, maximum_attempts=3)
    assert found is RetryState.MAXIMUM_ATTEMPTS_REACHED


@pytest.mark.parametrize(
    ("attempt", "policy", "delay"),
    [
        (1, {}, SECOND),
        (2, {}, 2 * SECOND),
        (5, {}, 16 * SECOND),
        (7, {}, 64 * SECOND),
        (8, {}, 100 * SECOND),  # a hundred times the first, unless the policy says otherwise
        (9, {}, 100 * SECOND),
        (2000, {}, 100 * SECOND),
        (2000, {"maximum_interval": 7}, 7),
        (2000, {"backoff_coefficient": 1.0}, SECOND),
        (2000, {"backoff_coefficient": 1.0000001, "maximum_interval": 10**18}, 1_000_200),
        (2000, {"initial_interval": 10**15, "maximum_interval": 10**18}, 10**18),
        (1, {"maximum_interval": 10}, 10),  # shorter than the first interval
        (3, {"initial_interval": 10, "backoff_coefficient": 1.5}, 22),
        (1, {"initial_interval": 0}, 0),
        (50, {"initial_interval": 0}, 0),
    ],
)
def test_when(attempt: int, policy: dict[str, object], delay: int) -> None:
    assert after(ApplicationFailure("E"), attempt, **policy) == Retry(delay)  # type: ignore[arg-type]


def test_a_delay_the_failure_asks_for_replaces_the_interval_whatever_the_policy_and_jitter() -> None:
    for wanted in (0, 1, 3600 * SECOND):
        found = after(ApplicationFailure("E", next_retry_delay=wanted), 9, jitter=1.0, maximum_interval=5)
        assert found == Retry(wanted)


@pytest.mark.parametrize(
    ("left", "goes_on"), [(SECOND + 1, True), (SECOND, False), (SECOND - 1, False), (0, False), (-5, False)]
)
def test_an_attempt_that_would_start_after_schedule_to_close_is_not_made(left: int, goes_on: bool) -> None:
    found = after(ApplicationFailure("E"), now=1000, close_by=1000 + left)
    assert found == (FIRST if goes_on else RetryState.TIMEOUT)


def test_schedule_to_close_cuts_what_the_failure_asks_for_and_the_jitter_too() -> None:
    asked = ApplicationFailure("E", next_retry_delay=10)
    assert after(asked, now=0, close_by=10) is RetryState.TIMEOUT
    assert after(asked, now=0, close_by=11) == Retry(10)
    assert after(ApplicationFailure("E"), now=0, close_by=SECOND + 50_000, jitter=0.4) == Retry(
        SECOND + 40_000
    )
    assert after(ApplicationFailure("E"), now=0, close_by=SECOND + 50_000, jitter=0.5) is RetryState.TIMEOUT


@given(
    attempt=st.integers(1, 10_000),
    initial=st.integers(1, 10**15),
    coefficient=st.floats(1.0, 1e6),
    maximum=st.integers(0, 10**17),
    jitter=st.floats(0.0, 1.0),
)
def test_whatever_the_policy_the_delay_is_a_number_within_its_bounds(
    attempt: int, initial: int, coefficient: float, maximum: int, jitter: float
) -> None:
    policy = RetryPolicyData(initial, coefficient, maximum)
    failure = Failure(info=ApplicationFailure("E"))
    plain = decide(policy, attempt, failure, now=0, close_by=None, jitter=0.0)
    longer = decide(policy, attempt, failure, now=0, close_by=None, jitter=jitter)
    assert isinstance(plain, Retry)
    assert isinstance(longer, Retry)
    assert 0 <= plain.delay <= (maximum or 100 * initial)
    assert plain.delay <= longer.delay <= plain.delay + plain.delay // 10 + 1


@given(st.integers(1, 400), st.floats(1.0, 10.0))
def test_delays_never_shrink(attempt: int, coefficient: float) -> None:
    policy = RetryPolicyData(1000, coefficient)
    failure = Failure(info=ApplicationFailure("E"))
    now, then = (decide(policy, n, failure, now=0, close_by=None, jitter=0.0) for n in (attempt, attempt + 1))
    assert isinstance(now, Retry)
    assert isinstance(then, Retry)
    assert now.delay <= then.delay
