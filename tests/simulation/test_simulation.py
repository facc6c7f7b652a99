"""The simulation: clean seeds, the same seed twice, plans that are kept, and safeguards whose absence is noticed."""

from __future__ import annotations

import os
import random
import subprocess
import sys
from pathlib import Path

import pytest
from msgspec.structs import replace

from durable import Client, activity, workflow
from durable._internal import machine, threads
from durable.testing.simulation import (
    Ask,
    Fault,
    Plan,
    _shrink,
    make_plan,
    read_plan,
    simulate,
    simulate_script,
)
from durable.testing.simulation._campaign import main
from durable.testing.simulation._making import KINDS, PROFILES
from durable.testing.simulation._plan import FAULTS
from tests.simulation.ablations import ABLATIONS, HELD_BY_ANOTHER, NOT_HERE
from tests.simulation.search import MOST, found, search

SEEDS = int(os.environ.get("DURABLE_TEST_SEEDS", "300"))
PARTS = 10

KEPT = sorted((Path(__file__).parent / "kept").glob("*.json"))
"""Plans that failed once: what `build/failures` holds behind a campaign is moved here with the mend."""

SEARCHED = int(os.environ.get("DURABLE_TEST_ABLATIONS", "0"))
"""How many seeds are searched anew for each safeguard that is taken out; by default only the one that is known."""

ONE = Plan(
    seed=1,
    mode="liveness",
    leases=False,
    workers=[False],
    clients=1,
    cached=1000,
    eager=True,
    lost_hints=0.0,
    asks=[Ask(0.0, "start", 0, program=[["add", 5, 0, 0.0]]), Ask(0.1, "result", 0)],
    faults=[],
)


@pytest.mark.parametrize("plan", KEPT, ids=lambda path: path.stem)
def test_what_failed_once_does_not_fail_again(plan: Path) -> None:
    assert not simulate(read_plan(plan.read_bytes())).problems, f"python -m durable.testing.simulation {plan}"


MADE = {
    "A11": replace(ONE, eager=False, faults=[Fault(0.0, "answer lost", 0, on="rows")]),
}
"""Plans made by hand, where few seeds notice: who is told nothing of its commit writes no rows behind it."""


@pytest.mark.parametrize("part", range(PARTS))
def test_seeds(part: int) -> None:
    for seed in range(part, SEEDS, PARTS):
        report = simulate(seed)
        assert not report.problems, f"python -m durable.testing.simulation {seed}: {report.problems}"


def test_one_activity() -> None:
    report = simulate(ONE, keep=True)
    assert not report.problems
    assert (report.events, report.operations) == (4, 2)
    assert any('w0 is {"total":5' in line for line in report.trace)
    assert report.seconds < 1


def test_the_same_seed_is_the_same_run_in_any_process() -> None:
    code = (
        "from durable.testing.simulation import simulate\nfor seed in range(5): print(simulate(seed).digest)"
    )
    told = [
        subprocess.run(
            [sys.executable, "-c", code],
            env={**os.environ, "PYTHONHASHSEED": hashes},
            capture_output=True,
            check=True,
        ).stdout
        for hashes in ("1", "77")
    ]
    assert told[0] == told[1]
    assert told[0].decode().split()[3] == simulate(3).digest
    assert len(set(told[0].split())) == 5


def test_nothing_is_left_of_it() -> None:
    before, state = (machine.wall, machine.monotonic, threads.Stepping, threads.Looping), random.getstate()
    simulate(7)
    assert (machine.wall, machine.monotonic, threads.Stepping, threads.Looping) == before
    assert random.getstate() == state


def test_a_plan_is_read_back() -> None:
    for seed in range(20):
        plan = make_plan(seed)
        assert read_plan(plan.to_json()) == plan


def test_seeds_use_everything() -> None:
    plans = [make_plan(seed) for seed in range(300)]
    faults = {fault.kind for plan in plans for fault in plan.faults}
    assert faults == set(FAULTS)
    assert {ask.kind for plan in plans for ask in plan.asks} == {
        "start", "result", "signal", "flood", "update", "query", "cancel", "tell",
    }  # fmt: skip
    steps = [step for plan in plans for ask in plan.asks for step in ask.program]
    assert {step[0] for step in steps} == {*KINDS, "wait", "tell"}
    assert {plan.profile for plan in plans} == set(PROFILES)
    assert {plan.mode for plan in plans} == {"safety", "liveness"}
    assert {True, False} == {plan.leases for plan in plans} == {plan.eager for plan in plans}
    assert any(True in plan.workers and False in plan.workers for plan in plans)


