"""What `@activity.defn` makes of a function, and what it refuses."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest

from durable import RetryPolicy, activity
from durable.activity import Activity
from durable.activity._definition import ActivityOptions
from durable.common import ActivityCancellationType
from durable.exceptions import RegistrationError

if TYPE_CHECKING:
    from decimal import Decimal as Hidden


@dataclass
class Order:
    id: str


@activity.defn(start_to_close_timeout=timedelta(seconds=10), retry_policy=RetryPolicy(maximum_attempts=5))
async def charge(order: Order, cents: int = 0, note: str = "") -> Later:
    """Takes money."""
    return Later(order.id)


@activity.defn(name="mail.send", heartbeat_timeout=2.5, task_queue="mail", eager=False, summary="a mail")
def send_mail(to: str) -> bool:
    return True


@dataclass
class Later:
    id: str


class Inventory:
    def __init__(self, stock: int) -> None:
        self.stock = stock

    @activity.defn
    async def reserve(self, sku: str, n: int) -> str:
        return f"{sku}: {self.stock - n}"

    @activity.method(name="give.back")
    def release(self, sku: str) -> int:
        return self.stock

    borrowed = charge


def test_a_definition_says_what_the_source_says() -> None:
    definition = charge.definition
    assert (definition.name, definition.executor, definition.is_async) == ("charge", "async", True)
    assert definition.where.startswith("tests/activity/test_definitions.py:")
    assert (definition.qualname, definition.module) == ("charge", __name__)
    assert definition.options == ActivityOptions(
        start_to_close_timeout=10_000_000, retry_policy=RetryPolicy(maximum_attempts=5)
    )
    assert (charge.__name__, charge.__doc__, charge.__module__) == ("charge", "Takes money.", __name__)
    assert repr(charge).startswith("<activity charge from tests/")


def test_types_are_read_late_so_that_they_may_be_defined_further_down() -> None:
    assert charge.definition.arg_types == (Order, int, str)
    assert charge.definition.ret_type is Later


def test_a_plain_function_runs_in_a_thread_and_options_are_microseconds() -> None:
    definition = send_mail.definition
    assert (definition.name, definition.executor) == ("mail.send", "thread")
    assert definition.options == ActivityOptions(
        heartbeat_timeout=2_500_000, task_queue="mail", eager=False, summary="a mail"
    )


def test_what_has_no_hints_is_any() -> None:
    @activity.defn
    def loose(a, b=1):  # type: ignore[no-untyped-def]
        return a

    assert loose.definition.arg_types == (Any, Any)
    assert loose.definition.ret_type is Any


def test_local_types_are_found_where_the_function_stands() -> None:
    @dataclass
    class Local:
        x: int

    class Box:
        @activity.method
        def open(self, local: Local) -> list[Local]:
            return [local]

    @activity.defn
    def use(local: Local) -> Local:
        return local

    assert use.definition.arg_types == (Local,)
    assert Box.open.definition.ret_type == list[Local]


def test_a_type_that_exists_for_checkers_only_is_an_error_that_names_it() -> None:
    @activity.defn
    def price(cents: Hidden) -> int:
        return 1

    with pytest.raises(
        RegistrationError,
        match=r"activity 'price' \(tests/.*\): its type hints cannot be read, since name 'Hidden' is not defined.*"
        r"not under `if TYPE_CHECKING`",
    ):
        _ = price.definition.arg_types


def test_a_method_is_called_without_self() -> None:
    assert str(Inventory.reserve.definition.signature) == "(sku: 'str', n: 'int') -> 'str'"
    assert Inventory.reserve.definition.arg_types == (str, int)
    assert Inventory.release.definition.name == "give.back"
    assert Inventory.reserve.instance is None
    here = Inventory(3)
    assert here.release.instance is here
    assert here.release.fn("x") == 3


def test_an_activity_in_a_class_that_was_defined_elsewhere_is_no_method() -> None:
    assert Inventory.__dict__["borrowed"] is charge
    assert not charge.definition.is_method


def test_options_make_a_copy() -> None:
    fast = charge.options(task_queue="gpu", start_to_close_timeout=1, retry_policy=None)
    assert fast.call_options.task_queue == "gpu"
    assert fast.call_options.start_to_close_timeout == 1_000_000
    assert fast.call_options.retry_policy == RetryPolicy(maximum_attempts=5), "None says nothing"
    assert charge.call_options.task_queue is None
    assert fast.definition is charge.definition


def test_temporals_options_have_their_names() -> None:
    made = charge.options(
        schedule_to_close_timeout=timedelta(days=1),
        schedule_to_start_timeout=60,
        cancellation_type=ActivityCancellationType.ABANDON,
        activity_id="a-1",
    ).call_options
    assert made.schedule_to_close_timeout == 86_400_000_000
    assert made.schedule_to_start_timeout == 60_000_000
    assert (made.cancellation_type, made.activity_id) == (ActivityCancellationType.ABANDON, "a-1")


@pytest.mark.parametrize(
    ("options", "error", "text"),
    [
        (
            {"start_to_close_timout": 1},
            TypeError,
            "options() of activity 'charge' has no option 'start_to_close_timout'",
        ),
        (
            {"start_to_close_timeout": -1},
            ValueError,
            "start_to_close_timeout must be longer than zero, not -1",
        ),
        ({"heartbeat_timeout": float("nan")}, ValueError, "heartbeat_timeout must be finite"),
        (
            {"schedule_to_close_timeout": "1h"},
            TypeError,
            "schedule_to_close_timeout must be a timedelta or a number",
        ),
        ({"start_to_close_timeout": 0}, ValueError, "start_to_close_timeout must be longer than zero"),
        ({"task_queue": ""}, ValueError, "task_queue must not be empty"),
        ({"activity_id": "a\nb"}, ValueError, "activity_id must not contain control characters"),
        ({"retry_policy": 3}, TypeError, "retry_policy must be a RetryPolicy, not int: 3"),
        ({"cancellation_type": 1}, TypeError, "cancellation_type must be an ActivityCancellationType"),
        ({"summary": 3}, TypeError, "summary must be a string"),
        ({"eager": "no"}, TypeError, "eager must be True or False"),
        ({"priority": 3}, TypeError, "priority must be a Priority, not int: 3"),
        ({"versioning_intent": 3}, TypeError, "has no option 'versioning_intent'"),
    ],
)
def test_a_wrong_option_is_refused_by_name(
    options: dict[str, Any], error: type[Exception], text: str
) -> None:
    with pytest.raises(error) as caught:
        charge.options(**options)
    assert text in str(caught.value)


def test_options_on_the_decorator_are_checked_too() -> None:
    with pytest.raises(TypeError, match=r"@activity.defn has no option 'dynamics'; there are activity_id, "):
        activity.defn(dynamics=True)  # type: ignore[call-overload]
    with pytest.raises(TypeError, match="whole number of microseconds"):
        ActivityOptions(start_to_close_timeout=0.5)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="at most 100 years"):
        ActivityOptions(start_to_close_timeout=10**17)


def _plain() -> None: ...


def _generator() -> Any:
    yield 1


async def _work(x: int) -> None: ...


@functools.wraps(_work)
def _wrapped(x: int) -> Any:
    return _work(x)


def _keyword(*, x: int) -> None: ...


def _variable(*x: int) -> None: ...


@pytest.mark.parametrize(
    ("make", "error", "text"),
    [
        (
            lambda: activity.defn(_generator),
            RegistrationError,
            "is a generator; an activity returns its result, once",
        ),
        (lambda: activity.defn(_wrapped), RegistrationError, "wrapped by a plain function"),
        (lambda: activity.defn(_keyword), RegistrationError, "parameter 'x' is keyword-only"),
        (
            lambda: activity.defn(_variable),
            RegistrationError,
            "is variable, and arguments are stored by position",
        ),
        (lambda: activity.defn(Order), TypeError, "not the class Order; decorate its methods"),
        (lambda: activity.defn(3), TypeError, "decorates functions and methods, not int: 3"),
        (lambda: activity.defn(staticmethod(_plain)), TypeError, "put @activity.defn below @staticmethod"),
        (
            lambda: activity.method(_plain),
            RegistrationError,
            "is a method and needs `self` as its first parameter",
        ),
        (lambda: activity.defn(name=" ")(_plain), ValueError, "name must not be empty"),
        (
            lambda: activity.defn(executor="process")(_work),
            ValueError,
            "executor='process' does not fit",
        ),
        (lambda: activity.defn(executor="thread")(_work), ValueError, "executor='thread' does not fit"),
        (
            lambda: activity.defn(executor="fibre")(_plain),
            ValueError,
            "executor must be 'async', 'thread' or 'process'",
        ),
    ],
)
def test_what_cannot_be_an_activity_is_refused_with_a_reason(
    make: Callable[[], object], error: type[Exception], text: str
) -> None:
    with pytest.raises(error) as caught:
        make()
    assert text in str(caught.value)


def test_the_executor_that_follows_may_be_said() -> None:
    said: Activity[..., Any] = activity.defn(executor="thread")(_plain)
    assert said.definition.executor == "thread"
