"""`@workflow.defn`: a function or a class becomes a workflow, or is refused with a sentence that says why."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable, Coroutine, Sequence
from types import FrameType
from typing import Any, ParamSpec, Protocol, TypeVar, Unpack, cast, overload

from msgspec.structs import replace

from durable._internal.ids import check_name
from durable._internal.instants import Duration, to_duration
from durable._internal.shown import shown
from durable.activity._parameters import Parameters, local_names, where_is
from durable.common import VersioningBehavior
from durable.exceptions import RegistrationError
from durable.workflow._definition import (
    DYNAMIC,
    REGISTRY,
    MessageDefinition,
    WorkflowConfig,
    WorkflowDefinition,
    WorkflowOptions,
    check_behavior,
    exception_classes,
    merge,
)
from durable.workflow._methods import DYNAMIC_CONFIG, INIT, QueryMethod, RunMethod, SignalMethod, UpdateMethod
from durable.workflow._workflow import ATTRIBUTE, Workflow

__all__ = ["defn"]

P = ParamSpec("P")
R = TypeVar("R")
C = TypeVar("C", bound=type[Any])

_frame = sys._getframe  # local definitions resolve their hints where they stand
_METHODS = (SignalMethod, QueryMethod, UpdateMethod)


class _Defn(Protocol):
    @overload
    def __call__(self, cls: C, /) -> C: ...
    @overload
    def __call__(self, fn: Callable[P, Coroutine[Any, Any, R]], /) -> Workflow[None, P, R]: ...


@overload
def defn(cls: C, /) -> C: ...
@overload
def defn(fn: Callable[P, Coroutine[Any, Any, R]], /) -> Workflow[None, P, R]: ...
@overload
def defn(
    *,
    name: str | None = None,
    sandboxed: bool = False,
    dynamic: bool = False,
    failure_exception_types: Sequence[type[BaseException]] = (),
    versioning_behavior: VersioningBehavior = VersioningBehavior.UNSPECIFIED,
    deadline: Duration | None = None,
    **options: Unpack[WorkflowConfig],
) -> _Defn: ...
def defn(
    target: Any = None,
    /,
    *,
    name: str | None = None,
    sandboxed: bool = False,
    dynamic: bool = False,
    failure_exception_types: Sequence[type[BaseException]] = (),
    versioning_behavior: VersioningBehavior = VersioningBehavior.UNSPECIFIED,
    deadline: Duration | None = None,
    **options: Unpack[WorkflowConfig],
) -> Any:
    """Make a workflow of an `async def`, or of a class with one under `@workflow.run`.

    What its code does is recorded step by step, so that any worker can carry on where another one stopped. The code
    is run again from its history for that, and has to do the same again: what touches the world outside belongs into
    activities.

    Args:
        target: The function or the class, when the decorator is used without parentheses.
        name: The workflow's type; the name of the function or class by default. Histories refer to it, so it
            outlives renamings.
        sandboxed: False, as it always is here: nothing is imported a second time.
        dynamic: Whether it runs the workflows of every type that its worker has no definition of. It takes one argument,
            `args: Sequence[RawValue]`, and has no name; `workflow.info().workflow_type` tells which it runs. A worker
            serves one at most.
        failure_exception_types: Further exceptions that fail the workflow when they leave it. Any other exception
            that is no failure by itself is taken for a bug: it blocks the run until the code is fixed.
        versioning_behavior: What a new version of the workers means to a run that is under way: PINNED or AUTO_UPGRADE.
            Only workers with a version look at it; they need it, here or as their default.
        deadline: For how long a run may be open before people should know: its type's metric and a log record tell of a run
            for which 80 % of it are over, and of one that is open for longer. Nothing is ended by it; `run_timeout` does
            that. See docs/telemetry.md.
        options: See `WorkflowConfig`.

    Raises:
        RegistrationError: It cannot be a workflow.
        TypeError: There is no such option, or a value is of a wrong type.
        ValueError: A duration or a name cannot be one.
    """
    if sandboxed:
        raise ValueError(
            "sandboxed=True asks for what this library does not have; leave it out, or say False"
        )
    merged = merge(WorkflowOptions(), options, "@workflow.defn")
    failures = exception_classes(failure_exception_types, "failure_exception_types")
    if not isinstance(dynamic, bool):
        raise TypeError(f"dynamic must be True or False, not {shown(dynamic)}")
    if dynamic and name is not None:
        raise RegistrationError(
            f"workflow {name!r}: a dynamic workflow runs every type and has no name itself"
        )
    behavior = check_behavior(versioning_behavior)
    late = _checked_deadline(deadline, dynamic)
    frame = _frame(1)

    def decorate(found: Any) -> Any:
        if isinstance(found, type):
            definition = _of_class(found, name, merged, failures, dynamic)
        else:
            definition = _of_function(found, name, merged, failures, frame, dynamic)
        definition = replace(definition, versioning_behavior=behavior, deadline=late)
        made = Workflow[Any, ..., Any](definition)
        if isinstance(found, type):
            setattr(found, ATTRIBUTE, made)
        REGISTRY.add(definition)
        return cast(Any, found) if isinstance(found, type) else made

    return decorate if target is None else decorate(target)


def _of_function(
    fn: Any,
    name: str | None,
    options: WorkflowOptions,
    failures: tuple[type[BaseException], ...],
    frame: FrameType,
    dynamic: bool,
) -> WorkflowDefinition:
    if isinstance(fn, RunMethod):
        raise RegistrationError("@workflow.defn belongs above the class, and @workflow.run above its method")
    if not inspect.isroutine(fn):
        raise TypeError(
            f"@workflow.defn decorates async functions and classes, not {type(fn).__name__}: {shown(fn)}"
        )
    where = where_is(fn)
    label = _name_of(fn.__name__ if name is None else name, dynamic)
    what = f"dynamic workflow {fn.__name__!r}" if dynamic else f"workflow {label!r}"
    if not inspect.iscoroutinefunction(fn):
        raise RegistrationError(
            f"{what} ({where}) must be an `async def`; write `async def` in place of `def`. "
            "(A plain function that does the work itself is an activity: @activity.defn.)"
        )
    return WorkflowDefinition(
        name=label,
        cls=None,
        run_fn=fn,
        parameters=_checked(Parameters(fn, what, where, local=local_names(fn, frame)), dynamic),
        dynamic=dynamic,
        options=options,
        where=where,
        module=fn.__module__,
        qualname=fn.__qualname__,
        failure_exception_types=failures,
    )


def _of_class(
    cls: type[Any],
    name: str | None,
    options: WorkflowOptions,
    failures: tuple[type[BaseException], ...],
    dynamic: bool,
) -> WorkflowDefinition:
    label = _name_of(cls.__name__ if name is None else name, dynamic)
    what = f"dynamic workflow {cls.__name__!r}" if dynamic else f"workflow {label!r}"
    run: RunMethod[Any, ..., Any] = _run_of(cls, what)
    where = where_is(run.fn)
    parameters = _checked(Parameters(run.fn, what, where, method=True, local=run.local), dynamic)
    messages = _messages_of(cls, what)
    if "<locals>" in cls.__qualname__:
        # A local class is in no namespace that its hints could be read from, and they may well name it.
        for known in (parameters, *(message.parameters for message in messages)):
            known.local.setdefault(cls.__name__, cls)
    return WorkflowDefinition(
        name=label,
        cls=cls,
        run_fn=run.fn,
        parameters=parameters,
        options=options,
        where=where,
        module=cls.__module__,
        qualname=cls.__qualname__,
        init_takes_args=_check_init(cls, what, parameters),
        signals=_by_name(cls, what, SignalMethod),
        queries=_by_name(cls, what, QueryMethod),
        updates=_by_name(cls, what, UpdateMethod),
        failure_exception_types=failures,
        dynamic=dynamic,
        dynamic_config=_config_of(cls, what, dynamic),
    )


def _name_of(name: object, dynamic: bool) -> str:
    if dynamic:
        return DYNAMIC
    if name == DYNAMIC:
        raise ValueError(f"name must not be {DYNAMIC!r}: that stands for dynamic workflows")
    return check_name(name, "name")


def _checked_deadline(deadline: Duration | None, dynamic: bool) -> int | None:
    late = None if deadline is None else to_duration(deadline, "deadline", allow_zero=False)
    if dynamic and late is not None:
        raise RegistrationError(
            "a dynamic workflow has no deadline, since it runs many types; give one to @workflow.defn of each type that needs "
            "it"
        )
    return late


def _checked(parameters: Parameters, dynamic: bool) -> Parameters:
    if dynamic and len(parameters.names) != 1:
        raise RegistrationError(
            f"{parameters.what} ({parameters.where}) must take one argument, annotated Sequence[RawValue]: it gets the "
            "arguments of any workflow, as they are stored"
        )
    return parameters


def _config_of(cls: type[Any], what: str, dynamic: bool) -> Callable[[Any], Any] | None:
    """Return the method under `@workflow.dynamic_config`, nearest first."""
    found = [
        value
        for base in cls.__mro__
        for value in vars(base).values()
        if inspect.isfunction(value) and getattr(value, DYNAMIC_CONFIG, False)
    ]
    if found and not dynamic:
        raise RegistrationError(
            f"{what} ({where_is(found[0])}) has a @workflow.dynamic_config and is not dynamic; it needs "
            "@workflow.defn(dynamic=True)"
        )
    if len([one for one in found if one in vars(cls).values()]) > 1:
        raise RegistrationError(f"{what} ({cls.__qualname__}) has more than one @workflow.dynamic_config")
    return found[0] if found else None


def _run_of(cls: type[Any], what: str) -> RunMethod[Any, ..., Any]:
    runs: list[RunMethod[Any, ..., Any]] = [
        cast(RunMethod[Any, ..., Any], value) for value in vars(cls).values() if isinstance(value, RunMethod)
    ]
    if len(runs) == 1:
        return runs[0]
    if runs:
        names = " and ".join(run.fn.__name__ for run in runs)
        raise RegistrationError(
            f"{what} ({cls.__qualname__}) has more than one @workflow.run: {names}; keep one"
        )
    for base in cls.__mro__[1:]:
        if any(isinstance(value, RunMethod) for value in vars(base).values()):
            raise RegistrationError(
                f"{what} ({cls.__qualname__}) inherits its @workflow.run from {base.__qualname__}, and needs one of its "
                "own: an `async def run` that awaits super().run(...) will do"
            )
    raise RegistrationError(
        f"{what} ({cls.__qualname__}) has no @workflow.run; put it above the `async def` that is the workflow"
    )


def _messages_of(cls: type[Any], what: str) -> list[MessageDefinition]:
    """Return the messages that the class has or inherits, nearest first."""
    found: list[MessageDefinition] = []
    seen: dict[str, type[Any]] = {}
    for base in cls.__mro__:
        for attribute, value in vars(base).items():
            if not isinstance(value, _METHODS):
                if attribute not in seen:
                    seen[attribute] = base
                continue
            nearer = seen.setdefault(attribute, base)
            if nearer is base:
                found.append(cast(MessageDefinition, value.definition))
            elif not isinstance(vars(nearer)[attribute], _METHODS):
                raise RegistrationError(
                    f"{what}: {nearer.__qualname__}.{attribute} hides the handler of {base.__qualname__} with something "
                    f"that handles nothing; decorate it like the one at {value.definition.where}"
                )
    return found


def _by_name(cls: type[Any], what: str, kind: type[Any]) -> dict[str | None, Any]:
    """Return the handlers of one kind by name; two of one name are an error."""
    found: dict[str | None, Any] = {}
    attributes: dict[str, Any] = {}
    for base in reversed(cls.__mro__):
        attributes.update(vars(base))
    for value in attributes.values():
        if not isinstance(value, kind):
            continue
        definition: MessageDefinition = value.definition
        other = found.setdefault(definition.name, definition)
        if other is not definition:
            raise RegistrationError(
                f"{what}: {definition.parameters.what} has two handlers, at {other.where} and at {definition.where}"
            )
    return found


def _check_init(cls: type[Any], what: str, parameters: Parameters) -> bool:
    """Return whether the class is made with the workflow's arguments."""
    init: Any = cls.__init__
    where = where_is(init) if inspect.isfunction(init) else ""
    if getattr(init, INIT, False):
        taken = list(inspect.signature(init).parameters.values())[1:]
        expected = list(parameters.signature.parameters.values())
        if [(p.name, p.kind, p.default, p.annotation) for p in taken] != [
            (p.name, p.kind, p.default, p.annotation) for p in expected
        ]:
            raise RegistrationError(
                f"{what}: __init__ ({where}) is under @workflow.init and takes ({', '.join(map(str, taken))}), and run "
                f"takes ({', '.join(map(str, expected))}); they get the same arguments, so write the same parameters"
            )
        return True
    try:
        needed = [
            p.name
            for p in inspect.signature(cls).parameters.values()
            if p.default is p.empty and p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)
        ]
    except (TypeError, ValueError):
        return False
    if needed:
        raise RegistrationError(
            f"{what}: __init__ ({where}) needs {', '.join(needed)}, and nobody would pass it; put @workflow.init above "
            "it to get the workflow's arguments, or give defaults"
        )
    return False
