"""Activities that clients started, as lists and counts show them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from durable._engine._run_info import decode_info
from durable._engine._sole import own_name
from durable._internal.instants import to_datetime
from durable.client._connection import Connection
from durable.client._executions import attributes_of
from durable.client._listing import ExecutionPages, group_name, types_of
from durable.common import ActivityExecutionStatus, TypedSearchAttributes
from durable.store import ListedRun, RunStatus
from durable.store._filter import check_count, of_activities, parse

_STATUSES = {
    RunStatus.RUNNING: ActivityExecutionStatus.RUNNING,
    RunStatus.COMPLETED: ActivityExecutionStatus.COMPLETED,
    RunStatus.FAILED: ActivityExecutionStatus.FAILED,
    RunStatus.CANCELED: ActivityExecutionStatus.CANCELED,
    RunStatus.TERMINATED: ActivityExecutionStatus.TERMINATED,
    RunStatus.TIMED_OUT: ActivityExecutionStatus.TIMED_OUT,
}


def status_of(status: RunStatus) -> ActivityExecutionStatus:
    """Return the status of an activity from that of its run."""
    return _STATUSES.get(status, ActivityExecutionStatus.UNSPECIFIED)


@dataclass(frozen=True, kw_only=True)
class ActivityExecution:
    """An activity that a client started, as a list shows it.

    Attributes:
        activity_id: Its id.
        activity_run_id: Which run of that id.
        scheduled_time: When it was started.
        close_time: When it closed; None while it is open.
        execution_duration: From the one to the other.
        typed_search_attributes: What it is found by.
        namespace: Where it lives.
    """

    activity_id: str
    activity_run_id: str
    activity_type: str
    task_queue: str
    status: ActivityExecutionStatus
    scheduled_time: datetime
    close_time: datetime | None
    execution_duration: timedelta | None
    namespace: str
    typed_search_attributes: TypedSearchAttributes = TypedSearchAttributes.empty


@dataclass(frozen=True)
class ActivityExecutionCountAggregationGroup:
    """How many activities are alike.

    Attributes:
        count: How many.
        group_values: The value of what the count is grouped by: an `ExecutionStatus` by its name, as filters have it.
    """

    count: int
    group_values: Sequence[str]


@dataclass(frozen=True)
class ActivityExecutionCount:
    """How many activities a filter finds.

    Attributes:
        count: All together.
        groups: How many of each kind, the most frequent first; empty without GROUP BY.
    """

    count: int
    groups: Sequence[ActivityExecutionCountAggregationGroup]


async def count_activities(connection: Connection, query: str | None) -> ActivityExecutionCount:
    """See `Client.count_activities`."""
    asked = check_count(of_activities(parse(query or "")), await types_of(connection))
    rows = await connection.patiently(lambda: connection.store.count_runs(asked))
    groups = [
        ActivityExecutionCountAggregationGroup(number, [own_name(group_name(value))])
        for value, number in rows
        if value is not None
    ]
    return ActivityExecutionCount(sum(number for _, number in rows), groups)


class ActivityExecutionAsyncIterator(ExecutionPages[ActivityExecution]):
    """The activities that a filter finds, page by page as they are asked for. `Client.list_activities` makes it.

    One that is started or closed meanwhile shifts nothing: each page begins behind the last one of the page before.

    Attributes:
        next_page_token: Where to go on behind the present page, for another `list_activities`; None behind the last one.
    """

    scope = staticmethod(of_activities)

    def _shown(self, run: ListedRun) -> ActivityExecution:
        closed = run.closed_at
        return ActivityExecution(
            activity_id=own_name(run.workflow_id),
            activity_run_id=run.run_id,
            activity_type=own_name(run.workflow_type),
            task_queue=run.task_queue,
            status=status_of(run.status),
            scheduled_time=to_datetime(run.started_at),
            close_time=None if closed is None else to_datetime(closed),
            execution_duration=None if closed is None else timedelta(microseconds=closed - run.started_at),
            namespace=self._connection.namespace,
            typed_search_attributes=attributes_of(decode_info(run.info).search_attributes),
        )
