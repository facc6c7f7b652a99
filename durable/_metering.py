"""Metrics of a program's own: what `workflow.metric_meter()` and `activity.metric_meter()` return. Temporal's names."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from datetime import timedelta
from typing import ClassVar, Self, TypeAlias

from msgspec import Struct

__all__ = [
    "Instrument",
    "MetricAttribute",
    "MetricAttributes",
    "MetricCommon",
    "MetricCounter",
    "MetricGauge",
    "MetricGaugeFloat",
    "MetricHistogram",
    "MetricHistogramFloat",
    "MetricHistogramTimedelta",
    "MetricMeter",
]

MetricAttribute: TypeAlias = str | int | float | bool
MetricAttributes: TypeAlias = Mapping[str, MetricAttribute]


class Instrument(Struct, frozen=True):
    """What is measured: a `counter`, a `histogram` or a `gauge`."""

    name: str
    kind: str
    unit: str
    description: str


Take: TypeAlias = Callable[[Instrument, float, MetricAttributes], None]
"""Takes what is recorded."""


class MetricMeter:
    """Makes instruments; what they record has the attributes of the meter, and goes where the process's metrics go.

    Nothing is recorded, at next to no cost, where nobody collects metrics. In a workflow nothing is recorded while a
    history is replayed, so that everything counts once.
    """

    noop: ClassVar[MetricMeter]
    """Records nothing."""

    def __init__(self, take: Take | None = None, attributes: MetricAttributes | None = None) -> None:
        self._take = take
        self._attributes: MetricAttributes = attributes or {}

    def with_additional_attributes(self, additional_attributes: MetricAttributes) -> MetricMeter:
        """Return a meter whose instruments have these attributes too.

        Raises:
            TypeError: A value is no text, number or truth value.
        """
        return MetricMeter(self._take, {**self._attributes, **checked(additional_attributes)})

    def while_(self, holds: Callable[[], bool]) -> MetricMeter:
        """Return a meter that records only while something holds."""
        take = self._take
        if take is None:
            return self

        def take_some(instrument: Instrument, value: float, attributes: MetricAttributes) -> None:
            if holds():
                take(instrument, value, attributes)

        return MetricMeter(take_some, self._attributes)

    def create_counter(
        self, name: str, description: str | None = None, unit: str | None = None
    ) -> MetricCounter:
        """Return a counter of whole numbers, which only grows.

        Raises:
            ValueError: It can be no name: a letter, then letters, digits and `_ . - /`, at most 255.
        """
        return MetricCounter(self, _instrument(name, "counter", unit, description))

    def create_histogram(
        self, name: str, description: str | None = None, unit: str | None = None
    ) -> MetricHistogram:
        """Return a histogram of whole numbers.

        Raises:
            ValueError: It can be no name: a letter, then letters, digits and `_ . - /`, at most 255.
        """
        return MetricHistogram(self, _instrument(name, "histogram", unit, description))

    def create_histogram_float(
        self, name: str, description: str | None = None, unit: str | None = None
    ) -> MetricHistogramFloat:
        """Return a histogram of numbers.

        Raises:
            ValueError: It can be no name: a letter, then letters, digits and `_ . - /`, at most 255.
        """
        return MetricHistogramFloat(self, _instrument(name, "histogram", unit, description))

    def create_histogram_timedelta(
        self, name: str, description: str | None = None, unit: str | None = None
    ) -> MetricHistogramTimedelta:
        """Return a histogram of durations, in seconds.

        Raises:
            ValueError: It can be no name: a letter, then letters, digits and `_ . - /`, at most 255.
        """
        return MetricHistogramTimedelta(self, _instrument(name, "histogram", unit or "s", description))

    def create_gauge(self, name: str, description: str | None = None, unit: str | None = None) -> MetricGauge:
        """Return a gauge of whole numbers: the last one counts.

        Raises:
            ValueError: It can be no name: a letter, then letters, digits and `_ . - /`, at most 255.
        """
        return MetricGauge(self, _instrument(name, "gauge", unit, description))

    def create_gauge_float(
        self, name: str, description: str | None = None, unit: str | None = None
    ) -> MetricGaugeFloat:
        """Return a gauge of numbers: the last one counts.

        Raises:
            ValueError: It can be no name: a letter, then letters, digits and `_ . - /`, at most 255.
        """
        return MetricGaugeFloat(self, _instrument(name, "gauge", unit, description))

    def record(self, instrument: Instrument, value: float, additional: MetricAttributes | None) -> None:
        """Record a value; what the instruments call."""
        if self._take is not None:
            attributes = {**self._attributes, **checked(additional)} if additional else self._attributes
            self._take(instrument, value, attributes)


MetricMeter.noop = MetricMeter()


class MetricCommon:
    """An instrument of a meter: what all kinds of them have."""

    def __init__(self, meter: MetricMeter, instrument: Instrument) -> None:
        self._meter = meter
        self._instrument = instrument

    def with_additional_attributes(self, additional_attributes: MetricAttributes) -> Self:
        """Return an instrument whose values have these attributes too.

        Raises:
            TypeError: A value is no text, number or truth value.
        """
        return type(self)(self._meter.with_additional_attributes(additional_attributes), self._instrument)

    @property
    def name(self) -> str:
        """Its name."""
        return self._instrument.name

    @property
    def description(self) -> str | None:
        """What it says of itself."""
        return self._instrument.description or None

    @property
    def unit(self) -> str | None:
        """Its unit."""
        return self._instrument.unit or None

    def _record(
        self, value: float, additional: MetricAttributes | None, *, least: float | None = None
    ) -> None:
        if least is not None and value < least:
            raise ValueError(f"{self.name} takes no value below {least:g}, and {value!r} is")
        self._meter.record(self._instrument, value, additional)


class MetricCounter(MetricCommon):
    """A counter."""

    def add(self, value: int, additional_attributes: MetricAttributes | None = None) -> None:
        """Add to it.

        Raises:
            ValueError: `value` is below zero.
        """
        self._record(value, additional_attributes, least=0)


class MetricHistogram(MetricCommon):
    """A histogram of whole numbers."""

    def record(self, value: int, additional_attributes: MetricAttributes | None = None) -> None:
        """Record a value.

        Raises:
            ValueError: `value` is below zero.
        """
        self._record(value, additional_attributes, least=0)


class MetricHistogramFloat(MetricCommon):
    """A histogram of numbers."""

    def record(self, value: float, additional_attributes: MetricAttributes | None = None) -> None:
        """Record a value.

        Raises:
            ValueError: `value` is below zero.
        """
        self._record(value, additional_attributes, least=0)


class MetricHistogramTimedelta(MetricCommon):
    """A histogram of durations."""

    def record(self, value: timedelta, additional_attributes: MetricAttributes | None = None) -> None:
        """Record a duration.

        Raises:
            ValueError: `value` is below zero.
        """
        self._record(value.total_seconds(), additional_attributes, least=0)


class MetricGauge(MetricCommon):
    """A gauge of whole numbers."""

    def set(self, value: int, additional_attributes: MetricAttributes | None = None) -> None:
        """Set it.

        Raises:
            ValueError: `value` is below zero.
        """
        self._record(value, additional_attributes, least=0)


class MetricGaugeFloat(MetricCommon):
    """A gauge of numbers."""

    def set(self, value: float, additional_attributes: MetricAttributes | None = None) -> None:
        """Set it.

        Raises:
            ValueError: `value` is below zero.
        """
        self._record(value, additional_attributes, least=0)


_NAME = re.compile(r"[a-zA-Z][a-zA-Z0-9_.\-/]{0,254}")
"""What OpenTelemetry takes for a name; checked here, so that a wrong one is found where nobody collects metrics either."""


def _instrument(name: str, kind: str, unit: str | None, description: str | None) -> Instrument:
    if _NAME.fullmatch(name) is None:
        raise ValueError(
            f"{name!r} can be no name of a metric: a letter, then letters, digits and the signs _ . - /, at most 255"
        )
    return Instrument(name, kind, unit or "", description or "")


def checked(attributes: MetricAttributes) -> MetricAttributes:
    """Return attributes that can be recorded.

    Raises:
        TypeError: A value is no text, number or truth value.
    """
    value: object
    for name, value in attributes.items():
        if not isinstance(value, str | int | float):
            raise TypeError(
                f"attribute {name!r} of a metric must be a text, a number or a truth value: {value!r}"
            )
    return attributes
