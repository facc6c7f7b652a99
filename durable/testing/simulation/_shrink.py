"""Making a plan that goes wrong smaller, for as long as it goes wrong in the same way."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from msgspec.structs import replace

from durable.testing.simulation._plan import Ask, Plan
from durable.testing.simulation._run import simulate

T = TypeVar("T")

MOST_RUNS = 300
"""Simulations that shrinking may take."""


def shrink(plan: Plan, wrong: Callable[[Plan], bool] | None = None) -> Plan:
    """Return a smaller plan that still goes wrong: with fewer faults, fewer workflows and shorter programs.

    Args:
        plan: A plan that goes wrong.
        wrong: Whether one does; "the same kind of problem as this plan" if left out.
    """
    if wrong is None:
        kind = _kind(simulate(plan).problems)

        def same(one: Plan) -> bool:
            return bool(kind & _kind(simulate(one).problems))

        wrong = same
    left = [MOST_RUNS]

    def still(one: Plan) -> bool:
        left[0] -= 1
        return left[0] >= 0 and wrong(one)

    before = None
    while before != plan and left[0] > 0:
        before = plan
        plan = _fewer_faults(plan, still)
        plan = _fewer_workflows(plan, still)
        plan = _fewer_asks(plan, still)
        plan = _smaller_floods(plan, still)
        plan = _simpler(_shorter(plan, still), still)
    return plan


def _fewer_faults(plan: Plan, wrong: Callable[[Plan], bool]) -> Plan:
    return replace(plan, faults=_fewer(plan.faults, lambda faults: wrong(replace(plan, faults=faults))))


def _fewer_asks(plan: Plan, wrong: Callable[[Plan], bool]) -> Plan:
    return _sound(replace(plan, asks=_fewer(plan.asks, lambda asks: wrong(_sound(replace(plan, asks=asks))))))


def _smaller_floods(plan: Plan, wrong: Callable[[Plan], bool]) -> Plan:
    for place, ask in enumerate(plan.asks):
        while plan.asks[place].count > 1:
            count = plan.asks[place].count // 2
            smaller = replace(
                plan, asks=[*plan.asks[:place], replace(ask, count=count), *plan.asks[place + 1 :]]
            )
            if not wrong(smaller):
                break
            plan = smaller
    return plan


def _kind(problems: Sequence[str]) -> set[str]:
    """What kinds of problems there are, without the runs they are about."""
    return {problem.split(":")[0] for problem in problems}


def _fewer(items: Sequence[T], wrong: Callable[[list[T]], bool]) -> list[T]:
    """Delta debugging: leave out ever smaller parts of a list, for as long as it stays wrong."""
    found = list(items)
    size = max(1, len(found) // 2)
    while found and size:
        place = 0
        while place < len(found):
            without = found[:place] + found[place + size :]
            if wrong(without):
                found = without
            else:
                place += size
        size //= 2
    return found


def _fewer_workflows(plan: Plan, wrong: Callable[[Plan], bool]) -> Plan:
    for number in sorted({ask.workflow for ask in plan.asks}):
        smaller = _sound(replace(plan, asks=[ask for ask in plan.asks if ask.workflow != number]))
        if smaller.asks != plan.asks and wrong(smaller):
            plan = smaller
    return plan


def _shorter(plan: Plan, wrong: Callable[[Plan], bool]) -> Plan:
    """Leave out operations of programs, but for those that wait for what somebody sends."""
    for place, ask in enumerate(plan.asks):
        number = 0
        while number < len(plan.asks[place].program) and ask.kind == "start":
            program = plan.asks[place].program
            smaller = _with_program(plan, place, program[:number] + program[number + 1 :])
            if program[number][0] not in ("wait", "tell") and wrong(smaller):
                plan = smaller
            else:
                number += 1
    return plan


def _with_program(plan: Plan, place: int, program: list[Any]) -> Plan:
    asks = list(plan.asks)
    asks[place] = replace(asks[place], program=program)
    return replace(plan, asks=asks)


def _simpler(plan: Plan, wrong: Callable[[Plan], bool]) -> Plan:
    for changes in (
        {"workers": [False]},
        {"workers": [False, False]},
        {"lost_hints": 0.0},
        {"leases": False},
        {"clients": 1},
        {"core": None},
        {"cached": 1000},
        {"mode": "liveness"},
    ):
        simpler = replace(plan, **changes)
        if "clients" in changes:
            simpler = replace(simpler, asks=[replace(ask, client=0) for ask in simpler.asks])
        if (len(simpler.workers) < 2 or not simpler.leases) and any(
            fault.kind == "hang" for fault in simpler.faults
        ):
            continue  # nobody is left, or who holds a lock and hangs is never taken for dead: wrong for another reason
        if simpler != plan and len(simpler.workers) <= len(plan.workers) and wrong(simpler):
            plan = simpler
    return plan


def _sound(plan: Plan) -> Plan:
    """Let programs wait for exactly what is still sent to them, and tell only those that are still there."""
    there = {ask.workflow for ask in plan.asks if ask.kind == "start"}
    told = {
        ask.value for ask in plan.asks if ask.kind == "start" for step in ask.program if step[0] == "tell"
    }
    asks = [ask for ask in plan.asks if ask.workflow in there and (ask.kind != "tell" or ask.value in told)]
    tells = {ask.value for ask in asks if ask.kind == "tell"}
    found: list[Ask] = []
    for ask in asks:
        if ask.kind == "start":
            sent = sum(one.workflow == ask.workflow and one.kind in ("signal", "tell") for one in asks)
            program: list[Any] = []
            for step in ask.program:
                if step[0] == "wait":
                    sent -= 1
                if (step[0] == "wait" and sent < 0) or (step[0] == "tell" and step[2] not in tells):
                    continue
                program.append(step)
            ask = replace(ask, program=program)
        found.append(ask)
    return replace(plan, asks=found)
