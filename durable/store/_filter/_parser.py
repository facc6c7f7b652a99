"""From a list filter's text to its tree: recursive descent, as deep as `MAX_DEPTH` and no deeper.

filter     = [ either ] [ GROUP BY name {"," name} ] [ ORDER BY order {"," order} ]
either     = both { OR both }
both       = one { AND one }
one        = NOT one | "(" either ")" | comparison
comparison = name ( "=" | "!=" | "<>" | ">" | ">=" | "<" | "<=" ) value
           | name [ NOT ] STARTS_WITH value
           | name [ NOT ] IN "(" value {"," value} ")"
           | name [ NOT ] BETWEEN value AND value
           | name IS [ NOT ] NULL
order      = name [ ASC | DESC ]
value      = text | number | TRUE | FALSE
"""

from __future__ import annotations

import math

from durable.store._filter._fault import FilterError, shown
from durable.store._filter._syntax import (
    KEYWORDS,
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
from durable.store._filter._tokens import Kind, Token, tokens

MAX_DEPTH = 50
"""Parentheses and NOTs around one condition. Far below what exhausts Python's stack, or a database's."""

MAX_CONDITIONS = 100
"""Conditions of one filter. PostgreSQL plans 20 that are looked up in an index in 20 ms and 100 in a second; what has more
is mostly better written as an IN."""

MAX_VALUES = 1_000
"""Values of one filter. SQLite takes 32,766 parameters at most, PostgreSQL 32,767."""

_SIGNS = {
    operator.value: operator
    for operator in (Operator.EQ, Operator.NE, Operator.GT, Operator.GE, Operator.LT, Operator.LE)
}
_OPERATORS = "=, !=, >, >=, <, <=, IN, BETWEEN, STARTS_WITH, IS NULL or one of them with NOT"


def parse(text: str) -> Filter:
    """The tree of a filter.

    Raises:
        FilterError: It is not a filter; the text points at the place.
    """
    return _Parser(text).filter()


class _Parser:
    def __init__(self, text: str) -> None:
        self._tokens = tokens(text)
        self._next = next(self._tokens)
        self._depth = 0
        self._conditions = 0
        self._values = 0

    def filter(self) -> Filter:
        where: Expression | None = None
        if self._next.kind is not Kind.END and self._word() not in ("GROUP", "ORDER"):
            where = self._either()
        group_by: list[Name] = []
        if self._take("GROUP"):
            self._expect("BY", "behind GROUP")
            group_by.append(self._name("to group by"))
            while self._take_symbol(","):
                group_by.append(self._name("to group by"))
        order_by: list[Order] = []
        if self._take("ORDER"):
            self._expect("BY", "behind ORDER")
            order_by.append(self._order())
            while self._take_symbol(","):
                order_by.append(self._order())
        if self._next.kind is not Kind.END:
            raise self._stray(bool(group_by or order_by))
        return Filter(where, tuple(group_by), tuple(order_by))

    # ---------------------------------------------------------------- conditions

    def _either(self) -> Expression:
        operands = [self._both()]
        while self._take("OR"):
            operands.append(self._both())
        return operands[0] if len(operands) == 1 else Or(tuple(operands))

    def _both(self) -> Expression:
        operands = [self._one()]
        while self._take("AND"):
            operands.append(self._one())
        return operands[0] if len(operands) == 1 else And(tuple(operands))

    def _one(self) -> Expression:
        opening = self._next
        if self._take("NOT"):
            self._deeper(opening)
            operand = self._one()
            self._depth -= 1
            return Not(operand)
        if self._take_symbol("("):
            self._deeper(opening)
            inner = self._either()
            if not self._take_symbol(")"):
                raise self._fault(
                    f"expected AND, OR or ) to close the ( of column {opening.column}, found {self._next.shown}"
                )
            self._depth -= 1
            return inner
        return self._comparison()

    def _deeper(self, token: Token) -> None:
        self._depth += 1
        if self._depth > MAX_DEPTH:
            raise FilterError(token.column, f"nested deeper than {MAX_DEPTH} parentheses and NOTs")

    def _comparison(self) -> Comparison:
        self._conditions += 1
        if self._conditions > MAX_CONDITIONS:
            raise self._fault(
                f"a filter has at most {MAX_CONDITIONS} conditions; write IN (...) for many values of one attribute"
            )
        name = self._name("to compare")
        token = self._next
        operator = self._operator(name)
        values: tuple[Literal, ...]
        match operator:
            case Operator.IS_NULL | Operator.IS_NOT_NULL:
                values = ()
            case Operator.IN | Operator.NOT_IN:
                values = self._list(operator)
            case Operator.BETWEEN | Operator.NOT_BETWEEN:
                low = self._value(operator.value)
                self._expect("AND", f"between the two values of {operator.value}")
                values = (low, self._value("AND"))
            case _:
                values = (self._value(operator.value),)
        return Comparison(name, operator, values, token.column)

    def _operator(self, name: Name) -> Operator:
        if self._next.kind is Kind.SYMBOL and self._next.text in _SIGNS:
            return _SIGNS[self._advance().text]
        if self._take("IS"):
            negated = self._take("NOT")
            if not self._take("NULL"):
                raise self._fault(
                    f"expected NULL or NOT NULL behind IS, found {self._next.shown}; use = for values"
                )
            return Operator.IS_NOT_NULL if negated else Operator.IS_NULL
        negated = self._take("NOT")
        for operator, opposite in (
            (Operator.IN, Operator.NOT_IN),
            (Operator.BETWEEN, Operator.NOT_BETWEEN),
            (Operator.STARTS_WITH, Operator.NOT_STARTS_WITH),
        ):
            if self._take(operator.value):
                return opposite if negated else operator
        if self._word() == "LIKE":
            raise self._fault("there is no LIKE; write STARTS_WITH 'beginning'")
        if negated:
            raise self._fault(f"expected IN, BETWEEN or STARTS_WITH behind NOT, found {self._next.shown}")
        if self._next.kind is Kind.SYMBOL and self._next.text == "(":
            raise self._fault(
                f"{shown(name.text)} cannot be called: a filter has no functions; write the value itself"
            )
        raise self._fault(f"expected {_OPERATORS} behind {shown(name.text)}, found {self._next.shown}")

    def _list(self, operator: Operator) -> tuple[Literal, ...]:
        opening = self._next
        if not self._take_symbol("("):
            raise self._fault(
                f"expected ( behind {operator.value}, found {opening.shown}; write IN ('a', 'b')"
            )
        values = [self._value("(")]
        while self._take_symbol(","):
            values.append(self._value(","))
        if not self._take_symbol(")"):
            raise self._fault(
                f"expected , or ) to close the ( of column {opening.column}, found {self._next.shown}"
            )
        return tuple(values)

    def _value(self, behind: str) -> Literal:
        token = self._next
        self._values += 1
        if self._values > MAX_VALUES:
            raise self._fault(f"a filter has at most {MAX_VALUES} values; ask in several parts")
        match token.kind, self._word():
            case Kind.STRING, _:
                value: str | float = token.text
            case Kind.NUMBER, _:
                value = _number(token)
            case _, "TRUE" | "FALSE" as word:
                value = word == "TRUE"
            case _, "NULL":
                raise self._fault("nothing is compared with NULL; write IS NULL or IS NOT NULL")
            case _, "NOW":
                raise self._fault("there is no NOW(); write the time itself: '2024-01-31T12:00:00Z'")
            case Kind.WORD, _ if self._word() not in KEYWORDS:
                raise self._fault(
                    f"expected a value behind {behind}, found the name {token.shown}; "
                    "texts go into quotes, and an attribute stands on the left only"
                )
            case _:
                raise self._fault(
                    f"expected a value behind {behind}, found {token.shown}; write 'text', 3, 1.5, true or false"
                )
        self._advance()
        return Literal(value, token.column)

    # ---------------------------------------------------------------- parts

    def _order(self) -> Order:
        name = self._name("to order by")
        if self._take("DESC"):
            return Order(name, descending=True)
        self._take("ASC")
        return Order(name)

    def _name(self, purpose: str) -> Name:
        token = self._next
        if token.kind is Kind.QUOTED_NAME or (token.kind is Kind.WORD and self._word() not in KEYWORDS):
            if not token.text:
                raise self._fault("a name must not be empty")
            self._advance()
            return Name(token.text, token.column)
        hint = ""
        if token.kind is Kind.WORD:
            hint = f"; for an attribute of that name write `{token.text}`"
        elif token.kind in (Kind.STRING, Kind.NUMBER):
            hint = "; the attribute comes first: WorkflowType = 'checkout'"
        raise self._fault(f"expected an attribute {purpose}, found {token.shown}{hint}")

    def _stray(self, behind_clauses: bool) -> FilterError:
        """What is wrong with the token where the filter should have ended."""
        if self._word() == "LIMIT":
            return self._fault("there is no LIMIT in a filter; give `limit=` where the filter is given")
        if self._word() == "GROUP":
            return self._fault("GROUP BY stands before ORDER BY")
        if self._next.kind is Kind.SYMBOL and self._next.text == ")":
            return self._fault("this ) closes nothing; remove it, or add a ( before")
        if behind_clauses:
            return self._fault(
                f"expected , or the end, found {self._next.shown}; conditions stand before GROUP and ORDER BY"
            )
        return self._fault(f"expected AND, OR, GROUP BY, ORDER BY or the end, found {self._next.shown}")

    def _word(self) -> str:
        """The next token in capitals if it is a bare word, else nothing."""
        return self._next.text.upper() if self._next.kind is Kind.WORD else ""

    def _advance(self) -> Token:
        token = self._next
        self._next = next(self._tokens)
        return token

    def _take(self, word: str) -> bool:
        if self._word() != word:
            return False
        self._advance()
        return True

    def _take_symbol(self, symbol: str) -> bool:
        if self._next.kind is not Kind.SYMBOL or self._next.text != symbol:
            return False
        self._advance()
        return True

    def _expect(self, word: str, where: str) -> None:
        if not self._take(word):
            raise self._fault(f"expected {word} {where}, found {self._next.shown}")

    def _fault(self, message: str) -> FilterError:
        return FilterError(self._next.column, message)


def _number(token: Token) -> float:
    if token.text.lstrip("+-").isdigit():
        return int(token.text)
    value = float(token.text)
    if not math.isfinite(value):
        raise FilterError(token.column, "this number is too large")
    return value
