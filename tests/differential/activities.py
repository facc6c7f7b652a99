"""Activities and what limits them."""

from __future__ import annotations

from random import Random
from typing import Any

from msgspec.structs import replace

from durable._engine._operated import pause as pause_change
from durable._engine._operated import reset as reset_change
from durable._engine._operated import unpause as unpause_change
from durable._engine.lanes import ACTIVITIES, BreakerNews, Forced
from durable._engine.lanes import WORKFLOWS as WORKFLOW_KEYS
from durable._engine.records import RunStatus, SoleEnd
from durable._internal.instants import SECOND
from durable.history import BreakerData, EventRow, EventType
from durable.store import (
    ActivityChange,
    ActivityRecord,
    ActivityState,
    AttemptOutcome,
    Heartbeat,
    HeartbeatAnswer,
)
from tests.differential.duel import QUEUES, Duel
from tests.differential.registry import operation
from tests.differential.runs import PROGRESS, message
from tests.differential.sides import HALF, Side

BREAKER = BreakerData("b0", failures=2, window=9 * SECOND + HALF, open_for=2 * SECOND + HALF)
KEYS = ((ACTIVITIES, "act"), (WORKFLOW_KEYS, "k0"), (WORKFLOW_KEYS, "k1"))


async def rows(duel: Duel) -> list[ActivityRecord]:
    """All rows of activities, by run and number."""
    return [row for run_id in list(duel.runs) for row in await duel.left.store.read_activities(run_id)]


@operation(weight=8)
async def claim_activities(duel: Duel, chance: Random) -> bool:
    worker, types = duel.some_worker(chance), chance.choice((None, ("a", "b"), ("a",)))
    queues = chance.choice((QUEUES, QUEUES[1:]))

    async def act(side: Side) -> object:
        found = await side.store.claim_activities(worker, queues, types, 50, format=1)
        return sorted(found, key=lambda one: (one.run_id, one.id))

    return bool(await duel.both(act))


def _outcome(duel: Duel, chance: Random, row: ActivityRecord) -> AttemptOutcome:
    attempt = row.attempt + (chance.random() < 0.1)
    worker = row.worker if chance.random() < 0.9 else duel.some_worker(chance)
    if row.workflow_type.startswith("activity"):
        end = SoleEnd(
            RunStatus.COMPLETED,
            EventRow(3, 2, int(EventType.ACTIVITY_TASK_COMPLETED), b"result"),
            EventRow(4, 2, int(EventType.WORKFLOW_EXECUTION_COMPLETED), b"{}"),
        )
        return AttemptOutcome(row.run_id, row.id, attempt, worker, sole=end)
    fields: dict[str, Any] = {"progress": chance.choice(PROGRESS)}
    match chance.choice(("message", "message", "retry", "outside")):
        case "message":
            fields["message"] = replace(message(duel, chance, row.run_id), internal=True)
        case "retry":
            fields |= {"retry_in": duel.due(chance), "base": chance.choice((0, 0, row.attempt))}
        case _:
            fields["outside"] = True
    if chance.random() < 0.2:
        fields["revision"] = row.revision + (chance.random() < 0.3)
    return AttemptOutcome(row.run_id, row.id, attempt, worker, state=row.state, **fields)


@operation(weight=6)
async def finish_attempts(duel: Duel, chance: Random) -> bool:
    found = await rows(duel)
    running = [row for row in found if row.state is ActivityState.RUNNING]
    pool = running if running and chance.random() < 0.8 else found
    if not pool:
        return False
    outcomes = [
        _outcome(duel, chance, row) for row in chance.sample(pool, min(len(pool), chance.choice((1, 2))))
    ]
    return True in await duel.both(lambda side: side.store.finish_attempts(outcomes))


@operation(weight=4)
async def heartbeat(duel: Duel, chance: Random) -> bool:
    found = await rows(duel)
    if not found:
        return False
    beats = [
        Heartbeat(
            row.run_id, row.id, row.attempt + (chance.random() < 0.1), row.worker, chance.choice(PROGRESS)
        )
        for row in chance.sample(found, min(len(found), 3))
    ]
    answers = await duel.both(lambda side: side.store.heartbeat(beats))
    return any(answer is not HeartbeatAnswer.GONE for answer in answers)


@operation(weight=2)
async def expired_activities(duel: Duel, chance: Random) -> bool:
    async def act(side: Side) -> object:
        found = await side.store.expired_activities(50)
        return sorted(found, key=lambda one: (one.run_id, one.id))

    await duel.both(lambda side: side.store.stray_outcomes(10))
    return bool(await duel.both(act))


@operation(weight=3)
async def change_activities(duel: Duel, chance: Random) -> bool:
    found = await rows(duel)
    if not found:
        return False
    row = chance.choice(found)
    kind, wait, flag = chance.choice(("pause", "unpause", "reset")), duel.due(chance), chance.random() < 0.5
    late = chance.random() < 0.1

    async def act(side: Side) -> object:
        # A change is made from the row as it was read, with its instants: each side's own.
        (own,) = [one for one in await side.store.read_activities(row.run_id) if one.id == row.id]
        change: ActivityChange | None
        if kind == "pause":
            change = pause_change(own, "why")
        elif kind == "unpause":
            change = unpause_change(own, reset_attempts=flag, reset_heartbeats=not flag, wait=wait)
        else:
            change = reset_change(own, reset_heartbeats=flag, keep_paused=not flag, wait=wait)
        if change is None:
            return None
        changed = await side.store.change_activities([change])
        return changed, (await side.store.change_activities([change])) if late else None

    answer: Any = await duel.both(act)
    return answer is not None and answer[0] == [True]


# ---------------------------------------------------------------------- limits


@operation(weight=1)
async def set_key(duel: Duel, chance: Random) -> bool:
    (kind, key), most = chance.choice(KEYS), chance.choice((None, 0, 1, 3))
    await duel.both(lambda side: side.store.set_key(kind, key, most))
    return True


@operation(weight=2)
async def read_limits(duel: Duel, chance: Random) -> bool:
    known = [await duel.both(lambda side, one=one: side.store.read_key(*one)) for one in KEYS]
    await duel.both(lambda side: side.store.read_breaker("b0"))
    await duel.both(lambda side: side.store.read_rate("q1"))
    return any(one.running or one.waiting for one in known)


@operation(weight=1)
async def sweep_keys(duel: Duel, chance: Random) -> bool:
    """How many go is each side's own: a key that is not limited has a row on PostgreSQL only."""

    async def act(side: Side) -> None:
        await side.store.sweep_keys(10)

    await duel.both(act)
    return True


@operation(weight=2)
async def tell_breakers(duel: Duel, chance: Random) -> bool:
    news = [BreakerNews(BREAKER, chance.random() < 0.7) for _ in range(chance.choice((1, 2)))]
    await duel.both(lambda side: side.store.tell_breakers(news))
    return (await duel.both(lambda side: side.store.read_breaker("b0"))).open_until is not None


@operation(weight=1)
async def force_breaker(duel: Duel, chance: Random) -> bool:
    forced = chance.choice((None, None, *Forced))
    await duel.both(lambda side: side.store.force_breaker("b0", forced))
    return True


@operation(weight=1)
async def set_rate(duel: Duel, chance: Random) -> bool:
    rate = chance.choice((None, None, 0.37, 3.3))
    await duel.both(lambda side: side.store.set_rate("q1", rate))
    return True
