"""From a filter's tree to what is asked of the database: names found, values read, every NOT moved into a comparison.

**Unset attributes.** A comparison with an unset attribute is neither true nor false, and neither is its negation: of a run
without a `Region`, `Region = 'EU'`, `Region != 'EU'`, `NOT Region = 'EU'` and `NOT (Region = 'EU' AND Vip = true)` (if it is
a Vip) all do not match; `IS NULL` does. This is the logic of SQL, which Temporal's SQL stores inherit for single values
(Elasticsearch's let `!=` match what is unset, and their own KeywordLists differ between databases). Here it holds for
every type on every database.

Conditions are reduced to AND, OR and single comparisons. That loses nothing: in three-valued logic De Morgan's laws hold,
and each operator has a complement that is true exactly where it is false. So a database needs to know only where a
comparison is *true*, which is what `EXISTS` can tell.
"""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import sha256

from durable.store._filter._columns import (
    BUILT_IN,
    GROUPABLE,
    MULTIPLE,
    OPERATORS,
    Column,
    CustomTypes,
    Kind,
    resolve,
)
from durable.store._filter._fault import FilterError
from durable.store._filter._syntax import (
    COMPLEMENT,
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
    to_text,
)
from durable.store._filter._values import Stored, is_paused, read, words

MAX_ORDER = 8
"""Attributes to order by; each makes the condition of a further page longer by its square."""


@dataclass(frozen=True, slots=True)
class Predicate:
    """A single comparison. A list or a prose has only IN and NOT_IN: is one of these values among its own?"""

    column: Column
    operator: Operator
    values: tuple[Stored, ...] = ()


@dataclass(frozen=True, slots=True)
class AllOf:
    parts: tuple[Condition, ...]


@dataclass(frozen=True, slots=True)
class AnyOf:
    parts: tuple[Condition, ...]


Condition = Predicate | AllOf | AnyOf


@dataclass(frozen=True, slots=True)
class SortKey:
    column: Column
    descending: bool


_RUN_ID = BUILT_IN["RunId"]
_DEFAULT_ORDER = (SortKey(BUILT_IN["StartTime"], True), SortKey(_RUN_ID, True))


@dataclass(frozen=True, slots=True)
class ListQuery:
    """A list to be made: of which runs, in which order. The last key is the run id, so no two runs have one place.

    Attributes:
        fingerprint: Tells queries apart, so that a page token is not used with another one.
    """

    where: Condition | None
    order: tuple[SortKey, ...]
    fingerprint: str


@dataclass(frozen=True, slots=True)
class CountQuery:
    """A count to be made: of which runs, and by which attribute if by any."""

    where: Condition | None
    group_by: Column | None


def check_list(tree: Filter, custom: CustomTypes) -> ListQuery:
    """What to list.

    Raises:
        FilterError: A name, an operator or a value will not do; the text points at the place.
    """
    if tree.group_by:
        raise FilterError(tree.group_by[0].column, "GROUP BY is for counts; lists have ORDER BY")
    where = _where(tree.where, custom)
    return ListQuery(where, _order(tree.order_by, custom), sha256(to_text(tree).encode()).hexdigest()[:16])


def check_count(tree: Filter, custom: CustomTypes) -> CountQuery:
    """What to count; see `check_list` for what it raises."""
    if tree.order_by:
        raise FilterError(tree.order_by[0].name.column, "ORDER BY is for lists; counts have GROUP BY")
    group_by: Column | None = None
    for name in tree.group_by:
        if group_by is not None:
            raise FilterError(name.column, "counts are grouped by one attribute")
        group_by = resolve(name, custom)
        if group_by.name not in GROUPABLE:
            raise FilterError(
                name.column, f"counts are not grouped by {group_by.name}, but by {', '.join(GROUPABLE)}"
            )
    return CountQuery(_where(tree.where, custom), group_by)


def _where(tree: Expression | None, custom: CustomTypes) -> Condition | None:
    return None if tree is None else _condition(tree, custom, negated=False)


def _condition(tree: Expression, custom: CustomTypes, *, negated: bool) -> Condition:
    match tree:
        case Comparison():
            return _predicate(tree, custom, negated)
        case Not(operand):
            return _condition(operand, custom, negated=not negated)
        case And(operands) | Or(operands):
            parts = tuple(_condition(operand, custom, negated=negated) for operand in operands)
            return AllOf(parts) if isinstance(tree, And) != negated else AnyOf(parts)


