"""What the authoring API needs from whoever runs the code.

The functions in `durable.workflow` know nothing about storage, replay or workers: they find the *runtime* of the
workflow they are called from and ask it. The runtime is reached through the running event loop, so there is no global
state, and a call from anywhere else is found out at once.
"""

from __future__ import annotations

import asyncio
from asyncio import events
from collections.abc import Awaitable, Callable, Mapping, Sequence
from random import Random
from typing import Any, Protocol
from uuid import UUID

from msgspec import Struct

from durable._metering import MetricMeter
from durable.activity._call import ActivityCall
from durable.common import SearchAttributeUpdate
from durable.converter import PayloadConverter
from durable.exceptions import NotInWorkflowError
from durable.workflow._definition import WorkflowDefinition, WorkflowOptions
from durable.workflow._info import Info


class Randomness(Protocol):
    """The chance of one run: streams of numbers, one per use, all made from one seed in its history."""

    @property
    def seed(self) -> int:
        """The number that all streams are made from."""
        ...

    def random(self) -> Random:
        """Return the stream of the workflow's author, the same object each time."""
        ...

    def new_random(self) -> Random:
        """Return another stream at each call."""
        ...

    def on_reseed(self, callback: Callable[[int], None]) -> None:
        """Call back with the seed whenever the run gets another one."""
        ...

    def uuid4(self) -> UUID:
        """Return a UUID from a stream of its own, so that `random()` elsewhere does not shift it."""
        ...

    def uuid7(self, now: int) -> UUID:
        """Return a UUID that begins with an instant, in microseconds, cut to the millisecond."""
        ...


class LastRun(Protocol):
    """What the runs of the chain before this one left it."""

    @property
    def has_result(self) -> bool:
        """Whether one of them returned."""
        ...

    @property
    def has_failure(self) -> bool:
        """Whether the last one failed."""
        ...

    def result(self, type_hint: Any) -> Any:
        """Return what the last one that returned has returned; None when none has."""
        ...

    def failure(self) -> BaseException | None:
        """Return what the last one failed with; None when it did not fail."""
        ...


class ChildRequest(Struct, frozen=True):
    """A child workflow that is asked for.

    Attributes:
        name: The type of the workflow.
        args: Its arguments by position.
        options: How it is to be run.
        definition: Its definition; None when it was asked for by name.
        result_type: What its result is decoded as.
    """

    name: str
    args: tuple[Any, ...]
    options: WorkflowOptions
    definition: WorkflowDefinition | None
    result_type: Any


class Target(Struct, frozen=True):
    """A workflow that is to be told something: a certain run of it, any run of one chain, or whichever is open."""

    workflow_id: str
    run_id: str = ""
    first_run_id: str = ""


class Others(Protocol):
    """What one run does to other workflows."""

    def run_child(self, request: ChildRequest) -> Awaitable[Any]:
        """Ask for a child; what is awaited gets its result, its failure, or why it is not there."""
        ...

    def start_child(self, request: ChildRequest) -> Awaitable[Any]:
        """Ask for a child; what is awaited gets its `ChildWorkflowHandle`, once the child is there."""
        ...

    def signal(
        self, target: Target, name: str, args: Sequence[Any], types: Sequence[Any] | None
    ) -> Awaitable[None]:
        """Send a signal; what is awaited ends once it is in an inbox, or there was nobody to take it."""
        ...

    def cancel(self, target: Target, reason: str) -> asyncio.Future[None]:
        """Send a cancel request; the future is done once it is in an inbox, or there was nobody to take it."""
        ...


