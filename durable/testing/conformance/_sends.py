"""Messages that runs send to workflows by their ids, and what the sender is told."""

from __future__ import annotations

import asyncio

from durable._internal.ids import uuid7
from durable.store import ClaimedRun, Transition, Verdict
from durable.testing.conformance._registry import OpenStore, check
from durable.testing.conformance._room import (
    closing,
    continuing,
    event,
    external,
    following,
    message,
    room,
)


def _sending(sender: ClaimedRun, *workflow_ids: str, seq: int = 2) -> Transition:
    sends = tuple(external(workflow_id, f"m{number}") for number, workflow_id in enumerate(workflow_ids))
    return Transition(sender.run.run_id, sender.run.epoch, (event(seq),), sends=sends)


@check()
async def check_a_message_finds_the_open_run_of_a_workflow(open_store: OpenStore) -> None:
    async with room(open_store) as one:
        sender, before = await one.own(), await one.own()
        await one.close(before)
        target = await one.start(workflow_id=before.run.workflow_id)
        closed = await one.own()
        await one.close(closed)
        await one.written(_sending(sender, target.workflow_id, "nobody", closed.run.workflow_id))
        (found,) = await one.unread(target.run_id)
        assert (found.message_id, found.data, found.internal) == ("m0", b"{}", False)
        told = await one.unread(sender.run.run_id)
        assert [(each.message_id, each.data, each.internal) for each in told] == [
            ("reply-m0", b"done", True),
            ("reply-m1", b"failed", True),
            ("reply-m2", b"failed", True),
        ]
        assert await one.claimed_ids() == {target.run_id}


@check()
async def check_a_message_for_one_run_or_chain_reaches_no_other(open_store: OpenStore) -> None:
    async with room(open_store) as one:
        first = await one.own()
        second = following(first)
        await one.written(continuing(first, second))
        workflow_id, other = first.run.workflow_id, uuid7()
        for number, (fields, data) in enumerate(
            [
                ({"run_id": second.run_id}, b"done"),
                ({"run_id": first.run.run_id}, b"failed"),
                ({"run_id": other}, b"failed"),
                ({"run_id": "no id at all"}, b"failed"),
                ({"first_run_id": first.run.run_id}, b"done"),
                ({"first_run_id": second.run_id}, b"failed"),
                ({"first_run_id": first.run.run_id, "run_id": second.run_id}, b"done"),
                ({"first_run_id": "no id at all"}, b"failed"),
            ]
        ):
            sender = await one.own()
            send = external(workflow_id, f"m{number}", **fields)
            await one.written(Transition(sender.run.run_id, sender.run.epoch, (event(2),), sends=(send,)))
            (told,) = await one.unread(sender.run.run_id)
            assert told.data == data, fields
        assert await one.unread_ids(second.run_id) == ["m0", "m4", "m6"]


@check()
async def check_a_message_that_is_there_already_counts_as_sent(open_store: OpenStore) -> None:
    async with room(open_store) as one:
        sender, target = await one.own(), await one.start()
        await one.send(message(target.run_id, "m0", b"first"))
        await one.written(_sending(sender, target.workflow_id))
        (found,) = await one.unread(target.run_id)
        assert found.data == b"first"
        (told,) = await one.unread(sender.run.run_id)
        assert told.data == b"done"


@check()
async def check_a_run_may_send_to_itself(open_store: OpenStore) -> None:
    async with room(open_store) as one:
        run = await one.own()
        await one.written(_sending(run, run.run.workflow_id))
        assert await one.unread_ids(run.run.run_id) == ["m0", "reply-m0"]


@check()
async def check_what_a_run_sends_itself_with_its_last_step_goes_on_with_it(open_store: OpenStore) -> None:
    async with room(open_store) as one:
        run = await one.own()
        successor = following(run)
        await one.written(continuing(run, successor, sends=(external(run.run.workflow_id),)))
        assert await one.unread_ids(run.run.run_id, successor.run_id) == ["sent"]


@check()
async def check_a_message_by_workflow_id_refuses_a_close_of_its_batch(open_store: OpenStore) -> None:
    async with room(open_store) as one:
        for sender_first in (True, False):
            run, sender = await one.own(), await one.own()
            batch = [_sending(sender, run.run.workflow_id), closing(run)]
            verdicts = await one.commit(*(batch if sender_first else batch[::-1]))
            expected = (Verdict.WRITTEN, Verdict.REFUSED)
            assert verdicts == (expected if sender_first else expected[::-1])
            assert await one.unread_ids(run.run.run_id) == ["m0"]


@check()
async def check_two_that_close_together_and_send_to_each_other_are_told_the_truth(
    open_store: OpenStore,
) -> None:
    async with room(open_store) as one:
        first, second = await one.own(), await one.own()
        verdicts = await one.commit(
            closing(first, sends=(external(second.run.workflow_id),)),
            closing(second, sends=(external(first.run.workflow_id),)),
        )
        # Whichever closes first was heard by the other, which then has something to read.
        assert sorted(verdicts) == [Verdict.WRITTEN, Verdict.REFUSED]
        left = (first, second)[verdicts.index(Verdict.REFUSED)]
        assert await one.unread_ids(left.run.run_id) == ["sent"]


@check()
async def check_sends_of_a_transition_that_is_not_written_are_not_sent(open_store: OpenStore) -> None:
    async with room(open_store) as one:
        refused, lost, target = await one.own(), await one.own(), await one.start()
        await one.send(message(refused.run.run_id, "unread"))
        late = Transition(
            lost.run.run_id, lost.run.epoch + 1, (event(2),), sends=(external(target.workflow_id),)
        )
        verdicts = await one.commit(late, closing(refused, sends=(external(target.workflow_id),)))
        assert verdicts == (Verdict.LOST, Verdict.REFUSED)
        assert await one.unread_ids(target.run_id, lost.run.run_id, refused.run.run_id) == ["unread"]


@check()
async def check_a_send_that_was_written_before_happens_once(open_store: OpenStore) -> None:
    async with room(open_store) as one:
        sender, target = await one.own(), await one.own()
        step = _sending(sender, target.run.workflow_id)
        await one.written(step)
        consumed: list[tuple[ClaimedRun, int]] = []
        for run in (sender, target):
            (found,) = await one.unread(run.run.run_id)
            consumed.append((run, found.position))
        await one.written(
            *(
                Transition(
                    run.run.run_id, run.run.epoch, (event(3 if run is sender else 2),), consumed=(position,)
                )
                for run, position in consumed
            )
        )
        await one.written(step)
        assert await one.unread(sender.run.run_id, target.run.run_id) == []


@check(stores=2)
async def check_who_is_told_that_a_message_was_sent_is_told_the_truth(open_store: OpenStore) -> None:
    async with room(open_store) as one, room(open_store) as two:
        for _ in range(20):
            run, sender = await one.own(), await two.own()

            async def close(run: ClaimedRun = run) -> list[str]:
                while True:
                    found = await one.unread(run.run.run_id)
                    transition = closing(run, consumed=tuple(each.position for each in found))
                    if await one.commit(transition) == (Verdict.WRITTEN,):
                        return [each.message_id for each in found]

            read, _ = await asyncio.gather(close(), two.written(_sending(sender, run.run.workflow_id)))
            (told,) = await two.unread(sender.run.run_id)
            assert (told.data == b"done") == (read == ["m0"])
