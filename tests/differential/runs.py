"""Runs: starts, steps, messages, ends, and who owns them."""

from __future__ import annotations

from random import Random
from typing import Any

from durable._engine.records import RunStatus
from durable._internal.instants import SECOND
from durable.common import (
    ParentClosePolicy,
    SearchAttributeKey,
    SearchAttributePair,
    TypedSearchAttributes,
    WorkflowIDConflictPolicy,
    WorkflowIDReusePolicy,
)
from durable.exceptions import StoreError
from durable.history import EventRow, EventType, Payload
from durable.history._search_attributes import encode_search_attributes
from durable.store import (
    ChildStart,
    Close,
    ExternalSend,
    Hold,
    Lane,
    Message,
    NewActivity,
    NewRun,
    Release,
    Reply,
    RunRecord,
    SendOutcome,
    SoleActivity,
    StartOutcome,
    Transition,
    Unread,
    UpdateOutcome,
    UpdateStage,
    Verdict,
)
from durable.store._probation import PROBATION
from tests.differential.duel import QUEUES, TYPES, WORKFLOWS, Duel, positions
from tests.differential.registry import operation
from tests.differential.sides import Side

SIGNAL, UPDATE = int(EventType.WORKFLOW_EXECUTION_SIGNALED), int(EventType.WORKFLOW_EXECUTION_UPDATE_ACCEPTED)
TERMINATED = int(EventType.WORKFLOW_EXECUTION_TERMINATED)
CANCEL = int(EventType.WORKFLOW_EXECUTION_CANCEL_REQUESTED)
BYTES = (b"{}", b"\x00\xff\x00", b"", "ü€😀".encode(), b"x" * 3000)
PROGRESS = (b"{}", b'{"heartbeat":[]}')
REGION, AMOUNT = SearchAttributeKey.for_keyword("Region"), SearchAttributeKey.for_int("Amount")


def attributes(chance: Random) -> dict[str, Payload]:
    """What a run is found by."""
    pairs: list[SearchAttributePair[Any]] = []
    if chance.random() < 0.5:
        pairs.append(SearchAttributePair(REGION, chance.choice(("n", "süd", "a'b"))))
    if chance.random() < 0.3:
        pairs.append(SearchAttributePair(AMOUNT, chance.choice((0, -5, 2**53))))
    return encode_search_attributes(TypedSearchAttributes(pairs))


def run_lane(chance: Random) -> Lane | None:
    """Where a run waits. One lane for each key: which lane comes first is drawn by lot."""
    if chance.random() < 0.85:
        return None
    key = chance.choice(("k0", "k1"))
    return Lane(f"0000 key {key}", key=key, most=2, weight=1 if key == "k0" else 2)


def message(duel: Duel, chance: Random, run_id: str = "") -> Message:
    """A message from outside, or one of the library's; under an id that was used before, now and then."""
    if duel.messages and chance.random() < 0.1:
        message_id = chance.choice(duel.messages)
    else:
        message_id = f"m{len(duel.messages)}"
        duel.messages.append(message_id)
    type = chance.choice((SIGNAL, SIGNAL, UPDATE))
    return Message(run_id, message_id, type, chance.choice(BYTES), internal=chance.random() < 0.1)


def new_run(duel: Duel, chance: Random, **fields: Any) -> NewRun:
    """A start, of anything that a run can be started as."""
    run_id = duel.new_id()
    owner = duel.some_worker(chance) if chance.random() < 0.4 else None
    given: dict[str, Any] = {
        "run_id": run_id,
        "workflow_id": chance.choice(WORKFLOWS),
        "workflow_type": chance.choice(TYPES),
        "task_queue": chance.choice(QUEUES),
        "started": chance.choice(BYTES),
        "info": b'{"n":1}',
        "format": chance.choice((1, 1, 1, 2)),
        "priority": chance.choice((1, 3, 3, 3, 5)),
        "delay": duel.due(chance) if chance.random() < 0.2 else 0,
        "run_timeout": duel.limit(chance),
        "owner": owner,
        "reuse": chance.choice(list(WorkflowIDReusePolicy)),
        "conflict": chance.choice(list(WorkflowIDConflictPolicy)),
        "messages": tuple(message(duel, chance) for _ in range(chance.choice((0, 0, 1, 2)))),
        "search_attributes": attributes(chance),
        "lane": run_lane(chance),
    }
    if chance.random() < 0.1:
        version = chance.choice(("shop:1", "~ramping", ""))
        given |= {"version": version}
        if version != "~ramping":
            given["override"] = version if chance.random() < 0.5 else "" if version else "auto_upgrade"
    new = NewRun(**(given | fields))
    duel.runs.setdefault(new.run_id, new.workflow_id)
    return new


