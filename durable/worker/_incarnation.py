"""One incarnation of a worker: an identity in the database, and everything that acts under it.

An incarnation lives as long as its lease. It is started fresh, never resumed: another start, or a lease lost for good,
is another incarnation with another id, so nothing that the old one still had under way can be mistaken for the new
one's. All parts share the event loop; each has one loop of its own, or none, and all end with `run`.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
from collections import Counter
from collections.abc import Awaitable, Callable, Collection, Coroutine, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, TypeVar

from durable._engine._start import freed_by
from durable._internal.ids import uuid7
from durable._metering import MetricMeter
from durable._replay._intercepted import Interceptors
from durable._replay._turns import Turns
from durable.client._local import LocalRuns
from durable.exceptions import DeadlockError, StoreError, StoreUnavailableError, WorkflowQueryFailedError
from durable.history import EventData, EventRow, Payload, Payloads, decode_data
from durable.store import (
    ClaimedRun,
    Hint,
    HintKind,
    Store,
    UpdateOutcome,
    WorkerRecord,
)
from durable.worker._activities import Activities
from durable.worker._claims import Claims
from durable.worker._clock import DatabaseClock, GivenClock, boottime
from durable.worker._committer import RETRY_FIRST, RETRY_LONGEST, Committer
from durable.worker._condemned import Condemned, condemns
from durable.worker._gate import Gate
from durable.worker._glances import Glances
from durable.worker._held_runs import HeldRuns
from durable.worker._housekeeping import Housekeeping
from durable.worker._lease import LeaseKeeper
from durable.worker._life import Life, WorkerLifeEventKind
from durable.worker._newborn import Newborns
from durable.worker._observed import (
    ObservedActivities,
    ObservedCommitter,
    ObservedRunHost,
    Observer,
    traced,
)
from durable.worker._options import WorkerOptions
from durable.worker._processes import Processes
from durable.worker._questions import Questions
from durable.worker._rounds import rounds
from durable.worker._run_host import RunHost
from durable.worker._run_slots import RunSlots
from durable.worker._schedules import Schedules
from durable.worker._slots import Slots, slots_of, threads_for
from durable.worker._suppliers import SlotKind, SlotPermit, SlotSupplier
from durable.worker._timers import Timers
from durable.worker._turn_queue import TurnQueue
from durable.worker._versioning import Versions
from durable.worker._watchdog import Watchdog

logger = logging.getLogger("durable.worker")

T = TypeVar("T")

LOOK_AT_LEASE = 0.5
"""Seconds until a lease that was not held is looked at again, whatever its thread has told meanwhile."""

LOOK_AGAIN = 0.02
"""Seconds until messages are read again that came for a run which was not ready for them."""

RELEASE_WITHIN = 10.0
"""Seconds that handing all runs back may take when a worker stops."""


class Incarnation:
    """See the module. It is what run hosts call home."""

    def __init__(self, store: Store, options: WorkerOptions, local: LocalRuns, life: Life) -> None:
        self._tracing = options.tracing if options.tracing is not None and options.tracing.on else None
        if self._tracing is not None:
            options = traced(options, self._tracing)
        self.store = store
        self.options = options
        self.worker_id = uuid7()
        self.identity = options.identity
        self.namespace = options.namespace
        self.task_queue = options.task_queue
        self.converter = options.converter
        self.leaving = self._left = False
        self._versions = Versions(self, options.version)
        self.gate = Gate(self)
        self._local = local
        self._life = life
        self._when_held: list[Callable[[], None]] = []
        self._tasks: set[asyncio.Task[Any]] = set()
        self._loop = asyncio.get_running_loop()
        self._lost = asyncio.Event()
        self._stopping = asyncio.Event()
        self.started = asyncio.Event()
        self.newborns = Newborns(self)
        self.wants, self.adopt = self.newborns.wants, self.newborns.adopt
        self.claim_starts = self.newborns.claim_starts
        self._slots: dict[str, Slots] = {}
        metrics = options.metrics if options.metrics is not None and options.metrics.on else None
        spans = None if self._tracing is None else self._tracing.spans
        observed = metrics is not None or spans is not None
        self.observer = Observer(self, metrics, spans, self._slots) if observed else None
        self._new_host = RunHost if self.observer is None else ObservedRunHost
        about = {"namespace": options.namespace, "task_queue": options.task_queue}
        self.meter = MetricMeter.noop if metrics is None else metrics.meter(about)
        workflows = options.workflow_supplier
        self.run_slots = None if workflows is None else RunSlots(self._slots_for("workflow", workflows))
        self.held = HeldRuns[RunHost](options.cached_workflows, self.run_slots)
        self.hosts = self.held.hosts
        self.fatal: BaseException | None = None
        self.lost_by: BaseException | None = None

    @property
    def lost(self) -> bool:
        """Whether it may act no longer."""
        return self._lost.is_set()

    @property
    def stopping(self) -> bool:
        """Whether it is about to leave, so that it begins nothing new."""
        return self._stopping.is_set()

    @property
    def on_probation(self) -> bool:
        """Whether it holds a run that may end it, and wants no others beside."""
        return self.claims.on_probation

    @property
    def versions(self) -> Versions:
        """What is known of versions."""
        return self._versions

    # ------------------------------------------------------------------ life

    async def run(self) -> bool:
        """Work until `stop` is called, or the lease is lost for good.

        Returns:
            Whether another incarnation should follow.
        """
        try:
            await self._begin()
        except BaseException:
            # Registered or not: nothing of it will act, and nobody shall wait for its lease.
            with contextlib.suppress(StoreError):
                await self.store.unregister_worker(self.worker_id)
            raise
        loops = [
            self._loop.create_task(part, name=f"durable {name}")
            for name, part in (
                ("committer", self.committer.run()),
                ("reports", self.activities.reports.run()),
                ("claims", self.claims.run()),
                ("glances", self.glances.run()),
                ("housekeeping", self.housekeeping.run()),
                ("questions", self.questions.run()),
                ("schedules", self.schedules.run()),
                *rounds(self, self.observer),
            )
        ]
        stopping = self._loop.create_task(self._stopping.wait())
        lost = self._loop.create_task(self._lost.wait())
        self.started.set()
        self._local.attach(self)
        try:
            done, _ = await asyncio.wait([*loops, stopping, lost], return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                if task in loops:
                    task.result()
                    raise AssertionError("a part of the worker came to an end by itself")
            self._local.detach(self)
            if self._stopping.is_set() and not self._lost.is_set():
                await self._leave()
                return False
            if self.observer is not None:
                self.observer.lease_lost()
            logger.warning(
                "worker %s was declared dead by others; starting over as a new one", self.worker_id
            )
            return not self._stopping.is_set()
        finally:
            self._local.detach(self)
            self._end()
            if not self._left:
                # It will not act again: others need not wait for the end of its lease.
                with contextlib.suppress(StoreError):
                    await self.store.unregister_worker(self.worker_id)
            for slots in self._slots.values():
                await slots.stop()
            tasks: list[asyncio.Task[Any]] = [*loops, stopping, lost, *self._tasks]
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            await self.lease.stop()
            await self.watchdog.stop()

    async def _begin(self) -> None:
        options = self.options
        since = boottime()
        lease = await self.store.register_worker(
            WorkerRecord(
                worker_id=self.worker_id,
                identity=options.identity,
                task_queues=(options.task_queue,),
                lease=options.lease,
                renewals=0,
                expired=False,
                dead=False,
                version=options.version,
            )
        )
        self.watchdog = Watchdog(warn_after=options.warn_after, break_after=options.break_after)
        self.lease = LeaseKeeper(
            lease,
            options.lease,
            alive=lambda: self.watchdog.alive,
            on_change=self._lease_changed,
            since=since,
        )
        if (clock := self._local.clock) is None:
            self.clock = DatabaseClock(await self.store.now())
        else:
            self.clock = GivenClock(clock)
        new_committer = Committer if self.observer is None else partial(ObservedCommitter, self.observer)
        self.committer = new_committer(
            self.store, self.worker_id, self.clock, self.lease, adopt=self.newborns.adopt_started
        )
        self.turns = TurnQueue(self.watchdog, self.clock, self.defect)
        self.timers = Timers(self.clock, self.defect)
        self.executor = ThreadPoolExecutor(
            threads_for(options.activity_supplier) + threads_for(options.local_activity_supplier),
            thread_name_prefix="durable-activity",
        )
        self.activities = self._new_activities()
        if options.queue_activities_per_second is not None:
            await self.store.set_rate(options.task_queue, options.queue_activities_per_second)
        self.activities.queue_rate = await self.store.read_rate(options.task_queue)
        self.claims = Claims(self)
        self.housekeeping = Housekeeping(self)
        self.questions = Questions(self)
        self.condemned = Condemned(self)
        self.schedules = Schedules(self)
        self.glances = Glances(
            self,
            due=self.claims.look,
            overdue=self.housekeeping.look,
            asked=self.questions.look,
            scheduled=self.schedules.due,
            gated=self.claims.glanced,
        )
        await self._versions.look()
        await self.gate.look()
        self.lease.start()
        self.watchdog.start()
        if self.observer is not None:
            self.observer.begin()

    def _new_activities(self) -> Activities:
        options = self.options
        given, shared = options.activity_executor, options.shared_state_manager
        processes = None if given is None or shared is None else Processes(given, shared, self.executor)
        new_activities = Activities if self.observer is None else partial(ObservedActivities, self.observer)
        return new_activities(
            self.store,
            self.worker_id,
            identity=options.identity,
            namespace=options.namespace,
            task_queue=options.task_queue,
            client=options.client,
            served=options.activities,
            converter=options.converter,
            slots=self._slots_for("activity", options.activity_supplier),
            local_slots=self._slots_for("local-activity", options.local_activity_supplier),
            executor=self.executor if given is None or processes is not None else given,
            processes=processes,
            transactions=options.transactions,
            fatal=self._end_by,
            clock=self.clock,
            defect=self.defect,
            interceptors=options.interceptors,
            eager=options.remote_activities and options.eager_activities,
            per_second=options.activities_per_second,
            closed=self._sole_closed,
            meter=self.meter,
        )

    def _slots_for(self, kind: SlotKind, supplier: SlotSupplier) -> Slots:
        options = self.options
        made = slots_of(
            supplier,
            kind,
            task_queue=options.task_queue,
            identity=options.identity,
            version=options.deployment_version,
            resources=options.resources,
        )
        self._slots[kind] = made
        return made

    def _end_by(self, error: BaseException) -> None:
        """Leave, since the worker cannot do its work any more; no other incarnation could."""
        if self.fatal is None:
            logger.critical("the worker ends, since its activity executor is broken", exc_info=error)
            self.fatal = error
            self._stopping.set()

    def stop(self) -> None:
        """Begin to leave: no more claims; activities get their grace; then everything is handed back."""
        self._stopping.set()

    async def _leave(self) -> None:
        self.claims.stop()
        await self._life.tell(WorkerLifeEventKind.STOPPING, self.worker_id)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(RELEASE_WITHIN):
                while self.claims.claiming:  # noqa: ASYNC110 - what it brings is ours, and leaves like the rest
                    await asyncio.sleep(0.002)
        await self.activities.drain(self.options.grace)
        await self._life.tell(WorkerLifeEventKind.DRAINED, self.worker_id)
        self.leaving = True
        if self.run_slots is not None:
            self.run_slots.open()
        for host in list(self.hosts.values()):
            host.pump()
        try:
            async with asyncio.timeout(RELEASE_WITHIN):
                while self.hosts or not self._at_rest:  # noqa: ASYNC110
                    # Three parts come to rest, each in its own time, and may wake each other until all have.
                    await asyncio.sleep(0.002)
                await self.store.unregister_worker(self.worker_id)
                self._left = True
        except (TimeoutError, StoreUnavailableError) as error:
            logger.warning(
                "%d runs could not be handed back in time (%s); others take them over when the lease ends",
                len(self.hosts),
                str(error) or "timeout",
            )

    @property
    def _at_rest(self) -> bool:
        """Whether no part is in the middle of something that may still bring or write runs."""
        return self.committer.idle and self.activities.reports.idle and not self.claims.claiming

    def _end(self) -> None:
        """Stop acting, at once."""
        if self.observer is not None:
            self.observer.end()
        self.lease.end()
        self.claims.stop()
        self.activities.kill()
        self.timers.stop()
        self.turns.clear()
        for host in list(self.hosts.values()):
            host.drop()
        self.executor.shutdown(wait=False, cancel_futures=True)

    def _lease_changed(self) -> None:
        self._loop.call_soon_threadsafe(self._look_at_lease)

    def _look_at_lease(self) -> None:
        """Act on what the lease is now; asked again now and then, since everything that waits for it waits here."""
        if self.lease.ended:
            self._lost.set()
        elif self.lease.held:
            waiting, self._when_held = self._when_held, []
            for callback in waiting:
                callback()
        elif self._when_held:
            self._loop.call_later(LOOK_AT_LEASE, self._look_at_lease)

    def time_moved(self, *, rows: bool) -> None:
        """Take the news that the database's clock was set: look at once at what may be due here; and at `rows` too."""
        self.timers.look()
        self.activities.time_moved()
        if rows:
            self.housekeeping.look()

    # ------------------------------------------------------------------ runs come and go

    def take(
        self, claimed: Sequence[ClaimedRun], *, fresh: bool = False, permits: list[SlotPermit] | None = None
    ) -> None:
        """Make hosts for runs that this worker now owns.

        Args:
            claimed: The runs.
            fresh: Whether nothing here ran them under this epoch.
            permits: Slots that were reserved for them; what is left over stays in the list.
        """
        for one in claimed:
            if any(map(condemns, one.messages)):
                # Nothing of it is run any more. That it is ours does not matter to whoever ends it.
                self.condemned.look()
                continue
            definition = self.options.workflow(one.run.workflow_type)
            assert definition is not None, one.run.workflow_type
            if not self.held.displace(one):
                continue
            host = self._new_host(self, one, definition, fresh=fresh)
            self.held.add(host, deaths=one.run.deaths)
            if self.run_slots is None or self.run_slots.enter(host, permits.pop() if permits else None):
                self.turns.add(host, opening=True)

    def forget(self, host: RunHost) -> None:
        """Take the news that a host is gone."""
        self.held.remove(host)
        self.committer.withdraw(host)
        if self.run_slots is not None:
            self.run_slots.leave(host)
        self.claims.room_made()

    def task_over(self, host: RunHost) -> None:
        """Take the news that a task of a host has run: its slot is free, and without a cache its code is not kept."""
        if self.options.cached_workflows == 0:
            host.evict()
        if self.run_slots is not None:
            self.run_slots.leave(host)

    def resting(self, host: RunHost) -> None:
        """Take the news that a host has nothing urgent to do: it may be evicted, and given up if there are too many."""
        self.task_over(host)
        self.held.park(host)
        self.gate.rests(host)

    def deadlock(self) -> DeadlockError:
        """Return what the watchdog knows about the turn it broke."""
        return DeadlockError(
            f"workflow code held the event loop for more than {self.watchdog.broken_after:g} s without awaiting, so its "
            f"turn was ended; it was here:\n{self.watchdog.broken_stack}"
        )

    def blocked(self, host: RunHost, error: BaseException) -> int:
        """Count a failed workflow task; return the microseconds until the next try."""
        self._local.blocked(host.run_id, host.workflow_id, error)
        if self.observer is not None:
            self.observer.blocked(host.workflow_type, error)
        return self.held.failed(host.run_id)

    def closed(self, host: RunHost) -> None:
        """Take the news that a run has closed; tell whoever waits, here and elsewhere."""
        self.held.closed(host.run_id)
        assert host.run is not None
        assert host.run.end is not None
        if self.observer is not None:
            self.observer.closed(host, host.run.end, host.run.state.time)
        self._local.closed(host.run_id, host.run.end)
        self.hint([Hint(HintKind.CLOSED, host.run_id), *freed_by(host.run.state.started)])
        if host.run.successor is None and (schedule_id := host.run.state.started.schedule_id):
            self.schedules.ended(schedule_id)
        if host.run.successor is None and host.run.untaken:
            logger.warning(
                "workflow %s (run %s) has ended, and nobody had received signals that were sent to it: %s",
                host.workflow_id,
                host.run_id,
                ", ".join(
                    f"{name} ({count})" for name, count in Counter(s.name for s in host.run.untaken).items()
                ),
            )

    def _sole_closed(self, run_id: str, event: EventRow) -> None:
        """Take the news that the run of an activity by itself has closed."""
        self._local.closed(run_id, decode_data(event.type, event.data))

    def updated(self, run_id: str, outcomes: Sequence[UpdateOutcome]) -> None:
        """Take the news that updates of a run have come further; tell whoever waits, here and elsewhere."""
        self._local.updated(run_id, outcomes)
        self.hint([Hint(HintKind.UPDATE, run_id)])

    def ended(self, run_id: str, event: EventData, workflow_type: str = "") -> None:
        """Take the news that a run, of whomever, was ended from outside its code; tell whoever waits."""
        host = self.hosts.get(run_id)
        if self.observer is not None:
            if host is not None and host.run is not None:
                self.observer.closed(host, event, self.clock.now())
            elif workflow_type:
                self.observer.ended(workflow_type, event)
        if host is not None:
            host.drop()
        self._local.closed(run_id, event)
        self.hint([Hint(HintKind.CLOSED, run_id)])
        self.schedules.look()

    # ------------------------------------------------------------------ what clients of this process ask

    def owns(self, run_id: str) -> bool:
        """Whether the run is this worker's."""
        return run_id in self.hosts

    def interceptors(self, task_queue: str, workflow_type: str) -> Interceptors:
        """Return what stands around the code of a workflow here, if this worker serves it."""
        served = task_queue == self.task_queue and self.options.workflow(workflow_type) is not None
        return self.options.workflow_interceptors if served else ()

    def query(
        self, run_id: str, name: str, input: Payloads, headers: Mapping[str, Payload]
    ) -> Payload | None:
        """Answer a query from memory, or None when the run is not here or something of it is under way."""
        host = self.hosts.get(run_id)
        instance = None if host is None else host.settled_instance
        if host is None or instance is None or not self.lease.held:
            return None

        def ask() -> Payload:
            with Turns() as turns:
                return instance.query(turns, name, input, headers)

        try:
            return self.unbroken(host, ask)
        finally:
            if instance.spoiled:
                host.evict()

    def give_rows(self, run_id: str, ids: Collection[int]) -> None:
        """Give rows to those of these activities that run beside their workflow here: an operator wants to reach them."""
        if (host := self.hosts.get(run_id)) is not None:
            host.give_rows(ids)

    def unbroken(self, run: object, work: Callable[[], Payload]) -> Payload:
        """Return what workflow code gives outside of its run's turns, unless it holds the event loop for too long.

        Raises:
            WorkflowQueryFailedError: It did, and was stopped.
        """
        given: list[Payload] = []
        if self.watchdog.during(run, lambda work: given.append(work()), work):
            if isinstance(run, RunHost):
                run.evict()
            raise WorkflowQueryFailedError(f"the query was stopped: {self.deadlock()}")
        return given[0]

    # ------------------------------------------------------------------ small services for hosts

    def defined(self, activity_type: str) -> str | None:
        """Return where an activity is defined, if this worker knows it."""
        activity = self.options.activities.get(activity_type)
        return None if activity is None else activity.definition.where

    def when_held(self, callback: Callable[[], None]) -> None:
        """Call back once the lease is certain again; never, if it is lost for good."""
        self._when_held.append(callback)
        self._loop.call_later(LOOK_AT_LEASE, self._look_at_lease)

    def hint(self, hints: Sequence[Hint]) -> None:
        """Tell others that something is worth a look."""
        self.store.hint(hints)

    def read_mail(self, run_id: str) -> None:
        """Read the messages of an owned run now."""
        self.claims.mail_for(run_id)

    def look_again(self, run_id: str) -> None:
        """Read the messages of a run again, a little later."""
        self._loop.call_later(LOOK_AGAIN, self.claims.mail_for, run_id)

    def spawn(self, coroutine: Coroutine[Any, Any, None]) -> None:
        """Run something beside, owned by this incarnation; an error in it ends the worker, loudly."""
        task = self._loop.create_task(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._spawned)

    @property
    def spawned(self) -> bool:
        """Whether anything runs beside."""
        return bool(self._tasks)

    def _spawned(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            self.defect(error)

    def defect(self, error: BaseException) -> None:
        """Take an error that should not have been: the incarnation ends, and another one starts from what is stored."""
        logger.critical("a defect in the worker, which starts over; please report it", exc_info=error)
        self.lost_by = error
        self.lease.end()
        self._lost.set()

    async def patiently(self, ask: Callable[[], Awaitable[T]]) -> T:
        """Ask the database, and again for as long as it is away."""
        wait = RETRY_FIRST
        while True:
            try:
                return await ask()
            except StoreUnavailableError as error:
                logger.warning("the database is away, trying again: %s", error)
                await asyncio.sleep(random.uniform(0, wait))
                wait = min(wait * 2, RETRY_LONGEST)
