"""A workflow instance: one run's code, alive on its own event loop.

Inputs of a task go in, commands come out, and nothing else does either. The instance does not know whether a task
happens for the first time or is replayed, but for silencing logs: the same inputs give the same commands. It knows user
code and history; it knows no storage, no worker and no clock.

The parts of a task, in order: all inputs are applied (handlers of signals become tasks in the order of the log, results
complete what awaits them, a cancel request comes last), then the event loop runs until nothing is ready, then wait
conditions are looked at, and so on until nothing moves. See `_turns` for when that is.
"""

from __future__ import annotations

import asyncio
import builtins
import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from types import MappingProxyType
from typing import Any, NoReturn
from zlib import crc32

from durable._replay._awaitables import NumberedTask, TimerHandle
from durable._replay._continue import LastRun, continued
from durable._replay._endings import end_of, failure
from durable._replay._facts import counted_to, info_of
from durable._replay._faults import fails_workflow
from durable._replay._found import Found
from durable._replay._handlers import Handler, UnderWay, bound_handlers, for_name, hints_of
from durable._replay._loop import POISONED, DeterministicLoop
from durable._replay._others import CommandBook, OtherWorkflows
from durable._replay._queries import UnknownQueryError, answer
from durable._replay._randomness import Randomness
from durable._replay._sources import caller
from durable._replay._teardown import evict
from durable._replay._turns import SpinError as TurnSpin
from durable._replay._turns import TurnPoisoned, Turns
from durable._replay._updates import READ_ONLY, Updates
from durable._replay.machines._activity import ActivityMachine
from durable._replay.machines._machine import Answered
from durable._replay.machines._signal import SignalBuffer
from durable._replay.machines._timer import TimerMachine, wake
from durable.activity._call import ActivityCall
from durable.common import SearchAttributeUpdate
from durable.converter import DataConverter, PayloadConverter
from durable.exceptions import (
    ConversionError,
    NondeterminismError,
    ReadOnlyContextError,
    SpinError,
    WorkflowQueryFailedError,
    WorkflowTaskError,
)
from durable.history import (
    ActivityTaskCanceled,
    ActivityTaskCompleted,
    ActivityTaskFailed,
    ActivityTaskTimedOut,
    CommandEvent,
    Event,
    Failure,
    Input,
    OperationInput,
    Payload,
    Payloads,
    TimerFired,
    WorkflowExecutionCancelRequested,
    WorkflowExecutionSignaled,
    WorkflowExecutionStarted,
    WorkflowExecutionUpdateAccepted,
    first_task_time,
)
from durable.workflow._continue import Continuation, ContinueAsNewError
from durable.workflow._definition import WorkflowDefinition
from durable.workflow._info import Info

Note = Callable[[str, BaseException | None], None]


@dataclass(frozen=True, slots=True)
class Tried:
    """What became of a task with unread updates.

    Attributes:
        commands: As for any task.
        rejected: The updates that the code refused, by the id of their message.
        moved: Whether the code went on at all.
    """

    commands: list[CommandEvent]
    rejected: Mapping[str, Failure]
    moved: bool


