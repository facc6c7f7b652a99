"""Updates, as one run's code takes them: validated, then handled, in one step with nothing in between.

Theory. An update comes into a task in two ways. In a *trial* it is unread, and the code may refuse it; in every other
task it is in the log, so it was accepted, and no validator runs: they may change from one deploy to the next. Its
handler is one asyncio task, made where the log has the update among the inputs, so that handlers begin in the order of
the log. The first step of that task validates, and goes on as the handler.

Invariants.

* A refused update leaves no trace that a replay would miss. Its task draws no number (its hash comes from the update's
  id), the numbers that its validator drew are put back, and so is the progress that making it was.
* A validator cannot change the run: whatever would schedule, draw or set something raises, and the task fails, whether
  the validator lets that pass or not. It can change the workflow's own attributes, which nobody can see; its arguments
  are its own, since the handler's are decoded again.
* An update for which there is no handler when the first task begins is looked at after the first step of the workflow
  function, which is where function-style workflows set theirs.
"""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from hashlib import blake2b
from typing import Any, Protocol

from durable._replay._continue import continuing
from durable._replay._handlers import Handler, UnderWay, for_name, hints_of
from durable._replay._loop import DeterministicLoop
from durable.converter import DataConverter
from durable.exceptions import (
    ApplicationError,
    ConversionError,
    NondeterminismError,
    WorkflowTaskError,
)
from durable.history import (
    CommandEvent,
    Failure,
    Payloads,
    WorkflowExecutionUpdateAccepted,
    WorkflowExecutionUpdateCompleted,
)
from durable.workflow._definition import WorkflowDefinition
from durable.workflow._updates import CURRENT, UpdateInfo

_PREFIX = "update:"


class UpdateHost(Protocol):
    """What updates ask of the instance they belong to.

    Attributes:
        loop: Its event loop.
        definition: Its code.
        rejected: In a trial the updates that were refused, by the id of their message; None when none may be.
    """

    loop: DeterministicLoop
    definition: WorkflowDefinition
    rejected: dict[str, Failure] | None

    def handlers(self, kind: str) -> Mapping[str | None, Handler]:
        """Return the handlers of a kind by name."""
        ...

    def decode_arguments(self, payloads: Payloads, hints: Sequence[Any] | None, name: str) -> list[Any]:
        """Return a message's arguments."""
        ...

    def validating(self) -> AbstractContextManager[None]:
        """Return a context in which whatever changes the run raises, and fails the task."""
        ...

    def is_failure_exception(self, error: BaseException) -> bool:
        """Whether an exception is a failure, and no defect."""
        ...

    def fault(self, error: BaseException) -> None:
        """Fail the task."""
        ...

    def handle_update(
        self, update: WorkflowExecutionUpdateAccepted, handler: Handler, args: list[Any]
    ) -> Any:
        """Call the handler of an update."""
        ...

    def validate_update(
        self, update: WorkflowExecutionUpdateAccepted, validator: Handler, args: list[Any]
    ) -> None:
        """Call the validator of an update."""
        ...

    def end_with(self, error: BaseException) -> None:
        """End the run as if the workflow function had ended so."""
        ...

    def issue(self, make: Callable[[int], CommandEvent]) -> None:
        """Issue a command under the next number."""
        ...


