"""Attempts with interceptors: their function, and what it asks for, go through those of the worker."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import Executor
from contextlib import AbstractContextManager
from functools import partial
from typing import Any

from durable._metering import MetricMeter
from durable.activity._activity import Activity
from durable.activity._context import CURRENT, ActivityCancellationDetails, Context, Flag, Info
from durable.converter import PayloadConverter
from durable.interceptor.worker import (
    ActivityInboundInterceptor,
    ActivityOutboundInterceptor,
    ExecuteActivityInput,
    Interceptor,
)
from durable.worker._attempts import Attempt

Run = Callable[[partial[Any]], Awaitable[Any]]
"""Calls a function where it belongs: here, or in a thread."""


async def execute(
    interceptors: Sequence[Interceptor],
    attempt: Attempt,
    activity: Activity[..., Any],
    args: Sequence[Any],
    executor: Executor | None,
    run: Run,
) -> Any:
    """Return what the activity returns, with all interceptors around it."""
    context = _Intercepted(attempt)
    chain: ActivityInboundInterceptor = _Inbound(context, run)
    for one in reversed(interceptors):
        chain = one.intercept_activity(chain)
    chain.init(_Outbound(attempt))
    definition = activity.definition
    fn = definition.fn.__get__(activity.instance) if definition.is_method else definition.fn
    entered = CURRENT.set(context)
    try:
        return await chain.execute_activity(
            ExecuteActivityInput(fn, args, executor, attempt.scheduled.headers)
        )
    finally:
        CURRENT.reset(entered)


class _Inbound(ActivityInboundInterceptor):
    """The innermost: the function itself."""

    def __init__(self, context: _Intercepted, run: Run) -> None:
        self._context = context
        self._run = run

    def init(self, outbound: ActivityOutboundInterceptor) -> None:
        self._context.outbound = outbound

    async def execute_activity(self, input: ExecuteActivityInput) -> Any:
        return await self._run(partial(input.fn, *input.args))


class _Outbound(ActivityOutboundInterceptor):
    """The innermost: what the attempt answers."""

    def __init__(self, attempt: Attempt) -> None:
        self._attempt = attempt

    def info(self) -> Info:
        return self._attempt.info

    def heartbeat(self, *details: Any) -> None:
        self._attempt.heartbeat(details)


class _Intercepted:
    """The context of a function whose attempt has interceptors: the attempt's, but for what goes through them."""

    outbound: ActivityOutboundInterceptor

    def __init__(self, attempt: Attempt) -> None:
        self._attempt = attempt

    @property
    def info(self) -> Info:
        return self.outbound.info()

    @property
    def cancelled(self) -> Flag:
        return self._attempt.cancelled

    @property
    def worker_shutdown(self) -> Flag:
        return self._attempt.worker_shutdown

    @property
    def cancellation_details(self) -> ActivityCancellationDetails | None:
        return self._attempt.cancellation_details

    @property
    def payload_converter(self) -> PayloadConverter:
        return self._attempt.payload_converter

    @property
    def metric_meter(self) -> MetricMeter:
        return self._attempt.metric_meter

    @property
    def worker_id(self) -> str:
        return self._attempt.worker_id

    @property
    def client(self) -> Any:
        return self._attempt.client

    def heartbeat(self, details: tuple[Any, ...]) -> None:
        self.outbound.heartbeat(*details)

    def shielded(self) -> AbstractContextManager[None]:
        return self._attempt.shielded()


_: type[Context] = _Intercepted
