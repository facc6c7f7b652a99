"""Judging what a simulation has left: its database, what clients were told, and what activities have done."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import msgspec

from durable._replay._instance import Instance
from durable._replay._replay import replay
from durable._replay._turns import Turns
from durable.converter import default
from durable.exceptions import DurableError
from durable.history import FROM_OUTSIDE
from durable.testing.invariants import Effect, Operation, RunFacts
from durable.testing.simulation._plan import Plan
from durable.testing.simulation._programs import expected
from durable.workflow._definition import WorkflowDefinition


def replayed(run: RunFacts, definition: WorkflowDefinition) -> Iterator[str]:
    """I7: the code asks again for exactly what is recorded."""
    if run.state is None or isinstance(run.decoded[-1].data, FROM_OUTSIDE):
        return
    made: list[Instance] = []

    def instance(*, trace: bool = False) -> Instance:
        one = Instance(definition, run.row.run_id, default(), namespace="default", note=_unnoted, trace=trace)
        made.append(one)
        return one

    try:
        with Turns() as turns:
            live = replay(instance(), turns, run.decoded, rebuild=lambda: instance(trace=True), strict=True)
        if live:
            yield f"I7: {run.row.run_id}: a replay asks for more than is recorded"
    except DurableError as error:
        yield f"I7: {run.row.run_id}: {error}"
    finally:
        for one in made:
            one.evict()


def _unnoted(text: str, error: BaseException | None) -> None:
    """What a replay warns of is judged by its end."""


def against_model(
    plan: Plan, results: dict[int, str], operations: Iterable[Operation], effects: Iterable[Effect]
) -> Iterator[str]:
    """What clients and activities should have seen, and have not."""
    cancelled = {ask.workflow for ask in plan.asks if ask.kind == "cancel"}
    done: set[str] = {one.value for one in effects if one.ended}
    for ask in plan.asks:
        if ask.kind != "start" or ask.workflow not in results:
            continue
        name, result = f"w{ask.workflow}", results[ask.workflow]
        if ask.workflow in cancelled and result == "failed: CancelledError":
            continue
        signals = [
            one.value for one in plan.asks if one.kind in ("signal", "tell") and one.workflow == ask.workflow
        ]
        model = expected(ask.program, signals)
        if result.startswith("failed"):
            yield f"{name} has {result} instead of {model.total}"
            continue
        returned: dict[str, Any] = msgspec.json.decode(result)
        if returned["total"] != model.total:
            yield f"{name} returned {returned['total']} instead of {model.total}"
        if missing := sorted(model.effects - done):
            yield f"{name} has ended, and {missing} were never done"
        sent = [one for one in operations if one.workflow_id == name]
        noted = {*map(str, _flooded(plan, ask.workflow))}
        yield from _counted(name, "signal", returned["noted"], [one for one in sent if one.key in noted])
        updates = [one for one in sent if one.kind == "update"]
        yield from _counted(name, "update", returned["asked"], updates)


def _flooded(plan: Plan, workflow: int) -> Iterator[int]:
    """The values that a workflow is sent and does not wait for."""
    for ask in plan.asks:
        if ask.workflow == workflow and ask.kind == "flood":
            yield from range(ask.value, ask.value + ask.count)


def _counted(name: str, kind: str, taken: list[int], sent: list[Operation]) -> Iterator[str]:
    """What a workflow has taken is what it was sent, each once: all that was acknowledged, nothing that was refused."""
    if doubled := sorted({value for value in taken if taken.count(value) > 1}):
        yield f"{name} has taken {kind}s {doubled} more than once"
    if lost := {one.key for one in sent if one.outcome == "ok"} - set(map(str, taken)):
        yield f"{name} has never taken {kind}s {sorted(lost)}, which were acknowledged"
    if refused := {one.key for one in sent if one.outcome == "fail"} & set(map(str, taken)):
        yield f"{name} has taken {kind}s {sorted(refused)}, which were refused"
