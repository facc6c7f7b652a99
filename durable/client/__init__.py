"""Clients: what starts workflows, sends them messages, asks them, and waits for their results."""

from __future__ import annotations

from typing import TYPE_CHECKING

from durable._engine.schedules.records import ScheduleOverlapPolicy
from durable._internal.left_out import no_attribute as _no_attribute
from durable.activity._context import ActivityCancellationDetails
from durable.client._activities import ActivityStart
from durable.client._activity_executions import (
    ActivityExecution,
    ActivityExecutionAsyncIterator,
    ActivityExecutionCount,
    ActivityExecutionCountAggregationGroup,
)
from durable.client._activity_handle import ActivityExecutionDescription, ActivityHandle
from durable.client._async_activity import AsyncActivityHandle, AsyncActivityIDReference
from durable.client._batch_calls import BatchOptions
from durable.client._batches import BatchFailure, BatchProgress
from durable.client._client import Client
from durable.client._correlated import CorrelatedWorkflows
from durable.client._deployments import (
    WorkerDeploymentDescription,
    WorkerDeploymentHandle,
    WorkerDeploymentRoutingConfig,
    WorkerDeploymentVersionStatus,
    WorkerDeploymentVersionSummary,
)
from durable.client._describe import PendingActivity, WorkflowExecutionDescription
from durable.client._executions import WorkflowExecution
from durable.client._fleet import TaskQueueDescription, TaskQueueState, WorkerDescription
from durable.client._handle import WorkflowHandle
from durable.client._history import (
    WorkflowHistory,
    WorkflowHistoryEventAsyncIterator,
    WorkflowHistoryEventFilterType,
)
from durable.client._history_files import HistoryFiles
from durable.client._limits import CircuitBreakerDescription, CircuitState, ConcurrencyDescription
from durable.client._listing import (
    WorkflowExecutionAsyncIterator,
    WorkflowExecutionCount,
    WorkflowExecutionCountAggregationGroup,
)
from durable.client._operator_log import OperatorLogEntry
from durable.client._retention import Archive, Retention
from durable.client._schedule_descriptions import (
    ScheduleAsyncIterator,
    ScheduleDescription,
    ScheduleListAction,
    ScheduleListActionStartWorkflow,
    ScheduleListDescription,
    ScheduleListInfo,
    ScheduleListSchedule,
    ScheduleListState,
    ScheduleUpdateInput,
)
from durable.client._schedule_spec import (
    ScheduleCalendarSpec,
    ScheduleIntervalSpec,
    ScheduleRange,
    ScheduleSpec,
)
from durable.client._schedule_types import (
    Schedule,
    ScheduleAction,
    ScheduleActionExecution,
    ScheduleActionExecutionStartWorkflow,
    ScheduleActionResult,
    ScheduleActionStartWorkflow,
    ScheduleBackfill,
    ScheduleInfo,
    SchedulePolicy,
    ScheduleState,
    ScheduleUpdate,
)
from durable.client._schedules import ScheduleHandle
from durable.client._sync import SyncClient, SyncWorkflowHandle
from durable.client._updates import WorkflowUpdateHandle, WorkflowUpdateStage
from durable.client._with_start import WithStartWorkflowOperation
from durable.common import ActivityExecutionStatus, PendingActivityState, WorkflowExecutionStatus
from durable.exceptions import (
    ActivityFailureError,
    AsyncActivityCancelledError,
    ScheduleAlreadyRunningError,
    ScheduleNotFoundError,
    WorkflowContinuedAsNewError,
    WorkflowFailureError,
    WorkflowQueryFailedError,
    WorkflowQueryRejectedError,
    WorkflowUpdateFailedError,
    WorkflowUpdateRPCTimeoutOrCancelledError,
)
from durable.interceptor.client import (
    BackfillScheduleInput,
    CancelActivityInput,
    CancelCorrelatedInput,
    CancelWorkflowInput,
    CompleteAsyncActivityInput,
    CountActivitiesInput,
    CountWorkflowsInput,
    CreateScheduleInput,
    DeleteScheduleInput,
    DescribeActivityInput,
    DescribeScheduleInput,
    DescribeWorkflowInput,
    FailAsyncActivityInput,
    FetchWorkflowHistoryEventsInput,
    HeartbeatAsyncActivityInput,
    Interceptor,
    ListActivitiesInput,
    ListSchedulesInput,
    ListWorkflowsInput,
    OutboundInterceptor,
    PauseScheduleInput,
    QueryWorkflowInput,
    ReportCancellationAsyncActivityInput,
    SignalCorrelatedInput,
    SignalWorkflowInput,
    StartActivityInput,
    StartWorkflowInput,
    StartWorkflowUpdateInput,
    StartWorkflowUpdateWithStartInput,
    TerminateActivityInput,
    TerminateWorkflowInput,
    TriggerScheduleInput,
    UnpauseScheduleInput,
    UpdateScheduleInput,
    UpdateWithStartStartWorkflowInput,
    UpdateWithStartUpdateWorkflowInput,
)

