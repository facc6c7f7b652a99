"""`create_runs`, and how the runs are found afterwards."""

from __future__ import annotations

import asyncio

from durable._internal.ids import uuid7
from durable.common import WorkflowIDConflictPolicy, WorkflowIDReusePolicy
from durable.history import EventType
from durable.store import ClaimedRun, Hold, NewRun, RunStatus, StartOutcome, Verdict
from durable.testing.conformance._registry import OpenStore, check
from durable.testing.conformance._room import (
    EVERY_BYTE,
    HOUR,
    QUEUE,
    TYPE,
    Room,
    bury,
    closing,
    doomed,
    eventually,
    new_run,
    room,
)

REUSE = WorkflowIDReusePolicy
CONFLICT = WorkflowIDConflictPolicy


async def _outcome(one: Room, run: NewRun) -> StartOutcome:
    (verdict,) = await one.store.create_runs([run])
    return verdict.outcome


@check()
async def check_a_started_run_has_its_row_and_first_event(open_store: OpenStore) -> None:
    async with room(open_store) as one:
        run = new_run(info=EVERY_BYTE, started=EVERY_BYTE, priority=2, run_timeout=HOUR, format=3)
        (verdict,) = await one.store.create_runs([run])
        assert (verdict.outcome, verdict.run_id, verdict.workflow_type) == (
            StartOutcome.STARTED,
            run.run_id,
            TYPE,
        )
        assert verdict.epoch == 0
        record = await one.record(run.run_id, run.workflow_id)
        assert (record.run_id, record.workflow_id) == (run.run_id, run.workflow_id)
        assert (record.workflow_type, record.task_queue, record.priority) == (TYPE, QUEUE, 2)
        assert (record.status, record.hold, record.reason) == (RunStatus.RUNNING, Hold.NONE, "")
        assert (record.owner, record.epoch, record.deaths, record.closed_at) == (None, 0, 0, None)
        assert (record.started_at, record.times_out_at) == (verdict.now, verdict.now + HOUR)
        assert (record.info, record.history_length, record.history_size) == (EVERY_BYTE, 1, len(EVERY_BYTE))
        (first,) = await one.store.read_events(run.run_id)
        assert (first.seq, first.task, first.type) == (1, 1, EventType.WORKFLOW_EXECUTION_STARTED)
        assert (first.data, first.time) == (EVERY_BYTE, verdict.now)


@check()
async def check_no_starts_are_no_verdicts(open_store: OpenStore) -> None:
    async with room(open_store) as one:
        assert await one.store.create_runs([]) == []


@check()
async def check_a_repeated_start_is_the_same_start(open_store: OpenStore) -> None:
    async with room(open_store) as one:
        run = await one.start()
        (verdict,) = await one.store.create_runs([run])
        assert (verdict.outcome, verdict.run_id, verdict.workflow_type) == (
            StartOutcome.SAME,
            run.run_id,
            TYPE,
        )
        assert len(await one.store.read_events(run.run_id)) == 1


@check()
async def check_a_start_repeated_after_its_close_is_the_same_start(open_store: OpenStore) -> None:
    async with room(open_store) as one:
        run = await one.own()
        await one.close(run)
        repeated = new_run(
            run_id=run.run.run_id, workflow_id=run.run.workflow_id, reuse=REUSE.REJECT_DUPLICATE
        )
        assert await _outcome(one, repeated) is StartOutcome.SAME


@check()
async def check_a_start_repeated_in_one_batch_is_the_same_start(open_store: OpenStore) -> None:
    async with room(open_store) as one:
        run = new_run()
        first, second = await one.store.create_runs([run, run])
        assert (first.outcome, second.outcome) == (StartOutcome.STARTED, StartOutcome.SAME)
        assert len(await one.store.read_events(run.run_id)) == 1


