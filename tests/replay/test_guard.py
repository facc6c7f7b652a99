"""The guard sees what workflow code reaches for, itself or through helpers, and nothing that is not workflow code's."""

from __future__ import annotations

import asyncio
import datetime as dt
import importlib
import logging
import os
import random
import secrets
import socket
import subprocess
import sys
import tempfile
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from durable import workflow
from durable._internal import thrown
from durable._replay import _guard
from durable._replay._guard import GuardMode, new_guard
from durable.exceptions import RestrictedWorkflowAccessError
from tests.replay.test_instance import Rig, result

HERE = str(Path(__file__))


def watched(definition: Any, *args: Any, mode: GuardMode = "error") -> Rig:
    """A run of a workflow that a guard watches."""
    rig = Rig(definition, *args)
    rig.code.guard = new_guard(mode)
    return rig


def caught(definition: Any, *args: Any) -> RestrictedWorkflowAccessError:
    with pytest.raises(RestrictedWorkflowAccessError) as found:
        watched(definition, *args).start()
    return found.value


@dataclass
class Order:
    id: uuid.UUID = field(default_factory=uuid.uuid4)


class Helper:
    @property
    def stamp(self) -> float:
        return time.time()

    def __enter__(self) -> Helper:
        self.entered = time.monotonic()
        return self

    def __exit__(self, *_: object) -> None: ...


FORBIDDEN: dict[str, tuple[Callable[[], object], str]] = {
    "clock": (lambda: time.time(), "workflow.now"),
    "monotonic": (lambda: time.monotonic(), "workflow.now"),
    "now": (lambda: dt.datetime.now(dt.UTC), "workflow.now"),
    "today": (lambda: dt.date.today(), "workflow.now"),  # noqa: DTZ011
    "in a list": (lambda: [time.time() for _ in range(2)], "workflow.now"),
    "by a property": (lambda: Helper().stamp, "workflow.now"),
    "by __enter__": (lambda: Helper().__enter__(), "workflow.now"),
    "as a key": (lambda: sorted([1, 2], key=lambda _: time.time()), "workflow.now"),
    "random": (lambda: random.random(), "workflow.random"),
    "choice": (lambda: random.choice("ab"), "workflow.random"),
    "shuffle": (lambda: random.shuffle([1, 2, 3]), "workflow.random"),
    "uuid4": (lambda: uuid.uuid4(), "workflow.uuid4"),
    "uuid1": (lambda: uuid.uuid1(), "workflow.uuid4"),
    "default_factory": (lambda: Order(), "workflow.uuid4"),
    "urandom": (lambda: os.urandom(4), "workflow.random"),
    "secrets": (lambda: secrets.token_hex(), "workflow.random"),
    "open": (lambda: open(HERE).close(), "activity"),
    "read_text": (lambda: Path(HERE).read_text(), "activity"),
    "exists": (lambda: Path(HERE).exists(), "activity"),
    "listdir": (lambda: os.listdir("."), "activity"),
    "mkdtemp": (lambda: tempfile.mkdtemp(), "activity"),
    "socket": (lambda: socket.socket(), "activity"),
    "connect": (lambda: socket.create_connection(("localhost", 9)), "activity"),
    "run": (lambda: subprocess.run(["true"], check=True), "activity"),
    "thread": (lambda: threading.Thread(target=str).start(), "gather"),
    "sleep": (lambda: time.sleep(0), "workflow.sleep"),
}


@workflow.defn(name="guard_calls")
async def calls(name: str) -> str:
    FORBIDDEN[name][0]()
    return "passed"


@pytest.mark.parametrize("name", FORBIDDEN)
def test_what_is_found_names_the_line_and_what_to_use(name: str) -> None:
    error = caught(calls, name)
    assert FORBIDDEN[name][1] in str(error)
    assert f" at {HERE}:" in str(error), error


@workflow.defn(name="guard_seeded")
async def seeded(name: str) -> str:
    """The same lines of the standard library draw for a generator with a seed first."""
    for generator in (random.Random(5), workflow.random()):
        generator.choice("ab")
        generator.shuffle([1, 2, 3])
    FORBIDDEN[name][0]()
    return "passed"


@pytest.mark.parametrize("name", ["choice", "shuffle"])
def test_generators_with_a_seed_hide_nothing(name: str) -> None:
    assert "workflow.random" in str(caught(seeded, name))


