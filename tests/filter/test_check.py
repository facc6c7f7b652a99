"""What a filter means: names, operators and values that are right for each other, or an error that says what would be."""

from __future__ import annotations

import pytest

from durable._search_attributes import BUILT_IN_NAMES, SearchAttributeIndexedValueType
from durable.common import WorkflowExecutionStatus
from durable.store._filter import FilterError, check_count, check_list, parse
from durable.store._filter._check import AllOf, AnyOf, Condition, Predicate
from durable.store._filter._columns import ABSENT, BUILT_IN, NOTED, OPERATORS, Kind
from durable.store._filter._dialects import POSTGRES, SQLITE
from durable.store._filter._syntax import COMPLEMENT, Operator
from durable.store._filter._values import MAX_WORD, Stored, words

_T = SearchAttributeIndexedValueType
CUSTOM = {
    "Region": _T.KEYWORD, "Notes": _T.TEXT, "Items": _T.INT, "Amount": _T.DOUBLE, "Vip": _T.BOOL, "Due": _T.DATETIME,
    "Tags": _T.KEYWORD_LIST,
}  # fmt: skip
HOUR = 3_600_000_000


def where(text: str) -> Condition:
    found = check_list(parse(text), CUSTOM).where
    assert found is not None
    return found


def values(text: str) -> tuple[Stored, ...]:
    found = where(text)
    assert isinstance(found, Predicate)
    return found.values


# --- the tables agree with each other ---


def test_every_built_in_is_reserved_and_has_sql() -> None:
    there = {*BUILT_IN, *ABSENT, *NOTED}
    assert there >= BUILT_IN_NAMES
    assert {name for name in there if not name.startswith("Temporal")} - BUILT_IN_NAMES <= {"BuildIds"}
    for dialect in (POSTGRES, SQLITE):
        assert dialect.columns.keys() == BUILT_IN.keys()


def test_every_kind_and_operator_has_its_place() -> None:
    assert OPERATORS.keys() == set(Kind)
    assert {_T[kind.name] for kind in Kind if kind.name in _T.__members__} == set(_T)
    assert COMPLEMENT.keys() == set(Operator)
    for operator, opposite in COMPLEMENT.items():
        assert COMPLEMENT[opposite] is operator
        for there in OPERATORS.values():
            assert (operator in there) == (opposite in there)


# --- NOT ---


@pytest.mark.parametrize(
    ("text", "same"),
    [
        ("NOT Items = 1", "Items != 1"),
        ("NOT NOT Items = 1", "Items = 1"),
        ("NOT Items > 1", "Items <= 1"),
        ("NOT Items >= 1", "Items < 1"),
        ("NOT Items IN (1, 2)", "Items NOT IN (1, 2)"),
        ("NOT Items BETWEEN 1 AND 2", "Items NOT BETWEEN 1 AND 2"),
        ("NOT Region STARTS_WITH 'a'", "Region NOT STARTS_WITH 'a'"),
        ("NOT Region IS NULL", "Region IS NOT NULL"),
        ("NOT (Items = 1 AND Region = 'a')", "Items != 1 OR Region != 'a'"),
        ("NOT (Items = 1 OR NOT Region = 'a')", "Items != 1 AND Region = 'a'"),
        ("NOT Tags = 'a'", "Tags NOT IN ('a')"),
    ],
)
def test_not_moves_inward(text: str, same: str) -> None:
    assert where(text) == where(same)


def test_structure() -> None:
    found = where("Items = 1 AND (Items = 2 OR Items = 3)")
    assert isinstance(found, AllOf)
    assert isinstance(found.parts[1], AnyOf)


# --- values ---


@pytest.mark.parametrize("name", ["Running", "RUNNING", "running", "WORKFLOW_EXECUTION_STATUS_RUNNING"])
def test_statuses_by_name(name: str) -> None:
    assert values(f"ExecutionStatus = '{name}'") == (1,)


def test_statuses() -> None:
    names = "'Running', 'Completed', 'Failed', 'Canceled', 'Terminated', 'ContinuedAsNew', 'TimedOut'"
    numbers = tuple(int(status) for status in WorkflowExecutionStatus)
    assert values(f"ExecutionStatus IN ({names})") == numbers
    assert values(f"ExecutionStatus IN {numbers}") == numbers
    assert values("ExecutionStatus IN ('continued_as_new', 'TIMED_OUT')") == (6, 7)


