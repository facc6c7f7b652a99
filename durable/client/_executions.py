"""Workflow executions as lists and descriptions show them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, TypeVar, overload

from durable._engine._run_info import RunInfo, decode_info
from durable._internal.instants import to_datetime
from durable.client._versioning import version_of
from durable.common import (
    TypedSearchAttributes,
    VersioningBehavior,
    WorkerDeploymentVersion,
    WorkflowExecutionStatus,
)
from durable.converter import DataConverter
from durable.exceptions import ConversionError, HistoryCorruptError
from durable.history import Payload
from durable.history._search_attributes import decode_search_attributes
from durable.store import Hold, ListedRun

T = TypeVar("T")
D = TypeVar("D")

_UNSET: Any = object()


@dataclass(frozen=True, kw_only=True)
class WorkflowExecution:
    """A run as the database knows it at one moment.

    Attributes:
        id: The workflow's id.
        status: Where it is in its life.
        start_time: When it was started.
        execution_time: When it begins, or began: later than `start_time` after a delay.
        close_time: When it closed; None while it is open.
        history_length: How many events it has, once it has closed; 0 before.
        first_execution_run_id: The first run of the chain it belongs to.
        parent_id: The workflow whose child it is, with `parent_run_id`; None when no workflow started it.
        root_id: The top of the tree of parents, with `root_run_id`; itself when it has no parent.
        typed_search_attributes: What it is found by.
        namespace: Where it lives.
        raw_memo: The memo as it is stored; `memo()` reads it.
        data_converter: What reads it.
        hold: "blocked" when its code is at fault (see `reason`), "quarantined" when it killed its workers, "paused" when
            an operator has paused it, else "".
        reason: Why it does not go on: what holds it, and as far as `describe` can tell that no worker takes it, or who has
            locked it for long. Of a closed run, why it was ended.
        versioning_behavior: What a new version of the workers means to it, with what overrides it; UNSPECIFIED before a
            worker with a version has run a task of it.
        deployment_version: The version it is pinned to, else the one that ran its newest task; None for none.
    """

    id: str
    run_id: str
    workflow_type: str
    task_queue: str
    status: WorkflowExecutionStatus
    start_time: datetime
    execution_time: datetime
    close_time: datetime | None
    history_length: int
    first_execution_run_id: str
    parent_id: str | None
    parent_run_id: str | None
    root_id: str
    root_run_id: str
    namespace: str
    typed_search_attributes: TypedSearchAttributes = TypedSearchAttributes.empty
    raw_memo: Mapping[str, Payload] = field(default_factory=dict[str, Payload], repr=False)
    data_converter: DataConverter = field(repr=False)
    versioning_behavior: VersioningBehavior = VersioningBehavior.UNSPECIFIED
    deployment_version: WorkerDeploymentVersion | None = None
    hold: str = ""
    reason: str = ""

    async def memo(self) -> Mapping[str, Any]:
        """Return the memo, decoded; what cannot be read here is shown as a text that says so."""
        return {key: shown(value, self.data_converter) for key, value in self.raw_memo.items()}

    @overload
    async def memo_value(self, key: str, default: Any = ...) -> Any: ...
    @overload
    async def memo_value(self, key: str, *, type_hint: type[T]) -> T: ...
    @overload
    async def memo_value(self, key: str, default: D, *, type_hint: type[T]) -> T | D: ...
    async def memo_value(self, key: str, default: Any = _UNSET, *, type_hint: Any = Any) -> Any:
        """Return one entry of the memo.

        Args:
            key: Its name.
            default: What to return when there is none.
            type_hint: The type it is decoded as.

        Raises:
            KeyError: There is none, and no default.
            ConversionError: It cannot be read as that type.
        """
        if key not in self.raw_memo and default is not _UNSET:
            return default
        return self.data_converter.from_payload(self.raw_memo[key], type_hint, path=f"memo {key}")


def shown(payload: Payload, converter: DataConverter) -> Any:
    """Return a value as plain data, or a text in its place: a description must not fail over what it only shows."""
    try:
        return converter.from_payload(payload)
    except ConversionError:
        return f"<{len(payload.data)} bytes of {payload.encoding} that cannot be read here>"


def attributes_of(stored: Mapping[str, Payload]) -> TypedSearchAttributes:
    """Return search attributes as people see them; none when they cannot be read by this release."""
    try:
        return decode_search_attributes(stored)
    except HistoryCorruptError:
        return TypedSearchAttributes.empty


def execution_of(run: ListedRun, namespace: str, converter: DataConverter) -> WorkflowExecution:
    """Return a listed run as people see it."""
    info: RunInfo = decode_info(run.info)
    return WorkflowExecution(
        id=run.workflow_id,
        run_id=run.run_id,
        workflow_type=run.workflow_type,
        task_queue=run.task_queue,
        status=WorkflowExecutionStatus(int(run.status)),
        start_time=to_datetime(run.started_at),
        execution_time=to_datetime(run.execution_at),
        close_time=None if run.closed_at is None else to_datetime(run.closed_at),
        history_length=run.history_length or 0,
        first_execution_run_id=run.first_run_id,
        parent_id=run.parent_workflow_id,
        parent_run_id=run.parent_run_id,
        root_id=run.root_workflow_id,
        root_run_id=run.root_run_id,
        namespace=namespace,
        typed_search_attributes=attributes_of(info.search_attributes),
        raw_memo=info.memo,
        data_converter=converter,
        versioning_behavior=VersioningBehavior(run.behavior),
        deployment_version=version_of(run.version),
        hold="" if run.hold is Hold.NONE else run.hold.name.lower(),
        reason=run.reason,
    )
