"""The catalogue: every metric this library records, with its unit, its attributes and what it says.

It is public: dashboards and alerts are written against it, `docs/telemetry.md` is made from it, and a name in it is
never given another meaning.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

__all__ = ["METRICS", "Kind", "Metric", "named"]


class Kind(Enum):
    """What a metric is to OpenTelemetry and to Prometheus alike."""

    COUNTER = "counter"
    HISTOGRAM = "histogram"
    GAUGE = "gauge"


SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.2, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0)
"""Bounds for what should take moments, in seconds. 0.2 is there since it is the usual limit for what waits to start."""

LONG = (0.1, 1.0, 5.0, 30.0, 60.0, 300.0, 1800.0, 3600.0, 14400.0, 86400.0, 604800.0, 2592000.0)
"""Bounds for what may take days, in seconds."""

COUNTS = (1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0, 125.0)
"""Bounds for the size of a batch; 125 is the largest there is."""

BYTES = (1e3, 1e4, 1e5, 1e6, 1e7, 1e8)
"""Bounds for histories; a run is warned of at 10 MB."""


@dataclass(frozen=True, slots=True)
class Metric:
    """One metric.

    Attributes:
        name: Its name for OpenTelemetry.
        kind: What it is.
        unit: In the notation of OpenTelemetry: `s`, `By`, or a thing counted in braces.
        text: What it says, in one sentence.
        attributes: What it is told apart by; each has few values.
        bounds: Of a histogram, the upper bounds of its buckets.
    """

    name: str
    kind: Kind
    unit: str
    text: str
    attributes: tuple[str, ...] = ()
    bounds: tuple[float, ...] = ()

    @property
    def prometheus(self) -> str:
        """Its name in the text that Prometheus reads."""
        name = self.name.replace(".", "_")
        suffix = _SUFFIXES.get(self.unit, "")
        name = name if not suffix or name.endswith(suffix) else name + suffix
        return name + "_total" if self.kind is Kind.COUNTER else name


_SUFFIXES = {"s": "_seconds", "By": "_bytes"}


def _counter(name: str, unit: str, text: str, *attributes: str) -> Metric:
    return Metric(name, Kind.COUNTER, unit, text, attributes)


def _histogram(name: str, unit: str, bounds: tuple[float, ...], text: str, *attributes: str) -> Metric:
    return Metric(name, Kind.HISTOGRAM, unit, text, attributes, bounds)


def _gauge(name: str, unit: str, text: str, *attributes: str) -> Metric:
    return Metric(name, Kind.GAUGE, unit, text, attributes)


METRICS: tuple[Metric, ...] = (
    _histogram(
        "durable.task.schedule_to_start",
        "s",
        SECONDS,
        "How long a task waited: a workflow's from the commit of what it is about until its code runs, an activity's "
        "from when it was due until its attempt begins.",
        "kind",
        "task_queue",
    ),
    _histogram(
        "durable.workflow.task.duration",
        "s",
        SECONDS,
        "How long workflow code held the event loop in one task, replay included.",
        "workflow_type",
    ),
    _counter(
        "durable.workflow.task.failed",
        "{task}",
        "Workflow tasks that failed, so that the run is blocked and tried again: `nondeterminism`, `timeout` (it held "
        "the event loop), `panic` (any other exception).",
        "reason",
        "workflow_type",
    ),
    _counter(
        "durable.workflow.closed",
        "{run}",
        "Runs that this worker has seen close; `status` is as in lists.",
        "workflow_type",
        "status",
    ),
    _histogram(
        "durable.workflow.duration",
        "s",
        LONG,
        "From a run's start to its close.",
        "workflow_type",
        "status",
    ),
    _histogram(
        "durable.history.size", "By", BYTES, "Bytes of a run's history when it closed.", "workflow_type"
    ),
    _counter(
        "durable.activity.attempts",
        "{attempt}",
        "Attempts of activities that ended here: `completed`, `failed`, `timed_out`, `canceled` or `outside` (left for "
        "somebody else to end).",
        "activity_type",
        "outcome",
    ),
    _histogram(
        "durable.activity.duration", "s", LONG, "How long an attempt took.", "activity_type", "outcome"
    ),
    _histogram(
        "durable.timer.lateness",
        "s",
        SECONDS,
        "From when a timer was due until it was written that it fired.",
    ),
    _gauge("durable.workflow.active", "{run}", "Runs that this worker owns and holds in memory."),
    _gauge(
        "durable.cache.size",
        "{run}",
        "Of these, how many have their code in memory, so that nothing is replayed.",
    ),
    _counter(
        "durable.cache.lookups",
        "{task}",
        "Workflow tasks by where the code was: `hit` (in memory), `miss` (replayed from the log) or `new`.",
        "result",
    ),
    _gauge("durable.worker.slots_used", "{slot}", "Slots in which something runs.", "kind"),
    _gauge(
        "durable.worker.slots_available",
        "{slot}",
        "Slots that could be taken now. Missing for kinds without a limit.",
        "kind",
    ),
    _gauge(
        "durable.worker.heartbeat_age",
        "s",
        "How long ago the lease of this worker was last renewed; others take over at the length of a lease.",
    ),
    _gauge(
        "durable.queue.backlog",
        "{task}",
        "What waits for a worker of a queue, counted up to 10,000: runs that are due (`workflow`), activities that are due "
        "(`activity`), messages that nobody has read (`message`).",
        "kind",
        "task_queue",
    ),
    _gauge(
        "durable.queue.oldest_age",
        "s",
        "For how long the oldest of them has been due. Missing for messages.",
        "kind",
        "task_queue",
    ),
    _gauge("durable.queue.workers", "{worker}", "Live workers of a queue.", "task_queue"),
    _gauge(
        "durable.queue.held", "{queue}", "1 for a queue that an operator has paused, or drains.", "task_queue"
    ),
    _gauge("durable.workflow.open", "{run}", "Open runs of the namespace, counted up to 10,000."),
    _gauge(
        "durable.workflow.held",
        "{run}",
        "Open runs of the namespace that are `blocked`, `quarantined` or `paused`, counted up to 10,000.",
        "hold",
    ),
    _gauge(
        "durable.workflow.late",
        "{run}",
        "Open runs of a type with a deadline, counted up to 10,000: those for which it has passed (`past`), and those for "
        "which 80 % of it are over (`near`).",
        "workflow_type",
        "deadline",
    ),
    _gauge(
        "durable.activity.retrying",
        "{activity}",
        "Activities of the namespace that wait for another attempt, counted up to 10,000.",
    ),
    _counter(
        "durable.lease.lost",
        "{lease}",
        "Leases that others declared dead; the worker starts over as a new one.",
    ),
    _counter(
        "durable.fence.rejected",
        "{commit}",
        "Commits that were refused, since the run had become another worker's meanwhile.",
    ),
    _histogram("durable.commit.size", "{transition}", COUNTS, "Runs whose steps went into one commit."),
    _histogram("durable.commit.duration", "s", SECONDS, "How long a commit of steps took."),
    _counter("durable.commit.failed", "{commit}", "Commits whose outcome was not told and was read back."),
    _histogram(
        "durable.hint.lag",
        "s",
        SECONDS,
        "From when a run or an activity was due until a claim found it. Without hints it is half a poll interval.",
        "kind",
    ),
)
"""All of them."""

_BY_NAME = {metric.name: metric for metric in METRICS}


def named(name: str) -> Metric:
    """Return the metric of this name.

    Raises:
        KeyError: There is none.
    """
    return _BY_NAME[name]
