"""The table of invariants, and what holds evidence against it."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from typing import NamedTuple

from durable.testing.invariants import _clients, _effects, _histories, _together
from durable.testing.invariants._evidence import Evidence, RunFacts, Snapshot

OfRun = Callable[[RunFacts, Snapshot], Iterator[str]]
OfAll = Callable[[Evidence], Iterator[tuple[str, str]]]


class Violation(NamedTuple):
    """An invariant that does not hold: which, of what (a run, a workflow or a key), and how."""

    invariant: str
    where: str
    what: str

    def __str__(self) -> str:
        return f"{self.invariant}: {self.where}: {self.what}"


class Invariant(NamedTuple):
    """One invariant.

    Attributes:
        id: Its number, by which tests and reports name it.
        sentence: What always holds.
        needs: What it is judged by: "store", "operations", "effects", "writes", "earlier", or "code" when no data tells.
        of_run: Judges one run; what `durable doctor --verify` runs too.
        of_all: Judges all evidence together.
        tested: Where it is held instead, when it is no predicate over data.
    """

    id: str
    sentence: str
    needs: str
    of_run: OfRun | None = None
    of_all: OfAll | None = None
    tested: str = ""


INVARIANTS: tuple[Invariant, ...] = (
    Invariant(
        "I1",
        "The events of a run are numbered from 1 without gap or double.",
        "store",
        _histories.without_gaps,
    ),
    Invariant(
        "I2", "A log only grows: what stood in it never changes.", "earlier", None, _together.only_appended
    ),
    Invariant(
        "I3", "A run has at most one closing event, and it is the last.", "store", _histories.ends_once
    ),
    Invariant(
        "I4", "Along a log epochs never fall, and each has one owner.", "writes", None, _together.epochs_rise
    ),
    Invariant("I5", "The row of a run says what its log folds to.", "store", _histories.row_is_fold),
    Invariant(
        "I6",
        "What a step does is written whole: rows of activities and news of children match the log.",
        "store",
        _histories.rows_match_log,
    ),
    Invariant(
        "I7",
        "A replay of any part of a log asks for the recorded commands again.",
        "code",
        tested="tests/replay, tests/scenarios (every run is replayed), and the simulation, which replays every history",
    ),
    Invariant(
        "I8",
        "A value is the same on replay as it was at first.",
        "code",
        tested="tests/converter, tests/scenarios/test_data.py",
    ),
    Invariant(
        "I9",
        "Whoever owns a run or an activity is a registered worker.",
        "store",
        _histories.owner_is_known,
        tested="claims of many at once: durable/testing/conformance/_claims.py",
    ),
    Invariant(
        "I10",
        "What is written is written by the owner of that moment.",
        "writes",
        None,
        _together.written_by_owner,
    ),
    Invariant(
        "I11",
        "Events are in the order of the database's clock, and none is in its future.",
        "store",
        _histories.in_time,
    ),
    Invariant(
        "I12", "No open run is invisible: each is owned, due, waiting, or held.", "store", _histories.is_found
    ),
    Invariant(
        "I13",
        "The effect of a transactional activity is there if and only if its end is, once.",
        "effects",
        None,
        _effects.committed_together,
    ),
    Invariant(
        "I14",
        "Attempts of an activity are as many as allowed, under one idempotency key, and an extra one has a reason.",
        "effects",
        None,
        _effects.tried_as_often_as_allowed,
    ),
    Invariant(
        "I15", "A result that a client was told never changes.", "operations", None, _clients.answers_stay
    ),
    Invariant(
        "I16",
        "A workflow id has at most one open run, and each start names one of its runs.",
        "operations",
        None,
        _clients.one_open_run,
    ),
    Invariant("I17", "What was acknowledged survives.", "operations", None, _clients.acknowledged_is_there),
    Invariant(
        "I18",
        "What failed for certain never happens, and what is unknown happens at most once.",
        "operations",
        None,
        _clients.failed_is_not_there,
    ),
    Invariant(
        "I19",
        "An acknowledged signal is read once in its chain of runs.",
        "operations",
        None,
        _clients.delivered_once,
    ),
    Invariant(
        "I20",
        "The signals of one sender are read in the order they were sent.",
        "operations",
        None,
        _clients.in_order,
    ),
    Invariant("I21", "No run ends over a message it has not read.", "store", _histories.read_before_end),
    Invariant(
        "I22",
        "An accepted update has exactly one outcome, which its callers are told.",
        "store",
        _histories.updates_have_outcomes,
    ),
    Invariant("I23", "A timer fires once, and not before its time.", "store", _histories.timers_keep_time),
    Invariant(
        "I24", "A schedule starts at most one run for an instant.", "store", None, _together.instants_once
    ),
    Invariant(
        "I25",
        "A child is there, its end is told to its parent, and the end of its parent to it.",
        "store",
        _histories.children_are_there,
    ),
    Invariant(
        "I26",
        "A run that goes on as another one has exactly that one behind it.",
        "store",
        _histories.successor_is_there,
    ),
    Invariant(
        "I27",
        "An acknowledged cancel request is in the log, or the run was cut off.",
        "operations",
        None,
        _clients.cancels_are_heard,
    ),
    Invariant(
        "I28", "No concurrency key is held more often than it allows.", "store", None, _together.limits_hold
    ),
    Invariant(
        "I29",
        "Once nothing is broken any more, everything comes to its end.",
        "operations",
        None,
        _clients.came_to_rest,
    ),
    Invariant(
        "I30",
        "A run costs three workers at most, and is quarantined then.",
        "store",
        _histories.deaths_are_bounded,
    ),
    Invariant("I31", "What does not go on says why.", "store", _histories.held_with_reason),
    Invariant(
        "I32",
        "What a worker keeps in memory is bounded.",
        "code",
        tested="tests/worker (cache, slots), tests/store (pools)",
    ),
    Invariant(
        "I33",
        "No namespace sees or changes what is another's.",
        "code",
        tested="tests/store/test_conformance.py, where every namespace is a database of its own",
    ),
    Invariant(
        "I34",
        "With a codec nothing stands in the database in plain.",
        "store",
        None,
        _together.nothing_in_plain,
    ),
)
"""All invariants, in their order."""


def check_runs(snapshot: Snapshot) -> list[Violation]:
    """Hold every run of a snapshot against what can be said of one run."""
    return [
        Violation(one.id, run.row.run_id, what)
        for one in INVARIANTS
        if one.of_run is not None
        for run in snapshot.runs.values()
        for what in one.of_run(run, snapshot)
    ]


def check(evidence: Evidence, *, ids: Collection[str] | None = None) -> list[Violation]:
    """Hold evidence against every invariant that it has something to say to.

    Args:
        evidence: All that is known.
        ids: Only these invariants, if given.

    Returns:
        What does not hold, in the order of the table; empty when everything does.
    """
    found = check_runs(evidence.snapshot)
    for one in INVARIANTS:
        if one.of_all is not None:
            found += [Violation(one.id, where, what) for where, what in one.of_all(evidence)]
    order = {one.id: number for number, one in enumerate(INVARIANTS)}
    found.sort(key=lambda violation: order[violation.invariant])
    return found if ids is None else [violation for violation in found if violation.invariant in ids]
