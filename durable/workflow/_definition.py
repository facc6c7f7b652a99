"""A workflow's definition: what `@workflow.defn` found out about a function or a class, and what was said about it."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any, TypedDict, cast

from msgspec import Struct
from msgspec.structs import replace

from durable._internal.ids import check_name
from durable._internal.instants import Duration, check_timeout, to_duration
from durable._internal.left_out import why_no_option
from durable._internal.shown import shown
from durable.activity._parameters import Parameters
from durable.activity._registry import Registry
from durable.common import RawValue, VersioningBehavior
from durable.exceptions import RegistrationError
from durable.workflow._child_options import CHILD_ONLY, ChildOptions

__all__ = [
    "DYNAMIC",
    "REGISTRY",
    "DynamicWorkflowConfig",
    "HandlerUnfinishedPolicy",
    "MessageDefinition",
    "QueryDefinition",
    "SignalDefinition",
    "UpdateDefinition",
    "WorkflowConfig",
    "WorkflowDefinition",
    "WorkflowOptions",
    "merge",
]


DYNAMIC = "(dynamic)"
"""Stands for the name of a dynamic workflow, which has none; no workflow may be called so."""


@dataclass(frozen=True)
class DynamicWorkflowConfig:
    """What `@workflow.dynamic_config` returns: how a run of a dynamic workflow is treated.

    Attributes:
        failure_exception_types: The exceptions that fail this run instead of blocking it, in the place of those that
            `@workflow.defn` names; those when None. What the worker says of all its workflows holds besides.
        versioning_behavior: What a new version of the workers means to this run, in the place of what `@workflow.defn`
            says; that when UNSPECIFIED.
    """

    failure_exception_types: Sequence[type[BaseException]] | None = None
    versioning_behavior: VersioningBehavior = VersioningBehavior.UNSPECIFIED

    def __post_init__(self) -> None:
        exception_classes(self.failure_exception_types or (), "failure_exception_types")
        check_behavior(self.versioning_behavior)


def exception_classes(kinds: object, name: str) -> tuple[type[BaseException], ...]:
    """Return what an option says about exceptions.

    Raises:
        TypeError: It is no sequence of exception classes.
    """
    if isinstance(kinds, str) or not isinstance(kinds, Sequence):
        raise TypeError(f"{name} must be a sequence of exception classes, not {shown(kinds)}")
    for kind in cast(Sequence[object], kinds):
        if not (isinstance(kind, type) and issubclass(kind, BaseException)):
            raise TypeError(f"{name} takes exception classes, not {kind!r}")
    return tuple(cast(Sequence[type[BaseException]], kinds))


def check_behavior(behavior: object) -> VersioningBehavior:
    """Return what an option says of versions.

    Raises:
        TypeError: It is no `VersioningBehavior`.
    """
    if not isinstance(behavior, VersioningBehavior):
        raise TypeError(f"versioning_behavior must be a VersioningBehavior, not {shown(behavior)}")
    return behavior


class WorkflowConfig(TypedDict, total=False):
    """The options of a workflow, each optional. What is left out, or None, is decided where it is started."""

    task_queue: str | None
    """The queue whose workers run it; the client's default queue by default."""
    execution_timeout: Duration | None
    """The longest that the workflow may take, all its runs together; no limit by default."""
    run_timeout: Duration | None
    """The longest that one run may take; no limit by default."""
    task_timeout: Duration | None
    """The longest that its code may go on without waiting for something."""


class WorkflowOptions(Struct, frozen=True):
    """Options of a workflow, validated. Durations are microseconds; None means that nothing was said."""

    task_queue: str | None = None
    execution_timeout: int | None = None
    run_timeout: int | None = None
    task_timeout: int | None = None
    child: ChildOptions | None = None
    """What was said about a child, which only another workflow can start."""

    def __post_init__(self) -> None:
        if self.task_queue is not None:
            check_name(self.task_queue, "task_queue")
        for name in _TIMEOUTS:
            check_timeout(getattr(self, name), name)


