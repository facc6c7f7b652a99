"""Children: how they start with a step of their parent, and what they hear of its end."""

from __future__ import annotations

import asyncio

from durable.common import ParentClosePolicy, WorkflowIDConflictPolicy, WorkflowIDReusePolicy
from durable.history import EventType, decode_data
from durable.store import (
    ClaimedRun,
    Close,
    Message,
    NewRun,
    RunStatus,
    StartOutcome,
    StartVerdict,
    Transition,
    Verdict,
)
from durable.testing.conformance._registry import OpenStore, check
from durable.testing.conformance._room import (
    QUEUE,
    Room,
    child_start,
    closing,
    continuing,
    ended,
    event,
    following,
    message,
    new_run,
    room,
)

TERMINATE, CANCEL = ParentClosePolicy.TERMINATE, ParentClosePolicy.REQUEST_CANCEL


def _starting(parent: ClaimedRun, *children: NewRun, seq: int = 2) -> Transition:
    starts = tuple(child_start(child, f"reply-{number}") for number, child in enumerate(children))
    return Transition(parent.run.run_id, parent.run.epoch, (event(seq),), starts=starts)


async def _replies(one: Room, parent: ClaimedRun) -> list[tuple[str, bytes]]:
    return [(each.message_id, each.data) for each in await one.unread(parent.run.run_id)]


async def _told(one: Room, run_id: str) -> list[tuple[str, int, bool]]:
    return [(each.message_id, each.type, each.internal) for each in await one.unread(run_id)]


TERMINATED = ("parent-closed", int(EventType.WORKFLOW_EXECUTION_TERMINATED), True)
ASKED = ("parent-closed", int(EventType.WORKFLOW_EXECUTION_CANCEL_REQUESTED), True)


@check()
async def check_a_child_is_there_with_the_step_that_started_it(open_store: OpenStore) -> None:
    async with room(open_store) as one:
        parent = await one.own()
        child = new_run(parent_run_id=parent.run.run_id, parent_close_policy=TERMINATE, started=b"123")
        result = await one.store.commit([_starting(parent, child)])
        assert (result.verdicts, result.started) == ((Verdict.WRITTEN,), ())
        record = await one.record(child.run_id, child.workflow_id)
        assert (record.status, record.owner, record.started_at) == (RunStatus.RUNNING, None, result.now)
        assert (record.parent_run_id, record.first_run_id) == (parent.run.run_id, child.run_id)
        (first,) = await one.store.read_events(child.run_id)
        assert (first.data, first.time) == (b"123", result.now)
        (told,) = await one.unread(parent.run.run_id)
        kind = int(EventType.CHILD_WORKFLOW_EXECUTION_STARTED)
        assert told == Message(parent.run.run_id, "reply-0", kind, b"done", told.position, internal=True)
        (claimed,) = await one.claim()
        assert claimed.run.run_id == child.run_id
        assert claimed.run.parent_run_id == parent.run.run_id


@check()
async def check_a_child_whose_id_is_in_use_is_told_of(open_store: OpenStore) -> None:
    async with room(open_store) as one:
        parent, other = await one.own(), await one.start()
        content = WorkflowIDConflictPolicy.USE_EXISTING
        taken = new_run(workflow_id=other.workflow_id, conflict=content)
        free = new_run()
        await one.written(_starting(parent, taken, free))
        assert await _replies(one, parent) == [("reply-0", b"failed"), ("reply-1", b"done")]
        assert await one.store.find_run(taken.workflow_id, taken.run_id) is None
        assert await one.store.read_events(taken.run_id) == []


@check()
async def check_a_child_keeps_its_reuse_policy(open_store: OpenStore) -> None:
    async with room(open_store) as one:
        failed_only = WorkflowIDReusePolicy.ALLOW_DUPLICATE_FAILED_ONLY
        reject = WorkflowIDReusePolicy.REJECT_DUPLICATE
        for status, reuse, data in (
            (RunStatus.COMPLETED, WorkflowIDReusePolicy.ALLOW_DUPLICATE, b"done"),
            (RunStatus.COMPLETED, failed_only, b"failed"),
            (RunStatus.FAILED, failed_only, b"done"),
            (RunStatus.FAILED, reject, b"failed"),
        ):
            parent, before = await one.own(), await one.own()
            await one.close(before, status)
            await one.written(_starting(parent, new_run(workflow_id=before.run.workflow_id, reuse=reuse)))
            assert await _replies(one, parent) == [("reply-0", data)], (status, reuse)


