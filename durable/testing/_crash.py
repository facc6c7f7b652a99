"""A workflow whose worker is killed right before and right after everything that it writes.

Theory. A kill stops a process between two lines: nothing runs any more, no `finally` either. Here a worker has an event loop of
its own, in a thread of its own, and is killed by an exception that leaves the loop between two of its callbacks; what is killed
in the middle of a commit stays there. The loop is never run again, and everything that hangs on it is kept from being collected, since that would run what a kill does not. Of the
database, which all lives of an experiment share, a dead worker is forgotten as a dead process would be.

A plain function of an activity that runs in a thread cannot be stopped there; it runs to its end, and nobody hears of it.
"""

from __future__ import annotations

import asyncio
import ctypes
import inspect
import random
import threading
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Never, TypeVar, cast

from durable.client import WorkflowHandle
from durable.common import WorkflowIDConflictPolicy, WorkflowIDReusePolicy
from durable.exceptions import WorkflowAlreadyStartedError, WorkflowFailureError
from durable.history import CLOSING, Event, decode_data
from durable.store import Store, Transition
from durable.testing._clock import VirtualClock
from durable.testing._databases import Database, Postgres, SQLite, close_sockets, database_for
from durable.testing._environment import WorkflowEnvironment, start_of
from durable.testing._histories import History
from durable.testing._mocks import Mocks
from durable.testing._servers._server import PostgresServer
from durable.worker._incarnation import Incarnation
from durable.workflow._calls import WorkflowCall
from durable.workflow._workflow import Workflow

R = TypeVar("R")

PATIENCE = 30.0
"""Seconds that one life may take."""

Drive = Callable[[WorkflowHandle[Any, Any], WorkflowEnvironment], Awaitable[None]]


class Killed(SystemExit):
    """Ends a worker: the loop that a callback raises it in runs nothing behind it."""


@dataclass(frozen=True)
class CrashPoint:
    """Where a worker was killed.

    Attributes:
        commit: The number of the commit, from 1.
        before: Whether right before it, so that nothing of it is there; else right after it.
        events: What it wrote.
    """

    commit: int
    before: bool
    events: tuple[str, ...] = ()

    def __str__(self) -> str:
        wrote = ", ".join(self.events) or "no events"
        return f"right {'before' if self.before else 'after'} commit {self.commit} ({wrote})"


@dataclass
class CrashReport:
    """What came of killing a worker at every point.

    Attributes:
        results: The different results, or the different failures; one, unless something is wrong.
        crashes: Where workers were killed.
        duplicate_completions: How many activities, or runs, ended more than once in a history.
        histories: The history of each experiment, that without a crash first.
    """

    results: Any = field(default_factory=set[Any])
    crashes: list[CrashPoint] = field(default_factory=list[CrashPoint])
    duplicate_completions: int = 0
    histories: list[History] = field(default_factory=list[History])


async def crash_at_every_event(
    call: WorkflowCall[Any, Any],
    /,
    *,
    id: str = "crash",
    drive: Drive | None = None,
    before_each: Callable[[], object] = lambda: None,
    prepare: Callable[[str], object] | None = None,
    verify: Callable[[str], object] | None = None,
    evict: bool = False,
    postgres: PostgresServer | None = None,
    mocks: Mocks | None = None,
) -> CrashReport:
    """Run a workflow, then again for each of its commits with its worker killed right before it, and right after it.

    A commit is whatever its worker writes: events, the end of an attempt, the transaction of an activity.

    After each kill another worker takes over, as in production. The outcome must be the same each time, nothing may end twice
    in a history, and what was recorded must replay. Activities may run again: they are executed at least once.

    Args:
        call: The workflow with its arguments.
        id: The workflow's id.
        drive: Awaited in every life with the workflow's handle, to send what the workflow waits for; it must bear to be
            awaited again after a kill.
        before_each: Called before each experiment, to set what activities act on to where it was.
        prepare: Called, and awaited, with the URL of the database of each experiment before it, to make tables of the
            application in it.
        verify: Called, and awaited, with it behind each experiment; whatever it raises is said to come of the kill.
        evict: As in `WorkflowEnvironment`.
        postgres: A server on which each experiment gets a database of its own; on SQLite by default.
        mocks: Mocks that answer for activities, each experiment from their beginning.

    Raises:
        AssertionError: Something differs after a kill; the text names the first such point, and shows the history.
    """
    around = _Around(before_each, prepare, verify)
    made = _Experiments(call, id, drive, around, evict, postgres, mocks or Mocks())
    return await asyncio.to_thread(made.run)


