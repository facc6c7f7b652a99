"""Activities that run beside their workflow, in the process of the worker that has it: no queue, and no row of their own.

They are for what is short and may be done again: nothing of an attempt is stored before its outcome is, so after a crash
or a hand-over the next owner of the run begins with the first attempt. See `docs/activities.md`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar, TypeVarTuple, Unpack, overload

from durable.activity._call import ActivityCall
from durable.activity._options import KNOWN_LOCAL, LocalActivityConfig, local
from durable.workflow._activities import call_of
from durable.workflow._runtime import current

R = TypeVar("R")
Ts = TypeVarTuple("Ts")


@overload
async def execute_local_activity(
    activity: ActivityCall[R], /, **options: Unpack[LocalActivityConfig]
) -> R: ...
@overload
async def execute_local_activity(
    activity: Callable[[*Ts], ActivityCall[R]], /, *arguments: *Ts, **options: Unpack[LocalActivityConfig]
) -> R: ...
@overload
async def execute_local_activity(
    activity: Callable[..., ActivityCall[R]],
    /,
    *,
    args: Sequence[Any],
    **options: Unpack[LocalActivityConfig],
) -> R: ...
@overload
async def execute_local_activity(
    activity: str,
    /,
    *arguments: Any,
    args: Sequence[Any] = (),
    result_type: type[R],
    **options: Unpack[LocalActivityConfig],
) -> R: ...
@overload
async def execute_local_activity(
    activity: str, /, *arguments: Any, args: Sequence[Any] = (), **options: Unpack[LocalActivityConfig]
) -> Any: ...
async def execute_local_activity(activity: Any, /, *arguments: object, **keywords: Any) -> Any:
    """Run an activity in the process of this workflow's worker, at least once, and return its result.

    Args:
        activity: The activity, a call of one, or the name of one; it must be registered on the worker of the workflow.
        arguments: Its arguments; `args=[...]` takes them as a list.
        keywords: `args`, `result_type` when the activity is called by name, and its options, see `LocalActivityConfig`.

    Raises:
        ActivityError: It failed for good; `cause` says why.
        NotInWorkflowError: The caller is not workflow code.
        RegistrationError: It is no activity.
        TypeError: The arguments do not fit, or there is no such option, or one is of a wrong type.
        ValueError: A duration or a name cannot be one.
        WorkflowTaskError: The worker does not have it.
    """
    return await _start("execute_local_activity", activity, arguments, keywords)


@overload
def start_local_activity(
    activity: ActivityCall[R], /, **options: Unpack[LocalActivityConfig]
) -> asyncio.Future[R]: ...
@overload
def start_local_activity(
    activity: Callable[[*Ts], ActivityCall[R]], /, *arguments: *Ts, **options: Unpack[LocalActivityConfig]
) -> asyncio.Future[R]: ...
@overload
def start_local_activity(
    activity: Callable[..., ActivityCall[R]],
    /,
    *,
    args: Sequence[Any],
    **options: Unpack[LocalActivityConfig],
) -> asyncio.Future[R]: ...
@overload
def start_local_activity(
    activity: str,
    /,
    *arguments: Any,
    args: Sequence[Any] = (),
    result_type: type[R],
    **options: Unpack[LocalActivityConfig],
) -> asyncio.Future[R]: ...
@overload
def start_local_activity(
    activity: str, /, *arguments: Any, args: Sequence[Any] = (), **options: Unpack[LocalActivityConfig]
) -> asyncio.Future[Any]: ...
def start_local_activity(activity: Any, /, *arguments: object, **keywords: Any) -> asyncio.Future[Any]:
    """Start an activity in the process of this workflow's worker, and return its handle, a future that gets its result.

    Args:
        activity: The activity, a call of one, or the name of one; it must be registered on the worker of the workflow.
        arguments: Its arguments; `args=[...]` takes them as a list.
        keywords: `args`, `result_type` when the activity is called by name, and its options, see `LocalActivityConfig`.

    Raises:
        NotInWorkflowError: The caller is not workflow code.
        RegistrationError: It is no activity.
        TypeError: The arguments do not fit, or there is no such option, or one is of a wrong type.
        ValueError: A duration or a name cannot be one.
        WorkflowTaskError: The worker does not have it.
    """
    return _start("start_local_activity", activity, arguments, keywords)


execute_local_activity_method = execute_local_activity
"""`execute_local_activity`, under the name that Temporal has for activities that are methods."""

start_local_activity_method = start_local_activity
"""`start_local_activity`, under the name that Temporal has for activities that are methods."""


def _start(
    name: str, activity: object, arguments: tuple[object, ...], keywords: Mapping[str, Any]
) -> asyncio.Future[Any]:
    runtime = current(f"workflow.{name}()")
    call = call_of(f"{name}()", activity, arguments, keywords, KNOWN_LOCAL)
    call.options = local(call.options)
    return runtime.start_local_activity(call)
