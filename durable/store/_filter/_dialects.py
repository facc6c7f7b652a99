"""What differs between the databases: how they call a parameter, a column and a list, and how an attribute is best found.

All SQL of a filter is put together from the texts here and in `_compile`. No part of it comes from the filter: names are
looked up here, values are parameters (hence `noqa: S608`, the warning of SQL put together from strings).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

from durable.store._filter._columns import Column, Kind
from durable.store._filter._values import Stored


class Parameters:
    """The values of one statement, in order."""

    def __init__(self, sign: str) -> None:
        self._sign = sign
        self.values: list[object] = []

    def add(self, value: object) -> str:
        """How this value is called in the statement."""
        self.values.append(value)
        return f"{self._sign}{len(self.values)}"


class Dialect(Protocol):
    """One database's SQL, over `runs r`."""

    sign: str
    """What a parameter's number follows."""

    runs: str
    attributes: str
    columns: Mapping[str, str]

    def value(self, column: Column, name: str) -> str:
        """A parameter that is compared with this column."""
        ...

    def among(self, column: Column, expression: str, values: Sequence[Stored], parameters: Parameters) -> str:
        """True where the expression is one of the values."""
        ...

    def found(self, condition: str) -> str:
        """True where the run has a row `s` of search attributes of which the condition is true; few runs are expected to."""
        ...


_HOLD = "case r.hold when 1 then 'blocked' when 2 then 'quarantined' when 3 then 'paused' end"
_PROBLEMS = (
    "case r.hold when 1 then 'category=WorkflowTaskFailed' when 2 then 'category=WorkflowTaskTimedOut' end"
)

_VERSION = "coalesce(r.pinned_to, r.deployment_version)"
_BEHAVIOR = (
    "case when r.versioning_override = 'auto_upgrade' then 'AutoUpgrade' when r.versioning_override is not null then "
    "'Pinned' when r.versioning_behavior = 1 then 'Pinned' when r.versioning_behavior = 2 then 'AutoUpgrade' end"
)

_SHARED = {
    "WorkflowId": "r.workflow_id",
    "RunId": "r.run_id",
    "WorkflowType": "r.workflow_type",
    "ExecutionStatus": "r.status",
    "StartTime": "r.started_at",
    "ExecutionTime": "coalesce(r.execution_at, r.started_at)",
    "CloseTime": "r.closed_at",
    "ExecutionDuration": "(r.closed_at - coalesce(r.execution_at, r.started_at))",
    "ParentWorkflowId": "r.parent_workflow_id",
    "ParentRunId": "r.parent_run_id",
    "RootWorkflowId": "coalesce(r.root_workflow_id, r.workflow_id)",
    "RootRunId": "coalesce(r.root_run_id, r.run_id)",
}


class Postgres:
    """PostgreSQL. `durable.` stands for the namespace's schema, as in all its queries."""

    sign = "$"
    runs = "durable.runs"
    attributes = "durable.search_attributes"
    columns: Mapping[str, str] = {
        **_SHARED,
        "TaskQueue": "split_part(r.task_queue, E'\\x1f', 1) collate \"C\"",
        "TemporalWorkerDeployment": f"split_part({_VERSION}, ':', 1) collate \"C\"",
        "TemporalWorkerDeploymentVersion": f'{_VERSION} collate "C"',
        "TemporalWorkflowVersioningBehavior": f'({_BEHAVIOR}) collate "C"',
        "Hold": f'({_HOLD}) collate "C"',
        "HoldReason": "(select nullif(d.reason, '') from durable.run_data d where d.run_id = r.run_id) collate \"C\"",
        "TemporalReportedProblems": f"({_PROBLEMS})",
        "HistoryLength": (
            "(case when r.status <> 1 then (select count(*) from durable.events e where e.run_id = r.run_id) end)"
        ),
        "HistorySizeBytes": (
            "(case when r.status <> 1 then (select coalesce(sum(octet_length(e.data)), 0)::bigint "
            "from durable.events e where e.run_id = r.run_id) end)"
        ),
    }

    def value(self, column: Column, name: str) -> str:
        # Drivers send a parameter in its column's type. As text it need not be a uuid object.
        return f"{name}::text::uuid" if column.kind is Kind.RUN_ID else name

    def among(self, column: Column, expression: str, values: Sequence[Stored], parameters: Parameters) -> str:
        name = parameters.add(list(values))
        return f"{expression} = any ({f'{name}::text[]::uuid[]' if column.kind is Kind.RUN_ID else name})"

    def found(self, condition: str) -> str:
        # The planner turns this into whichever join is best.
        return f"exists (select from {self.attributes} s where s.run_id = r.run_id and {condition})"


class SQLite:
    """SQLite. A parameter is numbered, since a page's key comes more than once."""

    sign = "?"
    runs = "runs"
    attributes = "search_attributes"
    columns: Mapping[str, str] = {
        **_SHARED,
        "TaskQueue": "substr(r.task_queue, 1, instr(r.task_queue || char(31), char(31)) - 1)",
        "TemporalWorkerDeployment": f"substr({_VERSION}, 1, instr({_VERSION}, ':') - 1)",
        "TemporalWorkerDeploymentVersion": _VERSION,
        "TemporalWorkflowVersioningBehavior": f"({_BEHAVIOR})",
        "Hold": f"({_HOLD})",
        "HoldReason": "nullif(r.reason, '')",
        "TemporalReportedProblems": f"({_PROBLEMS})",
        "HistoryLength": "r.history_length",
        "HistorySizeBytes": "r.history_size",
    }

    def value(self, column: Column, name: str) -> str:
        return name

    def among(self, column: Column, expression: str, values: Sequence[Stored], parameters: Parameters) -> str:
        return f"{expression} in ({', '.join(parameters.add(value) for value in values)})"

    def found(self, condition: str) -> str:
        # EXISTS would be asked of each run in turn; this begins with the attribute.
        return f"r.run_id in (select s.run_id from {self.attributes} s where {condition})"  # noqa: S608


POSTGRES: Dialect = Postgres()
SQLITE: Dialect = SQLite()
