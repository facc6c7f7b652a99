"""What operators do, schedules, queries, versions, lists, and workers that come and die."""

from __future__ import annotations

from random import Random
from typing import Any

from msgspec.structs import replace

from durable._engine.deeds import BatchNews, BatchRun, Dealt, Deed, NewBatch
from durable._engine.operations import Operated, Reset, ResetView
from durable._engine.records import RunStatus
from durable._engine.schedules.rows import ScheduleWrite
from durable._internal.instants import SECOND
from durable.common import SearchAttributeIndexedValueType
from durable.history import EventRow, EventType
from durable.store import Close, Hold, Message, QueryAnswer, Question
from durable.store._filter import check_count, check_list, parse
from tests.differential.duel import QUEUES, TYPES, Duel
from tests.differential.registry import operation
from tests.differential.runs import SIGNAL, attributes, new_run
from tests.differential.sides import Side

BATCH = "batch"
SCHEDULES = ("s0", "s1")
ENDED = int(EventType.WORKFLOW_EXECUTION_TERMINATED)


def deed(operation: str, duel: Duel, run_id: str, batch_id: str = "") -> Deed:
    """What the log says of it."""
    return Deed(operation, duel.runs.get(run_id, "nobody"), "me", "why", "what", batch_id)


# ---------------------------------------------------------------------- one run


@operation(weight=2)
async def pause(duel: Duel, chance: Random) -> bool:
    run_id = duel.some_run(chance)
    done = deed("pause", duel, run_id) if chance.random() < 0.7 else None
    answer = await duel.both(lambda side: side.store.pause(run_id, "reason", deed=done))
    for worker in duel.workers:
        await duel.both(lambda side, worker=worker: side.store.paused_runs(worker))
    return answer is Operated.CHANGED


@operation(weight=2)
async def unpause(duel: Duel, chance: Random) -> bool:
    held = [one.run_id for one in await duel.open_runs() if one.hold is not Hold.NONE]
    run_id = chance.choice(held) if held else duel.some_run(chance)
    holds = chance.choice(([Hold.PAUSED], [Hold.BLOCKED, Hold.QUARANTINED], list(Hold)[1:]))
    answer = await duel.both(
        lambda side: side.store.unpause(run_id, holds, deed=deed("unpause", duel, run_id))
    )
    return answer is Operated.CHANGED


@operation(weight=1)
async def purge(duel: Duel, chance: Random) -> bool:
    closed = set(duel.runs) - {one.run_id for one in await duel.open_runs()}
    run_id = chance.choice(sorted(closed)) if closed and chance.random() < 0.7 else duel.some_run(chance)
    done = deed("delete", duel, run_id)
    return await duel.both(lambda side: side.store.purge(run_id, deed=done)) is Operated.CHANGED


@operation(weight=1)
async def override(duel: Duel, chance: Random) -> bool:
    run_id, to = duel.some_run(chance), chance.choice(("", "shop:1", "auto_upgrade"))
    told = Message(run_id, f"told{duel.new_id()[-4:]}", 50, b"{}", internal=True)
    answer = await duel.both(
        lambda side: side.store.override(run_id, to, told, deed=deed("update_options", duel, run_id))
    )
    return answer is Operated.CHANGED


@operation(weight=2)
async def reset(duel: Duel, chance: Random) -> bool:
    base_id = duel.some_run(chance)
    base = await duel.record(base_id)
    if base is None:
        return False
    there = await duel.left.store.find_run(base.workflow_id)
    open_run = there.run_id if there is not None and there.closed_at is None else None
    if chance.random() < 0.1:
        open_run = None if open_run else base_id
    new_id, cut = duel.new_id(), chance.choice((1, 1, 2))
    keep, move = chance.random() < 0.8, chance.random() < 0.7
    duel.runs[new_id] = base.workflow_id

    def plan(view: ResetView) -> Reset | None:
        if not keep:
            return None
        last = max((row.seq for row in view.events), default=0)
        close = None
        if open_run is not None:
            close = (
                EventRow(last + 1, last + 1, ENDED, b"reset"),
                Close(RunStatus.TERMINATED, update_lost=b"lost"),
            )
        return Reset(
            new_id,
            base_id,
            cut,
            b"started anew",
            EventRow(cut + 1, cut + 1, 60, b"{}"),
            base.first_run_id,
            close=close,
            messages=view.messages if move else (),
            attributes=attributes(Random(cut)),
        )

    return await duel.both(
        lambda side: side.store.reset(base_id, new_id, open_run, plan, deed=deed("reset", duel, base_id))
    )


