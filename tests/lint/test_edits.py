"""What is noticed of an edit that would stop the runs under way: by a replay, the guard or the lint, each with the line."""

from __future__ import annotations

import re
import sys
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from durable._replay._guard import Guard
from durable._replay._instance import Instance
from durable._replay._turns import Turns
from durable.exceptions import NondeterminismError, RestrictedWorkflowAccessError
from durable.history import CommandEvent, Event
from durable.lint import Config, Finding, check
from durable.testing import History, WorkflowEnvironment
from durable.testing._elsewhere import elsewhere
from durable.worker import Replayer
from tests.lint import shop
from tests.lint.edits import BREAKING, HARMLESS, PROGRAM, Edit, edited
from tests.lint.rig import write

SHOP = Path(shop.__file__).read_text()


def found_in(text: str, folder: Path) -> list[Finding]:
    """What the lint finds in a program, beside which stands what it imports."""
    write(folder, {"program.py": text, "tests/lint/shop.py": SHOP})
    return check([folder / "program.py"], Config(folder))


def load(text: str, path: Path) -> Any:
    """Write a program, and return its workflow."""
    path.write_text(text)
    module = ModuleType(path.stem)
    module.__file__ = str(path)
    sys.modules[path.stem] = module  # decorators look their module up
    try:
        exec(compile(text, str(path), "exec"), vars(module))
    finally:
        del sys.modules[path.stem]
    return next(one for one in vars(module).values() if getattr(one, "name", "") == "edits.checkout")


async def run(checkout: Any) -> History:
    activities = [shop.reserve, shop.charge, shop.pack, shop.label, shop.mail, shop.audit]
    async with (
        WorkflowEnvironment() as env,
        env.worker(workflows=[checkout, shop.ship], activities=activities),
    ):
        handle = await env.client.start_workflow(checkout(shop.Order("7")), id="edits-1")
        await env.advance(timedelta(hours=2))
        await handle.signal(shop.decided("yes"))
        assert await handle.result() == "seat for 7, receipt 605, box, label, shipped 7, yes, 2"
        return env.history("edits-1")


@pytest.fixture(scope="module")
def history(tmp_path_factory: pytest.TempPathFactory) -> History:
    """That of the program as it was."""
    return elsewhere(run(load(PROGRAM, tmp_path_factory.mktemp("program") / "program.py")))


def replay(history: History, checkout: Any, guard: Guard | None = None) -> None:
    """Replay strictly, in this thread, under a guard."""

    def activate(instance: Instance, turns: Turns, task: Sequence[Event], **how: Any) -> list[CommandEvent]:
        instance.guard = guard
        return instance.activate(turns, task, **how)

    Replayer(workflows=[checkout], strict=True)._replay(history.recorded, activate=activate)


def lines_named(edit: Edit, path: Path, history: History) -> set[int]:
    """The lines that are named by what is to catch an edit, which it does."""
    text = edited(edit)
    if edit.caught == "lint":
        return {one.line for one in found_in(text, path.parent)}
    checkout = load(text, path)
    guard = Guard("error") if edit.caught == "guard" else None
    with pytest.raises(NondeterminismError if guard is None else RestrictedWorkflowAccessError) as caught:
        replay(history, checkout, guard)
    return {int(line) for line in re.findall(rf"{re.escape(path.name)}:(\d+)", str(caught.value))}


@pytest.mark.parametrize("edit", BREAKING, ids=lambda edit: edit.name)
def test_an_edit_that_breaks_is_caught_with_its_line(edit: Edit, tmp_path: Path, history: History) -> None:
    numbered = enumerate(edited(edit).splitlines(), 1)
    meant = {number for number, line in numbered if edit.line in line}
    assert meant, edit
    assert lines_named(edit, tmp_path / "program.py", history) & meant


@pytest.mark.parametrize("edit", HARMLESS, ids=lambda edit: edit.name)
def test_a_harmless_edit_is_not(edit: Edit, tmp_path: Path, history: History) -> None:
    path = tmp_path / "program.py"
    replay(history, load(edited(edit), path), Guard("error"))
    found = found_in(edited(edit), tmp_path)
    assert not found, "\n".join(map(str, found))


def test_there_are_fifty_of_each_all_different() -> None:
    for edits in (BREAKING, HARMLESS):
        assert len({edited(one) for one in edits} - {PROGRAM}) == 50


def test_the_lint_finds_what_the_guard_finds(tmp_path: Path) -> None:
    for edit in BREAKING:
        if edit.caught == "guard":
            found = found_in(edited(edit), tmp_path)
            assert found, edit.name
            assert edit.line in edited(edit).splitlines()[found[0].line - 1]
