"""Clients: what starts workflows, sends them messages, asks them, and waits for their results."""

from __future__ import annotations

from durable.client._client import Client
from durable.client._describe import PendingActivity, WorkflowExecutionDescription
from durable.client._executions import WorkflowExecution
from durable.client._handle import WorkflowHandle, WorkflowHistory
from durable.client._listing import (
    WorkflowExecutionAsyncIterator,
    WorkflowExecutionCount,
    WorkflowExecutionCountAggregationGroup,
)
from durable.client._updates import WorkflowUpdateHandle, WorkflowUpdateStage
from durable.client._with_start import WithStartWorkflowOperation
from durable.common import WorkflowExecutionStatus
from durable.exceptions import (
    WorkflowContinuedAsNewError,
    WorkflowFailureError,
    WorkflowQueryFailedError,
    WorkflowQueryRejectedError,
    WorkflowUpdateFailedError,
    WorkflowUpdateRPCTimeoutOrCancelledError,
)

__all__ = [
    "Client",
    "PendingActivity",
    "WithStartWorkflowOperation",
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
    "WorkflowQueryFailedError",
    "WorkflowQueryRejectedError",
    "WorkflowUpdateFailedError",
    "WorkflowUpdateHandle",
    "WorkflowUpdateRPCTimeoutOrCancelledError",
    "WorkflowUpdateStage",
]
