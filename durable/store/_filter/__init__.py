"""Which runs? Temporal's list filter, from its text to SQL for either database.

    text --parse--> tree --check_list, check_count--> query --list_statement, count_statement--> SQL and parameters

Nothing here does input or output. A store runs the statement; `encode_token` makes the next page's token of the last row.
Where this differs from Temporal, it refuses, or it is said here:

* a comparison with an unset attribute is never true, nor is its negation (see `_check`);
* a run has CloseTime, ExecutionDuration, HistoryLength and HistorySizeBytes when it has closed;
* times and durations have microseconds, what is finer is dropped;
* ORDER BY is there on every database, what is unset comes last, and without it the run started last comes first;
* counts are grouped by WorkflowType and TaskQueue too;
* an unknown escape in a text, an Int compared with a fraction and a RunId compared with `<` or STARTS_WITH are errors;
* `Hold` and `HoldReason` say why a run does not go on; TemporalReportedProblems has a category, no cause;
* StateTransitionCount, BuildIds, LIMIT and NOW() are not there.
"""

from __future__ import annotations

from durable.store._filter._check import CountQuery, ListQuery, check_count, check_list
from durable.store._filter._columns import CustomTypes
from durable.store._filter._compile import Statement, count_statement, list_statement
from durable.store._filter._dialects import POSTGRES, SQLITE, Dialect
from durable.store._filter._fault import FilterError
from durable.store._filter._paging import Position, decode_token, encode_token
from durable.store._filter._parser import parse
from durable.store._filter._rows import AttributeRow, attribute_rows
from durable.store._filter._scopes import (
    equal_to,
    in_order_of_start,
    of_activities,
    of_workflows,
    with_status,
)
from durable.store._filter._syntax import Filter

__all__ = [
    "POSTGRES",
    "SQLITE",
    "AttributeRow",
    "CountQuery",
    "CustomTypes",
    "Dialect",
    "Filter",
    "FilterError",
    "ListQuery",
    "Position",
    "Statement",
    "attribute_rows",
    "check_count",
    "check_list",
    "count_statement",
    "decode_token",
    "encode_token",
    "equal_to",
    "in_order_of_start",
    "list_statement",
    "of_activities",
    "of_workflows",
    "parse",
    "with_status",
]