@operation(weight=8)
async def create_runs(duel: Duel, chance: Random) -> bool:
    runs = [new_run(duel, chance) for _ in range(chance.choice((1, 1, 2, 3)))]
    if chance.random() < 0.1:
        runs.append(runs[0])
    verdicts = await duel.both(lambda side: side.store.create_runs(runs))
    return any(one.outcome is StartOutcome.STARTED for one in verdicts)


@operation(weight=1)
async def create_sole_activity(duel: Duel, chance: Random) -> bool:
    activity = SoleActivity(
        chance.choice(("a", "b")),
        b'{"id":1}',
        schedule_to_start=duel.limit(chance),
        schedule_to_close=duel.limit(chance),
        start_to_close=duel.limit(chance),
        heartbeat=duel.limit(chance),
    )
    fields = {
        "activity": activity,
        "workflow_type": f"activity\x1f{activity.activity_type}",
        "run_timeout": None,
    }
    run = new_run(duel, chance, lane=None, owner=None, version="", override="", messages=(), **fields)
    (verdict,) = await duel.both(lambda side: side.store.create_runs([run]))
    return verdict.outcome is StartOutcome.STARTED


# ---------------------------------------------------------------------- messages


@operation(weight=5)
async def send(duel: Duel, chance: Random) -> bool:
    messages = [message(duel, chance, duel.some_run(chance)) for _ in range(chance.choice((1, 1, 2, 4)))]
    outcomes = await duel.both(lambda side: side.store.send(messages))
    return SendOutcome.SENT in outcomes


@operation(weight=1)
async def send_endings(duel: Duel, chance: Random) -> bool:
    """What is carried out by whoever finds it."""
    one = Message(
        duel.some_run(chance), f"end{chance.randrange(99)}", chance.choice((TERMINATED, CANCEL)), b"{}"
    )
    outcomes = await duel.both(lambda side: side.store.send([one]))
    await duel.both(lambda side: side.store.condemned_runs(10))
    return SendOutcome.SENT in outcomes


@operation(weight=2)
async def read_messages(duel: Duel, chance: Random) -> bool:
    """In order within each run. Starts of one call, which are several callers', reach PostgreSQL in the order of their ids."""
    runs, worker = sorted({duel.some_run(chance) for _ in range(3)}), duel.some_worker(chance)

    async def of_runs(side: Side) -> list[Message]:
        return sorted(await side.store.read_messages(runs), key=_run_of)

    async def of_worker(side: Side) -> list[Message]:
        return sorted(await side.store.read_owned_messages(worker, 50), key=_run_of)

    found = await duel.both(of_runs)
    await duel.both(of_worker)
    return bool(found)


def _run_of(message: Message) -> str:
    return message.run_id


@operation(weight=1)
async def find_update(duel: Duel, chance: Random) -> bool:
    if not duel.messages:
        return False
    run_id, message_id = duel.some_run(chance), chance.choice(duel.messages)
    return await duel.both(lambda side: side.store.find_update(run_id, message_id)) is not None


# ---------------------------------------------------------------------- steps


class Step:
    """A transition, but for what each side counts as it likes: where messages stand in its inbox."""

    def __init__(self, run_id: str, consumed: tuple[str, ...], fields: dict[str, Any]) -> None:
        self.run_id = run_id
        self._consumed = consumed
        self._fields = fields

    async def on(self, side: Side) -> Transition:
        """The transition for one side."""
        consumed = await positions(side, self.run_id, self._consumed)
        return Transition(self.run_id, consumed=consumed, **self._fields)


