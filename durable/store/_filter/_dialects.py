"""What differs between the databases: how they call a parameter, a column and a list, and how an attribute is best found.

All SQL of a filter is put together from the texts here and in `_compile`. No part of it comes from the filter: names are
looked up here, values are parameters (hence `noqa: S608`, the warning of SQL put together from strings).
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from durable.store._filter._columns import Column, Kind
from durable.store._filter._syntax import Operator
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


@dataclass(frozen=True, slots=True)
class Page:
    """A page's statement, but for where its runs `r` come from."""

    columns: str
    conditions: list[str]
    order: str
    limit: str

    def of(self, source: str, *more: str, limit: str | None = None) -> str:
        """The statement for these runs, with more conditions, or another limit."""
        rows = f"{source}{where([*more, *self.conditions])} order by {self.order} limit {limit or self.limit}"
        return f"select {self.columns} from {rows}"  # noqa: S608


def where(conditions: Sequence[str]) -> str:
    """All of these, if there are any."""
    return f" where {' and '.join(conditions)}" if conditions else ""


class Dialect(Protocol):
    """One database's SQL, over `runs r`."""

    sign: str
    """What a parameter's number follows."""

    runs: str
    attributes: str
    columns: Mapping[str, str]

    implied: Mapping[str, str]
    """What is true of every run that has a value in a column, where an index finds those."""

    def value(self, column: Column, name: str) -> str:
        """A parameter that is compared with this column."""
        ...

    def among(self, column: Column, expression: str, values: Sequence[Stored], parameters: Parameters) -> str:
        """True where the expression is one of the values."""
        ...

    probed: Mapping[str, Collection[Operator]]
    """Comparisons with an index of which the planner does not know how many runs they find, or where these are."""

    def closed(self, condition: str, limit: int) -> str:
        """Run ids where a condition on `r.closed_at` is true, by the index of closed runs of each type."""
        ...

    def plain(self, expression: str) -> str:
        """The same value, where an index of it would only mislead."""
        ...

    def each(self, table: str) -> str:
        """The runs `r` of this table's run ids, each once, found by their key and in no other way."""
        ...

    def gated(self, page: Page, gate: str, source: str) -> str:
        """A page that reads nothing unless the gate is true."""
        ...

    def found(self, condition: str) -> str:
        """True where the run has a row `s` of search attributes of which the condition is true; few runs are expected to."""
        ...


_HOLD = (
    "case when {held} then case r.hold when 1 then 'blocked' when 2 then 'quarantined' else 'paused' end end"
)
_PROBLEMS = "case when {held} then case r.hold when 1 then 'category=WorkflowTaskFailed' when 2 then 'category=WorkflowTaskTimedOut' end end"
# As the index of held runs says it. What waits for its turn under a limit is marked in the same column, and is not held.
_POSTGRES_HELD = "r.status = 1 and r.hold > 0 and (r.hold > 1 or r.gate is distinct from 1)"
_SQLITE_HELD = "r.status = 1 and r.hold > 0 and (r.hold > 1 or r.gate is not 1)"

_VERSION = "coalesce(r.pinned_to, r.deployment_version)"
_BEHAVIOR = (
    "case when r.versioning_override = 'auto_upgrade' then 'AutoUpgrade' when r.versioning_override is not null then "
    "'Pinned' when r.versioning_behavior = 1 then 'Pinned' when r.versioning_behavior = 2 then 'AutoUpgrade' end"
)

# One look at the index of types for each type, of which there are few, rather than at all runs.
_TYPES = """with recursive types (type) as (select min(r.workflow_type) from {runs} r union all
    select (select min(r.workflow_type) from {runs} r where r.workflow_type > t.type) from types t where t.type is not null)"""

RANGES = frozenset(
    {Operator.GT, Operator.GE, Operator.LT, Operator.LE, Operator.BETWEEN, Operator.STARTS_WITH}
)
"""Operators that are true of a range of an index."""

