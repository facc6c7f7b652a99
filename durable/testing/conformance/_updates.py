"""Updates: from their message to their one outcome."""

from __future__ import annotations

import asyncio

from durable._internal.ids import uuid7
from durable.store import (
    ClaimedRun,
    Close,
    RunStatus,
    SendOutcome,
    Transition,
    Unread,
    UpdateOutcome,
    UpdateStage,
    Verdict,
)
from durable.testing.conformance._registry import OpenStore, check
from durable.testing.conformance._room import (
    EVERY_BYTE,
    Room,
    closing,
    continuing,
    ended,
    event,
    following,
    message,
    room,
    update,
)

ADMITTED, ACCEPTED, COMPLETED = UpdateStage.ADMITTED, UpdateStage.ACCEPTED, UpdateStage.COMPLETED


async def _write(one: Room, run: ClaimedRun, seq: int, *outcomes: UpdateOutcome, read: bool = True) -> None:
    consumed = [each.position for each in await one.unread(run.run.run_id)] if read else []
    await one.written(
        Transition(run.run.run_id, run.run.epoch, (event(seq),), consumed=tuple(consumed), outcomes=outcomes)
    )


@check()
async def check_an_update_is_found_at_every_stage(open_store: OpenStore) -> None:
    async with room(open_store) as one:
        run = await one.own()
        run_id = run.run.run_id
        assert await one.store.find_update(run_id, "u") is None
        await one.send(update(run_id, "u"), message(run_id, "no update"))
        assert await one.store.find_update(run_id, "u") == UpdateOutcome("u", ADMITTED)
        assert await one.store.find_update(run_id, "no update") is None
        assert await one.store.find_update(run_id, "another") is None
        assert await one.store.find_update(uuid7(), "u") is None
        await _write(one, run, 2, UpdateOutcome("u", ACCEPTED))
        assert await one.store.find_update(run_id, "u") == UpdateOutcome("u", ACCEPTED)
        done = UpdateOutcome("u", COMPLETED, EVERY_BYTE)
        await _write(one, run, 3, done)
        assert await one.store.find_update(run_id, "u") == done
        await one.close(run, seq=4)
        assert await one.store.find_update(run_id, "u") == done


@check()
async def check_an_update_has_one_outcome(open_store: OpenStore) -> None:
    async with room(open_store) as one:
        run = await one.own()
        first = UpdateOutcome("u", COMPLETED, b"first")
        await _write(one, run, 2, UpdateOutcome("u", ACCEPTED), first)
        await _write(one, run, 3, UpdateOutcome("u", COMPLETED, b"second"))
        await _write(one, run, 4, UpdateOutcome("u", ACCEPTED))
        assert await one.store.find_update(run.run.run_id, "u") == first
        other = UpdateOutcome("v", COMPLETED, b"v")
        await _write(one, run, 5, other, UpdateOutcome("v", ACCEPTED))
        assert await one.store.find_update(run.run.run_id, "v") == other


@check()
async def check_outcomes_of_one_id_are_those_of_their_runs(open_store: OpenStore) -> None:
    async with room(open_store) as one:
        runs = [await one.own() for _ in range(5)]
        outcomes = [UpdateOutcome("u", COMPLETED, b"%d" % number) for number in range(5)]
        await one.written(
            *(
                Transition(run.run.run_id, run.run.epoch, outcomes=(outcome,))
                for run, outcome in zip(runs, outcomes, strict=True)
            )
        )
        for run, outcome in zip(runs, outcomes, strict=True):
            assert await one.store.find_update(run.run.run_id, "u") == outcome


@check()
async def check_an_outcome_of_a_transition_that_is_not_written_is_none(open_store: OpenStore) -> None:
    async with room(open_store) as one:
        run, lost = await one.own(), await one.own()
        await one.send(update(run.run.run_id, "u"))
        outcome = (UpdateOutcome("v", COMPLETED, b""),)
        verdicts = await one.commit(
            closing(run, outcomes=outcome),
            Transition(lost.run.run_id, lost.run.epoch + 1, (event(2),), outcomes=outcome),
        )
        assert verdicts == (Verdict.REFUSED, Verdict.LOST)
        for each in (run, lost):
            assert await one.store.find_update(each.run.run_id, "v") is None


