"""Temporal's spelling of activity calls: the function and its arguments apart, options as keywords."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar, TypeVarTuple, Unpack, cast, overload

from durable._internal.ids import check_name
from durable._internal.shown import shown
from durable.activity._activity import Activity
from durable.activity._call import ActivityCall
from durable.activity._collect import activity_of
from durable.activity._options import KNOWN, ActivityConfig, ActivityOptions, merge
from durable.workflow._runtime import current

R = TypeVar("R")
Ts = TypeVarTuple("Ts")

_NOTHING_SAID = ActivityOptions()

ActivityHandle = asyncio.Future
"""What starting an activity returns: a future that gets its result, and whose `cancel()` cancels the activity."""


@overload
async def execute_activity(activity: ActivityCall[R], /, **options: Unpack[ActivityConfig]) -> R: ...
@overload
async def execute_activity(
    activity: Callable[[*Ts], ActivityCall[R]], /, *arguments: *Ts, **options: Unpack[ActivityConfig]
) -> R: ...
@overload
async def execute_activity(
    activity: Callable[..., ActivityCall[R]], /, *, args: Sequence[Any], **options: Unpack[ActivityConfig]
) -> R: ...
@overload
async def execute_activity(
    activity: str,
    /,
    *arguments: Any,
    args: Sequence[Any] = (),
    result_type: type[R],
    **options: Unpack[ActivityConfig],
) -> R: ...
@overload
async def execute_activity(
    activity: str, /, *arguments: Any, args: Sequence[Any] = (), **options: Unpack[ActivityConfig]
) -> Any: ...
async def execute_activity(activity: Any, /, *arguments: object, **keywords: Any) -> Any:
    """Run an activity and return its result.

    Args:
        activity: The activity, a call of one, or the name of one.
        arguments: Its arguments; `args=[...]` takes them as a list.
        keywords: `args`, `result_type` when the activity is called by name, and its options, see `ActivityConfig`.

    Raises:
        ActivityError: It failed for good; `cause` says why.
        NotInWorkflowError: The caller is not workflow code.
        RegistrationError: It is no activity.
        TypeError: The arguments do not fit, or there is no such option, or one is of a wrong type.
        ValueError: A duration or a name cannot be one.
    """
    current("workflow.execute_activity()")
    return await call_of("execute_activity()", activity, arguments, keywords)


@overload
def start_activity(activity: ActivityCall[R], /, **options: Unpack[ActivityConfig]) -> asyncio.Future[R]: ...
@overload
def start_activity(
    activity: Callable[[*Ts], ActivityCall[R]], /, *arguments: *Ts, **options: Unpack[ActivityConfig]
) -> asyncio.Future[R]: ...
@overload
def start_activity(
    activity: Callable[..., ActivityCall[R]], /, *, args: Sequence[Any], **options: Unpack[ActivityConfig]
) -> asyncio.Future[R]: ...
@overload
def start_activity(
    activity: str,
    /,
    *arguments: Any,
    args: Sequence[Any] = (),
    result_type: type[R],
    **options: Unpack[ActivityConfig],
) -> asyncio.Future[R]: ...
@overload
def start_activity(
    activity: str, /, *arguments: Any, args: Sequence[Any] = (), **options: Unpack[ActivityConfig]
) -> asyncio.Future[Any]: ...
def start_activity(activity: Any, /, *arguments: object, **keywords: Any) -> asyncio.Future[Any]:
    """Schedule an activity at once and return its handle, a future that gets its result.

    Args:
        activity: The activity, a call of one, or the name of one.
        arguments: Its arguments; `args=[...]` takes them as a list.
        keywords: `args`, `result_type` when the activity is called by name, and its options, see `ActivityConfig`.

    Raises:
        NotInWorkflowError: The caller is not workflow code.
        RegistrationError: It is no activity.
        TypeError: The arguments do not fit, or there is no such option, or one is of a wrong type.
        ValueError: A duration or a name cannot be one.
    """
    current("workflow.start_activity()")
    return call_of("start_activity()", activity, arguments, keywords).start()


execute_activity_method = execute_activity
"""`execute_activity`, under the name that Temporal has for activities that are methods."""

start_activity_method = start_activity
"""`start_activity`, under the name that Temporal has for activities that are methods."""


def call_of(
    caller: str,
    activity: object,
    arguments: tuple[object, ...],
    keywords: Mapping[str, Any],
    known: frozenset[str] = KNOWN,
) -> ActivityCall[Any]:
    """Return the call that these arguments and options make; `known` says which options there are."""
    options = dict(keywords)
    listed = options.pop("args", None)
    result_type = options.pop("result_type", None)
    if listed is not None and not isinstance(listed, list | tuple):
        raise TypeError(
            f"{caller}: args must be a list or a tuple of the arguments, not {type(listed).__name__}"
        )
    if listed and arguments:
        raise TypeError(f"{caller}: pass the arguments one by one or as args=[...], not both")
    given = arguments or tuple(cast(Sequence[Any], listed or ()))
    if isinstance(activity, ActivityCall):
        return _again(caller, cast(ActivityCall[object], activity), given, result_type, options, known)
    if isinstance(activity, str):
        merged = merge(_NOTHING_SAID, options, caller, known)
        return ActivityCall(check_name(activity, "activity"), given, merged, result_type=result_type)
    found: Activity[..., Any] = activity_of(activity)
    definition = found.definition
    if definition.dynamic:
        raise TypeError(
            f"{caller}: {definition.parameters.what} has no name to be called by; pass the type as a string"
        )
    return ActivityCall(
        definition.name,
        definition.parameters.bind(given, {}),
        merge(found.call_options, options, caller, known),
        definition,
        found.instance,
        result_type=result_type,
    )


def _again(
    caller: str,
    call: ActivityCall[object],
    given: tuple[Any, ...],
    result_type: Any,
    options: Mapping[str, Any],
    known: frozenset[str],
) -> ActivityCall[Any]:
    """Return a call with more options in the place of one that nobody has awaited."""
    if given:
        raise TypeError(
            f"{caller}: {shown(call)} has its arguments already; pass the activity itself, or no arguments"
        )
    made = ActivityCall[Any](
        call.name,
        call.args,
        merge(call.options, options, caller, known),
        call.definition,
        result_type=call.result_type if result_type is None else result_type,
    )
    call.replace()
    return made
