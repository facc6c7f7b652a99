"""Drop each accepted option in turn, on its way in, and see that the test which is named for it fails.

`python -m tests.temporal.dropped` does all of them, `python -m tests.temporal.dropped "start: memo" ...` some, and
`--find "start: memo" tests/scenarios` looks for a test that would notice. Each is done twice: once with the way in wrapped
and nothing dropped, when the test must pass, and once with the option gone as if nobody had given it.
"""

from __future__ import annotations

import contextlib
import functools
import importlib
import inspect
import io
import multiprocessing
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import pytest

from durable import RetryPolicy

ROOT = Path(__file__).parents[2]

WAYS: dict[str, tuple[str, str]] = {
    "start": ("durable.client._start_options:check", "mapping"),
    "activity": ("durable.activity._options:merge", "mapping"),
    "workflow": ("durable.workflow._definition:merge", "mapping"),
    "retry policy": ("durable.history:encode_retry_policy", "field"),
    "continue_as_new": ("durable.workflow._continue:continue_as_new", "parameter"),
    "worker": ("durable.worker:Worker.__init__", "parameter"),
    "connect": ("durable.client:Client.connect", "parameter"),
    "result": ("durable.client:WorkflowHandle.result", "parameter"),
    "cancel": ("durable.client:WorkflowHandle.cancel", "parameter"),
    "terminate": ("durable.client:WorkflowHandle.terminate", "parameter"),
    "signal": ("durable.client:WorkflowHandle.signal", "parameter"),
    "query": ("durable.client:WorkflowHandle.query", "parameter"),
    "execute_update": ("durable.client:WorkflowHandle.execute_update", "parameter"),
    "start_update": ("durable.client:WorkflowHandle.start_update", "parameter"),
    "start_workflow": ("durable.client:Client.start_workflow", "parameter"),
    "reset": ("durable.client:WorkflowHandle.reset", "parameter"),
    "pause": ("durable.client:WorkflowHandle.pause", "parameter"),
    "pause_activity": ("durable.client:WorkflowHandle.pause_activity", "parameter"),
    "unpause_activity": ("durable.client:WorkflowHandle.unpause_activity", "parameter"),
    "reset_activity": ("durable.client:WorkflowHandle.reset_activity", "parameter"),
    "update_activity_options": ("durable.client:WorkflowHandle.update_activity_options", "parameter"),
    "fetch_history_events": ("durable.client:WorkflowHandle.fetch_history_events", "parameter"),
    "list_workflows": ("durable.client:Client.list_workflows", "parameter"),
    "count_workflows": ("durable.client:Client.count_workflows", "parameter"),
    "get_workflow_handle": ("durable.client:Client.get_workflow_handle", "parameter"),
    "create_schedule": ("durable.client:Client.create_schedule", "parameter"),
    "trigger": ("durable.client:ScheduleHandle.trigger", "parameter"),
    "pause schedule": ("durable.client:ScheduleHandle.pause", "parameter"),
    "unpause schedule": ("durable.client:ScheduleHandle.unpause", "parameter"),
    "update result": ("durable.client:WorkflowUpdateHandle.result", "parameter"),
    "sleep": ("durable.workflow._waiting:sleep", "parameter"),
    "wait_condition": ("durable.workflow._waiting:wait_condition", "parameter"),
    "wait": ("durable.workflow._waiting:wait", "parameter"),
    "as_completed": ("durable.workflow._waiting:as_completed", "parameter"),
    "map": ("durable.workflow._waiting:map", "parameter"),
    "receive": ("durable.workflow:Signal.receive", "parameter"),
    "memo_value": ("durable.workflow._state:memo_value", "parameter"),
    "external handle": ("durable.workflow._children:get_external_workflow_handle", "parameter"),
    "workflow.defn": ("durable.workflow._defn:defn", "parameter"),
    "workflow.signal": ("durable.workflow._methods:signal", "parameter"),
    "workflow.query": ("durable.workflow._methods:query", "parameter"),
    "workflow.update": ("durable.workflow._methods:update", "parameter"),
    "activity.defn": ("durable.activity._activity:defn", "parameter"),
    "application error": ("durable.exceptions:ApplicationError.__init__", "parameter"),
}
"""Where options come in, and how they are given there: in a mapping, by a parameter, or as a field of the first argument."""

