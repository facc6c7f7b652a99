"""Locks of the operating system on files: the queue of writers, and the proof that a worker lives.

The kernel drops a lock with its last holder, so a process that is killed, at whatever point, holds up nobody and is known
to be dead at once. Two properties of `flock` decide its use here over POSIX locks: a file opened twice conflicts even
within one process, so that a process sees its own workers as living; and closing one descriptor does not drop the lock
of another. What it does badly is `fork`: a child shares the lock and would keep its parent's workers alive, so children
close what they inherit (those that `exec` lose it by the descriptors' flag).

SQLite's own locks are POSIX locks, which any `close` of the database file drops for the whole process. Hence nothing here
ever opens the database file: every lock has a file of its own beside it.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import sys
import threading
import time
from urllib.parse import quote

from durable._internal import forks
from durable.exceptions import StoreUnavailableError

if sys.platform == "win32":
    import msvcrt

    def _take(descriptor: int, wait: bool, shared: bool) -> None:
        # A byte range lock, always exclusive, and waited for by asking again: the queue is not fair there.
        while True:
            try:
                msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
                return
            except OSError:
                if not wait:
                    raise
                time.sleep(0.001)

    def _give(descriptor: int) -> None:
        msvcrt.locking(descriptor, msvcrt.LK_UNLCK, 1)

else:
    import fcntl

    def _take(descriptor: int, wait: bool, shared: bool) -> None:
        fcntl.flock(descriptor, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | (0 if wait else fcntl.LOCK_NB))

    def _give(descriptor: int) -> None:
        fcntl.flock(descriptor, fcntl.LOCK_UN)


class FileLock:
    """A lock on a file that exists for nothing else.

    Args:
        path: The file.
        create: Whether to make it when it is missing (mode 0600).

    Raises:
        FileNotFoundError: It is missing, and is not to be made.
        OSError: It is a symbolic link, or cannot be opened.
    """

    def __init__(self, path: str, *, create: bool = True) -> None:
        self.path = path
        flags = os.O_RDWR | getattr(os, "O_NOFOLLOW", 0) | (os.O_CREAT if create else 0)
        self._descriptor = os.open(path, flags, 0o600)
        forks.in_child(self, FileLock.close)

    def acquire(self, *, wait: bool = True, shared: bool = False) -> bool:
        """Take the lock; False when it is somebody else's and `wait` is not set."""
        try:
            _take(self._descriptor, wait, shared)
        except OSError:
            if wait:
                raise
            return False
        return True

    def release(self) -> None:
        """Give it back."""
        _give(self._descriptor)

    def close(self) -> None:
        """Give it back for good; again does nothing."""
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor >= 0:
            os.close(descriptor)


class Lives:
    """Which workers live: each holds the lock on a file of its own for as long as its process does.

    Args:
        database: The path of the database file, or None for one in memory, whose workers share its process.
    """

    def __init__(self, database: str | None) -> None:
        self._database = database
        self._held: dict[str, FileLock | None] = {}
        self._guard = threading.Lock()

    def path(self, worker_id: str) -> str:
        """The file of a worker. Ids that could not be a file's name are told apart by a digest."""
        name = quote(worker_id, safe="")
        if len(name) > 100:
            name = hashlib.sha256(worker_id.encode()).hexdigest()
        return f"{self._database}-worker-{name}"

    def begin(self, worker_id: str) -> bool:
        """Let a worker of this process live; False when a worker of that id does already."""
        with self._guard:
            if worker_id in self._held:
                return False
            lock = None
            if self._database is not None:
                try:
                    lock = FileLock(self.path(worker_id))
                except OSError as error:
                    raise StoreUnavailableError(f"cannot make the worker's lock file: {error}") from error
                if not lock.acquire(wait=False):
                    lock.close()
                    return False
            self._held[worker_id] = lock
            return True

    def abandon(self, worker_id: str) -> None:
        """End a worker of this process as a kill would: nothing is told to the database, and the file stays."""
        with self._guard:
            lock = self._held.pop(worker_id, None)
        if lock is not None:
            lock.close()

    def is_held(self, worker_id: str) -> bool:
        """Whether it is a living worker of this very store; no look at any file."""
        return worker_id in self._held

    def is_alive(self, worker_id: str) -> bool:
        """Whether the worker lives, in whatever process."""
        if worker_id in self._held:
            return True
        if self._database is None:
            return False
        try:
            lock = FileLock(self.path(worker_id), create=False)
        except FileNotFoundError:
            return False
        except OSError:
            return True  # nothing is known, and only the dead may be buried
        try:
            # Shared, so that two who look at the same time do not take each other for the worker.
            return not lock.acquire(wait=False, shared=True)
        finally:
            lock.close()

    def forget(self, worker_id: str) -> None:
        """Remove the file of a worker that is dead for good."""
        self.abandon(worker_id)
        if self._database is not None:
            with contextlib.suppress(OSError):
                os.unlink(self.path(worker_id))

    def close(self) -> None:
        """Abandon every worker of this store."""
        for worker_id in list(self._held):
            self.abandon(worker_id)
