"""A codec in front of a database: what goes in is encoded, what comes out is decoded, and nobody else knows.

Everything above sees payloads as the payload converter made them: the engine's digests and keys, replay's comparisons, the
code. Everything below sees what the codec made of them. So there is one place where the two meet, and it is this port. A
program without a codec has no such store, and pays nothing.

A codec that fails is like a database that is away, to those it concerns and to nobody else. A call about one run raises
`PayloadCodecError`, which is a `StoreUnavailableError`, and whoever is patient with a database is patient with a codec. A
call that brings the work of many runs marks what it could not decode (`fault`), and leaves it as it is stored.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import TypeVar

from msgspec.structs import replace

from durable._engine.hints import Glance, Hint, HintKind
from durable._engine.lanes import BreakerNews, BreakerRecord, Forced, KeyRecord
from durable._engine.records import (
    ActivityRecord,
    AttemptOutcome,
    ClaimedRun,
    CommitResult,
    Heartbeat,
    HeartbeatAnswer,
    ListedRun,
    Message,
    NewRun,
    QueryAnswer,
    Question,
    RunRecord,
    SendOutcome,
    StartVerdict,
    Transition,
    UpdateOutcome,
    WorkerRecord,
)
from durable._engine.schedules.rows import ScheduleRow, ScheduleWrite
from durable._engine.versioning import DeploymentRow, QueueRoute, VersionRow
from durable.converter import PayloadCodec
from durable.converter._codec import decoded, encoded
from durable.exceptions import PayloadCodecError
from durable.history import EventRow
from durable.store._encoded_inside import EncodedInside, message_of
from durable.store._encoded_operators import EncodedOperators
from durable.store._encoded_transactions import EncodedTransactions
from durable.store._filter import CountQuery, ListQuery, Position
from durable.store._parcel import Parcel, Whose
from durable.store._protocol import Lease, Store

R = TypeVar("R")

logger = logging.getLogger("durable.store")


class EncodedStore(EncodedOperators, EncodedTransactions):
    """A store whose payloads pass a codec; see the module, and `Store` for the methods.

    Attributes:
        stored: The database itself, in which payloads are as the codec made them.
    """

    # ---------------------------------------------------------------- runs

    async def create_runs(self, runs: Sequence[NewRun]) -> list[StartVerdict]:
        for run in runs:
            self._learn(run.run_id, run.workflow_id)
        return await self.stored.create_runs(await self._all(encoded, Parcel.new_run, runs))

    async def find_run(
        self, workflow_id: str, run_id: str | None = None, *, measured: bool = True
    ) -> RunRecord | None:
        """See `Store`. What cannot be decoded of the row is left as it is stored: messages need the rest of it."""
        found = await self.stored.find_run(workflow_id, run_id, measured=measured)
        if found is None:
            return None
        self._learn(found.run_id, found.workflow_id)
        answer = (await self._each(decoded, Parcel.run, [found]))[0]
        return found if isinstance(answer, PayloadCodecError) else answer

    async def read_events(self, run_id: str, after: int = 0, limit: int | None = None) -> list[EventRow]:
        rows = await self.stored.read_events(run_id, after, limit)
        return await self._pass(decoded, lambda parcel, own: parcel.events(Whose("", run_id), own), rows)

    async def read_closing_events(self, run_ids: Sequence[str]) -> dict[str, EventRow]:
        found = await self.stored.read_closing_events(run_ids)
        return dict(await self._all(decoded, _closing, found.items()))

    async def read_activities(self, run_id: str) -> list[ActivityRecord]:
        records = await self.stored.read_activities(run_id)
        return await self._pass(decoded, lambda parcel, own: [parcel.activity(one) for one in own], records)

    # ---------------------------------------------------------------- lists

    async def attribute_types(self, wanted: Mapping[str, int] = MappingProxyType({})) -> dict[str, int]:
        return await self.stored.attribute_types(wanted)

    async def list_runs(
        self, query: ListQuery, limit: int, behind: Position | None = None
    ) -> tuple[list[ListedRun], Position | None]:
        """See `Store`. What cannot be decoded is shown as it is stored, with the `fault`."""
        found, last = await self.stored.list_runs(query, limit, behind)
        answers = await self._each(decoded, Parcel.listed, found)
        return [
            replace(run, fault=answer) if isinstance(answer, PayloadCodecError) else answer
            for run, answer in zip(found, answers, strict=True)
        ], last

    async def count_runs(self, query: CountQuery) -> list[tuple[str | int | None, int]]:
        return await self.stored.count_runs(query)

    # ---------------------------------------------------------------- messages

    async def send(self, messages: Sequence[Message]) -> list[SendOutcome]:
        return await self.stored.send(await self._all(encoded, Parcel.message, messages))

    async def inside(self, connection: object) -> EncodedInside:
        return EncodedInside(
            await self.stored.inside(connection),
            lambda run: self._pass(encoded, Parcel.new_run, run),
            lambda workflow_id, message: self._pass(encoded, message_of(workflow_id), message),
        )

    async def read_messages(self, run_ids: Sequence[str]) -> list[Message]:
        return await self._messages(await self.stored.read_messages(run_ids))

    async def read_owned_messages(self, worker_id: str, limit: int) -> list[Message]:
        return await self._messages(await self.stored.read_owned_messages(worker_id, limit))

    async def _messages(self, messages: Sequence[Message]) -> list[Message]:
        """Those of one run together: when one of them cannot be decoded none behind it may overtake it."""
        by_run: dict[str, list[Message]] = {}
        for message in messages:
            by_run.setdefault(message.run_id, []).append(message)
        answers = await self._each(decoded, _messages, by_run.values())
        made: list[Message] = []
        for own, answer in zip(by_run.values(), answers, strict=True):
            if isinstance(answer, PayloadCodecError):
                answer = [replace(message, fault=answer) for message in own]
            made += answer
        return sorted(made, key=lambda message: message.position)

    # ---------------------------------------------------------------- the commit path

    async def commit(self, transitions: Sequence[Transition]) -> CommitResult:
        """See `Store`. A transition that may have to be repeated goes through `encode_transition`, once, instead."""
        return await self.stored.commit(await self._all(encoded, Parcel.transition, transitions))

    async def find_update(self, run_id: str, message_id: str) -> UpdateOutcome | None:
        found = await self.stored.find_update(run_id, message_id)
        if found is None:
            return None
        return await self._pass(decoded, lambda parcel, one: parcel.update(Whose("", run_id), one), found)

    async def condemned_runs(self, limit: int) -> list[RunRecord]:
        return await self.stored.condemned_runs(limit)

    async def locked_by(self, run_id: str) -> str:
        return await self.stored.locked_by(run_id)

    # ---------------------------------------------------------------- claims

    async def claim_runs(
        self,
        worker_id: str,
        task_queues: Sequence[str],
        workflow_types: Sequence[str] | None,
        limit: int,
        *,
        format: int,
        version: str = "",
    ) -> list[ClaimedRun]:
        return await self._claimed(
            await self.stored.claim_runs(
                worker_id, task_queues, workflow_types, limit, format=format, version=version
            )
        )

    async def claim_probationer(
        self,
        worker_id: str,
        task_queues: Sequence[str],
        workflow_types: Sequence[str] | None,
        *,
        format: int,
        version: str = "",
    ) -> ClaimedRun | None:
        found = await self.stored.claim_probationer(
            worker_id, task_queues, workflow_types, format=format, version=version
        )
        return None if found is None else (await self._claimed([found]))[0]

    async def owned_runs(self, worker_id: str) -> dict[str, int]:
        return await self.stored.owned_runs(worker_id)

    async def reload_run(self, worker_id: str, run_id: str, epoch: int) -> ClaimedRun | None:
        found = await self.stored.reload_run(worker_id, run_id, epoch)
        return None if found is None else (await self._claimed([found]))[0]

    async def _claimed(self, claimed: Sequence[ClaimedRun]) -> list[ClaimedRun]:
        for one in claimed:
            self._learn(one.run.run_id, one.run.workflow_id)
        answers = await self._each(decoded, Parcel.claimed, claimed)
        return [
            replace(one, fault=answer) if isinstance(answer, PayloadCodecError) else answer
            for one, answer in zip(claimed, answers, strict=True)
        ]

    async def next_wake(self, task_queues: Sequence[str]) -> int | None:
        return await self.stored.next_wake(task_queues)

    async def glance(self, task_queues: Sequence[str]) -> Glance:
        return await self.stored.glance(task_queues)

    # ---------------------------------------------------------------- activities

    async def claim_activities(
        self,
        worker_id: str,
        task_queues: Sequence[str],
        activity_types: Sequence[str] | None,
        limit: int,
        *,
        format: int,
        version: str = "",
    ) -> list[ActivityRecord]:
        return await self._activities(
            await self.stored.claim_activities(
                worker_id, task_queues, activity_types, limit, format=format, version=version
            )
        )

    async def finish_attempts(self, outcomes: Sequence[AttemptOutcome]) -> list[bool]:
        return await self.stored.finish_attempts(await self._all(encoded, Parcel.outcome, outcomes))

    async def heartbeat(self, beats: Sequence[Heartbeat]) -> list[HeartbeatAnswer]:
        """See `Store`. One whose details cannot be encoded is not told, and answered as if it had been."""
        answers = await self._each(encoded, Parcel.heartbeat, beats)
        told = [answer for answer in answers if not isinstance(answer, PayloadCodecError)]
        heard = iter(await self.stored.heartbeat(told) if told else ())
        found: list[HeartbeatAnswer] = []
        for answer in answers:
            if isinstance(answer, PayloadCodecError):
                logger.warning("a heartbeat was not stored: %s", answer)
                found.append(HeartbeatAnswer.GO_ON)
            else:
                found.append(next(heard))
        return found

    async def stray_outcomes(self, limit: int) -> list[tuple[ActivityRecord, Message]]:
        """See `Store`. One that cannot be decoded is not given; somebody looks again a little later."""
        answers = await self._each(decoded, _stray, await self.stored.stray_outcomes(limit))
        return [answer for answer in answers if not isinstance(answer, PayloadCodecError)]

    async def owned_activities(self, worker_id: str) -> list[ActivityRecord]:
        return await self._activities(await self.stored.owned_activities(worker_id))

    async def expired_activities(self, limit: int) -> list[ActivityRecord]:
        return await self._activities(await self.stored.expired_activities(limit))

    async def _activities(self, records: Sequence[ActivityRecord]) -> list[ActivityRecord]:
        for record in records:
            self._learn(record.run_id, record.workflow_id)
        answers = await self._each(decoded, Parcel.activity, records)
        return [
            replace(record, fault=answer) if isinstance(answer, PayloadCodecError) else answer
            for record, answer in zip(records, answers, strict=True)
        ]

    # ---------------------------------------------------------------- limits

    async def read_key(self, kind: int, key: str) -> KeyRecord:
        return await self.stored.read_key(kind, key)

    async def set_key(self, kind: int, key: str, most: int | None) -> None:
        await self.stored.set_key(kind, key, most)

    async def sweep_keys(self, limit: int) -> int:
        return await self.stored.sweep_keys(limit)

    async def tell_breakers(self, news: Sequence[BreakerNews]) -> None:
        await self.stored.tell_breakers(news)

    async def read_breaker(self, key: str) -> BreakerRecord:
        return await self.stored.read_breaker(key)

    async def force_breaker(self, key: str, forced: Forced | None) -> None:
        await self.stored.force_breaker(key, forced)

    async def set_rate(self, task_queue: str, per_second: float | None) -> None:
        await self.stored.set_rate(task_queue, per_second)

    async def read_rate(self, task_queue: str) -> float | None:
        return await self.stored.read_rate(task_queue)

    # ---------------------------------------------------------------- queries

    async def ask(self, question: Question) -> bool:
        return await self.stored.ask(await self._pass(encoded, Parcel.question, question))

    async def take_questions(
        self,
        worker_id: str,
        task_queues: Sequence[str],
        workflow_types: Sequence[str] | None,
        limit: int,
        *,
        format: int,
    ) -> list[Question]:
        """See `Store`. One that cannot be decoded is taken and not given; somebody takes it again a little later."""
        taken = await self.stored.take_questions(worker_id, task_queues, workflow_types, limit, format=format)
        found = await self._each(decoded, Parcel.question, taken)
        return self._possible(found)

    async def answer_questions(self, answers: Sequence[QueryAnswer]) -> None:
        """See `Store`. An answer that cannot be encoded is none; somebody answers again a little later."""
        made = await self._each(encoded, Parcel.answer, answers)
        await self.stored.answer_questions(self._possible(made))

    async def read_answers(self, query_ids: Sequence[str]) -> list[QueryAnswer]:
        return await self._all(decoded, Parcel.answer, await self.stored.read_answers(query_ids))

    async def sweep_questions(self, limit: int) -> int:
        return await self.stored.sweep_questions(limit)

    @staticmethod
    def _possible(answers: Iterable[R | PayloadCodecError]) -> list[R]:
        """What the codec has turned; what it has not is for the log."""
        made: list[R] = []
        for answer in answers:
            if isinstance(answer, PayloadCodecError):
                logger.warning("a query waits, the codec failed: %s", answer)
            else:
                made.append(answer)
        return made

    # ---------------------------------------------------------------- schedules

    async def write_schedule(self, write: ScheduleWrite) -> list[StartVerdict] | None:
        for run in write.starts:
            self._learn(run.run_id, run.workflow_id)
        return await self.stored.write_schedule(await self._pass(encoded, Parcel.schedule_write, write))

    async def find_schedule(self, schedule_id: str) -> ScheduleRow | None:
        found: ScheduleRow | None = await self.stored.find_schedule(schedule_id)
        return None if found is None else (await self._all(decoded, Parcel.schedule, [found]))[0]

    async def list_schedules(self, after: str, limit: int) -> list[ScheduleRow]:
        return await self._schedules(await self.stored.list_schedules(after, limit))

    async def next_schedule(self) -> int | None:
        return await self.stored.next_schedule()

    async def claim_schedules(self, limit: int) -> list[ScheduleRow]:
        return await self._schedules(await self.stored.claim_schedules(limit))

    async def ended_schedules(self, limit: int) -> Sequence[str]:
        return await self.stored.ended_schedules(limit)

    async def delete_schedule(self, schedule_id: str) -> bool:
        return await self.stored.delete_schedule(schedule_id)

    async def _schedules(self, rows: Sequence[ScheduleRow]) -> list[ScheduleRow]:
        answers = await self._each(decoded, Parcel.schedule, rows)
        return [
            replace(row, fault=answer) if isinstance(answer, PayloadCodecError) else answer
            for row, answer in zip(rows, answers, strict=True)
        ]

    # ---------------------------------------------------------------- versions

    async def find_deployments(self, name: str | None = None) -> list[DeploymentRow]:
        return await self.stored.find_deployments(name)

    async def find_versions(self, deployment: str) -> list[VersionRow]:
        return await self.stored.find_versions(deployment)

    async def write_deployment(self, row: DeploymentRow) -> bool:
        return await self.stored.write_deployment(row)

    async def forget_version(self, version: str, *, pinned: bool = False) -> bool:
        return await self.stored.forget_version(version, pinned=pinned)

    async def queue_routes(self, task_queues: Sequence[str]) -> dict[str, QueueRoute]:
        return await self.stored.queue_routes(task_queues)

    async def moved_runs(self, worker_id: str, task_queues: Sequence[str], version: str) -> list[str]:
        return await self.stored.moved_runs(worker_id, task_queues, version)

    async def stranded_versions(self) -> list[tuple[str, str]]:
        return await self.stored.stranded_versions()

    # ---------------------------------------------------------------- workers

    async def register_worker(self, worker: WorkerRecord) -> Lease:
        return await self.stored.register_worker(worker)

    async def unregister_worker(self, worker_id: str) -> None:
        await self.stored.unregister_worker(worker_id)

    async def list_workers(self) -> list[WorkerRecord]:
        return await self.stored.list_workers()

    async def bury_worker(self, worker_id: str, renewals: int) -> bool:
        return await self.stored.bury_worker(worker_id, renewals)

    async def take_over(self, limit: int) -> int:
        return await self.stored.take_over(limit)

    async def timed_out_runs(self, limit: int) -> list[RunRecord]:
        return await self.stored.timed_out_runs(limit)

    # ---------------------------------------------------------------- hints and life

    def hint(self, hints: Sequence[Hint]) -> None:
        self.stored.hint(hints)

    def listen(self, callback: Callable[[Hint], None], *kinds: HintKind) -> Callable[[], None]:
        return self.stored.listen(callback, *kinds)

    async def now(self) -> int:
        return await self.stored.now()

    async def aclose(self) -> None:
        await self.stored.aclose()


def _messages(parcel: Parcel, some: list[Message]) -> list[Message]:
    return [parcel.message(one) for one in some]


def _stray(parcel: Parcel, entry: tuple[ActivityRecord, Message]) -> tuple[ActivityRecord, Message]:
    record, message = entry
    return parcel.activity(record), parcel.message(message)


def _closing(parcel: Parcel, entry: tuple[str, EventRow]) -> tuple[str, EventRow]:
    run_id, row = entry
    return run_id, parcel.row(Whose("", run_id), row)


def through(store: Store, codec: PayloadCodec | None, namespace: str) -> Store:
    """Return the store that passes everything through this codec and no other; the database itself without one."""
    return beneath(store) if codec is None else EncodedStore(beneath(store), codec, namespace)


async def as_stored(store: Store, message: Message) -> Message:
    """Return a message as the database is to have it, for those who write beneath the codec.

    Raises:
        PayloadCodecError: The codec failed.
    """
    return await store.encode_message(message) if isinstance(store, EncodedStore) else message


def beneath(store: Store) -> Store:
    """Return the database itself, with payloads as they are stored."""
    return store.stored if isinstance(store, EncodedStore) else store