@check()
async def check_an_update_that_has_been_read_is_not_taken_again(open_store: OpenStore) -> None:
    async with room(open_store) as one:
        run = await one.own()
        sent = [update(run.run.run_id, id) for id in ("accepted", "rejected")]
        await one.send(*sent)
        assert await one.store.send(sent) == [SendOutcome.REPEATED] * 2
        await _write(
            one, run, 2, UpdateOutcome("accepted", ACCEPTED), UpdateOutcome("rejected", COMPLETED, b"no")
        )
        new = update(run.run.run_id, "new")
        answers = await one.store.send([sent[0], new, sent[1], new])
        assert answers == [SendOutcome.REPEATED, SendOutcome.SENT, SendOutcome.REPEATED, SendOutcome.REPEATED]
        assert await one.unread_ids(run.run.run_id) == ["new"]
        await _write(one, run, 3)
        await one.close(run, seq=4)
        answers = await one.store.send([*sent, update(run.run.run_id, "late")])
        assert answers == [SendOutcome.REPEATED, SendOutcome.REPEATED, SendOutcome.CLOSED]


@check()
async def check_updates_that_end_with_a_run_have_an_outcome(open_store: OpenStore) -> None:
    async with room(open_store) as one:
        for end in ("terminate", "close"):
            for lost in (b"lost", b""):
                run = await one.own()
                run_id = run.run.run_id
                await one.send(update(run_id, "accepted"), update(run_id, "completed"))
                done = UpdateOutcome("completed", COMPLETED, b"done")
                await _write(one, run, 2, UpdateOutcome("accepted", ACCEPTED), done)
                await one.send(update(run_id, "unread"), message(run_id, "signal"))
                close = Close(RunStatus.TERMINATED, Unread.MOVE, update_lost=lost)
                if end == "terminate":
                    assert await one.store.terminate(run_id, ended, close)
                else:
                    await one.written(closing(run, seq=3, close=close))
                found = {
                    id: await one.store.find_update(run_id, id)
                    for id in ("accepted", "completed", "unread", "signal")
                }
                assert found == {
                    "accepted": UpdateOutcome("accepted", COMPLETED, lost)
                    if lost
                    else UpdateOutcome("accepted", ACCEPTED),
                    "completed": done,
                    "unread": UpdateOutcome("unread", COMPLETED, lost) if lost else None,
                    "signal": None,
                }, (end, lost)


@check()
async def check_updates_that_go_on_with_a_successor_are_not_lost(open_store: OpenStore) -> None:
    async with room(open_store) as one:
        run = await one.own()
        run_id = run.run.run_id
        await one.send(update(run_id, "accepted"), update(run_id, "ended"))
        await _write(one, run, 2, UpdateOutcome("accepted", ACCEPTED), UpdateOutcome("ended", ACCEPTED))
        await one.send(update(run_id, "unread"))
        second = following(run)
        ending = (UpdateOutcome("ended", COMPLETED, b"just in time"),)
        await one.written(
            continuing(run, second, seq=3, unread=Unread.REFUSE_SIGNALS, update_lost=b"lost", outcomes=ending)
        )
        assert await one.store.find_update(run_id, "accepted") == UpdateOutcome(
            "accepted", COMPLETED, b"lost"
        )
        assert await one.store.find_update(run_id, "ended") == ending[0]
        assert await one.store.find_update(run_id, "unread") is None
        assert await one.store.find_update(second.run_id, "unread") == UpdateOutcome("unread", ADMITTED)


@check()
async def check_an_update_a_close_has_read_is_not_lost(open_store: OpenStore) -> None:
    async with room(open_store) as one:
        run = await one.own()
        await one.send(update(run.run.run_id, "read"))
        (unread,) = await one.unread(run.run.run_id)
        done = UpdateOutcome("read", COMPLETED, b"done")
        await one.written(
            closing(
                run,
                close=Close(RunStatus.COMPLETED, update_lost=b"lost"),
                consumed=(unread.position,),
                outcomes=(done,),
            )
        )
        assert await one.store.find_update(run.run.run_id, "read") == done


@check(stores=2)
async def check_an_update_repeated_while_it_is_read_is_taken_once(open_store: OpenStore) -> None:
    async with room(open_store) as one, room(open_store) as two:
        run = await one.own()
        for seq in range(2, 22):
            sent = update(run.run.run_id, f"u{seq}")
            await one.send(sent)
            rejected = UpdateOutcome(sent.message_id, COMPLETED, b"no")
            answers, _ = await asyncio.gather(two.store.send([sent]), _write(one, run, seq, rejected))
            assert answers == [SendOutcome.REPEATED]
            assert await one.unread(run.run.run_id) == []
