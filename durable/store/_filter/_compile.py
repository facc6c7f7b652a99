"""From a checked query to one SQL statement and its parameters.

A condition becomes an expression that is *true* where the filter is true; whether it is false or null elsewhere does not
matter, because there is no NOT above it (see `_check`).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from durable.store._filter._check import AllOf, AnyOf, Condition, CountQuery, ListQuery, Predicate, SortKey
from durable.store._filter._columns import MULTIPLE, Column, Kind
from durable.store._filter._dialects import RANGES, Dialect, Page, Parameters, where
from durable.store._filter._paging import Position
from durable.store._filter._syntax import Operator
from durable.store._filter._values import Stored

_FEW = (
    Operator.EQ,
    Operator.IN,
    Operator.GT,
    Operator.GE,
    Operator.LT,
    Operator.LE,
    Operator.BETWEEN,
    Operator.STARTS_WITH,
)
"""Operators that are expected to be true of few runs."""

FEW_RUNS = 5_000
"""How many runs of a comparison are read and sorted, rather than all runs in order until a page is full."""

MAX_PROBES = 3
"""Comparisons of one filter that are asked how many runs they find."""

_COMPLETED = 2
"""The status of most runs, which no index is for."""

_CLOCKS_DIFFER = 3_600_000_000
"""Microseconds that a run may seem to have closed before it started, since the database's clock was set back meanwhile."""

_BELOW = frozenset({Operator.EQ, Operator.IN, Operator.LT, Operator.LE, Operator.BETWEEN})

_STORED_IN = {
    Kind.INT: "int_value",
    Kind.BOOL: "int_value",
    Kind.DATETIME: "int_value",
    Kind.DOUBLE: "float_value",
}


@dataclass(frozen=True, slots=True)
class Statement:
    """SQL, and what its numbered parameters are."""

    sql: str
    parameters: tuple[object, ...]


def list_statement(
    query: ListQuery, dialect: Dialect, limit: int, behind: Position | None = None
) -> Statement:
    """A page of a list: rows of a run id, then its values of the keys it is ordered by (a token is made of them).

    A page can be read in its order until it is full, which reads all runs if few are found, or only old ones; or what an
    index finds is read and sorted, which is right if that is little. How much it is, the statement itself asks: `few_0` has
    what the first comparison with an index finds, up to a limit. Of the alternatives that follow only one reads anything:
    the first whose comparison stays below the limit, or the last, which reads in order.
    """
    builder = _Builder(dialect)
    builder.probe(query.where)
    keys = [builder.operand(key.column) for key in query.order]
    conditions: list[str] = []
    if query.where is not None:
        conditions.append(builder.condition(query.where))
    if behind is not None:
        conditions.append(builder.behind(query.order, keys, behind))
    page = Page(
        columns=f"r.run_id, {', '.join(keys)}",
        conditions=conditions,
        order=", ".join(_direction(key, name) for key, name in zip(query.order, keys, strict=True)),
        limit=builder.parameters.add(limit),
    )
    if not builder.probes:
        return builder.statement(page.of(f"{dialect.runs} r"))
    tables = [f"few_{n} (run_id) as materialized ({probe})" for n, probe in enumerate(builder.probes)]
    pages: list[str] = []
    gate = ""
    for n in range(len(builder.probes)):
        count = f"(select count(*) from few_{n})"  # noqa: S608
        pages.append(dialect.gated(page, f"{gate}{count} <= {FEW_RUNS}", dialect.each(f"few_{n}")))
        gate += f"{count} > {FEW_RUNS} and "
    pages.append(dialect.gated(page, gate.removesuffix(" and "), f"{dialect.runs} r"))
    union = " union all ".join(f"select * from ({one}) page_{n}" for n, one in enumerate(pages))  # noqa: S608
    return builder.statement(f"with recursive {', '.join(tables)} {union}")


def count_statement(query: CountQuery, dialect: Dialect) -> Statement:
    """A count, or rows of a group and its count, the largest first."""
    builder = _Builder(dialect)
    conditions = [] if query.where is None else [builder.condition(query.where)]
    tables = f"from {dialect.runs} r{where(conditions)}"
    if query.group_by is None:
        return builder.statement(f"select count(*) {tables}")
    group = builder.operand(query.group_by)
    return builder.statement(
        f"select {group}, count(*) {tables} group by {group} order by count(*) desc, {group}"
    )


def _conjuncts(condition: Condition | None) -> Iterator[Predicate]:
    """The comparisons that are true of all runs of which the condition is."""
    match condition:
        case AllOf(parts):
            for part in parts:
                yield from _conjuncts(part)
        case Predicate():
            yield condition
        case _:
            return