@pytest.mark.parametrize(
    ("written", "micros"),
    [
        ("'1h30m'", HOUR * 3 // 2),
        ("'-1.5h'", -HOUR * 3 // 2),
        ("'2d'", 48 * HOUR),
        ("'300ms'", 300_000),
        ("'1m0.5s'", 60_500_000),
        ("'15us'", 15),
        ("'15µs'", 15),
        ("'1999ns'", 1),
        ("'01:30:00'", HOUR * 3 // 2),
        ("'100:00:00.25'", 100 * HOUR + 250_000),
        ("'PT1H30M'", HOUR * 3 // 2),
        ("'P1DT0.5S'", 24 * HOUR + 500_000),
        ("'P1W'", 7 * 24 * HOUR),
        ("'3600000000000'", HOUR),
        ("3600000000000", HOUR),
    ],
)
def test_durations(written: str, micros: int) -> None:
    assert values(f"ExecutionDuration > {written}") == (micros,)


@pytest.mark.parametrize(
    ("written", "micros"),
    [
        ("'1970-01-01T00:00:01Z'", 1_000_000),
        ("'1970-01-01t02:00:00+02:00'", 0),
        ("'1970-01-01 00:00:00.123456789Z'", 123_456),
        ("'1970-01-01T00:00:00.5Z'", 500_000),
        ("'1969-12-31T23:59:59Z'", -1_000_000),
        ("1700000000123456789", 1_700_000_000_123_456),
    ],
)
def test_times(written: str, micros: int) -> None:
    assert values(f"StartTime >= {written}") == (micros,)
    assert values(f"Due >= {written}") == (micros,)


def test_other_values() -> None:
    assert values("Items = 3.0") == (3,)
    assert isinstance(values("Amount = 3")[0], float)
    assert values("Vip IN (true, false)") == (1, 0)
    assert values("RunId = '01890A5D-AC96-774B-BCCE-B302099A8057'") == (
        "01890a5d-ac96-774b-bcce-b302099a8057",
    )
    assert values("Notes = 'Late, late DELIVERY'") == ("late", "delivery")
    assert where("Notes != 'late'") == Predicate(where("Notes = 'x'").column, Operator.NOT_IN, ("late",))  # type: ignore[union-attr]


def test_words() -> None:
    assert words("Größe: GRÖSSE_2, größe") == ["grösse", "grösse_2"]
    assert words("--- !") == []
    assert words("x" * 1000) == ["x" * MAX_WORD]


# --- what is refused ---


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("Status = 'Running'", "column 1: there is no attribute 'Status'; did you mean ExecutionStatus"),
        ("workflowid = 'x'", "column 1: .* did you mean WorkflowId"),
        ("Regoin = 'x'", "column 1: .* did you mean Region?"),
        ("ScheduledById = 'x'", "column 1: .* write TemporalScheduledById"),
        ("Nothing = 1", "column 1: .* it is known once a workflow has set it"),
        ("StateTransitionCount > 1", "column 1: StateTransitionCount is not kept here; HistoryLength"),
        (
            "Vip > true",
            r"column 5: > is not for Vip \(Bool\), which has =, !=, IN, NOT IN, IS NULL, IS NOT NULL",
        ),
        (
            "Tags STARTS_WITH 'x'",
            r"column 6: STARTS_WITH is not for Tags \(KeywordList\), .* has this keyword",
        ),
        (
            "Notes IN ('x')",
            r"column 7: IN is not for Notes \(Text\), .*any of the words. For whole texts set a Keyword",
        ),
        ("Items STARTS_WITH '1'", r"column 7: STARTS_WITH is not for Items \(Int\)"),
        ("ExecutionStatus > 'Paused'", r"column 17: > is not for ExecutionStatus \(status\)"),
        ("ExecutionStatus > 'Running'", r"column 17: > is not for ExecutionStatus \(status\)"),
        ("NOT RunId > 'x'", r"column 11: > is not for RunId \(run id\)"),
        ("Region = 1", r"column 10: Region \(Keyword\) is compared with a text in quotes, not 1"),
        ("Region IN ('a', true)", r"column 17: .* not true"),
        ("Items = 'x'", r"column 9: Items \(Int\) is compared with a whole number, not 'x'"),
        ("Items = true", "column 9: .* a whole number, not true"),
        ("Items = 2.5", "column 9: .* a whole number, not 2.5"),
        ("Items = 9223372036854775808", "column 9: this number has more than 64 bits"),
        ("Items = 1e300", "column 9: this number has more than 64 bits"),
        (f"Amount = {10**399}", "column 10: this number is too large"),
        ("Vip = 1", r"column 7: Vip \(Bool\) is compared with true or false, without quotes, not 1"),
        ("Vip = 'true'", "column 7: .* without quotes, not 'true'"),
        ("StartTime > '2024-01-31'", "column 13: .* a time such as '2024-01-31T12:00:00Z', not '2024-01-31'"),
        ("StartTime > '2024-01-31T12:00:00'", "column 13: the time .* has no zone; add Z"),
        ("StartTime > '2024-02-30T12:00:00Z'", "column 13: there is no time '2024-02-30T12:00:00Z'"),
        ("StartTime > '2024-01-31T12:00:00+25:00'", "column 13: there is no time"),
        ("StartTime > 1.5", "column 13: .* a time such as"),
        ("StartTime BETWEEN '2024-01-31T12:00:00Z' AND 'x'", "column 46"),
        ("ExecutionDuration > '1 hour'", "column 21: .* a duration such as '1h30m', .* not '1 hour'"),
        ("ExecutionDuration > 'P'", "column 21"),
        ("ExecutionDuration > 'P1DT'", "column 21"),
        ("ExecutionDuration > ''", "column 21"),
        ("ExecutionDuration > '99999999999999999h'", "column 21: this number has more than 64 bits"),
        ("ExecutionDuration > 1.5", "column 21"),
        (
            "ExecutionStatus = 'Runing'",
            "column 19: there is no ExecutionStatus 'Runing'; did you mean Running?",
        ),
        ("ExecutionStatus = 'x'", "column 19: .* one of Running, Completed, .*, TimedOut"),
        ("ExecutionStatus = 0", "column 19: there is no ExecutionStatus 0; they go from 1 to 7"),
        ("ExecutionStatus = 1.0", "column 19"),
        ("RunId = 'abc'", r"column 9: RunId \(run id\) is compared with a run id such as"),
        ("RunId = '01890a5dac96774bbcceb302099a8057'", "column 9"),
        ("Notes = '...'", r"column 9: this text has no word to look for in Notes \(Text\)"),
        ("Notes = 3", r"column 9: Notes \(Text\) is compared with a text in quotes"),
        ("ORDER BY Notes", r"column 10: there is no order by Notes \(Text\)"),
        ("ORDER BY Tags", "column 10: there is no order by Tags"),
        ("ORDER BY Items, Region, Items DESC", "column 25: Items is there twice"),
        ("GROUP BY ExecutionStatus", "column 10: GROUP BY is for counts"),
    ],
)
def test_refused_in_a_list(text: str, message: str) -> None:
    with pytest.raises(FilterError, match=message):
        check_list(parse(text), CUSTOM)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("ORDER BY StartTime", "column 10: ORDER BY is for lists; counts have GROUP BY"),
        (
            "GROUP BY Region",
            "column 10: counts are not grouped by Region, but by ExecutionStatus, WorkflowType, TaskQueue",
        ),
        ("GROUP BY ExecutionStatus, TaskQueue", "column 27: counts are grouped by one attribute"),
    ],
)
def test_refused_in_a_count(text: str, message: str) -> None:
    with pytest.raises(FilterError, match=message):
        check_count(parse(text), CUSTOM)


