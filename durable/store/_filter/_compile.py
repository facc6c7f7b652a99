"""From a checked query to one SQL statement and its parameters.

A condition becomes an expression that is *true* where the filter is true; whether it is false or null elsewhere does not
matter, because there is no NOT above it (see `_check`).
"""

from __future__ import annotations

from dataclasses import dataclass

from durable.store._filter._check import AllOf, AnyOf, Condition, CountQuery, ListQuery, Predicate, SortKey
from durable.store._filter._columns import MULTIPLE, Column, Kind
from durable.store._filter._dialects import Dialect, Parameters
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
    """A page of a list: rows of a run id, then its values of the keys it is ordered by (a token is made of them)."""
    builder = _Builder(dialect)
    keys = [builder.operand(key.column) for key in query.order]
    conditions: list[str] = []
    if query.where is not None:
        conditions.append(builder.condition(query.where))
    if behind is not None:
        conditions.append(builder.behind(query.order, keys, behind))
    order = ", ".join(_direction(key, expression) for key, expression in zip(query.order, keys, strict=True))
    rows = f"{dialect.runs} r{_where(conditions)} order by {order} limit {builder.parameters.add(limit)}"
    return builder.statement(f"select r.run_id, {', '.join(keys)} from {rows}")  # noqa: S608


def count_statement(query: CountQuery, dialect: Dialect) -> Statement:
    """A count, or rows of a group and its count, the largest first."""
    builder = _Builder(dialect)
    conditions = [] if query.where is None else [builder.condition(query.where)]
    tables = f"from {dialect.runs} r{_where(conditions)}"
    if query.group_by is None:
        return builder.statement(f"select count(*) {tables}")
    group = builder.operand(query.group_by)
    return builder.statement(
        f"select {group}, count(*) {tables} group by {group} order by count(*) desc, {group}"
    )


def _where(conditions: list[str]) -> str:
    return f" where {' and '.join(conditions)}" if conditions else ""


def _direction(key: SortKey, expression: str) -> str:
    # What is unset comes last either way. Not said where nothing is unset: an index would not be used.
    return expression + (" desc" if key.descending else "") + (" nulls last" if key.column.nullable else "")


class _Builder:
    def __init__(self, dialect: Dialect) -> None:
        self.dialect = dialect
        self.parameters = Parameters(dialect.sign)

    def statement(self, sql: str) -> Statement:
        return Statement(sql, tuple(self.parameters.values))

    def condition(self, condition: Condition) -> str:
        match condition:
            case AllOf(parts):
                return f"({' and '.join(self.condition(part) for part in parts)})"
            case AnyOf(parts):
                return f"({' or '.join(self.condition(part) for part in parts)})"
            case Predicate():
                if not condition.column.custom:
                    return self._compared(condition, self.dialect.columns[condition.column.name])
                return self._attribute(condition)

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
