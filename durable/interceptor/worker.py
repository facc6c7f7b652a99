"""Interceptors of workers, and what they are called with. `durable.worker` has the same names."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from durable._internal.shown import shown
from durable.interceptor._activity import (
    ActivityInboundInterceptor,
    ActivityOutboundInterceptor,
    ExecuteActivityInput,
)
from durable.interceptor._workflow import (
    ContinueAsNewInput,
    ExecuteWorkflowInput,
    HandleQueryInput,
    HandleSignalInput,
    HandleUpdateInput,
    SignalChildWorkflowInput,
    SignalExternalWorkflowInput,
    StartActivityInput,
    StartChildWorkflowInput,
    StartLocalActivityInput,
    WorkflowInboundInterceptor,
    WorkflowOutboundInterceptor,
)

__all__ = [
    "ActivityInboundInterceptor",
    "ActivityOutboundInterceptor",
    "ContinueAsNewInput",
    "ExecuteActivityInput",
    "ExecuteWorkflowInput",
    "HandleQueryInput",
    "HandleSignalInput",
    "HandleUpdateInput",
    "Interceptor",
    "SignalChildWorkflowInput",
    "SignalExternalWorkflowInput",
    "StartActivityInput",
    "StartChildWorkflowInput",
    "StartLocalActivityInput",
    "WorkflowInboundInterceptor",
    "WorkflowInterceptorClassInput",
    "WorkflowOutboundInterceptor",
]


@dataclass(frozen=True)
class WorkflowInterceptorClassInput:
    """What an interceptor is asked with for its class.

    Attributes:
        unsafe_extern_functions: Temporal's way out of its sandbox; there is none here, and nothing in it.
    """

    unsafe_extern_functions: Mapping[str, Callable[..., Any]] = field(
        default_factory=dict[str, Callable[..., Any]]
    )


class Interceptor:
    """Stands around what a worker runs. Override the methods for what it is interested in.

    Pass it to `Worker(interceptors=[...])`, or to `Client.connect(interceptors=[...])` if it is an interceptor of clients
    too. The first one is the outermost.
    """

    def intercept_activity(self, next: ActivityInboundInterceptor) -> ActivityInboundInterceptor:
        """Return what stands around an attempt of an activity; called for each."""
        return next

    def workflow_interceptor_class(
        self, input: WorkflowInterceptorClassInput
    ) -> type[WorkflowInboundInterceptor] | None:
        """Return the class of what stands around a run, made with the next one; None for nothing. Called once."""
        return None


def worker_interceptors(interceptors: Iterable[object]) -> tuple[Interceptor, ...]:
    """Return those of a client's interceptors that serve its workers too."""
    return tuple([one for one in interceptors if isinstance(one, Interceptor)])


def workflow_interceptors(
    interceptors: Iterable[Interceptor],
) -> tuple[type[WorkflowInboundInterceptor], ...]:
    """Return the classes that interceptors put around workflows.

    Raises:
        TypeError: One of them is none.
    """
    found: list[type[WorkflowInboundInterceptor]] = []
    for one in interceptors:
        if not isinstance(one, Interceptor):
            raise TypeError(f"interceptors takes durable.worker.Interceptor objects, not {shown(one)}")
        kind: object = one.workflow_interceptor_class(WorkflowInterceptorClassInput())
        if kind is None:
            continue
        if not (isinstance(kind, type) and issubclass(kind, WorkflowInboundInterceptor)):
            raise TypeError(
                f"workflow_interceptor_class of {shown(one)} returned {shown(kind)}, and not a class of them"
            )
        found.append(kind)
    return tuple(found)
