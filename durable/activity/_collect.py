"""Which activities a worker serves, by name."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, cast

from durable._internal.shown import shown
from durable.activity._activity import Activity, ActivityMethod
from durable.activity._definition import check_dynamic
from durable.activity._registry import REGISTRY, only
from durable.exceptions import RegistrationError

__all__ = ["activity_of", "collect"]

AnyActivity = Activity[..., Any]


def activity_of(value: object) -> AnyActivity:
    """Return the activity that `value` is.

    Raises:
        RegistrationError: It is none; the text says what to decorate.
    """
    if isinstance(value, Activity):
        return cast(AnyActivity, value)
    name = getattr(value, "__qualname__", None) or shown(value)
    if callable(value) and not isinstance(value, type):
        raise RegistrationError(
            f"{name} is a plain function; put @activity.defn above it to make it an activity"
        )
    raise RegistrationError(f"{name} is not an activity; pass a function under @activity.defn")


def collect(activities: Sequence[Any] | None, task_queue: str) -> Mapping[str, AnyActivity]:
    """Return the activities a worker serves on a queue, by name, with their type hints read.

    Args:
        activities: Activities, methods of instances, and instances whose methods are activities; or None for all that
            were defined in this process for this queue or for none. Methods are not among these, since nobody knows
            on which instance to run them.
        task_queue: The worker's queue.

    Raises:
        RegistrationError: Two have one name; one is a method without an instance, is no activity, or has a type hint
            that cannot be read.
    """
    found: dict[str, AnyActivity] = {}
    if activities is None:
        for name in REGISTRY.names():
            served = [d for d in REGISTRY.served(name, task_queue) if not d.is_method]
            if served:
                found[name] = Activity(only("activity", served))
    else:
        for item in activities:
            for activity in _listed(item):
                _add(found, activity)
    for activity in found.values():
        _ = activity.definition.arg_types, activity.definition.ret_type
        if activity.definition.dynamic:
            check_dynamic(activity.definition)
    return found


def _listed(item: object) -> list[AnyActivity]:
    if isinstance(item, type):
        raise RegistrationError(
            f"{item.__qualname__} is a class, and its activities need an instance: pass {item.__qualname__}(...)"
        )
    names: dict[str, None] = {}
    for cls in type(item).__mro__:
        names.update((name, None) for name, value in vars(cls).items() if _is_method(value))
    return [activity_of(getattr(item, name)) for name in names] or [activity_of(item)]


def _is_method(value: object) -> bool:
    return isinstance(value, ActivityMethod) or (isinstance(value, Activity) and value.definition.is_method)


def _add(found: dict[str, AnyActivity], activity: AnyActivity) -> None:
    definition = activity.definition
    if definition.is_method and activity.instance is None:
        owner, _, name = definition.qualname.rpartition(".")
        raise RegistrationError(
            f"activity {definition.name!r} ({definition.where}) is a method and needs an instance: "
            f"pass {owner}(...) or {owner}(...).{name}"
        )
    before = found.setdefault(definition.name, activity)
    only("activity", [before.definition, definition])
    if before.instance is not activity.instance:
        raise RegistrationError(
            f"activity {definition.name!r} ({definition.where}) is listed on two instances, and one worker "
            "cannot serve both"
        )
