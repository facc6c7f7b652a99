"""What is defined in this process, by name, so that a worker serves what was imported.

A definition is known for as long as something refers to it: its module does for ever, a function that defined one
locally does while it runs. Defining the same thing again (a reloaded module, a notebook's cell, a script that is also
imported under its own name) replaces it. Two different definitions with one name are no mistake by themselves: they
may belong to different workers. Only a worker that would serve both refuses to start.
"""

from __future__ import annotations

import gc
import weakref
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeVar

from durable.exceptions import RegistrationError

if TYPE_CHECKING:
    from durable.activity._definition import ActivityDefinition

__all__ = ["REGISTRY", "Defined", "Registry", "only"]


class Defined(Protocol):
    """What the registry needs to know of a definition."""

    @property
    def name(self) -> str: ...
    @property
    def module(self) -> str: ...
    @property
    def qualname(self) -> str: ...
    @property
    def where(self) -> str: ...


D = TypeVar("D", bound=Defined)


class Registry(Generic[D]):
    """The definitions of one kind in this process.

    Args:
        kind: What they are to people: "activity", "workflow".
    """

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self._by_name: dict[str, list[weakref.ref[D]]] = {}

    def add(self, definition: D) -> None:
        """Make a definition known; one of the same function, defined before, is forgotten."""
        kept = [ref for ref in self._by_name.get(definition.name, ()) if not _replaces(definition, ref())]
        self._by_name[definition.name] = [*kept, weakref.ref(definition)]

    def named(self, name: str) -> list[D]:
        """Return all definitions with a name, oldest first."""
        return [definition for ref in self._by_name.get(name, ()) if (definition := ref()) is not None]

    def names(self) -> list[str]:
        """Return the names there are, in the order in which they were defined first."""
        return [name for name in self._by_name if self.named(name)]

    def served(self, name: str, task_queue: str) -> list[D]:
        """Return the definitions with a name that a worker on a queue serves: its own and those of no queue.

        What was defined in a function that has returned is looked for again without its garbage, so that only what
        is in use can be in conflict.
        """
        found = [d for d in self.named(name) if _queue(d) in (None, task_queue)]
        if len(found) > 1 and any("<locals>" in d.qualname for d in found):
            del found
            gc.collect()
            found = [d for d in self.named(name) if _queue(d) in (None, task_queue)]
        return found


def _replaces(new: Defined, old: Defined | None) -> bool:
    if old is None:
        return True
    return new.qualname == old.qualname and (new.module == old.module or new.where == old.where)


def _queue(definition: Any) -> str | None:
    queue: str | None = definition.options.task_queue
    return queue


def only(kind: str, definitions: Sequence[D]) -> D:
    """Return the one definition among these, which may be the same several times.

    Raises:
        RegistrationError: They are different ones.
    """
    first = definitions[0]
    for other in definitions[1:]:
        if other is not first:
            raise RegistrationError(
                f"there are two definitions of {kind} {first.name!r}, at {first.where} and at {other.where}, and one "
                f"worker cannot serve both; give one of them another name= or another task_queue=, or list the one "
                f"that is meant when making the worker"
            )
    return first


REGISTRY: Registry[ActivityDefinition] = Registry("activity")
"""The activities of this process."""