@dataclass(frozen=True)
class _Around:
    """What the test does before and behind each experiment."""

    before_each: Callable[[], object]
    prepare: Callable[[str], object] | None
    verify: Callable[[str], object] | None

    def begin(self, database: _Database) -> None:
        self.before_each()
        if self.prepare is not None:
            _finish(self.prepare(database.place.url))

    def end(self, database: _Database, point: CrashPoint | None) -> None:
        if self.verify is None:
            return
        try:
            _finish(self.verify(database.place.url))
        except BaseException as error:
            error.add_note(f"behind an experiment in which the worker was killed {point or 'nowhere'}")
            raise


def _finish(answer: object) -> None:
    if inspect.isawaitable(answer):

        async def wait() -> None:
            await answer

        asyncio.run(wait())


class _Experiments:
    """All experiments with one workflow."""

    def __init__(
        self,
        call: WorkflowCall[Any, Any],
        id: str,
        drive: Drive | None,
        around: _Around,
        evict: bool,
        postgres: PostgresServer | None,
        mocks: Mocks,
    ) -> None:
        self.call = call
        self.workflow = Workflow[Any, ..., Any](call.definition)
        self.id = id
        self.drive = drive
        self.evict = evict
        self.postgres = postgres
        self.mocks = mocks
        self._around = around
        self._chance = random.getstate()
        self._report = CrashReport()

    def run(self) -> CrashReport:
        expected, commits = self._experiment(None)
        for number, events in enumerate(commits, 1):
            for before in (True, False):
                point = CrashPoint(number, before, events)
                outcome, _ = self._experiment(point)
                if outcome != expected:
                    history = self._report.histories[-1]
                    raise AssertionError(
                        f"killed {point}, the workflow gave {_shown(outcome)}, and else {_shown(expected)}:\n{history!r}"
                    )
        return self._report

    def _experiment(self, point: CrashPoint | None) -> tuple[Any, list[tuple[str, ...]]]:
        random.setstate(self._chance)  # `workflow.random()` gives the same in each
        self.mocks.rewind()
        database = _Database(self.postgres)
        try:
            self._around.begin(database)
            first = _Life(self, database, point)
            outcome = first.live()
            if point is not None and outcome is None:
                self._report.crashes.append(point)
                outcome = _Life(self, database, None).live()
            if outcome is None:
                raise AssertionError(f"killed {point}, the workflow did not end within {PATIENCE:g} s")
            self._judge(outcome, point)
            self._around.end(database, point)
            return outcome[:2], first.commits
        finally:
            database.close()

    def _judge(self, outcome: tuple[str, Any, History], point: CrashPoint | None) -> None:
        report = self._report
        history = outcome[2]
        report.histories.append(history)
        try:
            report.results.add(outcome[1])
        except TypeError:  # a result that no set takes
            report.results = [*report.results]
            if outcome[1] not in report.results:
                report.results.append(outcome[1])
        twice = _ended_twice(history.events)
        report.duplicate_completions += twice
        if twice:
            raise AssertionError(f"killed {point}, {twice} things ended twice:\n{history!r}")
        history.replay(self.workflow)


def _shown(outcome: tuple[str, Any]) -> str:
    return f"{outcome[0]} {outcome[1]!r}"


def _ended_twice(events: Sequence[Event]) -> int:
    ends = Counter[Any]()
    for event in events:
        name = type(event.data).__name__
        if isinstance(event.data, CLOSING):
            ends["run"] += 1
        elif name.startswith("ActivityTask") and name.endswith(
            ("Completed", "Failed", "TimedOut", "Canceled")
        ):
            ends[getattr(event.data, "id", None) or getattr(event.data, "scheduled_id", None)] += 1
    return sum(1 for count in ends.values() if count > 1)


class _Database:
    """What outlives a kill: a database, and its clock."""

    def __init__(self, server: PostgresServer | None) -> None:
        self.clock = VirtualClock(start_of(None))
        self.place = database_for(server, self.clock)
        self._in_memory: Store | None = None

    async def open(self) -> Store:
        if isinstance(self.place, Postgres) or self.place.is_file:
            return await self.place.open()
        if self._in_memory is None:
            self._in_memory = await self.place.open()
        return cast(Store, _Kept(self._in_memory))

    def bury(self, env: WorkflowEnvironment, loop: asyncio.AbstractEventLoop) -> None:
        """Do with what a life has of the database what the end of its process would."""
        store: Any = env._observed.store
        for worker in env.client.local.workers:
            if isinstance(worker, Incarnation):
                worker.lease.end()
                worker.watchdog.end()
                if isinstance(self.place, SQLite):
                    store.abandon(worker.worker_id)
        if isinstance(self.place, Postgres):
            close_sockets(loop)
            self.place.cut_off()
        elif self.place.is_file:
            env._observed.abandon()

    def close(self) -> None:
        if self._in_memory is not None:
            asyncio.run(self._in_memory.aclose())
        self.place.drop()


