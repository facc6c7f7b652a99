"""The one writer of histories: a batch of transitions in one round trip, and what to believe when the reply is lost.

A commit can be ambiguous: the connection dies, or the task is cancelled, and the server may have done all of it, nothing,
or be doing it now. Reading back settles the first two. For the third the old session has to end first, or a read that
finds nothing is a guess. So a session that a commit was left on is ended (by process id and the time it began, so that
nobody else's is meant), and until it is known to have ended, nothing that serves to read back is answered.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from itertools import chain
from typing import Any

from durable._engine.records import CommitResult, Transition, Verdict
from durable.exceptions import StoreUnavailableError
from durable.store.postgres._errors import Meaning, connection_survives, meaning
from durable.store.postgres._part import Part
from durable.store.postgres._pool import Pool
from durable.store.postgres._rows import readable
from durable.store.postgres._session import Backend, Row, Session

_VERDICTS = {int(verdict): verdict for verdict in Verdict}


class Commits(Part):
    """The commit path, on a connection of its own."""

    def __init__(self, pool: Pool) -> None:
        super().__init__(pool)
        self._committer: Session | None = None
        self._now = 0  # of the last commit
        self._turn = asyncio.Lock()
        self._left: list[Backend] = []  # sessions on which a commit was left, not yet known to have ended
        self._settling = asyncio.Lock()

    async def commit(self, transitions: Sequence[Transition]) -> CommitResult:
        """Write a batch of transitions of different runs in one transaction, each all or nothing; see the port.

        When it raises `StoreUnavailableError` or is cancelled, nothing is known; but `read_events`, `read_closing_events`,
        `owned_runs`, `reload_run` and the next `commit` of this store answer only when the session it was sent on has
        ended, so what they say is final.
        """
        ordered = _closing_last(transitions)
        args = pack(ordered, self._now)
        async with self._turn:
            await self.settle()
            row = await self._send(args, ordered)
            self._now = row["now"]
        verdicts: Sequence[int] | None = row["verdicts"]
        if verdicts is None:
            return CommitResult(row["now"], (Verdict.WRITTEN,) * len(transitions))
        runs = (transition.run_id for transition in ordered)
        by_run = dict(zip(runs, (_VERDICTS[verdict] for verdict in verdicts), strict=True))
        # What seems lost may be what this very owner wrote before, and closed or gave up the run with.
        lost = [transition for transition in ordered if by_run[transition.run_id] is Verdict.LOST]
        by_run.update(dict.fromkeys(await self._written_before(lost), Verdict.WRITTEN))
        return CommitResult(row["now"], tuple(by_run[transition.run_id] for transition in transitions))

    async def _send(self, args: list[Any], transitions: Sequence[Transition]) -> Row:
        tries = 0
        while True:
            session = self._committer
            if session is None or session.closed:
                session = self._committer = await self._pool.connect("commit")
            try:
                return await self._call(session, args)
            except BaseException as error:
                kind = meaning(error)
                if not connection_survives(error):
                    self._leave(session, in_doubt=kind is not Meaning.POOLER)
                if not isinstance(error, Exception):
                    raise
                tries += 1
                if kind is Meaning.TAKEN:
                    transitions = await self._without_repeated(transitions)
                    args = pack(transitions, self._now)
                    tries = 0
                    continue
                if kind is Meaning.UNAVAILABLE or not await self._pool.may_retry(error, tries, read=False):
                    await self._try_to_settle()
                    raise self._pool.translate(error) from None

    async def _call(self, session: Session, args: list[Any]) -> Row:
        if not self._pool.settings.pooler:
            return (await session.fetch(self._sql["commit"], args))[0]
        # Which server process it is says nothing here; the transaction's own id does.
        await session.begin()
        ((transaction,),) = await session.fetch_inside("select pg_current_xact_id()::text::bigint")
        session.backend = Backend(0, None, transaction=transaction)
        (row,) = await session.fetch_inside(self._sql["commit"], args)
        await session.end("commit")
        return row

    def _leave(self, session: Session, *, in_doubt: bool) -> None:
        """Give up a session, which may still be at work."""
        session.kill()
        if in_doubt:
            self._left.append(session.backend)
        if self._committer is session:
            self._committer = None

    async def settle(self) -> None:
        """Return when no commit of this store is under way that nobody waits for.

        Raises:
            StoreUnavailableError: The database could not be asked, or a session did not end in time.
        """
        if not self._left:
            return
        async with self._settling:
            deadline = asyncio.get_running_loop().time() + self._pool.settings.limits.settle
            while self._left:
                if await self._has_ended(self._left[0]):
                    del self._left[0]
                elif asyncio.get_running_loop().time() > deadline:
                    raise StoreUnavailableError(
                        f"{self.url}: the session of an interrupted commit (process {self._left[0].pid}) does not end"
                    )

    async def _has_ended(self, backend: Backend) -> bool:
        if backend.transaction is not None:
            ((running,),) = await self._read("transaction_status", str(backend.transaction))
            if running:
                await asyncio.sleep(0.02)
            return not running
        # The server waits up to a second for the end of the session, so this is no busy loop.
        return not await self._read("end_session", backend.pid, backend.started, backend.name)

    async def _try_to_settle(self) -> None:
        try:
            async with asyncio.timeout(self._pool.settings.limits.settle):
                await self.settle()
        except (StoreUnavailableError, TimeoutError):
            pass  # whoever reads back waits for it

    async def _without_repeated(self, transitions: Sequence[Transition]) -> list[Transition]:
        """These transitions, with nothing left but the fence of those that were written before.

        Raises:
            ValueError: There are none, so something else stands at a position.
        """
        # A run that was closed by its transition would have been lost, so none that closes was written before.
        before = await self._written_before(
            [transition for transition in transitions if not transition.close]
        )
        if not before:
            raise ValueError(await self._taken(transitions))
        return [
            Transition(transition.run_id, transition.epoch) if transition.run_id in before else transition
            for transition in transitions
        ]

    async def _written_before(self, transitions: Sequence[Transition]) -> set[str]:
        """The runs of these transitions, under the same epoch, that have all the events of theirs byte for byte."""
        events = [(transition, event) for transition in transitions for event in transition.events]
        if not events:
            return set()
        rows = await self._read(
            "written_before",
            [transition.run_id for transition, _ in events],
            [transition.epoch for transition, _ in events],
            [event.seq for _, event in events],
            [event.task for _, event in events],
            [event.type for _, event in events],
            [event.data for _, event in events],
        )
        there = {str(row["run_id"]): row["count"] for row in rows}
        return {
            transition.run_id
            for transition in transitions
            if transition.events and there.get(transition.run_id) == len(transition.events)
        }

    async def _taken(self, transitions: Sequence[Transition]) -> str:
        """What to say about positions that are taken."""
        events = [(transition.run_id, event) for transition in transitions for event in transition.events]
        rows = await self._read(
            "taken_positions",
            [run_id for run_id, _ in events],
            [event.seq for _, event in events],
            [event.data for _, event in events],
        )
        told = [
            f"run {row['run_id']} has an event {row['seq']} already"
            + (" (with these very bytes, but not all of its transition)" if row["same"] else "")
            for row in rows
        ]
        return f"nothing was written: {'; '.join(told[:10]) or 'two transitions write one row'}"


def _closing_last(transitions: Sequence[Transition]) -> Sequence[Transition]:
    if not any(transition.close for transition in transitions):
        return transitions
    return sorted(transitions, key=lambda transition: transition.close is not None)


def pack(transitions: Sequence[Transition], now: int = 0) -> list[Any]:
    """The arguments of `commit_1`: one array for each column, None for what is not needed.

    This runs for every batch, in the event loop: each column is one comprehension, and what most steps do not have is
    looked for once.

    Args:
        transitions: The closing ones come last.
        now: A time the database has told already.
    """
    events = [event for transition in transitions for event in transition.events]
    latest = max([transition.not_before for transition in transitions], default=0)
    return [
        [transition.run_id for transition in transitions],
        [transition.epoch for transition in transitions],
        latest,
        [transition.not_before for transition in transitions] if latest > now else None,
        [n for n, transition in enumerate(transitions, 1) for _ in transition.events],
        [event.seq for event in events],
        [event.task for event in events],
        [event.type for event in events],
        [event.data for event in events],
        *_pack_pairs(
            [(transition.run_id, transition.consumed) for transition in transitions if transition.consumed]
        ),
        *_pack_rest([transition for transition in transitions if _has_more(transition)]),
    ]


def _has_more(transition: Transition) -> bool:
    return bool(
        transition.close
        or transition.release
        or transition.proven
        or transition.messages
        or transition.activities
        or transition.activities_done
        or transition.activities_canceled
    )


def _pack_rest(transitions: Sequence[Transition]) -> list[Any]:
    if not transitions:
        return [None] * 33
    return [
        [transition.close.status for transition in transitions if transition.close] or None,
        *_pack_releases(transitions),
        [transition.run_id for transition in transitions if transition.proven] or None,
        *_pack_messages(transitions),
        *_pack_activities(transitions),
        *_pack_pairs([(transition.run_id, transition.activities_done) for transition in transitions]),
        *_pack_pairs([(transition.run_id, transition.activities_canceled) for transition in transitions]),
    ]


def _pack_pairs(pairs: list[tuple[str, tuple[int, ...]]]) -> list[Any]:
    numbers = list(chain.from_iterable([more for _, more in pairs]))
    if not numbers:
        return [None, None]
    return [[run_id for run_id, more in pairs for _ in more], numbers]


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
    messages = [message for transition in transitions for message in transition.messages]
    if not messages:
        return [None] * 6
    return [
        [transition.run_id for transition in transitions for _ in transition.messages],
        [message.run_id for message in messages],
        [message.message_id for message in messages],
        [message.type for message in messages],
        [message.internal for message in messages],
        [message.data for message in messages],
    ]


def _pack_activities(transitions: Sequence[Transition]) -> list[Any]:
    activities = [activity for transition in transitions for activity in transition.activities]
    if not activities:
        return [None] * 16
    return [
        [transition.run_id for transition in transitions for _ in transition.activities],
        [activity.id for activity in activities],
        [activity.activity_type for activity in activities],
        [activity.task_queue for activity in activities],
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
    ]
