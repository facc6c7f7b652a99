"""The pytest plugin: fixtures and options for tests of workflows. Installing `durable` installs it.

Fixtures are plain objects with methods to be awaited. They belong to whatever event loop awaits them first, so they work
under pytest-asyncio, in both of its modes, and under anyio's plugin, and are closed at the end of the test's own coroutine.
Nothing of the library is imported before a test asks for a fixture.
"""

from __future__ import annotations

import functools
import inspect
import random
from collections.abc import Awaitable, Callable, Generator, Iterator
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from durable.testing import ActivityEnvironment, MockActivity, PostgresServer, WorkflowEnvironment
    from durable.testing._mocks import Mocks

__all__ = [
    "activity_env",
    "crash_at_every_event",
    "durable_env",
    "durable_postgres",
    "explore",
    "mock_activity",
    "replay_in_second_process",
]

BACKENDS = ("sqlite", "postgres")
MARKERS = {"durable_env": "durable", "crash_at_every_event": "durable_crash"}
"""Fixtures that run a test once for each database, and the markers that say for which."""

CLOCKS = ("virtual", "real")

_ENVIRONMENTS = pytest.StashKey["list[WorkflowEnvironment]"]()
_SEED = pytest.StashKey[str]()
_SEEDED = pytest.StashKey[bool]()


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the options."""
    group = parser.getgroup("durable")
    group.addoption(
        "--durable-backend",
        choices=(*BACKENDS, "both"),
        help="the database of durable_env: sqlite (the default), postgres, or both; a marker of a test goes first",
    )
    group.addoption(
        "--durable-postgres",
        metavar="URL",
        help="the server that tests get their databases from, by a role that may create some; DURABLE_TEST_POSTGRES "
        "by default, else one is started for the session if PostgreSQL is found on this machine",
    )
    group.addoption(
        "--durable-evict",
        choices=("always",),
        help="always: workers forget the code of every workflow after each task, so each test also shows that it replays",
    )
    group.addoption(
        "--durable-record",
        action="store_true",
        help="durable_env.record_history() writes its files anew, instead of replaying them",
    )
    group.addoption(
        "--durable-replay-strict",
        action="store_true",
        help="an argument of an activity that has changed fails the replay of a file, too",
    )
    group.addoption(
        "--durable-seed",
        metavar="SEED",
        help="what `random` is seeded with in tests that use durable's fixtures; shown when one of them fails",
    )


def pytest_configure(config: pytest.Config) -> None:
    """Add the marker, and choose a seed."""
    config.addinivalue_line(
        "markers",
        "durable(backend='sqlite'|'postgres'|'both', clock='virtual'|'real', start=datetime, evict=bool, "
        "guard='error'|'warn'|'off'): "
        "the environment that durable_env gives",
    )
    config.addinivalue_line(
        "markers",
        "durable_crash(backend='sqlite'|'postgres'|'both'): the database of crash_at_every_event",
    )
    config.addinivalue_line("markers", "durable_histories(*patterns): see durable.testing.replay_histories")
    config.stash[_SEED] = config.getoption("--durable-seed") or str(random.SystemRandom().randrange(10**9))


# --- environments ---


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run a test once for each database it is to run on."""
    for marker in metafunc.definition.iter_markers("durable_histories"):
        _parametrize_histories(metafunc, marker.args)
    for fixture, marked in MARKERS.items():
        if fixture not in metafunc.fixturenames:
            continue
        backend = _marked(metafunc.definition, "backend", marked) or metafunc.config.getoption(
            "--durable-backend"
        )
        if backend not in (None, *BACKENDS, "both"):
            raise pytest.UsageError(f"backend is sqlite, postgres or both, not {backend!r}")
        if backend is not None:
            metafunc.parametrize(fixture, BACKENDS if backend == "both" else (backend,), indirect=True)


def _parametrize_histories(metafunc: pytest.Metafunc, patterns: tuple[str, ...]) -> None:
    from durable.testing import History
    from durable.testing._histories import history_files

    root = metafunc.config.rootpath
    files = [found for pattern in patterns for found in history_files(str(root / pattern))]
    if not files and not metafunc.config.getoption("--durable-record"):
        raise pytest.UsageError(f"no file is like {' or '.join(map(repr, patterns))}, seen from {root}")
    strict = bool(metafunc.config.getoption("--durable-replay-strict"))
    histories = [History.load(one, strict=strict) for one in files]
    metafunc.parametrize("history", histories, ids=[one.stem for one in files])


def _marked(node: pytest.Item, name: str, marked: str = "durable") -> Any:
    for marker in node.iter_markers(marked):
        if name in marker.kwargs:
            return marker.kwargs[name]
    return None


@pytest.fixture
def _durable_mocks() -> Mocks:
    from durable.testing._mocks import Mocks

    return Mocks()


@pytest.fixture
def durable_env(
    request: pytest.FixtureRequest, _durable_mocks: Mocks, _durable_seeded: None
) -> Iterator[WorkflowEnvironment]:
    """An environment of the test's own: `await durable_env.run(call)`, `durable_env.client`, `durable_env.advance(...)`.

    `@pytest.mark.durable(clock="real", start=datetime(...), evict=True, guard="off")` says what kind.
    """
    yield from _environment(request, _durable_mocks, _server(request))


