"""What a run knows about itself."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from durable.common import Priority, RetryPolicy, TypedSearchAttributes, WorkerDeploymentVersion

SUGGESTED_EVENTS = 4_096
"""Events of a history from which on it is better to continue as new: a replay takes that long."""

SUGGESTED_BYTES = 4 * 1024 * 1024
"""Bytes of a history, likewise."""


def _unknown() -> tuple[int, int]:
    return 0, 0


def _no_version() -> tuple[str, bool]:
    return "", False


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

    Attributes:
        attempt: Which try of the workflow's retry policy this run is, from 1.
        first_execution_run_id: The first run of the chain of runs that continue, retry or repeat each other.
        continued_run_id: The run before it in that chain.
        start_time: The time of its first task. A start with a delay begins when that is over.
        workflow_start_time: When the run was created.
        cron_schedule: When such runs begin.
        raw_memo: The memo as it is stored, with what the code has changed; `workflow.memo()` reads it.
        typed_search_attributes: What the run is found by, likewise.
        parent: Whose child it is; None for a workflow that no other one started.
        root: The top of the tree of parents it is in; None likewise.
        schedule_id: The schedule that started it; None when none did.
        scheduled_start_time: The instant of the schedule's spec for which it was started, however late that was and
            whatever the jitter; of a trigger, when it was asked for. Runs that go on for it keep it.
        previous_scheduled_start_time: The instant of the spec before that one, None for the first: what happened from
            there to `scheduled_start_time` is this run's to work through (its *data interval*).
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
    continued_run_id: str | None = None
    cron_schedule: str | None = None
    priority: Priority = field(default_factory=Priority)
    headers: Mapping[str, Any] = field(default_factory=dict[str, Any])
    parent: ParentInfo | None = None
    root: RootInfo | None = None
    raw_memo: Mapping[str, Any] = field(default_factory=dict[str, Any])
    schedule_id: str | None = None
    scheduled_start_time: datetime | None = None
    previous_scheduled_start_time: datetime | None = None
    typed_search_attributes: TypedSearchAttributes = TypedSearchAttributes.empty
    history: Callable[[], tuple[int, int]] = field(default=_unknown, repr=False, compare=False)
    versions: Callable[[], tuple[str, bool]] = field(default=_no_version, repr=False, compare=False)

    def get_current_history_length(self) -> int:
        """Return how many events the history has, up to the last input of the present task; a replay gets the same."""
        return self.history()[0]

    def get_current_history_size(self) -> int:
        """Return how many bytes those events have; a replay gets the same."""
        return self.history()[1]

    def get_current_deployment_version(self) -> WorkerDeploymentVersion | None:
        """Return the version of the workers that runs the present task, None for workers without one.

        A replay gets the version that ran the task then, so code may branch on it.
        """
        version, _ = self.versions()
        return WorkerDeploymentVersion(*version.split(":", 1)) if version else None

    def get_current_build_id(self) -> str:
        """Return the build id of that version, "" for workers without one; a replay gets the same."""
        return self.versions()[0].partition(":")[2]

    def is_target_worker_deployment_version_changed(self) -> bool:
        """Whether this pinned workflow would by now be another version's, if it were not pinned; a replay gets the same.

        Then `workflow.continue_as_new(..., initial_versioning_behavior=AUTO_UPGRADE)` goes on with that version. It is told
        with a task's inputs: the first task of a workflow does not know it yet.
        """
        return self.versions()[1]

    def is_continue_as_new_suggested(self) -> bool:
        """Whether the history is so long, 4,096 events or 4 MB, that it is time for `workflow.continue_as_new`.

        Nothing happens to a workflow that does not; every replay of it takes longer.
        """
        events, size = self.history()
        return events >= SUGGESTED_EVENTS or size >= SUGGESTED_BYTES
