"""The guard: it notices when workflow code reaches for what a replay would not see again, and names the line.

Theory. Names tell little about what a program calls, and modules are not loaded a second time to replace them. So calls
are looked at where they happen. From Python 3.12 the interpreter shows each *call site* to a monitor, which answers once
that there is nothing to see there; sites that call something forbidden stay watched, and are asked about the running
loop. That costs nothing where nothing is wrong. Python 3.11 has a profiler only, which is called for each call between
the beginning and the end of a turn; where that must be cheap, not every turn is watched (`_due`).

Invariants.

* Only the code of a run in its turn is judged: never activities, clients, other threads or other tasks of the loop, nor
  a query, which no replay repeats.
* What is forbidden counts when workflow code asked for it, itself or through the standard library; `_asked` walks the
  stack. What the library itself needs does not count, nor do logging, imports and debuggers, whoever began them.
* A call that is refused does not happen, and its task fails whether the code lets the error pass or not.
"""

from __future__ import annotations

import random
import sys
import sysconfig
from asyncio import _get_running_loop  # get_running_loop raises where none runs
from collections.abc import Callable
from functools import cache
from types import BuiltinFunctionType, CodeType, FrameType, WrapperDescriptorType
from typing import Any, Literal, Protocol, TypeVarTuple

from durable._internal.thrown import on_their_way
from durable._replay._forbidden import BY_CALLER, Kind, forbidden, forbidden_code, shown
from durable._replay._loop import IN_TURN, DeterministicLoop
from durable._replay._turns import Turns
from durable.exceptions import RestrictedWorkflowAccessError
from durable.workflow._definition import WorkflowDefinition
from durable.workflow.unsafe import unrestricted

Ts = TypeVarTuple("Ts")

GuardMode = Literal["off", "warn", "error"]
"""What a guard does about what it finds."""

ALWAYS = 100
"""Turns of each workflow type that are watched from the first one on, where a watched turn costs."""

SOMETIMES = 256
"""Behind these, one of so many turns is watched. A turn takes half as long again under a profiler."""

TOOLS = (4, 3)
"""Numbers of monitoring tools that belong to nobody by convention."""

_QUIET = frozenset(
    [
        "logging",
        "warnings",
        "traceback",
        "linecache",
        "importlib",
        "_frozen_importlib",
        "_frozen_importlib_external",
        "zipimport",
        "zoneinfo",
        "pdb",
        "bdb",
        "cmd",
        "debugpy",
        "pydevd",
        "_pydevd_bundle",
    ]
)
"""Modules that do what they do for people, or to load code: whatever happens in them is nobody's decision."""

_OURS, _STANDARD, _LIBRARY, _USERS = range(4)


class Guarded(Protocol):
    """A run whose code is watched."""

    guard: Guard | None
    definition: WorkflowDefinition

    def fault(self, error: BaseException) -> None:
        """Fail the task."""
        ...

    def note(self, message: str, exception: BaseException | None) -> None:
        """Log a remark."""
        ...


class Guard:
    """Watches the code of some runs, such as those of a worker."""

    __slots__ = ("_chance", "_raises", "_seen", "_told")

    def __init__(self, mode: Literal["warn", "error"]) -> None:
        """Make one that logs what it finds, once for each line, or raises it there."""
        self._raises = mode == "error"
        self._told: set[tuple[str, int]] = set()
        self._seen: dict[str, int] = {}
        self._chance = random.Random(0)

    def run(
        self,
        turns: Turns,
        name: str,
        loop: DeterministicLoop,
        apply: Callable[[*Ts], object],
        *args: *Ts,
    ) -> None:
        """Run a turn as `Turns.run` does, of a workflow of this name, and watch it."""
        if monitored() or not self._due(name) or on_their_way or sys.getprofile() is not None:
            turns.run(loop, apply, *args)
            return
        sys.setprofile(_profiler())
        try:
            turns.run(loop, apply, *args)
        finally:
            sys.setprofile(None)

    def _due(self, name: str) -> bool:
        if self._raises:
            return True
        seen = self._seen.get(name, 0)
        if seen < ALWAYS:
            self._seen[name] = seen + 1
            return True
        # By chance: a regular stride would meet the same turn of every run of a workflow that has as many.
        return self._chance.random() * SOMETIMES < 1

    def found(self, run: Guarded, frame: FrameType, kind: Kind, name: str) -> None:
        """Judge a call of something forbidden.

        Raises:
            RestrictedWorkflowAccessError: Workflow code asked for it, and that is not only to be logged.
        """
        if unrestricted() or (asked := _asked(frame, kind, name, run.definition.module)) is None:
            return
        where, kind, name = asked
        line = (where.f_code.co_filename, where.f_lineno)
        text = (
            f"{name}() in workflow code, at {line[0]}:{line[1]} in {where.f_code.co_name}: it {kind.does}. "
            f"{kind.instead}; where it cannot matter to a replay, `with workflow.unsafe.sandbox_unrestricted():` lets it pass"
        )
        if self._raises:
            error = RestrictedWorkflowAccessError(text, name)
            run.fault(error)
            raise error
        if line not in self._told:
            self._told.add(line)
            run.note(text, None)


