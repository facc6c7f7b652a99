"""What a running activity knows about itself and can say."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import copy_context
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from durable import activity
from durable.activity._context import CURRENT, CompleteAsyncError, Context
from durable.common import Priority
from durable.converter import default
from durable.exceptions import NotInActivityError

WHEN = datetime(2026, 1, 2, tzinfo=UTC)


class Switch:
    def __init__(self) -> None:
        self.event = threading.Event()

    def is_set(self) -> bool:
        return self.event.is_set()

    async def wait(self) -> None:
        assert self.event.is_set(), "tests set it first"

    def wait_sync(self, timeout: float | None = None) -> bool:
        return self.event.wait(timeout)


class Attempt:
    """A context with its switches within reach."""

    def __init__(self) -> None:
        self.beats: list[tuple[Any, ...]] = []
        self.worker_id = "w-1"
        self.cancelled = Switch()
        self.worker_shutdown = Switch()
        self.why: activity.ActivityCancellationDetails | None = None
        self.info = activity.Info(
            activity_id="7",
            activity_type="charge",
            attempt=2,
            heartbeat_details=["half"],
            heartbeat_timeout=timedelta(seconds=5),
            idempotency_key="k",
            is_local=False,
            priority=Priority(),
            retry_policy=None,
            schedule_to_close_timeout=None,
            scheduled_time=WHEN,
            current_attempt_scheduled_time=WHEN,
            start_to_close_timeout=timedelta(minutes=5),
            started_time=WHEN,
            task_queue="default",
            workflow_id="o-42 100%",
            workflow_namespace="n",
            workflow_run_id="r",
            workflow_type="checkout",
        )

    @property
    def cancellation_details(self) -> activity.ActivityCancellationDetails | None:
        return self.why

    payload_converter = default().payload_converter
    client = "the client"

    def heartbeat(self, details: tuple[Any, ...]) -> None:
        self.beats.append(details)


@contextmanager
def entered(attempt: Context) -> Iterator[None]:
    token = CURRENT.set(attempt)
    yield
    CURRENT.reset(token)


@pytest.fixture
def attempt() -> Iterator[Attempt]:
    attempt = Attempt()
    with entered(attempt):
        yield attempt


def test_an_activity_finds_itself(attempt: Attempt) -> None:
    assert activity.in_activity()
    assert activity.info() is attempt.info
    activity.heartbeat()
    activity.heartbeat("row", 7)
    assert attempt.beats == [(), ("row", 7)]


def test_it_works_in_a_thread_that_runs_in_the_context(attempt: Attempt) -> None:
    seen: list[str] = []
    thread = threading.Thread(
        target=copy_context().run, args=(lambda: seen.append(activity.info().activity_id),)
    )
    thread.start()
    thread.join()
    assert seen == ["7"]


def test_being_asked_to_stop(attempt: Attempt) -> None:
    assert not activity.is_cancelled()
    assert activity.cancellation_details() is None
    activity.wait_for_cancelled_sync(timeout=timedelta(0))
    attempt.cancelled.event.set()
    attempt.why = activity.ActivityCancellationDetails(cancel_requested=True)
    assert activity.is_cancelled()
    activity.wait_for_cancelled_sync()
    assert activity.cancellation_details() == activity.ActivityCancellationDetails(cancel_requested=True)


def test_the_worker_stopping(attempt: Attempt) -> None:
    assert not activity.is_worker_shutdown()
    attempt.worker_shutdown.event.set()
    assert activity.is_worker_shutdown()
    activity.wait_for_worker_shutdown_sync(timeout=0)


async def test_waiting_for_it() -> None:
    attempt = Attempt()
    with entered(attempt):
        attempt.cancelled.event.set()
        attempt.worker_shutdown.event.set()
        await activity.wait_for_cancelled()
        await activity.wait_for_worker_shutdown()


def test_completing_from_outside_is_stopped_by_no_handler_of_errors(attempt: Attempt) -> None:
    def function() -> str:
        try:
            activity.raise_complete_async()
        except Exception:
            return "swallowed"

    with pytest.raises(CompleteAsyncError):
        function()


@pytest.mark.parametrize(
    "call",
    [
        activity.info,
        activity.heartbeat,
        activity.is_cancelled,
        activity.is_worker_shutdown,
        activity.cancellation_details,
        activity.raise_complete_async,
        activity.wait_for_cancelled_sync,
        activity.wait_for_worker_shutdown_sync,
    ],
)
def test_elsewhere_it_means_nothing(call: Callable[[], object]) -> None:
    assert not activity.in_activity()
    with pytest.raises(
        NotInActivityError, match=rf"^activity.{call.__name__}\(\) means something only while"
    ):
        call()


def test_the_logger_says_which_attempt(attempt: Attempt, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    activity.logger.info("took %d of %s", 3, "5%")
    activity.logger.warning("100% sure")
    first, second = caplog.records
    assert first.getMessage() == "took 3 of 5% (charge 7 of o-42 100%, attempt 2)"
    assert second.getMessage() == "100% sure (charge 7 of o-42 100%, attempt 2)"
    assert first.__dict__["durable_activity"]["attempt"] == 2
    assert first.__dict__["durable"]["worker_id"] == "w-1"
    assert (first.name, first.funcName) == ("durable.activity", "test_the_logger_says_which_attempt")


def test_elsewhere_the_logger_is_ordinary(caplog: pytest.LogCaptureFixture) -> None:
    activity.logger.warning("hello")
    assert caplog.messages == ["hello"]
