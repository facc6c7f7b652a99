"""Time travel: a history under a debugger, which stops where the code goes on, task by task, forwards and backwards.

The debugger is pdb, told to stop at the first line of the user's code in each task and to pass over the library's; or
whatever `sys.breakpointhook` calls, in front of each task. Nothing watches how long that takes.
"""

from __future__ import annotations

import os
import pdb
import sys
from collections.abc import Generator
from contextlib import contextmanager, suppress
from types import FrameType
from typing import Any, TextIO

from durable._replay._instance import Instance
from durable._replay._sources import LIBRARY, is_users
from durable.client import WorkflowHistory
from durable.testing._histories import History
from durable.testing._steps import ReplayStep, ReplayTask, Steps, waiting_tasks
from durable.worker import Replayer

INTRODUCTION = (
    "The debugger is pdb. `c` goes on to the next task, `event N` to the one with that event, forwards or back, `back` to the task "
    "before; `awaits` shows where all tasks of the code stand."
)


def replay_steps(
    history: WorkflowHistory | History, *workflows: Any, replayer: Replayer | None = None
) -> list[ReplayStep]:
    """Replay a history and return what each of its tasks did: what came in, what the code asked for, where it stood then.

    A history that does not replay is told up to there: the last step's `failure` says why.

    Args:
        history: The history.
        workflows: The workflow, with others if it needs any; all that are defined in this process by default.
        replayer: With the converter and the interceptors of the workers, instead of workflows.

    Raises:
        RegistrationError: There is no such workflow.
        HistoryCorruptError: It is not a whole history.
    """
    steps = Steps(_recorded(history), replayer or Replayer(workflows=workflows or None))
    steps.run()
    return steps.done


def debug(
    history: WorkflowHistory | History,
    *workflows: Any,
    event: int = 1,
    replayer: Replayer | None = None,
    stdin: TextIO | None = None,
    stdout: TextIO | None = None,
) -> None:
    """Replay a history under a debugger, which stops in each task where the code goes on, and tell what each task did.

    Nothing is written and no activity runs. The debugger is pdb, or that of `PYTHONBREAKPOINT` and `sys.breakpointhook`, which
    is then called in front of each task.

    Args:
        history: The history.
        workflows: The workflow, with others if it needs any; all that are defined in this process by default.
        event: The number of the event in whose task to stop first.
        replayer: With the converter and the interceptors of the workers, instead of workflows.
        stdin: Where pdb reads its commands.
        stdout: Where everything is told.

    Raises:
        ValueError: There is no such event.
        RegistrationError: There is no such workflow.
        HistoryCorruptError: It is not a whole history.
    """
    recorded = _recorded(history)
    _check_event(event, recorded)
    replayer = replayer or Replayer(workflows=workflows or None)
    if stdin is None and _other_debugger():
        Steps(recorded, replayer, around=_hooked(event), told=_teller(event, stdout or sys.stdout)).run()
        return
    debugger = TaskDebugger(recorded, replayer, stdin, stdout)
    debugger.message(INTRODUCTION)
    debugger.travel(event)


def _recorded(history: WorkflowHistory | History) -> WorkflowHistory:
    return history.recorded if isinstance(history, History) else history


def _check_event(event: int, history: WorkflowHistory) -> None:
    if not 1 <= event <= len(history.events):
        raise ValueError(f"there is no event {event}: the history has events 1 to {len(history.events)}")


# --- pdb ---


class _Leave(BaseException):
    """Leaves a replay. Not an `Exception`, so that nothing takes it for what became of the code."""


