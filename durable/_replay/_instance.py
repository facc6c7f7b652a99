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
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar
from zlib import crc32

from durable._replay._activities import LocalActivities, OpenIds, Serves, cancel_activity, not_served
from durable._replay._awaitables import NumberedTask
from durable._replay._commands import Commands
from durable._replay._endings import end_of, failure
from durable._replay._facts import counted_to
from durable._replay._faults import fails_workflow
from durable._replay._found import Found
from durable._replay._guard import Guard
from durable._replay._handlers import Handler
from durable._replay._loop import POISONED, DeterministicLoop
from durable._replay._messages import Messages, Note
from durable._replay._others import OtherWorkflows
from durable._replay._own_waiting import OwnWaiting
from durable._replay._patches import NONE, Activation, Patches
from durable._replay._queries import NO_HEADERS, Ask, Headers, UnknownQueryError, answer, call_handler
from durable._replay._randomness import Randomness
from durable._replay._teardown import evict
from durable._replay._turns import SpinError as TurnSpin
from durable._replay._turns import TurnPoisoned, Turns
from durable._replay._updates import Updates
from durable._replay.machines._activity import ActivityMachine
from durable._replay.machines._machine import Answered
from durable.activity._call import ActivityCall
from durable.common import RawValue
from durable.converter import DataConverter
from durable.exceptions import (
    SpinError,
    WorkflowQueryFailedError,
    WorkflowTaskError,
)
from durable.history import (
    HANDLERS_END,
    MESSAGES_FIRST,
    TARGET_CHANGED,
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
    WorkflowExecutionReset,
    WorkflowExecutionSignaled,
    WorkflowExecutionStarted,
    WorkflowExecutionUpdateAccepted,
    first_task_time,
)
from durable.workflow._definition import WorkflowDefinition
from durable.workflow._info import Info


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


