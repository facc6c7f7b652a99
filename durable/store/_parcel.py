"""Records as a codec sees them: the payloads that stand in them, and the same records with others.

Records hold facts as bytes. To change the payloads in there a record is walked twice along the same way: first its
payloads are gathered, for one call of the codec, then its answers are put in their places.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import msgspec
from msgspec.structs import replace

from durable._engine._activities import Progress, decode_progress, encode_progress
from durable._engine._questions import Answered, Asked, decode, encode
from durable._engine.operations import ActivityChange
from durable._engine.records import (
    ActivityRecord,
    AttemptOutcome,
    ChildStart,
    ClaimedRun,
    Close,
    ExternalSend,
    Heartbeat,
    ListedRun,
    Message,
    NewActivity,
    NewRun,
    QueryAnswer,
    Question,
    Reply,
    RunRecord,
    SoleActivity,
    Transition,
    UpdateOutcome,
)
from durable._engine.schedules.records import ScheduleProgress, ScheduleRecord
from durable._engine.schedules.rows import (
    ScheduleRow,
    ScheduleWrite,
    decode_record,
    encode_schedule,
)
from durable._engine.schedules.rows import decode_progress as decode_schedule_progress
from durable.exceptions import HistoryError
from durable.history import (
    EventRow,
    EventType,
    Failure,
    Payload,
    decode_data,
    encode_data,
)
from durable.history._carried import ChangeOf, with_fields

SCHEDULED = int(EventType.ACTIVITY_TASK_SCHEDULED)
STARTED = int(EventType.WORKFLOW_EXECUTION_STARTED)


class Whose(NamedTuple):
    """The workflow that a payload belongs to: its id, or else one of its runs."""

    workflow_id: str
    run_id: str = ""


class Parcel:
    """The payloads of some records, on their way through a codec.

    The same way is gone twice: `walk`, `contents`, `refill`, `walk`. Bytes that are not what this release writes are left
    alone: whoever decodes them says what is wrong.
    """

    def __init__(self) -> None:
        self._found: dict[Whose, list[Payload]] = {}
        self._fields: dict[Whose, list[str]] = {}
        self._made: dict[Whose, Iterator[Payload]] | None = None
        self._facts: dict[tuple[int, bytes], Any] = {}

    @property
    def contents(self) -> dict[Whose, list[Payload]]:
        """The payloads that were found, by whose they are."""
        return self._found

    @property
    def fields(self) -> dict[Whose, list[str]]:
        """In which field of its facts each of them stands."""
        return self._fields

    def refill(self, made: dict[Whose, list[Payload]]) -> None:
        """Take what the codec made of the contents."""
        self._made = {whose: iter(payloads) for whose, payloads in made.items()}

    def _change(self, whose: Whose) -> ChangeOf:
        if self._made is not None:
            made = self._made.get(whose, iter(()))
            return lambda payload, field: next(made)
        found, fields = self._found, self._fields

        def keep(payload: Payload, field: str) -> Payload:
            found.setdefault(whose, []).append(payload)
            fields.setdefault(whose, []).append(field)
            return payload

        return keep

    # ------------------------------------------------------------------ facts in bytes

    def event(self, whose: Whose, type: int, data: bytes) -> bytes:
        """Walk encoded facts."""
        try:
            facts = self._facts.get((type, data)) or decode_data(type, data)
        except HistoryError:
            return data
        self._facts[type, data] = facts
        changed = with_fields(facts, self._change(whose))
        return data if changed is facts else encode_data(changed)

    def events(self, whose: Whose, rows: Sequence[EventRow]) -> list[EventRow]:
        """Walk events."""
        return [self.row(whose, row) for row in rows]

    def row(self, whose: Whose, row: EventRow) -> EventRow:
        """Walk an event."""
        return replace(row, data=self.event(whose, row.type, row.data))

    def _progress(self, whose: Whose, data: bytes) -> bytes:
        if not data:
            return data
        try:
            progress = decode_progress(data)
        except HistoryError:
            return data
        changed: Progress = with_fields(progress, self._change(whose))
        return data if changed is progress else encode_progress(changed)

    def _table(self, whose: Whose, data: bytes) -> bytes:
        """Walk an object that this floor knows no more of than which of its fields hold payloads."""
        if not data:
            return data
        try:
            fields = msgspec.json.decode(data, type=dict[str, msgspec.Raw])
            known = {
                name: msgspec.json.decode(fields[name], type=kind)
                for name, kind in _TABLE_FIELDS.items()
                if name in fields
            }
        except (msgspec.DecodeError, UnicodeDecodeError):
            return data
        change = self._change(whose)
        for name, value in known.items():
            holder = _Holder(value)
            changed = with_fields(holder, _in_field(name, change))
            if changed is not holder:
                fields[name] = msgspec.Raw(msgspec.json.encode(changed.value))
        return msgspec.json.encode(fields) if known else data

    # ------------------------------------------------------------------ what is written

    def transition(self, one: Transition) -> Transition:
        """Walk all that a step writes."""
        own = Whose("", one.run_id)
        return replace(
            one,
            events=tuple(self.events(own, one.events)),
            activities=tuple([self._new_activity(own, new) for new in one.activities]),
            messages=tuple([self.message(message) for message in one.messages]),
            starts=tuple([self._child(own, start) for start in one.starts]),
            sends=tuple([self._send(own, send) for send in one.sends]),
            outcomes=tuple([self.update(own, outcome) for outcome in one.outcomes]),
            upsert=None
            if one.upsert is None
            else replace(one.upsert, info=self._table(own, one.upsert.info)),
            close=None if one.close is None else self.close(own, one.close),
        )

    def close(self, own: Whose, one: Close) -> Close:
        """Walk what goes on behind a close, and what is lost with it."""
        successor = None if one.successor is None else self.new_run(one.successor)
        return replace(one, successor=successor, update_lost=self._table(own, one.update_lost))

    def new_run(self, one: NewRun) -> NewRun:
        """Walk a start."""
        own = Whose(one.workflow_id)
        return replace(
            one,
            started=self.event(own, STARTED, one.started),
            info=self._table(own, one.info),
            activity=self._sole(own, one.activity),
            messages=tuple(
                [
                    replace(message, data=self.event(own, message.type, message.data))
                    for message in one.messages
                ]
            ),
        )

    def message(self, one: Message) -> Message:
        """Walk a message."""
        return replace(one, data=self.event(Whose("", one.run_id), one.type, one.data))

    def _sole(self, own: Whose, one: SoleActivity | None) -> SoleActivity | None:
        return None if one is None else replace(one, scheduled=self.event(own, SCHEDULED, one.scheduled))

    def _new_activity(self, own: Whose, one: NewActivity) -> NewActivity:
        return replace(
            one,
            scheduled=self.event(own, SCHEDULED, one.scheduled),
            progress=self._progress(own, one.progress),
        )

    def _reply(self, own: Whose, one: Reply) -> Reply:
        return replace(
            one,
            done=self.event(own, one.done_type, one.done),
            failed=self.event(own, one.failed_type, one.failed),
        )

    def _child(self, own: Whose, one: ChildStart) -> ChildStart:
        return ChildStart(self.new_run(one.run), self._reply(own, one.reply))

    def _send(self, own: Whose, one: ExternalSend) -> ExternalSend:
        data = self.event(Whose(one.workflow_id), one.type, one.data)
        return replace(one, data=data, reply=self._reply(own, one.reply))

    def outcome(self, one: AttemptOutcome) -> AttemptOutcome:
        """Walk the end of an attempt."""
        own = Whose("", one.run_id)
        message = None if one.message is None else self.message(one.message)
        sole = one.sole
        if sole is not None:
            sole = replace(sole, outcome=self.row(own, sole.outcome), closing=self.row(own, sole.closing))
        return replace(one, message=message, progress=self._progress(own, one.progress), sole=sole)

    def change(self, one: ActivityChange) -> ActivityChange:
        """Walk what an operator makes of an activity."""
        own = Whose("", one.run_id)
        progress = None if one.progress is None else self._progress(own, one.progress)
        return replace(one, scheduled=self.event(own, SCHEDULED, one.scheduled), progress=progress)

    def heartbeat(self, one: Heartbeat) -> Heartbeat:
        """Walk a sign of life."""
        return replace(one, progress=self._progress(Whose("", one.run_id), one.progress))

    def question(self, one: Question) -> Question:
        """Walk a query."""
        return replace(one, input=self._query(Whose("", one.run_id), one.input, Asked))

    def answer(self, one: QueryAnswer) -> QueryAnswer:
        """Walk the answer to a query."""
        return replace(one, data=self._query(Whose("", one.run_id), one.data, Answered))

    def _query(self, whose: Whose, data: bytes, kind: type[Asked | Answered]) -> bytes:
        try:
            facts = decode(data, kind)
        except HistoryError:
            return data
        return encode(with_fields(facts, self._change(whose)))

    def schedule_write(self, one: ScheduleWrite) -> ScheduleWrite:
        """Walk what replaces a schedule, and what it starts."""
        record, progress = self._schedule(one.record, one.progress)
        starts = tuple([self.new_run(start) for start in one.starts])
        return replace(one, record=record, progress=progress, starts=starts)

    def _schedule(self, data: bytes, done: bytes) -> tuple[bytes, bytes]:
        """Walk a schedule, whose payloads are those of its action."""
        try:
            record: ScheduleRecord = decode_record(data)
            progress: ScheduleProgress = decode_schedule_progress(done)
        except HistoryError:
            return data, done
        change = self._change(Whose(record.action.workflow_id))
        record = with_fields(record, change)
        record = replace(record, action=with_fields(record.action, change))
        return encode_schedule(record), encode_schedule(with_fields(progress, change))

    # ------------------------------------------------------------------ what is read

    def schedule(self, one: ScheduleRow) -> ScheduleRow:
        """Walk a schedule's row."""
        record, progress = self._schedule(one.record, one.progress)
        return replace(one, record=record, progress=progress)

    def claimed(self, one: ClaimedRun) -> ClaimedRun:
        """Walk a run with all that it needs."""
        own = Whose(one.run.workflow_id)
        return replace(
            one,
            run=self.run(one.run),
            events=tuple(self.events(own, one.events)),
            messages=tuple(
                [
                    replace(message, data=self.event(own, message.type, message.data))
                    for message in one.messages
                ]
            ),
            activities=tuple([self.activity(record) for record in one.activities]),
        )

    def run(self, one: RunRecord) -> RunRecord:
        """Walk a run's row."""
        return replace(one, info=self._table(Whose(one.workflow_id), one.info))

    def listed(self, one: ListedRun) -> ListedRun:
        """Walk a run as lists show it."""
        return replace(one, info=self._table(Whose(one.workflow_id), one.info))

    def activity(self, one: ActivityRecord) -> ActivityRecord:
        """Walk an activity's row."""
        own = Whose(one.workflow_id)
        return replace(
            one,
            scheduled=self.event(own, SCHEDULED, one.scheduled),
            progress=self._progress(own, one.progress),
        )

    def update(self, own: Whose, one: UpdateOutcome) -> UpdateOutcome:
        """Walk what became of an update."""
        return replace(one, data=self._table(own, one.data))


def _in_field(name: str, change: ChangeOf) -> ChangeOf:
    """Say of a payload that it stands in a field of this name, as it does in the event that it was taken from."""
    return lambda payload, _: change(payload, name)


class _Holder(msgspec.Struct):
    """One value, where facts are expected."""

    value: Any


_TABLE_FIELDS: dict[str, Any] = {
    "result": Payload | None,
    "failure": Failure | None,
    "memo": dict[str, Payload],
}
"""Fields with payloads in `NewRun.info` and in the outcomes of updates, whatever else stands there."""


def payloads_of(
    events: Sequence[EventRow] = (),
    messages: Sequence[Message] = (),
    activities: Sequence[ActivityRecord] = (),
    schedules: Sequence[ScheduleRow] = (),
) -> list[Payload]:
    """Return the payloads that a codec sees in these."""
    parcel, whose = Parcel(), Whose("")
    parcel.events(whose, events)
    for message in messages:
        parcel.message(message)
    for activity in activities:
        parcel.activity(activity)
    for schedule in schedules:
        parcel.schedule(schedule)
    return [payload for found in parcel.contents.values() for payload in found]
