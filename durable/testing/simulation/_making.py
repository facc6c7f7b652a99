"""Plans made from seeds, each for one kind of trouble.

What goes wrong rarely goes wrong together if everything is drawn alike. So a seed first draws a profile: which faults there
are, how many, and what programs do; within it everything is drawn.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any, NamedTuple

import msgspec

from durable.testing.simulation._plan import FATES, FAULTS, FAULTS_STOP, OF_WORKERS, Ask, Fault, Plan


class Profile(NamedTuple):
    """A kind of trouble.

    Attributes:
        faults: What goes wrong, the same several times when it is to be frequent.
        many: How often.
        leases: How often workers live by leases.
        floods: How often a workflow is sent signals that it does not wait for, until it has ended.
        lost_hints: Which share of hints is lost.
        kinds: What programs do; None for some of everything.
        eager: How often activities run beside their workflow.
    """

    faults: tuple[str, ...]
    many: tuple[int, ...]
    leases: float = 0.6
    floods: float = 0.15
    lost_hints: tuple[float, ...] = (0.0, 0.3, 1.0)
    kinds: tuple[str, ...] | None = None
    eager: float = 0.7


KINDS = ("add", "local", "sleep", "child", "all", "go on", "echo", "any", "try", "drop", "die", "abandon")
"""What programs do."""

PROFILES = {
    "mixed": Profile(FAULTS, (0, 1, 3, 6)),
    "zombies": Profile(
        ("stalled", "stalled", "stalled", "freeze", "hang", "cut"), (2, 4, 8), leases=1.0, floods=0.3
    ),
    "ambiguous": Profile(("lost", "answer lost", "answer lost", "mute", "killed behind"), (3, 6, 10), eager=0.5),
    "crashes": Profile(("kill", "killed before", "killed behind", "evict"), (2, 4, 8), eager=0.4),
    "deaf": Profile(("deaf", "cut", "kill", "evict"), (0, 2, 4), lost_hints=(1.0,)),
    "floods": Profile(
        ("evict", "answer lost", "killed behind", "slow"), (0, 2, 4), floods=0.9, kinds=("add", "go on", "sleep")
    ),
    "deploys": Profile(("swap", "swap", "kill", "freeze", "evict"), (2, 4, 6)),
}  # fmt: skip
"""The profiles, of which each seed has one."""

ON = ("commit", "rows", "close", "claim", "")
"""Which request a fate is for."""

NOTED, ASKED, SAID = 2_000_000, 3_000_000, 1_000_000
"""Where the numbers begin that are sent by floods, by updates, and by signals that are waited for."""

ECHOES: tuple[Any, ...] = (1e16, -0.0, {"b": 1, "a": 2}, 1.5, [1e20, "x"])
"""Values that a database would change that looked into them."""


def make_plan(seed: int) -> Plan:
    """Return the plan of a seed."""
    chance = random.Random(f"{seed} plan")
    name = chance.choice((*PROFILES, "zombies"))
    profile = PROFILES[name]
    clients = chance.randint(1, 2)
    leases = chance.random() < profile.leases
    workers = [chance.random() < 0.3 for _ in range(chance.randint(2, 3))]
    if chance.random() < 0.6 and name != "deploys":
        workers = [False] * len(workers)
    lives = chance.choice((False, True))
    return Plan(
        seed=seed,
        mode="liveness" if lives else "safety",
        leases=leases,
        workers=workers,
        clients=clients,
        cached=chance.choice((0, 1, 1000, 1000)),
        eager=chance.random() < profile.eager,
        lost_hints=chance.choice(profile.lost_hints),
        asks=_asks(chance, profile, clients),
        faults=_faults(chance, profile, len(workers), clients, leases=leases),
        profile=name,
        core=chance.randrange(len(workers)) if lives and chance.random() < 0.4 else None,
    )


# ---------------------------------------------------------------------- what is asked for


def _asks(chance: random.Random, profile: Profile, clients: int) -> list[Ask]:
    numbers = iter(range(1, 1 << 20))
    kinds = [kind for kind in profile.kinds or KINDS if chance.random() < 0.6] or ["add"]
    asks: list[Ask] = []
    workflows = chance.randint(1, 3)
    # Who is cancelled tells nobody anything, and whoever waits for that would wait for ever.
    tells = chance.random() < 0.4
    for number in range(workflows):

        def ask(kind: str, value: int, begins: float, number: int = number, **more: Any) -> None:
            at = round(begins + chance.uniform(0.002, 4), 3)
            asks.append(Ask(at, kind, number, chance.randrange(clients), value, **more))

        program = _program(chance, kinds, numbers, depth=0)
        begins = round(chance.uniform(0, 3), 3)
        for _ in range(chance.choice((0, 0, 1, 2, 3))):
            program.insert(chance.randint(0, len(program)), ["wait"])
            ask("signal", SAID + next(numbers), begins)
        others = [other for other in range(workflows) if other != number]
        if others and tells and chance.random() < 0.5:
            _tell(chance, asks, program, chance.choice(others), SAID + next(numbers))
        for _ in range(chance.choice((0, 0, 0, 1, 2))):
            ask("update", ASKED + next(numbers), begins)
        if not tells and chance.random() < 0.2:
            ask("cancel", next(numbers), begins)
        if chance.random() < 0.2:
            ask("query", 0, begins)
        if chance.random() < profile.floods:
            for client in range(clients):
                pause, begin = chance.choice((0.0, 0.02, 0.1)), round(begins + chance.uniform(0, 1), 3)
                value = NOTED + next(numbers) * 100
                asks.append(Ask(begin, "flood", number, client, value, count=30, pause=pause))
        asks.append(Ask(begins, "start", number, chance.randrange(clients), program=program))
        asks.append(Ask(round(begins + 0.001, 3), "result", number, chance.randrange(clients)))
    return _with_tells(sorted(asks, key=lambda ask: ask.at))


def _tell(chance: random.Random, asks: list[Ask], program: list[Any], other: int, value: int) -> None:
    """Have a workflow tell another one something, which that one waits for: it is there until then."""
    asks.append(Ask(0.0, "tell", other, value=value))
    program.insert(chance.randint(0, len(program)), ["tell", f"w{other}", value])


def _with_tells(asks: list[Ask]) -> list[Ask]:
    """Let workflows wait for what others tell them, and be started before those."""
    told: dict[int, int] = {}
    for ask in asks:
        if ask.kind == "tell":
            told[ask.workflow] = told.get(ask.workflow, 0) + 1
    found: list[Ask] = []
    for ask in asks:
        if ask.kind == "start" and ask.workflow in told:
            waits = [["wait"]] * told[ask.workflow]
            found.append(msgspec.structs.replace(ask, at=0.0, program=[*ask.program, *waits]))
        else:
            found.append(ask)
    return sorted(found, key=lambda ask: ask.at)


def _program(chance: random.Random, kinds: list[str], numbers: Any, *, depth: int) -> list[Any]:
    def slow() -> float:
        return chance.choice((0.0, 0.0, 0.05, 0.5))

    make: dict[str, Callable[[], list[Any]]] = {
        "add": lambda: ["add", next(numbers), chance.choice((0, 0, 0, 1, 2)), slow()],
        "local": lambda: ["local", next(numbers), chance.choice((0, 0, 1))],
        "sleep": lambda: ["sleep", round(chance.uniform(0.01, 2.0), 3)],
        "child": lambda: ["child", _program(chance, kinds, numbers, depth=depth + 1)],
        "abandon": lambda: ["abandon", _program(chance, kinds, numbers, depth=depth + 1)],
        "all": lambda: ["all", [["add", next(numbers), 0, 0.0] for _ in range(chance.randint(2, 3))]],
        "any": lambda: ["any", [[next(numbers), slow()] for _ in range(chance.randint(2, 5))]],
        "try": lambda: ["try", round(chance.uniform(0.1, 2.0), 3), next(numbers)],
        "drop": lambda: ["drop", next(numbers), chance.choice((0.01, 0.3)), chance.choice((0.0, 0.3, 2.0))],
        "die": lambda: ["die", next(numbers), chance.randint(1, 3), chance.randint(2, 3)],
        "echo": lambda: ["echo", chance.choice(ECHOES)],
        "go on": lambda: ["go on"],
    }
    nested = ("child", "abandon", "go on")
    there = [kind for kind in kinds if depth < 2 or kind not in nested] or ["add"]
    return [make[chance.choice(there)]() for _ in range(chance.randint(1, 5 - depth))]


# ---------------------------------------------------------------------- what goes wrong


def _faults(
    chance: random.Random, profile: Profile, workers: int, clients: int, *, leases: bool
) -> list[Fault]:
    kinds = [kind for kind in profile.faults if chance.random() < 0.7]
    found: list[Fault] = []
    for _ in range(chance.choice(profile.many) if kinds else 0):
        kind = chance.choice(kinds)
        if kind == "hang" and (not leases or any(fault.kind == kind for fault in found)):
            continue  # somebody has to be left to go on; and who holds a lock and hangs is never taken for dead
        if kind == "jump":
            lasts = chance.choice((-5.0, 2.0, 30.0))
        elif kind in ("freeze", "cut", "mute", "slow", "deaf", "kill", "swap"):
            lasts = chance.choice((0.3, 1.5, 4.0))
        else:
            lasts = 0.0
        target = chance.randrange(workers if kind in OF_WORKERS else workers + clients)
        on = chance.choice(ON) if kind in FATES else ""
        found.append(Fault(round(chance.uniform(0.1, FAULTS_STOP - 5), 3), kind, target, lasts, on))
    return sorted(found, key=lambda fault: fault.at)
