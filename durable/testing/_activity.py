"""An environment for one activity: its function runs as in a worker, with facts and signs of the test's own."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any, ParamSpec, TypeVar, overload

from durable._metering import MetricMeter
from durable.activity._activity import Activity
from durable.activity._context import CURRENT, ActivityCancellationDetails, Context, Info
from durable.client import Client
from durable.common import Priority, RetryPolicy
from durable.converter import PayloadConverter, default
from durable.worker._attempts import Flag
from durable.worker._interrupts import Interrupt

P = ParamSpec("P")
R = TypeVar("R")

REQUESTED = ActivityCancellationDetails(cancel_requested=True)
"""Why an activity is cancelled, if nothing else is said."""

_BEGAN = datetime(1970, 1, 1, tzinfo=UTC)


class ActivityEnvironment:
    """Runs activities in a test, one call at a time, without a workflow and without a database.

        env = ActivityEnvironment()
        env.on_heartbeat = lambda *details: beats.append(details)
        assert await env.run(resize, "cat.png") == "small-cat.png"

    Attributes:
        info: What `activity.info()` returns; `dataclasses.replace(ActivityEnvironment.default_info(), attempt=2)`, for example.
        on_heartbeat: Called with the details of every `activity.heartbeat`.
        payload_converter: What `activity.payload_converter()` returns.
        metric_meter: What `activity.metric_meter()` makes its meter from; it records nothing by default.
    """

    def __init__(self, client: Client | None = None) -> None:
        """Make one.

        Args:
            client: What `activity.client()` returns.
        """
        self.info = self.default_info()
        self.on_heartbeat: Callable[..., None] = lambda *details: None
        self.payload_converter: PayloadConverter = default().payload_converter
        self.metric_meter = MetricMeter.noop
        self._client = client
        self._cancelled: ActivityCancellationDetails | None = None
        self._shutting_down = False
        self._attempts: set[_Attempt] = set()

    @staticmethod
    def default_info() -> Info:
        """Return the facts that an activity finds when the test says nothing else."""
        return Info(
            activity_id="test",
            activity_type="unknown",
            attempt=1,
            heartbeat_details=[],
            heartbeat_timeout=None,
            idempotency_key="test",
            is_local=False,
            priority=Priority(),
            retry_policy=RetryPolicy(),
            schedule_to_close_timeout=timedelta(seconds=1),
            scheduled_time=_BEGAN,
            current_attempt_scheduled_time=_BEGAN,
            start_to_close_timeout=timedelta(seconds=1),
            started_time=_BEGAN,
            task_queue="test",
            workflow_id="test",
            workflow_namespace="default",
            workflow_run_id="test-run",
            workflow_type="test",
            task_token=b"test",
        )

    @overload
    def run(self, fn: Activity[P, R], /, *args: P.args, **kwargs: P.kwargs) -> Any: ...
    @overload
    def run(self, fn: Callable[P, R], /, *args: P.args, **kwargs: P.kwargs) -> R: ...
    def run(self, fn: Any, /, *args: Any, **kwargs: Any) -> Any:
        """Run an activity and return what it returns.

        An `async def` is to be awaited. A plain function runs at once, on the calling thread, where a cancel from another
        thread interrupts it as a worker would.

        Args:
            fn: The activity, or a function.
            args: Its arguments.
            kwargs: Its arguments by name.

        Raises:
            TypeError: The arguments do not fit.
            CancelledError: It was cancelled.
            Exception: Whatever it raises.
        """
        attempt = _Attempt(self)
        if isinstance(fn, Activity):
            definition = fn.definition
            attempt.info = self._named(definition.name)
            attempt.interruptible = not definition.no_thread_cancel_exception
            bound = definition.parameters.bind(args, kwargs)
            if definition.is_async:
                return attempt.on_loop(lambda: definition.run(fn.instance, bound))
            return attempt.here(lambda: definition.run(fn.instance, bound))
        attempt.info = self._named(getattr(fn, "__name__", "unknown"))
        if inspect.iscoroutinefunction(fn):
            return attempt.on_loop(lambda: fn(*args, **kwargs))
        return attempt.here(lambda: fn(*args, **kwargs))

    def cancel(
        self,
        cancellation_details: ActivityCancellationDetails = REQUESTED,
    ) -> None:
        """Cancel what runs, and what is run from now on; from any thread. Again does nothing.

        Args:
            cancellation_details: What `activity.cancellation_details()` returns.
        """
        if self._cancelled is None:
            self._cancelled = cancellation_details
            for attempt in list(self._attempts):
                attempt.cancel(cancellation_details)

    def worker_shutdown(self) -> None:
        """Let what runs, and what is run from now on, see that its worker begins to stop; from any thread."""
        self._shutting_down = True
        for attempt in list(self._attempts):
            attempt.tell(attempt.worker_shutdown)

    def _named(self, name: str) -> Info:
        return replace(self.info, activity_type=name) if self.info.activity_type == "unknown" else self.info


class _Attempt:
    """One call: the context of its function."""

    info: Info

    def __init__(self, env: ActivityEnvironment) -> None:
        self._env = env
        self.cancelled, self.worker_shutdown = Flag(), Flag()
        self.cancellation_details: ActivityCancellationDetails | None = None
        self.payload_converter = env.payload_converter
        self.metric_meter = env.metric_meter
        self.worker_id = ""
        self.interruptible = True
        self._interrupt: Interrupt | None = None
        self._task: asyncio.Task[Any] | None = None
        self._loop: asyncio.AbstractEventLoop | None = None

    # ------------------------------------------------------------------ running it

    async def on_loop(self, function: Callable[[], Any]) -> Any:
        self._loop = asyncio.get_running_loop()
        self._task = self._loop.create_task(self._entered(function))
        self._begin()
        try:
            return await self._task
        finally:
            self._end()
            self._task.cancel()

    async def _entered(self, function: Callable[[], Any]) -> Any:
        CURRENT.set(self)
        return await function()

    def here(self, function: Callable[[], Any]) -> Any:
        entered = CURRENT.set(self)
        self._interrupt = Interrupt() if self.interruptible else None
        self._begin()
        try:
            return function() if self._interrupt is None else self._interrupt.call(function)
        finally:
            self._end()
            CURRENT.reset(entered)

    def _begin(self) -> None:
        self._env._attempts.add(self)
        if self._env._shutting_down:
            self.worker_shutdown.set()
        if self._env._cancelled is not None:
            self.cancel(self._env._cancelled)

    def _end(self) -> None:
        self._env._attempts.discard(self)

    # ------------------------------------------------------------------ what it is told

    def cancel(self, details: ActivityCancellationDetails) -> None:
        self.cancellation_details = details
        self.tell(self.cancelled)
        if self._interrupt is not None:
            self._interrupt.request()
        elif self._task is not None:
            self._there(self._task.cancel)

    def tell(self, flag: Flag) -> None:
        """Set a flag where whoever waits for it is."""
        self._there(flag.set)

    def _there(self, callback: Callable[[], object]) -> None:
        """Call back on the event loop of the function, at once if that is the caller's; here, if it has none."""
        if self._loop in (None, asyncio._get_running_loop()):
            callback()
        else:
            assert self._loop is not None
            self._loop.call_soon_threadsafe(callback)

    # ------------------------------------------------------------------ what it asks for

    @property
    def client(self) -> Any:
        if self._env._client is None:
            raise RuntimeError("there is no client: ActivityEnvironment(client=...)")
        if self._task is None:
            raise RuntimeError("the function runs in a thread, where nothing can be awaited")
        return self._env._client

    def heartbeat(self, details: tuple[Any, ...]) -> None:
        self._env.on_heartbeat(*details)

    def shielded(self) -> AbstractContextManager[None]:
        return nullcontext() if self._interrupt is None else self._interrupt.shielded()


_: type[Context] = _Attempt
