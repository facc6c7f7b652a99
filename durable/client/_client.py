"""The client: starts workflows and reaches them."""

from __future__ import annotations

import os
import socket
from collections.abc import AsyncIterator, Callable, Generator, Sequence
from types import TracebackType
from typing import Any, Never, NoReturn, Self, TypeVar, TypeVarTuple, Unpack, overload

from durable._internal.ids import check_optional_name
from durable._internal.left_out import explains_options, refuse_options
from durable._internal.shown import shown
from durable._search_attributes import SearchAttributeValueType
from durable.client._activities import ClientActivities
from durable.client._batch_calls import ClientBatches
from durable.client._connection import Connection
from durable.client._correlated import CorrelatedWorkflows
from durable.client._deployments import (
    WorkerDeploymentDescription,
    WorkerDeploymentHandle,
    list_deployments,
)
from durable.client._fleet import ClientFleet
from durable.client._handle import WorkflowHandle
from durable.client._limits import ClientLimits
from durable.client._listing import WorkflowExecutionAsyncIterator, WorkflowExecutionCount
from durable.client._local import LocalRuns
from durable.client._operator_log import OperatorLogEntry, read_log
from durable.client._patience import Patience
from durable.client._retention import ClientRetention
from durable.client._schedules import ClientSchedules
from durable.client._start_options import StartOptions, TemporalStartOptions
from durable.client._target import Target
from durable.client._update_waiting import UpdateWaiting
from durable.client._updates_with_start import UpdatesWithStart
from durable.client._waiting import Waiting
from durable.common import QueryRejectCondition, SearchAttributeKey
from durable.converter import DataConverter, default
from durable.exceptions import StoreConfigurationError
from durable.interceptor.client import (
    CountWorkflowsInput,
    Interceptor,
    ListWorkflowsInput,
    StartWorkflowInput,
)
from durable.interceptor.worker import worker_interceptors, workflow_interceptors
from durable.store import Store, open_store, through
from durable.telemetry import Metrics, Tracing
from durable.telemetry import metrics as process_metrics
from durable.workflow._calls import WorkflowCall
from durable.workflow._workflow import Workflow, definition_of

W = TypeVar("W")
R = TypeVar("R")
Ts = TypeVarTuple("Ts")


class _Connecting:
    """What `Client.connect` returns: await it, or enter it."""

    def __init__(self, open_client: Callable[[], Any]) -> None:
        self._open = open_client
        self._client: Client | None = None

    def __getattr__(self, name: str) -> NoReturn:
        raise AttributeError(
            f"there is no {name!r} yet: Client.connect(...) opens the client when it is awaited, or entered with `async with`"
        )

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


def tracing_of(said: object, interceptors: Sequence[Interceptor]) -> Tracing | None:
    """Return what makes a client's spans; one among its interceptors is meant before what was said.

    Raises:
        TypeError: What was said is neither a `Tracing` nor a truth value.
    """
    given = next((one for one in interceptors if isinstance(one, Tracing)), None)
    if given is not None:
        return given
    if isinstance(said, bool):
        return Tracing() if said else None
    if not isinstance(said, Tracing):
        raise TypeError(f"tracing is True, False or a durable.telemetry.Tracing, not {said!r}")
    return said