class Runtime(Protocol):
    """One run, as its code sees it. Every method is deterministic: a replay gets the same answers."""

    def info(self) -> Info:
        """Return what is known about this run at this point of its history."""
        ...

    def now_us(self) -> int:
        """Return the time of the present workflow task, in microseconds since the epoch."""
        ...

    def metric_meter(self) -> MetricMeter:
        """Return a meter that records nothing while what runs now is replayed."""
        ...

    def worker_id(self) -> str:
        """Return the worker that runs the code now, for logs; "" where none does."""
        ...

    def is_replaying(self) -> bool:
        """Whether what runs now has run before, so that logs and metrics should stay silent."""
        ...

    def patched(self, id: str, *, deprecated: bool) -> bool:
        """Whether the run takes the way of a patch, which a marker in its history says ever after."""
        ...

    def randomness(self, what: str) -> Randomness:
        """Return the run's random numbers, for `what` was called, which the error names in read-only code."""
        ...

    def start_activity(self, call: ActivityCall[Any]) -> asyncio.Future[Any]:
        """Schedule an activity; the future gets its decoded result or its failure."""
        ...

    def start_local_activity(self, call: ActivityCall[Any]) -> asyncio.Future[Any]:
        """Schedule an activity that runs in the process of this run's worker."""
        ...

    def others(self) -> Others:
        """Return what the run can do to other workflows."""
        ...

    def sleep(self, duration: int, summary: str) -> asyncio.Future[None]:
        """Start a durable timer of `duration` microseconds, always a timer, even for zero."""
        ...

    def wait_condition(self, condition: Callable[[], bool]) -> asyncio.Future[None]:
        """Return a future that is done once `condition()` is true at the end of a pass."""
        ...

    def receive(self, name: str, type_hint: Any) -> asyncio.Future[Any]:
        """Return a future for the next value of signal `name` that no handler and no earlier receiver has taken."""
        ...

    def give_back(self, name: str, future: asyncio.Future[Any]) -> None:
        """Put the value of a `receive` future back as the next one: its receiver was cancelled meanwhile."""
        ...

    def handlers(self, kind: str) -> Mapping[str | None, Callable[..., Any]]:
        """Return the handlers of a kind ("signal", "query", "update") by name; None is the dynamic one."""
        ...

    def set_handler(
        self,
        kind: str,
        name: str | None,
        handler: Callable[..., Any] | None,
        validator: Callable[..., Any] | None = None,
    ) -> None:
        """Set or remove a handler, of an update with its validator. Signals that came before it are delivered in order.

        A handler's signature and annotations say what its arguments are decoded as. The dynamic one, of name None, is
        called with the message's name and the list of its arguments, each decoded without a type.
        """
        ...

    def all_handlers_finished(self) -> bool:
        """Whether no handler of a signal or an update is under way."""
        ...

    def set_current_details(self, details: str) -> None:
        """Set the text that `describe()` shows."""
        ...

    def current_details(self) -> str:
        """Return what `set_current_details` set last."""
        ...

    def memo(self) -> Mapping[str, Any]:
        """Return the run's memo, decoded."""
        ...

    def memo_value(self, key: str, type_hint: Any) -> Any:
        """Return one entry of the memo as a type; `KeyError` when there is none."""
        ...

    def upsert_memo(self, updates: Mapping[str, Any]) -> None:
        """Change entries of the memo; None removes one."""
        ...

    def upsert_search_attributes(self, updates: Sequence[SearchAttributeUpdate[Any]]) -> None:
        """Change search attributes, in order."""
        ...

    def payload_converter(self) -> PayloadConverter:
        """Return what turns the run's values into payloads and back."""
        ...

    def instance(self) -> Any:
        """Return the object of a class-style workflow; None in function style."""
        ...

    def is_failure_exception(self, error: BaseException) -> bool:
        """Whether `error`, leaving the workflow, fails it rather than its task."""
        ...

    def continue_as_new(self, said: Any) -> object:
        """Return the command that ends the run as it was `said`; whoever asked raises it in a `ContinueAsNewError`."""
        ...

    def last_run(self) -> LastRun:
        """Return what the runs before this one left it."""
        ...

    def cancellation_reason(self) -> str | None:
        """Return why cancellation was requested from outside, None as long as it was not."""
        ...


def find() -> Runtime | None:
    """Return the runtime of the workflow code that calls, or None outside of workflow code."""
    return getattr(events._get_running_loop(), "host", None)


def current(what: str) -> Runtime:
    """Return the runtime of the workflow code that calls.

    Args:
        what: What was called, for the error's text.

    Raises:
        NotInWorkflowError: The caller is not workflow code.
    """
    runtime = find()
    if runtime is None:
        raise NotInWorkflowError(
            f"{what} belongs into workflow code: call it from a function under @workflow.defn, or from what that "
            "function calls, while a worker or a test environment runs it"
        )
    return runtime