class Updates:
    """See the module."""

    __slots__ = ("_converter", "_host", "_late", "_under_way")

    def __init__(self, host: UpdateHost, converter: DataConverter, under_way: UnderWay) -> None:
        self._host = host
        self._converter = converter
        self._under_way = under_way
        self._late: list[WorkflowExecutionUpdateAccepted] = []

    def take(self, update: WorkflowExecutionUpdateAccepted, *, first: bool) -> None:
        """Take an update among the inputs of a task; `first` tells that the workflow function has not begun."""
        if first and self._handler(update.name) is None:
            self._late.append(update)
        else:
            self._begin(update)

    def take_late(self) -> None:
        """Take those that wait for the first step of the workflow function, which is scheduled now."""
        late, self._late = self._late, []
        for update in late:
            self._begin(update)

    def _begin(self, update: WorkflowExecutionUpdateAccepted) -> None:
        digest = blake2b(update.message.encode(), digest_size=7).digest()
        _ = self._host.loop.create_task_apart(
            self._run(update), name=f"update {update.name}", hash=int.from_bytes(digest)
        )

    def _handler(self, name: str) -> Handler | None:
        handlers = self._host.handlers("update")
        return handlers.get(name) or for_name(handlers.get(None), name)

    async def _run(self, update: WorkflowExecutionUpdateAccepted) -> None:
        """The task of an update: the whole of its handling."""
        handler = self._handler(update.name)
        if self._host.rejected is not None and not self._accepts(update, handler):
            self._host.loop.progress -= 1
            return
        if handler is None:
            self._host.fault(
                NondeterminismError(
                    f"history has the update {update.name!r}, which the code has no handler for"
                )
            )
            return
        begun = self._under_way.begin("update", update.name)
        CURRENT.set(UpdateInfo(update.message.removeprefix(_PREFIX), update.name))
        try:
            result = self._host.handle_update(update, handler, self._arguments(update, handler))
            if inspect.isawaitable(result):
                result = await result
            payload = self._converter.to_payload(result, path=f"result of update {update.name}")
        except BaseException as error:
            if continuing(error) is not None:
                # It ends the run, as in any handler; the update is told so.
                self._host.end_with(error)
                return
            if not isinstance(error, Exception | asyncio.CancelledError):
                raise
            if not self._host.is_failure_exception(error):
                self._host.fault(error)
                return
            failure = self._converter.to_failure(error)
            self._host.issue(
                lambda id: WorkflowExecutionUpdateCompleted(id=id, update=update.message, failure=failure)
            )
        else:
            self._host.issue(
                lambda id: WorkflowExecutionUpdateCompleted(id=id, update=update.message, result=payload)
            )
        finally:
            self._under_way.end(begun)

    def _arguments(self, update: WorkflowExecutionUpdateAccepted, handler: Handler) -> list[Any]:
        return self._host.decode_arguments(
            update.input, hints_of(handler, len(update.input)), f"arguments of update {update.name}"
        )

    # ------------------------------------------------------------------ refusing

    def _accepts(self, update: WorkflowExecutionUpdateAccepted, handler: Handler | None) -> bool:
        """Whether a new update is let in; if not, it is known why, or the task has failed."""
        name = update.name
        if handler is None:
            known = ", ".join(sorted(key for key in self._host.handlers("update") if key)) or "none"
            self._reject(
                update,
                ApplicationError(
                    f"workflow {self._host.definition.name!r} has no update {name!r} (it has: {known}); a function-style "
                    "workflow takes an update once it has called workflow.set_handler",
                    type="UpdateNotFound",
                ),
            )
            return False
        try:
            arguments = self._arguments(update, handler)
            inspect.signature(handler).bind(*arguments)
        except (ConversionError, TypeError) as error:
            text = f"the arguments of update {name!r} do not fit its handler: {error}"
            self._reject(update, ApplicationError(text, type=type(error).__name__))
            return False
        validator = self._validator(name)
        return validator is None or self._validates(update, validator, arguments)

    def _validator(self, name: str) -> Handler | None:
        """Return what may refuse an update. A dynamic validator never serves an update with a handler of its own."""
        validators = self._host.handlers("validator")
        if name in self._host.handlers("update"):
            return validators.get(name)
        return for_name(validators.get(None), name)

    def _validates(
        self, update: WorkflowExecutionUpdateAccepted, validator: Handler, arguments: list[Any]
    ) -> bool:
        try:
            with self._host.validating():
                self._host.validate_update(update, validator, arguments)
        except WorkflowTaskError as error:
            self._host.fault(error)
            return False
        except (Exception, asyncio.CancelledError) as error:
            self._reject(update, error)
            return False
        return True

    def _reject(self, update: WorkflowExecutionUpdateAccepted, error: BaseException) -> None:
        assert self._host.rejected is not None
        self._host.rejected[update.message] = self._converter.to_failure(error)