_TIMEOUTS = ("execution_timeout", "run_timeout", "task_timeout")
_KNOWN = frozenset(WorkflowOptions.__struct_fields__) - {"child"}


def merge(
    base: WorkflowOptions, given: Mapping[str, Any], caller: str, *, child: bool = False
) -> WorkflowOptions:
    """Return `base` with what `given` says on top; an option that is None there says nothing.

    Args:
        base: What holds so far.
        given: Options as people write them, with the names of `WorkflowConfig`.
        caller: What they were written in, for the error's text.
        child: Whether the options of a child are allowed too, `ChildWorkflowConfig`.

    Raises:
        TypeError: There is no such option, or its value is of a wrong type.
        ValueError: A duration is not positive or is too long, or a name cannot be one.
    """
    said: dict[str, Any] = {}
    of_child: dict[str, Any] = {}
    known = _KNOWN | CHILD_ONLY if child else _KNOWN
    for name, value in given.items():
        if name not in known:
            raise TypeError(
                f"{caller} has no option {name!r}{why_no_option(name)}; there are {', '.join(sorted(known))}"
            )
        if value is None:
            continue
        if name in CHILD_ONLY:
            of_child[name] = value
        else:
            said[name] = to_duration(value, name, allow_zero=False) if name in _TIMEOUTS else value
    if of_child:
        said["child"] = replace(base.child or ChildOptions(), **of_child)
    return replace(base, **said) if said else base


class HandlerUnfinishedPolicy(Enum):
    """What is done about a handler that is still under way when its workflow ends. Values are Temporal's."""

    WARN_AND_ABANDON = 1
    """It is abandoned, and the log says so: it may have been meant to finish."""
    ABANDON = 2
    """It is abandoned, as it should be."""


class MessageDefinition(Struct, frozen=True, eq=False):
    """What is known about a signal, a query or an update.

    Attributes:
        name: By which senders know it; None for the dynamic handler, which gets what no other one takes.
        fn: The handler as it was written, with `self`; None when it is set while the workflow runs.
        parameters: How arguments are bound, and their types.
        is_async: Whether the handler is an `async def`.
        description: A line for people.
        unfinished_policy: What is done when the workflow ends and its handler has not; queries have none.
    """

    name: str | None
    fn: Callable[..., Any] | None
    parameters: Parameters
    is_async: bool = False
    description: str = ""
    unfinished_policy: HandlerUnfinishedPolicy = HandlerUnfinishedPolicy.WARN_AND_ABANDON

    @property
    def signature(self) -> inspect.Signature:
        """What senders pass: the signature without `self`."""
        return self.parameters.signature

    @property
    def arg_types(self) -> tuple[Any, ...]:
        """The type of each parameter, `Any` where none is written; read from the hints at first use.

        Raises:
            RegistrationError: A hint names something that cannot be found.
        """
        return self.parameters.types

    @property
    def ret_type(self) -> Any:
        """The type of the answer, `Any` where none is written.

        Raises:
            RegistrationError: A hint names something that cannot be found.
        """
        return self.parameters.returns

    @property
    def where(self) -> str:
        """Where it is defined, as `path/file.py:12`."""
        return self.parameters.where


class SignalDefinition(MessageDefinition, frozen=True, eq=False):
    """What is known about a signal: a message without an answer."""


class QueryDefinition(MessageDefinition, frozen=True, eq=False):
    """What is known about a query: a question that changes nothing."""


class UpdateDefinition(MessageDefinition, frozen=True, eq=False):
    """What is known about an update: a message with an answer, which a validator may refuse."""

    validator: Callable[..., Any] | None = None