async def step(duel: Duel, chance: Random, run: RunRecord, *, alone: bool) -> Step:
    """Anything that a step of a run can write; what reaches other runs only if it is alone.

    Of two steps in one commit that meet each other one may be BUSY, and which one is a store's own choice.
    """
    unread = [one.message_id for one in await duel.left.store.read_messages([run.run_id])]
    consumed = tuple(one for one in unread if chance.random() < 0.6)
    seq = run.history_length + 1
    count = chance.choice((1, 1, 2, 3))
    events = tuple(EventRow(seq + i, seq, 20, chance.choice(BYTES)) for i in range(count))
    fields: dict[str, Any] = {"epoch": run.epoch, "events": events}
    if chance.random() < 0.06:
        fields["epoch"] = run.epoch + chance.choice((-1, 1))
    there = [one.id for one in await duel.left.store.read_activities(run.run_id)]
    free = [number for number in range(1, 5) if number not in there]
    if free and chance.random() < 0.3:
        some = chance.sample(free, min(len(free), chance.choice((1, 1, 2))))
        fields["activities"] = tuple(_activity(duel, chance, number) for number in some)
    if there and chance.random() < 0.3:
        fields["activities_done"] = (chance.choice(there),)
    if there and chance.random() < 0.2:
        fields["activities_canceled"] = (chance.choice(there),)
    if alone and chance.random() < 0.2:
        fields["starts"] = (_child(duel, chance, run, seq),)
    if alone and chance.random() < 0.2:
        fields["sends"] = (_external(duel, chance, seq),)
    if alone and chance.random() < 0.15:
        fields["messages"] = (message(duel, chance, run.run_id),)
    if unread and chance.random() < 0.2:
        stage = chance.choice((UpdateStage.ACCEPTED, UpdateStage.COMPLETED))
        fields["outcomes"] = (UpdateOutcome(chance.choice(unread), stage, b"out"),)
    if chance.random() < 0.05:
        fields["hold_back"] = SECOND // 2 + 3600 * SECOND
    fields["proven"] = chance.random() < 0.2
    _ending(duel, chance, run, fields, alone=alone)
    return Step(run.run_id, consumed, fields)


def _ending(duel: Duel, chance: Random, run: RunRecord, fields: dict[str, Any], *, alone: bool) -> None:
    what = chance.random() if alone else chance.uniform(0.22, 1)
    if what < 0.12:
        status = chance.choice(
            (RunStatus.COMPLETED, RunStatus.FAILED, RunStatus.CANCELED, RunStatus.TIMED_OUT)
        )
        unread = chance.choice((Unread.REFUSE, Unread.REFUSE, Unread.MOVE))
        fields["close"] = Close(status, unread, None, b"lost")
    elif what < 0.22:
        unread = chance.choice(list(Unread))
        following = new_run(
            duel,
            chance,
            workflow_id=run.workflow_id,
            first_run_id=run.first_run_id,
            parent_run_id=run.parent_run_id,
            messages=(),
            delay=0,
        )
        fields["close"] = Close(RunStatus.CONTINUED_AS_NEW, unread, following, b"lost")
    elif what < 0.45:
        hold = chance.choice((Hold.NONE, Hold.NONE, Hold.NONE, Hold.BLOCKED))
        wake_in = chance.choice((None, 0, duel.due(chance))) if hold is Hold.NONE else duel.due(chance)
        fields["release"] = Release(wake_in=wake_in, hold=hold, reason="why" if hold else "")


