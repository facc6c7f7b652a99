"""Activities in other processes: what is sent there, what is done there, and what comes back.

Both ways go bytes and nothing else: a pool that is given an object which cannot be pickled, or whose process sends one
back, breaks for everybody. A function is named by its place in its module, since what stands there is the activity.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib
import pickle
import sys
import traceback
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Executor, Future
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, dataclass
from functools import partial
from itertools import pairwise
from typing import Any, cast

from durable._engine._activities import task_token
from durable._metering import MetricMeter
from durable.activity._activity import Activity
from durable.activity._context import CURRENT, ActivityCancellationDetails, CompleteAsyncError, Context, Info
from durable.activity._definition import ActivityDefinition
from durable.converter import PayloadConverter
from durable.exceptions import ApplicationError, RegistrationError
from durable.telemetry._tracing import carrying, current_carrier
from durable.worker._attempts import Attempt
from durable.worker._shared_state import SharedHeartbeatSender, SharedStateManager


@dataclass(frozen=True)
class Place:
    """Where a process finds a function."""

    module: str
    qualname: str
    instance: Any

    def find(self) -> Activity[..., Any]:
        """Return the activity that is there."""
        found: Any = sys.modules.get(self.module) or importlib.import_module(self.module)
        for name in self.qualname.split("."):
            found = getattr(found, name)
        if not isinstance(found, Activity):
            raise TypeError(f"{self.module}.{self.qualname} is no activity")
        return cast(Activity[..., Any], found)


@dataclass(frozen=True)
class Call:
    """What a process is told."""

    fn: Place | Callable[..., Any]
    args: Sequence[Any]
    info: Info
    token: bytes
    cancelled: Any
    reasons: Any
    worker_shutdown: Any
    heartbeats: SharedHeartbeatSender
    payload_converter: bytes
    worker_id: str
    trace: Mapping[str, str]


def in_process(definition: ActivityDefinition) -> bool:
    """Whether a worker with a pool of processes runs an activity there."""
    if definition.is_async or definition.transactional:
        return False
    return definition.executor == "process" or not definition.executor_said


def check_place(activity: Activity[..., Any]) -> None:
    """See that a process can run an activity.

    Raises:
        RegistrationError: It cannot; the text says why.
    """
    definition = activity.definition
    what = f"{definition.parameters.what} ({definition.where}) is to run in another process"
    place = Place(definition.module, definition.qualname, None)
    try:
        known = place.find().definition is definition
    except Exception:
        known = False
    if not known:
        raise RegistrationError(
            f"{what}, which finds it by its name: define it at the top of a module, or in a class there, under the name "
            f"it is found by; {definition.module}.{definition.qualname} is not this activity"
        )
    try:
        pickle.dumps(activity.instance)
    except Exception as error:
        raise RegistrationError(
            f"{what}, and its instance cannot be pickled for that: {type(error).__name__}: {error}"
        ) from error


class Processes:
    """The processes of one worker's activities."""

    def __init__(self, executor: Executor, shared: SharedStateManager, threads: Executor) -> None:
        self._executor = executor
        self._shared = shared
        self._threads = threads
        self._made: asyncio.Future[None] | None = None
        self._shutdown: Any = None
        self._reasons: Any = None

    def _make(self) -> None:
        self._reasons = self._shared.new_mapping()
        self._shutdown = self._shared.new_event()

    async def run(
        self, attempt: Attempt, activity: Activity[..., Any], fn: Callable[..., Any], args: Sequence[Any]
    ) -> Any:
        """Run a function of an attempt in a process, and return what it returns.

        Raises:
            BrokenExecutor: The process has died, and the pool with it.
            BaseException: What the function raised.
        """
        loop = asyncio.get_running_loop()
        attempt.in_thread = True
        token = task_token(attempt.run_id, attempt.scheduled.id, attempt.number)
        if self._made is None:
            self._made = loop.run_in_executor(self._threads, self._make)
        # Once for all: several may begin at the same time, and one of them be cancelled.
        await asyncio.shield(self._made)
        cancelled = await loop.run_in_executor(self._threads, self._shared.new_event)
        sender = self._shared.register_heartbeater(
            token, lambda *details: attempt.heartbeat_of_process(details)
        )
        told: list[Future[None]] = []

        def stop() -> None:
            assert attempt.details is not None
            reason = tuple(name for name, true in asdict(attempt.details).items() if true)
            # A call to another process, which must not hold up the event loop.
            with contextlib.suppress(RuntimeError):
                told.append(self._threads.submit(_stop, cancelled, self._reasons, token, reason))

        try:
            attempt.on_stop = stop
            if attempt.details is not None:
                stop()
            definition = activity.definition
            own = fn is definition.fn or getattr(fn, "__func__", None) is definition.fn
            place = Place(definition.module, definition.qualname, activity.instance)
            call = Call(
                place if own else fn,
                tuple(args),
                attempt.info,
                token,
                cancelled,
                self._reasons,
                self._shutdown,
                sender,
                _pickled_or_nothing(attempt.payload_converter),
                attempt.worker_id,
                current_carrier(),
            )
            try:
                data = pickle.dumps(call)
            except Exception as error:
                raise ApplicationError(
                    f"what activity {definition.name!r} is called with cannot be pickled for its process: {error}",
                    type=type(error).__name__,
                    non_retryable=True,
                ) from None
            return _answer(attempt, await loop.run_in_executor(self._executor, call_in_process, data))
        finally:
            attempt.on_stop = None
            for one in told:
                one.add_done_callback(lambda _: _forget(self._reasons, token))
            self._shared.unregister_heartbeater(token)

    def shut_down(self) -> None:
        """Tell the functions that the worker stops."""
        if self._shutdown is not None:
            with contextlib.suppress(RuntimeError):
                self._threads.submit(_set, self._shutdown)


