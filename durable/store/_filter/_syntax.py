"""A list filter as a tree: what was written, before anybody knows what its names mean.

Places do not count when two trees are compared, so a tree that is written down with `to_text` and read back is the same.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum


class Operator(Enum):
    """What is asked of an attribute, spelled as `to_text` writes it."""

    EQ = "="
    NE = "!="
    GT = ">"
    GE = ">="
    LT = "<"
    LE = "<="
    IN = "IN"
    NOT_IN = "NOT IN"
    BETWEEN = "BETWEEN"
    NOT_BETWEEN = "NOT BETWEEN"
    STARTS_WITH = "STARTS_WITH"
    NOT_STARTS_WITH = "NOT STARTS_WITH"
    IS_NULL = "IS NULL"
    IS_NOT_NULL = "IS NOT NULL"


_PAIRS = (
    (Operator.EQ, Operator.NE),
    (Operator.GT, Operator.LE),
    (Operator.LT, Operator.GE),
    (Operator.IN, Operator.NOT_IN),
    (Operator.BETWEEN, Operator.NOT_BETWEEN),
    (Operator.STARTS_WITH, Operator.NOT_STARTS_WITH),
    (Operator.IS_NULL, Operator.IS_NOT_NULL),
)
COMPLEMENT = {one: other for pair in _PAIRS for one, other in (pair, pair[::-1])}
"""What an operator becomes under NOT. Each is false, not merely not true, exactly where its complement is true."""

KEYWORDS = frozenset(
    {
        "AND", "ASC", "BETWEEN", "BY", "DESC", "FALSE", "GROUP", "IN", "IS", "LIKE", "LIMIT", "NOT", "NULL", "OR", "ORDER",
        "STARTS_WITH", "TRUE",
    }
)  # fmt: skip
"""Words that are names only in backquotes, in any case of letters."""


@dataclass(frozen=True, slots=True)
class Name:
    text: str
    column: int = field(default=0, compare=False)


@dataclass(frozen=True, slots=True)
class Literal:
    value: str | int | float | bool
    column: int = field(default=0, compare=False)


@dataclass(frozen=True, slots=True)
class Comparison:
    name: Name
    operator: Operator
    values: tuple[Literal, ...] = ()
    column: int = field(default=0, compare=False)


@dataclass(frozen=True, slots=True)
class Not:
    operand: Expression


@dataclass(frozen=True, slots=True)
class And:
    operands: tuple[Expression, ...]


@dataclass(frozen=True, slots=True)
class Or:
    operands: tuple[Expression, ...]


Expression = Comparison | Not | And | Or


@dataclass(frozen=True, slots=True)
class Order:
    name: Name
    descending: bool = False


@dataclass(frozen=True, slots=True)
class Filter:
    where: Expression | None = None
    group_by: tuple[Name, ...] = ()
    order_by: tuple[Order, ...] = ()


def to_text(tree: Filter) -> str:
    """The filter's canonical text. It parses to the same tree."""
    parts: list[str] = []
    if tree.where is not None:
        parts.append(_expression(tree.where))
    if tree.group_by:
        parts.append("GROUP BY " + ", ".join(_name(name) for name in tree.group_by))
    if tree.order_by:
        keys = (_name(key.name) + (" DESC" if key.descending else "") for key in tree.order_by)
        parts.append("ORDER BY " + ", ".join(keys))
    return " ".join(parts)


def _expression(tree: Expression) -> str:
    match tree:
        case Comparison():
            return _comparison(tree)
        case Not(operand):
            return f"NOT {_nested(operand)}"
        case And(operands):
            return " AND ".join(_nested(operand) for operand in operands)
        case Or(operands):
            return " OR ".join(_nested(operand) for operand in operands)


def _nested(tree: Expression) -> str:
    return f"({_expression(tree)})" if isinstance(tree, And | Or) else _expression(tree)


def _comparison(tree: Comparison) -> str:
    values = [_literal(literal.value) for literal in tree.values]
    left = f"{_name(tree.name)} {tree.operator.value}"
    match tree.operator:
        case Operator.IN | Operator.NOT_IN:
            return f"{left} ({', '.join(values)})"
        case Operator.BETWEEN | Operator.NOT_BETWEEN:
            return f"{left} {values[0]} AND {values[1]}"
        case Operator.IS_NULL | Operator.IS_NOT_NULL:
            return left
        case _:
            return f"{left} {values[0]}"


def _name(name: Name) -> str:
    return "`" + name.text.replace("`", "``") + "`"


def _literal(value: str | float) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return "'" + value.replace("\\", "\\\\").replace("'", "\\'") + "'"
    return repr(value)