@check()
async def check_a_child_can_be_its_starters_at_once(open_store: OpenStore) -> None:
    async with room(open_store) as one:
        parent = await one.own()
        mine, nobodys, delayed = (
            new_run(owner=one.worker),
            new_run(owner="nobody"),
            new_run(owner=one.worker, delay=1),
        )
        result = await one.store.commit([_starting(parent, mine, nobodys, delayed)])
        assert result.started == (
            StartVerdict(StartOutcome.STARTED, mine.run_id, mine.workflow_type, 1, result.now),
        )
        assert await one.store.owned_runs(one.worker) == {mine.run_id: 1, parent.run.run_id: parent.run.epoch}
        await one.written(Transition(mine.run_id, 1, (event(2),)))
        assert await one.claimed_ids() == {nobodys.run_id, delayed.run_id}


@check()
async def check_the_messages_of_a_child_start_are_in_its_inbox(open_store: OpenStore) -> None:
    async with room(open_store) as one:
        parent = await one.own()
        child = new_run(messages=(message("", "first"), message("", "second")))
        await one.written(_starting(parent, child))
        assert await one.unread_ids(child.run_id) == ["first", "second"]


@check()
async def check_children_of_a_transition_that_is_not_written_are_not_started(open_store: OpenStore) -> None:
    async with room(open_store) as one:
        lost, refused = await one.own(), await one.own()
        await one.send(message(refused.run.run_id, "unread"))
        children = [new_run(), new_run(owner=one.worker)]
        late = Transition(
            lost.run.run_id, lost.run.epoch + 1, (event(2),), starts=(child_start(children[0]),)
        )
        result = await one.store.commit([late, closing(refused, starts=(child_start(children[1]),))])
        assert result.verdicts == (Verdict.LOST, Verdict.REFUSED)
        assert result.started == ()
        for child in children:
            assert await one.store.find_run(child.workflow_id) is None
            assert await one.store.read_events(child.run_id) == []
        assert await one.unread_ids(lost.run.run_id, refused.run.run_id) == ["unread"]


@check()
async def check_one_of_two_parents_gets_the_workflow_id(open_store: OpenStore) -> None:
    async with room(open_store) as one:
        parents = [await one.own() for _ in range(2)]
        children = [new_run(workflow_id="wanted-by-two") for _ in parents]
        await one.written(
            *(_starting(parent, child) for parent, child in zip(parents, children, strict=True))
        )
        answers = [data for parent in parents for _, data in await _replies(one, parent)]
        assert sorted(answers) == [b"done", b"failed"]
        found = await one.store.find_run("wanted-by-two")
        assert found is not None
        assert found.run_id == children[answers.index(b"done")].run_id


@check()
async def check_a_parent_that_is_refused_leaves_the_workflow_id_to_others(open_store: OpenStore) -> None:
    async with room(open_store) as one:
        refused, parent = await one.own(), await one.own()
        await one.send(message(refused.run.run_id))
        first, second = [new_run(workflow_id="wanted-by-two") for _ in range(2)]
        verdicts = await one.commit(closing(refused, starts=(child_start(first),)), _starting(parent, second))
        assert verdicts == (Verdict.REFUSED, Verdict.WRITTEN)
        assert await _replies(one, parent) == [("reply-0", b"done")]