_SAME = frozenset({Operator.EQ, Operator.IN})

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
    implied: Mapping[str, str] = dict.fromkeys(("Hold", "TemporalReportedProblems"), _POSTGRES_HELD)
    columns: Mapping[str, str] = {
        **_SHARED,
        "TaskQueue": "split_part(r.task_queue, E'\\x1f', 1) collate \"C\"",
        "TemporalWorkerDeployment": f"split_part({_VERSION}, ':', 1) collate \"C\"",
        "TemporalWorkerDeploymentVersion": f'{_VERSION} collate "C"',
        "TemporalWorkflowVersioningBehavior": f'({_BEHAVIOR}) collate "C"',
        "Hold": f'({_HOLD.format(held=_POSTGRES_HELD)}) collate "C"',
        "HoldReason": "(select nullif(d.reason, '') from durable.run_data d where d.run_id = r.run_id) collate \"C\"",
        "TemporalReportedProblems": f"({_PROBLEMS.format(held=_POSTGRES_HELD)})",
        "HistoryLength": (
            "(case when r.status <> 1 then (select count(*) from durable.events e where e.run_id = r.run_id) end)"
        ),
        "HistorySizeBytes": (
            "(case when r.status <> 1 then (select coalesce(sum(octet_length(e.data)), 0)::bigint "
            "from durable.events e where e.run_id = r.run_id) end)"
        ),
    }

    # It has counted most values, and goes by that; but a range may be one of old runs.
    probed: Mapping[str, Collection[Operator]] = {
        **dict.fromkeys(("WorkflowId", "WorkflowType"), RANGES),
        "CloseTime": RANGES | _SAME,
    }

    def closed(self, condition: str, limit: int) -> str:
        of_type = f"select r.run_id from {self.runs} r where r.workflow_type = t.type and {condition}"  # noqa: S608
        closed = f"lateral ({of_type} limit {limit}) c"
        return (
            f"{_TYPES.format(runs=self.runs)} select c.run_id from types t cross join {closed} limit {limit}"  # noqa: S608
        )

    def plain(self, expression: str) -> str:
        return expression  # the planner has counted

    def each(self, table: str) -> str:
        run = f"select * from {self.runs} r where r.run_id = f.run_id offset 0"  # noqa: S608
        return f"(select distinct run_id from {table}) f cross join lateral ({run}) r"  # noqa: S608

    def gated(self, page: Page, gate: str, source: str) -> str:
        return page.of(source, gate)  # evaluated once, before anything is read

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
    implied: Mapping[str, str] = dict.fromkeys(("Hold", "TemporalReportedProblems"), _SQLITE_HELD)
    columns: Mapping[str, str] = {
        **_SHARED,
        "TaskQueue": "substr(r.task_queue, 1, instr(r.task_queue || char(31), char(31)) - 1)",
        "TemporalWorkerDeployment": f"substr({_VERSION}, 1, instr({_VERSION}, ':') - 1)",
        "TemporalWorkerDeploymentVersion": _VERSION,
        "TemporalWorkflowVersioningBehavior": f"({_BEHAVIOR})",
        "Hold": f"({_HOLD.format(held=_SQLITE_HELD)})",
        "HoldReason": "nullif(r.reason, '')",
        "TemporalReportedProblems": f"({_PROBLEMS.format(held=_SQLITE_HELD)})",
        "HistoryLength": "r.history_length",
        "HistorySizeBytes": "r.history_size",
    }

    # It knows nothing of how many runs there are of anything.
    probed: Mapping[str, Collection[Operator]] = {
        "WorkflowId": RANGES,
        "WorkflowType": RANGES | {Operator.IN},
        "CloseTime": RANGES | _SAME,
        **dict.fromkeys(("ExecutionStatus", "Hold", "TemporalReportedProblems"), _SAME),
        **dict.fromkeys(("ParentWorkflowId", "RootWorkflowId"), _SAME),
    }

    def closed(self, condition: str, limit: int) -> str:
        closed = f"{self.runs} r where r.workflow_type = t.type and {condition} limit {limit}"
        return f"{_TYPES.format(runs=self.runs)} select r.run_id from types t cross join {closed}"  # noqa: S608

    def plain(self, expression: str) -> str:
        return f"+{expression}"

    def each(self, table: str) -> str:
        return f"(select distinct run_id from {table}) f cross join {self.runs} r on r.run_id = f.run_id"  # noqa: S608

    def gated(self, page: Page, gate: str, source: str) -> str:
        # A condition would be asked of each run; with a limit of 0 none is read.
        return page.of(source, limit=f"case when {gate} then {page.limit} else 0 end")

    def value(self, column: Column, name: str) -> str:
        return name

    def among(self, column: Column, expression: str, values: Sequence[Stored], parameters: Parameters) -> str:
        return f"{expression} in ({', '.join(parameters.add(value) for value in values)})"

    def found(self, condition: str) -> str:
        # EXISTS would be asked of each run in turn; this begins with the attribute.
        return f"r.run_id in (select s.run_id from {self.attributes} s where {condition})"  # noqa: S608


POSTGRES: Dialect = Postgres()
SQLITE: Dialect = SQLite()