@pytest.fixture
def durable_postgres(
    request: pytest.FixtureRequest, _durable_mocks: Mocks, _durable_seeded: None
) -> Iterator[WorkflowEnvironment]:
    """As `durable_env`, on a PostgreSQL database of the test's own; `durable_postgres.url` is its URL."""
    yield from _environment(request, _durable_mocks, request.getfixturevalue("_durable_server"))


@pytest.fixture(scope="session")
def _durable_server(request: pytest.FixtureRequest) -> Iterator[PostgresServer]:
    from durable.testing import NoPostgresError, PostgresServer

    try:
        server = PostgresServer.open(request.config.getoption("--durable-postgres"))
    except NoPostgresError as error:
        why = str(error)
    else:
        with server:
            yield server
        return
    pytest.fail(why, pytrace=False)  # outside of the `except`, so that it is told once


def _server(request: pytest.FixtureRequest) -> PostgresServer | None:
    if getattr(request, "param", "sqlite") == "sqlite":
        return None
    server: PostgresServer = request.getfixturevalue("_durable_server")
    return server


def _environment(
    request: pytest.FixtureRequest, mocks: Mocks, server: PostgresServer | None
) -> Iterator[WorkflowEnvironment]:
    from durable.testing import WorkflowEnvironment

    clock = _marked(request.node, "clock") or "virtual"
    if clock not in CLOCKS:
        raise pytest.UsageError(f"clock is virtual or real, not {clock!r}")
    evict = _marked(request.node, "evict")
    made = WorkflowEnvironment(
        time_skipping=clock == "virtual",
        start=_marked(request.node, "start"),
        evict=request.config.getoption("--durable-evict") == "always" if evict is None else evict,
        guard=_marked(request.node, "guard") or "error",
        postgres=server,
        mocks=mocks,
        record=bool(request.config.getoption("--durable-record")),
        strict=bool(request.config.getoption("--durable-replay-strict")),
    )
    request.node.stash.setdefault(_ENVIRONMENTS, []).append(made)
    yield made
    made.abandon()


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None, object, object]:
    """Close environments that a test has opened, at the end of its coroutine."""
    environments = item.stash.get(_ENVIRONMENTS, None)
    function: Any = getattr(item, "obj", None)
    if not environments or not inspect.iscoroutinefunction(function) or hasattr(function, "hypothesis"):
        return (yield)
    # One that an asynchronous fixture has opened is closed behind that fixture, which may still need it.
    mine = [one for one in environments if not one.is_open]
    item.obj = _closing(function, mine)  # type: ignore[attr-defined]
    try:
        return (yield)
    finally:
        item.obj = function  # type: ignore[attr-defined]


def _closing(
    function: Callable[..., Awaitable[object]], environments: list[WorkflowEnvironment]
) -> Callable[..., Awaitable[object]]:
    @functools.wraps(function)
    async def closing(*args: object, **kwargs: object) -> object:
        try:
            result = await function(*args, **kwargs)
            for one in environments:
                one.check()
            return result
        finally:
            for one in environments:
                await one.shutdown()

    return closing


# --- activities ---


@pytest.fixture
def mock_activity(_durable_mocks: Mocks) -> MockActivity:
    """Answers for activities instead of running them: `mock_activity(charge).raises(CardTimeout, times=2).returns("r-1")`."""
    return _durable_mocks.mock


@pytest.fixture
def activity_env() -> ActivityEnvironment:
    """Runs an activity by itself: `await activity_env.run(resize, "cat.png")`."""
    from durable.testing import ActivityEnvironment

    return ActivityEnvironment()


@pytest.fixture
def crash_at_every_event(request: pytest.FixtureRequest, _durable_mocks: Mocks) -> Callable[..., Any]:
    """What runs a workflow with its worker killed at every point.

    See `durable.testing.crash_at_every_event`; mocks of the test answer for activities.
    """
    from durable.testing import crash_at_every_event

    evict = request.config.getoption("--durable-evict") == "always"
    return functools.partial(
        crash_at_every_event, mocks=_durable_mocks, evict=evict, postgres=_server(request)
    )


@pytest.fixture
def explore(
    request: pytest.FixtureRequest, _durable_mocks: Mocks, _durable_seeded: None
) -> Callable[..., Any]:
    """What runs a workflow under all orders in which things may come.

    `await explore(book("Rome"), signals=[add("x")])`; see `durable.testing.explore`; mocks of the test answer for activities, and `--durable-seed` draws.
    """
    from durable.testing import explore

    return functools.partial(explore, mocks=_durable_mocks, seed=request.config.stash[_SEED])


@pytest.fixture
def replay_in_second_process() -> Callable[..., None]:
    """What replays a history where strings hash otherwise: `replay_in_second_process(durable_env.history("o-1"), checkout)`.

    See `durable.testing.replay_in_second_process`.
    """
    from durable.testing import replay_in_second_process

    return replay_in_second_process


# --- chance ---


@pytest.fixture
def _durable_seeded(request: pytest.FixtureRequest) -> Iterator[None]:
    state = random.getstate()
    random.seed(f"{request.config.stash[_SEED]} {request.node.nodeid}")
    request.node.stash[_SEEDED] = True
    yield
    random.setstate(state)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Say how to make a failed test do the same again."""
    report = yield
    if report.failed and item.stash.get(_SEEDED, False):
        report.sections.append(("durable", f"--durable-seed={item.config.stash[_SEED]}"))
    return report