@explains_options
class Client(
    UpdatesWithStart,
    ClientSchedules,
    ClientActivities,
    ClientLimits,
    ClientBatches,
    ClientRetention,
    ClientFleet,
):
    """A connection to a database of workflows. `Client.connect` makes one; one per process is enough.

    Attributes:
        store: The database, behind the payload codec if there is one, for those who extend the library.
        namespace: The namespace on PostgreSQL; "default" on SQLite, where a file is a namespace.
        identity: How people find this process in events.
        data_converter: How values are stored.
        interceptors: What stands around its calls.
        metrics: What its workers record.
        tracing: What makes its spans, and those of its workers; None for no spans.
    """

    def __init__(
        self,
        store: Store,
        *,
        namespace: str,
        identity: str,
        data_converter: DataConverter,
        interceptors: Sequence[Interceptor] = (),
        default_workflow_query_reject_condition: QueryRejectCondition | None = None,
        metrics: Metrics | None = None,
        tracing: Tracing | bool = True,
    ) -> None:
        if not isinstance(data_converter, DataConverter):
            raise TypeError(
                f"data_converter is a durable.converter.DataConverter, not {shown(data_converter)}"
            )
        self.store = store = through(store, data_converter.payload_codec, namespace)
        self.namespace = namespace
        self.identity = identity
        self.data_converter = data_converter
        self.tracing = tracing_of(tracing, interceptors)
        self.interceptors = tuple([one for one in interceptors if not isinstance(one, Tracing)])
        self.metrics = process_metrics if metrics is None else metrics
        self.local = LocalRuns()
        patiently = Patience()
        waiting = Waiting(store, self.local, patiently)
        self.local.on_closed(waiting.told)
        updates = UpdateWaiting(store, patiently)
        self.local.on_updated(updates.told)
        self.local.on_closed(updates.ended)
        super().__init__(
            Connection(
                store,
                namespace,
                identity,
                data_converter,
                self.local,
                waiting,
                patiently,
                updates,
                default_workflow_query_reject_condition,
                workflow_interceptors=workflow_interceptors(worker_interceptors(self.interceptors)),
                tracing=self.tracing,
            ),
            self.interceptors if self.tracing is None else (self.tracing, *self.interceptors),
        )

    @classmethod
    def connect(
        cls,
        url: str | None = None,
        *,
        namespace: str | None = None,
        identity: str | None = None,
        data_converter: DataConverter | None = None,
        interceptors: Sequence[Interceptor] = (),
        default_workflow_query_reject_condition: QueryRejectCondition | None = None,
        migrate: bool = True,
        metrics: Metrics | None = None,
        tracing: Tracing | bool = True,
        **elsewhere: Never,
    ) -> _Connecting:
        """Open a database; use it as `async with Client.connect(url) as client`, or await it and `aclose()` later.

        Args:
            url: `sqlite:///app.db`, `sqlite:////absolute/app.db`, `sqlite://:memory:` or `postgresql://user@host/db`;
                the environment's `DURABLE_URL` when None.
            namespace: A schema of PostgreSQL that keeps the workflows of one application.
            identity: How people find this process in events; process and host by default.
            data_converter: How values are stored; all who share a database share it.
            interceptors: What stands around the calls of this client, the first one outermost. Those that are
                interceptors of workers too stand around what its workers run.
            default_workflow_query_reject_condition: In which states of a workflow `query` does not ask; in none by default.
            migrate: Whether the tables are made when there are none. Older ones are never changed here.
            metrics: What its workers record; `durable.telemetry.metrics`, which is the process's, when None.
            tracing: Whether spans are made, of its calls and of what its workers do, once a tracer provider of
                OpenTelemetry is set; a `durable.telemetry.Tracing` says how.

        Raises:
            TypeError: One of the interceptors is none, or there is no such option; the text says what to do instead.
            StoreConfigurationError: The URL, the namespace or a setting of the database will not do.
            SchemaError: The tables are missing and may not be made, or are older or newer than this release.
            StoreUnavailableError: The database cannot be reached.
        """
        refuse_options(elsewhere, "Client.connect")
        where = os.environ.get("DURABLE_URL") if url is None else url
        if not where:
            raise StoreConfigurationError(
                'no database: pass a URL, for example Client.connect("sqlite:///app.db"), or set DURABLE_URL'
            )

        async def open_client() -> Client:
            store = await open_store(where, namespace=namespace, migrate=migrate)
            try:
                return cls(
                    store,
                    namespace=namespace or "default",
                    identity=identity or f"{os.getpid()}@{socket.gethostname()}",
                    data_converter=data_converter or default(),
                    interceptors=interceptors,
                    default_workflow_query_reject_condition=default_workflow_query_reject_condition,
                    metrics=metrics,
                    tracing=tracing,
                )
            except BaseException:
                await store.aclose()
                raise

        return _Connecting(open_client)

    async def aclose(self) -> None:
        """Close the database; whoever still waits for a result is told, and every later call at once. Again does nothing."""
        await self._starter.aclose()
        self._connection.updates.close()
        await self._connection.waiting.aclose()
        self._connection.patiently.end()
        await self.store.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.aclose()

    # ------------------------------------------------------------------ starting

    @overload
    async def start_workflow(
        self, call: WorkflowCall[W, R], /, **options: Unpack[StartOptions]
    ) -> WorkflowHandle[W, R]: ...
    @overload
    async def start_workflow(
        self, workflow: Callable[[*Ts], WorkflowCall[W, R]], /, *args: *Ts, **options: Unpack[StartOptions]
    ) -> WorkflowHandle[W, R]: ...
    @overload
    async def start_workflow(
        self, workflow: str, /, *values: Any, **options: Unpack[TemporalStartOptions]
    ) -> WorkflowHandle[Any, Any]: ...
    async def start_workflow(
        self, workflow: Any, /, *values: object, **options: Any
    ) -> WorkflowHandle[Any, Any]:
        """Start a workflow; once this returns it is stored, and will run to its end whatever happens to any process.

        Args:
            workflow: A call (`checkout(order)`), or in Temporal's way a workflow, `Class.run` or the name of a type,
                with its arguments behind it.
            values: The arguments, in Temporal's way.
            options: See `StartOptions`.

        Raises:
            WorkflowAlreadyStartedError: The id is taken, or may not be used again.
            TypeError: An argument does not fit the workflow, or there is no such option.
            ValueError: An option is out of range.
            ConversionError: An argument cannot be stored, or is not of the type the workflow takes.
            StoreUnavailableError: The database is away; the workflow may or may not have been started. Start it again
                with the same id to be sure.
        """
        target = Target.of(workflow, values, options)
        options.pop("args", None)
        options.pop("result_type", None)
        handle: WorkflowHandle[Any, Any] = await self._connection.outbound.start_workflow(
            StartWorkflowInput(target.name, target.args, options, {}, target.result_type, target)
        )
        return handle

    @overload
    async def execute_workflow(self, call: WorkflowCall[W, R], /, **options: Unpack[StartOptions]) -> R: ...
    @overload
    async def execute_workflow(
        self, workflow: Callable[[*Ts], WorkflowCall[W, R]], /, *args: *Ts, **options: Unpack[StartOptions]
    ) -> R: ...
    @overload
    async def execute_workflow(
        self, workflow: str, /, *values: Any, **options: Unpack[TemporalStartOptions]
    ) -> Any: ...
    async def execute_workflow(self, workflow: Any, /, *values: object, **options: Any) -> Any:
        """Start a workflow and return its result; `start_workflow` and `WorkflowHandle.result` in one.

        Raises:
            WorkflowFailureError: It closed without a result; `cause` says why.
            Exception: As `start_workflow`.
        """
        if options.get("connection") is not None:
            raise TypeError(
                "execute_workflow waits for a result, which cannot come before you commit: start_workflow takes a "
                "connection, and its handle's result() waits behind the commit"
            )
        start_workflow: Any = self.start_workflow
        handle: WorkflowHandle[Any, Any] = await start_workflow(workflow, *values, **options)
        return await handle.result()

    # ------------------------------------------------------------------ lists

    def list_workflows(
        self,
        query: str | None = None,
        *,
        limit: int | None = None,
        page_size: int = 1000,
        next_page_token: bytes | None = None,
    ) -> WorkflowExecutionAsyncIterator:
        """Return the runs that a filter finds, to be iterated over with `async for`.

        It finds whatever was stored before a page is read: a start, an upsert, a close. `docs/lists.md` has the filter's
        language, which is Temporal's.

        Args:
            query: The filter, for example "WorkflowType = 'checkout' AND ExecutionStatus = 'Running' ORDER BY StartTime";
                all runs, the one started last first, when None.
            limit: How many runs at most.
            page_size: How many are read at once, up to 10,000.
            next_page_token: Where another list of the same filter ended.

        Raises:
            FilterError: It is no filter; the text names the place. What it names is looked up with the first page.
            ValueError: A number is out of range.
        """
        found: WorkflowExecutionAsyncIterator = self._connection.outbound.list_workflows(
            ListWorkflowsInput(query, limit, page_size, next_page_token)
        )
        return found

    async def count_workflows(self, query: str | None = None) -> WorkflowExecutionCount:
        """Return how many runs a filter finds, as `list_workflows` would find them.

        Args:
            query: The filter, which may end with GROUP BY ExecutionStatus (or WorkflowType, or TaskQueue); all runs when
                None.

        Raises:
            FilterError: It is no filter; the text names the place.
            StoreUnavailableError: The database is away.
        """
        found: WorkflowExecutionCount = await self._connection.outbound.count_workflows(
            CountWorkflowsInput(query)
        )
        return found

    def operator_log(
        self, workflow_id: str | None = None, *, batch_id: str | None = None, limit: int | None = None
    ) -> AsyncIterator[OperatorLogEntry]:
        """Return what operators did, the newest first, to be iterated over with `async for`.

        Whatever a handle does to a workflow but talk to it is in there (terminate, reset, pause, unpause, unblock, delete,
        update_options, and what is done to activities), and every batch. It was written in the transaction that did it,
        and stays when the workflow is deleted. Workers remove it after 90 days.

        Args:
            workflow_id: Only what was done to this workflow.
            batch_id: Only what this batch did.
            limit: How many entries at most.

        Raises:
            StoreUnavailableError: The database is away; as it is gone through.
        """
        return read_log(self._connection, workflow_id, batch_id, limit)

    # ------------------------------------------------------------------ handles

    def get_workflow_handle(
        self,
        workflow_id: str,
        *,
        run_id: str | None = None,
        first_execution_run_id: str | None = None,
        result_type: Any = Any,
    ) -> WorkflowHandle[Any, Any]:
        """Return a handle of a workflow by id, whether it exists or not.

        Args:
            workflow_id: Its id.
            run_id: The run that is meant; whichever is open, or was last, by default.
            first_execution_run_id: The first run of the chain that is meant: no other one is cancelled or terminated.
            result_type: What its result is decoded as.

        Raises:
            TypeError: An id is not a string.
            ValueError: An id cannot be one.
        """
        return WorkflowHandle[Any, Any](
            self._connection,
            workflow_id,
            run_id=check_optional_name(run_id, "run_id"),
            first_execution_run_id=check_optional_name(first_execution_run_id, "first_execution_run_id"),
            result_type=result_type,
        )

    def correlated(
        self, key: SearchAttributeKey[SearchAttributeValueType], value: SearchAttributeValueType
    ) -> CorrelatedWorkflows:
        """Return the open workflows that have a search attribute, to be signalled or cancelled by it and not by an id.

        Args:
            key: The attribute; not a Text, nor a KeywordList, of which a workflow has many values.
            value: Its value.

        Raises:
            TypeError: The value is not of the key's type.
            ValueError: The attribute cannot be a key.
        """
        return CorrelatedWorkflows(self._connection, key, value)

    def get_worker_deployment(self, name: str) -> WorkerDeploymentHandle:
        """Return a handle to a worker deployment: its versions, which of them is current, which ramps up.

        Args:
            name: The `deployment_name` of its workers' versions.

        Raises:
            ValueError: It cannot be a name.
        """
        return WorkerDeploymentHandle(self._connection, name)

    async def list_worker_deployments(self) -> list[WorkerDeploymentDescription]:
        """Return all worker deployments, by name.

        Raises:
            StoreUnavailableError: The database is away.
        """
        return await list_deployments(self._connection)

    @overload
    def get_workflow_handle_for(
        self, workflow: Workflow[W, ..., R], workflow_id: str
    ) -> WorkflowHandle[W, R]: ...
    @overload
    def get_workflow_handle_for(
        self,
        workflow: Workflow[W, ..., R],
        workflow_id: str,
        *,
        run_id: str | None = ...,
        first_execution_run_id: str | None = ...,
    ) -> WorkflowHandle[W, R]: ...
    def get_workflow_handle_for(
        self,
        workflow: Any,
        workflow_id: str,
        *,
        run_id: str | None = None,
        first_execution_run_id: str | None = None,
    ) -> Any:
        """Return a handle of a workflow by id, typed by its definition; see `get_workflow_handle`."""
        return self.get_workflow_handle(
            workflow_id,
            run_id=run_id,
            first_execution_run_id=first_execution_run_id,
            result_type=definition_of(workflow).ret_type,
        )
