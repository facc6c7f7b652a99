"""Runs that go on as others: the close, the successor, and what moves from one to the other."""

from __future__ import annotations

import asyncio

from durable.common import WorkflowIDReusePolicy
from durable.store import (
    ClaimedRun,
    Close,
    Message,
    RunStatus,
    SendOutcome,
    StartOutcome,
    StartVerdict,
    Transition,
    Unread,
    Verdict,
)
from durable.testing.conformance._registry import OpenStore, check
from durable.testing.conformance._room import (
    HOUR,
    closing,
    continuing,
    ended,
    event,
    external,
    following,
    message,
    new_run,
    room,
    update,
)


@check()
async def check_a_run_goes_on_as_its_successor(open_store: OpenStore) -> None:
    async with room(open_store) as one:
        run = await one.own()
        second = following(run, started=b"123", info=b'{"a":1}', run_timeout=HOUR)
        result = await one.store.commit([continuing(run, second)])
        assert (result.verdicts, result.started) == ((Verdict.WRITTEN,), ())
        assert (await one.again(run)).status is RunStatus.CONTINUED_AS_NEW
        record = await one.store.find_run(run.run.workflow_id)
        assert record is not None
        assert (record.run_id, record.status, record.info) == (second.run_id, RunStatus.RUNNING, b'{"a":1}')
        assert (record.first_run_id, record.started_at) == (run.run.run_id, result.now)
        assert record.times_out_at == result.now + HOUR
        (first,) = await one.store.read_events(second.run_id)
        assert (first.seq, first.task, first.data, first.time) == (1, 1, b"123", result.now)
        (claimed,) = await one.claim()
        assert claimed.run.run_id == second.run_id
        third = following(claimed)
        await one.written(continuing(claimed, third))
        assert (await one.record(third.run_id, third.workflow_id)).first_run_id == run.run.run_id


@check()
async def check_a_successor_can_be_its_predecessors_owners_at_once(open_store: OpenStore) -> None:
    async with room(open_store) as one:
        run, delayed = await one.own(), await one.own()
        second = following(run, owner=one.worker)
        later = following(delayed, owner=one.worker, delay=HOUR)
        result = await one.store.commit([continuing(run, second), continuing(delayed, later)])
        verdict = StartVerdict(StartOutcome.STARTED, second.run_id, second.workflow_type, 1, result.now)
        assert result.started == (verdict,)
        assert await one.store.owned_runs(one.worker) == {second.run_id: 1}
        record = await one.record(later.run_id, later.workflow_id)
        assert record.wake_at is not None
        assert record.wake_at >= result.now + HOUR


@check()
async def check_no_policy_holds_up_a_successor(open_store: OpenStore) -> None:
    async with room(open_store) as one:
        for reuse in WorkflowIDReusePolicy:
            run = await one.own()
            await one.written(continuing(run, following(run, reuse=reuse)))


@check()
async def check_a_successor_keeps_the_workflow_id_taken(open_store: OpenStore) -> None:
    async with room(open_store) as one:
        run = await one.own()
        second = following(run)
        await one.written(continuing(run, second))
        (verdict,) = await one.store.create_runs([new_run(workflow_id=run.run.workflow_id)])
        assert (verdict.outcome, verdict.run_id) == (StartOutcome.REJECTED, second.run_id)


@check()
async def check_unread_messages_refuse_a_successor_or_go_on_with_it(open_store: OpenStore) -> None:
    async with room(open_store) as one:
        for mode, signals, updates, written in (
            (Unread.REFUSE, 1, 0, False),
            (Unread.REFUSE, 0, 1, False),
            (Unread.REFUSE, 0, 0, True),
            (Unread.REFUSE_SIGNALS, 1, 1, False),
            (Unread.REFUSE_SIGNALS, 0, 1, True),
            (Unread.MOVE, 1, 1, True),
        ):
            run = await one.own()
            run_id = run.run.run_id
            sent = [message(run_id) for _ in range(signals)] + [update(run_id) for _ in range(updates)]
            await one.send(*sent)
            second = following(run)
            verdicts = await one.commit(continuing(run, second, unread=mode))
            assert verdicts == ((Verdict.WRITTEN if written else Verdict.REFUSED),), (mode, signals, updates)
            assert await one.unread_ids(second.run_id if written else run_id) == [
                each.message_id for each in sent
            ]
            if not written:
                assert await one.store.find_run(second.workflow_id, second.run_id) is None
                assert await one.store.read_events(second.run_id) == []


@check()
async def check_what_moves_keeps_its_order_and_its_facts(open_store: OpenStore) -> None:
    async with room(open_store) as one:
        run = await one.own()
        run_id = run.run.run_id
        sent = [
            (update if number % 3 else message)(run_id, f"m{number}", b"%d" % number) for number in range(20)
        ]
        await one.send(*sent[:10])
        await one.send(message(run_id, "internal", internal=True))
        await one.send(*sent[10:])
        consumed = tuple(
            each.position for each in await one.unread(run_id) if each.message_id in ("m0", "m7", "m19")
        )
        second = following(run)
        await one.written(continuing(run, second, unread=Unread.MOVE, consumed=consumed))
        found = await one.unread(run_id, second.run_id)
        assert found == [
            Message(second.run_id, each.message_id, each.type, each.data, place.position)
            for each, place in zip(
                [each for each in sent if each.message_id not in ("m0", "m7", "m19")], found, strict=True
            )
        ]


