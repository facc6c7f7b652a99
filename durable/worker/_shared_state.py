"""What activities in other processes share with their worker: flags, and a way for their heartbeats."""

from __future__ import annotations

import logging
import queue
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, MutableMapping
from concurrent.futures import Executor
from multiprocessing.managers import SyncManager
from typing import Any, Self

logger = logging.getLogger("durable.worker")

HEARTBEATS = 1000
"""Heartbeats that may be on their way; a process that sends more waits for its worker to read them."""

LOOK_EVERY = 0.5
"""Seconds after which whoever reads heartbeats looks whether anybody is left to send one."""


class SharedHeartbeatSender(ABC):
    """What an activity in another process sends its heartbeats with; it can be pickled."""

    @abstractmethod
    def send_heartbeat(self, task_token: bytes, *details: Any) -> None:
        """Send a heartbeat of the attempt that the token names."""


class SharedStateManager(ABC):
    """Makes what a worker shares with the processes of its activities. One may serve several workers of a process."""

    @staticmethod
    def create_from_multiprocessing(
        mgr: SyncManager, queue_poller_executor: Executor | None = None
    ) -> SharedStateManager:
        """Return one on top of a manager of `multiprocessing`, for a `ProcessPoolExecutor`.

        Args:
            mgr: A started manager, `multiprocessing.Manager()`; it must outlive the worker.
            queue_poller_executor: Where heartbeats are read, in one thread; a thread of its own by default.
        """
        return _OfMultiprocessing(mgr, queue_poller_executor)

    @abstractmethod
    def new_event(self) -> threading.Event:
        """Return a flag that can be pickled for other processes."""

    def new_mapping(self) -> MutableMapping[bytes, tuple[str, ...]] | None:
        """Return what can be pickled for other processes and tells them why an attempt is asked to end.

        None, unless it is overridden: then `activity.cancellation_details()` is not known there.
        """
        return None

    @abstractmethod
    def register_heartbeater(
        self, task_token: bytes, heartbeat: Callable[..., None]
    ) -> SharedHeartbeatSender:
        """Return what the attempt that the token names sends heartbeats with; they arrive at `heartbeat(*details)`."""

    @abstractmethod
    def unregister_heartbeater(self, task_token: bytes) -> None:
        """Forget an attempt; heartbeats that arrive later are dropped."""


class _OfMultiprocessing(SharedStateManager):
    def __init__(self, manager: SyncManager, executor: Executor | None) -> None:
        super().__init__()
        self._manager = manager
        self._executor = executor
        self._queue: Any = manager.Queue(HEARTBEATS)
        self._lock = threading.Lock()
        self._beating: dict[bytes, Callable[..., None]] = {}
        self._reading = False

    def new_event(self) -> threading.Event:
        return self._manager.Event()

    def new_mapping(self) -> MutableMapping[bytes, tuple[str, ...]]:
        return self._manager.dict()

    def register_heartbeater(
        self, task_token: bytes, heartbeat: Callable[..., None]
    ) -> SharedHeartbeatSender:
        with self._lock:
            self._beating[task_token] = heartbeat
            start, self._reading = not self._reading, True
        if start and self._executor is not None:
            self._executor.submit(self._read)
        elif start:
            threading.Thread(target=self._read, name="durable heartbeats", daemon=True).start()
        return _QueueSender(self._queue)

    def unregister_heartbeater(self, task_token: bytes) -> None:
        with self._lock:
            self._beating.pop(task_token, None)

    def _read(self) -> None:
        while True:
            try:
                token, details = self._queue.get(True, LOOK_EVERY)
            except queue.Empty:
                with self._lock:
                    if not self._beating:
                        self._reading = False
                        return
                continue
            except (OSError, EOFError):
                with self._lock:
                    self._reading = False
                    if self._beating:
                        logger.error("the manager that brings heartbeats of processes is gone")
                return
            except Exception:
                logger.exception("a heartbeat of another process cannot be read, and is dropped")
                continue
            with self._lock:
                heartbeat = self._beating.get(token)
            if heartbeat is not None:
                heartbeat(*details)


class _QueueSender(SharedHeartbeatSender):
    def __init__(self, queue: Any) -> None:
        self._queue = queue

    def send_heartbeat(self, task_token: bytes, *details: Any) -> None:
        self._queue.put((task_token, details))

    def __reduce__(self) -> tuple[type[Self], tuple[Any, ...]]:
        return type(self), (self._queue,)
