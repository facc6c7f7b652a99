"""The client: starts workflows and reaches them."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Generator, Mapping, Sequence
from random import getrandbits
from types import TracebackType
from typing import Any, Self, TypeVar, TypeVarTuple, overload

import msgspec

from .._engine._messages import terminated
from .._engine._start import start
from .._internal.ids import check_name, uuid7
from .._internal.instants import Duration, to_duration
from ..common import WorkflowIDConflictPolicy, WorkflowIDReusePolicy
from ..converter import DataConverter, default
from ..exceptions import WorkflowAlreadyStartedError
from ..history import WorkflowExecutionStarted
from ..store import Hint, HintKind, NewRun, RunStatus, StartOutcome, StartVerdict, Store, open_store
from ..workflow._calls import WorkflowCall
from ..workflow._workflow import Workflow, definition_of
from ._handle import WorkflowHandle
from ._local import LocalRuns, LocalWorker
from ._patience import patiently
from ._waiting import Waiting

W = TypeVar("W")
R = TypeVar("R")
Ts = TypeVarTuple("Ts")

DEFAULT_QUEUE = "default"


class _Connecting:
    """What `Client.connect` returns: await it, or enter it."""

    def __init__(self, open_client: Callable[[], Any]) -> None:
        self._open = open_client
        self._client: Client | None = None

    def __await__(self) -> Generator[Any, Any, Client]:
        opened: Generator[Any, Any, Client] = self._open().__await__()
        return opened

    async def __aenter__(self) -> Client:
        self._client = await self
        return self._client

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._client is not None:
            await self._client.aclose()


class Client:
    """A connection to a database of workflows. `Client.connect` makes one; one per process is enough.

    Attributes:
        store: The database, for those who extend the library.
        namespace: The namespace on PostgreSQL; "default" on SQLite, where a file is a namespace.
        identity: How people find this process in events.
        data_converter: How values are stored.
    """

    def __init__(self, store: Store, *, namespace: str, identity: str, data_converter: DataConverter) -> None:
        self.store = store
        self.namespace = namespace
        self.identity = identity
        self.data_converter = data_converter
        self.local = LocalRuns()
        self.waiting = Waiting(store)
        self.local.on_closed(self.waiting.told)

    @classmethod
    def connect(
        cls,
        url: str | None = None,
        *,
        namespace: str | None = None,
        identity: str | None = None,
        data_converter: DataConverter | None = None,
        migrate: bool = True,
    ) -> _Connecting:
        """Open a database; use it as `async with Client.connect(url) as client`, or await it and `aclose()` later.

        Args:
            url: `sqlite:///app.db`, `sqlite:////absolute/app.db`, `sqlite://:memory:` or `postgresql://user@host/db`;
                the environment's `DURABLE_URL` when None.
            namespace: A schema of PostgreSQL that keeps the workflows of one application.
            identity: How people find this process in events; process and host by default.
            data_converter: How values are stored; all who share a database share it.
            migrate: Whether the tables are made when there are none. Older ones are never changed here.

        Raises:
            StoreConfigurationError: The URL, the namespace or a setting of the database will not do.
            SchemaError: The tables are missing and may not be made, or are older or newer than this release.
            StoreUnavailableError: The database cannot be reached.
        """
        where = os.environ.get("DURABLE_URL", "") if url is None else url

        async def open_client() -> Client:
            store = await open_store(where, namespace=namespace, migrate=migrate)
            return cls(
                store,
                namespace=namespace or "default",
                identity=identity or f"{os.getpid()}@{socket.gethostname()}",
                data_converter=data_converter or default(),
            )

        return _Connecting(open_client)

    async def aclose(self) -> None:
        """Close the database; whoever still waits for a result is told. Again does nothing."""
        await self.waiting.aclose()
        await self.store.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.aclose()

    # ------------------------------------------------------------------ starting

    @overload
    async def start_workflow(self, call: WorkflowCall[W, R], /, **options: Any) -> WorkflowHandle[W, R]: ...
    @overload
    async def start_workflow(
        self, workflow: Callable[[*Ts], WorkflowCall[W, R]], /, *args: *Ts, **options: Any
    ) -> WorkflowHandle[W, R]: ...
    @overload
    async def start_workflow(self, workflow: str, /, *values: Any, **options: Any) -> WorkflowHandle[Any, Any]: ...
    async def start_workflow(
        self,
        workflow: Any,
        /,
        *values: Any,
        args: Sequence[Any] = (),
        id: str | None = None,
        task_queue: str | None = None,
        result_type: Any = None,
        execution_timeout: Duration | None = None,
        run_timeout: Duration | None = None,
        task_timeout: Duration | None = None,
        id_reuse_policy: WorkflowIDReusePolicy = WorkflowIDReusePolicy.ALLOW_DUPLICATE,
        id_conflict_policy: WorkflowIDConflictPolicy = WorkflowIDConflictPolicy.UNSPECIFIED,
        memo: Mapping[str, Any] | None = None,
        start_delay: Duration | None = None,
        static_summary: str = "",
        static_details: str = "",
    ) -> WorkflowHandle[Any, Any]:
        """Start a workflow; once this returns it is stored, and will run to its end whatever happens to any process.

        Args:
            workflow: A call (`checkout(order)`), or in Temporal's way a workflow, `Class.run` or a type's name, with its
                arguments behind it.
            values: The arguments, in Temporal's way.
            args: Several arguments for a type's name.
            id: The workflow's id, at most one open run has it; a fresh one when None. It is what makes a repeated start
                of the same thing harmless.
            task_queue: The queue whose workers run it; the definition's, else "default".
            result_type: What the result is decoded as, for a type's name.
            execution_timeout: The longest that the workflow may take; then it is closed as timed out.
            run_timeout: The longest that one run may take; then it is closed as timed out.
            task_timeout: Kept in the log for those who read it.
            id_reuse_policy: Whether the id may be used again after its last run has closed.
            id_conflict_policy: What to do when the id has an open run; FAIL unless said otherwise.
            memo: Values for people, shown by `describe`.
            start_delay: How long until it first runs.
            static_summary: A line for people.
            static_details: Several lines for people.

        Raises:
            WorkflowAlreadyStartedError: The id is taken, or may not be used again.
            TypeError, ValueError, ConversionError: An argument or option is wrong; nothing was stored.
            StoreUnavailableError: The database is away; the workflow may or may not have been started. Start it again
                with the same id to be sure.
        """
        call = _workflow_call(workflow, values, args)
        name, arguments, options, definition = call
        result = definition.ret_type if definition is not None else Any
        if result_type is not None:
            result = result_type
        workflow_id = uuid7() if id is None else check_name(id, "id")
        queue = task_queue or (options.task_queue if options is not None else None) or DEFAULT_QUEUE
        reuse, conflict = _policies(id_reuse_policy, id_conflict_policy)
        started = WorkflowExecutionStarted(
            workflow_id=workflow_id,
            workflow_type=name,
            task_queue=check_name(queue, "task_queue"),
            input=self.data_converter.to_payloads(arguments, path=f"{name} input"),
            seed=getrandbits(63),
            execution_timeout=_timeout(execution_timeout, options, "execution_timeout"),
            run_timeout=_timeout(run_timeout, options, "run_timeout"),
            task_timeout=_timeout(task_timeout, options, "task_timeout"),
            memo=self._memo(memo),
            identity=self.identity,
            static_summary=static_summary,
            static_details=static_details,
        )
        delay = 0 if start_delay is None else to_duration(start_delay, "start_delay")
        run_id = uuid7()
        started = msgspec.structs.replace(started, first_run_id=run_id)
        verdict = await self._create(
            start(run_id, started, reuse=reuse, conflict=conflict, delay=delay)
        )
        if verdict.outcome is StartOutcome.REJECTED:
            raise WorkflowAlreadyStartedError(workflow_id, verdict.workflow_type, run_id=verdict.run_id)
        return WorkflowHandle(
            self,
            workflow_id,
            result_run_id=verdict.run_id,
            first_execution_run_id=verdict.run_id,
            result_type=result,
        )

    async def _create(self, new: NewRun) -> StartVerdict:
        """Create a run, beside a worker of this process if one wants it; terminate what is in the way if asked to."""
        while True:
            worker: LocalWorker | None = None
            if new.delay == 0:
                worker = self.local.owner_for(new.task_queue, new.workflow_type)
            owned = msgspec.structs.replace(new, owner=worker.worker_id) if worker is not None else new
            verdict = (await patiently(lambda owned=owned: self.store.create_runs([owned])))[0]
            if verdict.outcome is StartOutcome.REJECTED and new.conflict is WorkflowIDConflictPolicy.TERMINATE_EXISTING:
                await self._terminate_existing(verdict.run_id)
                again = await self.store.find_run(new.workflow_id)
                if again is None or again.closed_at is not None:
                    continue
            break
        started = verdict.outcome in (StartOutcome.STARTED, StartOutcome.SAME)
        if started and worker is not None and verdict.epoch:
            worker.adopt(owned, verdict)
        elif started:
            self.store.hint([Hint(HintKind.RUN, new.task_queue)])
        return verdict

    async def _terminate_existing(self, run_id: str) -> None:
        reason = "terminated by a start with TERMINATE_EXISTING"
        await patiently(
            lambda: self.store.terminate(
                run_id,
                lambda seq: terminated(seq, reason=reason, details=(), identity=self.identity),
                RunStatus.TERMINATED,
            )
        )
        self.store.hint([Hint(HintKind.CLOSED, run_id)])

    def _memo(self, memo: Mapping[str, Any] | None) -> dict[str, Any]:
        return {
            check_name(key, "memo key"): self.data_converter.to_payload(value, path=f"memo {key}")
            for key, value in (memo or {}).items()
        }

    @overload
    async def execute_workflow(self, call: WorkflowCall[W, R], /, **options: Any) -> R: ...
    @overload
    async def execute_workflow(self, workflow: Callable[[*Ts], WorkflowCall[W, R]], /, *args: *Ts, **options: Any) -> R: ...
    @overload
    async def execute_workflow(self, workflow: str, /, *values: Any, **options: Any) -> Any: ...
    async def execute_workflow(self, workflow: Any, /, *values: Any, **options: Any) -> Any:
        """Start a workflow and return its result; `start_workflow` and `WorkflowHandle.result` in one.

        Raises:
            WorkflowFailureError: It closed without a result; `cause` says why.
        """
        start_workflow: Any = self.start_workflow
        handle = await start_workflow(workflow, *values, **options)
        return await handle.result()

    # ------------------------------------------------------------------ handles

    def get_workflow_handle(
        self, workflow_id: str, *, run_id: str | None = None, result_type: Any = Any
    ) -> WorkflowHandle[Any, Any]:
        """Return a handle of a workflow by id, whether it exists or not."""
        return WorkflowHandle(self, workflow_id, run_id=run_id, result_type=result_type)

    @overload
    def get_workflow_handle_for(self, workflow: Workflow[W, ..., R], workflow_id: str) -> WorkflowHandle[W, R]: ...
    @overload
    def get_workflow_handle_for(
        self, workflow: Workflow[W, ..., R], workflow_id: str, *, run_id: str | None
    ) -> WorkflowHandle[W, R]: ...
    def get_workflow_handle_for(self, workflow: Any, workflow_id: str, *, run_id: str | None = None) -> Any:
        """Return a handle of a workflow by id, typed by its definition."""
        return WorkflowHandle(self, workflow_id, run_id=run_id, result_type=definition_of(workflow).ret_type)


def _workflow_call(workflow: Any, values: tuple[Any, ...], args: Sequence[Any]) -> Any:
    """Return name, arguments, options and definition, from whichever way a start was written."""
    if values and args:
        raise TypeError("pass arguments either one by one or as args=[...], not both")
    arguments = tuple(args) or values
    if isinstance(workflow, str):
        return check_name(workflow, "workflow"), arguments, None, None
    if isinstance(workflow, WorkflowCall):
        if arguments:
            raise TypeError(f"{workflow!r} has its arguments already; pass nothing behind it")
        call: WorkflowCall[Any, Any] = workflow
    elif isinstance(workflow, Workflow):
        call = workflow(*arguments)
    else:
        call = _run_of(workflow)(*arguments)
    return call.name, call.args, call.options, call.definition


def _run_of(workflow: Any) -> Workflow[Any, ..., Any]:
    definition = definition_of(workflow)
    return Workflow(definition)


def _timeout(value: Duration | None, options: Any, name: str) -> int | None:
    if value is not None:
        return to_duration(value, name, allow_zero=False)
    return None if options is None else getattr(options, name)


def _policies(reuse: Any, conflict: Any) -> tuple[WorkflowIDReusePolicy, WorkflowIDConflictPolicy]:
    reuse, conflict = WorkflowIDReusePolicy(reuse), WorkflowIDConflictPolicy(conflict)
    if reuse is WorkflowIDReusePolicy.TERMINATE_IF_RUNNING and conflict is not WorkflowIDConflictPolicy.UNSPECIFIED:
        raise ValueError("id_reuse_policy TERMINATE_IF_RUNNING and an id_conflict_policy exclude each other")
    if conflict is WorkflowIDConflictPolicy.UNSPECIFIED:
        conflict = WorkflowIDConflictPolicy.FAIL
    return reuse, conflict


