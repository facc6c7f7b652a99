"""An environment: a database of its own, a client, workers and a clock, in the process of the test."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable, Generator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Never, ParamSpec, Self, TypeVar, Unpack, cast

from durable._engine._activities import decode_progress, scheduled_of
from durable._internal.instants import Duration, from_datetime, to_datetime, to_duration
from durable._internal.left_out import why_no_option
from durable._replay._guard import GuardMode
from durable.activity._activity import Activity
from durable.client import Client
from durable.client._start_options import DEFAULT_QUEUE, StartOptions
from durable.common import QueryRejectCondition
from durable.converter import DataConverter, default
from durable.exceptions import DurableError
from durable.interceptor.client import Interceptor, OutboundInterceptor, StartWorkflowInput
from durable.store import Store, TransactionSource
from durable.testing._clock import VirtualClock
from durable.testing._databases import Database, close_sockets, database_for
from durable.testing._histories import History
from durable.testing._looking import Looking
from durable.testing._mocks import ActivityMock, Mocks
from durable.testing._observed import Hook, ObservedStore
from durable.testing._servers._server import PostgresServer
from durable.testing._serving import activities_for, ambiguous, workflows_for
from durable.testing._time import Time
from durable.worker import Worker
from durable.worker._incarnation import Incarnation
from durable.workflow._calls import WorkflowCall
from durable.workflow._definition import WorkflowDefinition

logger = logging.getLogger("durable.testing")

P = ParamSpec("P")
R = TypeVar("R")

_SERVER = "nothing is downloaded and no server runs"


class NothingToComeError(DurableError):
    """An outcome is awaited that nothing will bring: no timer runs, no activity, and no worker has anything to do."""


class WorkflowEnvironment(Looking):
    """Workflows in a test: a database of its own, a client, workers and a clock that jumps over what is only waited for.

    Nothing is shared between two of them and nothing is started outside of the process, so tests run in parallel. It is
    opened by whatever is awaited of it first, and belongs to that event loop.

        async with await WorkflowEnvironment.start_time_skipping() as env:
            assert await env.run(publish(Doc("7"))) == "expired"  # after three days, at once

    `run` and whatever else waits for something start workers for it, which serve what is defined in this process. A test
    that makes its own, `Worker(env.client, ...)`, is left alone on its task queue.

    An error in the code of a workflow, which would block it and be tried again, is raised in the test at once.
    """

    def __init__(
        self,
        client: Client | None = None,
        *,
        data_converter: DataConverter | None = None,
        interceptors: Sequence[Interceptor] = (),
        identity: str = "test",
        default_workflow_query_reject_condition: QueryRejectCondition | None = None,
        time_skipping: bool = True,
        start: datetime | None = None,
        evict: bool = False,
        raise_task_failures: bool = True,
        guard: GuardMode = "error",
        postgres: PostgresServer | None = None,
        mocks: Mocks | None = None,
        record: bool = False,
        strict: bool = False,
    ) -> None:
        """Make one that is not open yet; `start_time_skipping`, `start_local` and `from_client` are the usual ways.

        Args:
            client: A client to use; with one of its own by default.
            data_converter: How values are stored.
            interceptors: What stands around the calls of the client, and around what workers run.
            identity: How the client and the workers are called in events.
            default_workflow_query_reject_condition: As in `Client.connect`.
            time_skipping: Whether the clock is the environment's, instead of the machine's.
            start: What that clock shows at first; now by default.
            evict: Whether the environment's own workers forget the code of every workflow after each task, so that each
                test also shows that it replays.
            raise_task_failures: Whether an error in the code of a workflow is raised in the test, instead of being logged
                and tried again as in production.
            guard: What workers do about workflow code that calls what no replay sees again, see `Worker`.
            postgres: A server on which it gets a database of its own; on SQLite by default.
            mocks: Mocks that several environments share.
            record: Whether `record_history` writes its file, if there is one already.
            strict: Whether it takes an argument of an activity that has changed for a failure.
        """
        self._mocks = mocks or Mocks()
        self._record = record
        self._strict = strict
        self._evict = evict
        self._raises = raise_task_failures
        self._failures: list[BaseException] = []
        self._workers: dict[str, Worker] = {}
        self._serving = asyncio.Lock()
        self._called: WorkflowDefinition | None = None
        self._given = client
        self._loop: asyncio.AbstractEventLoop | None = None
        self._clock: VirtualClock | None = None
        self._time: Time | None = None
        if client is not None:
            self._client = client
            client.local.on_blocked(self._blocked)
            client.local.guard = guard
            return
        self._database = self._made_in(postgres, VirtualClock(start_of(start)) if time_skipping else None)
        self._clock = self._database.clock
        self._observed = ObservedStore(
            self._open,
            self._opened,
            transaction_types=self._database.transaction_types,
        )
        self._client = Client(
            cast(Store, self._observed),
            namespace="default",
            identity=identity,
            data_converter=data_converter or default(),
            interceptors=(_Watching(self._expect), self._mocks, *interceptors),
            default_workflow_query_reject_condition=default_workflow_query_reject_condition,
        )
        self._client.local.on_blocked(self._blocked)
        self._client.local.guard = guard
        if self._clock is not None:
            self._client.local.clock = self._clock.now

    @classmethod
    async def start_time_skipping(
        cls,
        *,
        data_converter: DataConverter | None = None,
        interceptors: Sequence[Interceptor] = (),
        default_workflow_query_reject_condition: QueryRejectCondition | None = None,
        identity: str = "test",
        start: datetime | None = None,
        evict: bool = False,
        raise_task_failures: bool = True,
        guard: GuardMode = "error",
        postgres: PostgresServer | None = None,
        **elsewhere: Never,
    ) -> Self:
        """Return an open environment with a clock of its own; its options are those of `WorkflowEnvironment`.

        Raises:
            TypeError: There is no such option.
        """
        _refuse(elsewhere, "start_time_skipping")
        made = cls(
            data_converter=data_converter,
            interceptors=interceptors,
            default_workflow_query_reject_condition=default_workflow_query_reject_condition,
            identity=identity,
            start=start,
            evict=evict,
            raise_task_failures=raise_task_failures,
            guard=guard,
            postgres=postgres,
        )
        await made._observed.open()
        return made

    @classmethod
    async def start_local(
        cls,
        *,
        data_converter: DataConverter | None = None,
        interceptors: Sequence[Interceptor] = (),
        default_workflow_query_reject_condition: QueryRejectCondition | None = None,
        identity: str = "test",
        evict: bool = False,
        raise_task_failures: bool = True,
        guard: GuardMode = "error",
        postgres: PostgresServer | None = None,
        **elsewhere: Never,
    ) -> Self:
        """Return an open environment on the machine's clock; its options are those of `WorkflowEnvironment`.

        Raises:
            TypeError: There is no such option.
        """
        _refuse(elsewhere, "start_local")
        made = cls(
            data_converter=data_converter,
            interceptors=interceptors,
            default_workflow_query_reject_condition=default_workflow_query_reject_condition,
            identity=identity,
            time_skipping=False,
            evict=evict,
            raise_task_failures=raise_task_failures,
            guard=guard,
            postgres=postgres,
        )
        await made._observed.open()
        return made

    @staticmethod
    def from_client(client: Client) -> WorkflowEnvironment:
        """Return an environment on a client's database, on the database's clock. The client stays the caller's to close."""
        return WorkflowEnvironment(client)

    # ------------------------------------------------------------------ life

    def _made_in(self, postgres: PostgresServer | None, clock: VirtualClock | None) -> Database:
        return database_for(postgres, clock)

    async def _open(self) -> Store:
        return await self._database.open()

    def _opened(self) -> None:
        self._loop = asyncio.get_running_loop()
        if self._clock is not None:
            self._time = Time(
                self._database,
                self._observed,
                self._client,
                serve=self._serve,
                stuck=self._stuck,
                tired=self._tired,
                failed=self._raise_failure,
                give_up=self._give_up,
            )
            self._time.start()

    async def shutdown(self) -> None:
        """Stop the workers it has started, and close its database; again does nothing."""
        if self._time is not None:
            await self._time.stop()
        workers, self._workers = list(self._workers.values()), {}
        await asyncio.gather(*[one.shutdown() for one in workers])
        if self._given is None:
            await self._client.aclose()
            await asyncio.to_thread(self._drop)

    def _drop(self) -> None:
        self._database.drop()

    def abandon(self) -> None:
        """Let go of whatever is still open, where nothing can be awaited any more; again does nothing."""
        if self._given is not None or not self._observed.is_open:
            return
        assert self._loop is not None
        if not self._loop.is_closed() and not self._loop.is_running():
            self._loop.run_until_complete(self.shutdown())
            return
        for one in self._client.local.workers:
            if isinstance(one, Incarnation):
                one.lease.end()
        self._observed.abandon()
        close_sockets(self._loop)
        self._drop()

    @property
    def is_open(self) -> bool:
        """Whether something has been awaited of it, and it has not been shut down."""
        return self._given is not None or self._observed.is_open

    def check(self) -> None:
        """Raise what went wrong in the code of a workflow and was raised nowhere yet."""
        self._raise_failure()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.shutdown()

    @property
    def client(self) -> Client:
        """The client."""
        return self._client

    def _look_with(self) -> Client:
        return self._client

    @property
    def url(self) -> str:
        """The URL of its database, for connections and tables of the test's own. On PostgreSQL it blocks for a moment.

        Raises:
            RuntimeError: The database is in memory; the text says how it is not.
        """
        if self._given is not None:
            return str(self._given.store.url)
        return self._database.url

    @property
    def supports_time_skipping(self) -> bool:
        """Whether the clock is the environment's own."""
        return self._clock is not None

    # ------------------------------------------------------------------ running

    async def run(self, call: WorkflowCall[Any, R], /, **options: Unpack[StartOptions]) -> R:
        """Start a workflow beside a worker that serves it, and return its result.

        Time jumps over whatever the workflow only waits for.

        Args:
            call: The workflow with its arguments, `checkout(order)`.
            options: As of `Client.start_workflow`.

        Raises:
            WorkflowFailureError: It closed without a result; `cause` says why.
            Exception: Its code has a fault, see `WorkflowEnvironment`; or as `Client.start_workflow`.
        """
        if not isinstance(call, WorkflowCall):
            raise TypeError(f"run() takes a call, such as checkout(order), and not {call!r}")
        self._expect(call.definition)
        queue = options.get("task_queue") or call.options.task_queue or DEFAULT_QUEUE
        await self._serve(queue)
        return await self._client.execute_workflow(call, **options)

    def worker(
        self,
        *,
        task_queue: str = DEFAULT_QUEUE,
        workflows: Sequence[Any] | None = None,
        activities: Sequence[Any] | None = None,
        **options: Any,
    ) -> Worker:
        """Return a worker of this environment that is not started yet, with options of `Worker`.

        Without a list it serves what is defined in this process, as the environment's own workers do.
        """
        called = self._called
        given: dict[str, Any] = {"max_cached_workflows": 0} if self._evict else {}
        mocked = self._mocks.activities
        names = {one.name for one in mocked}
        if activities is None:
            sources: Sequence[TransactionSource] = options.get("transactions", ())
            kinds = (
                *self._client.store.transaction_types,
                *(one for source in sources for one in source.transaction_types),
            )
            served = activities_for(task_queue, called, kinds)
            activities = [one for one in served if one.name not in names] + mocked
        return Worker(
            self._client,
            task_queue=task_queue,
            workflows=workflows_for(task_queue, called) if workflows is None else workflows,
            activities=activities,
            identity=self._client.identity,
            **given | options,
        )

    def mock_activity(self, activity: Activity[P, R]) -> ActivityMock[P, R]:
        """Answer for an activity in this environment, instead of running its function.

        Raises:
            TypeError: It is no activity.
        """
        return self._mocks.mock(activity)

    def record_history(self, workflow_id: str, path: str | Path) -> History:
        """Replay the history that a file has kept of this test; with `--durable-record`, keep the one of now.

        So a test whose workflow has changed tells whether runs of before the change would go on.

        Args:
            workflow_id: A workflow of the test.
            path: The file, for example "tests/histories/checkout-1.json".

        Raises:
            NondeterminismError: The history in the file does not replay: patch the workflow, or record it anew if no such run
                is left anywhere.
            FileNotFoundError: There is no such file.
            Exception: As `Replayer.replay_workflow`.
        """
        if self._record:
            now = self.history(workflow_id)
            now.save(path)
            return now
        if not Path(path).exists():
            raise FileNotFoundError(
                f"there is no history {str(path)!r}: run pytest with --durable-record once"
            )
        kept = History.load(path, strict=self._strict)
        started: Any = kept.events[0].data
        kept.replay(*workflows_for(started.task_queue, self._called))
        return kept

    def hook(self, method: str, hook: Hook) -> None:
        """Have a method of the store called through `hook(method, *args, **kwargs)`."""
        self._observed.hooks[method] = hook

    def _expect(self, definition: WorkflowDefinition) -> None:
        """Take the news of what the test is about: workers that come by themselves serve it, and what stands beside it."""
        self._called = definition

    async def _serve(self, queue: str) -> None:
        """See to it that a queue has a worker, and one that knows the workflow which was called last."""
        async with self._serving:
            attached = [one for one in self._client.local.workers if isinstance(one, Incarnation)]
            own = self._workers.get(queue)
            others = [one for one in attached if one.task_queue == queue]
            if own is None and others:
                return
            if own is not None:
                called = self._called
                if called is None or any(one.options.workflows.get(called.name) is called for one in others):
                    return
                await own.shutdown()
            self._workers[queue] = worker = self.worker(task_queue=queue)
            await worker.__aenter__()

    # ------------------------------------------------------------------ time

    def now(self) -> datetime:
        """Return what the environment's clock shows, in UTC; the machine's, if it has none of its own."""
        return datetime.now(UTC) if self._clock is None else to_datetime(self._clock.now())

    async def get_current_time(self) -> datetime:
        """Return the database's time, in UTC."""
        return self.now() if self._clock is not None else to_datetime(await self._client.store.now())

    async def advance(self, duration: Duration) -> None:
        """Let time pass, and return when all has happened that was due in it, in order, and nothing is under way.

        Activities that run are given a moment; then time passes over them, timeouts included. On the machine's clock
        this just waits.

        Args:
            duration: How long; with zero it only waits until nothing is under way.

        Raises:
            Exception: The code of a workflow has a fault.
        """
        micros = to_duration(duration, "duration")
        if self._clock is None:
            await asyncio.sleep(micros / 1_000_000)
            self._raise_failure()
            return
        await self._observed.open()
        assert self._time is not None
        await self._time.advance(micros)

    async def sleep(self, duration: Duration) -> None:
        """Let time pass; Temporal's name of `advance`."""
        await self.advance(duration)

    @contextlib.contextmanager
    def time_frozen(self) -> Generator[None]:
        """Keep the clock from moving by itself within the block, whatever is awaited; `advance` still moves it."""
        with contextlib.nullcontext() if self._time is None else self._time.frozen():
            yield

    @contextlib.contextmanager
    def auto_time_skipping_disabled(self) -> Generator[None]:
        """Let no time be skipped within the block: seconds pass as they do on the machine."""
        with contextlib.nullcontext() if self._time is None else self._time.unskipped():
            yield

    # ------------------------------------------------------------------ faults

    def _blocked(self, run_id: str, workflow_id: str, error: BaseException) -> None:
        if not self._raises:
            return
        error.add_note(
            f"in workflow {workflow_id!r}: its task failed, which blocks it until its code is mended"
        )
        self._failures.append(error)
        self._give_up(error)

    def _give_up(self, error: BaseException) -> None:
        """Raise an error in whoever awaits an outcome."""
        shared = self._client._connection
        if shared.waiting.awaited or shared.updates.awaited:
            with contextlib.suppress(ValueError):
                self._failures.remove(error)
        raised = error if isinstance(error, Exception) else RuntimeError(repr(error))
        shared.waiting.fail_all(raised)
        shared.updates.fail_all(raised)

    def _raise_failure(self) -> None:
        if self._failures:
            raise self._failures.pop(0)

    async def _tired(self, activities: Sequence[tuple[str, int]]) -> None:
        """Give up when an activity has failed very often and has no limit of attempts."""
        for run_id, number in activities:
            for record in await self._client.store.read_activities(run_id):
                if record.id != number or scheduled_of(record).retry_policy.maximum_attempts:
                    continue
                last = decode_progress(record.progress).last_failure
                error = NothingToComeError(
                    f"activity {record.activity_type!r} of workflow {record.workflow_id!r} has failed "
                    f"{record.attempt - 1} times, and its retry policy sets no limit; at last by: "
                    f"{'' if last is None else last.message}"
                )
                if last is not None:
                    error.__cause__ = self._client.data_converter.from_failure(last)
                self._give_up(error)

    async def _stuck(self) -> None:
        open_runs = [
            f"  workflow {run.id!r} ({run.workflow_type}, task queue {run.task_queue!r}) is open"
            async for run in self._client.list_workflows("ExecutionStatus = 'Running'", limit=20)
        ]
        self._give_up(
            NothingToComeError(
                "an outcome is awaited, and nothing will happen any more:\n"
                + "\n".join(open_runs)
                + "\nA workflow may wait for a signal, or an activity for a worker on its task queue."
                + "".join(f"\n{one}" for one in ambiguous(self._called))
            )
        )


class _Watching(Interceptor):
    """Tells which workflow was started."""

    def __init__(self, started: Callable[[WorkflowDefinition], None]) -> None:
        self._started = started

    def intercept_client(self, next: OutboundInterceptor) -> OutboundInterceptor:
        return _WatchingCalls(next, self._started)


class _WatchingCalls(OutboundInterceptor):
    def __init__(self, next: OutboundInterceptor, started: Callable[[WorkflowDefinition], None]) -> None:
        super().__init__(next)
        self._started = started

    async def start_workflow(self, input: StartWorkflowInput) -> Any:
        if (definition := getattr(input.target, "definition", None)) is not None:
            self._started(definition)
        return await super().start_workflow(input)


def start_of(start: datetime | None) -> int:
    """Return what a clock shows at first."""
    return time.time_ns() // 1000 if start is None else from_datetime(start, "start")


def _refuse(options: dict[str, Any], caller: str) -> None:
    for name in options:
        raise TypeError(f"{caller} has no option {name!r}{why_no_option(name) or f': {_SERVER}'}")
