"""What a run knows about itself."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from durable.common import RetryPolicy


@dataclass(frozen=True)
class ParentInfo:
    """Whose child a run is."""

    namespace: str
    run_id: str
    workflow_id: str


@dataclass(frozen=True)
class RootInfo:
    """The top of the tree of parents a run is in."""

    run_id: str
    workflow_id: str


@dataclass(frozen=True)
class Info:
    """Facts about a run, all of them from its history, so that code may branch on them.

    `start_time` is this run's, `workflow_start_time` that of the first run of its chain. `parent` and `root` are None for
    a workflow that no other one started.
    """

    workflow_id: str
    run_id: str
    workflow_type: str
    task_queue: str
    namespace: str
    attempt: int
    first_execution_run_id: str
    start_time: datetime
    workflow_start_time: datetime
    execution_timeout: timedelta | None
    run_timeout: timedelta | None
    task_timeout: timedelta | None
    retry_policy: RetryPolicy | None
    headers: Mapping[str, Any] = field(default_factory=dict[str, Any])
    parent: ParentInfo | None = None
    root: RootInfo | None = None
