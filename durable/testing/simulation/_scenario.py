"""Simulations of an application's own workflows."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from durable.client import Client
from durable.testing.simulation._making import make_plan
from durable.testing.simulation._plan import Plan
from durable.testing.simulation._run import Report, Simulation
from durable.workflow._definition import WorkflowDefinition
from durable.workflow._workflow import collect

Script = Callable[[Client], Awaitable[None]]


class _Scenario(Simulation):
    """A simulation in which a client does what a script says."""

    def __init__(
        self, plan: Plan, script: Script, workflows: Sequence[Any], activities: Sequence[Any], *, keep: bool
    ) -> None:
        super().__init__(plan, keep=keep)
        self._script = script
        self._given = workflows, activities
        self._ended = False
        self._raised: BaseException | None = None
        self.ledgered = frozenset()

    def _definitions(self, number: int) -> tuple[Sequence[Any], Sequence[Any]]:
        return self._given

    async def _use(self, client: Client, number: int) -> None:
        try:
            await self._script(client)
        except Exception as error:
            self._raised = error
        self._ended = True

    def _all_answered(self) -> bool:
        return self._ended

    def _what_is_open(self) -> str:
        return "the script has not ended in time"

    def _newest(self, workflow_type: str) -> WorkflowDefinition | None:
        return collect(self._given[0], "default").get(workflow_type)

    def _wrong_results(self) -> list[str]:
        error = self._raised
        return [] if error is None else [f"the script raised {type(error).__name__}: {error}"]


def simulate_script(
    script: Script,
    *,
    workflows: Sequence[Any],
    activities: Sequence[Any] = (),
    seed: int = 0,
    workers: int = 2,
    keep: bool = False,
) -> Report:
    """Run a script of a client beside simulated workers, while things go wrong, and return what came of it.

    Workers are killed, frozen and cut off, requests and answers are lost, and clocks jump, as the seed decides; after twelve
    seconds nothing goes wrong any more, at one worker at least, and the script has to end within a minute of simulated time.
    What the script raises, a failed `assert` for example, is a problem, and so is every invariant that does not hold.

    Args:
        script: What the client does. It may use the event loop, and everything of the client; no threads, no files, and no
            network of its own.
        workflows: What the workers serve.
        activities: The same. They may sleep; what they do to the outside world is the test's to judge.
        seed: Decides what goes wrong, and the order of everything that has none.
        workers: How many workers there are.
        keep: Whether to keep the trace.

    Raises:
        ValueError: There is no worker.
    """
    if workers < 1:
        raise ValueError(f"workers must be at least 1, not {workers!r}")
    made = make_plan(seed)
    faults = [fault for fault in made.faults if workers > 1 or fault.kind != "hang"]
    plan = Plan(
        seed=seed,
        mode="liveness",
        leases=made.leases,
        workers=[False] * workers,
        clients=1,
        cached=made.cached,
        eager=made.eager,
        lost_hints=made.lost_hints,
        asks=[],
        faults=faults,
        core=made.core,
    )
    return _Scenario(plan, script, workflows, activities, keep=keep).run()
