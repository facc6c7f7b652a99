"""How much a worker does at once: fixed numbers of slots, in Temporal's form."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any, Self

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
    "workflow_runner": "there is no sandbox",
    "build_id": "pass deployment_config=WorkerDeploymentConfig(...)",
    "use_worker_versioning": "pass deployment_config=WorkerDeploymentConfig(...)",
    "unsandboxed_workflow_runner": "there is no sandbox",
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
        raise TypeError(f"{name} takes a list, not {listed!r}: pass {name}=[...]")


@dataclass(frozen=True)
class FixedSizeSlotSupplier:
    """So many slots, and no more."""

    num_slots: int

    def __post_init__(self) -> None:
        count(self.num_slots, "num_slots", 1)


@dataclass(frozen=True)
class WorkerTuner:
    """How many workflow tasks and activities a worker runs at once, in one object. `create_fixed` makes one."""

    workflow_slots: int | None
    activity_slots: int | None
    local_activity_slots: int | None = None

    @classmethod
    def create_fixed(
        cls,
        *,
        workflow_slots: int | None = None,
        activity_slots: int | None = None,
        local_activity_slots: int | None = None,
    ) -> Self:
        """Return a tuner with fixed numbers; None for the worker's default.

        Raises:
            TypeError: A number is none.
            ValueError: It is less than 1.
        """
        given = {
            "workflow_slots": workflow_slots,
            "activity_slots": activity_slots,
            "local_activity_slots": local_activity_slots,
        }
        for name, value in given.items():
            if value is not None:
                count(value, name, 1)
        return cls(**given)

    @classmethod
    def create_composite(
        cls,
        *,
        workflow_supplier: FixedSizeSlotSupplier,
        activity_supplier: FixedSizeSlotSupplier,
        local_activity_supplier: FixedSizeSlotSupplier | None = None,
    ) -> Self:
        """Return a tuner made of suppliers; there are fixed ones only.

        Raises:
            TypeError: One of them is no `FixedSizeSlotSupplier`.
        """
        local = local_activity_supplier
        for supplier in (workflow_supplier, activity_supplier, *(() if local is None else (local,))):
            if not isinstance(supplier, FixedSizeSlotSupplier):
                raise TypeError(f"a supplier must be a FixedSizeSlotSupplier, not {supplier!r}")
        return cls(
            workflow_supplier.num_slots,
            activity_supplier.num_slots,
            None if local is None else local.num_slots,
        )


def slots(
    tuner: WorkerTuner | None,
    workflow_tasks: int | None,
    activities: int | None,
    local_activities: int | None,
) -> WorkerTuner:
    """Return how many workflow tasks and activities may be under way, each None if nothing was said.

    Raises:
        TypeError: The tuner is none, or a number is none.
        ValueError: There is a tuner and a number, or a number is less than 1.
    """
    for name, value in (
        ("max_concurrent_workflow_tasks", workflow_tasks),
        ("max_concurrent_activities", activities),
        ("max_concurrent_local_activities", local_activities),
    ):
        if value is not None:
            count(value, name, 1)
            if tuner is not None:
                raise ValueError(f"tuner and {name} exclude each other: the tuner says how many there are")
    if tuner is None:
        return WorkerTuner(workflow_tasks, activities, local_activities)
    if not isinstance(tuner, WorkerTuner):
        raise TypeError(f"tuner must be a WorkerTuner, not {tuner!r}")
    return tuner


def count(value: object, name: str, least: int) -> int:
    """Return a number that is one.

    Raises:
        TypeError: It is none.
        ValueError: It is too small.
    """
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f"{name} must be a whole number, not {type(value).__name__}")
    if value < least:
        raise ValueError(f"{name} must be at least {least}, not {value}")
    return value


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
