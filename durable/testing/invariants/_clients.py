"""Invariants of what clients were told: it stays true, whatever crashes."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from itertools import pairwise

from durable.history import (
    EventData,
    EventType,
    WorkflowExecutionCancelRequested,
    decode_data,
)
from durable.testing.invariants._evidence import Evidence, Operation, RunFacts

_KINDS = {
    "start": EventType.WORKFLOW_EXECUTION_STARTED,
    "signal": EventType.WORKFLOW_EXECUTION_SIGNALED,
    "update": EventType.WORKFLOW_EXECUTION_UPDATE_ACCEPTED,
    "cancel": EventType.WORKFLOW_EXECUTION_CANCEL_REQUESTED,
}
_CUT_OFF = EventType.WORKFLOW_EXECUTION_TERMINATED, EventType.WORKFLOW_EXECUTION_TIMED_OUT
"""What ends a run without its reading what it was sent."""


def _chains(evidence: Evidence) -> Mapping[str, list[RunFacts]]:
    """The runs of each workflow id, in the order they began."""
    found: dict[str, list[RunFacts]] = defaultdict(list)
    for run in evidence.snapshot.runs.values():
        found[run.row.workflow_id].append(run)
    for runs in found.values():
        runs.sort(key=lambda run: (run.events[0].time if run.events else 0, run.row.run_id))
    return found


def _places(runs: Iterable[RunFacts], operation: Operation) -> dict[str, tuple[int, int]]:
    """Where what was asked for stands in a workflow's logs and inboxes: by message, in the order of its reading."""
    kind, key = _KINDS[operation.kind], operation.key.encode()
    found: dict[str, tuple[int, int]] = {}
    for number, run in enumerate(runs):
        for event in run.decoded:
            # A reset copies what the run before it was told; it is the same message there. A start has none.
            data = event.data
            if data.type == kind and _says(data, key) and not getattr(data, "continued_run_id", ""):
                message = (
                    getattr(data, "message", "") or getattr(data, "original_run_id", "") or run.row.run_id
                )
                found.setdefault(message, (number, event.seq))
        for unread in run.inbox:
            if unread.type == kind and _says(decode_data(unread.type, unread.data), key):
                found.setdefault(unread.message_id, (number, len(run.events) + unread.position))
    return found


def _says(data: EventData, key: bytes) -> bool:
    if isinstance(data, WorkflowExecutionCancelRequested):
        return key.decode() in data.reason
    return any(key in payload.data for payload in getattr(data, "input", ()))


def _cut_off(runs: Iterable[RunFacts]) -> bool:
    return any(run.events and run.events[-1].type in _CUT_OFF for run in runs)


def _keyed(evidence: Evidence, *kinds: str) -> Iterator[tuple[Operation, list[RunFacts]]]:
    chains = _chains(evidence)
    for operation in evidence.operations:
        if operation.kind in kinds and operation.key:
            yield operation, chains.get(operation.workflow_id, [])


def answers_stay(evidence: Evidence) -> Iterator[tuple[str, str]]:
    """I15."""
    first: dict[tuple[str, str], Operation] = {}
    for operation in evidence.operations:
        if operation.kind == "result" and operation.outcome == "ok":
            before = first.setdefault((operation.workflow_id, operation.run_id), operation)
            if before.value != operation.value:
                yield (
                    operation.workflow_id,
                    f"operation {before.number} was told {before.value}, operation {operation.number} {operation.value}",
                )


def one_open_run(evidence: Evidence) -> Iterator[tuple[str, str]]:
    """I16."""
    for workflow_id, runs in _chains(evidence).items():
        still = [run.row.run_id for run in runs if run.row.open]
        if len(still) > 1:
            yield workflow_id, f"it has {len(still)} open runs: {still}"
    for operation in evidence.operations:
        if operation.kind == "start" and operation.outcome == "ok" and operation.run_id:
            row = evidence.snapshot.row(operation.run_id)
            if row is not None and row.workflow_id != operation.workflow_id:
                yield operation.workflow_id, f"start {operation.number} was told a run of {row.workflow_id!r}"


