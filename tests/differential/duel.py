"""A duel: every operation is asked of both sides, and both must say the same and be the same afterwards."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from enum import Enum
from hashlib import sha256
from random import Random
from typing import Any, TypeVar

import msgspec

from durable._internal.instants import SECOND
from durable.exceptions import StoreError
from durable.store import ClaimedRun, Message, RunRecord, WorkerRecord
from tests.differential.sides import BEGINNING, HALF, LEASE, Side, comparable

T = TypeVar("T")

QUEUES = ("q0", "q1")
TYPES = ("A", "B")
WORKFLOWS = tuple(f"w{number}" for number in range(6))
STEP = SECOND * 121 // 100
"""By which time passes: fifty of them never end in the middle of a second, or at its beginning."""

HIDDEN = frozenset(
    {
        "position",
        "number",
        "revision",
        "renewals",
        "now",
        "times",
        "dead_for_sure",
        "pinned_to",
        "override",
        "expires_in",
    }
)
"""Fields that each side counts, or tells, as it likes. What they stand for is compared in the tables."""


REFUSALS = (StoreError, ValueError)
"""What a store may raise; anything else is a defect, though both do."""


class DifferenceError(AssertionError):
    """The two sides do not agree."""


class Duel:
    """Two sides, and what is known of both: ids of what was started, workers, and where time stands.

    Attributes:
        runs: Run ids by the order they were offered in.
        workers: Workers that live.
        met: What has been seen: the operation, and what kind of answer it got.
        effective: Operations that took effect.
    """

    def __init__(self, left: Side, right: Side) -> None:
        self.left, self.right = left, right
        self.runs: dict[str, str] = {}
        self.workers: list[str] = []
        self.dead: list[str] = []
        self.queries: dict[str, str] = {}
        self.messages: list[str] = []
        self.met: set[str] = set()
        self.operation = ""
        self._ids = 0
        self._steps_of_time = 0
        self.trace: list[str] = []

    async def begin(self) -> None:
        """Give search attributes their types, as a client does before it writes any."""
        for side in (self.left, self.right):
            await side.store.attribute_types({"Region": 2, "Amount": 3})

    # ------------------------------------------------------------------ asking

    async def both(self, act: Callable[[Side], Awaitable[T]]) -> T:
        """Ask both sides, hold their answers against each other, and return the left one.

        What both refuse with the same error is raised as the left one's.

        Raises:
            DifferenceError: They do not agree.
        """
        left, right = await _outcome(act, self.left), await _outcome(act, self.right)
        told, other = shown(left), shown(right)
        self.trace.append(f"{self.operation}: {told}")
        self.met.add(f"{self.operation}: {kind_of(left)}")
        if told != other:
            at = next((at for at, (one, two) in enumerate(zip(told, other, strict=False)) if one != two), 0)
            raise DifferenceError(
                f"{self.operation} is answered\n  {self.left.name}: {_from(at, told)}\n  {self.right.name}: {_from(at, other)}"
            )
        if isinstance(left, Exception):
            if not isinstance(left, REFUSALS):
                raise DifferenceError(f"{self.operation} breaks both: {left!r}")
            raise left
        return left

    async def compare_tables(self) -> None:
        """Hold the tables of both against each other.

        Raises:
            DifferenceError: A row differs.
        """
        left, right = await asyncio.gather(self.left.read(), self.right.read())
        one, other = comparable(left), comparable(right)
        for table, rows in one.items():
            if rows != other[table]:
                only = [row for row in rows if row not in other[table]]
                more = [row for row in other[table] if row not in rows]
                raise DifferenceError(
                    f"behind {self.operation}, {table} differs\n  {self.left.name}: {only}\n  {self.right.name}: {more}"
                )

    async def pass_time(self, steps: int) -> None:
        """Let time pass on both sides."""
        self._steps_of_time += steps
        await self.both(lambda side: side.move_to(self.now))

    @property
    def now(self) -> int:
        """What time it is, but for some microseconds."""
        return BEGINNING + self._steps_of_time * STEP

    # ------------------------------------------------------------------ what there is

    def new_id(self) -> str:
        """A UUIDv7, the next in order."""
        self._ids += 1
        return f"018bcfe5-{0x6800 + (self._ids >> 12):04x}-7{self._ids & 0xFFF:03x}-8000-{self._ids:012x}"

    def some_run(self, chance: Random) -> str:
        """A run's id; a stranger's now and then, or when there is none."""
        if not self.runs or chance.random() < 0.03:
            return self.new_id()
        names = list(self.runs)
        return chance.choice(names[-8:] if chance.random() < 0.8 else names)

    async def record(self, run_id: str) -> RunRecord | None:
        """The row of a run, as the left side has it."""
        return await self.left.store.find_run(self.runs.get(run_id, ""), run_id)

    async def open_runs(self) -> list[RunRecord]:
        """Rows of open runs, in the order they were started in."""
        found = [await self.record(run_id) for run_id in list(self.runs)]
        return [one for one in found if one is not None and one.closed_at is None]

    async def some_open(self, chance: Random, *, owned: bool = False) -> RunRecord | None:
        """An open run, that a worker owns if so wished."""
        found = [one for one in await self.open_runs() if not owned or one.owner]
        return chance.choice(found) if found else None

    def some_worker(self, chance: Random) -> str:
        """A worker's id, of one that is dead now and then."""
        pool = self.dead if self.dead and chance.random() < 0.1 else self.workers
        return chance.choice(pool) if pool else "nobody"

    def due(self, chance: Random) -> int:
        """A duration: none, some, or more than a duel lasts."""
        return chance.choice((0, 0, SECOND + HALF, 5 * SECOND + HALF, 3600 * SECOND + HALF))

    def limit(self, chance: Random) -> int | None:
        """A timeout, or none."""
        return chance.choice((None, None, 2 * SECOND + HALF, 3600 * SECOND + HALF))

    async def seen(self, *run_ids: str) -> None:
        """Know runs that others have started."""
        for record in [await self.left.store.find_run(name) for name in WORKFLOWS]:
            if record is not None:
                self.runs.setdefault(record.run_id, record.workflow_id)

    async def register(self, version: str = "", queues: Sequence[str] = QUEUES) -> str:
        """Let a worker join."""
        worker = f"worker-{len(self.workers) + len(self.dead)}"
        record = WorkerRecord(
            worker, "me", tuple(queues), LEASE, 0, expired=False, dead=False, version=version
        )
        await self.both(lambda side: side.join(record))
        self.workers.append(worker)
        return worker


