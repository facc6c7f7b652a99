"""The one writer of histories: a batch of transitions in one round trip, and what to believe when the reply is lost.

A commit can be ambiguous: the connection dies, or the task is cancelled, and the server may have done all of it, nothing,
or be doing it now. Reading back settles the first two. For the third the old session has to end first, or a read that
finds nothing is a guess. So a session that a commit was left on is ended (by process id and the time it began, so that
nobody else's is meant), and until it is known to have ended, nothing that serves to read back is answered.

Transitions that create runs may have to wait for a stranger who has an uncommitted run of the same workflow id. They are
written on a second connection, in a transaction of their own, at the same time as the others.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from durable._engine.records import CommitResult, StartOutcome, StartVerdict, Transition, Verdict
from durable.exceptions import StoreUnavailableError
from durable.history import Payload
from durable.store.postgres._errors import Meaning, connection_survives, meaning
from durable.store.postgres._pack import SIZES, new_runs, pack, pack_steps
from durable.store.postgres._pool import Pool
from durable.store.postgres._search import Search
from durable.store.postgres._session import Backend, Row, Session

_VERDICTS = {int(verdict): verdict for verdict in Verdict}


Fetch = Callable[[str, Sequence[Any]], Awaitable[list[Row]]]
"""What makes a call: a statement and its arguments."""

_STEPS, _STARTS = "commit", "start"
"""The roles of the two connections."""


class Commits(Search):
    """The commit path, on connections of its own."""

    def __init__(self, pool: Pool) -> None:
        super().__init__(pool)
        self._sessions: dict[str, Session] = {}
        self._statements = {
            size: self._sql["commit"].replace(":arguments", _arguments(size)) for size in SIZES
        }
        self._now = 0  # of the last commit
        self._turn = asyncio.Lock()
        self._left: list[Backend] = []  # sessions on which a commit was left, not yet known to have ended
        self._settling = asyncio.Lock()

    async def commit(self, transitions: Sequence[Transition]) -> CommitResult:
        """Write a batch of transitions of different runs, each all or nothing, in one transaction or two; see the port.

        When it raises `StoreUnavailableError` or is cancelled, nothing is known; but `read_events`, `read_closing_events`,
        `owned_runs`, `reload_run` and the next `commit` of this store answer only when the sessions it was sent on have
        ended, so what they say is final.
        """
        steps: list[Transition] = []
        starts: list[Transition] = []
        for transition in transitions:
            close = transition.close
            creates = transition.starts or (close is not None and close.successor is not None)
            (starts if creates else steps).append(transition)
        if found := _found(transitions, starts):
            await self._learn(found)
        async with self._turn:
            await self.settle()
            if not starts:
                return await self._write(_STEPS, transitions)
            if not steps:
                return await self._write(_STARTS, transitions)
            # Both are awaited, also when one fails: nothing may be under way behind the caller's back.
            answers = await asyncio.gather(
                self._write(_STEPS, steps), self._write(_STARTS, starts), return_exceptions=True
            )
        results: list[tuple[Sequence[Transition], CommitResult]] = []
        errors: list[BaseException] = []
        for part, answer in zip((steps, starts), answers, strict=True):
            if isinstance(answer, BaseException):
                errors.append(answer)
            else:
                results.append((part, answer))
        if errors:
            # What is not known has to be read back; a malformed transition is met again.
            raise next((error for error in errors if isinstance(error, StoreUnavailableError)), errors[0])
        return _joined(transitions, results)

    async def _write(self, role: str, transitions: Sequence[Transition]) -> CommitResult:
        ordered = _closing_last(transitions)
        row = await self._send(role, ordered)
        self._now = max(self._now, row["now"])
        started = _started(ordered, row) if row["started"] else ()
        verdicts: Sequence[int] | None = row["verdicts"]
        if verdicts is None:
            return CommitResult(row["now"], (Verdict.WRITTEN,) * len(transitions), started)
        runs = (transition.run_id for transition in ordered)
        by_run = dict(zip(runs, (_VERDICTS[verdict] for verdict in verdicts), strict=True))
        # What seems lost may be what this very owner wrote before, and closed or gave up the run with.
        lost = [transition for transition in ordered if by_run[transition.run_id] is Verdict.LOST]
        by_run.update(dict.fromkeys(await self._written_before(lost), Verdict.WRITTEN))
        return CommitResult(
            row["now"], tuple(by_run[transition.run_id] for transition in transitions), started
        )

    async def _send(self, role: str, transitions: Sequence[Transition]) -> Row:
        self._pool.check_parent()
        tries = 0
        while True:
            session = self._sessions.get(role)
            if session is None or session.closed:
                session = self._sessions[role] = await self._pool.connect(role)
            try:
                return await self._call(session, transitions)
            except BaseException as error:
                kind = meaning(error)
                if not connection_survives(error):
                    self._leave(role, session, in_doubt=kind is not Meaning.POOLER)
                if not isinstance(error, Exception):
                    raise
                tries += 1
                if kind is Meaning.TAKEN:
                    transitions = await self._without_repeated(transitions)
                    tries = 0
                    continue
                if kind is Meaning.UNAVAILABLE or not await self._pool.may_retry(error, tries, read=False):
                    await self._try_to_settle()
                    raise self._pool.translate(error) from None

    async def write(self, fetch: Fetch, transitions: Sequence[Transition]) -> Row:
        """Write a batch, the closing ones last, with what makes a call: on the short way, if that takes it, or on the long one."""
        if (steps := pack_steps(transitions)) is not None:
            (row,) = await fetch(self._sql["append"], steps)
            if row["now"] is not None:
                return row
        args = pack(transitions, self._now, self._types)
        (row,) = await fetch(self._statements[len(args)], args)
        return row

    async def _call(self, session: Session, transitions: Sequence[Transition]) -> Row:
        if not self._pool.settings.pooler:
            return await self.write(session.fetch_often, transitions)
        # Which server process it is says nothing here; the transaction's own id does.
        await session.begin()
        ((transaction,),) = await session.fetch_inside("select pg_current_xact_id()::text::bigint")
        session.backend = Backend(0, None, transaction=transaction)
        row = await self.write(session.fetch_inside, transitions)
        await session.end("commit")
        return row

    def _leave(self, role: str, session: Session, *, in_doubt: bool) -> None:
        """Give up a session, which may still be at work."""
        session.kill()
        if in_doubt:
            self._left.append(session.backend)
        if self._sessions.get(role) is session:
            del self._sessions[role]

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


def _arguments(given: int) -> str:
    # A literal null costs nothing; one that is sent has to be taken in.
    return ", ".join(f"${n}" if n <= given else "null" for n in range(1, SIZES[-1] + 1))


def _found(transitions: Sequence[Transition], starts: Sequence[Transition]) -> list[dict[str, Payload]]:
    """The search attributes that a batch writes."""
    changed = [transition.upsert.search_attributes for transition in transitions if transition.upsert]
    given = [run.search_attributes for transition in starts for run in new_runs(transition)]
    return [attributes for attributes in changed + given if attributes]


def _closing_last(transitions: Sequence[Transition]) -> Sequence[Transition]:
    closing = [transition for transition in transitions if transition.close is not None]
    if not closing:
        return transitions
    return [*[transition for transition in transitions if transition.close is None], *closing]


def _started(transitions: Sequence[Transition], row: Row) -> tuple[StartVerdict, ...]:
    """The runs that were created with an owner."""
    owned = {str(run_id) for run_id in row["started"]}
    return tuple(
        StartVerdict(StartOutcome.STARTED, run.run_id, run.workflow_type, 1, row["now"])
        for transition in transitions
        for run in new_runs(transition)
        if run.run_id in owned
    )


def _joined(
    transitions: Sequence[Transition], results: Sequence[tuple[Sequence[Transition], CommitResult]]
) -> CommitResult:
    """One answer of the answers to the parts of a batch."""
    answers = {
        transition.run_id: (verdict, result.now)
        for part, result in results
        for transition, verdict in zip(part, result.verdicts, strict=True)
    }
    return CommitResult(
        max(result.now for _, result in results),
        tuple(answers[transition.run_id][0] for transition in transitions),
        tuple(verdict for _, result in results for verdict in result.started),
        tuple(answers[transition.run_id][1] for transition in transitions),
    )