@check()
async def check_what_moves_wakes_the_queue_it_moved_to(open_store: OpenStore) -> None:
    async with room(open_store) as one:
        run = await one.own()
        await one.send(message(run.run.run_id))
        second = following(run, task_queue="elsewhere", delay=HOUR)
        await one.written(continuing(run, second, unread=Unread.MOVE))
        assert await one.claim() == []
        (claimed,) = await one.claim(queues=("elsewhere",))
        assert (claimed.run.run_id, len(claimed.messages)) == (second.run_id, 1)


@check()
async def check_what_a_successor_is_given_comes_before_what_moves(open_store: OpenStore) -> None:
    async with room(open_store) as one:
        run = await one.own()
        await one.send(message(run.run.run_id, "unread"), message(run.run.run_id, "both", b"old"))
        given = (message("", "given"), message("", "both", b"new"))
        second = following(run, messages=given)
        await one.written(continuing(run, second, unread=Unread.MOVE))
        found = await one.unread(second.run_id)
        assert [(each.message_id, each.data) for each in found] == [
            ("given", b"{}"),
            ("both", b"new"),
            ("unread", b"{}"),
        ]


@check()
async def check_unread_messages_that_move_nowhere_end_with_the_run(open_store: OpenStore) -> None:
    async with room(open_store) as one:
        run = await one.own()
        await one.send(message(run.run.run_id), update(run.run.run_id))
        await one.written(closing(run, close=Close(RunStatus.FAILED, Unread.MOVE)))
        assert await one.unread(run.run.run_id) == []


@check()
async def check_a_succession_that_was_written_before_happens_once(open_store: OpenStore) -> None:
    async with room(open_store) as one:
        run = await one.own()
        await one.send(message(run.run.run_id, "moves"))
        second = following(run, owner=one.worker)
        step = continuing(run, second, unread=Unread.MOVE)
        await one.written(step)
        (moved,) = await one.unread(second.run_id)
        await one.written(Transition(second.run_id, 1, (event(2),), consumed=(moved.position,)))
        await one.written(step)
        assert await one.unread(second.run_id) == []
        assert len(await one.store.read_events(second.run_id)) == 2


@check()
async def check_a_successor_of_another_workflow_is_an_error(open_store: OpenStore) -> None:
    async with room(open_store) as one:
        run, other = await one.own(), await one.own()
        for wrong in (
            following(run, workflow_id=other.run.workflow_id),
            following(run, run_id=other.run.run_id),
        ):
            try:
                await one.store.commit([continuing(run, wrong)])
            except ValueError:
                pass
            else:
                raise AssertionError("a run went on as another workflow's")
        assert (await one.again(run)).status is RunStatus.RUNNING
        assert len(await one.store.read_events(run.run.run_id)) == 1
        await one.written(continuing(run))


@check()
async def check_a_run_that_is_terminated_can_have_a_successor(open_store: OpenStore) -> None:
    async with room(open_store) as one:
        for mode in (Unread.REFUSE, Unread.MOVE):
            run = await one.own()
            run_id = run.run.run_id
            await one.send(
                message(run_id, "one"), update(run_id, "two"), message(run_id, "internal", internal=True)
            )
            second = following(run, messages=(message("", "given"),), owner=one.worker)
            close = Close(RunStatus.TIMED_OUT, mode, second, b"lost")
            assert await one.store.terminate(run_id, ended, close)
            assert (await one.again(run)).status is RunStatus.TIMED_OUT
            assert await one.unread_ids(run_id, second.run_id) == ["given", "one", "two"]
            assert await one.store.owned_runs(one.worker) == {second.run_id: 1}
            assert await one.store.find_update(run_id, "two") is None
            assert await one.store.terminate(second.run_id, ended, Close(RunStatus.TERMINATED))


@check()
async def check_a_closed_run_takes_no_message_for_its_successor(open_store: OpenStore) -> None:
    async with room(open_store) as one:
        run = await one.own()
        second = following(run)
        await one.written(continuing(run, second))
        assert await one.store.send([message(run.run.run_id)]) == [SendOutcome.CLOSED]
        await one.send(message(second.run_id))


@check(stores=2)
async def check_nothing_sent_to_a_workflow_is_lost_while_it_goes_on(open_store: OpenStore) -> None:
    async with room(open_store) as one, room(open_store) as two:
        for _ in range(10):
            first = await one.own()
            runs = [first.run.run_id]

            async def go_on(run: ClaimedRun = first, runs: list[str] = runs) -> None:
                for _ in range(3):
                    second = following(run, owner=one.worker)
                    await one.written(continuing(run, second, unread=Unread.MOVE))
                    runs.append(second.run_id)
                    found = await one.store.reload_run(one.worker, second.run_id, 1)
                    assert found is not None
                    run = found

            async def send(number: int, workflow_id: str = first.run.workflow_id) -> None:
                sender = await two.own()
                send = external(workflow_id, f"m{number}")
                await two.written(Transition(sender.run.run_id, sender.run.epoch, (event(2),), sends=(send,)))
                (told,) = await two.unread(sender.run.run_id)
                assert told.data == b"done"

            await asyncio.gather(go_on(), *(send(number) for number in range(5)))
            assert sorted(await one.unread_ids(*runs)) == [f"m{number}" for number in range(5)]
            assert {each.run_id for each in await one.unread(*runs)} == {runs[-1]}
