"""Two threads and their connections: one writes, one reads.

**Group commit.** The writer takes everything that waits at the moment it gets the database, runs it in one transaction and
answers all of it with one call into each event loop. So the cost of a commit (a lock, a sync of the disk) is shared by
whatever came together while the commit before was under way, without any timer.

An operation is a function of the transaction and nothing else, so that it can be run again: the first failure in a batch
rolls all of it back, and each operation then runs under a savepoint of its own. The good case pays for no savepoint.

**Fair queueing.** SQLite's busy handler sleeps and hopes; a process that commits all the time starves its neighbours.
Every transaction and every checkpoint is therefore made under an exclusive `flock` on a side file, where the kernel queues.
That also keeps checkpoints away from the commits of other connections (the WAL-reset bug of SQLite 3.7.0 to 3.51.2).

**Few rows, few steps.** `sqlite3` gives up the interpreter lock for every step of a statement, and a thread that asks for
it back beside a busy event loop waits up to 5 ms. A batch of 500 rows by `executemany` takes 2.5 ms alone and 650 ms beside
such a loop, measured; as one statement it takes one step. See `_rows` for how rows are packed. An operation that is alone
may even be one statement in all, without a transaction around it.
"""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import os
import sqlite3
import threading
from collections.abc import Callable
from typing import Any, Generic, TypeVar

from durable._internal import forks, machine, threads
from durable.exceptions import StoreError, StoreUnavailableError
from durable.store.sqlite._limits import Limits
from durable.store.sqlite._locks import FileLock

INSIDE = (
    "this would wait for the transaction that it is called in: on SQLite a transactional activity is alone with the "
    "database. Do it in the workflow, before or behind the activity"
)

inside: contextvars.ContextVar[bool] = contextvars.ContextVar("durable.sqlite.inside", default=False)
"""Whether the caller has lent a transaction that keeps everybody else from writing."""

T = TypeVar("T")
Given = TypeVar("Given")

COMMITS_PER_LOOK = 8
"""Commits between two looks at the size of the log."""

REMOVED = (
    "the log of the database, {}, was removed or replaced while it was in use; nothing more is written, since that might be "
    "lost: end every process that uses the database, then start them again"
)

PAGE_BYTES = 4096
"""SQLite's page, and very nearly a frame of its log."""


class Job:
    """A call for a lane's thread, and who waits for it."""

    __slots__ = ("call", "error", "future", "loop", "result", "statement")

    def __init__(self, call: Callable[..., Any], statement: Callable[..., Any] | None) -> None:
        self.call = call
        self.statement = statement
        self.loop = asyncio.get_running_loop()
        self.future: asyncio.Future[Any] = self.loop.create_future()
        self.result: Any = None
        self.error: BaseException | None = None


def unavailable(error: sqlite3.Error) -> Exception:
    """What a caller is told about an error of SQLite."""
    if isinstance(error, sqlite3.IntegrityError | sqlite3.ProgrammingError | sqlite3.InterfaceError):
        return error  # a bug, or bad data: trying again does not help
    name = getattr(error, "sqlite_errorname", type(error).__name__)
    return StoreUnavailableError(f"SQLite gave up: {error} ({name})")


def deliver(jobs: list[Job]) -> None:
    """Answer jobs, with one call into each event loop."""
    loops = {job.loop: None for job in jobs}
    for loop in loops:
        mine = jobs if len(loops) == 1 else [job for job in jobs if job.loop is loop]
        # A loop that was closed meanwhile has nobody left who waits.
        with contextlib.suppress(RuntimeError):
            loop.call_soon_threadsafe(_settle, mine)


def _settle(jobs: list[Job]) -> None:
    for job in jobs:
        if job.future.done():
            continue  # cancelled: what it asked for may have happened all the same
        if job.error is not None:
            job.future.set_exception(job.error)
        else:
            job.future.set_result(job.result)


