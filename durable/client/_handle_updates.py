"""Updates of a workflow, as its handle sends them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeVar, TypeVarTuple, cast, overload

from durable._internal.ids import check_optional_name
from durable._internal.instants import Duration, to_duration
from durable._internal.shown import shown
from durable.client._addressed import Addressed, R_co, W_co
from durable.client._updates import SaidUpdate, WorkflowUpdateHandle, WorkflowUpdateStage
from durable.interceptor.client import StartWorkflowUpdateInput
from durable.workflow._calls import UpdateCall
from durable.workflow._methods import BoundUpdate
from durable.workflow._updates import Update

W = TypeVar("W")
R2 = TypeVar("R2")
Ts = TypeVarTuple("Ts")


class UpdatedByHandle(Addressed[W_co, R_co]):
    """That part of a handle which sends updates."""

    @overload
    async def execute_update(
        self: UpdatedByHandle[W, Any],
        call: UpdateCall[W, R2],
        /,
        *,
        id: str | None = None,
        rpc_timeout: Duration | None = None,
    ) -> R2: ...
    @overload
    async def execute_update(
        self: UpdatedByHandle[W, Any],
        update: Callable[[*Ts], UpdateCall[W, R2]],
        /,
        *values: *Ts,
        id: str | None = None,
        rpc_timeout: Duration | None = None,
    ) -> R2: ...
    @overload
    async def execute_update(
        self: UpdatedByHandle[W, Any],
        update: Callable[..., UpdateCall[W, R2]],
        /,
        *,
        args: Sequence[Any],
        id: str | None = None,
        rpc_timeout: Duration | None = None,
    ) -> R2: ...
    @overload
    async def execute_update(
        self,
        update: str,
        /,
        *values: Any,
        args: Sequence[Any] = ...,
        id: str | None = None,
        result_type: Any = None,
        rpc_timeout: Duration | None = None,
    ) -> Any: ...
    async def execute_update(
        self,
        update: Any,
        /,
        *values: object,
        args: Sequence[Any] = (),
        id: str | None = None,
        result_type: Any = None,
        rpc_timeout: Duration | None = None,
    ) -> Any:
        """Send an update and return what its handler returns.

        Once it is stored it survives any crash; it is handled at most once for each id, and its outcome is kept. An
        update that is refused leaves no event, and its id is not looked at again either.

        Args:
            update: A call (`Publish.rename("x")`), or in Temporal's way an update method or a name, with its argument
                behind it.
            values: The argument, in Temporal's way.
            args: Several arguments, in Temporal's way.
            id: What makes sending it again harmless; a fresh one by default.
            result_type: What its result is decoded as, for an update by name.
            rpc_timeout: How long to wait for the outcome; for ever when None. The update goes on.

        Raises:
            WorkflowUpdateFailedError: It was refused, failed, or ended with its workflow; `cause` says why.
            WorkflowUpdateRPCTimeoutOrCancelledError: It had no outcome after `rpc_timeout`.
            WorkflowNotFoundError: There is no such workflow, or it is closed.
            ConversionError: An argument cannot be stored, or the result not be read.
            TypeError: The arguments do not fit the update.
            StoreUnavailableError: The database is away; the update may or may not have been stored. Send it again with
                the same id to be sure.
        """
        handle = await self._start_update(
            update, values, args, id, result_type, WorkflowUpdateStage.COMPLETED, rpc_timeout
        )
        return await handle.result()

    @overload
    async def start_update(
        self: UpdatedByHandle[W, Any],
        call: UpdateCall[W, R2],
        /,
        *,
        wait_for_stage: WorkflowUpdateStage,
        id: str | None = None,
        rpc_timeout: Duration | None = None,
        connection: Any = None,
    ) -> WorkflowUpdateHandle[R2]: ...
    @overload
    async def start_update(
        self: UpdatedByHandle[W, Any],
        update: Callable[[*Ts], UpdateCall[W, R2]],
        /,
        *values: *Ts,
        wait_for_stage: WorkflowUpdateStage,
        id: str | None = None,
        rpc_timeout: Duration | None = None,
        connection: Any = None,
    ) -> WorkflowUpdateHandle[R2]: ...
    @overload
    async def start_update(
        self: UpdatedByHandle[W, Any],
        update: Callable[..., UpdateCall[W, R2]],
        /,
        *,
        wait_for_stage: WorkflowUpdateStage,
        args: Sequence[Any],
        id: str | None = None,
        rpc_timeout: Duration | None = None,
        connection: Any = None,
    ) -> WorkflowUpdateHandle[R2]: ...
    @overload
    async def start_update(
        self,
        update: str,
        /,
        *values: Any,
        wait_for_stage: WorkflowUpdateStage,
        args: Sequence[Any] = ...,
        id: str | None = None,
        result_type: Any = None,
        rpc_timeout: Duration | None = None,
        connection: Any = None,
    ) -> WorkflowUpdateHandle[Any]: ...
    async def start_update(
        self,
        update: Any,
        /,
        *values: object,
        wait_for_stage: WorkflowUpdateStage,
        args: Sequence[Any] = (),
        id: str | None = None,
        result_type: Any = None,
        rpc_timeout: Duration | None = None,
        connection: Any = None,
    ) -> WorkflowUpdateHandle[Any]:
        """Send an update, and return once it has come as far as `wait_for_stage`.

        ADMITTED needs no worker: the update is stored, and will be looked at. One that is refused counts as completed;
        its handle's `result` raises.

        Args:
            update: As for `execute_update`, and so are `values`, `args`, `id` and `result_type`.
            values: See `update`.
            wait_for_stage: How far it must have come.
            args: See `update`.
            id: See `update`.
            result_type: See `update`.
            rpc_timeout: How long to wait; for ever when None. The update goes on.
            connection: As for `signal`; then `wait_for_stage` must be ADMITTED.

        Raises:
            Exception: As `execute_update`, but for failures of the update itself.
        """
        if not isinstance(wait_for_stage, WorkflowUpdateStage):
            raise TypeError(f"wait_for_stage must be a WorkflowUpdateStage, not {shown(wait_for_stage)}")
        return await self._start_update(
            update, values, args, id, result_type, wait_for_stage, rpc_timeout, connection
        )

    async def _start_update(
        self,
        update: Any,
        values: tuple[Any, ...],
        args: Sequence[Any],
        id: str | None,
        result_type: Any,
        stage: WorkflowUpdateStage,
        rpc_timeout: Duration | None,
        connection: object = None,
    ) -> WorkflowUpdateHandle[Any]:
        said = SaidUpdate.of(update, values, args, result_type)
        if rpc_timeout is not None:
            to_duration(rpc_timeout, "rpc_timeout")  # before anything is sent
        handle: WorkflowUpdateHandle[Any] = await self._connection.outbound.start_workflow_update(
            StartWorkflowUpdateInput(
                id=self.id,
                run_id=self.run_id,
                first_execution_run_id=self.first_execution_run_id,
                update_id=id,
                update=said.name,
                args=said.args,
                wait_for_stage=stage,
                headers={},
                ret_type=said.result_type,
                rpc_timeout=rpc_timeout,
                arg_types=said.arg_types,
                connection=connection,
            )
        )
        return handle

    def get_update_handle(
        self, id: str, *, workflow_run_id: str | None = None, result_type: Any = None
    ) -> WorkflowUpdateHandle[Any]:
        """Return a handle of an update by id, whether it exists or not."""
        return WorkflowUpdateHandle(
            self._connection,
            id,
            self.id,
            workflow_run_id=check_optional_name(workflow_run_id, "workflow_run_id") or self.run_id,
            result_type=Any if result_type is None else result_type,
        )

    @overload
    def get_update_handle_for(
        self: UpdatedByHandle[W, Any],
        update: BoundUpdate[W, ..., R2],
        id: str,
        *,
        workflow_run_id: str | None = None,
    ) -> WorkflowUpdateHandle[R2]: ...
    @overload
    def get_update_handle_for(
        self, update: Update[..., R2], id: str, *, workflow_run_id: str | None = None
    ) -> WorkflowUpdateHandle[R2]: ...
    def get_update_handle_for(
        self, update: Any, id: str, *, workflow_run_id: str | None = None
    ) -> WorkflowUpdateHandle[Any]:
        """Return a handle of an update by id, typed by its definition.

        Raises:
            TypeError: `update` is none.
        """
        if not isinstance(update, BoundUpdate | Update):
            raise TypeError(f"expected an update (Class.update, or an @Update), not {shown(update)}")
        return self.get_update_handle(
            id, workflow_run_id=workflow_run_id, result_type=cast(Any, update).definition.ret_type
        )