def _activity(duel: Duel, chance: Random, number: int) -> NewActivity:
    # What an activity is held to never changes, so its number says it.
    lane = None
    if number == 3:
        lane = Lane("0000 key act", key="act", most=2, weight=2)
    elif number == 4:
        lane = Lane("0000 fair", breaker="b0", fails_fast=True)
    running = lane is None and chance.random() < 0.2
    return NewActivity(
        number,
        chance.choice(("a", "b")),
        chance.choice(QUEUES),
        b'{"n":%d}' % number,
        duel.now,
        attempt=chance.choice((1, 1, 2)),
        priority=chance.choice((1, 3, 3, 5)),
        due_in=0 if running else duel.due(chance),
        start_by=None if running else chance.choice((None, duel.now + 3 * SECOND + SECOND // 2)),
        close_by=chance.choice((None, duel.now + 9 * SECOND + SECOND // 2)),
        start_to_close=duel.limit(chance),
        heartbeat=duel.limit(chance),
        progress=chance.choice(PROGRESS),
        worker=duel.some_worker(chance) if running else None,
        lane=lane,
    )


def _reply(seq: int) -> Reply:
    return Reply(f"reply{seq}", 40, b"done", 41, b"failed")


def _child(duel: Duel, chance: Random, parent: RunRecord, seq: int) -> ChildStart:
    policy = chance.choice((None, ParentClosePolicy.TERMINATE, ParentClosePolicy.REQUEST_CANCEL))
    run = new_run(duel, chance, parent_run_id=parent.run_id, parent_close_policy=policy, messages=())
    return ChildStart(run, _reply(seq))


def _external(duel: Duel, chance: Random, seq: int) -> ExternalSend:
    return ExternalSend(
        chance.choice((*WORKFLOWS, "nobody")),
        f"x{chance.randrange(40)}",
        SIGNAL,
        b"{}",
        _reply(seq),
        run_id=duel.some_run(chance) if chance.random() < 0.2 else None,
    )


@operation(weight=22)
async def commit(duel: Duel, chance: Random) -> bool:
    """Steps of runs that somebody owns, one each."""
    owned = [one for one in await duel.open_runs() if one.owner]
    chance.shuffle(owned)
    if not owned:
        return False
    count = chance.choice((1, 1, 2, 3))
    steps = [await step(duel, chance, run, alone=count == 1) for run in owned[:count]]
    again = chance.random() < 0.08

    async def act(side: Side) -> object:
        transitions = [await one.on(side) for one in steps]
        found = await side.store.commit(transitions)
        return (found, await side.store.commit(transitions)) if again else found

    found: Any = await duel.both(act)
    await duel.seen()
    return Verdict.WRITTEN in (found[0] if again else found).verdicts


@operation(weight=1)
async def commit_nonsense(duel: Duel, chance: Random) -> bool:
    """A step that is not the next one: over what stands there, behind a gap, or of a run that is closed."""
    run_id = duel.some_run(chance)
    run = await duel.record(run_id)
    seq = 1 if run is None else max(1, run.history_length + chance.choice((0, 2, 5)))
    epoch = 1 if run is None else run.epoch
    nonsense = Transition(run_id, epoch, (EventRow(seq, seq, 20, b"nonsense"),))
    try:
        await duel.both(lambda side: side.store.commit([nonsense]))
    except (StoreError, ValueError):
        return True
    return True


@operation(weight=2)
async def terminate(duel: Duel, chance: Random) -> bool:
    run_id, waiting = duel.some_run(chance), chance.random() < 0.1
    close = Close(RunStatus.TERMINATED, update_lost=b"lost")
    return await duel.both(
        lambda side: side.store.terminate(
            run_id, lambda seq: EventRow(seq, seq, TERMINATED, b"{}"), close, waiting=waiting
        )
    )


@operation(weight=1)
async def timed_out_runs(duel: Duel, chance: Random) -> bool:
    limit = chance.choice((1, 10))
    return bool(await duel.both(lambda side: side.store.timed_out_runs(limit)))


# ---------------------------------------------------------------------- owners


@operation(weight=10)
async def claim_runs(duel: Duel, chance: Random) -> bool:
    if not duel.workers:
        return False
    # Only by those that live: PostgreSQL admits what waits for a key before it looks at who asks, SQLite behind it.
    worker, limit = chance.choice(duel.workers), 50
    types = chance.choice((None, TYPES, TYPES[:1]))
    queues = chance.choice((QUEUES, QUEUES[:1]))
    version = "shop:1" if chance.random() < 0.1 else ""

    async def act(side: Side) -> object:
        found = await side.store.claim_runs(worker, queues, types, limit, format=1, version=version)
        return sorted(found, key=lambda one: one.run.run_id)

    return bool(await duel.both(act))


@operation(weight=2)
async def claim_probationer(duel: Duel, chance: Random) -> bool:
    """Where there are several, a share of the claims is for lower priorities, which each side counts for itself."""
    worker = duel.some_worker(chance)
    rows = (await duel.left.read())["runs"]
    if len([row for row in rows if row["deaths"] >= PROBATION and row["closed_at"] is None]) > 1:
        return False
    found = await duel.both(lambda side: side.store.claim_probationer(worker, QUEUES, TYPES, format=2))
    return found is not None


@operation(weight=2)
async def reload_run(duel: Duel, chance: Random) -> bool:
    run = await duel.some_open(chance, owned=True)
    if run is None:
        return False
    epoch = run.epoch - (chance.random() < 0.2)
    owner = run.owner or ""
    return await duel.both(lambda side: side.store.reload_run(owner, run.run_id, epoch)) is not None


@operation(weight=1)
async def owned_runs(duel: Duel, chance: Random) -> bool:
    worker = duel.some_worker(chance)
    await duel.both(lambda side: side.store.owned_activities(worker))
    return bool(await duel.both(lambda side: side.store.owned_runs(worker)))


@operation(weight=1)
async def next_wake(duel: Duel, chance: Random) -> bool:
    queues = chance.choice((QUEUES, QUEUES[:1], ("unknown",)))
    return await duel.both(lambda side: side.store.next_wake(queues)) is not None


@operation(weight=2)
async def read_run(duel: Duel, chance: Random) -> bool:
    run_id, after, limit = duel.some_run(chance), chance.choice((0, 1, 3)), chance.choice((None, 1, 2))
    await duel.both(lambda side: side.store.read_events(run_id, after, limit))
    await duel.both(lambda side: side.store.read_activities(run_id))
    await duel.both(lambda side: side.store.read_closing_events([run_id]))
    workflow_id = duel.runs.get(run_id, "w0")
    await duel.both(lambda side: side.store.find_run(workflow_id, measured=False))
    return await duel.both(lambda side: side.store.find_run(workflow_id, run_id)) is not None