class Lane(Generic[Given]):
    """A thread that runs calls, in order, on a connection of its own."""

    def __init__(self, name: str, db: sqlite3.Connection) -> None:
        self.db = db
        self._guard = threading.Lock()
        self._jobs: list[Job] = []
        self._closed = self._forked = False
        self._thread = threads.Stepping(name, self._step)
        forks.in_child(self, lambda lane: lane._lose_thread())

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    async def run(
        self, call: Callable[[Given], T], statement: Callable[[Given], T | None] | None = None
    ) -> T:
        """Return what `call`, given the connection (or transaction), returns.

        Args:
            call: What to run.
            statement: Does the same in a single statement, outside of any transaction, or returns None and has done nothing.
                It is tried first by the writer when there is no other call to share a transaction with.
        """
        job = Job(call, statement)
        with self._guard:
            if self._closed:
                if self._forked:
                    raise StoreError(forks.FORKED)
                raise StoreUnavailableError("the store has been closed")
            self._jobs.append(job)
            self._thread.ring()
        result: T = await job.future
        return result

    def stop(self) -> None:
        """Let the thread end behind what waits already."""
        with self._guard:
            self._closed = True
            self._thread.ring()

    async def join(self, timeout: float) -> None:
        """Wait until the thread has ended, at most that long."""
        await asyncio.get_running_loop().run_in_executor(None, self._thread.join, timeout)

    def _lose_thread(self) -> None:
        """In a forked child: the thread is not there, and may have held its lock at that moment."""
        self._guard = threading.Lock()
        self._closed = self._forked = True

    def _step(self) -> float | None:
        """Run everything that waits, and return how long to sleep; None when the lane is closed and empty."""
        with self._guard:
            jobs, self._jobs = self._jobs, []
            closed = self._closed
        if closed and not jobs:
            self._close()
            return None
        self._serve(jobs)
        return 0.0 if closed else self._patience()  # nobody else rings, and there is nothing to sleep for

    def _serve(self, jobs: list[Job]) -> None:
        """Run what waited, which may be nothing."""
        raise NotImplementedError

    def _patience(self) -> float:
        """How long to sleep when nobody rings."""
        return threads.FOR_EVER

    def _close(self) -> None:
        """Close the connection, as the last thing of all."""
        self.db.close()


class Reader(Lane[sqlite3.Connection]):
    """Runs reads; never waits for a writer, and never holds one up."""

    def _serve(self, jobs: list[Job]) -> None:
        for job in jobs:
            try:
                job.result = job.call(self.db)
            except sqlite3.Error as error:
                job.error = unavailable(error)
            except BaseException as error:  # it goes to whoever asked
                job.error = error
            if self.db.in_transaction:
                self.db.rollback()
        deliver(jobs)


class Transaction:
    """What an operation of the writer is given: the connection, and the one instant of the whole transaction."""

    __slots__ = ("db", "now")

    def __init__(self, db: sqlite3.Connection, now: int) -> None:
        self.db = db
        self.now = now


