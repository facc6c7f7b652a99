"""What operators did is in the log with what it did, and what they do to many runs is done to each of them once."""

from __future__ import annotations

from durable._internal.ids import uuid7
from durable.history import EventRow, EventType
from durable.store import (
    BatchNews,
    BatchRun,
    Close,
    Dealt,
    Deed,
    DeedRow,
    Hold,
    NewBatch,
    Operated,
    RunStatus,
    Store,
)
from durable.store._filter import check_list, parse
from durable.testing.conformance._registry import OpenStore, check
from durable.testing.conformance._room import HOUR, closing, message, new_run, room


def ended(seq: int) -> EventRow:
    return EventRow(seq, seq, int(EventType.WORKFLOW_EXECUTION_TERMINATED), b"{}")


def deed(operation: str, workflow_id: str = "", batch_id: str = "") -> Deed:
    return Deed(operation, workflow_id, "me", "why", "what", batch_id)


async def log(store: Store, workflow_id: str | None = None, batch_id: str | None = None) -> list[DeedRow]:
    return await store.read_log(workflow_id=workflow_id, batch_id=batch_id, before=None, limit=100)


@check()
async def check_a_deed_is_in_the_log_if_it_changed_anything(open_store: OpenStore) -> None:
    async with room(open_store) as one:
        run, store = new_run(), one.store
        await store.create_runs([run])
        run_id, before = run.run_id, await store.now()
        for _ in range(2):
            await store.pause(run_id, "", deed=deed("pause", run.workflow_id))
            await store.unpause(run_id, [Hold.PAUSED], deed=deed("unpause", run.workflow_id))
            await store.unpause(run_id, [Hold.PAUSED], deed=deed("nothing", run.workflow_id))
            await store.purge(run_id, deed=deed("nothing", run.workflow_id))
        close = Close(RunStatus.TERMINATED)
        assert await store.terminate(run_id, ended, close, deed=deed("terminate", run.workflow_id))
        assert not await store.terminate(run_id, ended, close, deed=deed("nothing", run.workflow_id))
        await store.pause(run_id, "", deed=deed("nothing", run.workflow_id))
        assert await store.purge(run_id, deed=deed("delete", run.workflow_id, "b")) is Operated.CHANGED
        found = await log(store, run.workflow_id)
        assert [row.deed.operation for row in found] == ["delete", "terminate", *(["unpause", "pause"] * 2)]
        assert found[0].deed == deed("delete", run.workflow_id, "b")
        assert {row.run_id for row in found} == {run_id}
        assert before <= found[-1].at <= found[0].at <= await store.now()


@check()
async def check_what_says_no_deed_is_not_in_the_log(open_store: OpenStore) -> None:
    async with room(open_store) as one:
        run = new_run()
        await one.store.create_runs([run])
        await one.store.pause(run.run_id, "")
        await one.store.unpause(run.run_id, [Hold.PAUSED])
        assert await one.store.terminate(run.run_id, ended, Close(RunStatus.TERMINATED))
        await one.store.purge(run.run_id)
        assert await log(one.store) == []


@check()
async def check_the_log_is_read_backwards_page_by_page(open_store: OpenStore) -> None:
    async with room(open_store) as one:
        runs = [new_run() for _ in range(4)]
        await one.store.create_runs(runs)
        for n, run in enumerate(runs):
            batch = "one" if n % 2 else ""
            await one.store.pause(run.run_id, "", deed=deed("pause", run.workflow_id, batch))
        read = one.store.read_log
        first = await read(workflow_id=None, batch_id=None, before=None, limit=3)
        rest = await read(workflow_id=None, batch_id=None, before=first[-1].number, limit=3)
        assert [row.run_id for row in (*first, *rest)] == [run.run_id for run in runs[::-1]]
        assert [row.run_id for row in await log(one.store, batch_id="one")] == [
            runs[3].run_id,
            runs[1].run_id,
        ]
        assert [row.run_id for row in await log(one.store, runs[3].workflow_id, "one")] == [runs[3].run_id]
        assert await log(one.store, runs[2].workflow_id, "one") == []
        assert await log(one.store, batch_id="") == [], "no batch has this id"


@check()
async def check_a_batch_is_begun_once(open_store: OpenStore) -> None:
    async with room(open_store) as one:
        new = NewBatch("b", "digest", deed("cancel_workflows", batch_id="b"))
        assert await one.store.read_batch("b") is None
        begun = await one.store.begin_batch(new)
        assert (begun.digest, begun.position, begun.gathered, begun.pending) == ("digest", b"", False, 0)
        again = await one.store.begin_batch(NewBatch("b", "another", new.deed))
        assert again == begun == await one.store.read_batch("b")
        (row,) = await log(one.store, batch_id="b")
        assert (row.run_id, row.deed) == ("", new.deed)