@check()
async def check_a_workflow_id_has_one_open_run(open_store: OpenStore) -> None:
    async with room(open_store) as one:
        there = await one.start()
        for conflict in (CONFLICT.UNSPECIFIED, CONFLICT.FAIL, CONFLICT.TERMINATE_EXISTING):
            run = new_run(workflow_id=there.workflow_id, conflict=conflict)
            (verdict,) = await one.store.create_runs([run])
            assert (verdict.outcome, verdict.run_id) == (StartOutcome.REJECTED, there.run_id), conflict
            assert await one.store.read_events(run.run_id) == []
            assert await one.store.find_run(run.workflow_id, run.run_id) is None


@check()
async def check_terminate_if_running_is_not_done_by_the_store(open_store: OpenStore) -> None:
    async with room(open_store) as one:
        there = await one.start()
        run = new_run(workflow_id=there.workflow_id, reuse=REUSE.TERMINATE_IF_RUNNING)
        assert await _outcome(one, run) is StartOutcome.REJECTED
        assert (await one.record(there.run_id, there.workflow_id)).status is RunStatus.RUNNING


@check()
async def check_use_existing_names_the_open_run(open_store: OpenStore) -> None:
    async with room(open_store) as one:
        there = await one.start(workflow_type="Other")
        run = new_run(workflow_id=there.workflow_id, conflict=CONFLICT.USE_EXISTING)
        (verdict,) = await one.store.create_runs([run])
        assert (verdict.outcome, verdict.run_id) == (StartOutcome.USED_EXISTING, there.run_id)
        assert (verdict.workflow_type, verdict.epoch) == ("Other", 0)


@check()
async def check_each_start_stands_or_falls_alone(open_store: OpenStore) -> None:
    async with room(open_store) as one:
        there = await one.start()
        batch = [new_run(), new_run(workflow_id=there.workflow_id), there, new_run()]
        outcomes = [verdict.outcome for verdict in await one.store.create_runs(batch)]
        assert outcomes == [
            StartOutcome.STARTED,
            StartOutcome.REJECTED,
            StartOutcome.SAME,
            StartOutcome.STARTED,
        ]


@check()
async def check_one_of_two_starts_of_a_workflow_id_in_a_batch(open_store: OpenStore) -> None:
    async with room(open_store) as one:
        verdicts = await one.store.create_runs([new_run(workflow_id="same"), new_run(workflow_id="same")])
        assert sorted(verdict.outcome for verdict in verdicts) == [
            StartOutcome.STARTED,
            StartOutcome.REJECTED,
        ]
        assert len({verdict.run_id for verdict in verdicts}) == 1


@check()
async def check_a_closed_workflow_id_may_be_used_again(open_store: OpenStore) -> None:
    async with room(open_store) as one:
        closed = await one.own()
        await one.close(closed)
        again = await one.start(workflow_id=closed.run.workflow_id)
        found = await one.store.find_run(closed.run.workflow_id)
        assert found is not None
        assert found.run_id == again.run_id


@check()
async def check_reject_duplicate_refuses_a_closed_workflow_id(open_store: OpenStore) -> None:
    async with room(open_store) as one:
        closed = await one.own()
        await one.close(closed, RunStatus.FAILED)
        run = new_run(workflow_id=closed.run.workflow_id, reuse=REUSE.REJECT_DUPLICATE)
        (verdict,) = await one.store.create_runs([run])
        assert (verdict.outcome, verdict.run_id) == (StartOutcome.REJECTED, closed.run.run_id)
        assert await one.store.find_run(run.workflow_id, run.run_id) is None
        assert await one.store.read_events(run.run_id) == []


@check()
async def check_failed_only_looks_at_how_the_last_run_closed(open_store: OpenStore) -> None:
    expected = {
        RunStatus.COMPLETED: StartOutcome.REJECTED,
        RunStatus.CONTINUED_AS_NEW: StartOutcome.REJECTED,
        RunStatus.FAILED: StartOutcome.STARTED,
        RunStatus.CANCELED: StartOutcome.STARTED,
        RunStatus.TERMINATED: StartOutcome.STARTED,
        RunStatus.TIMED_OUT: StartOutcome.STARTED,
    }
    async with room(open_store) as one:
        for status, outcome in expected.items():
            closed = await one.own()
            await one.close(closed, status)
            again = new_run(workflow_id=closed.run.workflow_id, reuse=REUSE.ALLOW_DUPLICATE_FAILED_ONLY)
            assert await _outcome(one, again) is outcome, status


