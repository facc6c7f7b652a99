"""What is recorded: sums, buckets and last values, kept here for `prometheus_text`, and handed on to OpenTelemetry.

Recording is safe from any thread. One instrument tells a thousand sets of attributes apart at most: a program that makes
up names would otherwise fill its memory, and the database of its metrics.
"""

from __future__ import annotations

import logging
import threading
from bisect import bisect_left
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from durable._metering import Instrument, MetricAttribute, MetricMeter
from durable.telemetry._catalogue import LONG, METRICS, Kind, Metric
from durable.telemetry._providers import provider_of

if TYPE_CHECKING:
    from opentelemetry.metrics import MeterProvider

    from durable.telemetry._meter import OtherMeter

__all__ = ["MOST_SERIES", "Metrics", "Sample", "Source"]

logger = logging.getLogger("durable.telemetry")

MOST_SERIES = 1000
"""Sets of attributes that one instrument tells apart; further ones are counted under `other`."""

OTHER = "other"

Labels = tuple[str, ...]
"""The values of a metric's attributes, in their order."""

Sample = tuple[Metric, Labels, float]
"""One value of a gauge, as it is now."""

Source = Callable[[], Iterable[Sample]]
"""Tells the gauges of something that lives: a worker."""


@dataclass(slots=True)
class Buckets:
    """What a histogram has seen: how many values in each bucket, the last of which has no bound, and their sum."""

    counts: list[int]
    sum: float = 0.0


class Series:
    """What one metric has recorded."""

    __slots__ = ("metric", "values")

    def __init__(self, metric: Metric) -> None:
        self.metric = metric
        self.values: dict[Labels, Any] = {}

    def key(self, labels: Labels) -> Labels:
        """Return under which labels a value is kept."""
        if labels in self.values or len(self.values) < MOST_SERIES:
            return labels
        return (OTHER,) * len(labels)

    def add(self, labels: Labels, value: float) -> None:
        """Add to a sum."""
        self.values[labels] = self.values.get(labels, 0.0) + value

    def put(self, labels: Labels, value: float) -> None:
        """Keep the last value."""
        self.values[labels] = value

    def observe(self, labels: Labels, value: float) -> None:
        """Put a value into its bucket."""
        found = self.values.get(labels)
        if found is None:
            found = self.values[labels] = Buckets([0] * (len(self.metric.bounds) + 1))
        # The bounds are upper bounds and belong to their bucket.
        found.counts[bisect_left(self.metric.bounds, value)] += 1
        found.sum += value


class Metrics:
    """The metrics of a process. One is made for all that happens in it; see `durable.telemetry.metrics`.

    Args:
        meter_provider: Who else is told, of OpenTelemetry; the one that is set for the process by default.
    """

    def __init__(self, meter_provider: MeterProvider | None = None) -> None:
        self._given = meter_provider
        self._lock = threading.Lock()
        self._series: dict[Metric, Series] = {}
        self._meter: OtherMeter | None = None
        self._refused: set[Metric] = set()
        self._sources: dict[Source, None] = {}
        self._collecting = meter_provider is not None

    def collect(self) -> None:
        """Record from now on, whether or not anything of OpenTelemetry is set up: for `prometheus_text`."""
        self._collecting = True

    @property
    def on(self) -> bool:
        """Whether anybody is interested: a provider of OpenTelemetry is set, or `collect` was called."""
        return self._collecting or self._provider() is not None

    def _provider(self) -> MeterProvider | None:
        return self._given or provider_of("opentelemetry.metrics", "get_meter_provider")

    # ------------------------------------------------------------------ recording

    def record(self, metric: Metric, value: float, *labels: str) -> None:
        """Take a value: add it to a counter, or put it into a histogram. `labels` are as the metric's attributes."""
        with self._lock:
            series = self._series.get(metric)
            if series is None:
                series = self._series[metric] = Series(metric)
            key = series.key(labels)
            if metric.kind is Kind.COUNTER:
                series.add(key, value)
            elif metric.kind is Kind.HISTOGRAM:
                series.observe(key, value)
            else:
                series.put(key, value)
        if (meter := self._found_meter()) is not None:
            try:
                meter.record(metric, value, key)
            except Exception:
                # A provider at fault must not block a workflow, or fail a commit.
                if metric not in self._refused:
                    self._refused.add(metric)
                    logger.exception("metric %s is not taken by the meter provider", metric.name)

    def attach(self, source: Source) -> Callable[[], None]:
        """Ask `source` for gauges whenever somebody looks, until what is returned is called."""
        with self._lock:
            self._sources[source] = None
        self._found_meter()

        def detach() -> None:
            with self._lock:
                self._sources.pop(source, None)

        return detach

    # ------------------------------------------------------------------ looking

    def snapshot(self) -> list[tuple[Metric, Sequence[tuple[Labels, Any]]]]:
        """Return what is known now, by metric: a number for each set of labels, of a histogram its buckets and its sum."""
        with self._lock:
            found: dict[Metric, dict[Labels, Any]] = {
                metric: {
                    labels: Buckets([*value.counts], value.sum) if isinstance(value, Buckets) else value
                    for labels, value in series.values.items()
                }
                for metric, series in self._series.items()
            }
        for metric, labels, value in self._gauges():
            kept = found.setdefault(metric, {})
            kept[labels] = kept.get(labels, 0.0) + value
        order = {metric: place for place, metric in enumerate(METRICS)}
        return [
            (metric, sorted(found[metric].items()))
            for metric in sorted(found, key=lambda metric: (order.get(metric, len(order)), metric.name))
        ]

    def _gauges(self) -> Iterable[Sample]:
        """Yield what the sources tell. What several workers of a process tell of themselves is summed, of queues not."""
        with self._lock:
            sources = [*self._sources]
        told: dict[tuple[Metric, Labels], float] = {}
        for source in sources:
            for metric, labels, value in source():
                key = metric, labels
                if key not in told:
                    told[key] = value
                elif metric.name in _OF_A_WORKER:
                    told[key] += value
                else:
                    told[key] = max(told[key], value)
        return [(metric, labels, value) for (metric, labels), value in told.items()]

    def _found_meter(self) -> OtherMeter | None:
        """What hands on to OpenTelemetry, if a provider is set by now."""
        if self._meter is None and (provider := self._provider()) is not None:
            from durable.telemetry._meter import OtherMeter  # noqa: PLC0415 - OpenTelemetry is there, and slow to import

            with self._lock:
                if self._meter is None:
                    self._meter = OtherMeter(provider, self._gauges)
        return self._meter

    # ------------------------------------------------------------------ what programs record

    def meter(self, attributes: Mapping[str, MetricAttribute]) -> MetricMeter:
        """Return a meter for metrics of the program's own, which all have these attributes."""
        return MetricMeter(self._take, attributes)

    def _take(self, instrument: Instrument, value: float, attributes: Mapping[str, MetricAttribute]) -> None:
        names = tuple(sorted(attributes))
        kind = Kind(instrument.kind)
        bounds = LONG if kind is Kind.HISTOGRAM else ()
        metric = Metric(instrument.name, kind, instrument.unit, instrument.description, names, bounds)
        self.record(metric, value, *[str(attributes[name]) for name in names])


_OF_A_WORKER = frozenset(
    {
        "durable.workflow.active",
        "durable.cache.size",
        "durable.worker.slots_used",
        "durable.worker.slots_available",
    }
)
"""Gauges that each worker of a process has for itself. The rest tells of the database, whoever asks."""
