"""What a run's code is told: signals, to their handlers or receivers, and the handlers of every kind of message."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from types import MappingProxyType
from typing import Any, Protocol

from durable._replay._handlers import Handler, UnderWay, bound_handlers, for_name, hints_of
from durable._replay._loop import DeterministicLoop
from durable._replay.machines._signal import SignalBuffer
from durable.converter import DataConverter
from durable.exceptions import ConversionError
from durable.history import HANDLERS_END, Payloads, WorkflowExecutionSignaled
from durable.workflow._continue import ContinueAsNewError
from durable.workflow._definition import WorkflowDefinition

Note = Callable[[str, BaseException | None], None]


class MessageHost(Protocol):
    """What messages ask of the instance they belong to."""

    loop: DeterministicLoop
    definition: WorkflowDefinition

    def instance(self) -> Any:
        """Return the object of a class-style workflow."""
        ...

    def decode_arguments(self, payloads: Payloads, hints: Sequence[Any] | None, name: str) -> list[Any]:
        """Return a message's arguments."""
        ...

    def keeps(self, flag: int) -> bool:
        """Whether the run keeps a rule that runs have by a flag of their first event."""
        ...

    def note(self, message: str, exception: BaseException | None) -> None:
        """Pass a remark on."""
        ...

    def handle_signal(self, signal: WorkflowExecutionSignaled, handler: Handler, args: list[Any]) -> Any:
        """Call the handler of a signal."""
        ...

    def end_with(self, error: BaseException) -> None:
        """Take what left a handler: a failure closes the run, anything else fails its task."""
        ...


class Messages:
    """See the module.

    Attributes:
        buffer: The signals that no handler has taken.
        under_way: The handlers that have begun and not ended.
    """

    __slots__ = ("_handlers", "_host", "buffer", "under_way")

    def __init__(self, host: MessageHost, converter: DataConverter) -> None:
        self._host = host
        self._handlers: dict[str, dict[str | None, Handler]] | None = None
        self.buffer = SignalBuffer(converter)
        self.under_way = UnderWay(host.definition)

    def handlers(self, kind: str) -> Mapping[str | None, Handler]:
        """See `Runtime.handlers`."""
        return MappingProxyType(self._by_kind()[kind])

    def _by_kind(self) -> dict[str, dict[str | None, Handler]]:
        if self._handlers is None:
            self._handlers = bound_handlers(self._host.definition, self._host.instance())
        return self._handlers

    def set_handler(
        self, kind: str, name: str | None, handler: Handler | None, validator: Handler | None
    ) -> None:
        """See `Runtime.set_handler`."""
        handlers = self._by_kind()
        if kind == "update":
            handlers["validator"].pop(name, None)
            if validator is not None:
                handlers["validator"][name] = validator
        if handler is None:
            handlers[kind].pop(name, None)
            return
        handlers[kind][name] = handler
        if kind == "signal":
            for signal in list(self.buffer.take(name)):
                own = handler if name is not None else for_name(handler, signal.name)
                assert own is not None
                self._start_handler(own, signal)

    # ------------------------------------------------------------------ signals

    def signaled(self, signal: WorkflowExecutionSignaled) -> None:
        """Take a signal among the inputs of a task."""
        handlers = self._by_kind()["signal"]
        handler = handlers.get(signal.name) or for_name(handlers.get(None), signal.name)
        if handler is not None:
            self._start_handler(handler, signal)
            return
        try:
            self.buffer.deliver(signal)
        except ConversionError as error:
            self._host.note(f"signal {signal.name!r} was dropped: its argument cannot be read", error)

    def _start_handler(self, handler: Handler, signal: WorkflowExecutionSignaled) -> None:
        try:
            arguments = self._host.decode_arguments(
                signal.input, hints_of(handler, len(signal.input)), f"arguments of signal {signal.name}"
            )
            inspect.signature(handler).bind(*arguments)
        except (ConversionError, TypeError) as error:
            self._host.note(
                f"signal {signal.name!r} was dropped: its arguments do not fit its handler", error
            )
            return
        begun = self.under_way.begin("signal", signal.name)
        _ = self._host.loop.create_task(
            self._run_handler(partial(self._host.handle_signal, signal, handler, arguments), begun),
            name=f"signal {signal.name}",
        )

    async def _run_handler(self, called: Callable[[], Any], begun: int) -> None:
        try:
            result = called()
            if inspect.isawaitable(result):
                await result
        except (Exception, ContinueAsNewError) as error:
            self._host.end_with(error)
        except asyncio.CancelledError as error:
            if not self._host.keeps(HANDLERS_END):
                raise
            self._host.end_with(error)
        finally:
            self.under_way.end(begun)

    def receive(self, name: str, type_hint: Any) -> asyncio.Future[Any]:
        """See `Runtime.receive`."""
        future = self._host.loop.create_future()
        while True:
            try:
                self.buffer.receive(name, type_hint, future)
            except ConversionError as error:
                self._host.note(f"signal {name!r} was dropped: its argument cannot be read", error)
            else:
                return future