class WorkflowDefinition(Struct, frozen=True, eq=False, weakref=True):
    """Everything that is known about a workflow from its source. Two definitions are equal if they are one.

    Attributes:
        name: The workflow's type, by which clients, workers and histories know it.
        cls: The class of a class-style workflow; None in function style.
        run_fn: The `async def` that is the workflow; of a class, with `self`.
        parameters: How its arguments are bound, and their types.
        init_takes_args: Whether `cls` is made with the workflow's arguments (`@workflow.init`) or with none.
        signals: The handlers of signals in the class, by name.
        queries: The handlers of queries in the class, by name.
        updates: The handlers of updates in the class, by name.
        options: What the decorator says.
        failure_exception_types: Further exceptions that fail the workflow instead of blocking it.
        always_failures: Those of them that the worker adds for all its workflows.
        versioning_behavior: What a new version of the workers means to its runs.
        deadline: For how many microseconds a run may be open before people are told; None if nothing was said.
        dynamic: Whether it runs every type that has no definition of its own.
        dynamic_config: The method that says how one of its runs is treated.
        where: Where it is defined, as `path/file.py:12`.
        module: The module it is defined in.
        qualname: Its name within the module.
    """

    name: str
    cls: type[Any] | None
    run_fn: Callable[..., Any]
    parameters: Parameters
    options: WorkflowOptions
    where: str
    module: str
    qualname: str
    init_takes_args: bool = False
    signals: dict[str | None, SignalDefinition] = {}
    queries: dict[str | None, QueryDefinition] = {}
    updates: dict[str | None, UpdateDefinition] = {}
    failure_exception_types: tuple[type[BaseException], ...] = ()
    always_failures: tuple[type[BaseException], ...] = ()
    versioning_behavior: VersioningBehavior = VersioningBehavior.UNSPECIFIED
    deadline: int | None = None
    dynamic: bool = False
    dynamic_config: Callable[[Any], Any] | None = None

    def failing_with(self, kinds: Sequence[type[BaseException]]) -> WorkflowDefinition:
        """Return this definition with exceptions that fail its runs whatever it says itself."""
        return replace(
            self,
            failure_exception_types=(*self.failure_exception_types, *kinds),
            always_failures=(*self.always_failures, *kinds),
        )

    def for_type(self, workflow_type: str) -> WorkflowDefinition:
        """Return this dynamic definition as that of a type."""
        return replace(self, name=workflow_type)

    def configured(self, config: object) -> WorkflowDefinition:
        """Return this definition as its `dynamic_config` wants it for a run.

        Raises:
            TypeError: It returned something else than a `DynamicWorkflowConfig`.
        """
        if not isinstance(config, DynamicWorkflowConfig):
            raise TypeError(
                f"@workflow.dynamic_config must return a DynamicWorkflowConfig, not {shown(config)}"
            )
        types = config.failure_exception_types
        return replace(
            self,
            failure_exception_types=self.failure_exception_types
            if types is None
            else (*types, *self.always_failures),
            versioning_behavior=config.versioning_behavior or self.versioning_behavior,
        )

    @property
    def signature(self) -> inspect.Signature:
        """What starters pass: the signature without `self`."""
        return self.parameters.signature

    @property
    def arg_types(self) -> tuple[Any, ...]:
        """The type of each parameter, `Any` where none is written; read from the hints at first use.

        Raises:
            RegistrationError: A hint names something that cannot be found.
        """
        return self.parameters.types

    @property
    def ret_type(self) -> Any:
        """The type of the result, `Any` where none is written.

        Raises:
            RegistrationError: A hint names something that cannot be found.
        """
        return self.parameters.returns

    def check(self) -> None:
        """Read every type hint, so that a bad one is found when a worker starts and not at a message.

        Raises:
            RegistrationError: A hint names something that cannot be found.
        """
        for messages in (self.signals, self.queries, self.updates):
            for message in messages.values():
                _ = message.arg_types, message.ret_type
        _ = self.arg_types, self.ret_type
        if self.dynamic and self.arg_types[0] not in (Sequence[RawValue], list[RawValue]):
            raise RegistrationError(
                f"{self.parameters.what} ({self.where}) must take one argument, annotated Sequence[RawValue]: it gets "
                "the arguments of any workflow, as they are stored"
            )


REGISTRY: Registry[WorkflowDefinition] = Registry("workflow")
"""The workflows of this process."""
