"""Running a plan, and judging what came of it."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable, Generator, Sequence
from functools import partial
from typing import Any

from msgspec import Struct, structs

from durable import Worker
from durable._internal.instants import SECOND
from durable.client import Client
from durable.converter import default
from durable.exceptions import DurableError, StoreError
from durable.testing.invariants import EffectLedger, Evidence, Operation, Violation, check, read_snapshot
from durable.testing.invariants import Fault as FaultInterval
from durable.testing.simulation._clients import Clients
from durable.testing.simulation._judging import against_model, replayed
from durable.testing.simulation._making import make_plan
from durable.testing.simulation._network import LATEST, Database, SimulatedStore
from durable.testing.simulation._plan import FATES, FAULTS_STOP, OF_WORKERS, Fault, Plan
from durable.testing.simulation._programs import definitions
from durable.testing.simulation._world import Host, Stuck, World, die
from durable.workflow._definition import WorkflowDefinition
from durable.workflow._workflow import collect

LEASE = 1.5
"""Seconds of a worker's lease."""

SAFETY_ENDS = 20.0
"""Seconds after which a simulation ends in which faults go on."""

REST = 60.0
"""Seconds behind the last fault within which everything comes to its end: leases, backoffs, and the work itself."""


class Report(Struct, frozen=True):
    """What came of a simulation.

    Attributes:
        plan: What was to be done.
        problems: What was wrong, empty when nothing was.
        digest: A digest of the trace: the same plan gives the same.
        trace: The trace, if it was to be kept.
        seconds: How much time passed in it.
        turns: How often somebody had a turn.
        operations: How many operations clients asked for.
        events: How many events were written.
    """

    plan: Plan
    problems: tuple[str, ...]
    digest: str
    trace: tuple[str, ...] = ()
    seconds: float = 0.0
    turns: int = 0
    operations: int = 0
    events: int = 0