def _direction(key: SortKey, expression: str) -> str:
    # What is unset comes last either way. Not said where nothing is unset: an index would not be used.
    return expression + (" desc" if key.descending else "") + (" nulls last" if key.column.nullable else "")


class _Builder:
    def __init__(self, dialect: Dialect) -> None:
        self.dialect = dialect
        self.parameters = Parameters(dialect.sign)
        self.probed: list[Predicate] = []
        self.probes: list[str] = []

    def statement(self, sql: str) -> Statement:
        return Statement(sql, tuple(self.parameters.values))

    def condition(self, condition: Condition) -> str:
        match condition:
            case AllOf(parts):
                return f"({' and '.join(self.condition(part) for part in parts)})"
            case AnyOf(parts):
                return f"({' or '.join(self.condition(part) for part in parts)})"
            case Predicate():
                if condition in self.probed:
                    return self._looked_at(condition)
                if condition.column.custom:
                    return self._attribute(condition)
                return self._indexed(condition)

    def _looked_at(self, predicate: Predicate) -> str:
        """A comparison whose index has been asked before: each run is looked at."""
        column = predicate.column
        if column.custom:
            rows = f"{self._rows(column)} and {self._compared(predicate, _stored(column))}"
            # With an OFFSET, since PostgreSQL would rather join, as if there were one run where there are thousands.
            return f"exists (select 1 from {rows} limit 1 offset 0)"  # noqa: S608
        compared = self._compared(predicate, self.dialect.plain(self.dialect.columns[column.name]))
        implied = self._implied(predicate) if column.name == "CloseTime" else None
        return compared if implied is None else f"({implied} and {compared})"

    def _indexed(self, predicate: Predicate) -> str:
        if predicate.column.name == "RootWorkflowId" and predicate.operator in (Operator.EQ, Operator.IN):
            return self._root(predicate)
        compared = self._compared(predicate, self.dialect.columns[predicate.column.name])
        implied = self._implied(predicate)
        return compared if implied is None else f"({implied} and {compared})"

    def _root(self, predicate: Predicate) -> str:
        """By two indexes: a run without another root is its own."""
        own, other = (self._compared(predicate, name) for name in ("r.workflow_id", "r.root_workflow_id"))
        return f"(({own} and r.root_workflow_id is null) or {other})"

    def _implied(self, predicate: Predicate) -> str | None:
        """What is true wherever a comparison is, in the words of an index: a database does not see it by itself."""
        if predicate.operator is Operator.IS_NULL:
            return None
        if predicate.column.kind is Kind.STATUS and predicate.operator in (Operator.EQ, Operator.IN):
            return (
                "r.status > 2" if all(isinstance(one, int) and one > 2 for one in predicate.values) else None
            )
        if predicate.column.name == "CloseTime" and predicate.operator in _BELOW:
            # It started before it closed, which bounds the range that is read in the order of starts.
            latest = max(value for value in predicate.values if isinstance(value, int)) + _CLOCKS_DIFFER
            return f"r.started_at <= {self.parameters.add(latest)}"
        return self.dialect.implied.get(predicate.column.name)

    # ---------------------------------------------------------------- how many runs there are of a comparison

    def probe(self, where: Condition | None) -> None:
        """Ask of comparisons that must all be true, and have an index, how many runs they find."""
        for part in _conjuncts(where):
            if len(self.probes) == MAX_PROBES:
                return
            if (probe := self._probe(part)) is not None:
                self.probed.append(part)
                self.probes.append(probe)

    def _probe(self, part: Predicate) -> str | None:
        column, dialect = part.column, self.dialect
        if column.custom:
            if part.operator not in _FEW:
                return None
            rows = f"{self._named(column)} and {self._compared(part, _stored(column))}"
            return f"select s.run_id from {dialect.attributes} s where {rows} limit {FEW_RUNS + 1}"  # noqa: S608
        if column.name not in dialect.probed or part.operator not in dialect.probed[column.name]:
            return None
        if column.kind is Kind.STATUS and _COMPLETED in part.values:
            return None
        if column.name == "CloseTime":
            return dialect.closed(self._compared(part, dialect.columns["CloseTime"]), FEW_RUNS + 1)
        rows = f"{dialect.runs} r where {self._indexed(part)}"
        if part.operator in RANGES:
            rows += f" order by {dialect.columns[column.name]}"  # so that the index is read, however many there may be
        return f"select r.run_id from {rows} limit {FEW_RUNS + 1}"  # noqa: S608

    # ---------------------------------------------------------------- attributes in rows of their own

    def _attribute(self, predicate: Predicate) -> str:
        """What few runs have is looked for from the attribute's end, by an index of values; what most have, run by run."""
        column, stored = predicate.column, _stored(predicate.column)
        if predicate.operator in _FEW:
            return self.dialect.found(f"{self._named(column)} and {self._compared(predicate, stored)}")
        if column.kind in MULTIPLE and predicate.operator is Operator.NOT_IN:
            rows = f"{self._rows(column)} and {self.dialect.among(column, stored, predicate.values, self.parameters)}"
            return f"({self.operand(column)} is not null and not exists (select 1 from {rows}))"  # noqa: S608
        return self._compared(predicate, self.operand(column))

    def _rows(self, column: Column) -> str:
        """The run's rows of an attribute, as far as `where` and open for more conditions."""
        return f"{self.dialect.attributes} s where s.run_id = r.run_id and {self._named(column)}"

    def _named(self, column: Column) -> str:
        return f"s.name = {self.parameters.add(column.name)}"

    # ---------------------------------------------------------------- comparisons

    def _compared(self, predicate: Predicate, expression: str) -> str:
        column, values = predicate.column, predicate.values
        match predicate.operator:
            case Operator.IS_NULL:
                return f"{expression} is null"
            case Operator.IS_NOT_NULL:
                return f"{expression} is not null"
            case Operator.IN if column.kind is Kind.STATUS:
                return f"{expression} in ({', '.join(self._value(column, value) for value in values)})"
            case Operator.IN:
                return self.dialect.among(column, expression, values, self.parameters)
            case Operator.NOT_IN:
                return f"not {self.dialect.among(column, expression, values, self.parameters)}"
            case Operator.BETWEEN:
                return f"{expression} between {self._value(column, values[0])} and {self._value(column, values[1])}"
            case Operator.NOT_BETWEEN:
                return f"{expression} not between {self._value(column, values[0])} and {self._value(column, values[1])}"
            case Operator.STARTS_WITH | Operator.NOT_STARTS_WITH:
                return self._beginning(predicate, expression)
            case operator:
                return f"{expression} {operator.value} {self._value(column, values[0])}"

    def _beginning(self, predicate: Predicate, expression: str) -> str:
        """A range of an index, since both databases compare text by its bytes here."""
        prefix = str(predicate.values[0])
        end = _behind_all_that_begin_with(prefix)
        low = self._value(predicate.column, prefix)
        high = None if end is None else self._value(predicate.column, end)
        if predicate.operator is Operator.STARTS_WITH:
            return f"{expression} >= {low}" + ("" if high is None else f" and {expression} < {high}")
        return (
            f"{expression} < {low}" if high is None else f"({expression} < {low} or {expression} >= {high})"
        )

    def _value(self, column: Column, value: Stored | None) -> str:
        if column.kind is Kind.STATUS and isinstance(value, int):
            return str(int(value))  # in the text, so that the planner knows which index has such runs
        return self.dialect.value(column, self.parameters.add(value))

    # ---------------------------------------------------------------- pages

    def operand(self, column: Column) -> str:
        """A column's value; of an attribute that has many, the first."""
        if not column.custom:
            return self.dialect.columns[column.name]
        return f"(select {_stored(column)} from {self._rows(column)} and s.position = 0)"  # noqa: S608

    def behind(self, order: tuple[SortKey, ...], keys: list[str], position: Position) -> str:
        """True for the rows that come after this one."""
        directions = {key.descending for key in order}
        if len(directions) == 1 and not any(key.column.nullable for key in order):
            # Compared as a whole, which is the range of an index if there is one in this order.
            values = [self._value(key.column, value) for key, value in zip(order, position, strict=True)]
            sign = "<" if directions == {True} else ">"
            return f"({', '.join(keys)}) {sign} ({', '.join(values)})"
        return self._behind_one_by_one(order, keys, position)

    def _behind_one_by_one(self, order: tuple[SortKey, ...], keys: list[str], position: Position) -> str:
        alternatives: list[str] = []
        same: list[str] = []
        for key, expression, value in zip(order, keys, position, strict=True):
            name = None if value is None else self._value(key.column, value)
            if name is not None:
                later = f"{expression} {'<' if key.descending else '>'} {name}"
                if key.column.nullable:
                    later = f"({later} or {expression} is null)"
                alternatives.append(" and ".join((*same, later)))
            same.append(f"{expression} is null" if name is None else f"{expression} = {name}")
        return f"({' or '.join(f'({alternative})' for alternative in alternatives)})"


def _stored(column: Column) -> str:
    """The column of the search attributes' table that holds values of this kind."""
    return f"s.{_STORED_IN.get(column.kind, 'text_value')}"


def _behind_all_that_begin_with(prefix: str) -> str | None:
    """The least text that is greater than all texts with this beginning, by code points; None if there is none."""
    kept = prefix.rstrip("\U0010ffff")
    if not kept:
        return None
    following = ord(kept[-1]) + 1
    return kept[:-1] + chr(0xE000 if following == 0xD800 else following)  # surrogates are no text