def _predicate(tree: Comparison, custom: CustomTypes, negated: bool) -> Condition:
    column = resolve(tree.name, custom)
    if column.kind is Kind.STATUS and any(is_paused(literal) for literal in tree.values):
        return _paused(tree, custom, negated)
    if tree.operator not in OPERATORS[column.kind]:
        raise FilterError(tree.column, _unsupported(column, tree.operator))
    operator = COMPLEMENT[tree.operator] if negated else tree.operator
    if column.kind is Kind.TEXT and tree.values:
        return Predicate(column, _among(operator), _words(tree))
    values = tuple(read(column, literal) for literal in tree.values)
    return Predicate(column, _among(operator) if column.kind is Kind.KEYWORD_LIST else operator, values)


def _paused(tree: Comparison, custom: CustomTypes, negated: bool) -> Condition:
    """A comparison with the status of paused runs, which are Running too: what tells them is why they do not go on."""
    hold, paused = Name("Hold"), (Literal("paused"),)
    others = tuple(literal for literal in tree.values if not is_paused(literal))
    if tree.operator not in OPERATORS[Kind.STATUS]:
        raise FilterError(tree.column, _unsupported(BUILT_IN["ExecutionStatus"], tree.operator))
    if negated == (tree.operator in (Operator.EQ, Operator.IN)):
        # What is not held has no hold to be compared.
        no = Or((Comparison(hold, Operator.IS_NULL), Comparison(hold, Operator.NE, paused)))
        rest = Comparison(tree.name, Operator.NOT_IN, others, tree.column)
        found: Expression = And((no, rest)) if others else no
    else:
        yes = Comparison(hold, Operator.EQ, paused)
        found = Or((yes, Comparison(tree.name, Operator.IN, others, tree.column))) if others else yes
    return _condition(found, custom, negated=False)


def _among(operator: Operator) -> Operator:
    return {Operator.EQ: Operator.IN, Operator.NE: Operator.NOT_IN}.get(operator, operator)


def _words(tree: Comparison) -> tuple[str, ...]:
    literal = tree.values[0]
    if not isinstance(literal.value, str):
        raise FilterError(literal.column, f"{tree.name.text} (Text) is compared with a text in quotes")
    found = words(literal.value)
    if not found:
        raise FilterError(literal.column, f"this text has no word to look for in {tree.name.text} (Text)")
    return tuple(found)


def _unsupported(column: Column, operator: Operator) -> str:
    there = OPERATORS[column.kind]
    offered = ", ".join(one.value for one in Operator if one in there)
    hint = ""
    if column.kind is Kind.TEXT:
        hint = "; = finds any of the words. For whole texts set a Keyword"
    elif column.kind is Kind.KEYWORD_LIST:
        hint = "; = finds a list that has this keyword"
    return f"{operator.value} is not for {column.name} ({column.kind.value}), which has {offered}{hint}"


def _order(order_by: tuple[Order, ...], custom: CustomTypes) -> tuple[SortKey, ...]:
    keys: list[SortKey] = []
    for order in order_by:
        place = order.name.column
        column = resolve(order.name, custom)
        if column.kind in MULTIPLE:
            has = "words" if column.kind is Kind.TEXT else "several values"
            raise FilterError(
                place,
                f"there is no order by {column.name} ({column.kind.value}): a run has {has} there, and no one value to be "
                "sorted by; sort by an attribute of type Keyword, Int, Double, Bool or Datetime",
            )
        if any(key.column == column for key in keys):
            raise FilterError(place, f"{column.name} is there twice")
        keys.append(SortKey(column, order.descending))
        if len(keys) > MAX_ORDER:
            raise FilterError(place, f"a list is ordered by at most {MAX_ORDER} attributes")
    if not keys:
        return _DEFAULT_ORDER
    by_run_id = next((n for n, key in enumerate(keys) if key.column == _RUN_ID), None)
    if by_run_id is not None:
        return tuple(keys[: by_run_id + 1])
    return (*keys, SortKey(_RUN_ID, keys[-1].descending))
