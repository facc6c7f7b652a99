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


NONE: frozenset[str] = frozenset()


class Patches:
    """The patches of one run.

    Attributes:
        known: Those whose markers the tasks up to the present one have recorded.
    """

    __slots__ = ("_activates", "_commands", "_said", "known")

    def __init__(self, commands: Commands, activates: Activation | None) -> None:
        self._commands = commands
        self._activates = activates
        self._said: dict[str, bool] = {}
        self.known = NONE

    def ask(
        self,
        id: str,
        *,
        deprecated: bool,
        replaying: bool,
        marked: frozenset[str],
        info: Callable[[], Info],
    ) -> bool:
        """See `Runtime.patched`.

        Args:
            id: The patch.
            deprecated: Whether it is always on by now.
            replaying: Whether the task has run before.
            marked: The patches whose markers it has recorded.
            info: Tells the callback about the run.
        """
        if self._commands.read_only:
            self._commands.refuse(
                "a query or an update's validator must not ask for a patch: it would be recorded"
            )
        said = self._said.get(id)
        if said is None:
            known = id in self.known
            said = known or (not replaying and (deprecated or self._turned_on(id, info)))
            if said and (not known or id in marked):
                self._commands.mark(id, MarkerRecorded(patch_id=id, deprecated=deprecated))
            self._said[id] = said
        return said

    def _turned_on(self, id: str, info: Callable[[], Info]) -> bool:
        if self._activates is None:
            return True
        with self._commands.nothing_changes():
            return self._activates(id, info())


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