def new_guard(mode: GuardMode) -> Guard | None:
    """Return a guard, None for none.

    Raises:
        ValueError: There is no such mode.
    """
    if mode not in ("off", "warn", "error"):
        raise ValueError(f"guard is 'off', 'warn' or 'error', not {mode!r}")
    if mode == "off":
        return None
    monitored()
    return Guard(mode)


# ---- where calls are seen


@cache
def monitored() -> bool:
    """Begin to watch call sites, once for the process; whether this Python can, and has a number free for it."""
    monitoring: Any = getattr(sys, "monitoring", None)
    if monitoring is None:
        return False
    for tool in TOOLS:
        if monitoring.get_tool(tool) is None:
            monitoring.use_tool_id(tool, "durable")
            monitoring.register_callback(tool, monitoring.events.CALL, _at_site(monitoring.DISABLE))
            monitoring.set_events(tool, monitoring.events.CALL)
            return True
    return False


def _at_site(nothing_to_see: object) -> Callable[[CodeType, int, object, object], object]:
    known = forbidden()

    def called(code: CodeType, _offset: int, function: Any, _first: object) -> object:
        # Others may have a hash of their own, or none.
        if not isinstance(function, (BuiltinFunctionType, WrapperDescriptorType)) or function not in known:
            # The same lines draw from generators with a seed and from the one without.
            return None if code.co_filename == random.__file__ else nothing_to_see
        _in_turn(sys._getframe(1), *known[function])
        return None

    return called


@cache
def _profiler() -> Callable[[FrameType, str, Any], None]:
    known, codes = forbidden(), forbidden_code()

    def profiled(frame: FrameType, event: str, called: Any) -> None:
        if event == "c_call":
            if called in known:
                _in_turn(frame, *known[called])
        elif event == "call" and id(frame.f_code) in codes and frame.f_back is not None:
            _in_turn(frame.f_back, *codes[id(frame.f_code)])

    return profiled


def _in_turn(frame: FrameType, kind: Kind, name: str) -> None:
    loop = _get_running_loop()
    if type(loop) is DeterministicLoop and loop.state == IN_TURN:
        run: Any = loop.host
        if (guard := getattr(run, "guard", None)) is not None:
            guard.found(run, frame, kind, name)


# ---- whose call it is


def _asked(frame: FrameType | None, kind: Kind, name: str, module: str) -> tuple[FrameType, Kind, str] | None:
    """Return which frame of workflow code asked for a call, and for what; None if none did.

    Args:
        frame: Where the call is made.
        kind: Why it is forbidden.
        name: What it is called.
        module: That of the workflow; its package is the user's, wherever it is installed.
    """
    own = module.partition(".")[0]
    asked: FrameType | None = None
    while frame is not None:
        of = frame.f_globals.get("__name__", "")
        if of == "durable._replay._turns":
            break
        top = of.partition(".")[0]
        if top in _QUIET:
            return None
        if asked is None and frame.f_code.co_filename != "<string>":  # what dataclasses write
            whose = _USERS if top == own else _owner(frame.f_code.co_filename, top)
            if whose == _OURS or (whose == _LIBRARY and not kind.from_libraries):
                return None
            if whose == _USERS:
                asked = frame
            elif whose == _STANDARD:
                kind = BY_CALLER.get(of, kind)
                name = shown(of, frame.f_code.co_qualname.removeprefix("Random."))
        frame = frame.f_back
    return None if asked is None else (asked, kind, name)


@cache
def _owner(file: str, package: str) -> int:
    if package == "durable":
        return _OURS
    if "site-packages" in file or "dist-packages" in file:
        return _LIBRARY
    standard = (sysconfig.get_path("stdlib"), sysconfig.get_path("platstdlib"), "<frozen ")
    return _STANDARD if file.startswith(standard) else _USERS
