"""What a worker tells of its own life to whoever runs it."""

from __future__ import annotations

import asyncio
import inspect
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import TypeAlias

from durable._internal.shown import shown

logger = logging.getLogger("durable.worker")


class WorkerLifeEventKind(StrEnum):
    """What happened to a worker.

    Attributes:
        STARTED: It is known to the database and takes work. Told again when it has started over.
        LOST: Others believed it dead and may have taken its runs, or a part of it failed; it starts over.
        STOPPING: It takes no more work. Activities have their grace now.
        DRAINED: No activity runs any more. Its runs are handed back now.
        FATAL: It ends by an error, which `on_fatal_error` gets too.
        STOPPED: It does nothing any more; always the last.
    """

    STARTED = "started"
    LOST = "lost"
    STOPPING = "stopping"
    DRAINED = "drained"
    FATAL = "fatal"
    STOPPED = "stopped"


@dataclass(frozen=True)
class WorkerLifeEvent:
    """Something that happened to a worker.

    Attributes:
        kind: What happened.
        task_queue: The worker's queue.
        identity: Its identity.
        worker_id: The id under which the database knows it, another one each time it starts over; None when it is not known.
        error: What it ends or starts over by, if that was an error.
    """

    kind: WorkerLifeEventKind
    task_queue: str
    identity: str
    worker_id: str | None = None
    error: BaseException | None = None


LifeCallback: TypeAlias = Callable[[WorkerLifeEvent], Awaitable[None] | None]


class Life:
    """Tells of one worker's life, one event after the other."""

    def __init__(self, callback: LifeCallback | None, task_queue: str, identity: str) -> None:
        """Tell `callback`, if there is one.

        Raises:
            TypeError: It cannot be called.
        """
        if callback is not None and not callable(callback):
            raise TypeError(f"on_life_event must be a function of one event, not {shown(callback)}")
        self._callback = callback
        self._task_queue = task_queue
        self._identity = identity
        self._telling = asyncio.Lock()
        self._teller: asyncio.Task[object] | None = None

    @property
    def told_here(self) -> bool:
        """Whether it is the callback that asks: whoever waits for the worker there waits for itself."""
        return self._teller is not None and self._teller is asyncio.current_task()

    async def tell(
        self, kind: WorkerLifeEventKind, worker_id: str | None = None, error: BaseException | None = None
    ) -> None:
        """Tell of an event, and return when that was taken. What the callback raises is logged."""
        if self._callback is None:
            return
        event = WorkerLifeEvent(kind, self._task_queue, self._identity, worker_id, error)
        async with self._telling:
            self._teller = asyncio.current_task()
            try:
                answer = self._callback(event)
                if inspect.isawaitable(answer):
                    await answer
            except Exception:
                logger.exception("on_life_event raised over %r; the worker goes on", kind.value)
            finally:
                self._teller = None
