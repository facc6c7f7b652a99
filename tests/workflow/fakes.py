"""A runtime in a few lines: enough of a run for the authoring API to be tested without replay, storage or workers.

Time is the loop's own and jumps to the next timer when nothing is ready, so nothing here waits.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict, deque
from collections.abc import Callable, Coroutine, Mapping, Sequence
from datetime import timedelta
from typing import Any, TypeVar

from durable._internal.instants import to_datetime
from durable._replay._continue import LastRun
from durable._replay._randomness import Randomness
from durable.activity import ActivityCall
from durable.converter import PayloadConverter, default
from durable.history import WorkflowExecutionStarted
from durable.workflow._info import Info
from durable.workflow._runtime import ChildRequest, Runtime, Target

T = TypeVar("T")
START = 1_700_000_000_000_000


class Loop(asyncio.SelectorEventLoop):
    """An event loop with a `host`, whose clock jumps."""

    clock = 0.0

    def __init__(self) -> None:
        super().__init__()
        self.host = FakeRuntime(self)

    def time(self) -> float:
        return self.clock

    def _run_once(self) -> None:
        if not self._ready and not self.host.look_at_conditions() and self._scheduled:
            self.clock = max(self.clock, self._scheduled[0]._when)
        super()._run_once()


class FakeRuntime:
    """Activities are answered by `answers`, a value, an exception or a function per name; None leaves them open."""

    def __init__(self, loop: Loop) -> None:
        self.loop = loop
        self.answers: dict[str, Any] = {}
        self.calls: list[ActivityCall[Any]] = []
        self.children: list[ChildRequest] = []
        self.open: list[asyncio.Future[Any]] = []
        self.timers: list[tuple[float, str]] = []
        self.replaying = False
        self.details = ""
        self.set: dict[str, dict[str | None, Callable[..., Any]]] = defaultdict(dict)
        self.kept: dict[str, deque[Any]] = defaultdict(deque)
        self.receivers: dict[str, deque[asyncio.Future[Any]]] = defaultdict(deque)
        self._conditions: list[tuple[Callable[[], bool], asyncio.Future[None]]] = []

    # ---- what tests use

    @property
    def called(self) -> list[str]:
        return [f"{call.name}({', '.join(map(repr, call.args))})" for call in self.calls]

    def signal(self, name: str, value: Any) -> None:
        for future in self.receivers[name]:
            if not future.done():
                future.set_result(value)
                return
        self.kept[name].append(value)

    def look_at_conditions(self) -> bool:
        held = [(fn, future) for fn, future in self._conditions if not future.done() and fn()]
        for _, future in held:
            future.set_result(None)
        return bool(held)

    # ---- what the authoring API uses

    def info(self) -> Info:
        start = to_datetime(START)
        return Info(
            workflow_id="o-42",
            run_id="r-1",
            workflow_type="checkout",
            task_queue="default",
            namespace="n",
            attempt=1,
            first_execution_run_id="r-1",
            start_time=start,
            workflow_start_time=start,
            execution_timeout=None,
            run_timeout=timedelta(days=1),
            task_timeout=None,
            retry_policy=None,
        )

    def now_us(self) -> int:
        return START + round(self.loop.clock * 1_000_000)

    def worker_id(self) -> str:
        return "w-1"

    def is_replaying(self) -> bool:
        return self.replaying

    def patched(self, id: str, *, deprecated: bool) -> bool:
        return True

    def randomness(self, what: str) -> Randomness:
        return Randomness(1)

    def start_activity(self, call: ActivityCall[Any]) -> asyncio.Future[Any]:
        self.calls.append(call)
        future: asyncio.Future[Any] = self.loop.create_future()
        answer = self.answers.get(call.name, "done")
        if answer is None:
            self.open.append(future)
            return future
        self.loop.call_soon(self.answer, future, answer, call)
        return future

    def answer(
        self, future: asyncio.Future[Any], answer: Any, call: ActivityCall[Any] | ChildRequest
    ) -> None:
        if future.done():
            return
        if callable(answer) and not isinstance(answer, type):
            answer = answer(*call.args)
        if isinstance(answer, BaseException):
            future.set_exception(answer)
        else:
            future.set_result(answer)

    def others(self) -> FakeOthers:
        return FakeOthers(self)

    def sleep(self, duration: int, summary: str) -> asyncio.Future[None]:
        self.timers.append((duration / 1_000_000, summary))
        future: asyncio.Future[None] = self.loop.create_future()
        handle = self.loop.call_later(duration / 1_000_000, lambda: future.done() or future.set_result(None))
        future.add_done_callback(lambda _: handle.cancel())
        return future

    def wait_condition(self, condition: Callable[[], bool]) -> asyncio.Future[None]:
        future: asyncio.Future[None] = self.loop.create_future()
        if condition():
            future.set_result(None)
        else:
            self._conditions.append((condition, future))
        return future

    def receive(self, name: str, type_hint: Any) -> asyncio.Future[Any]:
        future: asyncio.Future[Any] = self.loop.create_future()
        if self.kept[name]:
            future.set_result(self.kept[name].popleft())
        else:
            self.receivers[name].append(future)
        return future

    def give_back(self, name: str, future: asyncio.Future[Any]) -> None:
        self.kept[name].appendleft(future.result())

    def handlers(self, kind: str) -> Mapping[str | None, Callable[..., Any]]:
        return self.set[kind]

    def all_handlers_finished(self) -> bool:
        return True

    def set_handler(
        self,
        kind: str,
        name: str | None,
        handler: Callable[..., Any] | None,
        validator: Callable[..., Any] | None = None,
    ) -> None:
        if handler is None:
            self.set[kind].pop(name, None)
        else:
            self.set[kind][name] = handler

    def set_current_details(self, details: str) -> None:
        self.details = details

    def current_details(self) -> str:
        return self.details

    def memo(self) -> Mapping[str, Any]:
        return {"tier": "gold"}

    def memo_value(self, key: str, type_hint: Any) -> Any:
        return self.memo()[key]

    def payload_converter(self) -> PayloadConverter:
        return default().payload_converter

    def instance(self) -> Any:
        return None

    def is_failure_exception(self, error: BaseException) -> bool:
        return False

    def continue_as_new(self, said: Any) -> object:
        return said

    def last_run(self) -> LastRun:
        return LastRun(WorkflowExecutionStarted(), default())

    def cancellation_reason(self) -> str | None:
        return None


class FakeOthers:
    """Children are answered as activities are; nobody else is there."""

    def __init__(self, runtime: FakeRuntime) -> None:
        self.runtime = runtime

    def run_child(self, request: ChildRequest) -> asyncio.Future[Any]:
        runtime = self.runtime
        runtime.children.append(request)
        future: asyncio.Future[Any] = runtime.loop.create_future()
        answer = runtime.answers.get(request.name, "done")
        runtime.loop.call_soon(runtime.answer, future, answer, request)
        return future

    async def start_child(self, request: ChildRequest) -> Any:
        return self.run_child(request)

    def signal(
        self, target: Target, name: str, args: Sequence[Any], types: Sequence[Any] | None
    ) -> asyncio.Future[None]:
        raise NotImplementedError

    def cancel(self, target: Target, reason: str) -> asyncio.Future[None]:
        raise NotImplementedError


_: type[Runtime] = FakeRuntime


class Run:
    """Runs workflow code on a loop with a runtime; `run.host` is the runtime."""

    def __init__(self) -> None:
        self.loop = Loop()
        self.host = self.loop.host

    def __call__(self, code: Coroutine[Any, Any, T]) -> T:
        return self.loop.run_until_complete(code)

    def close(self) -> None:
        self.loop.close()