def acknowledged_is_there(evidence: Evidence) -> Iterator[tuple[str, str]]:
    """I17."""
    for operation in evidence.operations:
        if operation.kind != "start" or operation.outcome != "ok" or not operation.run_id:
            continue
        if evidence.snapshot.row(operation.run_id) is None:
            yield (
                operation.workflow_id,
                f"start {operation.number} was told run {operation.run_id}, which is gone",
            )
    for operation, runs in _keyed(evidence, "signal", "update"):
        if operation.outcome == "ok" and not _places(runs, operation) and not _cut_off(runs):
            yield operation.workflow_id, f"{operation.kind} {operation.number} was acknowledged, and is gone"


def failed_is_not_there(evidence: Evidence) -> Iterator[tuple[str, str]]:
    """I18."""
    for operation, runs in _keyed(evidence, "start", "signal", "update"):
        found = _places(runs, operation)
        if operation.outcome == "fail" and found:
            yield operation.workflow_id, f"{operation.kind} {operation.number} had failed, and is there"
        if operation.outcome == "info" and len(found) > 1:
            yield operation.workflow_id, f"{operation.kind} {operation.number} is there {len(found)} times"


def delivered_once(evidence: Evidence) -> Iterator[tuple[str, str]]:
    """I19. What a run has not taken stands in its log, and in that of its successor, as one message."""
    for operation, runs in _keyed(evidence, "signal"):
        if operation.outcome == "ok" and (times := len(_places(runs, operation))) > 1:
            yield operation.workflow_id, f"signal {operation.number} is there {times} times"
        for run in runs:
            read = [event for event in run.decoded if _is_this(event.data, operation)]
            if len(read) > 1:
                yield (
                    operation.workflow_id,
                    f"run {run.row.run_id} has read signal {operation.number} {len(read)} times",
                )


def _is_this(data: EventData, operation: Operation) -> bool:
    return data.type == _KINDS["signal"] and _says(data, operation.key.encode())


def in_order(evidence: Evidence) -> Iterator[tuple[str, str]]:
    """I20."""
    sent: dict[tuple[str, str], list[tuple[Operation, tuple[int, int]]]] = defaultdict(list)
    for operation, runs in _keyed(evidence, "signal"):
        if operation.outcome == "ok" and (found := _places(runs, operation)):
            sent[operation.client, operation.workflow_id].append((operation, min(found.values())))
    for (client, workflow_id), signals in sent.items():
        signals.sort(key=lambda one: one[0].began)
        for (one, at), (other, behind) in pairwise(signals):
            if one.ended <= other.began and at > behind:
                yield (
                    workflow_id,
                    f"signal {other.number} of {client} was read before its signal {one.number}",
                )


def cancels_are_heard(evidence: Evidence) -> Iterator[tuple[str, str]]:
    """I27."""
    for operation, runs in _keyed(evidence, "cancel"):
        if operation.outcome != "ok" or _places(runs, operation) or _cut_off(runs):
            continue
        # A second request finds the first one there, and is taken as it.
        kinds = {one.type for run in runs for one in run.events} | {
            one.type for run in runs for one in run.inbox
        }
        if _KINDS["cancel"] not in kinds:
            yield operation.workflow_id, f"cancel request {operation.number} was acknowledged, and is gone"


def came_to_rest(evidence: Evidence) -> Iterator[tuple[str, str]]:
    """I29."""
    if evidence.finished is None:
        return
    chains = _chains(evidence)
    for workflow_id in sorted(evidence.finished):
        runs = chains.get(workflow_id, [])
        if not runs:
            yield workflow_id, "it is not there"
        for run in runs:
            if run.row.open:
                kinds = [EventType(event.type).name.lower() for event in run.events[-3:]]
                yield workflow_id, f"run {run.row.run_id} has not ended; last in its log: {', '.join(kinds)}"