KNOWN = {"start": ["_KNOWN"], "activity": ["KNOWN"], "workflow": ["_KNOWN", "CHILD_ONLY"]}
"""Where the names are that may be in a mapping, in the module of its way."""

NO_OPTIONS = {
    **dict.fromkeys(
        (
            "workflow.defn: target",
            "workflow.signal: fn",
            "workflow.query: fn",
            "workflow.update: fn",
            "activity.defn: fn",
        ),
        "what is decorated",
    ),
    **dict.fromkeys(("start: args", "start: result_type"), "taken before the others, see start_workflow"),
    "workflow.defn: sandboxed": "there is no sandbox to leave",
}
"""Parameters that may be left out, and can not be dropped; and why."""

FORK = multiprocessing.get_context("fork")

LIMIT = 40
"""Seconds for a test from which something is dropped; a busy machine takes some ten for the longest."""

LIMIT_WHOLE = 600
"""Seconds for one from which nothing is dropped: it ends by itself, and no busy machine makes a failure of it."""

OFF = "(nothing)"
"""The name of an option that nobody gives: only the wrapper is there."""


@dataclass(frozen=True)
class Wrapped:
    """A way in, wrapped so that one option does not come through."""

    function: Callable[..., Any]
    kind: str
    option: str

    def arguments(
        self, args: tuple[Any, ...], kwargs: Mapping[str, Any]
    ) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """What it is called with instead."""
        option = self.option
        if self.kind == "mapping":
            args = tuple(
                {key: value for key, value in one.items() if key != option} if isinstance(one, dict) else one
                for one in args
            )
            return args, dict(kwargs)
        if self.kind == "field":
            policy, *rest = args
            known = {field.name: field.default for field in fields(policy)}
            return (
                replace(policy, **{option: known[option]}) if option in known else policy,
                *rest,
            ), dict(kwargs)
        given = {key: value for key, value in kwargs.items() if key != option}
        names = [
            name
            for name, one in inspect.signature(self.function).parameters.items()
            if one.kind in (one.POSITIONAL_ONLY, one.POSITIONAL_OR_KEYWORD)
        ]
        if option in names and len(args) > (at := names.index(option)):
            default = inspect.signature(self.function).parameters[option].default
            args = (*args[:at], default, *args[at + 1 :])
        return args, given

    def wrapper(self) -> Callable[..., Any]:
        """The function in its place."""

        @functools.wraps(self.function)
        def call(*args: Any, **kwargs: Any) -> Any:
            args, kwargs = self.arguments(args, kwargs)
            return self.function(*args, **kwargs)

        return call


def options(way: str) -> list[str]:
    """What may be given there, and may be left out."""
    path, kind = WAYS[way]
    module, _, name = path.partition(":")
    holder = importlib.import_module(module)
    if kind == "field":
        return [one.name for one in fields(RetryPolicy)]
    if kind == "mapping":
        known = frozenset[str]().union(*(getattr(holder, one) for one in KNOWN[way]))
        return sorted(one for one in known if f"{way}: {one}" not in NO_OPTIONS)
    function: Any = holder
    for part in name.split("."):
        function = getattr(function, part)
    return [
        one.name
        for one in inspect.signature(function).parameters.values()
        if one.default is not one.empty and f"{way}: {one.name}" not in NO_OPTIONS
    ]