@check()
async def check_a_start_of_a_child_that_was_written_before_happens_once(open_store: OpenStore) -> None:
    async with room(open_store) as one:
        parent = await one.own()
        child = new_run(owner=one.worker)
        step = _starting(parent, child)
        await one.written(step)
        (told,) = await one.unread(parent.run.run_id)
        await one.written(step)
        assert await one.unread(parent.run.run_id) == [told]
        await one.written(
            Transition(parent.run.run_id, parent.run.epoch, (event(3),), consumed=(told.position,))
        )
        await one.written(Transition(child.run_id, 1, (event(2),)))
        await one.written(step)
        assert await one.unread(parent.run.run_id) == []
        assert len(await one.store.read_events(child.run_id)) == 2


@check()
async def check_a_child_that_is_there_already_counts_as_started(open_store: OpenStore) -> None:
    async with room(open_store) as one:
        parent, child = await one.own(), await one.start()
        await one.written(_starting(parent, child))
        assert await _replies(one, parent) == [("reply-0", b"done")]
        assert len(await one.store.read_events(child.run_id)) == 1


@check()
async def check_many_children_start_in_one_step(open_store: OpenStore) -> None:
    async with room(open_store) as one:
        parent, stepping = await one.own(), await one.own()
        children = [
            new_run(parent_run_id=parent.run.run_id, parent_close_policy=TERMINATE) for _ in range(600)
        ]
        await one.written(
            _starting(parent, *children), Transition(stepping.run.run_id, stepping.run.epoch, (event(2),))
        )
        assert await _replies(one, parent) == [(f"reply-{number}", b"done") for number in range(600)]
        await one.close(parent, seq=3)
        found = await one.unread(*(child.run_id for child in children))
        assert {each.run_id for each in found} == {child.run_id for child in children}
        assert len(found) == 600


@check()
async def check_every_part_of_a_batch_is_told_its_own_time(open_store: OpenStore) -> None:
    async with room(open_store) as one:
        runs = [await one.own() for _ in range(4)]
        result = await one.store.commit(
            [
                Transition(runs[0].run.run_id, runs[0].run.epoch, (event(2),)),
                _starting(runs[1], new_run()),
                continuing(runs[2]),
                closing(runs[3]),
            ]
        )
        assert result.verdicts == (Verdict.WRITTEN,) * 4
        times = result.times or (result.now,) * 4
        assert max(times) == result.now
        for run, time in zip(runs, times, strict=True):
            assert (await one.store.read_events(run.run.run_id))[-1].time == time


@check()
async def check_open_children_hear_of_their_parents_end(open_store: OpenStore) -> None:
    async with room(open_store) as one:
        for end in ("complete", "terminate", "continue"):
            for policy, expected in (
                (TERMINATE, [TERMINATED]),
                (CANCEL, [ASKED]),
                (ParentClosePolicy.ABANDON, []),
                (None, []),
            ):
                parent, child = await one.parent(parent_close_policy=policy)
                if end == "complete":
                    await one.close(parent, seq=4)
                elif end == "continue":
                    await one.written(continuing(parent, seq=4))
                else:
                    assert await one.store.terminate(parent.run.run_id, ended, Close(RunStatus.TERMINATED))
                assert await _told(one, child.run_id) == expected, (end, policy)


@check()
async def check_what_children_hear_is_an_event(open_store: OpenStore) -> None:
    async with room(open_store) as one:
        for policy in (TERMINATE, CANCEL):
            parent, child = await one.parent(parent_close_policy=policy)
            await one.close(parent, seq=4)
            (told,) = await one.unread(child.run_id)
            facts = decode_data(told.type, told.data)
            assert getattr(facts, "message", None) == told.message_id
            assert getattr(facts, "reason", None) == "by parent close policy"


@check()
async def check_closed_children_and_refused_parents_tell_nobody(open_store: OpenStore) -> None:
    async with room(open_store) as one:
        parent, child = await one.parent(parent_close_policy=TERMINATE)
        await one.send(message(parent.run.run_id, "unread"))
        assert await one.commit(closing(parent, seq=4)) == (Verdict.REFUSED,)
        assert await one.unread_ids(child.run_id) == []
        (mine,) = await one.claim()
        await one.close(mine)
        (unread,) = await one.unread(parent.run.run_id)
        await one.written(closing(parent, seq=4, consumed=(unread.position,)))
        assert await one.unread_ids(child.run_id) == []
        assert await one.store.next_wake([QUEUE]) is None


