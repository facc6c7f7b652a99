"""What is said of task queues, and the look at all of them."""

from __future__ import annotations

from durable._engine.lanes import WORKFLOWS
from durable._internal.ids import uuid7
from durable.store import (
    Deed,
    Hold,
    Lane,
    QueueState,
    QueueSurvey,
    Release,
    Survey,
    Transition,
    WorkerRecord,
)
from durable.store._filter import check_count, parse
from durable.testing.conformance._registry import OpenStore, check
from durable.testing.conformance._room import HOUR, LEASE, QUEUE, Room, event, message, new_activity, room


def deed(operation: str) -> Deed:
    return Deed(operation, "", "me", "why", QUEUE)


def of(survey: Survey, name: str = QUEUE) -> QueueSurvey:
    """Return what a survey tells of a queue."""
    return next((one for one in survey.queues if one.task_queue == name), QueueSurvey(name))


async def held(one: Room, hold: Hold) -> None:
    """Have a run that is held."""
    run = await one.own()
    await one.written(Transition(run.run.run_id, 1, release=Release(wake_at=1, hold=hold)))


@check()
async def check_what_is_said_of_a_queue_is_logged_when_it_is_new(open_store: OpenStore) -> None:
    async with room(open_store) as one:
        store = one.store
        assert await store.queue_state(QUEUE) is QueueState.OPEN
        said = [
            await store.set_queue_state(QUEUE, state, deed=deed(state.name))
            for state in (
                QueueState.OPEN,
                QueueState.PAUSED,
                QueueState.PAUSED,
                QueueState.DRAINING,
                QueueState.OPEN,
                QueueState.OPEN,
            )
        ]
        assert said == [False, True, False, True, True, False]
        log = await store.read_log(workflow_id=None, batch_id=None, before=None, limit=10)
        assert [row.deed for row in log] == [deed("OPEN"), deed("DRAINING"), deed("PAUSED")]
        await store.set_queue_state("other", QueueState.DRAINING, deed=deed("OTHER"))
        assert await store.queue_state(QUEUE) is QueueState.OPEN
        assert await store.queue_state("other") is QueueState.DRAINING


@check()
async def check_a_glance_shows_what_is_said_of_its_queue(open_store: OpenStore) -> None:
    async with room(open_store) as one:
        await one.store.set_queue_state(QUEUE, QueueState.PAUSED, deed=deed("PAUSED"))
        assert (await one.store.glance([QUEUE])).queue_state == QueueState.PAUSED
        assert (await one.store.glance([f"{QUEUE}\x1fversion"])).queue_state == QueueState.PAUSED
        assert (await one.store.glance(["other"])).queue_state == QueueState.OPEN


@check()
async def check_a_survey_counts_what_is_due_and_unowned(open_store: OpenStore) -> None:
    async with room(open_store) as one:
        empty = await one.store.survey()
        assert (empty.open, empty.held, empty.retrying) == (0, {}, 0)
        assert of(empty) == QueueSurvey(QUEUE, workers=1)
        run = await one.own()
        # One of them counts as having waited, for its turn and for nothing that is shown.
        due = new_activity(1, due_in=-HOUR, scheduled_at=await one.store.now())
        later = new_activity(2, due_in=HOUR)
        await one.written(Transition(run.run.run_id, 1, (event(2),), activities=(due, later)))
        for priority in (1, 5, 5):
            await one.start(priority=priority)
        await one.start(delay=HOUR)
        await one.send(message(run.run.run_id))
        survey = await one.store.survey()
        found = of(survey)
        assert (found.workflows, found.activities, found.messages, found.owned) == (3, 1, 1, 1)
        assert survey.open == 5
        for age in (found.workflow_age, found.activity_age):
            assert age is not None
            assert 0 <= age < HOUR


@check()
async def check_a_survey_counts_what_waits_in_lanes_and_for_versions_with_its_queue(
    open_store: OpenStore,
) -> None:
    async with room(open_store) as one:
        await one.store.set_key(WORKFLOWS, "k", 0)
        await one.start(lane=Lane("0000 k", key="k", most=1, weight=1))
        await one.start(version="app:1")
        run = await one.own()
        waiting = new_activity(1, lane=Lane("0000 k", key="k", most=1, weight=1))
        await one.written(Transition(run.run.run_id, 1, (event(2),), activities=(waiting,)))
        survey = await one.store.survey()
        assert {queue.task_queue for queue in survey.queues} == {QUEUE}
        assert (of(survey).workflows, of(survey).activities) == (2, 1)
        assert survey.held == {}, "what waits for its turn is not held"
        held = check_count(parse("Hold = 'blocked'"), {})
        assert await one.store.count_runs(held) == [(None, 0)]


@check()
async def check_a_survey_counts_what_is_held(open_store: OpenStore) -> None:
    async with room(open_store) as one:
        for hold in (Hold.BLOCKED, Hold.BLOCKED, Hold.QUARANTINED):
            await held(one, hold)
        paused = await one.start()
        await one.store.pause(paused.run_id, "")
        survey = await one.store.survey()
        assert survey.held == {Hold.BLOCKED: 2, Hold.QUARANTINED: 1, Hold.PAUSED: 1}
        assert survey.open == 4


@check()
async def check_a_survey_counts_workers_that_live(open_store: OpenStore) -> None:
    async with room(open_store) as one:
        store, other = one.store, uuid7()
        worker = WorkerRecord(other, "me", (QUEUE, "more"), LEASE, 0, expired=False, dead=False)
        lease = await store.register_worker(worker)
        survey = await store.survey()
        assert (of(survey).workers, of(survey, "more").workers) == (2, 1)
        await lease.aclose()
        await store.unregister_worker(other)
        assert of(await store.survey()).workers == 1


@check()
async def check_one_worker_surveys_until_it_stops_asking(open_store: OpenStore) -> None:
    async with room(open_store) as one:
        store = one.store
        assert await store.take_survey_turn("a", HOUR)
        assert not await store.take_survey_turn("b", HOUR)
        assert await store.take_survey_turn("a", 0)
        assert await store.take_survey_turn("b", HOUR)
        assert not await store.take_survey_turn("a", HOUR)
