"""Histories in tests: looked at, kept as files, and replayed."""

from __future__ import annotations

import glob
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, overload

from msgspec import structs

from durable.client import WorkflowHistory
from durable.history import Event, EventData, Failure, Payload
from durable.history._carried import OPEN, with_payloads
from durable.testing._elsewhere import elsewhere
from durable.worker import Replayer

if TYPE_CHECKING:
    import pytest

E = TypeVar("E", bound=EventData)


class History:
    """The history of one run, as a test looks at it.

    Attributes:
        recorded: What was recorded.
        strict: Whether `replay` takes an argument of an activity that has changed for a failure.
    """

    def __init__(self, recorded: WorkflowHistory, *, strict: bool = False) -> None:
        self.recorded = recorded
        self.strict = strict

    @classmethod
    def load(cls, path: str | Path, *, strict: bool = False) -> History:
        """Read a file that `save` wrote, or `WorkflowHistory.to_json`.

        Raises:
            HistoryCorruptError: It is none.
            UnknownEventError: A newer release wrote it.
        """
        path = Path(path)
        return cls(WorkflowHistory.from_json(path.stem, path.read_text("utf-8")), strict=strict)

    def save(self, path: str | Path) -> None:
        """Write it to a file, which is made anew with its folders."""
        path = Path(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(self.recorded.to_json() + "\n", "utf-8")

    def scrubbed(self, change: Callable[[Payload], Payload]) -> History:
        """Return a copy with other values, for a file that may leave the house: `change` is given each payload.

        A value must keep its shape, so that the code takes the same way with it. The texts of failures are left out, with
        their tracebacks. Ids stay, and so do reasons that people gave and the texts of timers and activities.
        """
        events = [structs.replace(one, data=_scrubbed(one.data, change)) for one in self.events]
        return History(replace(self.recorded, events=events), strict=self.strict)

    @property
    def events(self) -> Sequence[Event]:
        """Its events, in order."""
        return self.recorded.events

    @property
    def types(self) -> list[str]:
        """The names of its events, in order: what tests compare."""
        return [_name(event) for event in self.events]

    @overload
    def events_of(self, kind: type[E]) -> list[E]: ...
    @overload
    def events_of(self, kind: str) -> list[Any]: ...
    def events_of(self, kind: Any) -> list[Any]:
        """Return the facts of all events of one kind, in order.

        Args:
            kind: A class of `durable.history`, or its name, such as "ActivityTaskScheduled".

        Raises:
            ValueError: There is no such kind.
        """
        name = kind if isinstance(kind, str) else kind.__name__
        if name not in KINDS:
            raise ValueError(f"there are no events {name!r}; there are {', '.join(sorted(KINDS))}")
        return [event.data for event in self.events if _name(event) == name]

    def replay(self, *workflows: Any, strict: bool | None = None) -> None:
        """Run it again through the code as it is now; plain, so that a test need not be `async def`.

        Args:
            workflows: The workflow, with others if it needs any; all that are defined in this process by default.
            strict: Whether an argument of an activity that has changed is a failure, too; `self.strict` by default.

        Raises:
            NondeterminismError: The code asks for something else than is recorded; both are shown.
            Exception: As `Replayer.replay_workflow`.
        """
        replayer = Replayer(workflows=workflows or None, strict=self.strict if strict is None else strict)
        elsewhere(replayer.replay_workflow(self.recorded))

    def __iter__(self) -> Iterator[Event]:
        return iter(self.events)

    def __len__(self) -> int:
        return len(self.events)

    def __repr__(self) -> str:
        lines = [f"{event.seq:5} {event.task:4}  {_name(event)}" for event in self.events]
        return "\n".join([f"<history of {self.recorded.workflow_id!r}, event, task and type:", *lines, ">"])


def _scrubbed(data: EventData, change: Callable[[Payload], Payload]) -> EventData:
    changed: dict[str, Any] = {}
    data = with_payloads(data, change)
    for name in data.__struct_fields__:
        value: Any = getattr(data, name)
        if isinstance(value, Failure):
            changed[name] = _wordless(value)
        elif name in OPEN and value:
            changed[name] = {key: change(one) for key, one in value.items()}
    return structs.replace(data, **changed)


def _wordless(failure: Failure) -> Failure:
    chain: list[Failure] = []
    following: Failure | None = failure
    while following is not None:
        chain.append(following)
        following = following.cause
    made: Failure | None = None
    for one in reversed(chain):
        made = structs.replace(one, message="***" if one.message else "", stack_trace="", cause=made)
    assert made is not None
    return made


def _name(event: Event) -> str:
    return type(event.data).__name__


def _kinds(base: type[Any]) -> Iterator[str]:
    for kind in base.__subclasses__():
        if hasattr(kind, "type"):
            yield kind.__name__
        yield from _kinds(kind)


KINDS = frozenset(_kinds(EventData))
"""The names of all kinds of events."""


def history_files(pattern: str) -> list[Path]:
    """Return the files that a pattern names, sorted."""
    return sorted(Path(found) for found in glob.glob(pattern, recursive=True))


def replay_histories(*patterns: str) -> pytest.MarkDecorator:
    """Run a test once for each file with a history, which is its argument `history`.

        @replay_histories("tests/histories/checkout-*.json")
        def test_old_runs_still_replay(history: History) -> None:
            history.replay(checkout)

    With `--durable-replay-strict` an argument of an activity that has changed is a failure, too.

    Args:
        patterns: Names of files, with `*` and `**`, seen from the root of the tests. None at all is an error.
    """
    mark: pytest.MarkGenerator = import_module("pytest").mark
    return mark.durable_histories(*patterns)
