"""What workflow code takes from the machine it runs on, so that a replay would find it otherwise: time, chance, settings."""

from __future__ import annotations

import ast
from collections.abc import Iterator

from durable.lint._reach import Look, Use
from durable.lint._rule import Forbidden, Found, Rule, shown

CLOCK = "use workflow.now()"
SECONDS = "use workflow.time()"


class WallClock(Forbidden):
    """The machine's clock is read: `time.time`, `datetime.now`, `date.today` and their like."""

    code = "DUR101"
    name = "wall-clock"
    says = "reads the machine's clock, which a replay reads anew"
    calls = {
        "time.time": SECONDS,
        "time.time_ns": "use workflow.time_ns()",
        "time.monotonic": SECONDS,
        "time.monotonic_ns": "use workflow.time_ns()",
        "time.perf_counter": SECONDS,
        "time.perf_counter_ns": "use workflow.time_ns()",
        "time.process_time": SECONDS,
        "time.thread_time": SECONDS,
        "time.clock_gettime": SECONDS,
        "time.localtime": CLOCK,
        "time.gmtime": CLOCK,
        "time.ctime": CLOCK,
        "time.asctime": CLOCK,
        "time.strftime": "use workflow.now().strftime()",
        "datetime.datetime.now": CLOCK,
        "datetime.datetime.utcnow": CLOCK,
        "datetime.datetime.today": CLOCK,
        "datetime.date.today": "use workflow.now().date()",
        "pandas.Timestamp.now": CLOCK,
        "pendulum.now": CLOCK,
        "arrow.utcnow": CLOCK,
        "arrow.now": CLOCK,
        "django.utils.timezone.now": CLOCK,
    }
    bad = """
    from datetime import datetime, timezone

    from durable import workflow

    @workflow.defn
    async def remind(name: str) -> str:
        return f"{name}, {datetime.now(timezone.utc):%A}"
    """
    good = """
    from durable import workflow

    @workflow.defn
    async def remind(name: str) -> str:
        return f"{name}, {workflow.now():%A}"
    """

    # How many arguments say all of it, so that the clock is not read.
    TOLD = {"time.localtime": 1, "time.gmtime": 1, "time.ctime": 1, "time.asctime": 1, "time.strftime": 2}

    def applies(self, use: Use, look: Look) -> bool:
        enough = self.TOLD.get(str(use.meaning))
        return enough is None or use.call is None or len(use.call.args) < enough


class Chance(Forbidden):
    """Numbers are drawn by chance that is not the workflow's own: `random`, `secrets`, `os.urandom`."""

    code = "DUR102"
    name = "random"
    says = "draws another number at every replay"
    calls = {
        "random.*": "use workflow.random(), which draws the same again",
        "secrets.*": "make it in an activity and await its result",
        "os.urandom": "make it in an activity and await its result",
        "os.getrandom": "make it in an activity and await its result",
        "numpy.random.*": "seed a generator of your own with workflow.random_seed()",
    }
    bad = """
    import random

    from durable import workflow

    @workflow.defn
    async def lottery(people: list[str]) -> str:
        return random.choice(people)
    """
    good = """
    from durable import workflow

    @workflow.defn
    async def lottery(people: list[str]) -> str:
        return workflow.random().choice(people)
    """

    SEEDED = (
        "random.Random",
        "numpy.random.default_rng",
        "numpy.random.RandomState",
        "numpy.random.Generator",
    )

    def applies(self, use: Use, look: Look) -> bool:
        name = str(use.meaning)
        if name.startswith("random.Random.") or name in (
            "secrets.compare_digest",
            "numpy.random.SeedSequence",
        ):
            return False  # of a generator that has been looked at where it was made
        seeded = name in self.SEEDED or any(name.startswith(f"{one}.") for one in self.SEEDED)
        return not seeded or (use.call is not None and name in self.SEEDED and not use.call.args)


class Uuid(Forbidden):
    """An identifier is made by chance or by the clock: `uuid.uuid4`, `uuid.uuid1`."""

    code = "DUR103"
    name = "uuid"
    says = "makes another identifier at every replay"
    calls = {
        "uuid.uuid1": "use workflow.uuid7()",
        "uuid.uuid4": "use workflow.uuid4()",
        "uuid.uuid6": "use workflow.uuid7()",
        "uuid.uuid7": "use workflow.uuid7()",
        "uuid.uuid8": "use workflow.uuid4()",
        "uuid.getnode": "use workflow.uuid4()",
        "shortuuid.uuid": "use workflow.uuid4()",
        "ulid.new": "use workflow.uuid7()",
        "nanoid.generate": "use workflow.uuid4()",
    }
    bad = """
    import uuid

    from durable import workflow

    @workflow.defn
    async def order(item: str) -> str:
        return f"{item}-{uuid.uuid4()}"
    """
    good = """
    from durable import workflow

    @workflow.defn
    async def order(item: str) -> str:
        return f"{item}-{workflow.uuid4()}"
    """


class Environment(Rule):
    """The machine or its settings are read: `os.environ`, `sys.argv`, `os.getpid`, `socket.gethostname`."""

    code = "DUR108"
    name = "environment"
    names = (
        "os.environ",
        "os.environb",
        "os.getenv",
        "os.getenvb",
        "os.putenv",
        "os.getpid",
        "os.getppid",
        "os.getlogin",
        "os.getuid",
        "os.cpu_count",
        "os.getloadavg",
        "os.uname",
        "sys.argv",
        "sys.stdin",
        "sys.executable",
        "sys.flags",
        "socket.gethostname",
        "getpass.getuser",
        "locale.getlocale",
        "locale.setlocale",
    )
    packages = ("platform", "psutil", "resource")
    bad = """
    import os

    from durable import workflow

    @workflow.defn
    async def price(cents: int) -> int:
        return cents * int(os.environ["VAT"]) // 100
    """
    good = """
    from durable import workflow

    @workflow.defn
    async def price(cents: int, vat: int) -> int:
        return cents * vat // 100
    """

    def check(self, look: Look) -> Iterator[Found]:
        for use in look.uses:
            name = use.meaning
            if not isinstance(name, str):
                continue
            of_machine = any(name == one or name.startswith(f"{one}.") for one in self.names)
            if of_machine or (use.call is not None and name.partition(".")[0] in self.packages):
                yield (
                    use.node,
                    f"{name} may be otherwise on the machine of a replay; pass it as an argument, or read it in an activity",
                )