def test_the_line_is_the_users_and_the_name_is_what_stands_there() -> None:
    error = caught(calls, "read_text")
    assert error.qualified_name.endswith("Path.read_text")
    line = FORBIDDEN["read_text"][0].__code__.co_firstlineno
    assert str(error).startswith("pathlib.")
    assert f"{HERE}:{line} in <lambda>: it looks at what is not part of the history" in str(error)
    assert caught(calls, "socket").qualified_name == "socket.socket"
    assert caught(calls, "run").qualified_name == "subprocess.run"
    assert caught(calls, "open").qualified_name == "open"


@workflow.defn(name="guard_harmless")
async def harmless() -> list[Any]:
    logging.getLogger("guard").warning("it is %s", workflow.now())
    workflow.logger.warning("likewise")
    importlib.import_module("this_is_not_there" if False else "colorsys")
    async with asyncio.timeout(5), asyncio.TaskGroup() as group:
        one = group.create_task(asyncio.sleep(0, "slept"))
    return [
        await one,
        random.Random(5).random(),
        str(workflow.uuid4()),
        workflow.random().random() < 1,
        dt.datetime(2026, 1, 1, tzinfo=dt.UTC).isoformat(),
        uuid.UUID(int=5).hex,
        time.strftime("%Y", time.gmtime(0)),
        os.path.join("a", "b"),
        workflow.time() > 0,
    ]


def test_what_a_replay_sees_again_passes(caplog: pytest.LogCaptureFixture, tmp_path: Path) -> None:
    log = logging.FileHandler(tmp_path / "log", delay=True)  # it opens its file when the workflow logs
    logging.getLogger("guard").addHandler(log)
    sys.modules.pop("colorsys", None)
    try:
        commands = watched(harmless).start()
        assert result(commands)[:2] == ["slept", random.Random(5).random()]
    finally:
        logging.getLogger("guard").removeHandler(log)
        log.close()
    assert "likewise" in caplog.text
    assert "it is 2023" in (tmp_path / "log").read_text()


@workflow.defn(name="guard_unrestricted")
async def unrestricted(outside: bool) -> bool:
    with workflow.unsafe.sandbox_unrestricted():
        began = time.time()
        await asyncio.create_task(asyncio.sleep(0))
        began = time.time()
    if outside:
        began = time.time()
    return began > 0


def test_a_block_may_be_left_alone() -> None:
    assert result(watched(unrestricted, False).start()) is True
    assert "guard.py" in str(caught(unrestricted, True))


@workflow.defn(name="guard_swallows")
async def swallows() -> str:
    try:
        return str(time.time())
    except Exception:
        return "swallowed"


def test_code_that_swallows_the_error_fails_its_task_all_the_same() -> None:
    caught(swallows)


@workflow.defn(name="guard_repeats", failure_exception_types=[Exception])
async def repeats() -> None:
    for _ in range(3):
        time.time()
    time.time()


def test_warnings_are_told_once_for_each_line_and_change_nothing() -> None:
    rig = watched(repeats, mode="warn")
    assert result(rig.start()) is None
    again = Rig(repeats)
    again.code.guard = rig.code.guard
    again.start()
    assert [note.split(":")[0].split(" in workflow")[0] for note in rig.notes + again.notes] == [
        "time.time()"
    ] * 2
    assert len({note.partition(" in repeats")[0] for note in rig.notes}) == 2


def test_it_is_no_failure_of_the_workflow() -> None:
    assert "time.time" in str(caught(repeats))  # although its exceptions fail it


# ---- whose code


@pytest.fixture
def packages(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Callable[[str, str, str], ModuleType]]:
    """Makes modules of people's own, and installed ones."""
    made: list[str] = []

    def make(where: str, name: str, text: str) -> ModuleType:
        directory = tmp_path / where
        package = directory / name.partition(".")[0]
        package.mkdir(parents=True, exist_ok=True)
        (package / "__init__.py").touch()
        (directory / (name.replace(".", "/") + ".py")).write_text(text)
        monkeypatch.syspath_prepend(directory)
        made.extend({name, name.partition(".")[0]})
        return importlib.import_module(name)

    yield make
    for name in made:
        sys.modules.pop(name, None)


CLOCK = "import time\ndef stamp():\n    return time.time()\n"


