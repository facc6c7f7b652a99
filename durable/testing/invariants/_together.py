"""Invariants of a whole database: of two looks at it, of everybody who wrote to it, and of what may not stand in it."""

from __future__ import annotations

from base64 import b64decode
from collections import defaultdict
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import msgspec

from durable.history import EventRow, WorkflowExecutionStarted
from durable.testing.invariants._evidence import Evidence, MessageRow


def only_appended(evidence: Evidence) -> Iterator[tuple[str, str]]:
    """I2."""
    if evidence.earlier is None:
        return
    for run_id, before in evidence.earlier.runs.items():
        after = evidence.snapshot.runs.get(run_id)
        if after is None:
            yield run_id, "it was there, and is gone"
        elif list(after.events[: len(before.events)]) != list(before.events):
            yield run_id, "what stood in its log has changed"


def epochs_rise(evidence: Evidence) -> Iterator[tuple[str, str]]:
    """I4."""
    newest: dict[str, int] = {}
    owners: dict[tuple[str, int], str] = {}
    for write in evidence.writes:
        if write.epoch < newest.get(write.run_id, 0):
            yield (
                write.run_id,
                f"{write.worker} wrote under epoch {write.epoch} behind {newest[write.run_id]}",
            )
        newest[write.run_id] = max(write.epoch, newest.get(write.run_id, 0))
        owner = owners.setdefault((write.run_id, write.epoch), write.worker)
        if owner != write.worker:
            yield write.run_id, f"{owner} and {write.worker} both had epoch {write.epoch}"


def written_by_owner(evidence: Evidence) -> Iterator[tuple[str, str]]:
    """I10."""
    claimed: dict[str, int] = {}
    next_seq: dict[str, int] = defaultdict(int)
    for write in evidence.writes:
        if write.claim:
            if write.epoch <= claimed.get(write.run_id, 0):
                yield write.run_id, f"a claim by {write.worker} did not raise epoch {write.epoch}"
            claimed[write.run_id] = write.epoch
        elif write.epoch != claimed.get(write.run_id, write.epoch):
            yield (
                write.run_id,
                f"{write.worker} wrote under epoch {write.epoch} while {claimed[write.run_id]} was current",
            )
        if write.events and write.first_seq <= next_seq[write.run_id]:
            yield write.run_id, f"{write.worker} wrote event {write.first_seq} once more"
        next_seq[write.run_id] = max(next_seq[write.run_id], write.first_seq + write.events - 1)


def instants_once(evidence: Evidence) -> Iterator[tuple[str, str]]:
    """I24."""
    first: dict[tuple[str, int], str] = {}
    for run in evidence.snapshot.runs.values():
        started = run.decoded[0].data if run.decoded else None
        if not isinstance(started, WorkflowExecutionStarted) or started.scheduled_at is None:
            continue
        if started.continued_run_id or started.original_run_id:
            continue  # the same start, in a run that goes on for another
        schedule_id, at = started.schedule_id, started.scheduled_at
        other = first.setdefault((schedule_id, at), run.row.run_id)
        if other != run.row.run_id:
            yield run.row.run_id, f"schedule {schedule_id!r} had started run {other} for the same instant"


def limits_hold(evidence: Evidence) -> Iterator[tuple[str, str]]:
    """I28."""
    for one in evidence.snapshot.holders:
        if one.held > one.most:
            kind = "workflows" if one.kind == 1 else "activities"
            yield one.key, f"{kind} hold {one.held} of {one.most}"


def nothing_in_plain(evidence: Evidence) -> Iterator[tuple[str, str]]:
    """I34."""
    for run in evidence.snapshot.runs.values() if evidence.secrets else ():
        stored: list[EventRow | MessageRow] = [*run.events, *run.inbox]
        for one in stored:
            inside = b"\0".join(_texts(msgspec.json.decode(one.data)))
            for secret in evidence.secrets:
                if secret in inside:
                    yield (
                        run.row.run_id,
                        f"{secret[:20]!r} stands in plain in a {type(one).__name__} of it",
                    )


def _texts(value: object) -> Iterator[bytes]:
    """All texts of a JSON value, and what they stand for where they are bytes."""
    if isinstance(value, str):
        yield value.encode()
        with suppress(ValueError):
            yield b64decode(value, validate=True)
    inside: Any = (*value.keys(), *value.values()) if isinstance(value, dict) else value
    if isinstance(value, dict | list):
        for one in inside:
            yield from _texts(one)
