"""Starts with messages: the run and what it is to read, or neither."""

from __future__ import annotations

import asyncio

from durable.common import ParentClosePolicy, WorkflowIDConflictPolicy, WorkflowIDReusePolicy
from durable.store import NewRun, StartOutcome, Transition, UpdateOutcome, UpdateStage, Verdict
from durable.testing.conformance._registry import OpenStore, check
from durable.testing.conformance._room import (
    HOUR,
    closing,
    event,
    message,
    new_run,
    room,
    update,
)

USE_EXISTING = WorkflowIDConflictPolicy.USE_EXISTING


def _with(message_id: str, workflow_id: str) -> NewRun:
    return new_run(workflow_id=workflow_id, conflict=USE_EXISTING, messages=(message("", message_id),))


@check()
async def check_a_start_brings_its_messages(open_store: OpenStore) -> None:
    async with room(open_store) as one:
        sent = (message("", "signal", b"1"), update("", "update", b"2"))
        run, plain = new_run(messages=sent), new_run()
        verdicts = await one.store.create_runs([run, plain])
        assert [verdict.outcome for verdict in verdicts] == [StartOutcome.STARTED] * 2
        found = await one.unread(run.run_id, plain.run_id)
        assert [(each.run_id, each.message_id, each.type, each.data) for each in found] == [
            (run.run_id, each.message_id, each.type, each.data) for each in sent
        ]
        claimed = {each.run.run_id: each for each in await one.claim()}
        assert claimed[run.run_id].messages == tuple(found)
        assert len(claimed[run.run_id].events) == 1


@check()
async def check_the_messages_of_a_delayed_start_wake_it(open_store: OpenStore) -> None:
    async with room(open_store) as one:
        run = await one.start(delay=HOUR, messages=(message(""),))
        assert await one.claimed_ids() == {run.run_id}


@check()
async def check_a_start_that_is_content_brings_its_messages_to_the_run_there(open_store: OpenStore) -> None:
    async with room(open_store) as one:
        run = await one.own()
        starts = [_with(f"m{number}", run.run.workflow_id) for number in range(3)]
        verdicts = await one.store.create_runs(starts)
        assert {(verdict.outcome, verdict.run_id) for verdict in verdicts} == {
            (StartOutcome.USED_EXISTING, run.run.run_id)
        }
        assert await one.unread_ids(run.run.run_id) == ["m0", "m1", "m2"]
        assert await one.commit(closing(run)) == (Verdict.REFUSED,)


@check()
async def check_a_repeated_start_doubles_no_message(open_store: OpenStore) -> None:
    async with room(open_store) as one:
        run = new_run(messages=(message("", "signal"), update("", "update")))
        for outcome in (StartOutcome.STARTED, StartOutcome.SAME):
            (verdict,) = await one.store.create_runs([run])
            assert verdict.outcome is outcome
            assert await one.unread_ids(run.run_id) == ["signal", "update"]


@check()
async def check_a_rejected_start_brings_nothing(open_store: OpenStore) -> None:
    async with room(open_store) as one:
        run, before = await one.start(), await one.own()
        await one.close(before)
        reject = WorkflowIDReusePolicy.REJECT_DUPLICATE
        starts = [
            new_run(workflow_id=run.workflow_id, messages=(message(""),)),
            new_run(workflow_id=before.run.workflow_id, reuse=reject, messages=(message(""),)),
        ]
        verdicts = await one.store.create_runs(starts)
        assert [verdict.outcome for verdict in verdicts] == [StartOutcome.REJECTED] * 2
        assert await one.unread(run.run_id, before.run.run_id, *(start.run_id for start in starts)) == []


@check()
async def check_a_start_repeated_when_its_run_has_closed_brings_nothing(open_store: OpenStore) -> None:
    async with room(open_store) as one:
        run = new_run(messages=(message(""),))
        await one.store.create_runs([run])
        (mine,) = await one.claim()
        await one.written(closing(mine, consumed=(mine.messages[0].position,)))
        (verdict,) = await one.store.create_runs([run])
        assert verdict.outcome is StartOutcome.SAME
        assert await one.unread(run.run_id) == []


@check()
async def check_an_update_with_an_outcome_is_left_out_of_a_repeated_start(open_store: OpenStore) -> None:
    async with room(open_store) as one:
        run = new_run(messages=(update("", "update"), message("", "signal")))
        await one.store.create_runs([run])
        (mine,) = await one.claim()
        rejected = UpdateOutcome("update", UpdateStage.COMPLETED, b"no")
        read = tuple(each.position for each in mine.messages)
        await one.written(
            Transition(run.run_id, mine.run.epoch, (event(2),), consumed=read, outcomes=(rejected,))
        )
        (verdict,) = await one.store.create_runs([run])
        assert verdict.outcome is StartOutcome.SAME
        assert await one.unread_ids(run.run_id) == ["signal"]  # the owner knows that one by its id


@check()
async def check_a_start_says_where_it_comes_from(open_store: OpenStore) -> None:
    async with room(open_store) as one:
        first = await one.own()
        await one.close(first)
        run = await one.start(
            workflow_id=first.run.workflow_id,
            first_run_id=first.run.run_id,
            parent_run_id=first.run.run_id,
            parent_close_policy=ParentClosePolicy.ABANDON,
        )
        (claimed,) = await one.claim()
        reloaded = await one.store.reload_run(one.worker, run.run_id, claimed.run.epoch)
        assert reloaded is not None
        found = await one.store.find_run(run.workflow_id)
        assert found is not None
        for record in (claimed.run, reloaded.run, found):
            assert (record.first_run_id, record.parent_run_id) == (first.run.run_id, first.run.run_id)
        assert (first.run.first_run_id, first.run.parent_run_id) == (first.run.run_id, None)


@check(stores=2)
async def check_what_a_start_brings_is_read_before_its_run_closes(open_store: OpenStore) -> None:
    async with room(open_store) as one, room(open_store) as two:
        for number in range(15):
            run = await one.own(workflow_id=f"closing-{number}")
            closed, (verdict,) = await asyncio.gather(
                one.commit(closing(run)), two.store.create_runs([_with("signal", f"closing-{number}")])
            )
            assert verdict.outcome in (StartOutcome.STARTED, StartOutcome.USED_EXISTING)
            assert await one.unread_ids(verdict.run_id) == ["signal"]
            started = verdict.outcome is StartOutcome.STARTED
            assert started == (closed == (Verdict.WRITTEN,)), (verdict, closed)
