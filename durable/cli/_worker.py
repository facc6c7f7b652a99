"""`durable worker`: a process that serves task queues until it is told to stop."""

from __future__ import annotations

import argparse
import asyncio
import inspect
import logging
import os
import signal
from collections.abc import Collection, Generator, Sequence
from contextlib import contextmanager, suppress
from types import FrameType, ModuleType
from typing import Any

from durable.cli._context import Context
from durable.cli._exits import ExitCode
from durable.cli._fleet import list_workers
from durable.cli._options import duration, finish, verb, verbs_of, whole
from durable.cli._supervisor import end_with_supervisor, supervise
from durable.client import Client
from durable.worker import Worker

DRAIN = 10.0
"""Seconds that activities may go on after SIGTERM: well below the thirty after which Kubernetes kills."""

logger = logging.getLogger("durable.cli")

OF_WORKERS = {
    "task_queues": "-q",
    "concurrency": "-c",
    "cache": "--cache",
    "drain_timeout": "--drain-timeout",
}
"""Options that say what workers are made like, when no function of the application makes them."""


def add(parser: argparse.ArgumentParser) -> None:
    """Give the command its options."""
    parser.description = (
        "Run workers. -A MODULE serves what the module (and what it imports) defines; -A MODULE:NAME calls a function of the "
        "application with the client, which returns the worker or workers to run. SIGTERM and Ctrl-C let activities go on for "
        "--drain-timeout, hand everything back to other workers, and end with 0; a second one ends the process at once."
    )
    parser.add_argument(
        "-q",
        "--task-queue",
        dest="task_queues",
        action="append",
        metavar="QUEUE",
        help="the task queue to serve; several times for several; 'default' by default",
    )
    parser.add_argument(
        "-c", "--concurrency", type=whole, metavar="N", help="activities at once; 100 by default"
    )
    parser.add_argument("--cache", type=whole, metavar="N", help="workflows kept in memory; 1000 by default")
    parser.add_argument(
        "--drain-timeout",
        type=duration,
        metavar="TIME",
        help=f"how long activities may go on after SIGTERM, for example 30s; {DRAIN:g}s by default",
    )
    parser.add_argument(
        "--processes",
        type=whole,
        metavar="N",
        help="so many processes, each with workers of its own; one by default",
    )
    parser.add_argument(
        "--log-level",
        default="info",
        choices=["debug", "info", "warning", "error"],
        help="what is logged to standard error; info by default",
    )
    finish(parser, worker, app=True, data=False)
    verb(verbs_of(parser), "list", list_workers, "list the workers that the database knows")


async def worker(context: Context) -> ExitCode:
    """Run workers until a signal comes, or one of them ends by an error."""
    logging.basicConfig(
        level=context.options.log_level.upper(), format="%(asctime)s %(levelname)-7s %(name)s: %(message)s"
    )
    if context.settings.get("app") is None:
        raise ValueError("say what to serve: -A MODULE, a module that defines workflows and activities")
    stop = asyncio.Event()
    if context.options.processes is not None:
        running: set[int] = set()
        with told_to_stop(stop, running):
            return await supervise(
                without_processes(context.arguments), context.options.processes, stop, running
            )
    app = context.load()
    async with context.client(serves=True) as client:
        workers = await workers_of(context, app, client)
        with told_to_stop(stop):
            end_with_supervisor()
            await serve(workers, stop)
    return ExitCode.OK


def without_processes(arguments: Sequence[str]) -> list[str]:
    """Return the arguments of the command for each of its processes."""
    left: list[str] = []
    given = iter(arguments)
    for one in given:
        if one == "--processes":
            next(given)
        elif not one.startswith("--processes="):
            left.append(one)
    return left


async def workers_of(context: Context, app: Any, client: Client) -> list[Worker]:
    """Return the workers to run: the application's own, or one for each queue.

    Raises:
        ValueError: There is nothing to serve, or what was given makes no workers.
    """
    options = context.options
    if not isinstance(app, ModuleType):
        for name, flag in OF_WORKERS.items():
            if getattr(options, name) is not None:
                raise ValueError(
                    f"{flag} is for -A MODULE: here {context.settings.get('app')} makes the workers"
                )
        if not callable(app):
            raise ValueError(f"-A {context.settings.get('app')} is no function that takes a client")
        made: Any = app(client)
        made = await made if inspect.isawaitable(made) else made
        found: list[Any] = [*made] if type(made) in (list, tuple) else [made]
        for one in found:
            if not isinstance(one, Worker):
                raise ValueError(f"-A {context.settings.get('app')} returned {one!r}, which is no Worker")
        return found
    more: dict[str, Any] = {"graceful_shutdown_timeout": DRAIN}
    for name, keyword in (
        ("concurrency", "max_concurrent_activities"),
        ("cache", "max_cached_workflows"),
        ("drain_timeout", "graceful_shutdown_timeout"),
    ):
        if (given := getattr(options, name)) is not None:
            more[keyword] = given
    queues = options.task_queues or [context.settings.get("task_queue") or "default"]
    workers = [Worker(client, task_queue=queue, **more) for queue in dict.fromkeys(queues)]
    for one in workers:
        known = one._options
        if not known.workflows and not known.activities and known.dynamic_workflow is None:
            raise ValueError(
                f"{app.__name__} defines no workflow and no activity for task queue {one.task_queue!r}; name another with -q"
            )
    return workers


async def serve(workers: Sequence[Worker], stop: asyncio.Event) -> None:
    """Run workers until `stop` is set, or one ends by itself, then stop all of them.

    Raises:
        Exception: As the first that ended by an error.
    """
    for one in workers:
        logger.info(
            "serving task queue %r: workflows %s; activities %s",
            one.task_queue,
            ", ".join(sorted(one._options.workflows)) or "none",
            ", ".join(sorted(one._options.activities)) or "none",
        )
    try:
        async with asyncio.TaskGroup() as running:
            tasks = [running.create_task(one.run()) for one in workers]
            told = running.create_task(stop.wait())
            await asyncio.wait([told, *tasks], return_when=asyncio.FIRST_COMPLETED)
            told.cancel()
            for one in workers:
                running.create_task(one.shutdown())
    except ExceptionGroup as group:
        raise group.exceptions[0] from None


@contextmanager
def told_to_stop(stop: asyncio.Event, children: Collection[int] = ()) -> Generator[None]:
    """Set `stop` at the first SIGTERM or Ctrl-C; die of the second, with these processes."""
    loop = asyncio.get_running_loop()

    # By `signal` and not by the loop: code that holds the loop must not hold up the second signal.
    def first(number: int, frame: FrameType | None) -> None:
        for one in (signal.SIGTERM, signal.SIGINT):
            signal.signal(one, second)
        logger.info(
            "%s: no new work is taken; once more ends the process at once", signal.Signals(number).name
        )
        loop.call_soon_threadsafe(stop.set)

    def second(number: int, frame: FrameType | None) -> None:
        for pid in children:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        signal.signal(number, signal.SIG_DFL)
        os.kill(os.getpid(), number)

    before = {one: signal.signal(one, first) for one in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield
    finally:
        for one, handler in before.items():
            signal.signal(one, handler)