def _set(event: Any) -> None:
    with contextlib.suppress(OSError, EOFError):
        event.set()


def _stop(cancelled: Any, reasons: Any, token: bytes, reason: tuple[str, ...]) -> None:
    """Say why before a function looks."""
    if reasons is not None:
        with contextlib.suppress(OSError, EOFError):
            reasons[token] = reason
    _set(cancelled)


def _forget(reasons: Any, token: bytes) -> None:
    if reasons is not None:
        with contextlib.suppress(OSError, EOFError):
            reasons.pop(token, None)


def _pickled_or_nothing(value: object) -> bytes:
    try:
        return pickle.dumps(value)
    except Exception:
        return b""


def _answer(attempt: Attempt, data: bytes) -> Any:
    """Return what a function returned, or raise what it raised, with the tracebacks of its process as text."""
    kind, value, last = pickle.loads(data)
    if last is not None:
        attempt.heartbeat_of_process(last)
    if kind == "result":
        return value
    if kind == "async":
        raise CompleteAsyncError
    errors: list[tuple[BaseException, str]] = value
    for (error, _), (cause, _) in pairwise(errors):
        error.__cause__ = cause
    for error, text in errors:
        error.add_note(text)
    raise errors[0][0]


# ---------------------------------------------------------------------- in the process


def call_in_process(data: bytes) -> bytes:
    """Do what `data` tells, in the process of the function; return what came of it, whatever that was.

    The last heartbeat comes along: on its own way it may arrive when the attempt has ended.
    """
    context: _InProcess | None = None
    answer: tuple[str, Any]
    try:
        call: Call = pickle.loads(data)
        fn = call.fn
        if isinstance(fn, Place):
            fn = partial(fn.find().definition.run, fn.instance, tuple(call.args))
        else:
            fn = partial(fn, *call.args)
        context = _InProcess(call)
        entered = CURRENT.set(context)
        try:
            with carrying(call.trace):
                answer = "result", fn()
        finally:
            CURRENT.reset(entered)
    except CompleteAsyncError:
        answer = "async", None
    except BaseException as error:
        answer = "error", _chain(error)
    last = None if context is None else context.last
    try:
        given = pickle.dumps((*answer, last))
        pickle.loads(given)
    except Exception as error:
        refused = ApplicationError(
            f"the result cannot be pickled for the worker: {error}",
            type=type(error).__name__,
            non_retryable=True,
        )
        return pickle.dumps(("error", [(refused, "")], last))
    return given


def _chain(error: BaseException) -> list[tuple[BaseException, str]]:
    """Return an error and its causes, each as it can be pickled, with its traceback."""
    found: list[tuple[BaseException, str]] = []
    following: BaseException | None = error
    while following is not None and len(found) < 20:
        text = "".join(traceback.format_tb(following.__traceback__))
        found.append((_portable(following), f"In the process of the activity:\n{text}"))
        if following.__cause__ is not None or following.__suppress_context__:
            following = following.__cause__
        else:
            following = following.__context__
    return found


def _portable(error: BaseException) -> BaseException:
    try:
        copy = pickle.loads(pickle.dumps(error))
    except Exception:
        copy = None
    if isinstance(copy, BaseException):
        return error
    return ApplicationError(str(error), type=type(error).__name__)


class _Flag:
    """A flag of the worker, seen from a process."""

    def __init__(self, event: Any) -> None:
        self._event = event

    def is_set(self) -> bool:
        return bool(self._event.is_set())

    async def wait(self) -> None:
        await asyncio.to_thread(self._event.wait)

    def wait_sync(self, timeout: float | None = None) -> bool:
        return bool(self._event.wait(timeout))


class _InProcess:
    """The context of a function in its process."""

    def __init__(self, call: Call) -> None:
        self._call = call
        self.last: tuple[Any, ...] | None = None
        self.info = call.info
        self.worker_id = call.worker_id
        self.cancelled = _Flag(call.cancelled)
        self.worker_shutdown = _Flag(call.worker_shutdown)

    @property
    def cancellation_details(self) -> ActivityCancellationDetails | None:
        call = self._call
        reason = None if call.reasons is None else call.reasons.get(call.token)
        return None if reason is None else ActivityCancellationDetails(**dict.fromkeys(reason, True))

    @property
    def payload_converter(self) -> PayloadConverter:
        if not self._call.payload_converter:
            raise RuntimeError(
                "the payload converter of this worker cannot be pickled, and is not in this process"
            )
        found: PayloadConverter = pickle.loads(self._call.payload_converter)
        return found

    @property
    def metric_meter(self) -> MetricMeter:
        raise RuntimeError(
            "activity.metric_meter() is for activities in the worker's own process, where metrics are collected; this one "
            "runs in another"
        )

    @property
    def client(self) -> Any:
        raise RuntimeError(
            "activity.client() is for `async def` activities; this one runs in another process"
        )

    def heartbeat(self, details: tuple[Any, ...]) -> None:
        self.last = details
        self._call.heartbeats.send_heartbeat(self._call.token, *details)

    def shielded(self) -> AbstractContextManager[None]:
        return nullcontext()


_: type[Context] = _InProcess