@pytest.mark.parametrize("name", sorted(ABLATIONS))
def test_the_absence_of_a_safeguard_is_noticed(name: str) -> None:
    """The seed that is known to notice comes first. When the library asks its database in another order, others do."""
    if name in MADE and not SEARCHED:
        with ABLATIONS[name]():
            assert simulate(MADE[name]).problems
        assert not simulate(MADE[name]).problems
        return
    known = [] if SEARCHED else [found()[name]]
    seed = search(ABLATIONS[name], [*known, *range(SEARCHED or MOST)])
    assert seed is not None
    assert not simulate(seed).problems


@pytest.mark.parametrize("name", sorted(HELD_BY_ANOTHER))
def test_a_second_safeguard_holds_when_the_first_is_gone(name: str) -> None:
    with HELD_BY_ANOTHER[name]():
        for seed in (found()[name], 0, 1):
            assert not simulate(seed).problems


def test_every_safeguard_is_taken_out_or_it_is_said_why_not() -> None:
    assert sorted([*ABLATIONS, *NOT_HERE]) == sorted(f"A{number}" for number in range(1, 19))


def test_a_seed_that_fails_is_made_smaller_and_run_before_all_others(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_shrink, "MOST_RUNS", 60)
    seed = found()["A12"]
    plan, file = make_plan(seed), tmp_path / f"{seed}.json"
    one = ["--first", str(seed), "--seeds", "1", "--jobs", "1", "--failures", str(tmp_path)]
    with ABLATIONS["A12"]():
        assert main(one) == 1
        assert f"smaller: python -m durable.testing.simulation {file}\n" in capsys.readouterr().out
        assert main([str(file)]) == 1
        assert "I23" in capsys.readouterr().out
    small = read_plan(file.read_bytes())
    assert len(small.faults) <= len(plan.faults)
    assert len(small.asks) < len(plan.asks)
    assert main(one) == 0
    assert "2 simulations, 0 failed" in capsys.readouterr().out
    with ABLATIONS["A12"]():
        assert main([*one[:3], "0", *one[4:]]) == 1
    assert f"again: python -m durable.testing.simulation {file}" in capsys.readouterr().out


def test_a_campaign_keeps_what_fails(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--seeds", "4", "--jobs", "1", "--failures", str(tmp_path)]) == 0
    assert "4 simulations, 0 failed" in capsys.readouterr().out
    file = tmp_path / "one.json"
    file.write_bytes(ONE.to_json())
    assert main([str(file)]) == 0
    assert "nothing is wrong" in capsys.readouterr().out
    # Waits for a signal that nobody sends.
    asks = [replace(ONE.asks[0], program=[["wait"]]), ONE.asks[1]]
    file.write_bytes(replace(ONE, asks=asks).to_json())
    assert main([str(file)]) == 1
    assert "not ended in time: w0" in capsys.readouterr().out


# --- scripts ---

done: list[int] = []


@activity.defn(name="simulated.double")
async def double(n: int) -> int:
    done.append(n)
    return 2 * n


@workflow.defn(name="simulated.adds")
async def adds(n: int) -> int:
    return sum([await double(k) for k in range(n)])


async def script(client: Client) -> None:
    assert await client.execute_workflow(adds(3), id="a") == 6


def test_a_script_of_ones_own() -> None:
    for seed in range(5):
        done.clear()
        report = simulate_script(script, workflows=[adds], activities=[double], seed=seed, keep=True)
        assert not report.problems
        assert set(done) == {0, 1, 2}
        assert report.events == 8


def test_what_a_script_raises_is_a_problem() -> None:
    async def wrong(client: Client) -> None:
        assert await client.execute_workflow(adds(3), id="a") == 7, "six"

    (problem,) = simulate_script(wrong, workflows=[adds], activities=[double]).problems
    assert "the script raised AssertionError: six" in problem


def test_a_script_that_does_not_end_is_a_problem() -> None:
    async def wrong(client: Client) -> None:
        await client.execute_workflow("no.such.workflow", id="a")

    assert (
        "the script has not ended in time"
        in simulate_script(wrong, workflows=[adds], activities=[double]).problems
    )


def test_scripts_need_a_worker() -> None:
    with pytest.raises(ValueError, match="workers must be at least 1"):
        simulate_script(script, workflows=[adds], workers=0)


def test_a_fault_happens() -> None:
    plan = replace(ONE, faults=[Fault(0.001, "kill", 0, 0.5)], workers=[False, False])
    trace = simulate(plan, keep=True).trace
    assert any("worker0.1 killed" in line for line in trace)
    assert any("worker0.2 starts" in line for line in trace) or any(
        'w0 is {"total":5' in line for line in trace
    )
