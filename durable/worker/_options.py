"""What a worker was told, checked once and passed down."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, field
from typing import Any

from durable._replay._patches import Activation
from durable.activity._activity import Activity
from durable.converter import DataConverter
from durable.history import WorkflowTaskCompleted
from durable.interceptor.worker import Interceptor, WorkflowInboundInterceptor
from durable.worker._shared_state import SharedStateManager
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
    activity_slots: int
    local_activity_slots: int
    cached_workflows: int
    lease: int
    grace: float
    poll: float
    warn_after: float = WARN_AFTER
    break_after: float = BREAK_AFTER
    workflow_tasks: int | None = None
    client: Any = None
    remote_activities: bool = True
    eager_activities: bool = True
    activities_per_second: float | None = None
    queue_activities_per_second: float | None = None
    activates: Activation | None = None
    activity_executor: Executor | None = None
    shared_state_manager: SharedStateManager | None = None
    version: str = ""
    served: Mapping[str, WorkflowTaskCompleted] = field(default_factory=dict[str, WorkflowTaskCompleted])
    interceptors: Sequence[Interceptor] = ()
    workflow_interceptors: Sequence[type[WorkflowInboundInterceptor]] = ()