# ---------------------------------------------------------------------- the log, and many runs


@operation(weight=1)
async def read_log(duel: Duel, chance: Random) -> bool:
    workflow_id = chance.choice((None, chance.choice(list(duel.runs.values()) or ["w0"])))
    batch_id = chance.choice((None, None, BATCH))

    async def act(side: Side) -> object:
        first = await side.store.read_log(workflow_id=workflow_id, batch_id=batch_id, before=None, limit=3)
        if not first:
            return []
        before = first[-1].number
        return [
            *first,
            *await side.store.read_log(workflow_id=workflow_id, batch_id=batch_id, before=before, limit=3),
        ]

    return bool(await duel.both(act))


@operation(weight=1)
async def prune_log(duel: Duel, chance: Random) -> bool:
    age, limit = chance.choice((0, SECOND + SECOND // 2)), chance.choice((1, 10))
    return bool(await duel.both(lambda side: side.store.prune_log(age, limit)))


@operation(weight=1)
async def begin_batch(duel: Duel, chance: Random) -> bool:
    new = NewBatch(BATCH, chance.choice(("digest", "another")), deed("cancel_workflows", duel, "", BATCH))
    return (await duel.both(lambda side: side.store.begin_batch(new))).digest == new.digest


@operation(weight=1)
async def gather_batch(duel: Duel, chance: Random) -> bool:
    known = await duel.left.store.read_batch(BATCH)
    at = b"" if known is None or chance.random() < 0.2 else known.position
    to, last = chance.choice((b"1", b"2")), chance.random() < 0.2
    picked = {duel.some_run(chance) for _ in range(3)}
    runs = {(key := duel.runs.get(one, "w0")): BatchRun(0, key, key, one) for one in sorted(picked)}
    await duel.both(lambda side: side.store.gather_batch(BATCH, at, list(runs.values()), to, last=last))
    found = await duel.both(lambda side: side.store.read_batch(BATCH))
    return found is not None and found.pending > 0


@operation(weight=2)
async def settle_batch(duel: Duel, chance: Random) -> bool:
    dealt, which, twice = chance.choice(list(Dealt)), chance.choice((0, 0, 1)), chance.random() < 0.2

    async def act(side: Side) -> object:
        pending = await side.store.pending_batch_runs(BATCH, 5)
        news = [
            BatchNews(one.number, dealt, "no" if dealt is Dealt.FAILED else "") for one in pending[which:][:1]
        ]
        for _ in range(2 if twice else 1):
            await side.store.settle_batch(BATCH, news)
        return pending, await side.store.read_batch(BATCH), len(news)

    answer: Any = await duel.both(act)
    return answer[2] > 0


@operation(weight=1)
async def send_to_found(duel: Duel, chance: Random) -> bool:
    query = check_list(
        parse(
            f"WorkflowId = '{chance.choice(list(duel.runs.values()) or ['w0'])}' AND ExecutionStatus = 'Running'"
        ),
        {},
    )
    found, _ = await duel.left.store.list_runs(query, 10)
    number = chance.randrange(1000)
    messages = [Message(one.run_id, f"found{number}", SIGNAL, b"{}") for one in found]
    if chance.random() < 0.2:
        messages.append(Message(duel.some_run(chance), "stranger", SIGNAL, b"{}"))
    answer = await duel.both(lambda side: side.store.send_to_found(query, messages))
    return answer and bool(messages)


# ---------------------------------------------------------------------- schedules


@operation(weight=3)
async def write_schedule(duel: Duel, chance: Random) -> bool:
    name = chance.choice(SCHEDULES)
    stale, new = chance.random() < 0.15, chance.random() < 0.2
    wake_at = chance.choice((None, duel.now - SECOND // 2, duel.now + 2 * SECOND + SECOND // 2))
    starts = tuple(new_run(duel, chance, owner=None, messages=()) for _ in range(chance.choice((0, 1, 1, 2))))
    running = tuple((one.workflow_id, one.run_id) for one in starts if chance.random() < 0.7)

    async def act(side: Side) -> object:
        row = await side.store.find_schedule(name)
        revision = None if row is None or new else row.revision + stale
        write = ScheduleWrite(name, revision, b"record", b"\x00progress", wake_at, running, starts)
        return await side.store.write_schedule(write)

    return await duel.both(act) is not None


@operation(weight=2)
async def claim_schedules(duel: Duel, chance: Random) -> bool:
    limit = chance.choice((1, 5))
    await duel.both(lambda side: side.store.next_schedule())
    return bool(await duel.both(lambda side: side.store.claim_schedules(limit)))


@operation(weight=1)
async def look_at_schedules(duel: Duel, chance: Random) -> bool:
    await duel.both(lambda side: side.store.find_schedule("s0"))
    await duel.both(lambda side: side.store.ended_schedules(5))
    return bool(await duel.both(lambda side: side.store.list_schedules("", 1)))


@operation(weight=1)
async def delete_schedule(duel: Duel, chance: Random) -> bool:
    name = chance.choice(SCHEDULES)
    return await duel.both(lambda side: side.store.delete_schedule(name))


# ---------------------------------------------------------------------- queries


@operation(weight=2)
async def ask(duel: Duel, chance: Random) -> bool:
    run_id = duel.some_run(chance)
    if duel.queries and chance.random() < 0.1:
        query_id = chance.choice(list(duel.queries))
    else:
        query_id = duel.new_id()
    duel.queries[query_id] = run_id
    expires = chance.choice((2 * SECOND + SECOND // 2, 3600 * SECOND + SECOND // 2))
    question = Question(query_id, run_id, "", "", "status", b"[]", expires)
    return await duel.both(lambda side: side.store.ask(question))


@operation(weight=3)
async def take_questions(duel: Duel, chance: Random) -> bool:
    worker, limit = duel.some_worker(chance), chance.choice((1, 10))
    types = chance.choice((None, TYPES))
    return bool(
        await duel.both(lambda side: side.store.take_questions(worker, QUEUES, types, limit, format=2))
    )


@operation(weight=2)
async def answer_questions(duel: Duel, chance: Random) -> bool:
    ids = [one for one in duel.queries if chance.random() < 0.5]
    answers = [QueryAnswer(one, duel.queries[one], b"answer%d" % chance.randrange(9)) for one in ids]
    await duel.both(lambda side: side.store.answer_questions(answers))

    async def read(side: Side) -> object:
        return sorted(await side.store.read_answers(ids), key=lambda one: one.query_id)

    return bool(await duel.both(read))


@operation(weight=1)
async def sweep_questions(duel: Duel, chance: Random) -> bool:
    return bool(await duel.both(lambda side: side.store.sweep_questions(10)))


# ---------------------------------------------------------------------- versions


@operation(weight=1)
async def write_deployment(duel: Duel, chance: Random) -> bool:
    rows = await duel.both(lambda side: side.store.find_deployments())
    if not rows:
        return False
    current, ramping = chance.choice((None, "", "shop:1")), chance.choice((None, "shop:1"))
    percentage = chance.choice((0.0, 50.0, 100.0))
    stale = chance.random() < 0.1

    async def act(side: Side) -> object:
        (row,) = await side.store.find_deployments("shop")
        changed = replace(
            row,
            current=current,
            ramping=ramping if ramping != current else None,
            percentage=percentage,
            revision=row.revision + stale,
            changed_by="me",
        )
        return await side.store.write_deployment(changed)

    return bool(await duel.both(act))


@operation(weight=1)
async def look_at_versions(duel: Duel, chance: Random) -> bool:
    await duel.both(lambda side: side.store.find_deployments())
    await duel.both(lambda side: side.store.stranded_versions())
    worker = duel.some_worker(chance)
    await duel.both(lambda side: side.store.moved_runs(worker, QUEUES, ""))
    await duel.both(lambda side: side.store.find_versions("shop"))
    return bool(await duel.both(lambda side: side.store.queue_routes(QUEUES)))


@operation(weight=1)
async def forget_version(duel: Duel, chance: Random) -> bool:
    pinned = chance.random() < 0.5
    return await duel.both(lambda side: side.store.forget_version("shop:1", pinned=pinned))


# ---------------------------------------------------------------------- lists

FILTERS = (
    "",
    "ExecutionStatus = 'Running'",
    "WorkflowType = 'A' AND ExecutionStatus != 'Completed'",
    "WorkflowId STARTS_WITH 'w' ORDER BY WorkflowId DESC, StartTime",
    "Region = 'süd' OR Region IN ('n', 'x')",
    "Region IS NOT NULL AND NOT Amount BETWEEN -10 AND 3",
    "Amount >= 0 ORDER BY Amount DESC",
    "CloseTime IS NULL AND TaskQueue = 'q0'",
    "HistoryLength > 2 ORDER BY CloseTime",
    "ExecutionStatus = 'Paused' OR Hold = 'Blocked'",
    "ParentWorkflowId = 'w1' OR RootWorkflowId = 'w1'",
)


@operation(weight=4)
async def list_runs(duel: Duel, chance: Random) -> bool:
    text, limit = chance.choice(FILTERS), chance.choice((2, 100))

    async def act(side: Side) -> object:
        known = await side.store.attribute_types()
        types = {name: SearchAttributeIndexedValueType(kind) for name, kind in known.items()}
        query = check_list(parse(text), types)
        first, behind = await side.store.list_runs(query, limit)
        if behind is None:
            return first, None
        return first, await side.store.list_runs(query, limit, behind)

    answer: Any = await duel.both(act)
    return bool(answer[0])


@operation(weight=2)
async def count_runs(duel: Duel, chance: Random) -> bool:
    text = chance.choice(
        ("", "GROUP BY ExecutionStatus", "WorkflowType = 'A' GROUP BY TaskQueue", "GROUP BY WorkflowType")
    )

    async def act(side: Side) -> object:
        return sorted(await side.store.count_runs(check_count(parse(text), {})), key=repr)

    answer: Any = await duel.both(act)
    return any(count for _, count in answer)


@operation(weight=1)
async def attribute_types(duel: Duel, chance: Random) -> bool:
    wanted = {chance.choice(("Region", "Amount", "Other")): chance.choice((2, 3))}
    return bool(await duel.both(lambda side: side.store.attribute_types(wanted)))


# ---------------------------------------------------------------------- workers


@operation(weight=4)
async def register_worker(duel: Duel, chance: Random) -> bool:
    if len(duel.workers) >= 4:
        return False
    await duel.register("shop:1" if chance.random() < 0.3 else "", QUEUES)
    return True


@operation(weight=1)
async def list_workers(duel: Duel, chance: Random) -> bool:
    return bool(await duel.both(lambda side: side.store.list_workers()))


@operation(weight=4)
async def worker_dies(duel: Duel, chance: Random) -> bool:
    if len(duel.workers) < 2:
        return False
    worker = chance.choice(duel.workers)
    duel.workers.remove(worker)
    duel.dead.append(worker)
    await duel.both(lambda side: side.die(worker))
    if chance.random() < 0.6:
        await duel.both(lambda side: side.store.bury_worker(worker, 0))
        await duel.both(lambda side: side.store.take_over(100))
    return True


@operation(weight=1)
async def run_that_kills(duel: Duel, chance: Random) -> bool:
    """Two workers die one after the other, each with all runs that it could get: these are on probation then."""
    freed = 0
    for _ in range(2):
        worker = await duel.register()
        await duel.both(
            lambda side, worker=worker: _claimed_by(side, worker)  # type: ignore[misc]
        )
        duel.workers.remove(worker)
        duel.dead.append(worker)
        await duel.both(lambda side, worker=worker: side.die(worker))
        await duel.both(lambda side, worker=worker: side.store.bury_worker(worker, 0))
        freed += await duel.both(lambda side: side.store.take_over(100))
    return freed > 0


async def _claimed_by(side: Side, worker: str) -> object:
    found = await side.store.claim_runs(worker, QUEUES, TYPES, 50, format=2)
    return sorted(found, key=lambda one: one.run.run_id)


@operation(weight=3)
async def bury_worker(duel: Duel, chance: Random) -> bool:
    worker = chance.choice(duel.dead) if duel.dead and chance.random() < 0.8 else duel.some_worker(chance)
    buried = await duel.both(lambda side: side.store.bury_worker(worker, 0))
    return buried


@operation(weight=4)
async def take_over(duel: Duel, chance: Random) -> bool:
    return bool(await duel.both(lambda side: side.store.take_over(100)))


@operation(weight=1)
async def unregister_worker(duel: Duel, chance: Random) -> bool:
    if len(duel.workers) < 2:
        return False
    worker = chance.choice(duel.workers)
    duel.workers.remove(worker)
    await duel.both(lambda side: side.store.unregister_worker(worker))
    duel.dead.append(worker)
    return True


@operation(weight=6)
async def pass_time(duel: Duel, chance: Random) -> bool:
    await duel.pass_time(chance.choice((1, 1, 2, 3)))
    return True
