"""The filter's text and its tree: what is read, what is refused, and where the message points."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from durable.store._filter import FilterError, parse
from durable.store._filter._parser import MAX_CONDITIONS, MAX_DEPTH, MAX_VALUES
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
    to_text,
)
from durable.store._filter._tokens import MAX_TEXT


def one(name: str, operator: Operator, *values: str | float) -> Comparison:
    return Comparison(Name(name), operator, tuple(Literal(value) for value in values))


O = Operator  # noqa: E741
A, B, C = one("a", O.EQ, 1), one("b", O.EQ, 2), one("c", O.EQ, 3)

GOOD: list[tuple[str, Expression]] = [
    ("WorkflowType = 'checkout'", one("WorkflowType", O.EQ, "checkout")),
    ('WorkflowType="checkout"', one("WorkflowType", O.EQ, "checkout")),
    ("a != 1", one("a", O.NE, 1)),
    ("a <> 1", one("a", O.NE, 1)),
    ("a>1", one("a", O.GT, 1)),
    ("a >= +1", one("a", O.GE, 1)),
    ("a < -1", one("a", O.LT, -1)),
    ("a <= 1.5", one("a", O.LE, 1.5)),
    ("a = .5e-3", one("a", O.EQ, 0.0005)),
    ("a = 5.", one("a", O.EQ, 5.0)),
    ("a = true", one("a", O.EQ, True)),
    ("a = FALSE", one("a", O.EQ, False)),
    ("a IN (1, 2)", one("a", O.IN, 1, 2)),
    ("a not in ('x')", one("a", O.NOT_IN, "x")),
    ("a BETWEEN 1 AND 2 AND b = 2", And((one("a", O.BETWEEN, 1, 2), B))),
    ("a NOT BETWEEN 'x' AND 'y'", one("a", O.NOT_BETWEEN, "x", "y")),
    ("a STARTS_WITH 'x'", one("a", O.STARTS_WITH, "x")),
    ("a not starts_with 'x'", one("a", O.NOT_STARTS_WITH, "x")),
    ("a IS NULL", one("a", O.IS_NULL)),
    ("a is not null", one("a", O.IS_NOT_NULL)),
    ("a=1 or b=2 and c=3", Or((A, And((B, C))))),
    ("(a=1 or b=2) and c=3", And((Or((A, B)), C))),
    ("a=1 and b=2 and c=3", And((A, B, C))),
    ("a=1 and (b=2 and c=3)", And((A, And((B, C))))),
    ("NOT a=1 AND b=2", And((Not(A), B))),
    ("NOT (a=1 AND b=2)", Not(And((A, B)))),
    ("not not a = 1", Not(Not(A))),
    ("((a = 1))", A),
    ("`order` = 'x'", one("order", O.EQ, "x")),
    ("`my ``own`` \\name` = 'x'", one("my `own` \\name", O.EQ, "x")),
    ("größe = 'x'", one("größe", O.EQ, "x")),
    ("a = 'it''s'", one("a", O.EQ, "it's")),
    ("a = 'it\\'s \\\\ \\n'", one("a", O.EQ, "it's \\ \n")),
    ('a = "say ""no"" \'now\'"', one("a", O.EQ, "say \"no\" 'now'")),
    ("a = ''", one("a", O.EQ, "")),
    ("\n a\t=\r\n1 ", A),
    ("a = '-- ; /* \u2028 \U0001f600'", one("a", O.EQ, "-- ; /* \u2028 \U0001f600")),
]


@pytest.mark.parametrize(("text", "where"), GOOD)
def test_read(text: str, where: Expression) -> None:
    assert parse(text) == Filter(where)
    assert to_text(parse(text)) == to_text(Filter(where))  # 1, 1.0 and true are equal, but not as texts


def test_places_are_kept() -> None:
    where = parse("x = 1 OR  abc >= 'y'").where
    assert isinstance(where, Or)
    compared = where.operands[1]
    assert isinstance(compared, Comparison)
    assert (compared.name.column, compared.column, compared.values[0].column) == (11, 15, 18)


def test_clauses() -> None:
    assert parse("") == parse("  ") == Filter()
    assert parse("ORDER BY a, `b` desc, c ASC") == Filter(
        order_by=(Order(Name("a")), Order(Name("b"), True), Order(Name("c")))
    )
    assert parse("a = 1 GROUP BY b") == Filter(A, group_by=(Name("b"),))
    assert parse("group by a, b order by c") == Filter(None, (Name("a"), Name("b")), (Order(Name("c")),))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a = b", "column 5: expected a value behind =, found the name 'b'; texts go into quotes"),
        ("'x' = a", "column 1: expected an attribute to compare, found 'x'; the attribute comes first"),
        ("a", "column 2: expected =, !=, >, >=, <, <=, IN, .* behind 'a', found the end"),
        ("a =", "column 4: expected a value behind =, found the end"),
        ("a = 1 b = 2", "column 7: expected AND, OR, GROUP BY, ORDER BY or the end, found 'b'"),
        ("a = 1 AND", "column 10: expected an attribute to compare, found the end"),
        ("a == 1", "column 3: '==' means nothing here; write = for equality"),
        ("a = 1 && b = 2", "column 7: '&&' means nothing here; write AND"),
        ("a LIKE 'x%'", "column 3: there is no LIKE; write STARTS_WITH"),
        ("a NOT LIKE 'x'", "column 7: there is no LIKE"),
        ("a NOT = 1", "column 7: expected IN, BETWEEN or STARTS_WITH behind NOT, found '='"),
        ("a IS 1", "column 6: expected NULL or NOT NULL behind IS, found '1'; use = for values"),
        ("a = NULL", "column 5: nothing is compared with NULL; write IS NULL"),
        ("a = NOW()", r"column 5: there is no NOW\(\); write the time itself"),
        ("lower(a) = 'x'", "column 6: 'lower' cannot be called"),
        ("a IN 1", r"column 6: expected \( behind IN, found '1'"),
        ("a IN ()", "column 7: expected a value"),
        ("a IN (1", r"column 8: expected , or \) to close the \( of column 6, found the end"),
        ("a BETWEEN 1", "column 12: expected AND between the two values of BETWEEN, found the end"),
        ("(a = 1", r"column 7: expected AND, OR or \) to close the \( of column 1, found the end"),
        ("a = 1)", r"column 6: this \) closes nothing"),
        ("a = 'x", "column 5: this ' is never closed"),
        ("`a = 1", "column 1: this ` is never closed"),
        ("`` = 1", "column 1: a name must not be empty"),
        ("a = 'C:\\dir'", r"column 8: there is no escape '\\\\d'; for one \\ write \\\\"),
        ("a = '\0'", "column 6: a text cannot have a NUL character"),
        ("a = '\ud800'", "column 5: .* surrogate"),
        ("a = 2024-01-31", "column 5: '2024-01-31' is no number; put texts and times into quotes"),
        ("a = 12ab", "column 5: '12ab' is no number"),
        ("a = 1e999", "column 5: this number is too large"),
        ("a = " + "9" * 401, "column 5: a number has at most 400 digits"),
        ("order = 1", "column 7: expected BY behind ORDER, found '='"),
        ("a = 1 AND order = 1", "column 11: .* found 'order'; for an attribute of that name write `order`"),
        ("a = 1 LIMIT 5", "column 7: there is no LIMIT in a filter; give `limit=`"),
        ("ORDER BY a GROUP BY b", "column 12: GROUP BY stands before ORDER BY"),
        ("ORDER BY a a = 1", "column 12: expected , or the end, found 'a'; conditions stand before"),
        ("a = 1; drop table runs", "column 6: ';' means nothing here"),
        ("a = 1 -- x", "column 7: '--' means nothing here; a filter has no comments"),
        ("a = 1 /* x */", "column 7: .* no comments"),
        ("a = $1", r"column 5: '\$' means nothing here"),
        ("a = ?", r"column 5: '\?' means nothing here"),
        ("a = 1 UNION SELECT 1", "column 7: expected AND, OR, GROUP BY, ORDER BY or the end, found 'UNION'"),
    ],
)
def test_refused(text: str, message: str) -> None:
    with pytest.raises(FilterError, match=f"^{message}") as raised:
        parse(text)
    assert raised.value.column == int(str(raised.value).split(":")[0].removeprefix("column "))


# --- hostile input: an error, soon, and no deeper stack than a filter may need ---


@pytest.mark.parametrize(
    "text",
    [
        "(" * 10_000,
        "(" * 10_000 + "a = 1" + ")" * 10_000,
        "NOT " * 10_000 + "a = 1",
        "NOT (" * 10_000,
        " OR ".join(["a = 1"] * 9_000),
        "a IN (" + ",".join(["1"] * 30_000) + ")",
        "a = '" + "x" * MAX_TEXT,
        "a = " + "1" * 60_000 + "x",
        "'" * 65_001,
        "`" * 65_001,
        "\\" * 60_000,
        "." * 60_000,
        "\x00" * 60_000,
        " " * 65_000 + "?",
    ],
    ids=range(14),
)
def test_hostile_input_is_refused_at_once(text: str) -> None:
    began = time.process_time()  # what others do on the machine does not count
    with pytest.raises(FilterError) as raised:
        parse(text)
    assert time.process_time() - began < 10
    assert len(str(raised.value)) < 400


def test_what_is_just_allowed() -> None:
    parse("(" * MAX_DEPTH + "a = 1" + ")" * MAX_DEPTH)
    parse(" AND ".join(["a = 1"] * MAX_CONDITIONS))
    parse("a IN (" + ",".join(["1"] * MAX_VALUES) + ")")
    with pytest.raises(FilterError, match="nested deeper than 50"):
        parse("(" * (MAX_DEPTH + 1) + "a = 1" + ")" * (MAX_DEPTH + 1))
    with pytest.raises(FilterError, match=r"at most 100 conditions; write IN"):
        parse(" AND ".join(["a = 1"] * (MAX_CONDITIONS + 1)))
    with pytest.raises(FilterError, match="at most 1000 values"):
        parse("a IN (" + ",".join(["1"] * (MAX_VALUES + 1)) + ")")


PIECES = [*"ab'\"`\\() =<>!,.-+01eE\n;?", "a = ", "'x'", "AND ", "NOT ", " IN (", " ORDER BY "]


@given(st.lists(st.sampled_from(PIECES), max_size=30).map("".join))
def test_any_text_is_read_or_refused(text: str) -> None:
    try:
        tree = parse(text)
    except FilterError:
        return
    assert parse(to_text(tree)) == tree


# --- any tree can be written down and read back ---

texts = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=12)
names = st.builds(
    Name, st.one_of(texts.filter(bool), st.sampled_from(["WorkflowType", "order", "Not", "a`b", "a b"]))
)
literals = st.builds(
    Literal,
    st.one_of(texts, st.booleans(), st.integers(), st.floats(allow_nan=False, allow_infinity=False)),
)
comparisons = st.one_of(
    st.builds(
        Comparison,
        names,
        st.sampled_from([O.EQ, O.NE, O.GT, O.GE, O.LT, O.LE, O.STARTS_WITH, O.NOT_STARTS_WITH]),
        st.tuples(literals),
    ),
    st.builds(
        Comparison,
        names,
        st.sampled_from([O.IN, O.NOT_IN]),
        st.lists(literals, min_size=1, max_size=3).map(tuple),
    ),
    st.builds(Comparison, names, st.sampled_from([O.BETWEEN, O.NOT_BETWEEN]), st.tuples(literals, literals)),
    st.builds(Comparison, names, st.sampled_from([O.IS_NULL, O.IS_NOT_NULL])),
)
expressions: st.SearchStrategy[Expression] = st.recursive(
    comparisons,
    lambda inner: st.one_of(
        st.builds(Not, inner),
        st.builds(And, st.lists(inner, min_size=2, max_size=4).map(tuple)),
        st.builds(Or, st.lists(inner, min_size=2, max_size=4).map(tuple)),
    ),
    max_leaves=12,
)
filters = st.builds(
    Filter,
    st.none() | expressions,
    st.lists(names, max_size=2).map(tuple),
    st.lists(st.builds(Order, names, st.booleans()), max_size=3).map(tuple),
)


@given(filters)
def test_a_tree_survives_being_written_down(tree: Filter) -> None:
    text = to_text(tree)
    assert parse(text) == tree
    assert to_text(parse(text)) == text
