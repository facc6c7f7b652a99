"""Waiting: for a time, for a condition, for several things at once. Every wait is durable, every order is the log's."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Awaitable, Callable, Iterable, Iterator
from datetime import datetime
from typing import Any, Literal, TypeVar, cast, overload

from durable._internal.ids import check_text
from durable._internal.instants import SECOND, Duration, from_datetime, to_duration
from durable._internal.shown import shown
from durable.activity._call import ActivityCall
from durable.workflow._runtime import current

T = TypeVar("T")
R = TypeVar("R")


async def sleep(duration: Duration, *, summary: str | None = None) -> None:
    """Wait; the timer is durable, even one of zero, and fires at its time whatever happens to the process.

    Args:
        duration: How long.
        summary: A line for people, shown wherever the timer is.

    Raises:
        NotInWorkflowError: The caller is not workflow code.
        ValueError: The duration is negative or longer than 100 years.
        TypeError: It is no duration.
    """
    runtime = current("workflow.sleep()")
    await runtime.sleep(to_duration(duration, "duration"), _summary(summary, "summary"))


async def sleep_until(instant: datetime, *, summary: str | None = None) -> None:
    """Wait until a point in time; one that has passed is a timer of zero.

    Args:
        instant: When to go on, an aware `datetime`.
        summary: A line for people, shown wherever the timer is.

    Raises:
        NotInWorkflowError: The caller is not workflow code.
        ValueError: The time is naive, or more than 100 years off.
        TypeError: It is no `datetime`.
    """
    runtime = current("workflow.sleep_until()")
    if not isinstance(instant, datetime):
        raise TypeError(f"instant must be a datetime, not {type(instant).__name__}: {shown(instant)}")
    left = max(0, from_datetime(instant, "instant") - runtime.now_us())
    await runtime.sleep(to_duration(left / SECOND, "instant"), _summary(summary, "summary"))


async def wait_condition(
    fn: Callable[[], bool], *, timeout: Duration | None = None, timeout_summary: str | None = None
) -> None:
    """Wait until `fn()` is true. It is asked whenever all that is ready in the run has run, and so at once if nothing is.

    A condition that comes true together with the timeout wins.

    Args:
        fn: A plain function that looks at the workflow's state and changes nothing.
        timeout: How long to wait, a durable timer; zero waits for nothing. For ever by default.
        timeout_summary: A line for people, shown wherever the timer is.

    Raises:
        TimeoutError: It was not true in time (the builtin one).
        Exception: What `fn` raised.
        NotInWorkflowError: The caller is not workflow code.
        TypeError: `fn` is async or not callable.
        ValueError: The timeout is negative or longer than 100 years.
    """
    runtime = current("workflow.wait_condition()")
    if not callable(fn) or inspect.iscoroutinefunction(fn):
        raise TypeError("wait_condition takes a plain function, for example `lambda: self.approved`")
    micros = None if timeout is None else to_duration(timeout, "timeout")
    summary = _summary(timeout_summary, "timeout_summary")
    condition = runtime.wait_condition(fn)
    if micros is None or condition.done():
        await condition
        return
    if micros > 0:
        timer = runtime.sleep(micros, summary)
        try:
            await asyncio.wait((condition, timer), return_when=asyncio.FIRST_COMPLETED)
        finally:
            timer.cancel()
            if not condition.done():
                condition.cancel()
        if not condition.cancelled():
            condition.result()
            return
    else:
        condition.cancel()
    if fn():
        return
    raise TimeoutError(f"the condition did not come true within {micros / SECOND:g} seconds")


def _summary(text: object, name: str) -> str:
    if text is None:
        return ""
    if not isinstance(text, str):
        raise TypeError(f"{name} must be a string, not {type(text).__name__}: {shown(text)}")
    return check_text(text, name)


def begin(awaitable: Awaitable[T]) -> asyncio.Future[T]:
    """Start what can be awaited, and return its future. An activity call needs no task for that."""
    if isinstance(awaitable, ActivityCall):
        return awaitable.start()
    return asyncio.ensure_future(awaitable)


async def wait(
    fs: Iterable[Awaitable[T]],
    *,
    timeout: Duration | None = None,
    return_when: Literal["FIRST_COMPLETED", "FIRST_EXCEPTION", "ALL_COMPLETED"] = "ALL_COMPLETED",
) -> tuple[list[asyncio.Future[T]], list[asyncio.Future[T]]]:
    """Wait for several things, as `asyncio.wait` does, and return the done and the others, both in the order given.

    Args:
        fs: Futures, tasks, calls; anything that can be awaited.
        timeout: How long to wait at most; it raises nothing and cancels nothing.
        return_when: As in asyncio.

    Raises:
        NotInWorkflowError: The caller is not workflow code.
        ValueError: There is nothing to wait for, or the timeout or `return_when` cannot be one.
    """
    current("workflow.wait()")
    futures = list(dict.fromkeys(begin(awaitable) for awaitable in _in_order(fs, "wait")))
    seconds = None if timeout is None else to_duration(timeout, "timeout") / SECOND
    done, _ = await asyncio.wait(futures, timeout=seconds, return_when=return_when)
    return [f for f in futures if f in done], [f for f in futures if f not in done]


def as_completed(fs: Iterable[Awaitable[T]], *, timeout: Duration | None = None) -> Iterator[Awaitable[T]]:
    """Return awaitables that give the results of several things in the order in which they come.

    Args:
        fs: Futures, tasks, calls; anything that can be awaited. All are started at once.
        timeout: How long to wait in all; the awaitables that are left then raise `TimeoutError`.

    Raises:
        NotInWorkflowError: The caller is not workflow code.
        ValueError: The timeout is negative or longer than 100 years.
    """
    current("workflow.as_completed()")
    seconds = None if timeout is None else to_duration(timeout, "timeout") / SECOND
    pending = dict.fromkeys(begin(awaitable) for awaitable in _in_order(fs, "as_completed"))
    finished: asyncio.Queue[asyncio.Future[T] | None] = asyncio.Queue()
    timer: asyncio.TimerHandle | None = None

    def on_done(future: asyncio.Future[T]) -> None:
        if pending.pop(future, finished) is finished:
            return
        finished.put_nowait(future)
        if not pending and timer is not None:
            timer.cancel()

    def on_timeout() -> None:
        for _ in pending:
            finished.put_nowait(None)
        pending.clear()

    async def following() -> T:
        future = await finished.get()
        if future is None:
            raise TimeoutError(f"not everything was done within {seconds:g} seconds")
        return future.result()

    for future in pending:
        future.add_done_callback(on_done)
    if pending and seconds is not None:
        timer = asyncio.get_running_loop().call_later(seconds, on_timeout)
    # Made one by one as they are asked for: one that nobody awaits would be reported as forgotten.
    return (following() for _ in range(len(pending)))


def _in_order(items: Iterable[T], caller: str) -> Iterable[T]:
    """Return the items, which must come in an order that a replay repeats."""
    if isinstance(items, set | frozenset):
        raise TypeError(
            f"workflow.{caller} takes its items in their order, and a set has another one in every process; pass a "
            "list, for example sorted(...)"
        )
    return items


class Outlasting(asyncio.Future[None]):
    """A future that no cancel ends: it counts them, and whoever waits sees to them when there is time."""

    cancels = 0

    def cancel(self, msg: Any = None) -> bool:
        """Remember that a cancel came."""
        self.cancels += 1
        return True


async def outlast(futures: Iterable[asyncio.Future[Any]]) -> bool:
    """Wait until all of these are done, whatever cancels come meanwhile; return whether one came."""
    waiting = [future for future in futures if not future.done()]
    if not waiting:
        return False
    end = Outlasting(loop=asyncio.get_running_loop())
    left = len(waiting)

    def on_done(_: asyncio.Future[Any]) -> None:
        nonlocal left
        left -= 1
        if not left:
            end.set_result(None)

    for future in waiting:
        future.add_done_callback(on_done)
    await end
    return end.cancels > 0


@overload
async def map(
    fn: Callable[[T], Awaitable[R]], items: Iterable[T], /, *, concurrency: int | None = None
) -> list[R]: ...
@overload
async def map(
    fn: Callable[[T], Awaitable[R]],
    items: Iterable[T],
    /,
    *,
    concurrency: int | None = None,
    return_exceptions: bool,
) -> list[R | BaseException]: ...
async def map(
    fn: Callable[[T], Awaitable[R]],
    items: Iterable[T],
    /,
    *,
    concurrency: int | None = None,
    return_exceptions: bool = False,
) -> list[Any]:
    """Call `fn` with each item, some at a time, and return the results in the order of the items.

    The first failure cancels what is under way, waits for its end, and is raised.

    Args:
        fn: An activity, or an async function.
        items: What to call it with, taken as it is needed.
        concurrency: How many may be under way at once; all by default.
        return_exceptions: Whether failures take the places of results instead.

    Raises:
        NotInWorkflowError: The caller is not workflow code.
        TypeError: The items have no order, or `concurrency` is no whole number.
        ValueError: `concurrency` is less than 1.
    """
    current("workflow.map()")
    if concurrency is not None:
        _check_concurrency(concurrency)
    left = enumerate(_in_order(items, "map"))
    running: dict[asyncio.Future[R], int] = {}
    finished: asyncio.Queue[asyncio.Future[R]] = asyncio.Queue()
    results: dict[int, Any] = {}
    try:
        while True:
            while concurrency is None or len(running) < concurrency:
                index, item = next(left, (-1, None))
                if index < 0:
                    break
                future = begin(fn(cast(T, item)))
                running[future] = index
                future.add_done_callback(finished.put_nowait)
            if not running:
                return [results[index] for index in range(len(results))]
            future = await finished.get()
            index = running.pop(future)
            results[index] = _outcome(future) if return_exceptions else future.result()
    except (Exception, asyncio.CancelledError) as error:
        for future in running:
            future.cancel()
        cancelled = await outlast(running)
        for future in running:
            _outcome(future)
        if cancelled and not isinstance(error, asyncio.CancelledError):
            raise asyncio.CancelledError from error
        raise


def _check_concurrency(value: object) -> None:
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f"concurrency must be a whole number, not {type(value).__name__}: {shown(value)}")
    if value < 1:
        raise ValueError(f"concurrency must be at least 1, not {value}")


def _outcome(future: asyncio.Future[T]) -> T | BaseException:
    """Return what became of a future, which then counts as seen."""
    if future.cancelled():
        return asyncio.CancelledError()
    error = future.exception()
    return future.result() if error is None else error
