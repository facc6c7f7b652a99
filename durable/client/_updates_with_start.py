"""Updates that start their workflow, if it is not there."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeVar, TypeVarTuple, overload

from durable._internal.instants import Duration
from durable._internal.shown import shown
from durable.client._connection import Connection
from durable.client._outbound import intercepted
from durable.client._starter import Starter
from durable.client._updates import SaidUpdate, WorkflowUpdateHandle, WorkflowUpdateStage
from durable.client._with_start import WithStartWorkflowOperation
from durable.interceptor.client import (
    Interceptor,
    StartWorkflowUpdateWithStartInput,
    UpdateWithStartStartWorkflowInput,
    UpdateWithStartUpdateWorkflowInput,
)
from durable.workflow._calls import UpdateCall

W = TypeVar("W")
R = TypeVar("R")
Ts = TypeVarTuple("Ts")

COMPLETED = WorkflowUpdateStage.COMPLETED


class UpdatesWithStart:
    """That part of a client which starts workflows with an update."""

    def __init__(self, connection: Connection, interceptors: Sequence[Interceptor]) -> None:
        self._connection = connection
        self._starter = Starter(connection)
        connection.calls.outbound = intercepted(interceptors, connection, self._starter)

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
            raise TypeError(f"wait_for_stage must be a WorkflowUpdateStage, not {shown(wait_for_stage)}")
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
        said = SaidUpdate.of(update, values, args, result_type)
        target = operation.target
        start = UpdateWithStartStartWorkflowInput(
            target.name, target.args, dict(operation.given), {}, target.result_type, target
        )
        asked = UpdateWithStartUpdateWorkflowInput(
            update_id=id,
            update=said.name,
            args=said.args,
            wait_for_stage=stage,
            headers={},
            ret_type=said.result_type,
            arg_types=said.arg_types,
        )
        handle: WorkflowUpdateHandle[Any] = await self._connection.outbound.start_update_with_start_workflow(
            StartWorkflowUpdateWithStartInput(start, asked, rpc_timeout, operation)
        )
        return handle