class _Process:
    """A worker's or client's place: the process that is in it now, and what it has."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.births = 0
        self.host: Host | None = None
        self.store: SimulatedStore | None = None
        self.main: asyncio.Task[None] | None = None
        self.worker: Worker | None = None


class Simulation:
    """One run of a plan."""

    def __init__(self, plan: Plan, *, keep: bool = False) -> None:
        self.plan = plan
        self.world = World(plan.seed, keep=keep)
        self.began = self.world.now
        self.database = Database(self.world, leases=plan.leases)
        self.database.lost_hints = plan.lost_hints
        self.ledger = EffectLedger(clock=lambda: self.world.now / SECOND)
        self.asking = Clients(plan, self.world)
        self.workers = [_Process(f"worker{number}") for number in range(len(plan.workers))]
        self.clients = [_Process(f"client{number}") for number in range(plan.clients)]
        self.newer = list(plan.workers)
        self.deploying = any(plan.workers)
        self._served: dict[bool, tuple[Sequence[Any], Sequence[Any]]] = {}
        self._types: dict[str, WorkflowDefinition] = {}
        self._asked = {ask.workflow for ask in plan.asks if ask.kind == "result"}
        self.broken: list[FaultInterval] = []
        self.critical: list[str] = []
        self.replay_problems: list[str] = []
        self.ledgered: frozenset[str] = frozenset({"simulation.add", "simulation.deadly"})
        self.abandoned: set[_Process] = set()
        self.world.forget = self._forget

    def _forget(self) -> None:
        self.database.stores.clear()
        self.database.holders.clear()
        self.database.processes.clear()
        self.abandoned.clear()
        for place in (*self.workers, *self.clients):
            place.host = place.store = place.main = place.worker = None

    # ------------------------------------------------------------ processes

    def _start_worker(self, number: int) -> None:
        place = self.workers[number]
        workflows, activities = self._definitions(number)

        async def main(client: Client) -> None:
            worker = Worker(
                client,
                workflows=workflows,
                activities=activities,
                lease_duration=LEASE,
                max_cached_workflows=self.plan.cached,
                disable_eager_activity_execution=not self.plan.eager,
                guard="off",
            )
            place.worker = worker
            async with worker:
                await asyncio.Event().wait()

        self._start(place, main)

    def _start_client(self, number: int) -> None:
        place = self.clients[number]

        async def main(client: Client) -> None:
            client._connection.patiently.patience = 1e9
            operator = asyncio.ensure_future(self._operate(client))
            await self._use(client, number)
            await operator

        self._start(place, main)

    def _start(self, place: _Process, main: Callable[[Client], Any]) -> None:
        place.births += 1
        host = place.host = self.world.host(f"{place.name}.{place.births}")
        self.world.tell(host, "starts")

        async def program() -> None:
            store = place.store = SimulatedStore(self.database, host)
            there: Any = store
            client = Client(there, namespace="default", identity=host.name, data_converter=default())
            try:
                await main(client)
            except StoreError as error:  # as a program ends by it; a supervisor starts it again
                self.world.tell(host, f"ended: {error}")
                host.kill()
                self.world.after(0.5, lambda: self._again(place))

        place.main = self.world.spawn(host, program)

    def _again(self, place: _Process) -> None:
        """Start a process in the place of one that ended."""
        if place in self.abandoned or (place.host is not None and place.host.alive):
            return
        if place in self.workers:
            self._start_worker(self.workers.index(place))

    def _die(self) -> None:
        """Let code of a worker end its process."""
        now, host = self.world.now / SECOND, self.world.running
        (place,) = [place for place in self.workers if place.host is host]
        self.broken.append(FaultInterval(now - 0.1, now + 2 * LEASE + 3, "death"))
        die()
        self.world.after(0.5, lambda: self._again(place))

    # ------------------------------------------------------------ what is simulated

    def _definitions(self, number: int) -> tuple[Sequence[Any], Sequence[Any]]:
        """Return the workflows and the activities of a worker."""
        return self._version(newer=self.newer[number])

    def _version(self, *, newer: bool) -> tuple[Sequence[Any], Sequence[Any]]:
        """Return what a version of the code defines."""
        if newer not in self._served:
            self._served[newer] = definitions(self.ledger, newer=newer, die=self._die)
        return self._served[newer]

    async def _use(self, client: Client, number: int) -> None:
        """Do what a client does."""
        await self.asking.use(client, number)

    async def _operate(self, client: Client) -> None:
        """Free runs that were there when their workers were killed three times, as an operator does who knows better."""
        while self.plan.mode == "liveness":
            await asyncio.sleep(FAULTS_STOP / 2)
            for workflow_id, run_id in self.database.quarantined():
                with contextlib.suppress(DurableError):
                    await client.get_workflow_handle(workflow_id, run_id=run_id).unblock(
                        "it was not its fault"
                    )

    # ------------------------------------------------------------ faults

    def _plan_faults(self) -> None:
        for fault in self.plan.faults:
            self.world.after(fault.at, lambda fault=fault: self._break(fault))  # type: ignore[misc]
        if self.plan.mode == "liveness":
            self.world.after(FAULTS_STOP, self._heal)

    def _break(self, fault: Fault) -> None:
        kind, lasts = fault.kind, fault.lasts
        places = self.workers if kind in OF_WORKERS else [*self.workers, *self.clients]
        place = places[fault.target % len(places)]
        host, store = place.host, place.store
        self.world.tell(host, f"fault {kind} {lasts} {fault.on}")
        now = self.world.now / SECOND
        until = REST if kind == "hang" else abs(lasts) + 2 * LEASE + (LATEST if kind in FATES else 3)
        self.broken.append(FaultInterval(now - 0.1, now + until, kind))
        if kind == "jump":
            self.world.db_ahead += round(lasts * SECOND)
        elif host is None or store is None or not host.alive:
            return
        elif kind in ("kill", "swap"):
            if kind == "swap":
                number = self.workers.index(place)
                self.newer[number] = not self.newer[number]
                self.deploying = True
            host.kill()
            self.world.after(lasts, lambda: self._again(place))
        elif kind == "freeze":
            host.freeze()
            self.world.after(lasts, host.thaw)
        elif kind == "hang":
            host.hang()
        elif kind == "evict":
            host.parts[0].call_soon(partial(_evict, place.worker))  # type: ignore[union-attr]
        elif kind in FATES:
            store.fates.append(fault)
            if kind.startswith("killed"):
                host.at_death.append(lambda: self.world.after(0.5, lambda: self._again(place)))
        else:  # its network is cut, mute, deaf or slow
            setattr(store, kind, True)
            self.world.after(lasts, lambda: None if place in self.abandoned else setattr(store, kind, False))

    def _heal(self) -> None:
        """Let nothing be broken any more, but for what hangs; or one worker only, and the others have no network for ever."""
        core = None if self.plan.core is None else self.workers[self.plan.core % len(self.workers)]
        self.world.tell(None, "nothing is broken any more" + ("" if core is None else f" at {core.name}"))
        if self.deploying:
            # The deploy comes to its end: an old version cannot go on with what a newer one has run.
            for number, newer in enumerate(self.newer):
                host = self.workers[number].host
                if not newer and host is not None:
                    host.kill()
            self.newer = [True] * len(self.newer)
        for place in (*self.workers, *self.clients):
            host, store = place.host, place.store
            if core is not None and place in self.workers and place is not core:
                self.abandoned.add(place)
                if store is not None and host is not None and not host.hangs:
                    store.cut = True
                if host is not None and not self.plan.leases:
                    host.kill()  # who holds a lock and stands still is never taken for dead
                continue
            if store is not None:
                store.heal()
            if host is not None:
                if host.hangs and place is core:
                    host.kill()
                host.thaw()
            self._again(place)

    # ------------------------------------------------------------ the whole

    def run(self) -> Report:
        """Run all of it, and judge."""
        problems: list[str] = []
        with _quiet(self.critical), self.world.entered():
            for number in range(len(self.workers)):
                self._start_worker(number)
            for number in range(len(self.clients)):
                self._start_client(number)
            self._plan_faults()
            last = FAULTS_STOP + REST if self.plan.mode == "liveness" else SAFETY_ENDS
            began = self.world.now
            try:
                ended = self.world.run(self._all_answered, began + round(last * SECOND))
                problems += [] if ended or self.plan.mode == "safety" else [self._what_is_open()]
            except Stuck as error:
                problems.append(f"stuck: {error}")
            seconds = (self.world.now - began) / SECOND
            problems += self.critical
            violations, events = self._judge(liveness=self.plan.mode == "liveness")
        problems += [str(one) for one in violations]
        problems += self.database.stale
        problems += self.world.defects
        problems += self.replay_problems
        problems += self._wrong_results()
        self.database.db.close()
        return Report(
            self.plan,
            tuple(problems),
            self.world.digest,
            tuple(self.world.lines),
            seconds,
            self.world.turns,
            len(self.operations),
            events,
        )

    @property
    def operations(self) -> list[Operation]:
        """What clients asked for."""
        return [one for log in self.asking.logs for one in log.operations]

    def _all_answered(self) -> bool:
        return len(self.asking.results) == len(self._asked)

    def _what_is_open(self) -> str:
        asked = {ask.workflow for ask in self.plan.asks if ask.kind == "result"}
        return (
            f"not ended in time: {', '.join(f'w{one}' for one in sorted(asked - self.asking.results.keys()))}"
        )

    def _judge(self, *, liveness: bool) -> tuple[list[Violation], int]:
        """Hold what is left against the invariants, from a process that nothing happens to."""
        found: list[Any] = []
        judge = self.world.host("judge")

        async def look() -> None:
            there: Any = SimulatedStore(self.database, judge)
            found.append(await read_snapshot(there))

        looking = self.world.spawn(judge, look)
        for place in (*self.workers, *self.clients):
            if place.host is not None:
                place.host.kill()
        self.world.run(lambda: bool(found), self.world.now + 60 * SECOND, self.world.turns + 10_000)
        looking.result()
        (snapshot,) = found
        back = sum(-fault.lasts for fault in self.plan.faults if fault.kind == "jump" and fault.lasts < 0)
        snapshot = structs.replace(snapshot, now=snapshot.now + round(back * SECOND))
        answered = frozenset(f"w{number}" for number in self.asking.results)
        evidence = Evidence(
            snapshot,
            operations=self.operations,
            effects=tuple(self.ledger.effects),
            ledger=self.ledgered,
            writes=self.database.writes,
            faults=self.broken,
            finished=answered if liveness else None,
        )
        self.replay_problems = [
            text
            for run in snapshot.runs.values()
            if not run.row.open and (definition := self._newest(run.row.workflow_type)) is not None
            for text in replayed(run, definition)
        ]
        for run in snapshot.runs.values():
            self.world.tell(
                None, f"{run.row.workflow_id} {run.row.run_id} {run.row.status} {len(run.events)}"
            )
        return check(evidence), sum(len(run.events) for run in snapshot.runs.values())

    def _newest(self, workflow_type: str) -> WorkflowDefinition | None:
        """Return the newest code of a workflow."""
        if not self._types:
            self._types = dict(collect(self._version(newer=True)[0], "default"))
        return self._types.get(workflow_type)

    def _wrong_results(self) -> list[str]:
        """Return what clients and activities should have seen and have not."""
        wrong = against_model(self.plan, self.asking.results, self.operations, self.ledger.effects)
        return [*self.asking.wrong, *wrong]


def _evict(worker: Worker | None) -> None:
    """Take the code of a worker's runs out of its memory, as a cache does that is full."""
    for host in (
        () if worker is None or worker._incarnation is None else [*worker._incarnation.hosts.values()]
    ):
        if host.at_rest:
            host.evict()


@contextlib.contextmanager
def _quiet(defects: list[str]) -> Generator[None]:
    """Workers warn of what is done to them on purpose; what is critical is a defect."""
    logger = logging.getLogger("durable")
    before, propagates = logger.level, logger.propagate
    handler = _Defects(defects)
    logger.setLevel(logging.CRITICAL)
    logger.propagate = False
    logger.addHandler(handler)
    try:
        yield
    finally:
        logger.setLevel(before)
        logger.propagate = propagates
        logger.removeHandler(handler)


class _Defects(logging.Handler):
    """Takes what workers call a defect for one."""

    def __init__(self, defects: list[str]) -> None:
        super().__init__(logging.CRITICAL)
        self._defects = defects

    def emit(self, record: logging.LogRecord) -> None:
        error = record.exc_info[1] if record.exc_info else None
        self._defects.append(f"critical: {record.getMessage()}: {error!r}")


def simulate(plan: Plan | int, *, keep: bool = False) -> Report:
    """Run a simulation in this process, and return what came of it.

    Args:
        plan: The plan, or the seed of one.
        keep: Whether to keep the trace, not its digest only.
    """
    return Simulation(make_plan(plan) if isinstance(plan, int) else plan, keep=keep).run()
