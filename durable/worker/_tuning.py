"""What a worker is told about how much it does at once, checked."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from difflib import get_close_matches
from typing import Any

from durable._internal.shown import shown
from durable.worker._suppliers import WorkerTuner, fixed

REFUSED = {
    "activity_task_poller_behavior": "one look at the database brings a batch; see poll_interval",
    "workflow_task_poller_behavior": "one look at the database brings a batch; see poll_interval",
    "nexus_task_poller_behavior": "there is no Nexus",
    "max_concurrent_activity_task_polls": "one look at the database brings a batch; see poll_interval",
    "max_concurrent_workflow_task_polls": "one look at the database brings a batch; see poll_interval",
    "max_concurrent_nexus_tasks": "there is no Nexus",
    "nonsticky_to_sticky_poll_ratio": "a run stays with its worker without a queue for that; see max_cached_workflows",
    "sticky_queue_schedule_to_start_timeout": "a run is taken over when its worker's lease ends; see lease_duration",
    "max_eager_activity_reservations_per_workflow_task": "max_concurrent_activities bounds eager activities too",
    "nexus_service_handlers": "there is no Nexus; call an activity, or a workflow on another task queue",
    "nexus_task_executor": "there is no Nexus",
    "workflow_task_executor": "workflow code runs on the event loop; see deadlock_timeout",
    "workflow_runner": "there is no sandbox; see guard",
    "build_id": "pass deployment_config=WorkerDeploymentConfig(...)",
    "use_worker_versioning": "pass deployment_config=WorkerDeploymentConfig(...)",
    "unsandboxed_workflow_runner": "there is no sandbox; see guard",
    "disable_safe_workflow_eviction": "eviction is always safe",
    "max_workflow_task_external_storage_concurrency": "there is no external storage",
}
"""Options of Temporal's worker that mean nothing here, and what to use instead."""


def refuse(options: dict[str, Any], known: Sequence[str]) -> None:
    """Refuse options that a worker does not have; `known` are those that it has.

    Raises:
        TypeError: There is one; the text says what to use instead.
    """
    for name in options:
        why = REFUSED.get(name)
        if why is None:
            near = get_close_matches(name, known, 1)
            raise TypeError(
                f"Worker has no option {name!r}; "
                + (f"did you mean {near[0]!r}?" if near else f"there are {', '.join(known)}")
            )
        raise TypeError(f"Worker has no option {name!r}: {why}")


def check_list(listed: object, name: str) -> None:
    """Refuse what is no list of definitions.

    Raises:
        TypeError: It is one definition, or none.
    """
    if listed is not None and (isinstance(listed, str | type) or not isinstance(listed, Iterable)):
        raise TypeError(f"{name} takes a list, not {shown(listed)}: pass {name}=[...]")


def tuned(
    tuner: WorkerTuner | None,
    workflow_tasks: int | None,
    activities: int | None,
    local_activities: int | None,
) -> WorkerTuner:
    """Return what hands out slots for each kind of task, None where nothing was said.

    Raises:
        TypeError: The tuner is none, or a number is none.
        ValueError: There is a tuner and a number, or a number is less than 1.
    """
    given = {
        "max_concurrent_workflow_tasks": workflow_tasks,
        "max_concurrent_activities": activities,
        "max_concurrent_local_activities": local_activities,
    }
    numbers = [fixed(value, name) for name, value in given.items()]
    if tuner is None:
        return WorkerTuner(*numbers)
    if not isinstance(tuner, WorkerTuner):
        raise TypeError(f"tuner must be a WorkerTuner, not {shown(tuner)}")
    for name, value in given.items():
        if value is not None:
            raise ValueError(f"tuner and {name} exclude each other: the tuner says how many there are")
    return tuner


def per_second(value: object, name: str) -> float | None:
    """Return a rate that is one.

    Raises:
        TypeError: It is none.
        ValueError: It is not more than zero.
    """
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError(f"{name} must be a number, not {type(value).__name__}")
    if not 0 < value < float("inf"):
        raise ValueError(f"{name} must be more than 0, not {value}")
    return float(value)