@check()
async def check_a_batch_has_the_newest_run_of_each_key(open_store: OpenStore) -> None:
    async with room(open_store) as one:
        store = one.store
        await store.begin_batch(NewBatch("b", "", deed("x", batch_id="b")))
        runs = [BatchRun(0, f"w{n}", f"w{n}", uuid7()) for n in range(3)]
        newer = BatchRun(0, "w0", "w0", uuid7())
        await store.gather_batch("b", b"", runs[:2], b"2", last=False)
        await store.gather_batch("b", b"", runs, b"stale", last=False)
        await store.gather_batch("b", b"2", [newer, runs[2]], b"", last=True)
        await store.gather_batch("b", b"", [runs[0]], b"late", last=True)
        found = await store.pending_batch_runs("b", 10)
        assert [run.run_id for run in found] == [newer.run_id, runs[1].run_id, runs[2].run_id]
        assert [run.number for run in found] == sorted({run.number for run in found})
        assert await store.pending_batch_runs("b", 2) == found[:2]
        row = await store.read_batch("b")
        assert row is not None
        assert (row.gathered, row.pending) == (True, 3)


@check()
async def check_a_run_of_a_batch_counts_once(open_store: OpenStore) -> None:
    async with room(open_store) as one:
        store = one.store
        await store.begin_batch(NewBatch("b", "", deed("x", batch_id="b")))
        runs = [BatchRun(0, f"w{n}", f"w{n}", uuid7()) for n in range(30)]
        await store.gather_batch("b", b"", runs, b"", last=True)
        numbers = [run.number for run in await store.pending_batch_runs("b", 30)]
        await store.settle_batch(
            "b", [BatchNews(numbers[0], Dealt.DONE), BatchNews(numbers[1], Dealt.SKIPPED)]
        )
        await store.settle_batch(
            "b", [BatchNews(numbers[0], Dealt.FAILED, "no"), BatchNews(numbers[2], Dealt.DONE)]
        )
        await store.settle_batch("b", [BatchNews(n, Dealt.FAILED, f"error {n}") for n in numbers[3:]])
        await store.settle_batch("b", [])
        row = await store.read_batch("b")
        assert row is not None
        assert (row.pending, row.done, row.skipped, row.failed) == (0, 2, 1, 27)
        assert row.errors == tuple(f"error {n}" for n in numbers[3:13])


@check()
async def check_old_deeds_are_removed_and_batches_with_the_last_of_them(open_store: OpenStore) -> None:
    async with room(open_store) as one:
        store = one.store
        for batch_id in ("b", "c"):
            await store.begin_batch(NewBatch(batch_id, "", deed("x", batch_id=batch_id)))
            await store.gather_batch(batch_id, b"", [BatchRun(0, "w", "w", uuid7())], b"", last=True)
        runs = [await one.start() for _ in range(2)]
        for run, batch_id in zip(runs, ("b", ""), strict=True):
            await store.pause(run.run_id, "", deed=deed("pause", run.workflow_id, batch_id))
        assert await store.prune_log(HOUR, 10) == 0
        assert await store.prune_log(0, 2) == 2, "both beginnings, the oldest"
        assert [row.deed.operation for row in await log(store)] == ["pause", "pause"]
        assert await store.read_batch("c") is None
        assert await store.pending_batch_runs("c", 10) == []
        assert len(await store.pending_batch_runs("b", 10)) == 1, "something of it is in the log"
        assert await store.prune_log(0, 10) == 2
        assert await log(store) == []
        assert await store.read_batch("b") is None
        assert await store.prune_log(0, 10) == 0


@check()
async def check_messages_are_sent_to_exactly_what_is_found_or_to_nobody(open_store: OpenStore) -> None:
    async with room(open_store) as one:
        store, runs = one.store, [new_run(workflow_type="Found") for _ in range(2)]
        other = await one.own()
        await store.create_runs(runs)
        query = check_list(parse("WorkflowType = 'Found' AND ExecutionStatus = 'Running'"), {})
        both = [message(run.run_id, "m") for run in runs]
        nobody = check_list(parse("WorkflowType = 'Nobody'"), {})
        assert await store.send_to_found(nobody, [])
        assert not await store.send_to_found(nobody, both)
        assert not await store.send_to_found(query, [])
        assert not await store.send_to_found(query, both[:1])
        assert not await store.send_to_found(query, [*both, message(other.run.run_id)])
        assert not await store.send_to_found(query, [both[0], message(uuid7())])
        assert await store.read_messages([run.run_id for run in runs]) == []
        assert await store.send_to_found(query, both)
        assert await store.send_to_found(query, both), "they are there already"
        assert len(await store.read_messages([run.run_id for run in runs])) == 2
        (claimed, _) = await one.claim(2, types=("Found",))
        unread = await store.read_messages([claimed.run.run_id])
        await one.written(closing(claimed, consumed=(unread[0].position,)))
        assert not await store.send_to_found(query, [message(run.run_id, "n") for run in runs])
