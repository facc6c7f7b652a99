"""Telemetry: metrics and logs of what workers, workflows and activities do. Everything is off until it is asked for.

`metrics` is what a process records: it goes to the meter provider of OpenTelemetry that is set for the process, and to
`prometheus_text` for who scrapes. `JsonFormatter` writes logs as lines of JSON. `docs/telemetry.md` has the tables.
"""

from __future__ import annotations

from durable.telemetry._catalogue import METRICS, Kind, Metric
from durable.telemetry._logs import LOG_FIELDS, JsonFormatter
from durable.telemetry._prometheus import CONTENT_TYPE, prometheus_text
from durable.telemetry._recorder import Metrics
from durable.telemetry._tracing import Tracing

__all__ = [
    "CONTENT_TYPE",
    "LOG_FIELDS",
    "METRICS",
    "JsonFormatter",
    "Kind",
    "Metric",
    "Metrics",
    "Tracing",
    "metrics",
    "prometheus_text",
]

metrics = Metrics()
"""The metrics of this process, which its workers record unless their client has others."""
