"""The invariants: nothing is found where nothing is wrong, and whatever is planted is found."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from durable import Client, Signal, Worker, Workflow, activity, workflow
from durable.exceptions import WorkflowFailureError, WorkflowNotFoundError
from durable.history import (
    EventData,
    EventRow,
    EventType,
    TimerFired,
    WorkflowExecutionSignaled,
    WorkflowExecutionStarted,
    decode_data,
    encode_data,
)
from durable.testing.invariants import (
    INVARIANTS,
    Effect,
    EffectLedger,
    Evidence,
    Fault,
    Holders,
    MessageRow,
    OperationLog,
    RunFacts,
    TaskRow,
    Write,
    check,
    read_effects,
    read_operations,
    read_snapshot,
    verify,
)

add: Signal[str] = Signal("inv.add", str)
ledger = EffectLedger()


@activity.defn(name="inv.charge")
async def charge(text: str) -> str:
    ledger.write(text)
    return text


@workflow.defn(name="inv.kid")
async def kid(text: str) -> str:
    return await charge(text)


@workflow.defn(name="inv.all")
class Everything:
    def __init__(self) -> None:
        self.said = ""

    @workflow.run
    async def run(self, rounds: int) -> str:
        await workflow.sleep(0.01)
        got = await add.receive()
        if rounds:
            workflow.continue_as_new(rounds - 1)
        return await kid(got) + await charge(got) + self.said

    @workflow.update
    async def say(self, text: str) -> str:
        self.said += text
        return text


@workflow.defn(name="inv.waits")
async def waits() -> str:
    await workflow.sleep(3600)
    return await add.receive()


async def work(client: Client) -> list[Any]:
    """Do a little of everything, and return what was asked for."""
    log = OperationLog("ada")
    ledger.effects.clear()
    async with Worker(
        client,
        workflows=[Everything, Workflow(kid.definition), Workflow(waits.definition)],
        activities=[charge],
    ):
        async with log.operation("start", "w") as answer:
            handle = await client.start_workflow(Everything.run, 1, id="w")
            answer.run_id = handle.result_run_id or ""
        async with log.operation("update", "w", "ping"):
            await handle.execute_update(Everything.say, "ping")
        for key in ("token-1", "token-2"):
            async with log.operation("signal", "w", key):
                await handle.signal(add, key)
        async with log.operation("result", "w") as answer:
            answer.value = await handle.result(timeout=60)
        open_one = await client.start_workflow(waits(), id="open")
        with pytest.raises(WorkflowNotFoundError):
            async with log.operation("signal", "none", "lost-1", (WorkflowNotFoundError,)):
                await client.get_workflow_handle("none").signal(add, "lost-1")
        async with log.operation("cancel", "open", "because"):
            await open_one.cancel(reason="because")
        with pytest.raises(WorkflowFailureError):
            await open_one.result(timeout=60)
        await client.start_workflow(waits(), id="parked")
    return log.operations


async def evidence_of(client: Client) -> Evidence:
    operations = await work(client)
    return Evidence(
        await read_snapshot(client.store),
        operations=operations,
        effects=tuple(ledger.effects),
        ledger=frozenset({"inv.charge"}),
        finished=frozenset({"w"}),
    )


@pytest.fixture(scope="module")
def good() -> Evidence:
    async def made() -> Evidence:
        async with Client.connect("sqlite://:memory:") as client:
            return await evidence_of(client)

    return asyncio.run(made())


async def test_nothing_is_found_where_nothing_is_wrong(store_url: str) -> None:
    async with Client.connect(store_url) as client:
        evidence = await evidence_of(client)
        runs = evidence.snapshot.runs.values()
        assert len(runs) == 5
        assert {operation.outcome for operation in evidence.operations} == {"ok", "fail"}
        assert len(evidence.effects) == 2
        assert sum(run.row.open for run in runs) == 1
        assert not check(evidence)
        assert [(count, found) async for count, found in verify(client.store)] == [(5, []), (0, [])]


# --- what is planted: by the id of the invariant, a way to break good evidence ---

Plant = Callable[[Evidence], Evidence]
PLANTS: list[tuple[str, str, Plant]] = []


def plant(id: str) -> Callable[[Plant], Plant]:
    def register(made: Plant) -> Plant:
        PLANTS.append((id, made.__name__, made))
        return made

    return register


def first(evidence: Evidence, workflow_id: str = "w", number: int = -1) -> RunFacts:
    """A run of a workflow; the last of its chain, unless another is asked for."""
    runs = [run for run in evidence.snapshot.runs.values() if run.row.workflow_id == workflow_id]
    return sorted(runs, key=lambda run: run.events[0].time)[number]


def kid_of(evidence: Evidence) -> RunFacts:
    return next(run for run in evidence.snapshot.runs.values() if run.row.workflow_type == "inv.kid")


def put(evidence: Evidence, run: RunFacts, **changes: Any) -> Evidence:
    """Evidence with a run that is different."""
    if row := {name: changes.pop(name) for name in list(changes) if name in run.row.__struct_fields__}:
        changes["row"] = replace(run.row, **row)
    snapshot = evidence.snapshot
    return replace(
        evidence, snapshot=replace(snapshot, runs={**snapshot.runs, run.row.run_id: replace(run, **changes)})
    )


def without(evidence: Evidence, run: RunFacts) -> Evidence:
    runs = {run_id: one for run_id, one in evidence.snapshot.runs.items() if run_id != run.row.run_id}
    return replace(evidence, snapshot=replace(evidence.snapshot, runs=runs))


def at(run: RunFacts, kind: type[EventData], **changes: Any) -> list[EventRow]:
    """The events of a run, with the first of a kind different."""
    rows = list(run.events)
    place = next(n for n, row in enumerate(rows) if row.type == kind.type)
    data = replace(decode_data(rows[place].type, rows[place].data), **changes)
    rows[place] = replace(rows[place], data=encode_data(data))
    return rows


def message(run: RunFacts, kind: EventType, *, internal: bool = False, data: bytes = b"{}") -> MessageRow:
    return MessageRow(run.row.run_id, 99, "planted", int(kind), internal, data)


def operation(evidence: Evidence, kind: str, **changes: Any) -> Evidence:
    found = list(evidence.operations)
    place = next(n for n, one in enumerate(found) if one.kind == kind)
    found[place] = replace(found[place], **changes)
    return replace(evidence, operations=found)


@plant("I1")
def a_gap(good: Evidence) -> Evidence:
    run = first(good)
    return put(good, run, events=[run.events[0], *run.events[2:]])


@plant("I1")
def no_log(good: Evidence) -> Evidence:
    return put(good, first(good), events=())


@plant("I2")
def a_changed_log(good: Evidence) -> Evidence:
    run = first(good)
    return replace(
        put(good, run, events=at(run, WorkflowExecutionSignaled, name="other")), earlier=good.snapshot
    )


@plant("I2")
def a_run_that_is_gone(good: Evidence) -> Evidence:
    return replace(without(good, first(good, "parked")), earlier=good.snapshot)


@plant("I3")
def two_ends(good: Evidence) -> Evidence:
    run = first(good)
    last = run.events[-1]
    return put(good, run, events=[*run.events, replace(last, seq=last.seq + 1)])


@plant("I4")
def an_old_epoch(good: Evidence) -> Evidence:
    return replace(good, writes=[Write("r", 2, "b", claim=True), Write("r", 1, "a", 3, 1)])


@plant("I4")
def two_owners(good: Evidence) -> Evidence:
    return replace(good, writes=[Write("r", 1, "a", claim=True), Write("r", 1, "b", 3, 1)])


@plant("I5")
def a_wrong_status(good: Evidence) -> Evidence:
    return put(good, first(good), status=1)


@plant("I5")
def a_fold_that_breaks(good: Evidence) -> Evidence:
    run = first(good)
    return put(good, run, events=at(run, TimerFired, id=77))


@plant("I6")
def a_row_without_an_event(good: Evidence) -> Evidence:
    run = first(good, "parked")
    return put(good, run, activities=[TaskRow(run.row.run_id, 7, 1, 1, None)])


@plant("I6")
def a_child_nobody_answers_for(good: Evidence) -> Evidence:
    run = first(good)
    asked = next(
        n
        for n, row in enumerate(run.events)
        if row.type == EventType.START_CHILD_WORKFLOW_EXECUTION_INITIATED
    )
    return put(good, run, events=run.events[: asked + 1], status=1)


@plant("I9")
def an_unknown_owner(good: Evidence) -> Evidence:
    return put(good, first(good, "parked"), owner="nobody", wake_at=None)


@plant("I10")
def a_zombie(good: Evidence) -> Evidence:
    writes = [Write("r", 1, "a", claim=True), Write("r", 2, "b", claim=True), Write("r", 1, "a", 2, 1)]
    return replace(good, writes=writes)


@plant("I10")
def an_event_twice(good: Evidence) -> Evidence:
    return replace(good, writes=[Write("r", 1, "a", 2, 2), Write("r", 1, "a", 3, 1)])


@plant("I11")
def an_event_in_the_future(good: Evidence) -> Evidence:
    run = first(good)
    return put(good, run, events=[*run.events[:-1], replace(run.events[-1], time=good.snapshot.now + 1)])


@plant("I12")
def a_timer_nobody_looks_at(good: Evidence) -> Evidence:
    return put(good, first(good, "parked"), wake_at=None)


@plant("I12")
def a_timer_looked_at_too_late(good: Evidence) -> Evidence:
    run = first(good, "parked")
    return put(good, run, wake_at=(run.row.wake_at or 0) + 1)


@plant("I12")
def a_start_nobody_runs(good: Evidence) -> Evidence:
    run = first(good, "parked")
    return put(good, run, events=run.events[:1], wake_at=None, epoch=0)


@plant("I12")
def an_activity_nobody_runs(good: Evidence) -> Evidence:
    run = kid_of(good)
    return put(good, run, events=run.events[:2], status=1)


@plant("I12")
def a_block_for_ever(good: Evidence) -> Evidence:
    return put(good, first(good, "parked"), wake_at=None, hold=1, reason="x")


@plant("I13")
def an_effect_twice(good: Evidence) -> Evidence:
    return replace(good, effects=[replace(one, transactional=True) for one in (*good.effects, *good.effects)])


@plant("I13")
def an_effect_without_its_end(good: Evidence) -> Evidence:
    return replace(good, effects=[*good.effects, Effect("r", "1", "inv.pay", 1, "k", transactional=True)])


@plant("I13")
def an_end_without_its_effect(good: Evidence) -> Evidence:
    return replace(good, effects=[replace(good.effects[0], transactional=True)])


@plant("I14")
def an_end_by_nobody(good: Evidence) -> Evidence:
    return replace(good, effects=good.effects[:1])


@plant("I14")
def another_key(good: Evidence) -> Evidence:
    one = good.effects[0]
    return replace(
        good, effects=[*good.effects, replace(one, key="other", attempt=2)], faults=[Fault(0, 1e12)]
    )


@plant("I14")
def tried_again_for_nothing(good: Evidence) -> Evidence:
    one = good.effects[0]
    return replace(
        good, effects=[*good.effects, replace(one, attempt=2, began=one.ended + 1, ended=one.ended + 2)]
    )


@plant("I14")
def an_attempt_too_many(good: Evidence) -> Evidence:
    run, one = kid_of(good), good.effects[0]
    rows = list(run.events)
    scheduled: Any = decode_data(rows[1].type, rows[1].data)
    policy = replace(scheduled.retry_policy, maximum_attempts=1)
    rows[1] = replace(rows[1], data=encode_data(replace(scheduled, retry_policy=policy)))
    effects = [replace(one, attempt=2), *good.effects]
    return replace(put(good, run, events=rows), effects=effects, faults=[Fault(0, 1e12)])


@plant("I15")
def another_answer(good: Evidence) -> Evidence:
    result = next(one for one in good.operations if one.kind == "result")
    return replace(good, operations=[*good.operations, replace(result, number=50, value="other")])


@plant("I16")
def two_open_runs(good: Evidence) -> Evidence:
    return put(put(good, first(good), status=1), first(good, "w", 0), status=1)


@plant("I16")
def a_start_that_names_another(good: Evidence) -> Evidence:
    return operation(good, "start", run_id=first(good, "parked").row.run_id)


@plant("I17")
def a_start_that_is_gone(good: Evidence) -> Evidence:
    return operation(good, "start", run_id="gone")


@plant("I17")
def a_signal_that_is_gone(good: Evidence) -> Evidence:
    return operation(good, "signal", key="gone")


@plant("I18")
def a_failure_that_happened(good: Evidence) -> Evidence:
    return operation(good, "signal", outcome="fail")


@plant("I18")
def an_unknown_that_happened_twice(good: Evidence) -> Evidence:
    run = first(good)
    again = message(run, EventType.WORKFLOW_EXECUTION_SIGNALED, data=signal_of(run).data)
    return operation(put(good, run, inbox=[again]), "signal", outcome="info", key="token-2")


def signal_of(run: RunFacts) -> EventRow:
    return next(row for row in run.events if row.type == EventType.WORKFLOW_EXECUTION_SIGNALED)


@plant("I19")
def a_signal_read_twice(good: Evidence) -> Evidence:
    run = first(good)
    place = run.events.index(signal_of(run))
    twice = [*run.events[: place + 1], *run.events[place:]]
    return put(good, run, events=[replace(row, seq=n) for n, row in enumerate(twice, 1)])


@plant("I20")
def signals_out_of_order(good: Evidence) -> Evidence:
    one, other = [one for one in good.operations if one.kind == "signal"][:2]
    return replace(good, operations=[replace(one, key=other.key), replace(other, key=one.key)])


@plant("I21")
def an_end_over_a_message(good: Evidence) -> Evidence:
    run = first(good)
    return put(good, run, inbox=[message(run, EventType.WORKFLOW_EXECUTION_SIGNALED)])


@plant("I22")
def an_update_without_an_outcome(good: Evidence) -> Evidence:
    return put(good, first(good, "w", 0), updates=())


@plant("I23")
def a_timer_too_early(good: Evidence) -> Evidence:
    run = first(good, "w", 0)
    rows = [replace(row, time=run.events[0].time) for row in run.events]
    return put(good, run, events=rows)


@plant("I24")
def an_instant_twice(good: Evidence) -> Evidence:
    for workflow_id in ("parked", "open"):
        run = first(good, workflow_id)
        good = put(good, run, events=at(run, WorkflowExecutionStarted, schedule_id="s", scheduled_at=7))
    return good


@plant("I25")
def a_child_that_is_not_there(good: Evidence) -> Evidence:
    run = first(good)
    started = next(
        n for n, row in enumerate(run.events) if row.type == EventType.CHILD_WORKFLOW_EXECUTION_STARTED
    )
    return without(put(good, run, events=run.events[: started + 1], status=1), kid_of(good))


@plant("I25")
def a_childs_end_nobody_hears_of(good: Evidence) -> Evidence:
    run = first(good)
    started = next(
        n for n, row in enumerate(run.events) if row.type == EventType.CHILD_WORKFLOW_EXECUTION_STARTED
    )
    return put(good, run, events=run.events[: started + 1], status=1)


@plant("I25")
def a_child_that_outlives_its_parent(good: Evidence) -> Evidence:
    return put(good, kid_of(good), status=1, parent_close_policy=1)


@plant("I26")
def no_successor(good: Evidence) -> Evidence:
    return without(good, first(good))


@plant("I26")
def a_predecessor_that_goes_on(good: Evidence) -> Evidence:
    run = first(good, "w", 0)
    return put(good, run, events=run.events[:-1], status=1)


@plant("I27")
def a_cancel_nobody_heard(good: Evidence) -> Evidence:
    return operation(good, "cancel", workflow_id="parked")


@plant("I28")
def a_key_held_too_often(good: Evidence) -> Evidence:
    return replace(good, snapshot=replace(good.snapshot, holders=[Holders(1, "k", 3, 2)]))


@plant("I29")
def a_run_that_never_ends(good: Evidence) -> Evidence:
    return replace(good, finished=frozenset({"parked"}))


@plant("I29")
def a_run_that_never_was(good: Evidence) -> Evidence:
    return replace(good, finished=frozenset({"other"}))


@plant("I30")
def a_run_that_kills_for_ever(good: Evidence) -> Evidence:
    return put(good, first(good, "parked"), deaths=4)


@plant("I30")
def a_killer_that_is_not_held(good: Evidence) -> Evidence:
    return put(good, first(good, "parked"), deaths=3)


@plant("I31")
def a_block_without_a_reason(good: Evidence) -> Evidence:
    return put(good, first(good, "parked"), hold=1)


@plant("I34")
def a_secret_in_plain(good: Evidence) -> Evidence:
    return replace(good, secrets=[b"token-1"])


@pytest.mark.parametrize(("id", "name"), [(id, name) for id, name, _ in PLANTS])
def test_what_is_planted_is_found(good: Evidence, id: str, name: str) -> None:
    broken = next(made for known, called, made in PLANTS if (known, called) == (id, name))(good)
    assert id in {violation.invariant for violation in check(broken)}
    assert all(str(violation) for violation in check(broken))
    assert {violation.invariant for violation in check(broken, ids={id})} == {id}


def test_every_invariant_is_planted_or_tested_elsewhere() -> None:
    assert [one.id for one in INVARIANTS] == [f"I{number}" for number in range(1, 35)]
    planted = {id for id, _, _ in PLANTS}
    for one in INVARIANTS:
        judged = one.of_run is not None or one.of_all is not None
        assert judged == (one.id in planted), one
        assert judged or one.tested, one


def test_an_explained_attempt_is_none_too_many(good: Evidence) -> None:
    one = good.effects[0]
    again = replace(one, attempt=2, began=one.ended + 1, ended=one.ended + 2)
    fault = Fault(one.ended, one.ended + 1, "its worker died")
    assert not check(replace(good, effects=[*good.effects, again], faults=[fault]))


# --- on a live database ---


async def execute(store: Any, statement: str) -> None:
    """Change a database behind the library's back."""
    if hasattr(store, "_pool"):
        await store._pool.fetch(store._pool.settings.qualify(statement))
    else:
        await store.writer.run(lambda transaction: transaction.db.execute(statement.replace("durable.", "")))