class _Kept:
    """A store that whoever has it closes in vain."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    async def aclose(self) -> None:
        """Leave it open for the next life."""


class _Environment(WorkflowEnvironment):
    """An environment on a database that outlives it."""

    def __init__(self, experiment: _Experiments, database: _Database) -> None:
        self._outlives = database
        super().__init__(evict=experiment.evict, mocks=experiment.mocks)

    def _made_in(self, postgres: PostgresServer | None, clock: VirtualClock | None) -> Database:
        return self._outlives.place

    async def _open(self) -> Store:
        return await self._outlives.open()

    def _drop(self) -> None:
        """Leave the database for the next life."""


class _Life:
    """One worker, from its start to its end or to its death.

    Attributes:
        commits: The events that each of its commits wrote, by name.
    """

    def __init__(self, experiment: _Experiments, database: _Database, point: CrashPoint | None) -> None:
        self._experiment = experiment
        self._database = database
        self._point = point
        self.commits: list[tuple[str, ...]] = []
        self._outcome: tuple[str, Any, History] | None = None
        self._error: BaseException | None = None
        self._env: WorkflowEnvironment | None = None
        self._loop = asyncio.new_event_loop()

    def live(self) -> tuple[str, Any, History] | None:
        """Return how the workflow ended; None when the worker was killed before."""
        thread = threading.Thread(target=self._run, name="durable-life")
        thread.start()
        thread.join(PATIENCE * 2)
        if self._error is not None:
            raise self._error
        return self._outcome

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        try:
            self._loop.run_until_complete(asyncio.wait_for(self._main(), PATIENCE))
        except Killed:
            assert self._env is not None
            self._database.bury(self._env, self._loop)
            # Nothing of it may be collected, ever: that would run what a kill does not.
            ctypes.pythonapi.Py_IncRef(ctypes.py_object(self))
            return
        except BaseException as error:
            self._error = error
        self._loop.run_until_complete(self._loop.shutdown_default_executor())
        self._loop.close()

    async def _main(self) -> None:
        experiment = self._experiment
        env = self._env = _Environment(experiment, self._database)
        env.hook("commit", self._commit)
        env.hook("finish_attempts", partial(self._write, ("the end of an attempt",)))
        env.hook("transaction.commit", partial(self._write, ("the transaction of an activity",)))
        try:
            await _take_over(env)
            handle: WorkflowHandle[Any, Any]
            try:
                handle = await env.client.start_workflow(
                    experiment.call,
                    id=experiment.id,
                    id_conflict_policy=WorkflowIDConflictPolicy.USE_EXISTING,
                    id_reuse_policy=WorkflowIDReusePolicy.REJECT_DUPLICATE,
                )
            except WorkflowAlreadyStartedError:  # the kill came when all was done
                handle = env.client.get_workflow_handle_for(experiment.workflow, experiment.id)
            else:
                if experiment.drive is not None:
                    await experiment.drive(handle, env)
            outcome: tuple[str, Any]
            try:
                outcome = "the result", await handle.result()
            except WorkflowFailureError as error:
                outcome = "the failure", str(error.cause)
            self._outcome = outcome[0], outcome[1], History(await handle.fetch_history())
        finally:
            await env.shutdown()

    async def _commit(
        self, method: Callable[[Sequence[Transition]], Awaitable[Any]], transitions: Sequence[Transition]
    ) -> Any:
        events = (decode_data(row.type, row.data) for one in transitions for row in one.events)
        return await self._write(tuple(type(one).__name__ for one in events), method, transitions)

    async def _write(
        self, what: tuple[str, ...], method: Callable[..., Awaitable[Any]], *args: Any, **kwargs: Any
    ) -> Any:
        self.commits.append(what)
        point = self._point
        here = point is not None and len(self.commits) == point.commit
        if here and point is not None and point.before:
            await self._die()
        answer = await method(*args, **kwargs)
        if here:
            await self._die()
        return answer

    async def _die(self) -> Never:
        """Kill the worker, in the very next callback; whoever awaits this stays where he is."""
        self._loop.call_soon(_kill)
        if (ready := getattr(self._loop, "_ready", None)) is not None:
            ready.rotate(1)  # before all others
        await self._loop.create_future()
        raise AssertionError("a dead worker went on")


def _kill() -> Never:
    raise Killed


async def _take_over(env: WorkflowEnvironment) -> None:
    """Free what dead workers have left, as any worker does after a while; all that there are are dead."""
    store = env.client.store
    for worker in await store.list_workers():
        await store.unregister_worker(worker.worker_id)
    await store.take_over(1000)
