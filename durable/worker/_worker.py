"""The worker as programs see it."""

from __future__ import annotations

import asyncio
import inspect
import logging
import os
import socket
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import Executor
from types import TracebackType
from typing import Any, Never, Self

from durable._internal.ids import check_name
from durable._internal.instants import SECOND, Duration, to_duration
from durable._internal.shown import shown
from durable._replay._guard import GuardMode, new_guard
from durable.activity._collect import collect as collect_activities
from durable.client import Archive, Client
from durable.exceptions import StoreUnavailableError
from durable.interceptor.worker import Interceptor, worker_interceptors, workflow_interceptors
from durable.store import TransactionSource
from durable.worker._executors import executable
from durable.worker._health import WorkerHealth, health_of
from durable.worker._incarnation import Incarnation
from durable.worker._life import Life, WorkerLifeEvent
from durable.worker._life import WorkerLifeEventKind as Kind
from durable.worker._options import WorkerOptions
from durable.worker._patches import PatchActivationInput, activation
from durable.worker._resources import Resources
from durable.worker._shared_state import SharedStateManager
from durable.worker._suppliers import FixedSizeSlotSupplier, WorkerTuner, count
from durable.worker._transactional import sources_of
from durable.worker._tuning import check_list, per_second, refuse, tuned
from durable.worker._versioning import WorkerDeploymentConfig, default_of, version_of
from durable.worker._watchdog import BREAK_AFTER, WARN_AFTER
from durable.workflow._definition import DYNAMIC
from durable.workflow._workflow import collect as collect_workflows

logger = logging.getLogger("durable.worker")

DEFAULT_LEASE = 15.0
"""Seconds after which others take over from a worker that is silent."""

SHORTEST_LEASE = 0.2
"""Seconds a lease lasts at least: shorter ones are missed by a busy process."""

SHORTEST_DEADLOCK = 1.0
"""Seconds the event loop may stand still at least: signs of life come several times in that time."""

START_OVER = 1.0
"""Seconds before a worker that ended by an error starts over."""

DEFAULT_CACHE = 1000
"""Runs kept in memory (Temporal's)."""

DEFAULT_SLOTS = FixedSizeSlotSupplier(100)
"""Activities at once (Temporal's)."""

DEFAULT_POLL = 1.0
"""Seconds between looks for work that no hint told of."""