BREAK = "DELETE FROM durable.events WHERE type = 32 AND seq = (SELECT min(e.seq) FROM durable.events e WHERE e.type = 32)"


async def test_a_live_database_is_looked_at_run_by_run(
    store_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("durable.testing.invariants._read.BETWEEN", 0.001)
    monkeypatch.setattr("durable.testing.invariants._read.EVENTS_PER_PAGE", 6)
    async with Client.connect(store_url) as client:
        await work(client)
        await execute(client.store, BREAK)
        pages = [page async for page in verify(client.store)]
        assert sum(count for count, _ in pages) == 5
        assert len(pages) > 3
        found = [one for _, violations in pages for one in violations]
        assert {one.invariant for one in found} == {"I1", "I5"}


async def test_what_is_gone_at_the_second_look_is_not_told(
    store_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with Client.connect(store_url) as client:
        await work(client)
        await execute(client.store, "UPDATE durable.runs SET deaths = 4 WHERE status = 1")

        async def mended(_: float) -> None:
            await execute(client.store, "UPDATE durable.runs SET deaths = 0 WHERE status = 1")

        monkeypatch.setattr("durable.testing.invariants._read.asyncio.sleep", mended)
        assert [found async for _, found in verify(client.store)] == [[], []]


# --- logs ---


async def test_logs_are_read_back(tmp_path: Path) -> None:
    log = OperationLog("ada", tmp_path / "log", clock=lambda: 3.0)
    async with log.operation("result", "w") as answer:
        answer.value, answer.run_id = "7", "r"
    with pytest.raises(ZeroDivisionError):
        async with log.operation("signal", "w", "k"):
            raise ZeroDivisionError
    with (tmp_path / "log").open("ab") as torn:
        torn.write(b'{"number": 3')
    told = [
        (one.number, one.kind, one.outcome, one.value, one.run_id, one.ended)
        for one in read_operations(tmp_path / "log")
    ]
    assert told == [(1, "result", "ok", "7", "r", 3.0), (2, "signal", "info", "", "", 3.0)]


async def test_effects_are_read_back(tmp_path: Path) -> None:
    mine = EffectLedger(tmp_path / "ledger", clock=lambda: 5.0)

    @activity.defn(name="inv.pays")
    async def pays() -> None:
        mine.write("half", ended=False)
        mine.write("all", began=4.0)

    @workflow.defn(name="inv.payer")
    async def payer() -> None:
        await pays()

    async def run() -> str:
        async with (
            Client.connect("sqlite://:memory:") as client,
            Worker(client, workflows=[Workflow(payer.definition)], activities=[pays]),
        ):
            handle = await client.start_workflow(payer(), id="p")
            await handle.result(timeout=60)
            return (await handle.describe()).run_id

    run_id = await run()
    half, whole = read_effects(tmp_path / "ledger")
    assert (half.run_id, half.activity_type, half.attempt, half.began, half.ended) == (
        run_id,
        "inv.pays",
        1,
        5.0,
        0.0,
    )
    assert (whole.value, whole.began, whole.ended) == ("all", 4.0, 5.0)
    assert half.key == whole.key
    assert not read_effects(tmp_path / "none")