def _from(at: int, told: str) -> str:
    """The part of an answer that is another one on the other side, and what is around it."""
    begin = max(0, at - 600)
    return ("..." if begin else "") + told[begin : at + 200]


async def _outcome(act: Callable[[Side], Awaitable[T]], side: Side) -> T | Exception:
    try:
        return await act(side)
    except Exception as error:
        return error


async def positions(side: Side, run_id: str, wanted: Sequence[str]) -> tuple[int, ...]:
    """Where messages of a run stand in a side's inbox."""
    unread = await side.store.read_messages([run_id])
    return tuple(one.position for one in unread if one.message_id in wanted)


def shown(value: Any) -> str:
    """An answer as text, without what each side counts as it likes; instants by their second."""
    match value:
        case Exception():
            return f"raises {type(value).__name__}" if isinstance(value, REFUSALS) else f"breaks: {value!r}"
        case Enum():
            return value.name
        case bytes() if len(value) > 100:
            return f"{len(value)} bytes {sha256(value).hexdigest()[:8]}"
        case bool() | None | float() | bytes() | str():
            return repr(value)
        case int():
            if value >= BEGINNING:
                return f"second {(value - BEGINNING) // SECOND}"
            return str(value) if abs(value) < SECOND // 10 else f"about {round(value / SECOND, 1)} s"
        case Message():
            return f"Message({value.message_id}, {value.type}, {shown(value.data)}, {value.internal})"
        case ClaimedRun():
            # What operators did to activities is told where it is looked for, and not in a claim.
            tasks = [(one.id, one.state, one.attempt, one.cancel_requested) for one in value.activities]
            return (
                f"Claimed({shown(value.run)}, {shown(value.events)}, {shown(value.messages)}, {shown(tasks)})"
            )
        case RunRecord(deaths=deaths) if deaths and value.closed_at is not None:
            return shown(msgspec.structs.replace(value, deaths=0))
        case msgspec.Struct():
            fields = (
                f"{name}={shown(getattr(value, name))}"
                for name in value.__struct_fields__
                if name not in HIDDEN
            )
            return f"{type(value).__name__}({', '.join(fields)})"
        case dict():
            return "{" + ", ".join(f"{key}: {shown(value[key])}" for key in sorted(value)) + "}"
        case list() | tuple():
            return "[" + ", ".join(shown(one) for one in value) + "]"
        case set() | frozenset():
            return "{" + ", ".join(sorted(shown(one) for one in value)) + "}"
        case _:
            return repr(value)


def kind_of(value: Any) -> str:
    """What an answer is like: its enumerations, what is there and what is not, how many there are up to two."""
    match value:
        case Exception():
            return type(value).__name__
        case Enum():
            return value.name
        case bool() | None:
            return repr(value)
        case list() | tuple() | set() | frozenset() | dict():
            items = value.values() if isinstance(value, dict) else value
            return f"{min(len(value), 2)}[" + " ".join(sorted({kind_of(one) for one in items})) + "]"
        case msgspec.Struct():
            told = [getattr(value, name) for name in value.__struct_fields__]
            return (
                type(value).__name__ + "(" + " ".join(one.name for one in told if isinstance(one, Enum)) + ")"
            )
        case _:
            return type(value).__name__
