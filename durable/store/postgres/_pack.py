"""A batch of transitions as the arguments of the function that writes it.

This runs for every batch, in the event loop: each column is one comprehension, and what most steps do not have is looked
for once.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import chain
from typing import Any

import msgspec

from durable._engine.deeds import Deed
from durable._engine.lanes import Lane, lane_queue
from durable._engine.records import Close, Message, NewActivity, NewRun, Reply, Transition, Unread
from durable._engine.versioning import place
from durable.history import Payload
from durable.history._search_attributes import decode_search_attributes
from durable.store._filter import attribute_rows
from durable.store._parent_close import CANCEL_REQUEST, TERMINATION
from durable.store.postgres._rows import readable

SIZES = (12, 49, 90)
"""How many arguments a batch may have: of steps only, with all that a run does about itself, and about others."""

Types = Mapping[str, int]

TOLD_CHILDREN = [TERMINATION, CANCEL_REQUEST]


def pack(transitions: Sequence[Transition], now: int, types: Types) -> list[Any]:
    """The arguments of `commit_3`: one array for each column, None for what is not needed.

    There are as many as `SIZES` says: the last kinds, which few batches have, are left out when there is none of them.

    Args:
        transitions: The closing ones come last.
        now: A time the database has told already.
        types: The types of search attributes.
    """
    events = [event for transition in transitions for event in transition.events]
    latest = max([transition.not_before for transition in transitions], default=0)
    return [
        [transition.run_id for transition in transitions],
        [transition.epoch for transition in transitions],
        latest,
        [transition.not_before for transition in transitions] if latest > now else None,
        [transition.time for transition in transitions] if any(t.time for t in transitions) else None,
        [n for n, transition in enumerate(transitions, 1) for _ in transition.events],
        [event.seq for event in events],
        [event.task for event in events],
        [event.type for event in events],
        [event.data for event in events],
        *_pack_pairs(
            [(transition.run_id, transition.consumed) for transition in transitions if transition.consumed]
        ),
        *_pack_more(
            [transition for transition in transitions if transition.close or _has_more(transition)], types
        ),
    ]


def pack_steps(transitions: Sequence[Transition]) -> list[Any] | None:
    """The arguments of `append_3`, the closing transitions last; None when there is more to them than it takes."""
    for transition in transitions:
        if transition.consumed or transition.time or _has_more(transition):
            return None
        if (close := transition.close) is not None and close.successor is not None:
            return None
    closes = [int(transition.close.status) for transition in transitions if transition.close is not None]
    events = [event for transition in transitions for event in transition.events]
    return [
        "{" + ",".join([transition.run_id for transition in transitions]) + "}",
        _numbers([transition.epoch for transition in transitions]),
        max([transition.not_before for transition in transitions], default=0),
        _numbers([n for n, transition in enumerate(transitions, 1) for _ in transition.events]),
        _numbers([event.seq for event in events]),
        _numbers([event.task for event in events]),
        _numbers([event.type for event in events]),
        [event.data for event in events],
        _numbers(closes) if closes else None,
    ]


def _numbers(column: list[int]) -> str:
    """Numbers as an array in the server's notation, which reads a text in less time than the driver needs to encode a list.

    The driver asks of each element whether it is a list itself, which costs more than all that is done with it here.
    """
    return "{" + str(column)[1:-1] + "}"


def _has_more(transition: Transition) -> bool:
    """Whether it has more than events, consumed messages and a close."""
    return bool(
        transition.release
        or transition.proven
        or transition.messages
        or transition.activities
        or transition.activities_done
        or transition.activities_canceled
        or transition.outcomes
        or transition.sends
        or transition.starts
        or transition.hold_back
        or transition.upsert
    )


def _pack_more(transitions: Sequence[Transition], types: Types) -> list[Any]:
    if not transitions:
        return []
    return [
        *_pack_closes([transition.close for transition in transitions if transition.close]),
        *_pack_releases(transitions),
        [transition.run_id for transition in transitions if transition.proven] or None,
        *_pack_messages(transitions),
        *_pack_activities(transitions),
        *_pack_pairs([(transition.run_id, transition.activities_done) for transition in transitions]),
        *_pack_pairs([(transition.run_id, transition.activities_canceled) for transition in transitions]),
        *_pack_rest([transition for transition in transitions if _has_most(transition)], types),
    ]


def _has_most(transition: Transition) -> bool:
    return bool(
        transition.outcomes
        or transition.sends
        or transition.starts
        or transition.hold_back
        or transition.upsert
        or (transition.close and transition.close.successor)
    )


def _pack_rest(transitions: Sequence[Transition], types: Types) -> list[Any]:
    if not transitions:
        return []
    return [
        *_pack_holds(transitions),
        *_pack_outcomes(transitions),
        *_pack_sends(transitions),
        *_pack_new_runs(transitions),
        *_pack_replies(
            [send.reply for transition in transitions for send in transition.sends]
            + [start.reply for transition in transitions for start in transition.starts]
        ),
        *_pack_found(transitions, types),
        *_pack_stamps(transitions),
    ]


def _pack_pairs(pairs: list[tuple[str, tuple[int, ...]]]) -> list[Any]:
    numbers = list(chain.from_iterable([more for _, more in pairs]))
    if not numbers:
        return [None, None]
    return [[run_id for run_id, more in pairs for _ in more], numbers]


def _pack_closes(closes: Sequence[Close]) -> list[Any]:
    if not closes:
        return [None] * 4
    unread = [close.unread for close in closes]
    lost = [close.update_lost for close in closes]
    return [
        [close.status for close in closes],
        unread if any(mode is not Unread.REFUSE for mode in unread) else None,
        lost if any(lost) else None,
        TOLD_CHILDREN,
    ]


def _pack_releases(transitions: Sequence[Transition]) -> list[Any]:
    releases = [(transition.run_id, transition.release) for transition in transitions if transition.release]
    if not releases:
        return [None] * 5
    return [
        [run_id for run_id, _ in releases],
        [release.wake_at for _, release in releases],
        [release.wake_in for _, release in releases],
        [release.hold for _, release in releases],
        [readable(release.reason) for _, release in releases],
    ]


def _pack_messages(transitions: Sequence[Transition]) -> list[Any]:
    messages = [
        (transition.run_id, message.run_id, message)
        for transition in transitions
        for message in transition.messages
    ] + [
        (transition.run_id, run.run_id, message)
        for transition in transitions
        for run in new_runs(transition)
        for message in run.messages
    ]
    if not messages:
        return [None] * 6
    return [
        [sender for sender, _, _ in messages],
        *message_columns([(run_id, message) for _, run_id, message in messages]),
    ]


def message_columns(messages: Sequence[tuple[str, Message]]) -> list[Any]:
    """Messages, each with the run it is really for, as columns."""
    return [
        [run_id for run_id, _ in messages],
        [message.message_id for _, message in messages],
        [message.type for _, message in messages],
        [message.internal for _, message in messages],
        [message.data for _, message in messages],
    ]


def _pack_activities(transitions: Sequence[Transition]) -> list[Any]:
    activities = [activity for transition in transitions for activity in transition.activities]
    if not activities:
        return [None] * 17
    return [
        [transition.run_id for transition in transitions for _ in transition.activities],
        [activity.id for activity in activities],
        [activity.activity_type for activity in activities],
        [queue_of(activity) for activity in activities],
        [activity.attempt for activity in activities],
        [activity.priority for activity in activities],
        [activity.scheduled_at for activity in activities],
        [activity.due_in for activity in activities],
        [activity.start_by for activity in activities],
        [activity.close_by for activity in activities],
        [activity.start_to_close for activity in activities],
        [activity.heartbeat for activity in activities],
        [activity.worker for activity in activities],
        [activity.running_for for activity in activities],
        [activity.scheduled for activity in activities],
        [activity.progress for activity in activities],
        lanes_of([(transition.run_id, one) for transition in transitions for one in transition.activities]),
    ]


def queue_of(activity: NewActivity) -> str:
    """The task queue in which a row stands."""
    return activity.task_queue if activity.lane is None else lane_queue(activity.task_queue)


def lanes_of(activities: Sequence[tuple[str, NewActivity]]) -> str | None:
    """Where those of these activities wait that do not wait with their queues; None when there is none."""
    lanes = [
        {"run_id": run_id, "id": activity.id, **lane_columns(activity.lane)}
        for run_id, activity in activities
        if activity.lane is not None
    ]
    return msgspec.json.encode(lanes).decode() if lanes else None


def lane_columns(lane: Lane) -> dict[str, Any]:
    """The columns of whatever waits in a lane."""
    return {
        "lane": lane.name,
        "share": lane.share,
        "limit_key": lane.key,
        "limit_most": lane.most,
        "limit_weight": lane.weight,
        "breaker": lane.breaker,
        "fails_fast": lane.fails_fast,
    }


def _pack_holds(transitions: Sequence[Transition]) -> list[Any]:
    holding = [transition for transition in transitions if transition.hold_back]
    if not holding:
        return [None] * 2
    return [[transition.run_id for transition in holding], [transition.hold_back for transition in holding]]


def _pack_outcomes(transitions: Sequence[Transition]) -> list[Any]:
    outcomes = [(transition.run_id, outcome) for transition in transitions for outcome in transition.outcomes]
    if not outcomes:
        return [None] * 4
    return [
        [run_id for run_id, _ in outcomes],
        [outcome.message_id for _, outcome in outcomes],
        [outcome.stage for _, outcome in outcomes],
        [outcome.data for _, outcome in outcomes],
    ]


def _pack_sends(transitions: Sequence[Transition]) -> list[Any]:
    sends = [(transition.run_id, send) for transition in transitions for send in transition.sends]
    if not sends:
        return [None] * 7
    return [
        [run_id for run_id, _ in sends],
        [send.workflow_id for _, send in sends],
        [send.run_id for _, send in sends],
        [send.first_run_id for _, send in sends],
        [send.message_id for _, send in sends],
        [send.type for _, send in sends],
        [send.data for _, send in sends],
    ]


def new_runs(transition: Transition) -> list[NewRun]:
    """The runs that a transition creates."""
    runs = [start.run for start in transition.starts]
    if transition.close is not None and transition.close.successor is not None:
        runs.append(transition.close.successor)
    return runs


def _pack_new_runs(transitions: Sequence[Transition]) -> list[Any]:
    children = [(transition.run_id, start.run) for transition in transitions for start in transition.starts]
    successors = [
        (transition.run_id, transition.close.successor)
        for transition in transitions
        if transition.close is not None and transition.close.successor is not None
    ]
    if not children and not successors:
        return [None] * 16
    columns = run_columns([run for _, run in children + successors])
    columns[REUSE][len(children) :] = [None] * len(successors)
    return [[run_id for run_id, _ in children + successors], *columns]


REUSE = 9
"""Which of `run_columns` holds the reuse policies. A successor has none."""


def run_columns(runs: Sequence[NewRun]) -> list[list[Any]]:
    """New runs as columns."""
    return [
        [run.run_id for run in runs],
        [run.workflow_id for run in runs],
        [run.workflow_type for run in runs],
        [place(run.task_queue, run.version, run.override) for run in runs],
        [run.format for run in runs],
        [run.priority for run in runs],
        [run.delay for run in runs],
        [run.run_timeout for run in runs],
        [run.owner for run in runs],
        [run.reuse for run in runs],
        [run.first_run_id or None for run in runs],
        [run.parent_run_id for run in runs],
        [run.parent_close_policy for run in runs],
        [run.started for run in runs],
        [run.info for run in runs],
    ]


def _pack_found(transitions: Sequence[Transition], types: Types) -> list[Any]:
    found = [
        (transition.run_id, transition.upsert.info, changed_rows(transition.upsert.search_attributes, types))
        for transition in transitions
        if transition.upsert is not None
    ] + [
        (run.run_id, None, _found_of(run, types))
        for transition in transitions
        for run in new_runs(transition)
        if run.search_attributes or run.lane is not None
    ]
    if not found:
        return [None] * 3
    return [[entry[column] for entry in found] for column in range(3)]


def _pack_stamps(transitions: Sequence[Transition]) -> list[Any]:
    stamps = [
        (transition.run_id, transition.upsert.stamp)
        for transition in transitions
        if transition.upsert is not None and transition.upsert.stamp is not None
    ]
    if not stamps:
        return [None] * 4
    return [
        [run_id for run_id, _ in stamps],
        [stamp.version or None for _, stamp in stamps],
        [stamp.behavior or None for _, stamp in stamps],
        [stamp.pinned_to or None for _, stamp in stamps],
    ]


def found_columns(runs: Sequence[NewRun], types: Types) -> list[str | None] | None:
    """What new runs are found by, and where they wait, as a column; None when none of them has anything."""
    if not any(run.search_attributes or run.lane is not None for run in runs):
        return None
    return [_found_of(run, types) if run.search_attributes or run.lane is not None else None for run in runs]


def _found_of(run: NewRun, types: Types) -> str:
    if run.lane is None:
        return changed_rows(run.search_attributes, types)
    lane = lane_columns(run.lane) | {"admitted": run.admitted}
    return changed_rows(run.search_attributes, types, lane=lane)


def changed_rows(attributes: Mapping[str, Payload], types: Types, **more: object) -> str:
    """A change of search attributes as `index_runs_2` takes it."""
    rows = attribute_rows(decode_search_attributes(attributes))
    change: dict[str, object] = {
        "drop": list(attributes),
        "rows": [row for row in rows if types.get(row.name) == row.type],
    }
    change |= more
    return msgspec.json.encode(change).decode()


def _pack_replies(replies: Sequence[Reply]) -> list[Any]:
    if not replies:
        return [None] * 5
    return [
        [reply.message_id for reply in replies],
        [reply.done_type for reply in replies],
        [reply.done for reply in replies],
        [reply.failed_type for reply in replies],
        [reply.failed for reply in replies],
    ]


def deed_columns(deed: Deed | None) -> list[str | None]:
    """The arguments of `log_2` behind the run; nothing is logged for None."""
    return [None] * 6 if deed is None else [readable(text) for text in msgspec.structs.astuple(deed)]
