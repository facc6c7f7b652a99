"""Continuing as new: the workflow goes on as another run, with a fresh history."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from enum import IntEnum
from typing import Any, NoReturn, TypedDict, TypeVarTuple, Unpack, cast, overload

from msgspec import Struct

from durable._internal.ids import check_name
from durable._internal.instants import Duration, to_duration
from durable._internal.shown import shown
from durable.common import RetryPolicy, TypedSearchAttributes
from durable.workflow._calls import WorkflowCall
from durable.workflow._definition import WorkflowDefinition, WorkflowOptions
from durable.workflow._runtime import current
from durable.workflow._workflow import Workflow, definition_of, no_name

Ts = TypeVarTuple("Ts")


class ContinueAsNewError(BaseException):
    """Leaves the workflow to end this run and begin the next; `workflow.continue_as_new` raises it.

    Do not catch it: it is no error, and not an `Exception`, so that `except Exception` lets it pass.
    """

    def __init__(self, command: object) -> None:
        super().__init__("the workflow continues as new; let this leave the workflow function")
        self.command = command


class ContinueAsNewVersioningBehavior(IntEnum):
    """How the first task of the next run finds a version of the workers. Values are Temporal's."""

    UNSPECIFIED = 0
    """As it was: a pinned run is followed by one that is pinned to the same version."""
    AUTO_UPGRADE = 1
    """By the queue: the current version, or the ramping one for its share."""
    USE_RAMPING_VERSION = 2
    """The ramping version, whatever its share is; the current one where there is none."""


class ContinueAsNewConfig(TypedDict, total=False):
    """What the next run has of its own; what is left out, or None, it has from this one. The names are Temporal's."""

    task_queue: str | None
    """The queue whose workers run it."""
    run_timeout: Duration | None
    """The longest that the next run may take. An execution timeout goes on counting."""
    task_timeout: Duration | None
    """The longest that its code may run at one go; see `StartOptions`."""
    backoff_start_interval: Duration | None
    """How long until the next run begins; at once by default."""
    retry_policy: RetryPolicy | None
    """Whether a failed run is followed by another attempt."""
    memo: Mapping[str, Any] | None
    """Values for people, in the place of all that are there."""
    search_attributes: TypedSearchAttributes | None
    """The search attributes, in the place of all that are there."""
    initial_versioning_behavior: ContinueAsNewVersioningBehavior | None
    """How the next run's first task finds a version of the workers; a pinned run's next one begins with its version by
    default. Behind that task the workflow's own behaviour counts."""


class Continuation(Struct, frozen=True):
    """A continue-as-new as it was asked for, checked. Durations are in microseconds.

    Attributes:
        definition: The workflow that goes on, None for the one that asks.
        name: Its type, where it is known by name only.
    """

    definition: WorkflowDefinition | None
    name: str | None
    args: tuple[Any, ...]
    task_queue: str | None = None
    run_timeout: int | None = None
    task_timeout: int | None = None
    backoff: int = 0
    retry_policy: RetryPolicy | None = None
    memo: Mapping[str, Any] | None = None
    search_attributes: TypedSearchAttributes | None = None
    initial_versioning_behavior: ContinueAsNewVersioningBehavior | None = None


