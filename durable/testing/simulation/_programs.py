"""Random workflows: what they do, and what must come out of them.

A program is a list of operations, each a list that begins with its name. The workflow below runs it, and `expected` says,
in a few lines and without any of the library, what it returns and what its activities have done when all is over.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import timedelta
from typing import Any, ClassVar, NamedTuple

from durable import Activity, activity, workflow
from durable.common import ParentClosePolicy, RetryPolicy
from durable.exceptions import ActivityError, ApplicationError
from durable.testing.invariants import EffectLedger

Program = Sequence[Sequence[Any]]

CHANGE = "simulation-change"
"""The patch by which the newer version of the workflow differs."""

RETRY = RetryPolicy(initial_interval=timedelta(seconds=0.1), maximum_interval=timedelta(seconds=1))

BEHIND = 10_000_000
"""What is added to the number of an activity for the one that follows on it."""


def definitions(
    ledger: EffectLedger, *, newer: bool, die: Callable[[], None] = lambda: None
) -> tuple[list[Any], list[Any]]:
    """Return the workflow and the activities of a worker of one code version.

    Args:
        ledger: Where activities write what they do.
        newer: Whether it is the version that knows the patch.
        die: Ends the process that calls it.
    """
    add, deadly, echo = _add(ledger), _deadly(ledger, die), _echo()
    return [_workflow(_Calls(add, deadly, echo, newer=newer))], [add, deadly, echo]


def _add(ledger: EffectLedger) -> Activity[[int, int, float], int]:
    @activity.defn(name="simulation.add")
    async def add(value: int, fails: int, seconds: float) -> int:
        began = ledger.now()
        ledger.write(str(value), began=began, ended=False)
        if seconds:
            await asyncio.sleep(seconds)
        if activity.info().attempt <= fails:
            raise ApplicationError("not yet")
        ledger.write(str(value), began=began)
        return value

    return add


def _deadly(ledger: EffectLedger, die: Callable[[], None]) -> Activity[[int, int], None]:
    @activity.defn(name="simulation.deadly")
    async def deadly(value: int, deaths: int) -> None:
        began = ledger.now()
        ledger.write(str(value), began=began, ended=False)
        if activity.info().attempt <= deaths:
            die()
            await asyncio.Event().wait()
        ledger.write(str(value), began=began)

    return deadly


def _echo() -> Activity[[Any], Any]:
    @activity.defn(name="simulation.echo")
    async def echo(value: Any) -> Any:
        return value

    return echo


class _Calls:
    """The activities of one worker, and whether its code is the newer version."""

    def __init__(
        self,
        add: Activity[[int, int, float], int],
        deadly: Activity[[int, int], None],
        echo: Activity[[Any], Any],
        *,
        newer: bool,
    ) -> None:
        self.add, self.deadly, self.echo, self.newer = add, deadly, echo, newer


def _workflow(calls: _Calls) -> Any:
    @workflow.defn(name="simulation.program")
    class Running(_Running):
        @workflow.run
        async def run(self, program: list[Any], so_far: int, before: dict[str, list[int]]) -> dict[str, Any]:
            return await self.go(program, so_far, before)

    Running.calls = calls
    return Running


class _Running:
    """Runs a program, operation by operation, each by the method of its name."""

    calls: ClassVar[_Calls]

    def __init__(self) -> None:
        self.heard: list[int] = []
        self.taken = 0
        self.noted: list[int] = []
        self.asked: list[int] = []

    async def go(self, program: list[Any], so_far: int, before: dict[str, list[int]]) -> dict[str, Any]:
        for kept in ("heard", "noted", "asked"):
            getattr(self, kept)[:0] = before.get(kept, [])
        total = so_far
        for number, step in enumerate(program):
            if step[0] == "go on":
                rest = program[number + 1 :]
                told = {"heard": self.heard[self.taken :], "noted": self.noted, "asked": self.asked}
                workflow.continue_as_new(args=[rest, total, told])
            total += await self.step(step)
        return {"total": total, "noted": self.noted, "asked": self.asked}

    async def step(self, step: list[Any]) -> int:
        kind, *rest = step
        done: int = await getattr(self, f"_{kind.replace(' ', '_')}")(*rest)
        return done

    async def _add(self, value: int, fails: int, seconds: float) -> int:
        if self.calls.newer and workflow.patched(CHANGE):
            await workflow.sleep(0.01)
        return await workflow.execute_activity(
            self.calls.add, value, fails, seconds, start_to_close_timeout=20, retry_policy=RETRY
        )

    async def _local(self, value: int, fails: int) -> int:
        return await workflow.execute_local_activity(
            self.calls.add, value, fails, 0.0, start_to_close_timeout=20, retry_policy=RETRY
        )

    async def _sleep(self, seconds: float) -> int:
        await workflow.sleep(seconds)
        return 0

    async def _wait(self) -> int:
        await workflow.wait_condition(lambda: len(self.heard) > self.taken)
        self.taken += 1
        return self.heard[self.taken - 1]

    async def _child(self, program: list[Any]) -> int:
        done = await workflow.execute_child_workflow("simulation.program", args=[program, 0, {}])
        return int(done["total"])

    async def _abandon(self, program: list[Any]) -> int:
        _handle = await workflow.start_child_workflow(
            "simulation.program", args=[program, 0, {}], parent_close_policy=ParentClosePolicy.ABANDON
        )
        return 0

    async def _all(self, steps: list[Any]) -> int:
        return sum(await asyncio.gather(*[self.step(one) for one in steps]))

    async def _any(self, parts: list[Any]) -> int:
        """As they come, another one behind each: the order in which `wait` tells of them is that of commands."""
        pending = {asyncio.create_task(self._add(value, 0, seconds)) for value, seconds in parts}
        behind: list[asyncio.Task[int]] = []
        total = 0
        while pending:
            done, pending = await asyncio.wait(pending, return_when=asyncio.FIRST_COMPLETED)
            for one in done:
                total += one.result()
                behind.append(asyncio.create_task(self._add(one.result() + BEHIND, 0, 0.0)))
        return total + sum(await asyncio.gather(*behind))

    async def _try(self, seconds: float, value: int) -> int:
        try:
            await workflow.sleep(seconds)
        finally:
            done = await self._add(value, 0, 0.0)
        return done

    async def _drop(self, value: int, seconds: float, after: float) -> int:
        """An activity that is cancelled, in time or too late."""
        one = asyncio.create_task(self._add(value, 0, seconds))
        await workflow.sleep(after)
        one.cancel()
        await asyncio.wait([one])
        return 0

    async def _die(self, value: int, deaths: int, attempts: int) -> int:
        policy = RetryPolicy(initial_interval=timedelta(seconds=0.1), maximum_attempts=attempts)
        with suppress(ActivityError):  # other faults cost attempts as well, so nobody can say
            await workflow.execute_activity(
                self.calls.deadly, value, deaths, start_to_close_timeout=20, retry_policy=policy
            )
        return 0

    async def _echo(self, value: Any) -> int:
        got = await workflow.execute_activity(
            self.calls.echo, value, start_to_close_timeout=20, retry_policy=RETRY
        )
        if repr(got) != repr(value):
            raise ApplicationError(f"{value!r} has come back as {got!r}", non_retryable=True)
        return 0

    async def _tell(self, workflow_id: str, value: int) -> int:
        while True:
            try:
                await workflow.get_external_workflow_handle(workflow_id).signal("say", value)
            except ApplicationError:  # it is not there yet
                await workflow.sleep(0.5)
            else:
                return 0

    @workflow.signal
    def say(self, value: int) -> None:
        self.heard.append(value)

    @workflow.signal
    def note(self, value: int) -> None:
        self.noted.append(value)

    @workflow.update
    async def ask(self, value: int) -> int:
        self.asked.append(value)
        await workflow.sleep(0.01)
        return value + 1

    @workflow.query
    def notes(self) -> list[int]:
        return self.noted


class Expected(NamedTuple):
    """What a program comes to.

    Attributes:
        total: What it returns as its total.
        effects: What activities have done by then.
    """

    total: int
    effects: frozenset[str]


def expected(program: Program, signals: Sequence[int]) -> Expected:
    """Return what a program comes to.

    Args:
        program: The program.
        signals: The values of all signals that it waits for.
    """
    done: list[int] = []
    for kind, *rest in program:
        if kind in ("add", "local"):
            done.append(rest[0])
        elif kind == "try":
            done.append(rest[1])
        elif kind == "any":
            for value, _ in rest[0]:
                done += [value, value + BEHIND]
        elif kind in ("child", "all"):
            done += map(int, expected(rest[0], ()).effects)
    return Expected(sum(done) + sum(signals), frozenset(map(str, done)))
