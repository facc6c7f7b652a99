"""What workflow code must not call, since a replay would not see the same again.

Only entry points in C are listed, and what in Python has none: `uuid.uuid4`, `random.choice`, `Path.read_text` and
`subprocess.run` all come to one of these. Nothing is imported for it: what no program has loaded, no workflow can call.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from operator import attrgetter
from types import CodeType
from typing import Any


@dataclass(frozen=True, slots=True)
class Kind:
    """Why something must not be called.

    Attributes:
        does: What it does, behind "it".
        instead: What to use.
        from_libraries: Whether it counts where a library calls it that workflow code called. Libraries read the clock and
            files for reasons of their own, such as logs and caches; whatever leaves the process counts always.
    """

    does: str
    instead: str
    from_libraries: bool = True


_ACTIVITY = "Do it in an activity and await its result"

CLOCK = Kind("reads the machine's clock", "Use workflow.now() or workflow.time()", from_libraries=False)
RANDOM = Kind(
    "draws what no replay draws again",
    "Use workflow.random(), workflow.uuid4() or workflow.uuid7()",
    from_libraries=False,
)
SLEEP = Kind("holds up the whole worker", "Use `await workflow.sleep(...)`")
FILE = Kind("looks at what is not part of the history", _ACTIVITY, from_libraries=False)
NETWORK = Kind("talks to what is not part of the history", _ACTIVITY)
PROCESS = Kind("acts outside of the history", _ACTIVITY)
THREAD = Kind(
    "runs code whose order no history tells",
    "Use asyncio's tasks and `asyncio.gather` in the workflow, or threads in an activity",
)
INPUT = Kind("waits for somebody at the terminal", "Wait for a signal or an update")

_NAMES: tuple[tuple[Kind, str, str], ...] = (
    (CLOCK, "time", "time time_ns monotonic monotonic_ns perf_counter perf_counter_ns process_time process_time_ns"),
    (CLOCK, "time", "thread_time thread_time_ns clock_gettime clock_gettime_ns"),
    (CLOCK, "datetime", "datetime.now datetime.utcnow datetime.today date.today"),
    (SLEEP, "time", "sleep"),
    (RANDOM, "random", "random getrandbits"),
    (RANDOM, "os", "urandom getrandom"),
    (RANDOM, "uuid", "_generate_time_safe"),
    (FILE, "builtins", "open"),
    (FILE, "io", "open_code"),
    (FILE, "os", "open listdir scandir stat lstat access mkdir rmdir remove unlink rename replace readlink truncate"),
    (FILE, "_sqlite3", "connect"),
    (NETWORK, "_socket", "getaddrinfo gethostbyname gethostbyname_ex gethostbyaddr socket.__init__"),
    (PROCESS, "os", "pipe fork forkpty posix_spawn posix_spawnp system execv execve kill"),
    (PROCESS, "_posixsubprocess", "fork_exec"),
    (PROCESS, "_winapi", "CreateProcess"),
    (THREAD, "_thread", "start_new_thread start_joinable_thread"),
    (INPUT, "builtins", "input"),
)  # fmt: skip

_IN_PYTHON = ((NETWORK, "socket", "socket.__init__"),)
"""For a profiler, which does not see a call of a slot of a type."""

BY_CALLER = {"subprocess": PROCESS, "socket": NETWORK, "uuid": RANDOM, "secrets": RANDOM}
"""Modules for which the first thing that they come to says less than they do themselves."""


@cache
def forbidden() -> dict[Callable[..., Any], tuple[Kind, str]]:
    """Return what must not be called: why, and how it is called."""
    return {found: (kind, name) for kind, name, found in _found(_NAMES)}


@cache
def forbidden_code() -> dict[int, tuple[Kind, str]]:
    """Return the same of functions in Python, by the id of their code: its hash is the sum of all its constants."""
    codes: list[tuple[Kind, str, CodeType]] = [
        (kind, name, found.__code__) for kind, name, found in _found(_IN_PYTHON)
    ]
    return {id(code): (kind, name) for kind, name, code in codes}


def _found(names: tuple[tuple[Kind, str, str], ...]) -> list[tuple[Kind, str, Any]]:
    found: list[tuple[Kind, str, Any]] = []
    for kind, module_name, parts in names:
        module = sys.modules.get(module_name)
        for name in parts.split():
            # Another system, another Python, or a module that nobody uses.
            with suppress(AttributeError):
                found.append((kind, shown(module_name, name), attrgetter(name)(module)))
    return found


def shown(module: str, name: str) -> str:
    """Return what people call something: `pathlib.Path.read_text` and not `pathlib._local.Path.read_text`."""
    parts = [one for one in module.split(".") if not one.startswith("_")] or [module.lstrip("_")]
    return ".".join([*parts, name.removesuffix(".__init__")]).removeprefix("builtins.")
