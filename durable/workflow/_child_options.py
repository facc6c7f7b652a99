"""What can be said about a child workflow beyond what a workflow's definition says of every run."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypedDict, cast

from msgspec import Struct

from durable._internal.ids import check_name, check_text
from durable._internal.instants import Duration
from durable._internal.shown import shown
from durable.common import (
    ChildWorkflowCancellationType,
    Concurrency,
    ParentClosePolicy,
    Priority,
    RetryPolicy,
    TypedSearchAttributes,
    WorkflowIDReusePolicy,
)

__all__ = ["ChildOptions", "ChildWorkflowConfig"]


class ChildWorkflowConfig(TypedDict, total=False):
    """The options of a child workflow, each optional. The names, and the defaults, are Temporal's."""

    id: str | None
    """The child's workflow id; a fresh one, the same at every replay, by default."""
    task_queue: str | None
    """The queue whose workers run it; the definition's, else the parent's."""
    cancellation_type: ChildWorkflowCancellationType
    """What the parent sees when it cancels the child; WAIT_CANCELLATION_COMPLETED by default."""
    parent_close_policy: ParentClosePolicy
    """What the end of the parent does to a child that is still open; TERMINATE by default."""
    execution_timeout: Duration | None
    """The longest that the child may take, all its runs together; no limit by default."""
    run_timeout: Duration | None
    """The longest that one run of it may take; no limit by default."""
    task_timeout: Duration | None
    """The longest that its code may run at one go; see `StartOptions`."""
    id_reuse_policy: WorkflowIDReusePolicy
    """Whether the id may be used again after its last run has closed; ALLOW_DUPLICATE by default."""
    retry_policy: RetryPolicy | None
    """How often and how fast the child is tried again when it fails; not at all by default."""
    cron_schedule: str
    """When the child is run again after it has ended; once only by default."""
    memo: Mapping[str, Any] | None
    """Values for people, shown by `describe`."""
    search_attributes: TypedSearchAttributes | None
    """What the child is found by."""
    static_summary: str
    """A line for people."""
    static_details: str
    """Several lines for people."""
    priority: Priority | None
    """Which of several workflows that are due is taken first; the parent's by default."""
    concurrency: Concurrency | None
    """At most so many with its key run at once; until then the child is started and waits. No limit by default."""


class ChildOptions(Struct, frozen=True):
    """Those of a child's options that other runs do not have, validated."""

    id: str | None = None
    cancellation_type: ChildWorkflowCancellationType = (
        ChildWorkflowCancellationType.WAIT_CANCELLATION_COMPLETED
    )
    parent_close_policy: ParentClosePolicy = ParentClosePolicy.TERMINATE
    id_reuse_policy: WorkflowIDReusePolicy = WorkflowIDReusePolicy.ALLOW_DUPLICATE
    retry_policy: RetryPolicy | None = None
    cron_schedule: str = ""
    memo: Mapping[str, Any] = {}
    search_attributes: TypedSearchAttributes | None = None
    static_summary: str = ""
    static_details: str = ""
    priority: Priority | None = None
    concurrency: Concurrency | None = None

    def __post_init__(self) -> None:
        if self.id is not None:
            check_name(self.id, "id")
        for name, kind, expected in _KINDS:
            value = getattr(self, name)
            if not isinstance(value, kind):
                raise TypeError(f"{name} must be {expected}, not {type(value).__name__}: {shown(value)}")
        for name in ("cron_schedule", "static_summary", "static_details"):
            check_text(getattr(self, name), name)
        for key in cast(Mapping[object, Any], self.memo):
            check_name(key, "memo key")
        if self.parent_close_policy is ParentClosePolicy.UNSPECIFIED:
            raise ValueError("parent_close_policy must be TERMINATE, ABANDON or REQUEST_CANCEL")
        if self.id_reuse_policy is WorkflowIDReusePolicy.TERMINATE_IF_RUNNING:
            raise ValueError(
                "id_reuse_policy TERMINATE_IF_RUNNING is not for child workflows: a workflow ends another one by "
                "get_external_workflow_handle(...).cancel(), and then starts its child"
            )


_KINDS: tuple[tuple[str, Any, str], ...] = (
    ("cancellation_type", ChildWorkflowCancellationType, "a ChildWorkflowCancellationType"),
    ("parent_close_policy", ParentClosePolicy, "a ParentClosePolicy"),
    ("id_reuse_policy", WorkflowIDReusePolicy, "a WorkflowIDReusePolicy"),
    ("retry_policy", RetryPolicy | None, "a RetryPolicy"),
    ("cron_schedule", str, "a string"),
    ("memo", Mapping, "a mapping of names to values"),
    ("search_attributes", TypedSearchAttributes | None, "TypedSearchAttributes"),
    ("static_summary", str, "a string"),
    ("static_details", str, "a string"),
    ("priority", Priority | None, "a Priority"),
    ("concurrency", Concurrency | None, "a Concurrency"),
)

CHILD_ONLY = frozenset(ChildOptions.__struct_fields__)
"""The names of options that only a child has."""
