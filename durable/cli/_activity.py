"""`durable activity`: activities of a workflow, ended from outside, or operated on."""

from __future__ import annotations

import argparse
from typing import Any

from durable.cli._context import Context
from durable.cli._exits import ExitCode
from durable.cli._options import value, verb, verbs_of
from durable.exceptions import ApplicationError


def add(parser: argparse.ArgumentParser) -> None:
    """Give the command its verbs."""
    verbs = verbs_of(parser)
    completing = verb(
        verbs,
        "complete",
        complete,
        "end an activity that is completed from outside, with a result",
        data=False,
    )
    _add_activity(completing)
    completing.add_argument(
        "--result", type=value, metavar="JSON", help="its result, as JSON or @FILE; null by default"
    )
    failing = verb(verbs, "fail", fail, "end an attempt of such an activity with a failure", data=False)
    _add_activity(failing)
    failing.add_argument("--message", required=True, help="why, for people")
    failing.add_argument("--type", dest="kind", help="the failure's type, for programs")
    failing.add_argument("--non-retryable", action="store_true", help="no further attempt")
    pausing = verb(verbs, "pause", pause, "begin no new attempt, until unpause", data=False)
    _add_open(pausing)
    pausing.add_argument("--reason", default="", help="why, for people")
    unpausing = verb(
        verbs, "unpause", unpause, "let a paused activity go on, whatever its back-off was", data=False
    )
    _add_open(unpausing)
    unpausing.add_argument("--reset-attempts", action="store_true", help="count from 1 again")
    resetting = verb(verbs, "reset", reset, "try again at once, as the first attempt", data=False)
    _add_open(resetting)
    resetting.add_argument("--keep-paused", action="store_true", help="leave a paused one paused")


def _add_workflow(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("workflow", metavar="WORKFLOW", help="the id of its workflow")
    parser.add_argument("--run-id", metavar="RUN", help="the run that is meant; the open one by default")


def _add_activity(parser: argparse.ArgumentParser) -> None:
    _add_workflow(parser)
    parser.add_argument(
        "activity", metavar="ACTIVITY", help="its id there, as `durable workflow describe` shows it"
    )


def _add_open(parser: argparse.ArgumentParser) -> None:
    _add_workflow(parser)
    which = parser.add_mutually_exclusive_group(required=True)
    which.add_argument(
        "--id", metavar="ACTIVITY", help="its id there, as `durable workflow describe` shows it"
    )
    which.add_argument("--type", metavar="NAME", help="all that are open of this type")


async def complete(context: Context) -> ExitCode:
    """End an activity with a result."""
    options = context.options
    async with context.client() as client:
        handle = client.get_async_activity_handle(
            workflow_id=options.workflow, run_id=options.run_id, activity_id=options.activity
        )
        await handle.complete(options.result)
    return ExitCode.OK


async def fail(context: Context) -> ExitCode:
    """End an attempt with a failure."""
    options = context.options
    async with context.client() as client:
        handle = client.get_async_activity_handle(
            workflow_id=options.workflow, run_id=options.run_id, activity_id=options.activity
        )
        await handle.fail(
            ApplicationError(options.message, type=options.kind, non_retryable=options.non_retryable)
        )
    return ExitCode.OK


async def pause(context: Context) -> ExitCode:
    """Pause activities."""
    return await _operate(context, "pause_activity", reason=context.options.reason)


async def unpause(context: Context) -> ExitCode:
    """Unpause activities."""
    return await _operate(context, "unpause_activity", reset_attempts=context.options.reset_attempts)


async def reset(context: Context) -> ExitCode:
    """Send activities back to their first attempt."""
    return await _operate(context, "reset_activity", keep_paused=context.options.keep_paused)


async def _operate(context: Context, name: str, **how: Any) -> ExitCode:
    options = context.options
    async with context.client() as client:
        handle = client.get_workflow_handle(options.workflow, run_id=options.run_id)
        await getattr(handle, name)(id=options.id, type=options.type, **how)
    return ExitCode.OK
