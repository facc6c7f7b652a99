"""What is recorded, handed on to the meters of OpenTelemetry."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from typing import Any

from opentelemetry.metrics import CallbackOptions, MeterProvider, Observation

from durable.telemetry._catalogue import METRICS, Kind, Metric

Labels = tuple[str, ...]


class OtherMeter:
    """The instruments of one meter provider; see the module.

    Args:
        provider: Whose they are.
        gauges: Tells the values of all gauges, whenever an exporter looks.
    """

    def __init__(
        self, provider: MeterProvider, gauges: Callable[[], Iterable[tuple[Metric, Labels, float]]]
    ) -> None:
        self._meter: Any = provider.get_meter("durable")
        self._gauges = gauges
        self._lock = threading.Lock()
        self._instruments: dict[tuple[str, Kind], Any] = {}
        for metric in METRICS:
            if metric.kind is Kind.GAUGE:
                self._meter.create_observable_gauge(
                    metric.name, [self._observing(metric)], metric.unit, metric.text
                )

    def record(self, metric: Metric, value: float, labels: Labels) -> None:
        """Take a value; see `Metrics.record`."""
        key = metric.name, metric.kind
        with self._lock:
            # Those of one name that differ in their attributes are one instrument.
            if (instrument := self._instruments.get(key)) is None:
                instrument = self._instruments[key] = self._made(metric)
        attributes = dict(zip(metric.attributes, labels, strict=True))
        if metric.kind is Kind.COUNTER:
            instrument.add(value, attributes)
        elif metric.kind is Kind.HISTOGRAM:
            instrument.record(value, attributes)
        else:
            instrument.set(value, attributes)

    def _made(self, metric: Metric) -> Any:
        if metric.kind is Kind.COUNTER:
            return self._meter.create_counter(metric.name, metric.unit, metric.text)
        if metric.kind is Kind.GAUGE:
            return self._meter.create_gauge(metric.name, metric.unit, metric.text)
        try:
            return self._meter.create_histogram(
                metric.name,
                metric.unit,
                metric.text,
                explicit_bucket_boundaries_advisory=metric.bounds or None,
            )
        except TypeError:
            # An API from before it took advice.
            return self._meter.create_histogram(metric.name, metric.unit, metric.text)

    def _observing(self, metric: Metric) -> Callable[[CallbackOptions], Iterable[Observation]]:
        def observe(_: CallbackOptions) -> Iterable[Observation]:
            return [
                Observation(value, dict(zip(metric.attributes, labels, strict=True)))
                for one, labels, value in self._gauges()
                if one is metric
            ]

        return observe