class Worker:
    """Runs workflows and activities of one task queue, until it is told to stop.

    Any number of workers, in any number of processes, may serve a queue; each run has one owner at a time. A worker
    that dies is noticed by the others after its lease, and they go on where the log ends.

        async with Client.connect("sqlite:///app.db") as client, Worker(client):
            ...

    Args:
        client: The client whose database it works on.
        task_queue: The queue it serves.
        workflows: What it serves; all that were defined in this process for its queue, if left out.
        activities: The same for activities, whatever `workflows` says: left out, all that were imported for the queue or for
            none are served; `[]` serves none. Methods are listed with their instance.
        activity_executor: Where plain `def` activities run: a `ThreadPoolExecutor`, its own if left out; or a
            `ProcessPoolExecutor`, for those that need a processor to themselves. It is not shut down with the worker.
        shared_state_manager: What the worker shares with the processes of such a pool, see `SharedStateManager`.
        transactions: Who begins the transactions of transactional activities that ask for the sessions or connections of
            a library, on PostgreSQL; see `durable.contrib`.
        interceptors: What stands around what it runs, behind those of the client that serve workers; the first one
            outermost.
        identity: How people find it in lists and events; process and host by default.
        max_cached_workflows: How many runs it keeps in memory. 0 replays each run at every step.
        max_concurrent_workflow_tasks: How many runs may be at work at once: running their code, or having what it asked
            for written. Runs that wait for something do not count. As many as there is room for by default.
        max_concurrent_activities: How many activities run at once; 100 by default.
        max_concurrent_local_activities: How many local activities run at once, beside these; 100 by default.
        tuner: All of these numbers in one object.
        no_remote_activities: Whether it leaves all activities on the queue to other workers; local ones it runs.
        disable_eager_activity_execution: Whether activities of its own runs go through the queue, as those of others do.
        max_activities_per_second: How many attempts of activities it starts per second at most; no limit by default.
        max_task_queue_activities_per_second: How many all workers of the queue together start per second at most. It
            is kept in the database: the last worker that starts with one decides, and one without leaves it as it is;
            `Client.set_task_queue_rate` takes it away. With such a rate no activity of the queue starts without going
            through it.
        workflow_failure_exception_types: Further exceptions that fail any workflow which it runs, instead of blocking it.
        on_fatal_error: Awaited with the error when the worker ends by one, before `run` raises it.
        on_life_event: Called, and awaited, with each `WorkerLifeEvent`: the worker has started, stops, has stopped. It goes on
            to the next stage when that returns; until then its lease is kept. What is raised is logged.
        graceful_shutdown_timeout: How long activities may go on after `shutdown`.
        lease_duration: After how long a silence others take over.
        poll_interval: How often it looks for work that no hint told of.
        deadlock_timeout: How long a turn of workflow code may hold the event loop; then it is ended and the run blocked.
        patch_activation_callback: Whether `workflow.patched` turns a patch on in a run that asks for it for the first
            time; always, if left out. For a deploy that goes step by step: while workers of the old code are there,
            runs that they may have to go on with stay on the old way. It must decide at once and change nothing.
        deployment_config: Which version of the application it is, when it is to have only runs of that version; see
            `docs/versioning.md`. Nothing runs on such workers before their version is made current.
        guard: What to do about workflow code that calls what no replay sees again (a clock, random numbers, files, sockets,
            threads, processes): "warn" logs it, once for each line; "error" stops the call and blocks the run; "off" does not
            look. "warn" by default, "error" in a test environment. On Python 3.11 "warn" looks at a part of all turns only;
            see `docs/determinism.md`.
        archive: Keeps closed workflows that `Client.set_retention` lets be removed, before they are; `HistoryFiles` does, or
            any async function of lines of JSON, one for each run. Without one the worker removes only what is not to be
            exported.

    Raises:
        RegistrationError: Two definitions have one name, or something that is listed is none.
        ValueError: An option is out of its range.
    """

    def __init__(
        self,
        client: Client,
        *,
        task_queue: str = "default",
        workflows: Sequence[Any] | None = None,
        activities: Sequence[Any] | None = None,
        activity_executor: Executor | None = None,
        shared_state_manager: SharedStateManager | None = None,
        transactions: Sequence[TransactionSource] = (),
        interceptors: Sequence[Interceptor] = (),
        identity: str | None = None,
        max_cached_workflows: int = DEFAULT_CACHE,
        max_concurrent_workflow_tasks: int | None = None,
        max_concurrent_activities: int | None = None,
        max_concurrent_local_activities: int | None = None,
        tuner: WorkerTuner | None = None,
        no_remote_activities: bool = False,
        disable_eager_activity_execution: bool = False,
        max_activities_per_second: float | None = None,
        max_task_queue_activities_per_second: float | None = None,
        workflow_failure_exception_types: Sequence[type[BaseException]] = (),
        on_fatal_error: Callable[[BaseException], Awaitable[None]] | None = None,
        on_life_event: Callable[[WorkerLifeEvent], Awaitable[None] | None] | None = None,
        graceful_shutdown_timeout: Duration = 0,
        lease_duration: Duration = DEFAULT_LEASE,
        poll_interval: Duration = DEFAULT_POLL,
        deadlock_timeout: Duration = BREAK_AFTER,
        patch_activation_callback: Callable[[PatchActivationInput], bool] | None = None,
        deployment_config: WorkerDeploymentConfig | None = None,
        guard: GuardMode | None = None,
        archive: Archive | None = None,
        **elsewhere: Never,
    ) -> None:
        if elsewhere:
            refuse(elsewhere, sorted(inspect.signature(Worker).parameters.keys() - {"client", "elsewhere"}))
        check_list(workflows, "workflows")
        check_list(activities, "activities")
        check_list(transactions, "transactions")
        lease = to_duration(lease_duration, "lease_duration", allow_zero=False)
        if lease < SHORTEST_LEASE * SECOND:
            raise ValueError(
                f"lease_duration must be at least {SHORTEST_LEASE} s, not {shown(lease_duration)}"
            )
        self._client = client
        self._task_queue = check_name(task_queue, "task_queue")
        self._workflows = workflows
        self._activities = activities
        self._interceptors = (*worker_interceptors(client.interceptors), *interceptors)
        self._executor = activity_executor
        self._shared = shared_state_manager
        self._transactions = transactions
        self._identity = identity or client.identity or f"{os.getpid()}@{socket.gethostname()}"
        self._cached = count(max_cached_workflows, "max_cached_workflows", 0)
        self._tuner = tuned(
            tuner, max_concurrent_workflow_tasks, max_concurrent_activities, max_concurrent_local_activities
        )
        self._remote = not no_remote_activities
        self._eager = not disable_eager_activity_execution
        self._rate = per_second(max_activities_per_second, "max_activities_per_second")
        self._queue_rate = per_second(
            max_task_queue_activities_per_second, "max_task_queue_activities_per_second"
        )
        self._failures = exceptions(workflow_failure_exception_types)
        self._on_fatal_error = on_fatal_error
        self._life = Life(on_life_event, self._task_queue, self._identity)
        self._grace = to_duration(graceful_shutdown_timeout, "graceful_shutdown_timeout") / SECOND
        self._lease = lease
        self._poll = to_duration(poll_interval, "poll_interval", allow_zero=False) / SECOND
        self._break_after = to_duration(deadlock_timeout, "deadlock_timeout", allow_zero=False) / SECOND
        if self._break_after < SHORTEST_DEADLOCK:
            raise ValueError(
                f"deadlock_timeout must be at least {SHORTEST_DEADLOCK} s, not {shown(deadlock_timeout)}"
            )
        self._activates = activation(patch_activation_callback)
        self._deployment = deployment_config
        self._guard = new_guard(client.local.guard if guard is None else guard)
        if archive is not None and not callable(archive):
            raise TypeError(f"archive must be an async function of lines of JSON, not {archive!r}")
        self._archive = archive
        self._incarnation: Incarnation | None = None
        self._running: asyncio.Task[None] | None = None
        self._ready: asyncio.Future[None] | None = None
        self._stopping = False
        # Wrong definitions are found now, with the worker's own line in the traceback.
        self._options = self._collect()

    def _collect(self) -> WorkerOptions:
        client = self._client
        found = collect_workflows(self._workflows, self._task_queue)
        workflows = {name: one.failing_with(self._failures) for name, one in found.items()}
        activities = executable(
            collect_activities(self._activities, self._task_queue), self._executor, self._shared
        )
        return WorkerOptions(
            task_queue=self._task_queue,
            workflows={name: known for name, known in workflows.items() if name != DYNAMIC},
            dynamic_workflow=workflows.get(DYNAMIC),
            activities=activities,
            transactions=sources_of(activities, client.store, self._transactions),
            activity_executor=self._executor,
            shared_state_manager=self._shared,
            identity=self._identity,
            client=client,
            namespace=client.namespace,
            converter=client.data_converter,
            workflow_supplier=self._tuner.workflow_supplier,
            activity_supplier=self._tuner.activity_supplier or DEFAULT_SLOTS,
            local_activity_supplier=self._tuner.local_activity_supplier or DEFAULT_SLOTS,
            resources=Resources() if self._tuner.by_resources else None,
            remote_activities=self._remote,
            eager_activities=self._eager,
            activities_per_second=self._rate,
            queue_activities_per_second=self._queue_rate,
            cached_workflows=self._cached,
            lease=self._lease,
            grace=self._grace,
            poll=self._poll,
            warn_after=min(WARN_AFTER, self._break_after / 2),
            break_after=self._break_after,
            activates=self._activates,
            interceptors=self._interceptors,
            workflow_interceptors=workflow_interceptors(self._interceptors),
            version=(version := version_of(self._deployment)),
            deployment_version=self._deployment.version if self._deployment is not None and version else None,
            default_behavior=default_of(self._deployment, workflows.values()),
            guard=self._guard,
            archive=self._archive,
            metrics=client.metrics,
            tracing=client.tracing,
        )

    @property
    def client(self) -> Client:
        """The client whose database it works on."""
        return self._client

    @property
    def task_queue(self) -> str:
        """The queue it serves."""
        return self._task_queue

    @property
    def identity(self) -> str:
        """How people find it."""
        return self._identity

    @property
    def worker_id(self) -> str | None:
        """The id of the present incarnation, as the database knows it; None while it does not run."""
        return None if self._incarnation is None else self._incarnation.worker_id

    @property
    def is_running(self) -> bool:
        """Whether it has been started and has not stopped."""
        return self._running is not None and not self._running.done()

    @property
    def is_shutdown(self) -> bool:
        """Whether it was started and has stopped."""
        return self._running is not None and self._running.done()

    def health(self) -> WorkerHealth:
        """Return how it is, for probes; `HealthServer` answers them. Asked from the worker's own event loop."""
        return health_of(
            self._incarnation,
            started=self._running is not None,
            ended=self.is_shutdown,
            stopping=self._stopping,
        )

    async def run(self) -> None:
        """Work until `shutdown` is called, or this is cancelled, which shuts down too.

        Raises:
            RuntimeError: It was started before; make another one.
            StoreError: The database refused it at the start.
        """
        await self._start()
        assert self._running is not None
        try:
            await asyncio.shield(self._running)
        except asyncio.CancelledError:
            await self.shutdown()
            raise

    async def shutdown(self) -> None:
        """Stop claiming, give activities their grace, hand everything back, and return when that is done.

        Again does nothing more. What could not be handed back is taken over by others when the lease ends. Called by
        `on_life_event` it returns at once.
        """
        self._stopping = True
        if self._incarnation is not None:
            self._incarnation.stop()
        if self._running is not None and not self._life.told_here:
            await asyncio.wait([self._running])
            self._running.result()

    async def __aenter__(self) -> Self:
        await self._start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.shutdown()

    async def _start(self) -> None:
        if self._running is not None:
            raise RuntimeError("this worker was started before; make another Worker to go on")
        loop = asyncio.get_running_loop()
        self._ready = loop.create_future()
        self._running = loop.create_task(self._run(self._ready), name="durable worker")
        try:
            await asyncio.wait([self._running, self._ready], return_when=asyncio.FIRST_COMPLETED)
        except asyncio.CancelledError:
            # Nobody will leave the block that was not entered.
            await self.shutdown()
            raise
        if self._running.done():
            self._running.result()

    async def _run(self, ready: asyncio.Future[None]) -> None:
        try:
            await self._work(ready)
        except Exception as error:
            await self._life.tell(Kind.FATAL, error=error)
            await self._life.tell(Kind.STOPPED, error=error)
            if self._on_fatal_error is not None:
                await self._on_fatal_error(error)
            raise
        await self._life.tell(Kind.STOPPED)

    async def _work(self, ready: asyncio.Future[None]) -> None:
        store = self._client.store
        again, fatal = True, None
        while again and not self._stopping:
            incarnation = self._incarnation = Incarnation(
                store, self._options, self._client.local, self._life
            )
            announce = asyncio.create_task(_announce(incarnation, ready, self._life))
            lost_by: Exception | None = None
            try:
                again = await incarnation.run()
                fatal = incarnation.fatal
            except Exception as error:
                if not ready.done():
                    raise
                if isinstance(error, StoreUnavailableError):
                    logger.warning("the worker could not start over, trying again: %s", error)
                else:
                    logger.critical(
                        "a defect in the worker, which starts over; please report it", exc_info=error
                    )
                lost_by = error
            finally:
                announce.cancel()
                self._incarnation = None
            if fatal is not None:
                raise RuntimeError("the worker has ended, since its activity executor is broken") from fatal
            if again and not self._stopping:
                await self._life.tell(Kind.LOST, incarnation.worker_id, lost_by or incarnation.lost_by)
            if lost_by is not None:
                await asyncio.sleep(START_OVER)


async def _announce(incarnation: Incarnation, ready: asyncio.Future[None], life: Life) -> None:
    await incarnation.started.wait()
    await life.tell(Kind.STARTED, incarnation.worker_id)
    if not ready.done():
        ready.set_result(None)


def exceptions(kinds: Sequence[type[BaseException]]) -> tuple[type[BaseException], ...]:
    """Return exception classes that are some.

    Raises:
        TypeError: One is none.
    """
    for kind in kinds:
        if not (isinstance(kind, type) and issubclass(kind, BaseException)):
            raise TypeError(f"workflow_failure_exception_types takes exception classes, not {shown(kind)}")
    return tuple(kinds)