def test_a_helper_of_ones_own_is_seen_two_packages_deep(packages: Any) -> None:
    packages("src", "guardown.deep", CLOCK)
    module = packages(
        "src",
        "guardapp.flows",
        "from durable import workflow\nfrom guardown import deep\n"
        "def helper():\n    return deep.stamp()\n"
        "@workflow.defn\nasync def uses() -> float:\n    return helper()\n",
    )
    assert "guardown/deep.py:3 in stamp" in str(caught(module.uses))


def test_an_application_that_is_installed_is_ones_own(packages: Any) -> None:
    packages("site-packages", "guardshop.deep", CLOCK)
    module = packages(
        "site-packages",
        "guardshop.flows",
        "from durable import workflow\nfrom guardshop import deep\n"
        "@workflow.defn\nasync def uses() -> float:\n    return deep.stamp()\n",
    )
    assert "site-packages/guardshop/deep.py:3 in stamp" in str(caught(module.uses))


def test_a_library_may_look_at_the_clock_but_not_leave_the_process(packages: Any) -> None:
    library = packages(
        "site-packages",
        "guardlib.deep",
        CLOCK + "import socket\ndef ask():\n    return socket.create_connection(('localhost', 9))\n",
    )

    @workflow.defn(name="guard_library")
    async def uses(asks: bool) -> bool:
        return library.stamp() > 0 and (not asks or library.ask())

    assert result(watched(uses, False).start()) is True
    error = str(caught(uses, True))
    assert error.startswith("socket.create_connection()")
    assert f" at {HERE}:" in error, "the line is that of the user's own code"


# ---- whose turn


@workflow.defn(name="guard_queried")
class Queried:
    @workflow.run
    async def run(self) -> None:
        await workflow.sleep(5)

    @workflow.query
    def clock(self) -> bool:
        return time.time() > 0


def test_queries_and_everybody_else_are_left_alone() -> None:
    rig = watched(Queried)
    rig.start()
    assert rig.query("clock") is True
    assert time.time() > 0
    assert random.random() < 1


def test_another_thread_is_left_alone() -> None:
    asks, answers = threading.Event(), threading.Event()
    seen: list[float] = []

    def beside() -> None:
        asks.wait(60)
        seen.append(time.time())
        answers.set()

    @workflow.defn(name="guard_beside")
    async def waits_for_it() -> bool:
        asks.set()
        return answers.wait(60)

    thread = threading.Thread(target=beside)
    thread.start()
    assert result(watched(waits_for_it).start()) is True
    thread.join(60)
    assert len(seen) == 1


def test_it_leaves_no_profiler_behind_and_disturbs_none() -> None:
    watched(harmless).start()
    assert sys.getprofile() is None
    with pytest.raises(RestrictedWorkflowAccessError):
        watched(calls, "clock").start()
    assert sys.getprofile() is None
    seen: list[str] = []
    sys.setprofile(lambda frame, event, arg: seen.append(event))
    try:
        profile = sys.getprofile()
        watched(harmless).start()
        assert sys.getprofile() is profile
    finally:
        sys.setprofile(None)
    assert seen


@pytest.mark.skipif(sys.version_info >= (3, 12), reason="every turn is watched there")
def test_not_every_turn_is_watched_where_that_costs() -> None:
    guard = new_guard("warn")
    assert guard is not None
    seen = [guard._due("w") for _ in range(_guard.ALWAYS + 100 * _guard.SOMETIMES)]
    assert all(seen[: _guard.ALWAYS])
    assert 60 <= sum(seen[_guard.ALWAYS :]) <= 140
    assert guard._due("another")
    # No turn of a workflow is passed over for ever, however many each of its runs has.
    for turns in range(2, 40):
        later = {number % turns for number, due in enumerate(seen) if due and number >= _guard.ALWAYS}
        assert len(later) > turns / 2


@pytest.mark.skipif(sys.version_info >= (3, 12), reason="only 3.11 spins then")
def test_nothing_is_profiled_while_an_exception_is_on_its_way(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(thrown, "on_their_way", thrown.on_their_way)
    thrown.on_their_way.add(1)
    try:
        assert result(watched(calls, "clock").start()) == "passed"
    finally:
        thrown.on_their_way.clear()
    caught(calls, "clock")


def test_modes() -> None:
    assert new_guard("off") is None
    with pytest.raises(ValueError, match="guard is 'off', 'warn' or 'error', not 'yes'"):
        new_guard("yes")  # type: ignore[arg-type]
