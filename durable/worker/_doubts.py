"""What the database says runs at a worker, compared with what has begun there.

The answer of a claim can be lost: then rows are this worker's of which it knows nothing. And the end of an attempt can be:
then a row is left whose attempt began and is over. One look may be older than what happened meanwhile, so only what two looks
in a row have shown is believed.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from durable.store import ActivityRecord

Key = tuple[str, int, int]
"""Run, activity and attempt."""


class Doubts:
    """See the module."""

    def __init__(self) -> None:
        self._begun: set[Key] = set()
        self._unseen: set[Key] = set()
        self._doubtful: set[Key] = set()

    def begun(self, run_id: str, id: int, attempt: int) -> None:
        """Take the news that an attempt with a row has begun here."""
        self._begun.add((run_id, id, attempt))

    def look(
        self, rows: Sequence[ActivityRecord], known: Callable[[ActivityRecord], bool]
    ) -> tuple[list[ActivityRecord], list[ActivityRecord]]:
        """Compare the rows that are this worker's with the attempts that it knows.

        Returns:
            The rows whose attempts began here and are lost, and those that were claimed and have not begun.
        """
        unknown = {
            (row.run_id, row.id, row.attempt): row for row in rows if row.fault is None and not known(row)
        }
        shown = {(row.run_id, row.id, row.attempt) for row in rows}
        # Kept until two looks in a row did not show it: one of them may have been on its way for long.
        self._begun -= self._unseen - shown
        self._unseen = self._begun - shown
        believed = [key for key in unknown if key in self._doubtful]
        self._doubtful = set(unknown)
        return (
            [unknown[key] for key in believed if key in self._begun],
            [unknown[key] for key in believed if key not in self._begun],
        )
