"""Whose runs a filter is about: workflows, or activities that clients started. Both are runs, in one table.

The latter are told by the type of their run, and a filter on them names `ActivityId` and `ActivityType` for what is kept as
the run's `WorkflowId` and `WorkflowType`.
"""

from __future__ import annotations

from dataclasses import replace

from durable._engine._sole import PREFIX, sole_name
from durable.store._filter._fault import FilterError
from durable.store._filter._syntax import (
    And,
    Comparison,
    Expression,
    Filter,
    Literal,
    Name,
    Not,
    Operator,
    Or,
    Order,
)

_OF_ACTIVITIES = {"ActivityId": "WorkflowId", "ActivityType": "WorkflowType"}

_OF_WORKFLOWS = frozenset(
    {"WorkflowId", "WorkflowType", "ParentWorkflowId", "ParentRunId", "RootWorkflowId", "RootRunId"}
)


def of_workflows(tree: Filter) -> Filter:
    """Return a filter that finds workflows only."""
    return _and(tree, Comparison(Name("WorkflowType"), Operator.NOT_STARTS_WITH, (Literal(PREFIX),)))


def equal_to(name: str, value: str | float) -> Filter:
    """Return a filter that finds what has this value of an attribute."""
    return Filter(Comparison(Name(name), Operator.EQ, (Literal(value),)))


def with_status(tree: Filter, *, running: bool) -> Filter:
    """Return a filter that finds open runs only, or only closed ones."""
    operator = Operator.EQ if running else Operator.NE
    return _and(tree, Comparison(Name("ExecutionStatus"), operator, (Literal("Running"),)))


def in_order_of_start(tree: Filter) -> Filter:
    """Return a filter that finds the same, what was started first first."""
    return replace(tree, order_by=(Order(Name("StartTime")),))


def of_activities(tree: Filter) -> Filter:
    """Return a filter on activities as one on their runs.

    Raises:
        FilterError: It names what workflows have.
    """
    tree = Filter(
        None if tree.where is None else _renamed(tree.where),
        tuple(_name(name) for name in tree.group_by),
        tuple(replace(order, name=_name(order.name)) for order in tree.order_by),
    )
    return _and(tree, Comparison(Name("WorkflowType"), Operator.STARTS_WITH, (Literal(PREFIX),)))


def _and(tree: Filter, scope: Expression) -> Filter:
    return replace(tree, where=scope if tree.where is None else And((tree.where, scope)))


def _renamed(tree: Expression) -> Expression:
    match tree:
        case Comparison():
            if tree.name.text not in _OF_ACTIVITIES:
                return replace(tree, name=_name(tree.name))
            values = tuple(
                replace(literal, value=sole_name(literal.value))
                if isinstance(literal.value, str)
                else literal
                for literal in tree.values
            )
            return replace(tree, name=_name(tree.name), values=values)
        case Not(operand):
            return Not(_renamed(operand))
        case And(operands):
            return And(tuple(map(_renamed, operands)))
        case Or(operands):
            return Or(tuple(map(_renamed, operands)))


def _name(name: Name) -> Name:
    if name.text in _OF_WORKFLOWS:
        raise FilterError(
            name.column, f"{name.text} is for workflows; activities have ActivityId and ActivityType"
        )
    return replace(name, text=_OF_ACTIVITIES.get(name.text, name.text))
