"""Invariants of what activities have done to the world."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from itertools import pairwise

from durable.history import ActivityTaskCompleted, ActivityTaskScheduled
from durable.testing.invariants._evidence import Effect, Evidence


def _of_activities(evidence: Evidence) -> dict[tuple[str, str], list[Effect]]:
    """The attempts of each activity. One that told when it began, and then what it did, is one attempt."""
    found: dict[tuple[str, str], dict[object, Effect]] = defaultdict(dict)
    for number, effect in enumerate(evidence.effects):
        of_activity = found[effect.run_id, effect.activity_id]
        begun = of_activity.pop((effect.attempt, effect.began), None)
        if begun is not None and begun.ended:  # done, and done once more
            of_activity[number] = begun
        of_activity[effect.attempt, effect.began] = effect
    return {activity: list(attempts.values()) for activity, attempts in found.items()}


def _completed(evidence: Evidence) -> Iterator[tuple[str, ActivityTaskScheduled, ActivityTaskCompleted]]:
    """The activities that ended well, in runs that did all of it themselves."""
    for run in evidence.snapshot.runs.values():
        if run.state is None or run.state.reset_at is not None:
            continue
        scheduled: dict[int, ActivityTaskScheduled] = {}
        for event in run.decoded:
            if isinstance(event.data, ActivityTaskScheduled):
                scheduled[event.data.id] = event.data
            elif isinstance(event.data, ActivityTaskCompleted):
                yield run.row.run_id, scheduled[event.data.id], event.data


def committed_together(evidence: Evidence) -> Iterator[tuple[str, str]]:
    """I13."""
    completed = {
        (run_id, scheduled.activity_id): scheduled.activity_type
        for run_id, scheduled, _ in _completed(evidence)
    }
    of_activities = _of_activities(evidence)
    transactional = {effect.activity_type for effect in evidence.effects if effect.transactional}
    for (run_id, activity_id), effects in of_activities.items():
        done = [effect for effect in effects if effect.transactional]
        if len(done) > 1:
            yield run_id, f"activity {activity_id} has committed {len(done)} times"
        if done and (run_id, activity_id) not in completed and not _waits(evidence, run_id):
            yield run_id, f"activity {activity_id} has committed its effect, and not its end"
    for (run_id, activity_id), activity_type in completed.items():
        if activity_type in transactional and (run_id, activity_id) not in of_activities:
            yield run_id, f"activity {activity_id} has ended, and its effect is not there"


def _waits(evidence: Evidence, run_id: str) -> bool:
    """Whether the end of an activity of this run may be on its way into the log."""
    run = evidence.snapshot.runs.get(run_id)
    return run is not None and (bool(run.inbox) or any(row.state == 3 for row in run.activities))


def tried_as_often_as_allowed(evidence: Evidence) -> Iterator[tuple[str, str]]:
    """I14."""
    of_activities = _of_activities(evidence)
    for run_id, scheduled, end in _completed(evidence):
        if scheduled.activity_type in evidence.ledger and end.attempt not in {
            effect.attempt for effect in of_activities.get((run_id, scheduled.activity_id), ())
        }:
            yield (
                run_id,
                f"activity {scheduled.activity_id} ended by attempt {end.attempt}, which did nothing",
            )
    for run_id, scheduled in _asked_for(evidence):
        effects = of_activities.get((run_id, scheduled.activity_id), [])
        if most := scheduled.retry_policy.maximum_attempts:
            numbers = {effect.attempt for effect in effects}
            if max(numbers, default=0) > most:
                yield run_id, f"activity {scheduled.activity_id} made attempt {max(numbers)} of {most}"
            if len(effects) > most:
                yield run_id, f"activity {scheduled.activity_id} began {len(effects)} times, of {most}"
        if len({effect.key for effect in effects}) > 1:
            yield run_id, f"attempts of activity {scheduled.activity_id} have different idempotency keys"
        yield from ((run_id, text) for text in _unexplained(evidence, scheduled, effects))


def _asked_for(evidence: Evidence) -> Iterator[tuple[str, ActivityTaskScheduled]]:
    for run in evidence.snapshot.runs.values():
        for event in run.decoded:
            if isinstance(event.data, ActivityTaskScheduled):
                yield run.row.run_id, event.data


def _unexplained(
    evidence: Evidence, scheduled: ActivityTaskScheduled, effects: list[Effect]
) -> Iterator[str]:
    """An attempt behind one that had done its work, or beside one, without any fault that made it necessary."""
    ordered = sorted(effects, key=lambda effect: effect.began)
    for before, behind in pairwise(ordered):
        if before.ended == 0.0 and before.attempt < behind.attempt:
            continue  # it failed, or its worker died
        until = max(before.ended, behind.began)
        if not any(fault.began <= until and fault.ended >= before.began for fault in evidence.faults):
            yield (
                f"activity {scheduled.activity_id} was tried again (attempt {behind.attempt}) behind attempt "
                f"{before.attempt}, which had done its work, and nothing was broken"
            )
