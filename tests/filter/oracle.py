"""What a filter should find, worked out in Python: three-valued logic over plain values, without a look at the compiler."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cmp_to_key
from typing import Any
from uuid import UUID

from durable.common import SearchAttributeIndexedValueType as Type
from durable.common import (
    SearchAttributeKey,
    SearchAttributePair,
    TypedSearchAttributes,
    WorkflowExecutionStatus,
)
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

O = Operator  # noqa: E741
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
NIGHT = datetime(2024, 3, 1, tzinfo=UTC)
CUSTOM = {
    "Region": Type.KEYWORD, "No`te's \"x\"": Type.TEXT, "Items": Type.INT, "Amount": Type.DOUBLE, "Vip": Type.BOOL,
    "Due": Type.DATETIME, "Tags": Type.KEYWORD_LIST,
}  # fmt: skip
NOTE = 'No`te\'s "x"'
HOLDS = ("", "blocked", "quarantined", "paused")

TEXTS = [
    "", "a", "A", "ab", "abc", "b", "ä", "z\U0010ffff", "z\U0010ffff\U0010ffff", "\ud7ff", "\ue000", "a%", "a_", "%", "_", "\\",
    "it's", '"', "`", "';--", "-- x", "a\nb", "\U0001f600", "é", "e\u0301", "?1", "$1", "null", " a", "a ",
]  # fmt: skip
WORDS = ["late", "LATE", "delivery", "größe", "ok", "x1", "--", "..."]


@dataclass
class Run:
    """A run as the tables hold it, and what a filter sees of it."""

    row: dict[str, Any]
    events: int
    attributes: TypedSearchAttributes
    seen: dict[str, Any]


def micros(instant: datetime) -> int:
    return (instant - EPOCH) // timedelta(microseconds=1)


def runs(seed: int, count: int) -> list[Run]:
    chosen = random.Random(seed)
    made: list[Run] = []
    for n in range(count):
        earlier = chosen.choice(made).row if made and chosen.random() < 0.4 else None
        made.append(_run(chosen, n, earlier))
    return made


def _run(chosen: random.Random, n: int, parent: dict[str, Any] | None) -> Run:
    status = chosen.choice([1, 1, 2, 2, 3, 4, 5, 6, 7])
    started = NIGHT + timedelta(minutes=chosen.randrange(30), microseconds=chosen.choice([0, 1]))
    closed = (
        None if status == 1 else started + timedelta(milliseconds=chosen.choice([0, 500, 90_000, 5_400_000]))
    )
    events = chosen.randrange(1, 5)
    hold = chosen.randrange(4) if status == 1 else 0
    row = {
        "run_id": str(UUID(int=chosen.getrandbits(128))),
        "workflow_id": f"open-{n}" if status == 1 else f"order-{chosen.randrange(20)}",
        "workflow_type": chosen.choice(["checkout", "check", "Checkout", "ship"]),
        "task_queue": chosen.choice(["default", "slow"]),
        "status": status,
        "hold": hold,
        "reason": chosen.choice(["NondeterminismError: at 7", "boom"]) if hold else "",
        "started_at": micros(started),
        "closed_at": None if closed is None else micros(closed),
        "execution_at": chosen.choice([None, micros(started + timedelta(seconds=30))]),
        "parent_workflow_id": parent and parent["workflow_id"],
        "parent_run_id": parent and parent["run_id"],
        "root_workflow_id": parent and (parent["root_workflow_id"] or parent["workflow_id"]),
        "root_run_id": parent and (parent["root_run_id"] or parent["run_id"]),
    }
    attributes = _attributes(chosen)
    executed = row["execution_at"] or row["started_at"]
    seen = {
        "WorkflowId": row["workflow_id"],
        "RunId": row["run_id"],
        "WorkflowType": row["workflow_type"],
        "TaskQueue": row["task_queue"],
        "ExecutionStatus": status,
        "StartTime": row["started_at"],
        "ExecutionTime": executed,
        "CloseTime": row["closed_at"],
        "ExecutionDuration": None if closed is None else micros(closed) - executed,
        "HistoryLength": None if closed is None else events,
        "HistorySizeBytes": None if closed is None else 3 * events,
        "ParentWorkflowId": row["parent_workflow_id"],
        "ParentRunId": row["parent_run_id"],
        "RootWorkflowId": row["root_workflow_id"] or row["workflow_id"],
        "RootRunId": row["root_run_id"] or row["run_id"],
        "Hold": HOLDS[hold] or None,
        "HoldReason": row["reason"] or None,
        "TemporalReportedProblems": {
            1: ["category=WorkflowTaskFailed"],
            2: ["category=WorkflowTaskTimedOut"],
        }.get(hold),
        **dict.fromkeys(CUSTOM),
        **{key.name: _seen(key.indexed_value_type, value) for key, value in attributes},
    }
    return Run(row, events, attributes, seen)


def _attributes(chosen: random.Random) -> TypedSearchAttributes:
    pairs: list[SearchAttributePair[Any]] = []
    for name, kind in CUSTOM.items():
        if chosen.random() < 0.7:
            key = SearchAttributeKey[Any](name, kind)
            pairs.append(SearchAttributePair(key, _value(chosen, kind)))
    return TypedSearchAttributes(pairs)


def _value(chosen: random.Random, kind: Type) -> Any:
    match kind:
        case Type.KEYWORD:
            return chosen.choice(TEXTS)
        case Type.TEXT:
            return " ".join(chosen.choices(WORDS, k=chosen.randrange(4)))
        case Type.INT:
            return chosen.choice([0, 1, 2, -1, 3, 2**63 - 1, -(2**63), 2**53 + 1])
        case Type.DOUBLE:
            return chosen.choice([0.0, -0.0, 0.1, 0.30000000000000004, 1.5, -1e308, 5e-324, 1e22, 3.0])
        case Type.BOOL:
            return chosen.random() < 0.5
        case Type.DATETIME:
            return NIGHT + timedelta(minutes=chosen.randrange(5))
        case Type.KEYWORD_LIST:
            return chosen.choices(TEXTS, k=chosen.randrange(4))


def _seen(kind: Type, value: Any) -> Any:
    match kind:
        case Type.TEXT:
            return _words(value)
        case Type.KEYWORD_LIST:
            return value or None
        case Type.DATETIME:
            return micros(value)
        case _:
            return value


def _words(text: str) -> list[str]:
    return [word for word in text.casefold().split() if word[0].isalnum()]


# --- filters ---


def random_filter(chosen: random.Random, pool: Sequence[Run]) -> Expression:
    return _random_expression(chosen, pool, 3)


def _random_expression(chosen: random.Random, pool: Sequence[Run], depth: int) -> Expression:
    kind = chosen.choice(["leaf", "leaf", "not", "and", "or"]) if depth else "leaf"
    if kind == "leaf":
        return _random_comparison(chosen, pool)
    if kind == "not":
        return Not(_random_expression(chosen, pool, depth - 1))
    operands = tuple(_random_expression(chosen, pool, depth - 1) for _ in range(chosen.randrange(2, 4)))
    return And(operands) if kind == "and" else Or(operands)


_EQUAL, _ONE_OF, _RANGE = (O.EQ, O.NE), (O.IN, O.NOT_IN), (O.BETWEEN, O.NOT_BETWEEN)
_SIDES = (O.GT, O.GE, O.LT, O.LE)
_BEGINS = (O.STARTS_WITH, O.NOT_STARTS_WITH)


def _operators(name: str) -> tuple[Operator, ...]:
    kind = CUSTOM.get(name)
    if kind is Type.TEXT:
        return _EQUAL
    if kind in (Type.BOOL, Type.KEYWORD_LIST) or name in ("ExecutionStatus", "TemporalReportedProblems"):
        return _EQUAL + _ONE_OF
    if name.endswith("RunId"):
        return _EQUAL + _ONE_OF
    if kind is Type.KEYWORD or name in KEYWORDS:
        return _EQUAL + _ONE_OF + _RANGE + _SIDES + _BEGINS * 3
    return _EQUAL + _ONE_OF + _RANGE + _SIDES


KEYWORDS = (
    "WorkflowId",
    "WorkflowType",
    "TaskQueue",
    "ParentWorkflowId",
    "RootWorkflowId",
    "Hold",
    "HoldReason",
)


def _random_comparison(chosen: random.Random, pool: Sequence[Run]) -> Comparison:
    name = chosen.choice([*pool[0].seen, *CUSTOM, *CUSTOM])
    if chosen.random() < 0.15:
        return Comparison(Name(name), chosen.choice([O.IS_NULL, O.IS_NOT_NULL]))
    operator = chosen.choice(_operators(name))
    count = 2 if operator in _RANGE else chosen.randrange(1, 4) if operator in _ONE_OF else 1
    values = [_literal_value(chosen, name, pool) for _ in range(count)]
    if operator in _BEGINS:
        values = [value[: chosen.randrange(len(value) + 1)] for value in values]
    return Comparison(Name(name), operator, tuple(Literal(value) for value in values))


def _literal_value(chosen: random.Random, name: str, pool: Sequence[Run]) -> Any:
    """A value that some run has, written as a person would; sometimes one beside it."""
    value = None
    while value is None or value == []:
        value = chosen.choice(pool).seen[name]
    if isinstance(value, list):
        value = " ".join(chosen.choices(value, k=2)) if name == NOTE else chosen.choice(value)
    if name == "ExecutionStatus":
        return chosen.choice([value, WorkflowExecutionStatus(value).name])
    if name in ("StartTime", "ExecutionTime", "CloseTime", "Due"):
        return (EPOCH + timedelta(microseconds=value)).isoformat()
    if name == "ExecutionDuration":
        return chosen.choice([value * 1000, f"{value}us"])
    return value


# --- what they find ---


def true(tree: Expression | None, run: Run) -> bool:
    return tree is None or _truth(tree, run.seen) is True


def _truth(tree: Expression, seen: dict[str, Any]) -> bool | None:
    match tree:
        case Not(operand):
            truth = _truth(operand, seen)
            return None if truth is None else not truth
        case And(operands):
            return _least([_truth(operand, seen) for operand in operands], False)
        case Or(operands):
            return _least([_truth(operand, seen) for operand in operands], True)
        case Comparison(name, operator, literals):
            return _compared(
                seen[name.text], operator, [_read(name.text, literal.value) for literal in literals]
            )


def _least(truths: list[bool | None], decisive: bool) -> bool | None:
    if decisive in truths:
        return decisive
    return None if None in truths else not decisive


def _read(name: str, value: Any) -> Any:
    if name == NOTE:
        return _words(value)
    if name == "ExecutionStatus" and isinstance(value, str):
        return int(WorkflowExecutionStatus[value])
    if name in ("StartTime", "ExecutionTime", "CloseTime", "Due"):
        return micros(datetime.fromisoformat(value))
    if name == "ExecutionDuration":
        return int(value.removesuffix("us")) if isinstance(value, str) else value // 1000
    return value


_TESTS: dict[Operator, Callable[[Any, list[Any]], bool]] = {
    O.EQ: lambda value, given: value == given[0],
    O.GT: lambda value, given: value > given[0],
    O.LT: lambda value, given: value < given[0],
    O.IN: lambda value, given: value in given,
    O.BETWEEN: lambda value, given: given[0] <= value <= given[1],
    O.STARTS_WITH: lambda value, given: value.startswith(given[0]),
}
_OPPOSITES = {
    O.NE: O.EQ, O.LE: O.GT, O.GE: O.LT, O.NOT_IN: O.IN, O.NOT_BETWEEN: O.BETWEEN, O.NOT_STARTS_WITH: O.STARTS_WITH,
}  # fmt: skip


def _compared(value: Any, operator: Operator, given: list[Any]) -> bool | None:
    if operator in (O.IS_NULL, O.IS_NOT_NULL):
        return (value is None) == (operator is O.IS_NULL)
    if value is None:
        return None
    positive = _OPPOSITES.get(operator, operator)
    if isinstance(value, list):
        wanted = given[0] if given and isinstance(given[0], list) else given
        result = any(one in wanted for one in value)
    else:
        result = _TESTS[positive](value, given)
    return result == (positive is operator)


def found(tree: Filter, pool: Sequence[Run]) -> list[str]:
    """The run ids, in order."""
    order = tree.order_by or (Order(Name("StartTime"), True),)
    keys = [(key.name.text, key.descending) for key in order]
    keys.append(("RunId", keys[-1][1]))

    def compare(one: Run, other: Run) -> int:
        for name, descending in keys:
            left, right = one.seen[name], other.seen[name]
            if left == right:
                continue
            if left is None or right is None:
                return 1 if left is None else -1
            return (1 if left > right else -1) * (-1 if descending else 1)
        return 0

    matching = [run for run in pool if true(tree.where, run)]
    return [run.row["run_id"] for run in sorted(matching, key=cmp_to_key(compare))]
