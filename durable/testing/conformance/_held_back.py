"""Runs that take no messages from outside for a moment, so that they can close."""

from __future__ import annotations

import asyncio
from typing import Any

from durable.common import WorkflowIDConflictPolicy
from durable.store import ClaimedRun, SendOutcome, StartOutcome, Transition, Verdict
from durable.testing.conformance._registry import OpenStore, check
from durable.testing.conformance._room import (
    HOUR,
    Room,
    closing,
    continuing,
    event,
    eventually,
    external,
    following,
    message,
    new_run,
    room,
)

MOMENT = 100_000


async def _held(one: Room, hold_back: int = HOUR, **fields: Any) -> ClaimedRun:
    run = await one.own()
    await one.written(Transition(run.run.run_id, run.run.epoch, hold_back=hold_back, **fields))
    return run


@check()
async def check_a_run_can_hold_messages_back(open_store: OpenStore) -> None:
    async with room(open_store) as one:
        run, other = await _held(one), await one.start()
        run_id = run.run.run_id
        answers = await one.store.send(
            [message(run_id), message(other.run_id), message(run_id, "internal", internal=True)]
        )
        assert answers == [SendOutcome.HELD_BACK, SendOutcome.SENT, SendOutcome.SENT]
        assert await one.unread_ids(run_id) == ["internal"]
        await one.close(run)
        assert await one.store.send([message(run_id)]) == [SendOutcome.CLOSED]


@check()
async def check_what_is_there_is_not_held_back(open_store: OpenStore) -> None:
    async with room(open_store) as one:
        run = await one.own()
        sent = message(run.run.run_id, "there")
        await one.send(sent)
        await one.written(Transition(run.run.run_id, run.run.epoch, (event(2),), hold_back=HOUR))
        assert await one.store.send([sent, message(run.run.run_id)]) == [
            SendOutcome.REPEATED,
            SendOutcome.HELD_BACK,
        ]
        assert await one.commit(closing(run, seq=3)) == (Verdict.REFUSED,)


@check()
async def check_messages_are_held_back_for_a_moment_only(open_store: OpenStore) -> None:
    async with room(open_store) as one:
        run = await _held(one, MOMENT)

        async def sent() -> bool:
            (outcome,) = await one.store.send([message(run.run.run_id, "late")])
            assert outcome in (SendOutcome.HELD_BACK, SendOutcome.SENT)
            return outcome is SendOutcome.SENT

        await eventually(sent)
        assert await one.unread_ids(run.run.run_id) == ["late"]


@check()
async def check_a_transition_that_is_not_written_holds_nothing_back(open_store: OpenStore) -> None:
    async with room(open_store) as one:
        lost, refused = await one.own(), await one.own()
        await one.send(message(refused.run.run_id))
        verdicts = await one.commit(
            Transition(lost.run.run_id, lost.run.epoch + 1, hold_back=HOUR), closing(refused, hold_back=HOUR)
        )
        assert verdicts == (Verdict.LOST, Verdict.REFUSED)
        await one.send(message(lost.run.run_id), message(refused.run.run_id))


@check()
async def check_a_sender_waits_for_who_holds_messages_back(open_store: OpenStore) -> None:
    async with room(open_store) as one:
        run, sender, other = await _held(one), await one.own(), await one.own()
        sending = Transition(
            sender.run.run_id, sender.run.epoch, (event(2),), sends=(external(run.run.workflow_id),)
        )
        result = await one.store.commit([sending, Transition(other.run.run_id, other.run.epoch, (event(2),))])
        assert result.verdicts == (Verdict.BUSY, Verdict.WRITTEN)
        assert len(await one.store.read_events(sender.run.run_id)) == 1
        assert await one.unread(sender.run.run_id, run.run.run_id) == []
        second = following(run)
        await one.written(continuing(run, second))
        await one.written(sending)
        assert await one.unread_ids(second.run_id, sender.run.run_id) == ["sent", "reply-sent"]


@check()
async def check_a_run_does_not_hold_itself_back(open_store: OpenStore) -> None:
    async with room(open_store) as one:
        run = await _held(one)
        itself = external(run.run.workflow_id)
        await one.written(Transition(run.run.run_id, run.run.epoch, (event(2),), sends=(itself,)))
        assert await one.unread_ids(run.run.run_id) == ["sent", "reply-sent"]


@check()
async def check_a_start_waits_for_the_run_it_has_messages_for(open_store: OpenStore) -> None:
    async with room(open_store) as one:
        run = await _held(one, MOMENT)
        content = new_run(
            workflow_id=run.run.workflow_id,
            conflict=WorkflowIDConflictPolicy.USE_EXISTING,
            messages=(message("", "late"),),
        )
        other = new_run()
        verdicts = await one.store.create_runs([content, other])
        assert [verdict.outcome for verdict in verdicts] == [StartOutcome.USED_EXISTING, StartOutcome.STARTED]
        assert verdicts[0].run_id == run.run.run_id
        assert await one.unread_ids(run.run.run_id) == ["late"]
        assert await one.store.find_run(other.workflow_id, other.run_id) is not None


@check()
async def check_a_start_without_messages_does_not_wait(open_store: OpenStore) -> None:
    async with room(open_store) as one:
        run = await _held(one)
        for conflict, outcome in (
            (WorkflowIDConflictPolicy.USE_EXISTING, StartOutcome.USED_EXISTING),
            (WorkflowIDConflictPolicy.FAIL, StartOutcome.REJECTED),
        ):
            (verdict,) = await one.store.create_runs(
                [new_run(workflow_id=run.run.workflow_id, conflict=conflict)]
            )
            assert verdict.outcome is outcome


@check()
async def check_a_start_is_judged_again_when_the_run_it_waits_for_closes(open_store: OpenStore) -> None:
    async with room(open_store) as one:
        run = await _held(one)
        content = new_run(
            workflow_id=run.run.workflow_id,
            conflict=WorkflowIDConflictPolicy.USE_EXISTING,
            messages=(message("", "with it"),),
        )
        starting = asyncio.ensure_future(one.store.create_runs([content]))
        done, _ = await asyncio.wait([starting], timeout=0.05)
        assert not done
        await one.close(run)
        (verdict,) = await starting
        assert (verdict.outcome, verdict.run_id) == (StartOutcome.STARTED, content.run_id)
        assert await one.unread_ids(content.run_id) == ["with it"]