LEVELS = ("critical", "debug", "error", "exception", "fatal", "info", "log", "warn", "warning")


class Output(Rule):
    """Something is printed or logged in another way than by `workflow.logger`: `print`, `logging.info`."""

    code = "DUR109"
    name = "output"
    bad = """
    import logging

    from durable import workflow

    log = logging.getLogger(__name__)

    @workflow.defn
    async def greet(name: str) -> str:
        log.info("greeting %s", name)
        return f"Hello, {name}"
    """
    good = """
    from durable import workflow

    @workflow.defn
    async def greet(name: str) -> str:
        workflow.logger.info("greeting %s", name)
        return f"Hello, {name}"
    """

    names = (
        "builtins.print",
        "pprint.pprint",
        "pprint.pp",
        "warnings.warn",
        "sys.stdout.write",
        "sys.stderr.write",
    )
    loggers = ("logging", "logging.Logger", "logging.LoggerAdapter", "loguru.logger", "structlog.get_logger")

    def check(self, look: Look) -> Iterator[Found]:
        for use in look.uses:
            name = use.meaning
            if not isinstance(name, str) or use.call is None or _only_live(use.node, look):
                continue
            owner, _, method = name.rpartition(".")
            if name in self.names or (owner in self.loggers and method in LEVELS):
                yield (
                    use.node,
                    f"{shown(name)}() says it again at every replay; use workflow.logger.{_level(method)}()",
                )


def _level(method: str) -> str:
    return method if method in LEVELS else "info"


def _only_live(node: ast.AST, look: Look) -> bool:
    """Whether a line stands under `if not workflow.unsafe.is_replaying():`."""
    inner = node
    for around in look.around(node):
        if isinstance(around, ast.If) and inner in around.body:
            test = around.test
            if isinstance(test, ast.UnaryOp) and isinstance(test.op, ast.Not):
                called = test.operand.func if isinstance(test.operand, ast.Call) else test.operand
                if (look.dotted(called) or "").startswith("durable.workflow.unsafe.is_replaying"):
                    return True
        inner = around
    return False


class LocalTime(Rule):
    """A time without a zone is made, which means another instant on another machine: `datetime(2026, 1, 1)`."""

    code = "DUR111"
    name = "no-time-zone"
    # How many positional arguments there are when the zone is one of them.
    zone_at = {"datetime.datetime": 8, "datetime.datetime.fromtimestamp": 2, "datetime.datetime.combine": 3}
    bad = """
    from datetime import datetime

    from durable import workflow

    @workflow.defn
    async def launch() -> None:
        await workflow.sleep_until(datetime(2030, 1, 1))
    """
    good = """
    from datetime import UTC, datetime

    from durable import workflow

    @workflow.defn
    async def launch() -> None:
        await workflow.sleep_until(datetime(2030, 1, 1, tzinfo=UTC))
    """

    def check(self, look: Look) -> Iterator[Found]:
        for use in look.uses:
            name, call = use.meaning, use.call
            if not isinstance(name, str) or call is None or _given_zone(call, look):
                continue
            if name == "time.mktime":
                yield use.node, "time.mktime() goes by the machine's time zone; use calendar.timegm()"
            elif name == "datetime.datetime.combine" and _time_has_zone(call, look):
                continue
            elif name in self.zone_at and len(call.args) < self.zone_at[name]:
                yield (
                    use.node,
                    f"{shown(name)}() without a zone goes by the machine's time zone where it is compared or converted; give it "
                    f"{'tz' if name.endswith('fromtimestamp') else 'tzinfo'}=UTC",
                )
            elif name == "datetime.datetime.utcfromtimestamp":
                yield (
                    use.node,
                    "utcfromtimestamp() makes a time without a zone; use datetime.fromtimestamp(..., tz=UTC)",
                )
        for node in look.nodes:
            if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Attribute):
                continue
            if node.func.attr == "astimezone" and not node.args and not node.keywords:
                yield node.func, "astimezone() goes by the machine's time zone; say which, astimezone(UTC)"


def _given_zone(call: ast.Call, look: Look) -> bool:
    if any(one.arg in ("tzinfo", "tz", None) for one in call.keywords) or any(
        isinstance(one, ast.Starred) for one in call.args
    ):
        return True
    parent = look.parent(call)
    if not isinstance(parent, ast.Attribute) or parent.attr not in ("replace", "date", "isoformat"):
        return False
    outer = look.parent(parent)
    return parent.attr != "replace" or (
        isinstance(outer, ast.Call) and any(one.arg == "tzinfo" for one in outer.keywords)
    )


def _time_has_zone(call: ast.Call, look: Look) -> bool:
    """Whether the second argument of `combine` may bring the zone: nobody knows, but of a call of `time` without one."""
    time = call.args[1] if len(call.args) > 1 else None
    return not (
        isinstance(time, ast.Call)
        and look.dotted(time.func) == "datetime.time"
        and not any(one.arg == "tzinfo" for one in time.keywords)
    )


RULES: tuple[Rule, ...] = (WallClock(), Chance(), Uuid(), Environment(), Output(), LocalTime())
