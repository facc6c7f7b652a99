"""What a worker was told, checked once and passed down."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, field
from typing import Any

from durable._replay._guard import Guard
from durable._replay._patches import Activation
from durable.activity._activity import Activity
from durable.client import Archive
from durable.common import VersioningBehavior, WorkerDeploymentVersion
from durable.converter import DataConverter
from durable.interceptor.worker import Interceptor, WorkflowInboundInterceptor
from durable.store import TransactionSource
from durable.telemetry import Metrics, Tracing
from durable.worker._resources import Resources
from durable.worker._shared_state import SharedStateManager
from durable.worker._suppliers import SlotSupplier
from durable.worker._watchdog import BREAK_AFTER, WARN_AFTER
from durable.workflow._definition import WorkflowDefinition


@dataclass(frozen=True)
class WorkerOptions:
    """Options of a worker, validated. `lease` is in microseconds, the other durations are in seconds."""

    task_queue: str
    workflows: Mapping[str, WorkflowDefinition]
    activities: Mapping[str, Activity[..., Any]]
    identity: str
    namespace: str
    converter: DataConverter
    activity_supplier: SlotSupplier
    local_activity_supplier: SlotSupplier
    cached_workflows: int
    lease: int
    grace: float
    poll: float
    warn_after: float = WARN_AFTER
    break_after: float = BREAK_AFTER
    workflow_supplier: SlotSupplier | None = None
    resources: Resources | None = None
    deployment_version: WorkerDeploymentVersion | None = None
    client: Any = None
    remote_activities: bool = True
    eager_activities: bool = True
    activities_per_second: float | None = None
    queue_activities_per_second: float | None = None
    activates: Activation | None = None
    activity_executor: Executor | None = None
    transactions: Mapping[str, TransactionSource] = field(default_factory=dict[str, TransactionSource])
    shared_state_manager: SharedStateManager | None = None
    version: str = ""
    default_behavior: VersioningBehavior = VersioningBehavior.UNSPECIFIED
    interceptors: Sequence[Interceptor] = ()
    workflow_interceptors: Sequence[type[WorkflowInboundInterceptor]] = ()
    dynamic_workflow: WorkflowDefinition | None = None
    guard: Guard | None = None
    archive: Archive | None = None
    metrics: Metrics | None = None
    tracing: Tracing | None = None

    def workflow(self, workflow_type: str) -> WorkflowDefinition | None:
        """Return what runs workflows of a type here; None if nothing does."""
        known = self.workflows.get(workflow_type)
        if known is None and self.dynamic_workflow is not None:
            return self.dynamic_workflow.for_type(workflow_type)
        return known

    @property
    def workflow_types(self) -> list[str] | None:
        """The types that are run here; None for all."""
        return list(self.workflows) if self.dynamic_workflow is None else None
