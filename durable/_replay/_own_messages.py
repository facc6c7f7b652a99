"""What a run's code asks about what it is told: signals to receive, handlers, and whether they have ended."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

from durable._replay._handlers import Handler
from durable._replay._messages import Messages
from durable._replay._own_run import OwnRun
from durable.history import WorkflowExecutionSignaled


class OwnMessages(OwnRun):
    """A part of `Instance`; all that it knows is the instance's."""

    __slots__ = ()

    _messages: Messages | None

    def _own_messages(self) -> Messages:
        """Return what is told, made when it is needed first."""
        raise NotImplementedError

    def receive(self, name: str, type_hint: Any) -> asyncio.Future[Any]:
        """See `Runtime.receive`."""
        return self._own_messages().receive(name, type_hint)

    def give_back(self, name: str, future: asyncio.Future[Any]) -> None:
        """See `Runtime.give_back`."""
        self._own_messages().buffer.give_back(name, future)

    def handlers(self, kind: str) -> Mapping[str | None, Handler]:
        """See `Runtime.handlers`."""
        return self._own_messages().handlers(kind)

    def set_handler(
        self, kind: str, name: str | None, handler: Handler | None, validator: Handler | None = None
    ) -> None:
        """See `Runtime.set_handler`."""
        if self._commands.read_only:
            self._commands.refuse("a query or an update's validator must not change the workflow's handlers")
        self._own_messages().set_handler(kind, name, handler, validator)

    def all_handlers_finished(self) -> bool:
        """See `Runtime.all_handlers_finished`."""
        return self._messages is None or self._messages.under_way.none

    @property
    def unfinished(self) -> str:
        """The handlers that are under way and should have finished, for people; "" if there are none."""
        return "" if self._messages is None else self._messages.under_way.to_warn_of()

    @property
    def untaken(self) -> list[WorkflowExecutionSignaled]:
        """The signals that no handler and no receiver has taken."""
        return [] if self._messages is None else self._messages.buffer.untaken()
