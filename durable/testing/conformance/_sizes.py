"""Large batches: what is written as many rows at once is written whole and in order."""

from __future__ import annotations

from durable.history import EventType
from durable.store import ActivityRecord, AttemptOutcome, Message, StartOutcome, Transition, Verdict
from durable.testing.conformance._registry import OpenStore, check
from durable.testing.conformance._room import closing, event, message, new_activity, new_run, room


@check()
async def check_ten_thousand_starts_go_in_one_batch(open_store: OpenStore) -> None:
    async with room(open_store) as one:
        runs = [new_run() for _ in range(10_000)]
        verdicts = await one.store.create_runs(runs)
        assert all(verdict.outcome is StartOutcome.STARTED for verdict in verdicts)
        assert [verdict.run_id for verdict in verdicts] == [run.run_id for run in runs]


@check()
async def check_one_batch_holds_two_thousand_runs(open_store: OpenStore) -> None:
    async with room(open_store) as one:
        verdicts = await one.store.create_runs([new_run(owner=one.worker) for _ in range(2000)])
        assert {verdict.outcome for verdict in verdicts} == {StartOutcome.STARTED}
        batch = [
            Transition(verdict.run_id, verdict.epoch if number % 10 else 99, (event(2), event(3)))
            for number, verdict in enumerate(verdicts)
        ]
        answers = await one.commit(*batch)
        assert [answer is Verdict.LOST for answer in answers] == [number % 10 == 0 for number in range(2000)]
        assert len(await one.store.read_events(batch[1].run_id)) == 3
        assert len(await one.store.read_events(batch[0].run_id)) == 1


@check()
async def check_one_transition_holds_five_thousand_events(open_store: OpenStore) -> None:
    async with room(open_store) as one:
        run = await one.own()
        rows = tuple(event(seq, b"%d" % seq) for seq in range(2, 5002))
        await one.written(Transition(run.run.run_id, run.run.epoch, rows))
        found = await one.store.read_events(run.run.run_id, after=1)
        assert [row.data for row in found] == [row.data for row in rows]


@check()
async def check_thousands_of_messages_go_in_one_batch(open_store: OpenStore) -> None:
    async with room(open_store) as one:
        run = await one.own()
        await one.send(*(message(run.run.run_id, f"{number:05}") for number in range(3000)))
        found = await one.store.read_messages([run.run.run_id])
        assert [each.message_id for each in found] == [f"{number:05}" for number in range(3000)]
        await one.written(closing(run, consumed=tuple(each.position for each in found)))


@check()
async def check_hundreds_of_outcomes_go_in_one_batch(open_store: OpenStore) -> None:
    async with room(open_store) as one:
        run = await one.scheduled(*(new_activity(number) for number in range(1, 701)))
        tasks = await one.claim_activities(1000)
        assert len(tasks) == 700
        assert await one.store.finish_attempts([_done(task, one.worker) for task in tasks]) == [True] * 700
        assert len(await one.store.read_messages([run.run.run_id])) == 700


def _done(task: ActivityRecord, worker: str) -> AttemptOutcome:
    kind = int(EventType.ACTIVITY_TASK_COMPLETED)
    told = Message(task.run_id, f"activity-{task.id}", kind, b"{}", internal=True)
    return AttemptOutcome(task.run_id, task.id, task.attempt, worker, message=told)