@check(stores=2)
async def check_one_of_many_concurrent_starts_wins(open_store: OpenStore) -> None:
    async with room(open_store) as one, room(open_store) as two:
        for number in range(10):
            starts = [new_run(workflow_id=f"contended-{number}") for _ in range(8)]
            stores = [one.store, two.store] * 4
            answers = await asyncio.gather(
                *(store.create_runs([run]) for store, run in zip(stores, starts, strict=True))
            )
            verdicts = [verdict for (verdict,) in answers]
            outcomes = [verdict.outcome for verdict in verdicts]
            assert outcomes.count(StartOutcome.STARTED) == 1, outcomes
            assert outcomes.count(StartOutcome.REJECTED) == 7, outcomes
            assert len({verdict.run_id for verdict in verdicts}) == 1, verdicts


@check(stores=2)
async def check_batches_of_the_same_ids_in_opposite_order_end(open_store: OpenStore) -> None:
    async with room(open_store) as one, room(open_store) as two:
        for number in range(5):
            names = [f"crossing-{number}-{index}" for index in range(20)]
            forth, back = await asyncio.gather(
                one.store.create_runs([new_run(workflow_id=name) for name in names]),
                two.store.create_runs([new_run(workflow_id=name) for name in reversed(names)]),
            )
            started = [verdict for verdict in (*forth, *back) if verdict.outcome is StartOutcome.STARTED]
            assert len(started) == len(names)


@check(stores=2)
async def check_no_interleaving_with_a_close_passes_reject_duplicate(open_store: OpenStore) -> None:
    async with room(open_store) as one, room(open_store) as two:
        for _ in range(10):
            run = await one.own()
            starts = [
                new_run(workflow_id=run.run.workflow_id, reuse=REUSE.REJECT_DUPLICATE) for _ in range(4)
            ]
            *outcomes, verdicts = await asyncio.gather(
                *(_outcome(two, start) for start in starts), one.commit(closing(run))
            )
            assert verdicts == (Verdict.WRITTEN,)
            assert outcomes == [StartOutcome.REJECTED] * 4


@check()
async def check_a_start_is_owned_by_a_live_worker_from_the_start(open_store: OpenStore) -> None:
    async with room(open_store) as one:
        run = new_run(owner=one.worker)
        (verdict,) = await one.store.create_runs([run])
        assert (verdict.outcome, verdict.epoch) == (StartOutcome.STARTED, 1)
        assert await one.store.owned_runs(one.worker) == {run.run_id: 1}
        assert await one.claim() == []
        (repeated,) = await one.store.create_runs([run])
        assert (repeated.outcome, repeated.epoch) == (StartOutcome.SAME, 1)
        await one.written(closing(await _reloaded(one, run.run_id, 1)))


async def _reloaded(one: Room, run_id: str, epoch: int) -> ClaimedRun:
    run = await one.store.reload_run(one.worker, run_id, epoch)
    assert run is not None
    return run


@check()
async def check_a_start_is_not_owned_by_an_unknown_worker(open_store: OpenStore) -> None:
    async with room(open_store) as one:
        run = new_run(owner="nobody")
        (verdict,) = await one.store.create_runs([run])
        assert (verdict.outcome, verdict.epoch) == (StartOutcome.STARTED, 0)
        assert await one.claimed_ids() == {run.run_id}


@check(stores=2)
async def check_a_start_is_not_owned_by_a_dead_worker(open_store: OpenStore) -> None:
    async with room(open_store) as one:

        async def nothing(_: Room) -> None:
            pass

        worker, _ = await doomed(open_store, nothing)
        await bury(one.store, worker)
        run = new_run(owner=worker)
        (verdict,) = await one.store.create_runs([run])
        assert (verdict.outcome, verdict.epoch) == (StartOutcome.STARTED, 0)
        assert await one.claimed_ids() == {run.run_id}