@overload
def continue_as_new(call: WorkflowCall[Any, Any], /, **options: Unpack[ContinueAsNewConfig]) -> NoReturn: ...
@overload
def continue_as_new(
    *arguments: *Ts, workflow: Callable[[*Ts], WorkflowCall[Any, Any]], **options: Unpack[ContinueAsNewConfig]
) -> NoReturn: ...
@overload
def continue_as_new(
    *arguments: Any, workflow: str | None = ..., **options: Unpack[ContinueAsNewConfig]
) -> NoReturn: ...
@overload
def continue_as_new(
    *,
    args: Sequence[Any],
    workflow: Callable[..., WorkflowCall[Any, Any]] | str | None = ...,
    **options: Unpack[ContinueAsNewConfig],
) -> NoReturn: ...
def continue_as_new(*arguments: object, **keywords: Any) -> NoReturn:
    """End this run here and now and go on as another one: same workflow id, new arguments, an empty history.

    It never returns: it raises what must leave the workflow function. Nothing is lost on the way. Signals that have come
    and that nobody has received, and messages that come now, are the next run's; whoever waits for the result waits
    for the last run's. Activities and timers of this run are dropped, and its children meet their parent close policy.

    Args:
        arguments: The next run's arguments, or one call (`subscription(customer)`) with them in it.
        args: The arguments as a list, in Temporal's way.
        workflow: Another workflow to go on as, or the name of its type; this one by default.
        options: See `ContinueAsNewConfig`.

    Raises:
        NotInWorkflowError: The caller is not workflow code.
        ReadOnlyContextError: The caller answers a query.
        TypeError: The arguments do not fit the workflow, or there is no such option, or one is of a wrong type.
        ValueError: A duration or a name cannot be one.
        ConversionError: An argument cannot be stored, or is not of the type the workflow takes.
    """
    runtime = current("workflow.continue_as_new()")
    caller = "continue_as_new()"
    options = dict(keywords)
    args, workflow = options.pop("args", None), options.pop("workflow", None)
    if args is not None and not isinstance(args, list | tuple):
        raise TypeError(
            f"{caller}: args must be a list or a tuple of the arguments, not {type(args).__name__}"
        )
    if arguments and args:
        raise TypeError(f"{caller}: pass the arguments one by one or as args=[...], not both")
    target = _Target.of(caller, arguments or tuple(cast("Sequence[Any]", args or ())), workflow)
    said = target.said(runtime.info().workflow_type) | _checked(caller, options)
    raise ContinueAsNewError(
        runtime.continue_as_new(Continuation(target.definition, target.name, target.args, **said))
    )


class _Target(Struct, frozen=True):
    """What the workflow goes on as, from whichever way it was written."""

    definition: WorkflowDefinition | None
    name: str | None
    args: tuple[Any, ...]
    options: WorkflowOptions | None = None

    @classmethod
    def of(cls, caller: str, arguments: tuple[Any, ...], workflow: Any) -> _Target:
        if len(arguments) == 1 and isinstance(arguments[0], WorkflowCall):
            call: WorkflowCall[Any, Any] = cast("Any", arguments[0])
            if workflow is not None:
                raise TypeError(f"{caller}: {shown(call)} names the workflow already; leave `workflow` out")
            call.close()
            return cls(call.definition, None, call.args, call.options)
        if workflow is None:
            return cls(None, None, arguments)
        if isinstance(workflow, str):
            return cls(None, check_name(workflow, "workflow"), arguments)
        definition = definition_of(workflow)
        if definition.dynamic:
            raise TypeError(f"{caller}: {no_name(definition)}")
        found: Any = workflow
        return cls(
            definition,
            None,
            arguments,
            found.call_options if isinstance(found, Workflow) else definition.options,
        )

    def said(self, own: str) -> dict[str, Any]:
        """What the workflow's options ask of the next run: of the same type, only what its definition does not say."""
        if self.options is None or self.definition is None:
            return {}
        usual = self.definition.options if self.definition.name == own else WorkflowOptions()
        return {
            name: value
            for name in ("task_queue", "run_timeout", "task_timeout")
            if (value := getattr(self.options, name)) != getattr(usual, name)
        }


_KNOWN = frozenset(ContinueAsNewConfig.__annotations__)


def _checked(caller: str, options: Mapping[str, Any]) -> dict[str, Any]:
    said: dict[str, Any] = {}
    for name, value in options.items():
        if name not in _KNOWN:
            raise TypeError(f"{caller} has no option {name!r}; there are {', '.join(sorted(_KNOWN))}")
        if value is None:
            continue
        match name:
            case "task_queue":
                said[name] = check_name(value, name)
            case "backoff_start_interval":
                said["backoff"] = to_duration(value, name)
            case "run_timeout" | "task_timeout":
                said[name] = to_duration(value, name, allow_zero=False)
            case _:
                kind, what = _KINDS[name]
                if not isinstance(value, kind):
                    raise TypeError(f"{name} must be {what}, not {type(value).__name__}: {shown(value)}")
                said[name] = value
    return said


_KINDS: dict[str, tuple[type[Any], str]] = {
    "retry_policy": (RetryPolicy, "a RetryPolicy"),
    "memo": (cast("type[Any]", Mapping), "a mapping of names to values"),
    "search_attributes": (TypedSearchAttributes, "TypedSearchAttributes"),
    "initial_versioning_behavior": (ContinueAsNewVersioningBehavior, "a ContinueAsNewVersioningBehavior"),
}