class Instance(OwnWaiting):
    """One run's code. It implements what its event loop and the authoring API ask for.

    Attributes:
        closing: The command that closes the run, once its code has come to its end.
        rejected: See `UpdateHost`.
        version: That of the workers that run the present task.
        own_version: That of the worker it is in.
        guard: What watches the code, if anything does.
    """

    __slots__ = (
        "_activates",
        "_cancel_reason",
        "_commands",
        "_converter",
        "_ids",
        "_length",
        "_locals",
        "_main",
        "_marked",
        "_messages",
        "_note",
        "_now",
        "_object",
        "_origin",
        "_others",
        "_patches",
        "_random",
        "_replaying",
        "_serves",
        "_silent",
        "_size",
        "_started",
        "_target_changed",
        "_task_error",
        "_updates",
        "children_of",
        "closing",
        "definition",
        "guard",
        "loop",
        "namespace",
        "own_version",
        "rejected",
        "run_id",
        "version",
    )

    COMMANDS: ClassVar[type[Commands]] = Commands

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
        activates: Activation | None = None,
        serves: Serves | None = None,
    ) -> None:
        """Prepare a run's code; nothing of it runs before the first task.

        Args:
            definition: The code.
            run_id: The run; it salts hashes and names children, and nothing else.
            converter: How values are stored.
            namespace: What `info().namespace` shows.
            note: Where remarks go that must not fail anything.
            trace: Whether to remember which source line asked for each command.
            silent: Whether it logs nothing but in queries, for who only looks: the owner logs what happens.
            activates: Whether to turn a patch on that is asked for the first time, if not always.
            serves: Which activities run here, for local ones; None for whoever runs none.
        """
        self.definition = definition
        self.run_id = self.children_of = run_id
        self.namespace = namespace
        # Every method of an event loop is there: those that are refused are set when the class is made.
        self.loop = DeterministicLoop(self, salt=crc32(run_id.encode()))  # type: ignore[abstract]
        self._converter = converter
        self._note = note
        self._commands = self.COMMANDS(self.loop, trace=trace)
        self._timers = None
        self._conditions = None
        self._activates = activates
        self._patches: Patches | None = None
        self._now = 0
        self._origin: int | None = None
        self._replaying = False
        self._silent = silent
        self._cancel_reason: str | None = None
        self.closing: CommandEvent | None = None
        self._task_error: BaseException | None = None
        self._main: NumberedTask[Any] | None = None
        self._object: Any = None
        self._info: Info | None = None
        self._others: OtherWorkflows | None = None
        self._serves = serves
        self._ids: OpenIds | None = None
        self._locals: LocalActivities | None = None
        self._details = ""
        self._messages: Messages | None = None
        self._updates: Updates | None = None
        self.rejected: dict[str, Failure] | None = None
        self.version = self.own_version = ""
        self.guard: Guard | None = None
        self._target_changed = False

    # ------------------------------------------------------------------ the core: a task in, commands out

    def activate(
        self,
        turns: Turns,
        task: Sequence[Event],
        *,
        replaying: bool,
        size: int = 0,
        patches: frozenset[str] = NONE,
    ) -> list[CommandEvent]:
        """Run one workflow task and return its commands, in order; the last one may close the run.

        Args:
            turns: The batch of turns this one belongs to.
            task: The inputs of the task, in log order, committed.
            replaying: Whether the task has run before.
            size: Bytes of the history as far as the task sees it, see `counted_to`.
            patches: Those whose markers the task has recorded.

        Raises:
            WorkflowTaskError: The code is at fault; the instance is to be thrown away, nothing of it committed.
            BaseException: Whatever else the code raised that does not fail a workflow: likewise.
        """
        loop = self.loop
        last = task[-1]
        self._length, self._size = counted_to(task), size
        assert isinstance(last.data, Input)
        self._target_changed = last.data.flags & TARGET_CHANGED != 0
        if not replaying:
            self.version = self.own_version
        self._now = now = last.time
        if self._origin is None:
            self._origin = self._now = now = first_task_time(task)
        loop.now_ms = (now - self._origin) // 1000
        self._replaying = replaying
        self._marked = patches
        if patches:
            self._own_patches().known |= patches
        self._commands.wanted = {}
        if self._messages is not None:
            self._messages.buffer.begin_turn()
        try:
            if self.guard is None:
                turns.run(loop, self._apply, task)
            else:
                self.guard.run(turns, self.definition.name, loop, self._apply, task)
        except TurnPoisoned as poisoned:
            raise poisoned.cause from None
        except TurnSpin as spin:
            raise SpinError(str(spin)) from None
        if self._task_error is not None:
            raise self._task_error
        if self._main is not None and self._main.done():
            self._look_at_main()
        commands = [*self._commands.wanted.values()]
        if self.closing is not None:
            commands.append(self.closing)
        return commands

    def attempt(self, turns: Turns, task: Sequence[Event], *, size: int = 0) -> Tried:
        """Run a task with updates that are unread, and may be refused; as `activate`, and nothing of it is committed.

        When all of its updates were refused the task does not count: then the instance is to be thrown away if the code
        moved, and is as before if it did not. It is to be thrown away, too, when the task is not committed in the end.
        """
        loop = self.loop
        progress, kept, now, now_ms = loop.progress, loop.kept, self._now, loop.now_ms
        rejected: dict[str, Failure] = {}
        self.rejected = rejected
        try:
            commands = self.activate(turns, task, replaying=False, size=size)
        finally:
            self.rejected = None
        moved = loop.progress != progress or kept is not None or loop.kept is not None
        if not moved:
            self._now, loop.now_ms = now, now_ms
        return Tried(commands, rejected, moved)

    def _apply(self, task: Sequence[Event]) -> None:
        cancelled: str | None = None
        last = task[-1].data
        assert isinstance(last, Input)
        reset = last if isinstance(last, WorkflowExecutionReset) else None
        if reset is not None and self._main is not None:
            self._reset(reset)
        if last.flags & MESSAGES_FIRST:
            task = sorted(task, key=lambda event: isinstance(event.data, _ANSWERS))
        for event in task:
            data = event.data
            if isinstance(data, _ANSWERS):
                self._commands.answer(data.id, data)
            elif isinstance(data, WorkflowExecutionSignaled):
                self._own_messages().signaled(data)
            elif isinstance(data, WorkflowExecutionStarted):
                self._prepare(data, event, reset)
            elif isinstance(data, WorkflowExecutionCancelRequested):
                cancelled = data.reason if cancelled is None else cancelled
            elif isinstance(data, WorkflowExecutionUpdateAccepted):
                self._own_updates().take(data, first=self._main is None)
        main = self._main
        if main is None:
            self._main = main = self._begin()
            if self._updates is not None:
                self._updates.take_late()
            if cancelled is not None:
                # Behind the first step: `run` shall be able to catch it.
                self.loop.call_soon(main.cancel)
        elif cancelled is not None and self._cancel_reason is None:
            main.cancel()
        if self._cancel_reason is None:
            self._cancel_reason = cancelled

    def _reset(self, reset: WorkflowExecutionReset) -> None:
        """Part from the run that came so far: nothing new has a number or a name that it had."""
        self._random.reseed(reset.seed)
        self.children_of = reset.run_id

    def _prepare(
        self, started: WorkflowExecutionStarted, event: Event, reset: WorkflowExecutionReset | None
    ) -> None:
        """Build what stands before the first line: random numbers, and the object of a class."""
        self._started = started
        self._found = Found(started)
        self._created_at = event.time
        self._random = Randomness(started.seed)
        if started.original_run_id:
            self.children_of = started.original_run_id
            self.loop.salt_with(crc32(started.original_run_id.encode()))
        if reset is not None:
            self._reset(reset)
        self._converter = self._converter.of_workflow(self.namespace, started.workflow_id)
        definition = self.definition
        if definition.cls is not None:
            self._object = (
                definition.cls(*self._arguments()) if definition.init_takes_args else definition.cls()
            )
        if definition.dynamic_config is not None:
            with self._commands.nothing_changes():
                config = definition.dynamic_config(self._object)
            self.definition = definition.configured(config)

    def _arguments(self) -> list[Any]:
        definition = self.definition
        if definition.dynamic:
            raw = [RawValue] * len(self._started.input)
            return [
                self.decode_arguments(self._started.input, raw, f"arguments of workflow {definition.name}")
            ]
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
        if main is not None and main.done() and self.closing is None:
            self.closing = end_of(main, self._converter, self._failure_of, self.definition.name)

    def _failure_of(self, error: BaseException) -> CommandEvent:
        """See `failure`."""
        return failure(error, self._converter, self._cancel_reason is not None, self.is_failure_exception)

    def end_with(self, error: BaseException) -> None:
        """See `MessageHost`: a failure in a handler is as one in the workflow function itself."""
        try:
            if self.keeps(HANDLERS_END):
                self._look_at_main()
            failure = self._failure_of(error)
        except BaseException as fault:
            self.fault(fault)
        else:
            self.closing = self.closing or failure

    def _own_messages(self) -> Messages:
        """What it is told, from the first message or handler on; most runs have none."""
        if self._messages is None:
            self._messages = Messages(self, self._converter)
        return self._messages

    def _own_updates(self) -> Updates:
        if self._updates is None:
            self._updates = Updates(self, self._converter, self._own_messages().under_way)
        return self._updates

    def _own_patches(self) -> Patches:
        if self._patches is None:
            self._patches = Patches(self._commands, self._activates)
        return self._patches

    def keeps(self, flag: int) -> bool:
        """See `MessageHost`."""
        return bool(self._started.flags & flag)

    def handle_signal(self, signal: WorkflowExecutionSignaled, handler: Handler, args: list[Any]) -> Any:
        """See `MessageHost`. `_intercepted` puts more around this and the two below."""
        return handler(*args)

    def handle_update(
        self, update: WorkflowExecutionUpdateAccepted, handler: Handler, args: list[Any]
    ) -> Any:
        """See `UpdateHost`."""
        return handler(*args)

    def validate_update(
        self, update: WorkflowExecutionUpdateAccepted, validator: Handler, args: list[Any]
    ) -> None:
        """See `UpdateHost`."""
        validator(*args)

    def query(self, turns: Turns, name: str, input: Payloads, headers: Headers = NO_HEADERS) -> Payload:
        """Answer a query from the state the code is in, changing nothing; see `spoiled`.

        Raises:
            WorkflowQueryFailedError: There is no such query, its arguments do not fit, or its handler raised.
        """
        self._commands.read_only = True
        try:
            ask = self.handle_query(name, headers)
            return turns.read(self.loop, partial(answer, self, name, input, self._converter, ask))
        except UnknownQueryError as error:
            raise WorkflowQueryFailedError(str(error)) from None
        except Exception as error:
            raise WorkflowQueryFailedError(
                f"query {name!r} failed: {type(error).__name__}: {error}"
            ) from error
        finally:
            self._commands.read_only = False

    def handle_query(self, name: str, headers: Headers) -> Ask:
        """Return how the handler of a query is called."""
        return call_handler

    @property
    def spoiled(self) -> bool:
        """Whether it can take no more tasks: a turn or a query has left it in a state that no log describes."""
        return self.loop.state == POISONED

    @property
    def open_operations(self) -> Mapping[int, Answered]:
        """What waits for an answer, by the number of its command."""
        return self._commands.operations

    @property
    def sources(self) -> dict[int | str, str] | None:
        """The source line that asked for each command, if it was to remember them."""
        return self._commands.sources

    # ------------------------------------------------------------------ what the event loop asks for

    def issue(self, make: Callable[[int], CommandEvent]) -> None:
        """See `UpdateHost`."""
        self._commands.issue_new(make)

    def validating(self) -> AbstractContextManager[None]:
        """See `UpdateHost`."""
        return self._commands.validation(self.fault)

    def fault(self, error: BaseException) -> None:
        """See `UpdateHost`."""
        self._task_error = self._task_error or error

    def report(self, message: str, exception: BaseException | None) -> None:
        """Fail the task over a defect that no awaiting code will see."""
        self._task_error = self._task_error or exception or WorkflowTaskError(message)

    def note(self, message: str, exception: BaseException | None) -> None:
        """Pass a remark on."""
        self._note(message, exception)

    # ------------------------------------------------------------------ what the authoring API asks for

    def now_us(self) -> int:
        """See `Runtime.now_us`."""
        return self._now

    def is_replaying(self) -> bool:
        """See `Runtime.is_replaying`. Queries are always live."""
        return (self._replaying or self._silent) and not self._commands.read_only

    def randomness(self, what: str) -> Randomness:
        """See `Runtime.randomness`."""
        if self._commands.read_only:
            self._commands.refuse(
                f"a query or an update's validator must not change the workflow, and {what} does: it draws a number"
            )
        return self._random

    def patched(self, id: str, *, deprecated: bool) -> bool:
        """See `Runtime.patched`."""
        return self._own_patches().ask(
            id, deprecated=deprecated, replaying=self._replaying, marked=self._marked, info=self.info
        )

    def start_activity(self, call: ActivityCall[Any]) -> asyncio.Future[Any]:
        """See `Runtime.start_activity`."""
        commands = self._commands
        id = commands.new_id()
        machine = ActivityMachine(id, call, self._converter)
        command = machine.start(self._started, self.namespace)
        if self._ids is not None or call.options.activity_id is not None:
            self.take_id(machine)
        machine.operation = operation = self.loop.operation(
            id, partial(cancel_activity, commands, self.loop, machine)
        )
        commands.operations[id] = machine
        commands.issue(command)
        return operation

    def take_id(self, machine: ActivityMachine) -> None:
        """Take the id of an activity that is asked for, unless another one that is open has it.

        In a replay nothing is refused: an older release let it pass.
        """
        if self._ids is None:
            self._ids = OpenIds(self._commands)
        if not self._replaying and (error := self._ids.clash(machine)) is not None:
            # Whether the code lets it pass or not.
            self.fault(error)
            raise error
        self._ids.take(machine)

    def start_local_activity(self, call: ActivityCall[Any]) -> asyncio.Future[Any]:
        """See `Runtime.start_local_activity`."""
        if self._serves is not None and not self._replaying and not self._serves(call.name):
            self.fault(error := not_served(call.name))
            raise error
        if self._locals is None:
            self._locals = LocalActivities(self, self._commands, self._started, self._converter)
        return self._locals.start(call)

    def others(self) -> OtherWorkflows:
        """See `Runtime.others`."""
        if self._others is None:
            self._others = OtherWorkflows(self, self._started, self._converter, self._random, self._commands)
        return self._others

    def instance(self) -> Any:
        """See `Runtime.instance`."""
        return self._object

    def is_failure_exception(self, error: BaseException) -> bool:
        """See `Runtime.is_failure_exception`."""
        return fails_workflow(error, self.definition.failure_exception_types)

    # ------------------------------------------------------------------ the end

    def evict(self) -> int:
        """Take the code down without running any of it elsewhere or later; return how many tasks resisted."""
        resisted = evict(self.loop)
        # They refer back to it, and only the collector opens circles.
        self._messages = self._updates = self._others = self._locals = self._info = None
        return resisted


_ANSWERS = (
    ActivityTaskCompleted,
    ActivityTaskFailed,
    ActivityTaskTimedOut,
    ActivityTaskCanceled,
    TimerFired,
    OperationInput,
)
"""Inputs that answer a command."""
