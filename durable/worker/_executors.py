"""Whether the activities of a worker can run where it would run them."""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import Executor, ThreadPoolExecutor
from typing import Any

from durable._internal.shown import shown
from durable.activity._activity import Activity
from durable.exceptions import RegistrationError
from durable.worker._processes import check_place, in_process
from durable.worker._shared_state import SharedStateManager


def executable(
    activities: Mapping[str, Activity[..., Any]],
    executor: Executor | None,
    shared: SharedStateManager | None,
) -> Mapping[str, Activity[..., Any]]:
    """Return the activities, if each can run where the worker's executors would run it.

    Raises:
        RegistrationError: One can run in no process, or there is none for it.
        TypeError: The executor or the manager is none.
        ValueError: A pool of processes comes without a manager, or a manager without a pool.
    """
    if executor is not None and not isinstance(executor, Executor):
        raise TypeError(f"activity_executor must be an Executor, not {shown(executor)}")
    if shared is not None and not isinstance(shared, SharedStateManager):
        raise TypeError(f"shared_state_manager must be a SharedStateManager, not {shared!r}")
    processes = executor is not None and not isinstance(executor, ThreadPoolExecutor)
    if processes and shared is None:
        raise ValueError(
            "an activity_executor that is no ThreadPoolExecutor needs a shared_state_manager: "
            "SharedStateManager.create_from_multiprocessing(multiprocessing.Manager())"
        )
    if shared is not None and not processes:
        raise ValueError("shared_state_manager is for an activity_executor of processes")
    for activity in activities.values():
        definition = activity.definition
        if processes and in_process(definition):
            check_place(activity)
        elif definition.executor == "process":
            raise RegistrationError(
                f"activity {definition.name!r} ({definition.where}) is to run in another process; give the worker a "
                "ProcessPoolExecutor as activity_executor, and a shared_state_manager"
            )
    return activities
