"""The text that Prometheus reads, version 0.0.4 of its format, made without its library."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from typing import Any

from durable.telemetry._catalogue import Metric
from durable.telemetry._recorder import Buckets, Metrics

__all__ = ["CONTENT_TYPE", "prometheus_text"]

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
"""What an endpoint says of `prometheus_text`."""


_NO_NAME = re.compile(r"[^a-zA-Z0-9_:]|^(?=[0-9])")
_NO_LABEL = re.compile(r"[^a-zA-Z0-9_]|^(?=[0-9])")
"""What may not stand in a name, which gets an underscore there."""


def prometheus_text(metrics: Metrics) -> str:
    """Return what is recorded, as Prometheus scrapes it. It blocks on nothing, and any thread may call it."""
    lines: list[str] = []
    last = ""
    for metric, values in metrics.snapshot():
        name = _NO_NAME.sub("_", metric.prometheus)
        if name != last:
            # Metrics of a program's own may share a name and have different attributes: one family.
            last = name
            lines += [
                f"# HELP {name} {_escaped(metric.text, quotes=False)}",
                f"# TYPE {name} {metric.kind.value}",
            ]
        for labels, value in values:
            lines += _samples(metric, name, labels, value)
    return "\n".join(lines) + "\n" if lines else ""


def _samples(metric: Metric, name: str, labels: Sequence[str], value: Any) -> list[str]:
    pairs = [
        f'{_NO_LABEL.sub("_", key)}="{_escaped(text)}"'
        for key, text in zip(metric.attributes, labels, strict=True)
    ]
    if not isinstance(value, Buckets):
        return [f"{name}{_in_braces(pairs)} {_number(value)}"]
    count, lines = 0, list[str]()
    for bound, here in zip((*metric.bounds, math.inf), value.counts, strict=True):
        count += here
        bounded = _in_braces([*pairs, f'le="{_number(bound)}"'])
        lines.append(f"{name}_bucket{bounded} {count}")
    return [
        *lines,
        f"{name}_sum{_in_braces(pairs)} {_number(value.sum)}",
        f"{name}_count{_in_braces(pairs)} {count}",
    ]


def _in_braces(pairs: Sequence[str]) -> str:
    return f"{{{','.join(pairs)}}}" if pairs else ""


def _number(value: float) -> str:
    if math.isinf(value):
        return "+Inf" if value > 0 else "-Inf"
    return str(int(value)) if value == int(value) and abs(value) < 1e15 else repr(float(value))


def _escaped(text: str, *, quotes: bool = True) -> str:
    text = text.replace("\\", r"\\").replace("\n", r"\n")
    return text.replace('"', r"\"") if quotes else text
