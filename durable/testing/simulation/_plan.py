"""What a simulation will do, as data: so it can be printed, kept in a file, and made smaller."""

from __future__ import annotations

from typing import Any, Literal

import msgspec
from msgspec import Struct

FAULTS = (
    "kill", "freeze", "hang", "cut", "mute", "slow", "deaf", "jump", "evict", "swap",
    "lost", "answer lost", "killed before", "killed behind", "stalled",
)  # fmt: skip
"""What may happen to a process, or to the clock.

`kill` ends it, and starts another one in its place; `freeze` stops it for a while; `hang` stops its main thread for good;
`cut` takes away its network, `mute` the answers only, `deaf` the hints only, and `slow` makes it slow; `jump` moves the
database's clock; `evict` takes the code of its runs out of its memory; `swap` starts another version of the code in its
place. The others are the fate of the next request that writes: it is lost, or its answer is; its process is killed before or
behind it; or its process stands still behind having sent it, and it arrives when others have taken over.
"""

FATES = ("lost", "answer lost", "killed before", "killed behind", "stalled")
"""Those that happen to a request."""


OF_WORKERS = ("kill", "freeze", "hang", "evict", "swap", "stalled", "killed before", "killed behind")
"""Those that happen to workers only."""


class Fault(Struct, frozen=True):
    """Something that goes wrong.

    Attributes:
        at: Seconds after the beginning.
        kind: One of `FAULTS`.
        target: Which process: workers first, then clients.
        lasts: Seconds.
        on: Which request meets its fate: a "commit", one that schedules activities ("rows"), one that lets a run "close", a "claim" and
            so on; any that writes if empty.
    """

    at: float
    kind: str
    target: int = 0
    lasts: float = 0.0
    on: str = ""


class Ask(Struct, frozen=True):
    """Something that a client asks for.

    Attributes:
        at: Seconds after the beginning.
        kind: "start", "signal", "flood" (signals that nobody waits for), "update", "query", "cancel" or "result".
        workflow: The number of the workflow.
        client: The number of the client.
        value: What is sent.
        program: What is started.
        count: How many signals a flood has.
        pause: Seconds between them.
    """

    at: float
    kind: str
    workflow: int
    client: int = 0
    value: int = 0
    program: list[Any] = []
    count: int = 0
    pause: float = 0.0


class Plan(Struct, frozen=True):
    """All of a simulation.

    Attributes:
        seed: Decides the order of everything that has none.
        mode: In "safety" faults go on to the end; in "liveness" they stop, and everything has to come to its end.
        leases: Whether workers live by leases, as on PostgreSQL, or by locks, as on SQLite.
        workers: For each worker whether its code is the newer version.
        clients: How many clients there are.
        cached: How many runs a worker keeps in memory.
        eager: Whether activities run beside their workflow.
        lost_hints: The share of hints between processes that is lost.
        asks: What clients ask for.
        faults: What goes wrong.
        profile: Which kind of trouble it was made for.
        core: In "liveness" mode, the one worker that goes on while the others stay broken; None for all.
    """

    seed: int
    mode: Literal["safety", "liveness"]
    leases: bool
    workers: list[bool]
    clients: int
    cached: int
    eager: bool
    lost_hints: float
    asks: list[Ask]
    faults: list[Fault]
    profile: str = ""
    core: int | None = None

    def to_json(self) -> bytes:
        """The plan as bytes for a file."""
        return msgspec.json.format(msgspec.json.encode(self), indent=1) + b"\n"


def read_plan(data: bytes) -> Plan:
    """Return the plan that bytes of a file hold."""
    return msgspec.json.decode(data, type=Plan)


FAULTS_STOP = 12.0
"""Seconds after which nothing goes wrong any more in "liveness" mode."""
