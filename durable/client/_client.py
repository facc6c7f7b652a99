"""The client: starts workflows and reaches them."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Generator, Sequence
from functools import partial
from random import getrandbits
from types import TracebackType
from typing import Any, Self, TypeVar, TypeVarTuple, Unpack, overload

import msgspec

from durable._engine._cron import first_delay
from durable._engine._messages import message
from durable._engine._start import start
from durable._engine._updates import decode_result
from durable._internal.ids import uuid7
from durable._internal.instants import Duration
from durable.client._checked import to_checked_payloads
from durable.client._connection import Connection
from durable.client._handle import WorkflowHandle
from durable.client._local import LocalRuns, LocalWorker
from durable.client._patience import Patience
from durable.client._start_options import Start, StartOptions, TemporalStartOptions, check
from durable.client._starts import Starts
from durable.client._target import Target
from durable.client._update_waiting import UpdateWaiting
from durable.client._updates import (
    NewUpdate,
    WorkflowUpdateHandle,
    WorkflowUpdateStage,
    first_run_of,
    new_update,
)
from durable.client._waiting import Waiting
from durable.client._with_start import WithStartWorkflowOperation
from durable.common import QueryRejectCondition, WorkflowIDConflictPolicy
from durable.converter import DataConverter, default
from durable.exceptions import StoreConfigurationError, WorkflowAlreadyStartedError
from durable.history import (
    WorkflowExecutionSignaled,
    WorkflowExecutionStarted,
    WorkflowExecutionTerminated,
)
from durable.store import (
    Hint,
    HintKind,
    Message,
    NewRun,
    Release,
    StartOutcome,
    StartVerdict,
    Store,
    Transition,
    open_store,
    through,
)
from durable.workflow._calls import UpdateCall, WorkflowCall
from durable.workflow._workflow import Workflow, definition_of

W = TypeVar("W")
R = TypeVar("R")
Ts = TypeVarTuple("Ts")

COMPLETED = WorkflowUpdateStage.COMPLETED


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
        store: The database, behind the payload codec if there is one, for those who extend the library.
        namespace: The namespace on PostgreSQL; "default" on SQLite, where a file is a namespace.
        identity: How people find this process in events.
        data_converter: How values are stored.
    """

    def __init__(
        self,
        store: Store,
        *,
        namespace: str,
        identity: str,
        data_converter: DataConverter,
        default_workflow_query_reject_condition: QueryRejectCondition | None = None,
    ) -> None:
        self.store = store = through(store, data_converter.payload_codec, namespace)
        self.namespace = namespace
        self.identity = identity
        self.data_converter = data_converter
        self.local = LocalRuns()
        waiting = Waiting(store, self.local)
        self.local.on_closed(waiting.told)
        self._starts = Starts(store)
        patiently = Patience()
        updates = UpdateWaiting(store, patiently)
        self.local.on_updated(updates.told)
        self.local.on_closed(updates.ended)
        self._connection = Connection(
            store,
            namespace,
            identity,
            data_converter,
            self.local,
            waiting,
            patiently,
            updates,
            default_workflow_query_reject_condition,
        )

    @classmethod
    def connect(
        cls,
        url: str | None = None,
        *,
        namespace: str | None = None,
        identity: str | None = None,
        data_converter: DataConverter | None = None,
        default_workflow_query_reject_condition: QueryRejectCondition | None = None,
        migrate: bool = True,
    ) -> _Connecting:
        """Open a database; use it as `async with Client.connect(url) as client`, or await it and `aclose()` later.

        Args:
            url: `sqlite:///app.db`, `sqlite:////absolute/app.db`, `sqlite://:memory:` or `postgresql://user@host/db`;
                the environment's `DURABLE_URL` when None.
            namespace: A schema of PostgreSQL that keeps the workflows of one application.
            identity: How people find this process in events; process and host by default.
            data_converter: How values are stored; all who share a database share it.
            default_workflow_query_reject_condition: In which states of a workflow `query` does not ask; in none by default.
            migrate: Whether the tables are made when there are none. Older ones are never changed here.

        Raises:
            StoreConfigurationError: The URL, the namespace or a setting of the database will not do.
            SchemaError: The tables are missing and may not be made, or are older or newer than this release.
            StoreUnavailableError: The database cannot be reached.
        """
        where = os.environ.get("DURABLE_URL") if url is None else url
        if not where:
            raise StoreConfigurationError(
                'no database: pass a URL, for example Client.connect("sqlite:///app.db"), or set DURABLE_URL'
            )

        async def open_client() -> Client:
            store = await open_store(where, namespace=namespace, migrate=migrate)
            return cls(
                store,
                namespace=namespace or "default",
                identity=identity or f"{os.getpid()}@{socket.gethostname()}",
                data_converter=data_converter or default(),
                default_workflow_query_reject_condition=default_workflow_query_reject_condition,
            )

        return _Connecting(open_client)

    async def aclose(self) -> None:
        """Close the database; whoever still waits for a result is told, and every later call at once. Again does nothing."""
        await self._starts.aclose()
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
        said = check(options, target.options)
        signal = said.signal
        if signal is None:
            return await self._start(target, said)
        name, arguments, types = signal
        sent = WorkflowExecutionSignaled(
            name=name,
            input=to_checked_payloads(self.data_converter, arguments, types, f"signal {name}"),
            identity=self.identity,
        )
        return await self._start(target, said, message("", uuid7(), sent))

    async def _start(self, target: Target, said: Start, *messages: Message) -> WorkflowHandle[Any, Any]:
        run_id = uuid7()
        workflow_id = uuid7() if said.id is None else said.id
        converter = self._connection.converter_for(workflow_id)
        started = WorkflowExecutionStarted(
            workflow_id=workflow_id,
            workflow_type=target.name,
            task_queue=said.task_queue,
            input=to_checked_payloads(converter, target.args, target.arg_types, f"{target.name} input"),
            seed=getrandbits(63),
            execution_timeout=said.execution_timeout,
            run_timeout=said.run_timeout,
            task_timeout=said.task_timeout,
            first_run_id=run_id,
            memo={key: converter.to_payload(value, path=f"memo {key}") for key, value in said.memo.items()},
            identity=self.identity,
            static_summary=said.static_summary,
            static_details=said.static_details,
            retry_policy=said.retry_policy,
            cron_schedule=said.cron_schedule,
            priority=said.priority,
            delay=await self._until_begin(said),
        )
        verdict = await self._create(
            start(run_id, started, reuse=said.reuse, conflict=said.conflict, messages=messages)
        )
        if verdict.outcome is StartOutcome.REJECTED:
            raise WorkflowAlreadyStartedError(
                started.workflow_id, verdict.workflow_type, run_id=verdict.run_id
            )
        return WorkflowHandle(
            self._connection,
            started.workflow_id,
            result_run_id=verdict.run_id,
            # Of a run that was there already it is not known which chain it belongs to.
            first_execution_run_id=None if verdict.outcome is StartOutcome.USED_EXISTING else verdict.run_id,
            result_type=target.result_type,
        )

    async def _until_begin(self, said: Start) -> int:
        """How long the start waits, by the database's clock."""
        if not said.cron_schedule:
            return said.delay
        return first_delay(said.cron_schedule, await self._connection.patiently(self.store.now))

    async def _create(self, new: NewRun) -> StartVerdict:
        """Create a run, beside a worker of this process if one wants it; terminate what is in the way if asked to."""
        while True:
            worker: LocalWorker | None = None
            if new.delay == 0:
                worker = self.local.owner_for(new.task_queue, new.workflow_type)
            owned = msgspec.structs.replace(new, owner=worker.worker_id) if worker is not None else new
            verdict = await self._connection.patiently(partial(self._starts.create, owned))
            if (
                verdict.outcome is StartOutcome.REJECTED
                and new.conflict is WorkflowIDConflictPolicy.TERMINATE_EXISTING
            ):
                await self._terminate_existing(new.workflow_id, verdict.run_id)
                again = await self.store.find_run(new.workflow_id)
                if again is None or again.closed_at is not None:
                    continue
            break
        started = verdict.outcome in (StartOutcome.STARTED, StartOutcome.SAME)
        adopted = started and worker is not None and verdict.epoch > 0 and worker.adopt(owned, verdict)
        if started and not adopted:
            if verdict.epoch > 0:
                # Its worker began to leave meanwhile; any other one may have it.
                release = Transition(verdict.run_id, verdict.epoch, release=Release(wake_in=0))
                await self._connection.patiently(partial(self.store.commit, [release]))
            self.store.hint([Hint(HintKind.RUN, new.task_queue)])
        elif new.messages:
            self.store.hint([Hint(HintKind.MESSAGE, verdict.run_id)])
        return verdict

    async def _terminate_existing(self, workflow_id: str, run_id: str) -> None:
        reason = "terminated by a start with TERMINATE_EXISTING"
        record = await self._connection.patiently(lambda: self.store.find_run(workflow_id, run_id))
        if record is not None:
            end = WorkflowExecutionTerminated(reason=reason, identity=self.identity)
            await self._connection.terminate(record, end)

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
        start_workflow: Any = self.start_workflow
        handle: WorkflowHandle[Any, Any] = await start_workflow(workflow, *values, **options)
        return await handle.result()

    # ------------------------------------------------------------------ starting with an update

    @overload
    async def execute_update_with_start_workflow(
        self,
        call: UpdateCall[W, R],
        /,
        *,
        start_workflow_operation: WithStartWorkflowOperation[W, Any],
        id: str | None = None,
        rpc_timeout: Duration | None = None,
    ) -> R: ...
    @overload
    async def execute_update_with_start_workflow(
        self,
        update: Callable[[*Ts], UpdateCall[W, R]],
        /,
        *values: *Ts,
        start_workflow_operation: WithStartWorkflowOperation[W, Any],
        id: str | None = None,
        rpc_timeout: Duration | None = None,
    ) -> R: ...
    @overload
    async def execute_update_with_start_workflow(
        self,
        update: Callable[..., UpdateCall[W, R]],
        /,
        *,
        args: Sequence[Any],
        start_workflow_operation: WithStartWorkflowOperation[W, Any],
        id: str | None = None,
        rpc_timeout: Duration | None = None,
    ) -> R: ...
    @overload
    async def execute_update_with_start_workflow(
        self,
        update: str,
        /,
        *values: Any,
        start_workflow_operation: WithStartWorkflowOperation[Any, Any],
        args: Sequence[Any] = ...,
        id: str | None = None,
        result_type: Any = None,
        rpc_timeout: Duration | None = None,
    ) -> Any: ...
    async def execute_update_with_start_workflow(
        self,
        update: Any,
        /,
        *values: object,
        start_workflow_operation: WithStartWorkflowOperation[Any, Any],
        args: Sequence[Any] = (),
        id: str | None = None,
        result_type: Any = None,
        rpc_timeout: Duration | None = None,
    ) -> Any:
        """Start a workflow with an update in its inbox, and return what the update's handler returns.

        Both are stored, or neither is. When the workflow is there already and its policy is content with that, the update
        goes to it. An `id` that the workflow's newest run knows is waited for, whatever the policies say; of a closed run
        only one that was completed counts.

        Args:
            update: As for `WorkflowHandle.execute_update`, and so are `values`, `args`, `id`, `result_type` and
                `rpc_timeout`.
            values: See `update`.
            start_workflow_operation: What is started; its `workflow_handle()` returns the workflow's handle.
            args: See `update`.
            id: See `update`.
            result_type: See `update`.
            rpc_timeout: See `update`.

        Raises:
            WorkflowAlreadyStartedError: The workflow's id is taken, or may not be used again. The update is not sent.
            RuntimeError: The operation was used before.
            Exception: As `WorkflowHandle.execute_update`.
        """
        handle = await self._start_with_update(
            update, values, args, id, result_type, start_workflow_operation, COMPLETED, rpc_timeout
        )
        return await handle.result()

    @overload
    async def start_update_with_start_workflow(
        self,
        call: UpdateCall[W, R],
        /,
        *,
        start_workflow_operation: WithStartWorkflowOperation[W, Any],
        wait_for_stage: WorkflowUpdateStage,
        id: str | None = None,
        rpc_timeout: Duration | None = None,
    ) -> WorkflowUpdateHandle[R]: ...
    @overload
    async def start_update_with_start_workflow(
        self,
        update: Callable[[*Ts], UpdateCall[W, R]],
        /,
        *values: *Ts,
        start_workflow_operation: WithStartWorkflowOperation[W, Any],
        wait_for_stage: WorkflowUpdateStage,
        id: str | None = None,
        rpc_timeout: Duration | None = None,
    ) -> WorkflowUpdateHandle[R]: ...
    @overload
    async def start_update_with_start_workflow(
        self,
        update: Callable[..., UpdateCall[W, R]],
        /,
        *,
        args: Sequence[Any],
        start_workflow_operation: WithStartWorkflowOperation[W, Any],
        wait_for_stage: WorkflowUpdateStage,
        id: str | None = None,
        rpc_timeout: Duration | None = None,
    ) -> WorkflowUpdateHandle[R]: ...
    @overload
    async def start_update_with_start_workflow(
        self,
        update: str,
        /,
        *values: Any,
        start_workflow_operation: WithStartWorkflowOperation[Any, Any],
        wait_for_stage: WorkflowUpdateStage,
        args: Sequence[Any] = ...,
        id: str | None = None,
        result_type: Any = None,
        rpc_timeout: Duration | None = None,
    ) -> WorkflowUpdateHandle[Any]: ...
    async def start_update_with_start_workflow(
        self,
        update: Any,
        /,
        *values: object,
        start_workflow_operation: WithStartWorkflowOperation[Any, Any],
        wait_for_stage: WorkflowUpdateStage,
        args: Sequence[Any] = (),
        id: str | None = None,
        result_type: Any = None,
        rpc_timeout: Duration | None = None,
    ) -> WorkflowUpdateHandle[Any]:
        """Start a workflow with an update in its inbox, and return once the update has come as far as `wait_for_stage`.

        See `execute_update_with_start_workflow`, and `WorkflowHandle.start_update` for the stages.

        Raises:
            Exception: As `execute_update_with_start_workflow`, but for failures of the update itself.
        """
        if not isinstance(wait_for_stage, WorkflowUpdateStage):
            raise TypeError(f"wait_for_stage must be a WorkflowUpdateStage, not {wait_for_stage!r}")
        return await self._start_with_update(
            update, values, args, id, result_type, start_workflow_operation, wait_for_stage, rpc_timeout
        )

    async def _start_with_update(
        self,
        update: Any,
        values: tuple[Any, ...],
        args: Sequence[Any],
        id: str | None,
        result_type: Any,
        operation: WithStartWorkflowOperation[Any, Any],
        stage: WorkflowUpdateStage,
        rpc_timeout: Duration | None,
    ) -> WorkflowUpdateHandle[Any]:
        new = new_update(self._connection, update, values, args, id, result_type)
        sent = message("", new.message_id, new.event)

        async def start() -> WorkflowHandle[Any, Any]:
            handle = None if id is None else await self._with_update(operation, new)
            try:
                handle = handle or await self._start(operation.target, operation.options, sent)
            except WorkflowAlreadyStartedError:
                # It may be that very update which somebody sent meanwhile.
                handle = None if id is None else await self._with_update(operation, new)
                if handle is None:
                    raise
            if handle.first_execution_run_id is None and handle.result_run_id is not None:
                handle.first_execution_run_id = await first_run_of(self._connection, handle.result_run_id)
            return handle

        workflow = await operation.run(start)
        handle: WorkflowUpdateHandle[Any] = WorkflowUpdateHandle(
            self._connection,
            new.id,
            workflow.id,
            workflow_run_id=workflow.result_run_id,
            result_type=new.result_type,
        )
        if stage > WorkflowUpdateStage.ADMITTED:
            await handle.reach(stage, rpc_timeout=rpc_timeout)
        return handle

    async def _with_update(
        self, operation: WithStartWorkflowOperation[Any, Any], new: NewUpdate
    ) -> WorkflowHandle[Any, Any] | None:
        """Return the workflow if its newest run knows the update, and has not ended without completing it."""
        workflow_id = operation.options.id or ""
        patiently = self._connection.patiently
        record = await patiently(lambda: self.store.find_run(workflow_id))
        if record is None:
            return None
        outcome = await patiently(lambda: self.store.find_update(record.run_id, new.message_id))
        if outcome is None or (record.closed_at is not None and decode_result(outcome.data).lost):
            return None
        return WorkflowHandle(
            self._connection,
            workflow_id,
            result_run_id=record.run_id,
            result_type=operation.target.result_type,
        )

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
        """
        return WorkflowHandle[Any, Any](
            self._connection,
            workflow_id,
            run_id=run_id,
            first_execution_run_id=first_execution_run_id,
            result_type=result_type,
        )

    @overload
    def get_workflow_handle_for(
        self, workflow: Workflow[W, ..., R], workflow_id: str
    ) -> WorkflowHandle[W, R]: ...
    @overload
    def get_workflow_handle_for(
        self, workflow: Workflow[W, ..., R], workflow_id: str, *, run_id: str | None
    ) -> WorkflowHandle[W, R]: ...
    def get_workflow_handle_for(self, workflow: Any, workflow_id: str, *, run_id: str | None = None) -> Any:
        """Return a handle of a workflow by id, typed by its definition."""
        result_type = definition_of(workflow).ret_type
        return WorkflowHandle[Any, Any](self._connection, workflow_id, run_id=run_id, result_type=result_type)
