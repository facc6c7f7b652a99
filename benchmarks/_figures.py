"""What a benchmark returns: figures, each with its unit, all its samples and their spread."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import median
from typing import Any

Figures = dict[str, Any]
"""Figures by name, nested as a benchmark likes."""


def figure(samples: Sequence[float], unit: str, *, lower_is_better: bool = False) -> Figures:
    """Describe repeated measurements of one thing.

    `best` is what the machine can do when nobody disturbs it, and the figure to compare; `spread` is the distance between
    the extremes as a share of the median, and says how much to believe.
    """
    middle = median(samples)
    return {
        "unit": unit,
        "best": short(min(samples) if lower_is_better else max(samples)),
        "median": short(middle),
        "spread": short((max(samples) - min(samples)) / middle) if middle else 0.0,
        "samples": [short(sample) for sample in samples],
    }


def percentile(values: Sequence[float], share: float) -> float:
    """The smallest value that is not below `share` of all."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))]


def short(value: float) -> float:
    """Four digits; the rest is noise."""
    return float(f"{value:.4g}")
