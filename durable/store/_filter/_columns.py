"""What a filter can name: what is known of every run, what the library notes, and what programs have set."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum

from durable._search_attributes import SearchAttributeIndexedValueType
from durable.store._filter._fault import FilterError, nearest, shown
from durable.store._filter._syntax import Name, Operator


class Kind(Enum):
    """What a column holds, as it is called in messages: Temporal's types, and three that are read in their own way."""

    TEXT = "Text"
    KEYWORD = "Keyword"
    INT = "Int"
    DOUBLE = "Double"
    BOOL = "Bool"
    DATETIME = "Datetime"
    KEYWORD_LIST = "KeywordList"
    STATUS = "status"
    DURATION = "duration"
    RUN_ID = "run id"


_O = Operator
_SET = frozenset({_O.IS_NULL, _O.IS_NOT_NULL})
_EQUAL = _SET | {_O.EQ, _O.NE}
_ONE_OF = _EQUAL | {_O.IN, _O.NOT_IN}
_ORDERED = _ONE_OF | {_O.GT, _O.GE, _O.LT, _O.LE, _O.BETWEEN, _O.NOT_BETWEEN}

OPERATORS: dict[Kind, frozenset[Operator]] = {
    Kind.TEXT: _EQUAL,
    Kind.KEYWORD: _ORDERED | {_O.STARTS_WITH, _O.NOT_STARTS_WITH},
    Kind.INT: _ORDERED,
    Kind.DOUBLE: _ORDERED,
    Kind.BOOL: _ONE_OF,
    Kind.DATETIME: _ORDERED,
    Kind.KEYWORD_LIST: _ONE_OF,
    Kind.STATUS: _ONE_OF,
    Kind.DURATION: _ORDERED,
    Kind.RUN_ID: _ONE_OF,
}
"""What may be asked of a column of each kind."""

MULTIPLE = (Kind.TEXT, Kind.KEYWORD_LIST)
"""Kinds of which a run has many values: words, keywords. There is no order by them."""


@dataclass(frozen=True, slots=True)
class Column:
    """A column of the list.

    Attributes:
        custom: It is in the table of search attributes, not in the run's own row.
        nullable: It may be unset.
    """

    name: str
    kind: Kind
    custom: bool = False
    nullable: bool = True


BUILT_IN = {
    column.name: column
    for column in (
        Column("WorkflowId", Kind.KEYWORD, nullable=False),
        Column("RunId", Kind.RUN_ID, nullable=False),
        Column("WorkflowType", Kind.KEYWORD, nullable=False),
        Column("TaskQueue", Kind.KEYWORD, nullable=False),
        Column("ExecutionStatus", Kind.STATUS, nullable=False),
        Column("StartTime", Kind.DATETIME, nullable=False),
        Column("ExecutionTime", Kind.DATETIME, nullable=False),
        Column("CloseTime", Kind.DATETIME),
        Column("ExecutionDuration", Kind.DURATION),
        Column("HistoryLength", Kind.INT),
        Column("HistorySizeBytes", Kind.INT),
        Column("ParentWorkflowId", Kind.KEYWORD),
        Column("ParentRunId", Kind.RUN_ID),
        Column("RootWorkflowId", Kind.KEYWORD, nullable=False),
        Column("RootRunId", Kind.RUN_ID, nullable=False),
        Column("Hold", Kind.KEYWORD),
        Column("TemporalWorkerDeployment", Kind.KEYWORD),
        Column("TemporalWorkerDeploymentVersion", Kind.KEYWORD),
        Column("TemporalWorkflowVersioningBehavior", Kind.KEYWORD),
        Column("HoldReason", Kind.KEYWORD),
        Column("TemporalReportedProblems", Kind.KEYWORD_LIST),
    )
}
"""The run's own. CloseTime, ExecutionDuration, HistoryLength and HistorySizeBytes are set when it has closed, as
Temporal's are. `Hold` ('blocked', 'quarantined', 'paused') and `HoldReason` are not Temporal's."""

NOTED = {
    "BuildIds": Kind.KEYWORD_LIST,
    "TemporalChangeVersion": Kind.KEYWORD_LIST,
    "TemporalScheduledById": Kind.KEYWORD,
    "TemporalScheduledStartTime": Kind.DATETIME,
}
"""Search attributes that the library sets, known before any run has one."""

ABSENT = {
    "StateTransitionCount": "is not kept here; HistoryLength counts a run's events",
}
"""What Temporal has and this library has not, and why."""

GROUPABLE = ("ExecutionStatus", "WorkflowType", "TaskQueue")
"""What counts may be grouped by: few values each. Temporal allows the first only."""

CustomTypes = Mapping[str, SearchAttributeIndexedValueType]
"""The search attributes there are, by name: one name has one type."""


def resolve(name: Name, custom: CustomTypes) -> Column:
    """The column of this name.

    Raises:
        FilterError: There is none; the text names what may have been meant.
    """
    if name.text in BUILT_IN:
        return BUILT_IN[name.text]
    if name.text in custom:
        return Column(name.text, Kind[custom[name.text].name], custom=True)
    if name.text in NOTED:
        return Column(name.text, NOTED[name.text], custom=True)
    if name.text in ABSENT:
        raise FilterError(name.column, f"{name.text} {ABSENT[name.text]}")
    known = {*BUILT_IN, *custom, *NOTED}
    if f"Temporal{name.text}" in known:
        raise FilterError(name.column, f"there is no attribute {shown(name.text)}; write Temporal{name.text}")
    close = nearest(name.text, known)
    meant = f"did you mean {' or '.join(close)}?" if close else "it is known once a workflow has set it"
    raise FilterError(name.column, f"there is no attribute {shown(name.text)}; {meant}")