@contextlib.contextmanager
def dropped(way: str, option: str) -> Iterator[None]:
    """Drop an option on its way in, wherever that function is known by now."""
    path, kind = WAYS[way]
    module, _, name = path.partition(":")
    holder: Any = importlib.import_module(module)
    *owners, last = name.split(".")
    for owner in owners:
        holder = getattr(holder, owner)
    undo: list[tuple[Any, str, Any]] = []
    if owners:
        kept = inspect.getattr_static(holder, last)
        is_class_method = isinstance(kept, classmethod)
        wrapped: Any = Wrapped(kept.__func__ if is_class_method else kept, kind, option).wrapper()
        undo.append((holder, last, kept))
        setattr(holder, last, classmethod(wrapped) if is_class_method else wrapped)
    else:
        function = getattr(holder, last)
        wrapped = Wrapped(function, kind, option).wrapper()
        for known in [one for key, one in sys.modules.items() if key.partition(".")[0] == "durable"]:
            for key, value in list(vars(known).items()):
                if value is function:
                    undo.append((known, key, value))
                    setattr(known, key, wrapped)
    try:
        yield
    finally:
        for owner, key, value in undo:
            setattr(owner, key, value)


class First:
    """A plugin that notes the first test that fails."""

    def __init__(self) -> None:
        self.failed = ""
        self.ran = 0

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        self.ran += report.when == "call"
        if report.failed and not self.failed:
            self.failed = report.nodeid


def run(*tests: str, more: tuple[str, ...] = (), limit: float = LIMIT) -> First:
    """Run tests until one fails, in a copy of this process: nothing is remembered, and who waits for ever is ended."""
    receiver, sender = FORK.Pipe(duplex=False)
    process = FORK.Process(target=_run, args=(sender, tests, more, limit))
    process.start()
    sender.close()  # So that its death is heard of.
    first = First()
    try:
        if receiver.poll(limit):
            first.failed, first.ran = receiver.recv()
        else:
            first.failed = f"{tests[0]} (within {limit} s)"
    except EOFError:
        first.failed = f"{tests[0]} (its process died)"
    process.kill()
    process.join()
    return first


def _run(sender: Any, tests: tuple[str, ...], more: tuple[str, ...], limit: float) -> None:
    from tests.scenarios import rig  # here, where all ways in are wrapped already

    # What waits in vain for what was dropped need not wait for long; the test does the whole of it, with nothing dropped.
    rig.PATIENCE = min(rig.PATIENCE, limit / 4)
    first = First()
    said = io.StringIO()
    with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
        # durable's own plugin has pytest look at its modules' asserts, and here they are loaded already.
        quiet = ["-W", "ignore::pytest.PytestAssertRewriteWarning"]
        pytest.main(["-x", "-q", "-p", "no:cacheprovider", *quiet, *more, *tests], plugins=[first])
    if not first.ran and not first.failed:
        first.failed = f"no test ran: {said.getvalue()[-2000:]}"
    sender.send((first.failed, first.ran))


def fault(name: str, test: str) -> str:
    """Drop one option; return what is wrong with the test that is named for it, or nothing."""
    way, _, option = name.partition(": ")
    with dropped(way, OFF):
        if found := run(test, limit=LIMIT_WHOLE).failed:
            return f"{name}: with nothing dropped, {found} fails"
    with dropped(way, option):
        if not run(test).failed:
            return f"{name}: it can be dropped, and {test} passes"
    return ""


def find(name: str, *where: str) -> str:
    """Return a test that fails when this option is dropped, on SQLite and with a cache."""
    way, _, option = name.partition(": ")
    with dropped(way, option):
        found = run(*where, more=("-m", "not postgres", "-k", "not uncached"))
    if not found.failed:
        return f'    # "{name}": none of {found.ran}'
    with dropped(way, OFF):
        if run(found.failed, limit=LIMIT_WHOLE).failed:
            return f'    # "{name}": {found.failed} fails anyway'
    return f'    "{name}": "{found.failed}",'


def main(arguments: list[str]) -> int:
    """See the module."""
    from tests.temporal.drops import DROPS

    if arguments[:1] == ["--find"]:
        names = [one for one in arguments[1:] if ": " in one]
        for name in names:
            print(find(name, *[one for one in arguments[1:] if ": " not in one]), flush=True)
        return 0
    faults = 0
    for name in arguments or DROPS:
        if told := fault(name, DROPS[name]):
            faults += 1
            print(told, flush=True)
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
