"""Random programs, cancelled at any instant and between any two steps of their worker: one log, whole, that replays.

Each seed is a program and a life of its run. A seed that fails is kept in `KEPT` for ever, and lived first.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from random import Random

import pytest

from durable.history import (
    CLOSING,
    WorkflowExecutionCanceled,
    WorkflowExecutionCancelRequested,
    WorkflowExecutionCompleted,
)
from tests.engine.test_run_random import Life
from tests.replay.lives import RealCode, grow, judge, workflow_of

KEPT: tuple[int, ...] = (901,)
LIVES = 2000
BATCHES = 5


class ProgramLife(Life):
    """A life whose code is a random program."""

    def __init__(self, seed: int) -> None:
        super().__init__(seed)
        self.world.script = workflow_of(grow(Random(f"program {seed}")))  # type: ignore[assignment]
        self.world.make = RealCode
        if self.rng.random() < 0.1:
            self.world.cancel()

    def time_passes(self) -> None:
        self.world.store.now += self.rng.choice((1000, 5000, 10_000, 40_000))


@pytest.fixture(autouse=True)
def _put_away() -> Iterator[None]:
    yield
    RealCode.put_away()


@pytest.mark.parametrize("batch", range(BATCHES))
def test_any_program_cancelled_at_any_instant(batch: int) -> None:
    ends: Counter[str] = Counter()
    cancelled = 0
    for seed in (*KEPT[batch::BATCHES], *range(batch, LIVES, BATCHES)):
        life = ProgramLife(seed)
        try:
            life.live()
            events = life.world.store.events()
            judge(events)
        except Exception as error:
            raise AssertionError(f"seed {seed}: {error}") from error
        assert not RealCode.put_away(), f"seed {seed}: code could not be taken down"
        ends[type(events[-1].data).__name__] += isinstance(events[-1].data, CLOSING)
        cancelled += any(isinstance(event.data, WorkflowExecutionCancelRequested) for event in events)
    # The lives are worth something: nearly all close, in every way, and many were asked to.
    assert ends.total() > LIVES / BATCHES * 0.9
    assert ends[WorkflowExecutionCanceled.__name__] > 20
    assert ends[WorkflowExecutionCompleted.__name__] > 100
    assert cancelled > LIVES / BATCHES / 10
