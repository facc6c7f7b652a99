"""Whatever arrives in whatever order, and whatever the database answers: the log is one, whole, and replays.

Each seed is one life of a run: its code, its worker's abilities, and the order of all that happens are drawn from it. A
seed that fails is kept in `KEPT` for ever, and lived first.
"""

from __future__ import annotations

from collections.abc import Callable
from random import Random

import pytest

from durable._engine._activities import Completed
from durable._engine._effects import Urgency
from durable._engine.records import ActivityState, Verdict
from durable.history import Payload
from tests.engine.model import World, outcome_of, random_script

KEPT: tuple[int, ...] = ()
LIVES = 1500
BATCHES = 5
STEPS = 60


class Life:
    """One run, from its start to its close, with everything that can happen to it."""

    def __init__(self, seed: int) -> None:
        self.rng = rng = Random(seed)
        serves = rng.choice(("", "a", "ab", "ab"))
        self.world = World(random_script(seed), local=lambda one: one.task_queue in serves and bool(serves))
        self.calm = rng.random() < 0.3
        """Whether its worker never dies or gives it up."""
        self.moves: list[tuple[int, Callable[[], object], Callable[[], bool]]] = [
            (4, self.signal, self.always),
            (1, self.world.cancel, self.always),
            (1, self.send_again, lambda: bool(self.world.accepted)),
            (4, self.time_passes, self.always),
            (3, self.row_is_claimed, lambda: bool(self.rows(ActivityState.QUEUED))),
            (4, self.row_ends, lambda: bool(self.rows(ActivityState.RUNNING))),
            (8, self.mail, self.owned),
            (4, self.child_ends, lambda: bool(self.world.store.others.children)),
            (8, self.attempt_ends, lambda: self.owned() and bool(self.world.attempts)),
            (2, self.attempt_beats, lambda: self.owned() and bool(self.world.attempts)),
            (10, self.world.propose, lambda: self.owned() and not self.world.busy),
            (8, self.world.commit, self.flying),
            (2, self.answer_is_lost, self.flying),
            (14, self.world.turn, lambda: self.owned() and bool(self.world.task)),
            (1, self.evict, lambda: self.owned() and not self.world.busy),
            (1, self.world.release, lambda: self.owned() and not self.world.busy and not self.calm),
            (1, self.world.crash, lambda: self.owned() and not self.calm),
            (10, self.world.claim, lambda: not self.owned() and self.world.store.open),
        ]

    def live(self) -> None:
        self.world.claim()
        for _ in range(STEPS):
            if not self.world.store.open:
                break
            possible = [(weight, move) for weight, move, may in self.moves if may()]
            (move,) = self.rng.choices([m for _, m in possible], [w for w, _ in possible])
            move()
            self.world.check()
        self.end()

    # ---- moves

    def always(self) -> bool:
        return True

    def owned(self) -> bool:
        return self.world.run is not None

    def flying(self) -> bool:
        return self.owned() and self.world.in_flight is not None

    def rows(self, state: ActivityState) -> list[int]:
        return sorted(id for id, found in self.world.store.rows.items() if found.state is state)

    def signal(self) -> None:
        self.world.signal(self.rng.choice(("go", "go", "keep")))

    def send_again(self) -> None:
        self.world.repeat(self.rng.choice(sorted(self.world.accepted)))

    def time_passes(self) -> None:
        self.world.store.now += self.rng.choice((1, 5, 10, 40))

    def row_is_claimed(self) -> None:
        self.world.claim_row(self.rng.choice(self.rows(ActivityState.QUEUED)))

    def outcome(self) -> str:
        return self.rng.choice(("result", "result", "failure", "final"))

    def row_ends(self) -> None:
        store = self.world.store
        id = self.rng.choice(self.rows(ActivityState.RUNNING))
        assert store.finish(id, store.rows[id].attempt, outcome_of(self.outcome()))

    def child_ends(self) -> None:
        others = self.world.store.others
        self.world.store.send(others.end_child(self.rng.choice(sorted(others.children))))

    def mail(self) -> None:
        self.world.receive()

    def attempt_ends(self) -> None:
        self.world.end_attempt(self.rng.choice(sorted(self.world.attempts)), outcome_of(self.outcome()))

    def attempt_beats(self) -> None:
        self.world.give_row(self.rng.choice(sorted(self.world.attempts)))

    def answer_is_lost(self) -> None:
        """It took effect, and that is read back later: meanwhile other things happen."""
        world = self.world
        assert world.in_flight is not None
        if world.store.judge(world.in_flight) is not Verdict.WRITTEN:
            return
        world.store.write(world.in_flight)
        if world.store.open and world.attempts and self.rng.random() < 0.5:
            self.attempt_ends()
        if world.store.open:
            world.signal()
        if world.store.open and self.rng.random() < 0.5:
            self.others_go_on()
        world.answer(Verdict.WRITTEN)

    def others_go_on(self) -> None:
        """Other workers know what the owner does not yet: they end what it has asked for, and the owner reads of that."""
        for id in self.rows(ActivityState.QUEUED):
            self.world.claim_row(id)
            self.row_ends()
        self.mail()

    def evict(self) -> None:
        self.world.code = None

    # ---- the end

    def end(self) -> None:
        """Left alone, it comes to rest, and what is going on can be ended, until nothing is."""
        world, store = self.world, self.world.store
        for _ in range(100):
            if not store.open:
                break
            if world.run is None:
                world.claim()
            world.settle()
            world.check()
            if world.run is None:
                continue
            assert not store.inbox, "at rest, and there is an unread message"
            assert world.run.urgency(store.now) is Urgency.NOTHING
            assert {*store.rows} <= {*world.run.state.activities}, "a row of an activity that is over"
            assert {*world.run.asked.rowed} == {*store.rows}
            assert not world.run.inputs._known, "a position is remembered whose message is gone"
            if world.attempts:
                world.end_attempt(min(world.attempts), Completed(Payload(b"1")))
            elif queued := self.rows(ActivityState.QUEUED):
                world.claim_row(queued[0])
            elif running := self.rows(ActivityState.RUNNING):
                store.finish(running[0], store.rows[running[0]].attempt, outcome_of("result"))
            elif store.others.children:
                self.child_ends()
            elif (due := world.run.inputs.next_timer()) is not None:
                store.now = max(store.now, due)
            else:
                assert not world.run.state.activities
                assert not world.run.state.children
                assert not world.run.state.external
                break
        else:
            # Code that always starts something new; it was whole all the way.
            assert len(store.log) > 100
        world.check()
        world.forget()
        world.replay()


@pytest.mark.parametrize("batch", range(BATCHES))
def test_any_life_of_a_run(batch: int) -> None:
    closed = refused = replayed = moved = 0
    for seed in (*KEPT[batch::BATCHES], *range(batch, LIVES, BATCHES)):
        life = Life(seed)
        try:
            life.live()
        except Exception as error:
            raise AssertionError(f"seed {seed}: {error}") from error
        closed += not life.world.store.open
        refused += life.world.refusals
        replayed += len(life.world.store.log)
        moved += len(life.world.store.moved)
    # The lives are worth something: runs close, closes are refused, and histories are long.
    assert closed > LIVES / BATCHES / 2
    assert refused > 5
    assert moved > 5
    assert replayed > 5 * LIVES / BATCHES