class TaskDebugger(pdb.Pdb):
    """pdb around the tasks of one history."""

    def __init__(
        self, history: WorkflowHistory, replayer: Replayer, stdin: TextIO | None, stdout: TextIO | None
    ) -> None:
        skipped = [pattern for name in LIBRARY for pattern in (name.rstrip("."), f"{name.rstrip('.')}.*")]
        super().__init__(stdin=stdin, stdout=stdout, nosigint=True, skip=skipped)
        self.prompt = "(durable) "
        self._history = history
        self._replayer = replayer
        self._target = 1
        self._instance: Instance | None = None
        self._task: ReplayTask | None = None
        self._before = 1
        self._leaves = self._again = self._entering = False

    def travel(self, event: int) -> None:
        """Replay to the task with an event, and on from there, stopping in each task, until the user has seen enough."""
        self._target, self._again = event, True
        while self._again:
            self._again = self._leaves = False
            self._task, self._before = None, 1
            steps = Steps(self._history, self._replayer, around=self._around, told=self._told)
            with suppress(_Leave):
                steps.run()

    def _told(self, step: ReplayStep) -> None:
        if (step.last >= self._target or step.failure is not None) and not self._leaves:
            self.message(f"{step}\n")

    @contextmanager
    def _around(self, instance: Instance, task: ReplayTask) -> Generator[None, None, None]:
        if task.last < self._target:
            self._before = task.last
            yield
            return
        self._instance, self._task = instance, task
        events = [*task.inputs, *task.recorded]
        self.message(f"--- task {task.number}: events {events[0].seq} to {events[-1].seq}")
        outer = sys.gettrace()
        self.reset()
        self._entering = True
        sys.settrace(self.trace_dispatch)
        try:
            yield
        finally:
            sys.settrace(outer)
        if self._leaves:
            raise _Leave
        self._before = task.last

    def stop_here(self, frame: FrameType) -> bool:
        """Stop first in the program itself, and then wherever pdb does."""
        stops = super().stop_here(frame) and (not self._entering or _is_programs(frame))
        self._entering = self._entering and not stops
        return stops

    def user_call(self, frame: FrameType, argument_list: Any) -> None:
        """Stop where code goes on, too."""
        if self.stop_here(frame):
            self.interaction(frame, None)

    # --- its own commands; their texts are what `help` shows ---

    def do_event(self, arg: str) -> bool | None:
        """event N

        Go to the task with event N, forwards or back, and stop where the code goes on.
        """
        try:
            event = int(arg)
            _check_event(event, self._history)
        except ValueError as error:
            self.error(str(error) if arg.isdigit() else "say which event: event 5")
            return None
        return self._go_to(event)

    def do_back(self, arg: str) -> bool | None:
        """back

        Go back to the task before.
        """
        return self._go_to(self._before)

    def do_awaits(self, arg: str) -> bool | None:
        """awaits

        Show where all tasks of the code stand, with their local variables.
        """
        assert self._instance is not None
        for one in waiting_tasks(self._instance):
            self.message(str(one))
        return None

    def do_quit(self, arg: str) -> bool | None:
        """q(uit) | exit

        Leave the debugger.
        """
        self._leaves = True
        self.set_continue()
        return True

    do_q = do_exit = do_quit

    def do_EOF(self, arg: str) -> bool | None:  # noqa: N802  # pdb's name
        """EOF

        Leave the debugger.
        """
        self.message("")
        return self.do_quit(arg)

    def _go_to(self, event: int) -> bool:
        assert self._task is not None
        self._target = event
        if event <= self._task.last:
            self._again = self._leaves = True
        self.set_continue()
        return True


def _is_programs(frame: FrameType) -> bool:
    """Whether a frame is of the program, and not of something that it has installed or that is generated."""
    file, name = frame.f_code.co_filename, frame.f_globals.get("__name__", "")
    installed = "site-packages" in file or name.partition(".")[0] in sys.stdlib_module_names
    return is_users(frame) and not installed and not file.startswith("<")


# --- another debugger ---


def _other_debugger() -> bool:
    """Whether `breakpoint()` is not pdb's: the environment names another, or a program has set one."""
    return bool(os.environ.get("PYTHONBREAKPOINT")) or sys.breakpointhook is not sys.__breakpointhook__


def _hooked(event: int) -> Any:
    @contextmanager
    def around(instance: Instance, task: ReplayTask) -> Generator[None, None, None]:
        if task.last >= event:
            breakpoint()  # what is stepped into from here is the task
        yield

    return around


def _teller(event: int, out: TextIO) -> Any:
    def told(step: ReplayStep) -> None:
        if step.last >= event or step.failure is not None:
            print(f"{step}\n", file=out)

    return told