@check()
async def check_a_delayed_start_is_not_claimed_before_its_time(open_store: OpenStore) -> None:
    async with room(open_store) as one:
        await one.start(delay=HOUR)
        assert await one.claim() == []
        soon = await one.start(delay=20_000)

        async def claimed() -> bool:
            return soon.run_id in await one.claimed_ids()

        await eventually(claimed)
        assert (await one.record(soon.run_id, soon.workflow_id)).started_at + 20_000 <= await one.store.now()


@check()
async def check_a_delayed_start_has_no_owner_to_lose_its_delay_with(open_store: OpenStore) -> None:
    async with room(open_store) as one:
        run = new_run(owner=one.worker, delay=HOUR)
        (verdict,) = await one.store.create_runs([run])
        assert (verdict.outcome, verdict.epoch) == (StartOutcome.STARTED, 0)
        record = await one.record(run.run_id, run.workflow_id)
        assert (record.owner, record.epoch, record.wake_at) == (None, 0, verdict.now + HOUR)
        assert await one.store.owned_runs(one.worker) == {}
        assert await one.claim() == []
        (repeated,) = await one.store.create_runs([run])
        assert (repeated.outcome, repeated.epoch) == (StartOutcome.SAME, 0)


@check()
async def check_a_run_timeout_counts_from_the_end_of_the_delay(open_store: OpenStore) -> None:
    async with room(open_store) as one:
        delayed = await one.start(delay=HOUR, run_timeout=2 * HOUR)
        record = await one.record(delayed.run_id, delayed.workflow_id)
        assert record.times_out_at == record.started_at + 3 * HOUR
        waiting = await one.start(delay=HOUR, run_timeout=0)
        at_once = await one.start(run_timeout=0)
        assert [run.run_id for run in await one.store.timed_out_runs(10)] == [at_once.run_id]
        assert (await one.record(waiting.run_id, waiting.workflow_id)).times_out_at is not None


@check()
async def check_a_run_times_out_only_once_its_timeout_passed(open_store: OpenStore) -> None:
    async with room(open_store) as one:
        await one.start(run_timeout=HOUR)
        await one.start()
        short = await one.start(run_timeout=20_000)

        async def listed() -> bool:
            return [run.run_id for run in await one.store.timed_out_runs(10)] == [short.run_id]

        await eventually(listed)
        (claimed,) = [run for run in await one.claim() if run.run.run_id == short.run_id]
        await one.close(claimed, RunStatus.TIMED_OUT)
        assert await one.store.timed_out_runs(10) == []


@check()
async def check_timed_out_runs_are_limited(open_store: OpenStore) -> None:
    async with room(open_store) as one:
        for _ in range(3):
            await one.start(run_timeout=0)
        assert len(await one.store.timed_out_runs(2)) == 2


@check()
async def check_a_workflow_id_finds_its_open_run_or_else_the_last_one(open_store: OpenStore) -> None:
    async with room(open_store) as one:
        name = "the-workflow"
        assert await one.store.find_run(name) is None
        for _ in range(3):
            run = await one.own(workflow_id=name)
            assert await one.store.find_run(name) == run.run
            await one.close(run)
            found = await one.store.find_run(name)
            assert found is not None
            assert (found.run_id, found.status) == (run.run.run_id, RunStatus.COMPLETED)
        first = await one.start(workflow_id=name)
        assert (await one.record(first.run_id, name)).run_id == first.run_id


@check()
async def check_an_unknown_run_is_none(open_store: OpenStore) -> None:
    async with room(open_store) as one:
        run = await one.start()
        assert await one.store.find_run(run.workflow_id, uuid7()) is None
        assert await one.store.read_events(uuid7()) == []
        assert await one.store.read_closing_events([uuid7(), run.run_id]) == {}
        assert await one.store.read_activities(uuid7()) == []