def test_order() -> None:
    def order(text: str) -> list[tuple[str, bool]]:
        return [(key.column.name, key.descending) for key in check_list(parse(text), CUSTOM).order]

    assert order("") == [("StartTime", True), ("RunId", True)]
    assert order("ORDER BY Items DESC, CloseTime") == [
        ("Items", True),
        ("CloseTime", False),
        ("RunId", False),
    ]
    assert order("ORDER BY RunId DESC, Items") == [("RunId", True)]


def test_every_operator_that_is_offered_is_taken() -> None:
    samples = {
        Kind.TEXT: "'a'", Kind.KEYWORD: "'a'", Kind.INT: "1", Kind.DOUBLE: "1.5", Kind.BOOL: "true",
        Kind.DATETIME: "'2024-01-31T12:00:00Z'", Kind.KEYWORD_LIST: "'a'", Kind.STATUS: "'Failed'",
        Kind.DURATION: "'1h'", Kind.RUN_ID: "'01890a5d-ac96-774b-bcce-b302099a8057'",
    }  # fmt: skip
    for name in (*BUILT_IN, *CUSTOM, *NOTED):
        kind = where(f"`{name}` IS NULL").column.kind  # type: ignore[union-attr]
        for operator in OPERATORS[kind]:
            value = samples[kind]
            match operator:
                case Operator.IS_NULL | Operator.IS_NOT_NULL:
                    written = ""
                case Operator.IN | Operator.NOT_IN:
                    written = f"({value}, {value})"
                case Operator.BETWEEN | Operator.NOT_BETWEEN:
                    written = f"{value} AND {value}"
                case _:
                    written = value
            where(f"{name} {operator.value} {written}")
