"""Patches of one run's code: the whole table, memory within a run, and where they may not be asked for."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable
from typing import Any

import pytest

from durable import workflow
from durable._replay._instance import Instance
from durable._replay._replay import replay
from durable._replay._turns import Turns
from durable.exceptions import NondeterminismError, ReadOnlyContextError, WorkflowQueryFailedError
from durable.history import (
    CommandEvent,
    MarkerRecorded,
    TimerFired,
    WorkflowExecutionUpdateAccepted,
)
from durable.worker import PatchActivationInput
from durable.worker._patches import activation
from durable.workflow._info import Info
from tests.replay.test_instance import CONVERTER, Rig, act, done, names, payloads, result, signal

PATCH = "p"


@workflow.defn(name="patches_way")
async def unpatched() -> str:
    await act(1)
    return "old"


@workflow.defn(name="patches_way")
async def patched() -> str:
    if workflow.patched(PATCH):
        await act(2)
        return "new"
    await act(1)
    return "old"


@workflow.defn(name="patches_way")
async def deprecated() -> str:
    workflow.deprecate_patch(PATCH)
    await act(2)
    return "new"


@workflow.defn(name="patches_way")
async def gone() -> str:
    await act(2)
    return "new"


def recorded(definition: Any) -> Rig:
    """A history of two tasks, as this code makes it."""
    rig = Rig(definition)
    rig.start()
    rig.tell(done(1))
    return rig


@pytest.mark.temporal("workflow/patch")
@pytest.mark.parametrize(
    ("old", "new", "replays"),
    [
        (unpatched, unpatched, True),
        (unpatched, patched, True),
        (unpatched, deprecated, "act"),
        (patched, unpatched, False),
        (patched, patched, True),
        (patched, deprecated, True),
        (patched, gone, False),
        (deprecated, patched, True),
        (deprecated, deprecated, True),
        (deprecated, gone, True),
        (gone, deprecated, True),
    ],
)
def test_which_code_replays_which_history(old: Any, new: Any, replays: bool | str) -> None:
    rig = recorded(old)
    if replays is True:
        assert rig.replay(new) is None
    elif replays == "act":
        # The call itself is always allowed; it is the activity's argument that is another one.
        with pytest.raises(NondeterminismError, match="other arguments"):
            rig.replay(new)
    else:
        with pytest.raises(NondeterminismError, match="MarkerRecorded patch p"):
            rig.replay(new)


def test_what_is_recorded() -> None:
    rig = Rig(patched)
    marker, scheduled = rig.start()
    assert marker == MarkerRecorded(patch_id=PATCH)
    assert scheduled.id == 1
    (marker, _) = Rig(deprecated).start()
    assert marker == MarkerRecorded(patch_id=PATCH, deprecated=True)


def test_the_report_shows_the_marker_and_says_what_to_do() -> None:
    rig = recorded(patched)
    with pytest.raises(NondeterminismError) as caught:
        rig.replay(gone)
    text = str(caught.value)
    assert re.search(
        r"^> +\d: MarkerRecorded patch p +\| ActivityTaskScheduled instance_act$", text, re.MULTILINE
    ), text
    assert re.search(r"test_patches\.py:\d+", text)
    assert "workflow.deprecate_patch('p')" in text


def test_the_report_of_a_patched_code_names_the_line_that_asks() -> None:
    rig = recorded(patched)

    @workflow.defn(name="patches_way")
    async def other() -> str:
        first = act.start(2)
        workflow.patched(PATCH)
        await first
        return "late"

    with pytest.raises(NondeterminismError) as caught:
        rig.replay(other)
    assert re.search(r"MarkerRecorded patch p +\| ActivityTaskScheduled instance_act", str(caught.value))
    assert re.search(r"at .*test_patches\.py:\d+", str(caught.value))
    assert "deprecate_patch" not in str(caught.value)


@workflow.defn(name="patches_loop")
async def loop_before(n: int) -> str:
    for _ in range(n):
        await act(1)
    return "o" * n


@workflow.defn(name="patches_loop")
async def loop_after(n: int) -> str:
    said = ""
    for _ in range(n):
        if workflow.patched(PATCH):
            said += "n"
        else:
            said += "o"
        await act(1)
    return said


@pytest.mark.temporal("workflow/patch_memoized")
def test_a_run_that_began_the_old_way_stays_on_it_in_a_loop() -> None:
    rig = Rig(loop_before, 3)
    rig.start()
    rig.tell(done(1))
    rig.definition = loop_after.definition
    rig.code = rig.fresh()
    assert rig.replay() is None
    with Turns() as turns:
        replay(rig.code, turns, rig.log, rebuild=lambda: rig.fresh(trace=True))
    assert "MarkerRecorded" not in names(rig.tell(done(2)))
    assert result(rig.tell(done(3))) == "ooo"
    assert rig.replay() is None


def test_a_new_run_records_one_marker_however_often_it_asks() -> None:
    rig = Rig(loop_after, 3)
    counted = [names(rig.start()), names(rig.tell(done(1))), names(rig.tell(done(2)))]
    assert [one.count("MarkerRecorded") for one in counted] == [1, 0, 0]
    assert result(rig.tell(done(3))) == "nnn"
    assert rig.replay() is None


@workflow.defn(name="patches_signal")
class Told:
    def __init__(self) -> None:
        self.said: list[bool] = []

    @workflow.run
    async def run(self, n: int) -> list[bool]:
        await workflow.wait_condition(lambda: len(self.said) >= n)
        return self.said

    @workflow.signal
    def poke(self, text: str) -> None:
        self.said.append(workflow.patched(text))

    @workflow.query
    def ask(self) -> bool:
        return workflow.patched("asked")

    @workflow.update
    def change(self, text: str) -> bool:
        found = workflow.patched(text)
        self.said.append(found)
        return found

    @change.validator
    def _check(self, text: str) -> None:
        if text == "in the validator":
            workflow.patched(text)


def test_a_trailing_task_without_commands_is_run_live() -> None:
    """What the owner before left unanswered is a whole task of the next one, where a patch is turned on."""
    rig = Rig(Told, 2)
    rig.start()
    rig.tell(signal("poke", "a"))
    del rig.log[-1]  # the marker, which was not written before its owner died
    again = rig.replay()
    assert again is not None
    assert again == [MarkerRecorded(patch_id="a")]


def test_a_middle_task_without_commands_took_the_old_way() -> None:
    rig = Rig(Told, 2)
    rig.start()
    rig.tell(signal("poke", "a"))
    del rig.log[-1]
    rig.code = rig.fresh()
    rig.task += 1
    rig._append(signal("poke", "b"))
    again = rig.replay()
    assert again is not None
    assert again[0] == MarkerRecorded(patch_id="b")
    assert result(again) == [False, True]


def test_in_handlers_and_tasks() -> None:
    rig = Rig(Told, 3)
    rig.start(signal("poke", "a"), signal("poke", "b"))
    update = WorkflowExecutionUpdateAccepted(message="update:u", name="change", input=payloads("c"))
    assert result(rig.tell(update)) == [True, True, True]
    assert rig.replay() is None

    @workflow.defn(name="patches_tasks")
    async def tasks() -> list[bool]:
        async def one(n: int) -> bool:
            await asyncio.sleep(0)
            return workflow.patched(f"p{n % 2}")

        return list(await asyncio.gather(*[one(n) for n in range(4)]))

    rig = Rig(tasks)
    commands = rig.start()
    assert [c.patch_id for c in commands if isinstance(c, MarkerRecorded)] == ["p0", "p1"]
    assert result(commands) == [True] * 4
    assert rig.replay() is None


def test_nobody_asks_in_a_query_or_a_validator() -> None:
    rig = Rig(Told, 2)
    rig.start()
    with pytest.raises(WorkflowQueryFailedError, match="patch"):
        rig.query("ask")
    update = WorkflowExecutionUpdateAccepted(
        message="update:u", name="change", input=payloads("in the validator")
    )
    rig.task += 1
    event = rig._append(update)
    with Turns() as turns, pytest.raises(ReadOnlyContextError):
        rig.code.attempt(turns, [event])


def test_ids_are_checked() -> None:
    for bad in ("", "x" * 2000):

        @workflow.defn(name="patches_bad")
        async def asks(bad: str = bad) -> None:
            workflow.patched(bad)

        with pytest.raises(ValueError, match="patch id"):
            Rig(asks).start()


# ---------------------------------------------------------------- who decides


def asking(
    definition: Any, callback: Callable[[PatchActivationInput], bool]
) -> tuple[Rig, Callable[[str, Info], bool]]:
    rig = Rig(definition)
    activates = activation(callback)
    assert activates is not None
    rig.code = Instance(
        rig.definition,
        rig.run_id,
        CONVERTER,
        namespace="n",
        note=lambda text, error: rig.notes.append(text),
        activates=activates,
    )
    rig.alive.append(rig.code)
    return rig, activates


@pytest.mark.temporal("workflow/patch_activation_callback")
@pytest.mark.parametrize("on", [True, False])
def test_the_worker_decides_about_a_first_patch(on: bool) -> None:
    asked: list[PatchActivationInput] = []

    def callback(input: PatchActivationInput) -> bool:
        asked.append(input)
        return on

    rig, _ = asking(patched, callback)
    commands: list[CommandEvent] = rig.start()
    assert ("MarkerRecorded" in names(commands)) is on
    assert result(rig.tell(done(1))) == ("new" if on else "old")
    assert [(one.patch_id, one.workflow_info.workflow_id) for one in asked] == [(PATCH, "w")]
    # A replay asks nobody: what was decided is in the history, or is not.
    assert rig.replay() is None
    assert len(asked) == 1


def test_it_is_asked_once_and_never_for_a_deprecated_patch() -> None:
    asked: list[str] = []

    def callback(input: PatchActivationInput) -> bool:
        asked.append(input.patch_id)
        return False

    rig, _ = asking(loop_after, callback)
    rig.begin = Rig(loop_after, 2).begin
    rig.start()
    rig.tell(done(1))
    assert result(rig.tell(done(2))) == "oo"
    assert asked == [PATCH]
    rig, _ = asking(deprecated, callback)
    assert names(rig.start())[0] == "MarkerRecorded"
    assert asked == [PATCH]


def test_it_must_return_a_bool_and_change_nothing() -> None:
    def bad(input: PatchActivationInput) -> Any:
        return 1

    rig, _ = asking(patched, bad)
    with pytest.raises(TypeError, match="must return True or False, not int"):
        rig.start()

    def changes(input: PatchActivationInput) -> bool:
        workflow.uuid4()
        return True

    rig, _ = asking(patched, changes)
    with pytest.raises(ReadOnlyContextError):
        rig.start()

    def schedules(input: PatchActivationInput) -> bool:
        asyncio.get_running_loop().call_soon(print)
        return True

    rig, _ = asking(patched, schedules)
    with pytest.raises(ReadOnlyContextError):
        rig.start()
    with pytest.raises(TypeError, match="must be a function"):
        activation("yes")  # type: ignore[arg-type]
    assert activation(None) is None


def test_asked_outside_of_a_workflow() -> None:
    with pytest.raises(RuntimeError, match=r"workflow\.patched"):
        workflow.patched("p")


def test_what_is_not_in_the_log_yet_counts_before_a_trial() -> None:
    """A task has run, its marker is not written, and its code is brought there again."""
    rig = Rig(Told, 3)
    rig.start()
    commands = rig.tell(signal("poke", "a"))
    del rig.log[-1]
    rig.code = rig.fresh()
    with Turns() as turns:
        replay(rig.code, turns, rig.log, rebuild=lambda: rig.fresh(trace=True), pending=commands)
    assert rig.tell(signal("poke", "a")) == []
    assert result(rig.tell(signal("poke", "b"))) == [True, True, True]


def test_timers_keep_their_numbers_beside_a_patch() -> None:
    @workflow.defn(name="patches_timers")
    async def sleeps() -> str:
        workflow.patched("p")
        await workflow.sleep(1)
        return "slept"

    rig = Rig(sleeps)
    _, timer = rig.start()
    assert timer.id == 1
    assert result(rig.tell(TimerFired(id=1), after=1)) == "slept"
    assert rig.replay() is None