@check()
async def check_a_child_started_by_its_parents_last_step_hears_of_it(open_store: OpenStore) -> None:
    async with room(open_store) as one:
        parent = await one.own()
        child = new_run(parent_run_id=parent.run.run_id, parent_close_policy=TERMINATE)
        await one.written(closing(parent, starts=(child_start(child),)))
        assert await _told(one, child.run_id) == [TERMINATED]
        assert await one.unread_ids(parent.run.run_id) == []


@check()
async def check_parent_and_child_close_in_one_batch(open_store: OpenStore) -> None:
    async with room(open_store) as one:
        for parent_first in (True, False):
            parent, child = await one.parent(parent_close_policy=TERMINATE)
            (mine,) = await one.claim()
            told = message(parent.run.run_id, "child closed", internal=True)
            batch = [closing(parent, seq=4), closing(mine, messages=(told,))]
            await one.written(*(batch if parent_first else batch[::-1]))
            assert await one.unread_ids(parent.run.run_id, child.run_id) == []


@check()
async def check_the_run_that_follows_a_child_hears_of_the_parents_end(open_store: OpenStore) -> None:
    async with room(open_store) as one:
        for order in ("child first", "parent first", "together", "together, parent first"):
            parent, child = await one.parent(parent_close_policy=TERMINATE)
            (mine,) = await one.claim()
            assert mine.run.run_id == child.run_id
            successor = following(mine, parent_close_policy=TERMINATE)
            batch = [continuing(mine, successor), closing(parent, seq=4)]
            if "parent first" in order:
                batch.reverse()
            if "together" in order:
                await one.written(*batch)
            else:
                for transition in batch:
                    await one.written(transition)
            assert await _told(one, successor.run_id) == [TERMINATED], order
            assert await one.claimed_ids() == {successor.run_id}


@check(stores=2)
async def check_no_child_misses_its_parents_end(open_store: OpenStore) -> None:
    async with room(open_store) as one, room(open_store) as two:
        for _ in range(10):
            parent, child = await one.parent(parent_close_policy=TERMINATE)
            (mine,) = await two.claim()
            assert mine.run.run_id == child.run_id
            successor = following(mine, parent_close_policy=TERMINATE)
            await asyncio.gather(
                one.written(closing(parent, seq=4)), two.written(continuing(mine, successor))
            )
            assert await _told(one, successor.run_id) == [TERMINATED]
            assert await two.claimed_ids() == {successor.run_id}


@check()
async def check_terminate_tells_whoever_is_to_hear_of_it(open_store: OpenStore) -> None:
    async with room(open_store) as one:
        parent, child = await one.parent(parent_close_policy=TERMINATE)
        told = message(parent.run.run_id, "child terminated", b"how", internal=True)
        assert await one.store.terminate(child.run_id, ended, Close(RunStatus.TERMINATED), [told])
        (found,) = await one.unread(parent.run.run_id)
        assert (found.message_id, found.data, found.internal) == ("child terminated", b"how", True)
        assert not await one.store.terminate(child.run_id, ended, Close(RunStatus.TERMINATED), [told])
        assert await one.unread(parent.run.run_id) == [found]


@check()
async def check_condemned_runs_are_open_ones_with_a_termination(open_store: OpenStore) -> None:
    async with room(open_store) as one:
        assert await one.store.condemned_runs(10) == []
        parents = [await one.parent(parent_close_policy=policy) for policy in (TERMINATE, TERMINATE, CANCEL)]
        held = await one.claim()
        await one.written(*(closing(parent, seq=4) for parent, _ in parents))
        condemned = await one.store.condemned_runs(10)
        assert {record.run_id for record in condemned} == {child.run_id for _, child in parents[:2]}
        assert {record.owner for record in condemned} == {one.worker}
        assert len(await one.store.condemned_runs(1)) == 1
        for run in held:
            await one.close(run)
        assert await one.store.condemned_runs(10) == []
