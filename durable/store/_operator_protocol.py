"""The part of the port that is for operators; see `_protocol`.

Whatever takes a `deed` writes it into the log in its own transaction, if it changes anything.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

from durable._engine.deeds import BatchNews, BatchRow, BatchRun, Deed, DeedRow, NewBatch
from durable._engine.operations import ActivityChange, Operated, Reset, ResetView
from durable._engine.records import Close, Hold, Message
from durable._engine.retention import OverdueRun, RetentionRow
from durable.history import EventRow
from durable.store._filter import ListQuery


class OperatorStore(Protocol):
    """What operators do to runs, the log of it, and what they do to many runs at once."""

    # ---------------------------------------------------------------- one run

    async def terminate(
        self,
        run_id: str,
        event: Callable[[int], EventRow],
        close: Close,
        messages: Sequence[Message] = (),
        *,
        deed: Deed | None = None,
        waiting: bool = False,
    ) -> bool:
        """Close an open run whoever owns it, without reading its messages; they are deleted with it.

        `event` is given the next free position and returns the closing event. `close.unread` must be MOVE or say
        nothing: without a successor unread messages are deleted, and its updates get `update_lost`; children are told
        as in `commit`, and so is whoever `messages` are for (a parent). Waits for the run's lock for a bounded time.

        Returns:
            False when the run is not open (any more), or, with `waiting`, when it does not wait to be admitted (any more).

        Raises:
            StoreUnavailableError: Unknown; look at the run.
        """
        ...

    async def reset(
        self,
        base_run_id: str,
        run_id: str,
        open_run: str | None,
        plan: Callable[[ResetView], Reset | None],
        *,
        after: int = 0,
        children: Mapping[str, str] | None = None,
        deed: Deed | None = None,
    ) -> bool:
        """Create a run that goes on for another one, in the place of the workflow's open run if there is one.

        In one transaction: `open_run` is locked, the open ones of `children` (workflow ids, by first run id) become the new
        run's, and keep no message that the base has closed; then `plan` is given what there is to know, and what it
        returns is written. What a child later tells its parent goes to the parent in its row.

        Args:
            base_run_id: The run that is gone back in.
            run_id: The new run's id, as in the plan.
            open_run: The open run of the workflow, None if it has none.
            plan: Decides; it is called at most once for each try of the transaction, maybe in another thread. None
                means that nothing is to be written.
            after: The position in the open run's history behind which it is read.
            children: Which children are the new run's from now on, if they are open.

        Returns:
            False when nothing was written: `open_run` is not open any more, another run of the workflow is, or the plan
            was None. Also when the new run is there already.

        Raises:
            StoreUnavailableError: Unknown; look for the new run.
        """
        ...

    async def pause(self, run_id: str, reason: str, *, deed: Deed | None = None) -> Operated:
        """Hold an open run until it is unpaused: nobody claims it, or an attempt of its activities, from now on.

        Its owner goes on until it gives it up, which it is to do soon, see `paused_runs`; whatever it gives it up for,
        the run stays paused, and `wake_at` empty.
        """
        ...

    async def unpause(self, run_id: str, holds: Sequence[Hold], *, deed: Deed | None = None) -> Operated:
        """Let an open run that is held for one of these reasons be claimed again, at once.

        A quarantined one goes on probation. CHANGED only when it was held so.
        """
        ...

    async def paused_runs(self, worker_id: str) -> list[str]:
        """Return the runs that this worker owns and that are paused: it is to give them up."""
        ...

    async def purge(self, run_id: str, *, deed: Deed | None = None) -> Operated:
        """Remove a closed run with all its rows. An open one is left alone: UNCHANGED."""
        ...

    async def override(
        self, run_id: str, override: str, message: Message, *, deed: Deed | None = None
    ) -> Operated:
        """Set what holds for an open run whatever its workflow says, or lift it (""), and tell it so by a message.

        The run, its unread messages and its queued activities are at their new place from then on, in the same
        transaction, whoever owns it; unowned and not held it is due at once. `message` is internal. A run whose start is
        delayed goes on waiting, and is told nothing: it begins there.
        """
        ...

    async def change_activities(
        self, changes: Sequence[ActivityChange], *, deed: Deed | None = None
    ) -> list[bool]:
        """Write what operators make of activities of open runs; each stands or falls alone. Waits for rows that are locked.

        False: the row is not as it was read, it has no such state, attempt or revision (any more). Read it again.
        The deed is one, to the run of them all.
        """
        ...

    # ---------------------------------------------------------------- the log

    async def read_log(
        self, *, workflow_id: str | None, batch_id: str | None, before: int | None, limit: int
    ) -> list[DeedRow]:
        """Return at most `limit` deeds, the newest first, from before a place in the log.

        Args:
            workflow_id: Only those that were done to this workflow.
            batch_id: Only those that are part of this batch.
            before: The place; None for the end.
            limit: How many.
        """
        ...

    async def prune_log(self, age: int, limit: int) -> int:
        """Remove at most `limit` deeds that are at least `age` microseconds old, the oldest first; return how many.

        A batch goes, with the runs that it has not dealt with, when nothing of it is in the log any more.
        """
        ...

    # ---------------------------------------------------------------- retention

    async def set_retention(self, row: RetentionRow) -> None:
        """Let the closed runs of a type, or all others, be kept for so long."""
        ...

    async def clear_retention(self, workflow_type: str) -> None:
        """Let the closed runs of a type be kept as all others; with "", those others for ever."""
        ...

    async def read_retention(self) -> list[RetentionRow]:
        """Return what holds, by type; the row for all others is the first."""
        ...

    async def take_retention_turn(self, limit: int, *, exports: bool, hold: int) -> list[OverdueRun] | None:
        """Return at most `limit` runs that have been kept for long enough, if the turn to remove them is free.

        The turn is the caller's for `hold` microseconds, or until `retire` gives it back: one worker at a time, and at what
        rate it likes. Runs of a type that is to be exported are found only if the caller `exports`.

        Returns:
            None when the turn is somebody else's, not free yet, or nothing is ever to be removed.
        """
        ...

    async def retire(self, run_ids: Sequence[str], *, events: int, pause: int | None) -> bool:
        """Remove closed runs with all their rows, in one short transaction. What is open, or gone, is left alone.

        Of a history at most `events` events go with its run, and the rest by further calls, so many each.

        Args:
            run_ids: The runs.
            events: See above.
            pause: Microseconds until the turn is free again; None if the caller has not taken it.

        Returns:
            Whether there is such a rest, of whatever run.
        """
        ...

    # ---------------------------------------------------------------- many runs

    async def begin_batch(self, batch: NewBatch) -> BatchRow:
        """Write a batch down, with its deed, unless there is one of that id; return the one there is."""
        ...

    async def read_batch(self, batch_id: str) -> BatchRow | None:
        """Return a batch as it is now."""
        ...

    async def gather_batch(
        self, batch_id: str, position: bytes, runs: Sequence[BatchRun], following: bytes, *, last: bool
    ) -> None:
        """Add runs to a batch and move its position, unless it has another position, or its list is complete.

        A run takes the place of the one with its key. Numbers are ignored: new runs get new ones, in this order.

        Args:
            batch_id: Which.
            position: Where its list is.
            runs: What comes there; no two of them have one key.
            following: Where it is then.
            last: Whether it is complete then.
        """
        ...

    async def pending_batch_runs(self, batch_id: str, limit: int) -> list[BatchRun]:
        """Return at most `limit` runs that a batch has not dealt with, in order."""
        ...

    async def settle_batch(self, batch_id: str, news: Sequence[BatchNews]) -> None:
        """Count runs of a batch as dealt with; each counts once, whoever tells of it. The first errors are kept."""
        ...

    async def send_to_found(self, query: ListQuery, messages: Sequence[Message]) -> bool:
        """Send messages, as `send` does, all of them or none, if their runs are exactly those that a query finds.

        False, and nothing is written, if it finds others by then, or one of them holds messages back. Those that are there
        already are as good as sent. A run that closes meanwhile is waited for.
        """
        ...
