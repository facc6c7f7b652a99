"""What has to be reached, as data: which figure of which benchmark, and its bound.

A bound that is a rate or a time holds on a machine where the floor makes 3,500 steps/s with one workflow and 60,000 with 500 at once, on
PostgreSQL; on a slower one it is scaled by what the floor reached in the same run.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

FLOOR_ALONE, FLOOR_MANY = 3_500.0, 60_000.0

Scaled = Literal["by the floor alone", "by the floor of many"]
ALONE: Scaled = "by the floor alone"
MANY: Scaled = "by the floor of many"


@dataclass(frozen=True)
class Target:
    """One figure and its bound.

    Attributes:
        label: What it is, within its row.
        benchmark: Whose figure.
        path: Where it is in the figures of that benchmark.
        at_least: The bound below.
        at_most: The bound above.
        scaled: By what, if the bound is absolute.
        unit: Of the bound, as shown.
    """

    label: str
    benchmark: str
    path: tuple[str, ...]
    at_least: float | None = None
    at_most: float | None = None
    scaled: Scaled | None = None
    unit: str = ""


@dataclass(frozen=True)
class Row:
    """A line of the table."""

    what: str
    targets: tuple[Target, ...]


@dataclass(frozen=True)
class Measured:
    """A target beside what was found."""

    target: Target
    bound: float
    value: float | None = None
    spread: float = 0.0

    @property
    def reached(self) -> bool | None:
        """Whether the bound is kept; None if nothing was measured."""
        if self.value is None:
            return None
        if self.target.at_least is not None:
            return self.value >= self.bound
        return self.value <= self.bound


def measured(target: Target, results: Mapping[str, Any]) -> Measured:
    """Look a target up in the results of its benchmark."""
    bound = target.at_least if target.at_least is not None else target.at_most
    assert bound is not None
    result = results.get(target.benchmark)
    if result is None:
        return Measured(target, bound)
    found: Any = result["figures"]
    for name in target.path:
        found = found.get(name) if isinstance(found, Mapping) else None
    if target.scaled is not None:
        reached = result["floor"]["1 at once" if target.scaled == ALONE else "500 at once"]
        slower = min(1.0, reached / (FLOOR_ALONE if target.scaled == ALONE else FLOOR_MANY))
        bound = bound * slower if target.at_least is not None else bound / slower
    if found is None:
        return Measured(target, bound)
    return Measured(target, bound, found["median"], found["spread"])


def _compared(kind: str, other: str, load: str) -> tuple[str, ...]:
    return kind, "ratios", other, load


BOTH = (("PostgreSQL", "postgresql"), ("SQLite", "sqlite"))

BETTER = "500 at once, theirs at the better of 50 and 500"

ROWS = (
    Row(
        "Ten-step workflows, 500 at once, PostgreSQL, one worker process",
        (
            Target("of the floor", "compare", _compared("postgresql", "floor", "500 at once"), at_least=0.4),
            Target("times DBOS", "compare", _compared("postgresql", "dbos", BETTER), at_least=35),
            Target("times absurd", "compare", _compared("postgresql", "absurd", BETTER), at_least=15),
        ),
    ),
    Row(
        "The same, one at a time",
        (
            Target("of the floor", "compare", _compared("postgresql", "floor", "1 at once"), at_least=0.7),
            Target("times DBOS", "compare", _compared("postgresql", "dbos", "1 at once"), at_least=5),
        ),
    ),
    Row(
        "Ten-step workflows, 500 at once, SQLite",
        (
            Target(
                "of a bare group commit of the same rows",
                "compare",
                _compared("sqlite", "floor", "500 at once"),
                at_least=0.3,
            ),
            Target(
                "times DBOS on SQLite, as it comes",
                "compare",
                _compared("sqlite", "dbos", BETTER),
                at_least=30,
            ),
        ),
    ),
    Row(
        "No-op workflow, start to result, same process, PostgreSQL",
        (
            Target(
                "p50 of one at a time, in one-row commits",
                "noop",
                ("postgresql", "1 at once", "start to result p50 in one-row commits"),
                at_most=5,
            ),
            Target(
                "200 at once",
                "noop",
                ("postgresql", "200 at once", "rate"),
                at_least=4_000,
                scaled=MANY,
                unit="workflows/s",
            ),
        ),
    ),
    Row(
        "Client and worker in two processes, PostgreSQL",
        tuple(
            Target(
                f"{what}, {share}",
                "processes",
                ("postgresql", "hints", what, share),
                at_most=bound,
                scaled=ALONE,
                unit="ms",
            )
            for what in ("signal to effect", "start to result")
            for share, bound in (("p50", 5), ("p99", 25))
        )
        + tuple(
            Target(
                f"{what}, p99 without hints (poll 1 s)",
                "processes",
                ("postgresql", "no hints", what, "p99"),
                at_most=1_100,
                unit="ms",
            )
            for what in ("signal to effect", "start to result")
        ),
    ),
    Row(
        "Client and worker in two processes, SQLite",
        tuple(
            Target(
                f"{what}, p50",
                "processes",
                ("sqlite", "hints", what, "p50"),
                at_most=25,
                scaled=ALONE,
                unit="ms",
            )
            for what in ("signal to effect", "start to result")
        ),
    ),
    Row(
        "One workflow, 10,000 activities by `gather`, PostgreSQL",
        (
            Target(
                "rate",
                "gather",
                ("postgresql", "10000 activities", "rate"),
                at_least=10_000,
                scaled=MANY,
                unit="activities/s",
            ),
            Target(
                "of the rate with 1,000",
                "gather",
                ("postgresql", "rate of the wide one as a share of the narrow one's"),
                at_least=0.8,
            ),
        ),
    ),
    Row(
        "The same, and two worker processes with 100 slots each",
        tuple(
            Target(
                f"share of the process that did less, {name}",
                "spread",
                (kind, "share of the process that did less"),
                at_least=0.25,
            )
            for name, kind in BOTH
        ),
    ),
    Row(
        "20,000 standalone activities, worked by one other process",
        (Target("of PgQueuer's jobs/s", "jobs", ("postgresql", "share of pgqueuer"), at_least=0.5),),
    ),
    Row(
        "Replay",
        (
            Target("10 steps", "replay", ("10 steps", "rate"), at_least=50_000, scaled=MANY, unit="steps/s"),
            Target("times Temporal's Replayer", "replay", ("times temporalio",), at_least=20),
            Target(
                "100,002 events, of the rate with 2,002",
                "replay",
                ("rate of the longest as a share of the middle one's",),
                at_least=0.8,
            ),
        ),
    ),
    Row(
        "1,000,000 parked runs",
        tuple(
            Target(
                f"rate of new work, {name}, of the empty database's",
                "scale",
                (kind, "new work", "share"),
                at_least=0.9,
            )
            for name, kind in BOTH
        ),
    ),
    Row(
        "50,000 timers due in one second, one worker, each once",
        tuple(
            Target(
                name,
                "scale",
                (kind, "timers due within a second", "all behind the first instant"),
                at_most=15,
                scaled=MANY,
                unit="s",
            )
            for name, kind in BOTH
        ),
    ),
    Row(
        "100,000 invoices that fall due at one instant, each once",
        tuple(
            Target(
                f"rate of the last tenth, {name}, to the median tenth's",
                "scale",
                (kind, "due at one instant", "last tenth to the median"),
                at_least=0.8,
            )
            for name, kind in BOTH
        ),
    ),
    Row(
        "A minute at half load, while 10,000 timers fall due",
        tuple(
            Target(
                f"p99 of a step to its p50, {name}",
                "halfload",
                (kind, "timers all the time", "p99 to p50"),
                at_most=5,
            )
            for name, kind in BOTH
        ),
    ),
    Row(
        "2, 4 and 8 worker processes on one database",
        (
            *(
                Target(
                    f"the least total, {name}, of the best",
                    "fleet",
                    (kind, "least of the best"),
                    at_least=0.9,
                )
                for name, kind in BOTH
            ),
            Target(
                "longest wait for a lock, PostgreSQL",
                "fleet",
                ("postgresql", "longest lock wait"),
                at_most=100,
                unit="ms",
            ),
        ),
    ),
    Row(
        "Ten minutes of load beside an older transaction, PostgreSQL",
        (
            Target(
                "rate of the second half, of that without one",
                "older",
                ("postgresql", "share of the rate, second half"),
                at_least=0.9,
            ),
            Target(
                "dead rows of `events`",
                "older",
                ("postgresql", "dead rows of events"),
                at_most=0,
            ),
            Target(
                "without one: most dead rows, last third to the one before",
                "older",
                ("postgresql", "most dead rows of all tables, last third to the one before"),
                at_most=1.25,
            ),
        ),
    ),
    Row(
        "Every statement beside 1,000,000 parked runs, PostgreSQL",
        (
            Target(
                "most rows read by a sequential scan",
                "plans",
                ("postgresql", "most rows read by a sequential scan"),
                at_most=100,
                unit="rows",
            ),
            Target(
                "most rows read at all",
                "plans",
                ("postgresql", "most rows read by a statement"),
                at_most=1_000,
                unit="rows",
            ),
        ),
    ),
    Row(
        "Idle worker",
        (
            *(Target(name, "idle", (kind, "cpu"), at_most=1, unit="% of a core") for name, kind in BOTH),
            Target("statements, PostgreSQL", "idle", ("postgresql", "statements"), at_most=3, unit="1/s"),
        ),
    ),
    Row(
        "Memory per cached idle run of ten steps",
        tuple(
            Target(name, "memory", (kind, "per cached run"), at_most=20, unit="KB")
            for name, kind in (("PostgreSQL", "postgresql"), ("SQLite", "sqlite"))
        ),
    ),
    Row(
        "`import durable`, neither asyncpg nor croniter loaded",
        (Target("processor time", "imports", ("import durable",), at_most=60, unit="ms"),),
    ),
)