__all__ = [
    "ActivityCancellationDetails",
    "ActivityExecution",
    "ActivityExecutionAsyncIterator",
    "ActivityExecutionCount",
    "ActivityExecutionCountAggregationGroup",
    "ActivityExecutionDescription",
    "ActivityExecutionStatus",
    "ActivityFailureError",
    "ActivityHandle",
    "ActivityStart",
    "Archive",
    "AsyncActivityCancelledError",
    "AsyncActivityHandle",
    "AsyncActivityIDReference",
    "BackfillScheduleInput",
    "BatchFailure",
    "BatchOptions",
    "BatchProgress",
    "CancelActivityInput",
    "CancelCorrelatedInput",
    "CancelWorkflowInput",
    "CircuitBreakerDescription",
    "CircuitState",
    "Client",
    "CompleteAsyncActivityInput",
    "ConcurrencyDescription",
    "CorrelatedWorkflows",
    "CountActivitiesInput",
    "CountWorkflowsInput",
    "CreateScheduleInput",
    "DeleteScheduleInput",
    "DescribeActivityInput",
    "DescribeScheduleInput",
    "DescribeWorkflowInput",
    "FailAsyncActivityInput",
    "FetchWorkflowHistoryEventsInput",
    "HeartbeatAsyncActivityInput",
    "HistoryFiles",
    "Interceptor",
    "ListActivitiesInput",
    "ListSchedulesInput",
    "ListWorkflowsInput",
    "OperatorLogEntry",
    "OutboundInterceptor",
    "PauseScheduleInput",
    "PendingActivity",
    "PendingActivityState",
    "QueryWorkflowInput",
    "ReportCancellationAsyncActivityInput",
    "Retention",
    "Schedule",
    "ScheduleAction",
    "ScheduleActionExecution",
    "ScheduleActionExecutionStartWorkflow",
    "ScheduleActionResult",
    "ScheduleActionStartWorkflow",
    "ScheduleAlreadyRunningError",
    "ScheduleAsyncIterator",
    "ScheduleBackfill",
    "ScheduleCalendarSpec",
    "ScheduleDescription",
    "ScheduleHandle",
    "ScheduleInfo",
    "ScheduleIntervalSpec",
    "ScheduleListAction",
    "ScheduleListActionStartWorkflow",
    "ScheduleListDescription",
    "ScheduleListInfo",
    "ScheduleListSchedule",
    "ScheduleListState",
    "ScheduleNotFoundError",
    "ScheduleOverlapPolicy",
    "SchedulePolicy",
    "ScheduleRange",
    "ScheduleSpec",
    "ScheduleState",
    "ScheduleUpdate",
    "ScheduleUpdateInput",
    "SignalCorrelatedInput",
    "SignalWorkflowInput",
    "StartActivityInput",
    "StartWorkflowInput",
    "StartWorkflowUpdateInput",
    "StartWorkflowUpdateWithStartInput",
    "SyncClient",
    "SyncWorkflowHandle",
    "TaskQueueDescription",
    "TaskQueueState",
    "TerminateActivityInput",
    "TerminateWorkflowInput",
    "TriggerScheduleInput",
    "UnpauseScheduleInput",
    "UpdateScheduleInput",
    "UpdateWithStartStartWorkflowInput",
    "UpdateWithStartUpdateWorkflowInput",
    "WithStartWorkflowOperation",
    "WorkerDeploymentDescription",
    "WorkerDeploymentHandle",
    "WorkerDeploymentRoutingConfig",
    "WorkerDeploymentVersionStatus",
    "WorkerDeploymentVersionSummary",
    "WorkerDescription",
    "WorkflowContinuedAsNewError",
    "WorkflowExecution",
    "WorkflowExecutionAsyncIterator",
    "WorkflowExecutionCount",
    "WorkflowExecutionCountAggregationGroup",
    "WorkflowExecutionDescription",
    "WorkflowExecutionStatus",
    "WorkflowFailureError",
    "WorkflowHandle",
    "WorkflowHistory",
    "WorkflowHistoryEventAsyncIterator",
    "WorkflowHistoryEventFilterType",
    "WorkflowQueryFailedError",
    "WorkflowQueryRejectedError",
    "WorkflowUpdateFailedError",
    "WorkflowUpdateHandle",
    "WorkflowUpdateRPCTimeoutOrCancelledError",
    "WorkflowUpdateStage",
]


if not TYPE_CHECKING:  # to a type checker, a name that is not here is an error

    def __getattr__(name: str) -> object:
        raise _no_attribute(__name__, name)
