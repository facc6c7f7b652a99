"""`durable worker`: a process that serves task queues until it is told to stop."""

from __future__ import annotations

import argparse
import asyncio
import inspect
import logging
import os
import signal
import threading
from collections.abc import Callable, Collection, Generator, Sequence
from contextlib import contextmanager, suppress
from types import FrameType, ModuleType
from typing import Any

from durable.cli._context import Context
from durable.cli._exits import ExitCode
from durable.cli._fleet import list_workers
from durable.cli._options import duration, finish, some, verb, verbs_of, whole
from durable.cli._settings import OF_WORKER
from durable.cli._supervisor import Supervisor, end_with_supervisor, is_supervised
from durable.client import Client
from durable.worker import HealthServer, Worker

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


LEVELS = ("debug", "info", "warning", "error")


def address(text: str) -> tuple[str, int]:
    """Read where to listen: a port, or a host and a port."""
    host, colon, port = text.rpartition(":")
    if not port.isdigit() or not 0 < int(port) < 65536 or (colon and not host):
        raise argparse.ArgumentTypeError(f"{text!r} is no address; write for example 8080 or 0.0.0.0:8080")
    return host.strip("[]") or "127.0.0.1", int(port)


def level(text: str) -> str:
    """Read a level of the log."""
    if text not in LEVELS:
        raise argparse.ArgumentTypeError(f"{text!r} is no level; there are {', '.join(LEVELS)}")
    return text


READERS: dict[str, Callable[[str], Any]] = {
    "concurrency": whole,
    "cache": whole,
    "drain_timeout": duration,
    "processes": some,
    "http": address,
    "log_level": level,
}
"""How the options are read that settings may give, by name."""


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
        "-c",
        "--concurrency",
        type=READERS["concurrency"],
        metavar="N",
        help="activities at once; 100 by default",
    )
    parser.add_argument(
        "--cache", type=READERS["cache"], metavar="N", help="workflows kept in memory; 1000 by default"
    )
    parser.add_argument(
        "--drain-timeout",
        type=READERS["drain_timeout"],
        metavar="TIME",
        help=f"how long activities may go on after SIGTERM, for example 30s; {DRAIN:g}s by default",
    )
    parser.add_argument(
        "--processes",
        type=READERS["processes"],
        metavar="N",
        help="so many processes, each with workers of its own; one by default",
    )
    parser.add_argument(
        "--http",
        type=READERS["http"],
        metavar="[HOST:]PORT",
        help="answer GET /livez, /readyz and /metrics there; HOST is 127.0.0.1 by default, 0.0.0.0 means every address",
    )
    parser.add_argument(
        "--log-level",
        choices=LEVELS,
        help="what is logged to standard error; info by default",
    )
    finish(parser, worker, app=True, data=False)
    verb(verbs_of(parser), "list", list_workers, "list the workers that the database knows")


async def worker(context: Context) -> ExitCode:
    """Run workers until a signal comes, or one of them ends by an error."""
    options = context.options
    take_settings(context)
    # One log for all processes: each line says whose it is.
    of = " [%(process)d]" if is_supervised() or options.processes is not None else ""
    logging.basicConfig(
        level=(options.log_level or "info").upper(),
        format=f"%(asctime)s{of} %(levelname)-7s %(name)s: %(message)s",
    )
    if context.settings.get("app") is None:
        raise ValueError("say what to serve: -A MODULE, a module that defines workflows and activities")
    stop = asyncio.Event()
    if options.processes is not None:
        arguments = without(context.arguments, "--processes", "--http")
        supervisor = Supervisor(arguments, options.processes, asked=options.http is not None)
        with told_to_stop(stop, lambda: supervisor.running):
            return await supervisor.run(stop, options.http)
    with told_to_stop(stop):
        sock = end_with_supervisor(stop)
        app = context.load()
        async with context.client(serves=True) as client:
            workers = await workers_of(context, app, client)
            if stop.is_set():
                return ExitCode.OK
            if options.http is None and sock is None:
                await serve(workers, stop)
                return ExitCode.OK
            host, port = options.http or ("127.0.0.1", 0)
            health = HealthServer(workers, host=host, port=port)
            await health.start(sock)
            try:
                await serve(workers, stop)
            finally:
                await health.stop()
    return ExitCode.OK


def take_settings(context: Context) -> None:
    """Give each option that no flag gave what the environment or pyproject.toml says.

    One of several processes is told by its supervisor what is its own, and not to have processes itself.

    Raises:
        ValueError: What is said there can be no value of the option.
    """
    options, settings = context.options, context.settings
    taken: set[str] = set()
    for name in OF_WORKER:
        if getattr(options, name) is not None or (is_supervised() and name in ("processes", "http")):
            continue
        if (text := settings.get(name)) is not None:
            try:
                setattr(options, name, READERS[name](text))
            except argparse.ArgumentTypeError as error:
                raise ValueError(f"{settings.source(name)}: {error}") from None
            taken.add(name)
    options.from_settings = taken


def without(arguments: Sequence[str], *options: str) -> list[str]:
    """Return the arguments of a command without these options and their values."""
    left: list[str] = []
    given = iter(arguments)
    for one in given:
        if one in options:
            next(given)
        elif not one.startswith(tuple(f"{option}=" for option in options)):
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
                given = context.settings.source(name) if name in options.from_settings else flag
                raise ValueError(
                    f"{given} is for -A MODULE: here {context.settings.get('app')} makes the workers"
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
def told_to_stop(stop: asyncio.Event, children: Callable[[], Collection[int]] = tuple) -> Generator[None]:
    """Set `stop` at the first SIGTERM or Ctrl-C; die of the second, with these processes."""
    if threading.current_thread() is not threading.main_thread():
        yield  # signals come to the main thread, and only that may say what they do
        return
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
        for pid in children():
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        signal.signal(number, signal.SIG_DFL)
        os.kill(os.getpid(), number)
        os._exit(128 + number)  # the first process of a container does not die of a signal

    before = {one: signal.signal(one, first) for one in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield
    finally:
        for one, handler in before.items():
            signal.signal(one, handler)