class Instance:
    """One run's code. It implements what its event loop and the authoring API ask for."""

    __slots__ = (
        "_cancel_reason",
        "_closing",
        "_commands",
        "_conditions",
        "_converter",
        "_created_at",
        "_details",
        "_found",
        "_handlers",
        "_info",
        "_length",
        "_loop_timers",
        "_main",
        "_next_id",
        "_note",
        "_now",
        "_object",
        "_operations",
        "_origin",
        "_others",
        "_random",
        "_read_only",
        "_replaying",
        "_silent",
        "_size",
        "_started",
        "_task_error",
        "_under_way",
        "_updates",
        "definition",
        "loop",
        "namespace",
        "run_id",
        "signals",
        "sources",
    )

    def __init__(
        self,
        definition: WorkflowDefinition,
        run_id: str,
        converter: DataConverter,
        *,
        namespace: str,
        note: Note,
        trace: bool = False,
        silent: bool = False,
    ) -> None:
        """Prepare a run's code; nothing of it runs before the first task.

        Args:
            definition: The code.
            run_id: The run; it salts hashes and nothing else.
            converter: How values are stored.
            namespace: What `info().namespace` shows.
            note: Where remarks go that must not fail anything.
            trace: Whether to remember which source line asked for each command.
            silent: Whether it logs nothing but in queries, for who only looks: the owner logs what happens.
        """
        self.definition = definition
        self.run_id = run_id
        self.namespace = namespace
        # Every method of an event loop is there: those that are refused are set when the class is made.
        self.loop = DeterministicLoop(self, salt=crc32(run_id.encode()))  # type: ignore[abstract]
        self.signals = SignalBuffer(converter)
        self.sources: dict[int, str] | None = {} if trace else None
        self._converter = converter
        self._note = note
        self._commands: dict[int, CommandEvent] = {}
        self._operations: dict[int, Answered] = {}
        self._loop_timers: dict[int, TimerMachine] = {}
        self._conditions: list[tuple[Callable[[], bool], asyncio.Future[None]]] = []
        self._handlers: dict[str, dict[str | None, Handler]] | None = None
        self._next_id = 0
        self._now = 0
        self._origin: int | None = None
        self._replaying = False
        self._silent = silent
        self._read_only = False
        self._cancel_reason: str | None = None
        self._closing: CommandEvent | None = None
        self._task_error: BaseException | None = None
        self._main: NumberedTask[Any] | None = None
        self._object: Any = None
        self._info: Info | None = None
        self._others: OtherWorkflows | None = None
        self._details = ""
        self._under_way = UnderWay(definition)
        self._updates = Updates(self, converter, self._under_way)

    # ------------------------------------------------------------------ the core: a task in, commands out

    def activate(
        self, turns: Turns, task: Sequence[Event], *, replaying: bool, size: int = 0
    ) -> list[CommandEvent]:
        """Run one workflow task and return its commands, in order; the last one may close the run.

        Args:
            turns: The batch of turns this one belongs to.
            task: The inputs of the task, in log order, committed.
            replaying: Whether the task has run before.
            size: Bytes of the history as far as the task sees it, see `counted_to`.

        Raises:
            WorkflowTaskError: The code is at fault; the instance is to be thrown away, nothing of it committed.
            BaseException: Whatever else the code raised that does not fail a workflow: likewise.
        """
        loop = self.loop
        last = task[-1]
        self._length, self._size = counted_to(task), size
        self._now = now = last.time
        if self._origin is None:
            self._origin = self._now = now = first_task_time(task)
        loop.now_ms = (now - self._origin) // 1000
        self._replaying = replaying
        self._commands = {}
        self.signals.begin_turn()
        try:
            turns.run(loop, self._apply, task)
        except TurnPoisoned as poisoned:
            raise poisoned.cause from None
        except TurnSpin as spin:
            raise SpinError(str(spin)) from None
        if self._task_error is not None:
            raise self._task_error
        self._look_at_main()
        commands = list(self._commands.values())
        if self._closing is not None:
            commands.append(self._closing)
        return commands

    def attempt(self, turns: Turns, task: Sequence[Event], *, size: int = 0) -> Tried:
        """Run a task with updates that are unread, and may be refused; as `activate`, and nothing of it is committed.

        When all of its updates were refused the task does not count: then the instance is to be thrown away if the code
        moved, and is as before if it did not. It is to be thrown away, too, when the task is not committed in the end.
        """
        loop = self.loop
        progress, kept, now, now_ms = loop.progress, loop.kept, self._now, loop.now_ms
        self._updates.trying(True)
        try:
            commands = self.activate(turns, task, replaying=False, size=size)
        finally:
            self._updates.trying(False)
        moved = loop.progress != progress or kept is not None or loop.kept is not None
        if not moved:
            self._now, loop.now_ms = now, now_ms
        return Tried(commands, self._updates.rejected, moved)

    def _apply(self, task: Sequence[Event]) -> None:
        cancelled: str | None = None
        for event in task:
            data = event.data
            if isinstance(data, _ANSWERS):
                self._answer(data.id, data)
            elif isinstance(data, WorkflowExecutionSignaled):
                self._signaled(data)
            elif isinstance(data, WorkflowExecutionStarted):
                self._prepare(data, event)
            elif isinstance(data, WorkflowExecutionCancelRequested):
                cancelled = data.reason if cancelled is None else cancelled
            elif isinstance(data, WorkflowExecutionUpdateAccepted):
                self._updates.take(data, first=self._main is None)
        main = self._main
        if main is None:
            self._main = main = self._begin()
            self._updates.take_late()
            if cancelled is not None:
                # Behind the first step: `run` shall be able to catch it.
                self.loop.call_soon(main.cancel)
        elif cancelled is not None and self._cancel_reason is None:
            main.cancel()
        if self._cancel_reason is None:
            self._cancel_reason = cancelled

    def _answer(self, id: int, event: Input) -> None:
        machine = self._operations.pop(id, None)
        if machine is None:
            raise NondeterminismError(
                f"history has {type(event).__name__} for command {id}, which the code never asked for"
            )
        self.loop.progress += 1
        if machine.close(event):
            self._operations[id] = machine

    def _prepare(self, started: WorkflowExecutionStarted, event: Event) -> None:
        """Build what stands before the first line: random numbers, and the object of a class."""
        self._started = started
        self._found = Found(started)
        self._created_at = event.time
        self._random = Randomness(started.seed)
        self._converter = self._converter.of_workflow(self.namespace, started.workflow_id)
        self.signals.converter = self._updates.converter = self._converter
        definition = self.definition
        if definition.cls is not None:
            self._object = (
                definition.cls(*self._arguments()) if definition.init_takes_args else definition.cls()
            )

    def _arguments(self) -> list[Any]:
        definition = self.definition
        values = self.decode_arguments(
            self._started.input, definition.arg_types, f"arguments of workflow {definition.name}"
        )
        definition.parameters.bind(tuple(values), {})
        return values

    def decode_arguments(self, payloads: Payloads, hints: Sequence[Any] | None, name: str) -> list[Any]:
        """See `UpdateHost`."""
        return self._converter.from_payloads(
            payloads, None if hints is None else hints[: len(payloads)], path=name
        )

    def _begin(self) -> NumberedTask[Any]:
        definition = self.definition
        arguments = self._arguments()
        if definition.cls is not None:
            arguments.insert(0, self._object)
        return self.loop.create_task(definition.run_fn(*arguments), name="workflow")

    def _look_at_main(self) -> None:
        """Turn the end of the workflow function into the command that closes the run."""
        main = self._main
        if main is not None and main.done() and self._closing is None:
            self._closing = end_of(main, self._converter, self._failure_of, self.definition.name)

    def _failure_of(self, error: BaseException) -> CommandEvent:
        """See `failure`."""
        return failure(error, self._converter, self._cancel_reason is not None, self.is_failure_exception)

    # ------------------------------------------------------------------ signals, handlers and queries

    def _signaled(self, signal: WorkflowExecutionSignaled) -> None:
        handlers = self.handlers("signal")
        handler = handlers.get(signal.name) or for_name(handlers.get(None), signal.name)
        if handler is not None:
            self._start_handler(handler, signal)
            return
        try:
            self.signals.deliver(signal)
        except ConversionError as error:
            self._note(f"signal {signal.name!r} was dropped: its argument cannot be read", error)

    def _start_handler(self, handler: Handler, signal: WorkflowExecutionSignaled) -> None:
        try:
            arguments = self.decode_arguments(
                signal.input, hints_of(handler), f"arguments of signal {signal.name}"
            )
            inspect.signature(handler).bind(*arguments)
        except (ConversionError, TypeError) as error:
            self._note(f"signal {signal.name!r} was dropped: its arguments do not fit its handler", error)
            return
        begun = self._under_way.begin("signal", signal.name)
        _ = self.loop.create_task(self._run_handler(handler, arguments, begun), name=f"signal {signal.name}")

    async def _run_handler(self, handler: Handler, arguments: list[Any], begun: int) -> None:
        try:
            result = handler(*arguments)
            if inspect.isawaitable(result):
                await result
        except (Exception, ContinueAsNewError) as error:
            # A failure in a handler fails the workflow, anything else its task, as in the workflow function itself.
            try:
                failure = self._failure_of(error)
            except BaseException as fault:
                self._task_error = self._task_error or fault
            else:
                self._closing = self._closing or failure
        finally:
            self._under_way.end(begun)

    def query(self, turns: Turns, name: str, input: Payloads) -> Payload:
        """Answer a query from the state the code is in, changing nothing; see `spoiled`.

        Raises:
            WorkflowQueryFailedError: There is no such query, its arguments do not fit, or its handler raised.
        """
        self._read_only = True
        try:
            return turns.read(self.loop, partial(answer, self, name, input, self._converter))
        except UnknownQueryError as error:
            raise WorkflowQueryFailedError(str(error)) from None
        except Exception as error:
            raise WorkflowQueryFailedError(
                f"query {name!r} failed: {type(error).__name__}: {error}"
            ) from error
        finally:
            self._read_only = False

    @property
    def spoiled(self) -> bool:
        """Whether it can take no more tasks: a turn or a query has left it in a state that no log describes."""
        return self.loop.state == POISONED

    # ------------------------------------------------------------------ what the event loop asks for

    def _issue(self, command: CommandEvent) -> None:
        self.loop.progress += 1
        self._commands[command.id] = command
        if self.sources is not None and (where := caller()):
            self.sources[command.id] = where

    def issue(self, make: Callable[[int], CommandEvent]) -> None:
        """See `UpdateHost`."""
        self._issue(make(self._new_id()))

    def read_only(self, on: bool) -> None:
        """See `UpdateHost`."""
        self._read_only = on

    def fault(self, error: BaseException) -> None:
        """See `UpdateHost`."""
        self._task_error = self._task_error or error

    def fails_workflow(self, error: BaseException) -> bool:
        """See `UpdateHost`."""
        return fails_workflow(error, self.definition.failure_exception_types)

    def _refuse(self, text: str) -> NoReturn:
        """Refuse a change where none may be made; a validator that swallows this has failed its task all the same."""
        error = ReadOnlyContextError(text)
        if self._updates.validating:
            self.fault(error)
        raise error

    def _new_id(self) -> int:
        if self._read_only:
            self._refuse(READ_ONLY)
        self._next_id += 1
        return self._next_id

    def _cancel(self, id: int, command: CommandEvent | None) -> bool:
        """Write down that a command is no longer wanted; one of this very task simply never was, which is told."""
        if self._read_only:
            self.loop.state = POISONED
            raise ReadOnlyContextError("a query must not change the workflow: nothing can be cancelled here")
        if self._commands.pop(id, None) is not None:
            del self._operations[id]
            return True
        if command is not None:
            # Commands are unique by number; the cancel of one is kept beside it under the negative.
            self._commands[-id] = command
        return False

    def start_timer(self, when_ms: int, handle: TimerHandle) -> None:
        """Arm a timer that asyncio or anyio asked for."""
        id = self._new_id()
        machine = TimerMachine(id, lambda: self._fire(id, handle))
        handle_id = builtins.id(handle)
        self._loop_timers[handle_id] = machine
        self._operations[id] = machine
        self._issue(machine.start((when_ms - self.loop.now_ms) * 1000))

    def _fire(self, id: int, handle: TimerHandle) -> None:
        self._loop_timers.pop(builtins.id(handle), None)
        self.loop.fire(handle)

    def cancel_timer(self, handle: TimerHandle) -> None:
        """Forget a timer that asyncio or anyio no longer needs."""
        machine = self._loop_timers.pop(id(handle))
        command = machine.cancel()
        self._operations_without(machine.id, command)

    def _operations_without(self, id: int, command: CommandEvent) -> None:
        unwritten = id in self._commands
        self._cancel(id, command)
        if not unwritten:
            self._operations.pop(id, None)

    def drained(self) -> bool:
        """Complete every wait condition that holds now; whether there was one."""
        if not self._conditions:
            return False
        held = [(fn, future) for fn, future in self._conditions if not future.done() and fn()]
        if held:
            for _, future in held:
                if not future.done():
                    future.set_result(None)
            self.loop.progress += 1
        self._conditions = [(fn, future) for fn, future in self._conditions if not future.done()]
        return bool(held)

    def waiting(self) -> bool:
        """Whether something is under way that will bring another task by itself."""
        return bool(self._operations)

    def report(self, message: str, exception: BaseException | None) -> None:
        """Fail the task over a defect that no awaiting code will see."""
        self._task_error = self._task_error or exception or WorkflowTaskError(message)

    def note(self, message: str, exception: BaseException | None) -> None:
        """Pass a remark on."""
        self._note(message, exception)

    # ------------------------------------------------------------------ what the authoring API asks for

    def info(self) -> Info:
        """See `Runtime.info`."""
        if self._info is None:
            assert self._origin is not None
            times = self._created_at, self._origin
            self._info = info_of(
                self._started,
                self._found,
                self.run_id,
                self.namespace,
                times,
                lambda: (self._length, self._size),
            )
        return self._info

    def now_us(self) -> int:
        """See `Runtime.now_us`."""
        return self._now

    def is_replaying(self) -> bool:
        """See `Runtime.is_replaying`. Queries are always live."""
        return (self._replaying or self._silent) and not self._read_only

    def randomness(self, what: str) -> Randomness:
        """See `Runtime.randomness`."""
        if self._read_only:
            self._refuse(
                f"a query or an update's validator must not change the workflow, and {what} does: it draws a number"
            )
        return self._random

    def start_activity(self, call: ActivityCall[Any]) -> asyncio.Future[Any]:
        """See `Runtime.start_activity`."""
        id = self._new_id()
        machine = ActivityMachine(id, call, self._converter)
        command = machine.start(self._started, self.namespace, check=not self._replaying)
        machine.operation = operation = self.loop.operation(id, partial(self._cancel_activity, machine))
        self._operations[id] = machine
        self._issue(command)
        return operation

    def _cancel_activity(self, machine: ActivityMachine) -> bool:
        """Take an await's cancel; True when the await goes on until the activity has ended."""
        if machine.id in self._commands:
            self._cancel(machine.id, None)
            return False
        command = machine.cancel()
        if command is not None:
            self.loop.progress += 1
            self._cancel(machine.id, command)
        return machine.cancellation.name == "WAIT_CANCELLATION_COMPLETED"

    def others(self) -> OtherWorkflows:
        """See `Runtime.others`."""
        if self._others is None:
            book = CommandBook(self._operations, self._new_id, self._issue, self._cancel)
            self._others = OtherWorkflows(self, self._started, self._converter, self._random, book)
        return self._others

    def sleep(self, duration: int, summary: str) -> asyncio.Future[None]:
        """See `Runtime.sleep`."""
        id = self._new_id()
        operation = self.loop.operation(id, None)
        machine = TimerMachine(id, wake(operation))

        def on_cancel() -> bool:
            self._operations_without(id, machine.cancel())
            self.loop.progress += 1
            return False

        operation.on_cancel = on_cancel
        self._operations[id] = machine
        self._issue(machine.start(duration, summary))
        return operation

    def wait_condition(self, condition: Callable[[], bool]) -> asyncio.Future[None]:
        """See `Runtime.wait_condition`."""
        if self._read_only:
            self._refuse(READ_ONLY)
        future = self.loop.create_future()
        if condition():
            future.set_result(None)
        else:
            self._conditions.append((condition, future))
        return future

    def receive(self, name: str, type_hint: Any) -> asyncio.Future[Any]:
        """See `Runtime.receive`."""
        future = self.loop.create_future()
        while True:
            try:
                self.signals.receive(name, type_hint, future)
            except ConversionError as error:
                self._note(f"signal {name!r} was dropped: its argument cannot be read", error)
            else:
                return future

    def give_back(self, name: str, future: asyncio.Future[Any]) -> None:
        """See `Runtime.give_back`."""
        self.signals.give_back(name, future)

    def handlers(self, kind: str) -> Mapping[str | None, Handler]:
        """See `Runtime.handlers`."""
        if self._handlers is None:
            self._handlers = bound_handlers(self.definition, self._object)
        return MappingProxyType(self._handlers[kind])

    def set_handler(
        self, kind: str, name: str | None, handler: Handler | None, validator: Handler | None = None
    ) -> None:
        """See `Runtime.set_handler`."""
        if self._read_only:
            self._refuse("a query or an update's validator must not change the workflow's handlers")
        self.handlers(kind)
        assert self._handlers is not None
        if kind == "update":
            self._handlers["validator"].pop(name, None)
            if validator is not None:
                self._handlers["validator"][name] = validator
        if handler is None:
            self._handlers[kind].pop(name, None)
            return
        self._handlers[kind][name] = handler
        if kind == "signal":
            for signal in list(self.signals.take(name)):
                own = handler if name is not None else for_name(handler, signal.name)
                assert own is not None
                self._start_handler(own, signal)

    def all_handlers_finished(self) -> bool:
        """See `Runtime.all_handlers_finished`."""
        return self._under_way.none

    def set_current_details(self, details: str) -> None:
        """See `Runtime.set_current_details`."""
        if self._read_only:
            raise ReadOnlyContextError("a query must not change the workflow's details")
        self._details = details

    def current_details(self) -> str:
        """See `Runtime.current_details`."""
        return self._details

    def memo(self) -> Mapping[str, Any]:
        """See `Runtime.memo`."""
        convert = self._converter.from_payload
        return {key: convert(value, path=f"memo {key}") for key, value in self._found.memo.items()}

    def memo_value(self, key: str, type_hint: Any) -> Any:
        """See `Runtime.memo_value`."""
        return self._converter.from_payload(self._found.memo[key], type_hint, path=f"memo {key}")

    def upsert_memo(self, updates: Mapping[str, Any]) -> None:
        """See `Runtime.upsert_memo`."""
        self._issue(self._found.modify(self._new_id(), updates, self._converter))
        self._info = None

    def upsert_search_attributes(self, updates: Sequence[SearchAttributeUpdate[Any]]) -> None:
        """See `Runtime.upsert_search_attributes`."""
        self._issue(self._found.upsert(self._new_id(), updates))
        self._info = None

    def payload_converter(self) -> PayloadConverter:
        """See `Runtime.payload_converter`."""
        return self._converter.payload_converter

    def instance(self) -> Any:
        """See `Runtime.instance`."""
        return self._object

    def is_failure_exception(self, error: BaseException) -> bool:
        """See `Runtime.is_failure_exception`."""
        return fails_workflow(error, self.definition.failure_exception_types)

    def continue_as_new(self, said: Continuation) -> CommandEvent:
        """See `Runtime.continue_as_new`."""
        if self._read_only:
            raise ReadOnlyContextError("a query must not change the workflow: it cannot continue as new")
        return continued(said, self.definition, self._converter)

    def last_run(self) -> LastRun:
        """See `Runtime.last_run`."""
        return LastRun(self._started, self._converter)

    def cancellation_reason(self) -> str | None:
        """See `Runtime.cancellation_reason`."""
        return self._cancel_reason

    # ------------------------------------------------------------------ the end

    @property
    def closing(self) -> bool:
        """Whether the code has come to its end."""
        return self._closing is not None

    @property
    def unfinished(self) -> str:
        """The handlers that are under way and should have finished, for people; "" if there are none."""
        return self._under_way.to_warn_of()

    @property
    def untaken(self) -> list[WorkflowExecutionSignaled]:
        """The signals that no handler and no receiver has taken."""
        return self.signals.untaken()

    def evict(self) -> int:
        """Take the code down without running any of it elsewhere or later; return how many tasks resisted."""
        return evict(self.loop)


_ANSWERS = (
    ActivityTaskCompleted,
    ActivityTaskFailed,
    ActivityTaskTimedOut,
    ActivityTaskCanceled,
    TimerFired,
    OperationInput,
)
"""Inputs that answer a command."""
