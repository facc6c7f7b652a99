"""Patches: which of two ways the code takes, decided when a run first asks and the same ever after.

    history        code asks              answer
    live           patched                True, and a marker is written (unless the worker's callback says not yet)
    live           deprecate_patch        a marker is written that nobody need ask for again
    marker         either                 True
    no marker      patched                False: the run passed here before the patch was there
    no marker      deprecate_patch        nothing
    marker         neither                the history and the code part: nondeterminism
    deprecated     neither                nothing: that is what deprecating is for

A run remembers its first answer, so a loop does not change its way between two rounds. A marker has no number, so that
code which no longer asks for one numbers its other commands as before.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from durable._replay._commands import Commands
from durable.history import CommandEvent, Event, EventData, MarkerRecorded
from durable.workflow._info import Info

Activation = Callable[[str, Info], bool]
"""Whether a patch that a run asks for the first time, live, is to be turned on in it."""


class Patches:
    """The patches of one run."""

    __slots__ = ("_activates", "_commands", "_known", "_marked", "_replaying", "_said")

    def __init__(self, commands: Commands, activates: Activation | None) -> None:
        self._commands = commands
        self._activates = activates
        self._said: dict[str, bool] = {}
        self._known: frozenset[str] = frozenset()
        self._marked: frozenset[str] = frozenset()
        self._replaying = False

    def begin_task(self, marked: frozenset[str], *, replaying: bool) -> None:
        """Take the patches whose markers are recorded for the task that begins."""
        self._replaying = replaying
        self._marked = marked
        if marked:
            self._known |= marked

    def ask(self, id: str, *, deprecated: bool, info: Callable[[], Info]) -> bool:
        """See `Runtime.patched`; `info` tells the callback about the run."""
        if self._commands.read_only:
            self._commands.refuse(
                "a query or an update's validator must not ask for a patch: it would be recorded"
            )
        said = self._said.get(id)
        if said is None:
            said = self._said[id] = self._decide(id, deprecated, info)
        return said

    def _decide(self, id: str, deprecated: bool, info: Callable[[], Info]) -> bool:
        known = id in self._known
        if not known and (self._replaying or not (deprecated or self._turned_on(id, info))):
            return False
        if not known or id in self._marked:
            self._commands.mark(id, MarkerRecorded(patch_id=id, deprecated=deprecated))
        return True

    def _turned_on(self, id: str, info: Callable[[], Info]) -> bool:
        if self._activates is None:
            return True
        with self._commands.nothing_changes():
            return self._activates(id, info())


NONE: frozenset[str] = frozenset()


def marked(facts: Iterable[EventData]) -> frozenset[str]:
    """Return the patches that have a marker among these."""
    found = [one.patch_id for one in facts if isinstance(one, MarkerRecorded)]
    return frozenset(found) if found else NONE


def without_deprecated(
    recorded: list[Event], wanted: list[CommandEvent]
) -> tuple[list[Event], list[CommandEvent]]:
    """Return a task's record and what the code asks for, without the markers that it need not ask for any more."""
    past = {
        event.data.patch_id
        for event in recorded
        if isinstance(event.data, MarkerRecorded) and event.data.deprecated
    }
    if not past:
        return recorded, wanted
    return (
        [one for one in recorded if not (isinstance(one.data, MarkerRecorded) and one.data.patch_id in past)],
        [one for one in wanted if not (isinstance(one, MarkerRecorded) and one.patch_id in past)],
    )