class Writer(Lane["Transaction"]):
    """Runs operations, as many as wait, in one transaction each time.

    Args:
        db: Its connection.
        stamp: The instant of a transaction, asked for when the database is ours.
        path: The database file, None for one in memory, which needs neither locks nor checkpoints.
        limits: See there.
        on_foreign_commit: Called, while `listening`, when another connection has committed.
    """

    def __init__(
        self,
        db: sqlite3.Connection,
        *,
        stamp: Callable[[], int],
        path: str | None,
        limits: Limits,
        on_foreign_commit: Callable[[], None],
    ) -> None:
        super().__init__("durable-sqlite-writer", db)
        self._stamp = stamp
        self._limits = limits
        self._on_foreign_commit = on_foreign_commit
        self._gate = None if path is None else FileLock(f"{path}-lock")
        self._wal = None if path is None else f"{path}-wal"
        self._waiting: list[Job] | None = None
        self._version = self._data_version()
        self._looked_at = 0.0
        self._committed_at = 0.0
        self._stirred_at = 0.0  # when somebody else was seen to have committed
        self._commits = 0
        self._commits_planned = limits.wal_commits
        self._wal_bytes = 0
        self._wal_inode: int | None = None
        self._wal_removed = False
        self._wal_limit = limits.wal_bytes
        self.transactions = 0
        self.listening = 0

    async def run(
        self,
        call: Callable[[Transaction], T],
        statement: Callable[[Transaction], T | None] | None = None,
    ) -> T:
        """See `Lane`."""
        if inside.get():
            raise StoreError(INSIDE)
        return await super().run(call, statement)

    def poke(self) -> None:
        """Have the thread notice that `listening` has changed."""
        with self._guard:
            self._thread.ring()

    # ------------------------------------------------------------ the loop

    def _serve(self, jobs: list[Job]) -> None:
        if jobs:
            self._transact(jobs)
        if self.listening:
            self._look_around()
        if self._commits and self._gate is not None:
            self._tend_wal(self._gate)

    def _patience(self) -> float:
        if self.listening:
            idle = machine.monotonic() >= max(self._committed_at, self._stirred_at) + self._limits.idle
            return self._limits.look_idle if idle else self._limits.look_around
        return self._limits.idle if self._commits else threads.FOR_EVER

    def _transact(self, jobs: list[Job]) -> None:
        jobs = self._enter(jobs)
        if not jobs:
            return
        try:
            if self._wal_removed:
                raise StoreUnavailableError(REMOVED.format(self._wal))
            if len(jobs) > 1 or not self._run_statement(jobs[0]):
                self._run_together(jobs)
        except sqlite3.Error as error:
            self._fail(jobs, unavailable(error))
        except BaseException as error:  # the thread must live: everybody waits for it
            self._fail(jobs, error)
        finally:
            self._leave()
        deliver(jobs)

    def _run_statement(self, job: Job) -> bool:
        """Run a job as one statement, which SQLite makes a transaction by itself, if it can be."""
        if job.statement is None:
            return False
        before = self.db.total_changes
        job.result = job.statement(Transaction(self.db, self._stamp()))
        self._count_commit(before)
        return job.result is not None

    def _run_together(self, jobs: list[Job]) -> None:
        db = self.db
        db.execute("BEGIN IMMEDIATE")
        transaction = Transaction(db, self._stamp())
        before = db.total_changes
        try:
            for job in jobs:
                job.result = job.call(transaction)
        except Exception:
            if len(jobs) == 1:
                raise
            if db.in_transaction:
                db.execute("ROLLBACK")
            self._run_alone(jobs)
        else:
            self._commit(before)

    def _run_alone(self, jobs: list[Job]) -> None:
        """Once more, so that the one that failed undoes nobody's work but its own."""
        db = self.db
        db.execute("BEGIN IMMEDIATE")
        transaction = Transaction(db, self._stamp())
        before = db.total_changes
        for job in jobs:
            job.result = None
            db.execute("SAVEPOINT operation")
            try:
                job.result = job.call(transaction)
            except Exception as error:
                job.error = unavailable(error) if isinstance(error, sqlite3.Error) else error
                if not db.in_transaction:  # a full disk and the like: SQLite has rolled back everything
                    raise
                db.execute("ROLLBACK TO operation")
            db.execute("RELEASE operation")
        self._commit(before)

    def _commit(self, changes_before: int) -> None:
        self.db.execute("COMMIT")
        self._count_commit(changes_before)

    def _count_commit(self, changes_before: int) -> None:
        if self.db.total_changes != changes_before:
            self.transactions += 1
            self._commits += 1
            self._committed_at = machine.monotonic()
            if self._commits % COMMITS_PER_LOOK == 0 or self.transactions == 1:
                # Not behind the answer, where it would be a race with the event loop for the interpreter lock.
                self._measure_wal()

    def _fail(self, jobs: list[Job], error: BaseException) -> None:
        if self.db.in_transaction:
            with contextlib.suppress(sqlite3.Error):
                self.db.execute("ROLLBACK")
        for job in jobs:
            job.error = job.error or error

    # ------------------------------------------------------------ the queue between processes

    def _enter(self, jobs: list[Job]) -> list[Job]:
        """Wait for the lock; return the jobs that still want it, with what came meanwhile."""
        gate = self._gate
        if gate is None:
            return jobs
        if gate.acquire(wait=False):
            return jobs
        with self._guard:
            self._waiting = jobs
        with contextlib.suppress(RuntimeError):
            jobs[0].loop.call_soon_threadsafe(self._expect_entry, jobs[0].loop, jobs)
        gate.acquire()
        with self._guard:
            jobs = (self._waiting or []) + self._jobs
            self._waiting = None
            self._jobs = []
        if not jobs:
            gate.release()
        return jobs

    def _expect_entry(self, loop: asyncio.AbstractEventLoop, jobs: list[Job]) -> None:
        # In the event loop, since the thread itself is asleep in the kernel until the lock is its own.
        loop.call_later(self._limits.busy, self._give_up_entry, loop, jobs)

    def _give_up_entry(self, loop: asyncio.AbstractEventLoop, jobs: list[Job]) -> None:
        with self._guard:
            if self._waiting is not jobs:
                return
            abandoned = [*jobs, *self._jobs]
            self._jobs = []
            self._waiting = again = list[Job]()
        error = StoreUnavailableError(
            f"another process has kept the database locked for {self._limits.busy:g} s; is one stopped, or in a long "
            "transaction?"
        )
        for job in abandoned:
            job.error = error
        deliver(abandoned)
        self._expect_entry(loop, again)

    def _leave(self) -> None:
        if self._gate is not None:
            self._gate.release()

    # ------------------------------------------------------------ other processes

    def _data_version(self) -> int:
        version: int = self.db.execute("PRAGMA data_version").fetchone()[0]
        return version

    def _look_around(self) -> None:
        now = machine.monotonic()
        if now < self._looked_at + self._limits.look_around * 0.9:
            return
        self._looked_at = now
        with contextlib.suppress(sqlite3.Error):
            version = self._data_version()
            if version != self._version:
                self._version = version
                self._stirred_at = now
                self._on_foreign_commit()

    # ------------------------------------------------------------ the write-ahead log

    def _measure_wal(self) -> None:
        """See how long the log is, and that it is still there: SQLite would go on writing into one that nobody can open."""
        if self._wal is None:
            return
        try:
            found = os.stat(self._wal)
        except FileNotFoundError:
            inode = 0
        except OSError:
            return
        else:
            self._wal_bytes, inode = found.st_size, found.st_ino
            self._wal_inode = self._wal_inode or inode  # we have it open, so that it keeps its number
        if inode != self._wal_inode and not self._wal_removed:
            self._wal_removed = True
            self._commits_planned = 0  # what stands in it is moved into the database at once

    def _tend_wal(self, gate: FileLock) -> None:
        """Checkpoint when there is enough to move, or when nothing is written.

        After a checkpoint of all of it the log is written from its beginning again, and the file system syncs what is
        written over in half the time of a file that grows. So it is moved often, and the file is kept.
        """
        if (
            self._commits >= self._commits_planned
            or self._wal_bytes > self._wal_limit
            or machine.monotonic() >= self._committed_at + self._limits.idle
        ):
            self._checkpoint(gate)

    def _checkpoint(self, gate: FileLock) -> None:
        """Move the log into the database, as far as its readers allow; when it is far too long, cut the file off as well."""
        if not gate.acquire(wait=False):
            return  # somebody else writes: again behind the next commit
        commits, self._commits = self._commits, 0
        try:
            # A reader is not waited for: what it still needs stays in the log until the next time.
            self.db.execute("PRAGMA busy_timeout = 0")
            mode = "TRUNCATE" if self._wal_bytes > 2 * self._limits.wal_bytes else "PASSIVE"
            frames = self.db.execute(f"PRAGMA wal_checkpoint({mode})").fetchone()[1]
            fill_it = commits * self._limits.wal_bytes // PAGE_BYTES // max(frames, 1)
            self._commits_planned = max(1, min(self._limits.wal_commits, fill_it))
            # The size of the file tells how long the log once was. When it grows, the log is longer than ever.
            self._measure_wal()
            self._wal_limit = max(self._limits.wal_bytes, self._wal_bytes)
        except sqlite3.Error:
            pass  # the log only grows: again when it has
        finally:
            self.db.execute(f"PRAGMA busy_timeout = {round(self._limits.busy * 1000)}")
            gate.release()

    def _close(self) -> None:
        # The last connection to a database checkpoints and removes the log: a write, so under the lock as all others.
        if self._gate is not None:
            self._gate.acquire()
        self.db.close()
        if self._gate is not None:
            self._gate.close()
