"""`docs/operations/alerts.yaml` and `grafana.json`: each rule fires on what it is for, and not on a quiet worker.

The expressions are evaluated by `fires`, which knows the four forms that the rules have. `promtool`, which is in Debian's
package `prometheus`, is asked about their syntax where it is installed.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from durable.telemetry import METRICS, Kind, Metrics, prometheus_text
from durable.telemetry._catalogue import named

DOCS = Path(__file__).parents[2] / "docs" / "operations"
RULES = dict(re.findall(r"- alert: (\w+)\n\s+expr: (.*)", (DOCS / "alerts.yaml").read_text("utf-8")))

_BUCKETS = re.compile(
    r"histogram_quantile\(([\d.]+), sum by \(([\w, ]+)\) \(increase\((\w+)\[5m\]\)\)\) > ([\d.]+)"
)
_INCREASE = re.compile(
    r"sum by \(([\w, ]+)\) \(increase\((\w+)(?:\{(\w+)(=~?)\"([^\"]+)\"\})?\[5m\]\)\) > ([\d.]+)"
)
_GAUGE = re.compile(r"(min|max) by \(([\w, ]+)\) \((\w+)(?:\{(\w+)=~\"([^\"]+)\"\})?\) (>|==) ([\d.]+)")
_ABSENT = re.compile(r"absent\((\w+)\)")


def samples(text: str, name: str) -> list[tuple[dict[str, str], float]]:
    found = re.findall(rf"^{name}(?:\{{(.*)\}})? (\S+)$", text, re.MULTILINE)
    return [(dict(re.findall(r'(\w+)="([^"]*)"', labels)), float(value)) for labels, value in found]


def fires(expression: str, text: str) -> bool:
    """Whether a rule fires on an exposition of the last five minutes."""
    groups: dict[tuple[str, ...], float] = {}
    if (form := _BUCKETS.fullmatch(expression)) is not None:
        quantile, by, name, limit = form.groups()
        buckets: dict[tuple[str, ...], list[tuple[float, float]]] = {}
        for labels, value in samples(text, name):
            key = tuple(labels.get(one, "") for one in by.split(", ") if one != "le")
            buckets.setdefault(key, []).append((float(labels["le"].replace("+Inf", "inf")), value))
        return any(_quantile(float(quantile), sorted(each)) > float(limit) for each in buckets.values())
    if (form := _INCREASE.fullmatch(expression)) is not None:
        by, name, label, operator, wanted, limit = form.groups()
        for labels, value in samples(text, name):
            pattern = wanted if operator == "=~" else re.escape(wanted or "")
            if label is None or re.fullmatch(pattern, labels[label]):
                key = tuple(labels.get(one, "") for one in by.split(", "))
                groups[key] = groups.get(key, 0) + value
        return any(value > float(limit) for value in groups.values())
    if (form := _ABSENT.fullmatch(expression)) is not None:
        return not samples(text, form[1])
    form = _GAUGE.fullmatch(expression)
    assert form is not None, f"no form that is known here: {expression}"
    which, by, name, label, wanted, operator, limit = form.groups()
    found: dict[tuple[str, ...], list[float]] = {}
    for labels, value in samples(text, name):
        if label is None or re.fullmatch(wanted, labels[label]):
            found.setdefault(tuple(labels.get(one, "") for one in by.split(", ")), []).append(value)
    values = [max(each) if which == "max" else min(each) for each in found.values()]
    return any(value > float(limit) if operator == ">" else value == float(limit) for value in values)


def _quantile(quantile: float, buckets: list[tuple[float, float]]) -> float:
    """The upper bound of the bucket it is in; Prometheus looks between the bounds, and takes the last but one at the end."""
    whole = buckets[-1][1]
    at = next(n for n, (_, count) in enumerate(buckets) if count >= quantile * whole)
    return buckets[min(at, len(buckets) - 2)][0]


def record(name: str, *values: float | str, times: int = 1) -> Callable[[Metrics], None]:
    number, *labels = values

    def make(metrics: Metrics) -> None:
        for _ in range(times):
            metrics.record(named(name), float(number), *map(str, labels))

    return make


INCIDENTS: dict[str, tuple[Callable[[Metrics], None], Callable[[Metrics], None]]] = {
    "DurableWorkflowBlocked": (
        record("durable.workflow.task.failed", 1, "panic", "w"),
        record("durable.workflow.closed", 1, "w", "completed"),
    ),
    "DurableBadDeploy": (
        record("durable.workflow.task.failed", 1, "nondeterminism", "w"),
        record("durable.workflow.task.failed", 1, "panic", "w"),
    ),
    "DurableBacklog": (
        record("durable.task.schedule_to_start", 0.4, "activity", "q", times=5),
        record("durable.task.schedule_to_start", 0.19, "activity", "q", times=5),
    ),
    "DurableNoFreeSlots": (
        record("durable.worker.slots_available", 0, "activity"),
        record("durable.worker.slots_available", 1, "activity"),
    ),
    "DurableWorkerSilent": (
        record("durable.worker.heartbeat_age", 11),
        record("durable.worker.heartbeat_age", 5),
    ),
    "DurableLeaseLost": (record("durable.lease.lost", 1), record("durable.fence.rejected", 1)),
    "DurableDatabaseFailing": (record("durable.commit.failed", 1), record("durable.commit.size", 1)),
    "DurableActivityFailing": (
        record("durable.activity.attempts", 1, "a", "timed_out", times=11),
        record("durable.activity.attempts", 1, "a", "completed", times=100),
    ),
    "DurableWorkflowsHeld": (
        record("durable.workflow.held", 1, "quarantined"),
        record("durable.workflow.held", 1, "paused"),
    ),
    "DurableDeadlinePassed": (
        record("durable.workflow.late", 1, "w", "past"),
        record("durable.workflow.late", 1, "w", "near"),
    ),
    "DurableDeadlineNear": (
        record("durable.workflow.late", 1, "w", "near"),
        record("durable.workflow.late", 0, "w", "near"),
    ),
    "DurableQueueOld": (
        record("durable.queue.oldest_age", 61, "workflow", "q"),
        record("durable.queue.oldest_age", 59, "workflow", "q"),
    ),
    "DurableQueueUnserved": (
        record("durable.queue.workers", 0, "q"),
        record("durable.queue.workers", 1, "q"),
    ),
    "DurableQueueHeld": (record("durable.queue.held", 1, "q"), record("durable.queue.held", 0, "q")),
    "DurableNothingCounted": (
        record("durable.worker.heartbeat_age", 1),
        record("durable.workflow.open", 0),
    ),
    "DurableTimersLate": (
        record("durable.timer.lateness", 20),
        record("durable.timer.lateness", 4),
    ),
}


def told(make: Callable[[Metrics], None]) -> str:
    metrics = Metrics()
    make(metrics)
    return prometheus_text(metrics)


def test_every_rule_has_its_incident() -> None:
    assert set(RULES) == set(INCIDENTS)


@pytest.mark.parametrize("alert", INCIDENTS)
def test_a_rule_fires_on_its_incident_and_on_nothing_else(alert: str) -> None:
    incident, quiet = INCIDENTS[alert]
    assert fires(RULES[alert], told(incident))
    assert not fires(RULES[alert], told(quiet))


def board() -> list[str]:
    panels = json.loads((DOCS / "grafana.json").read_text("utf-8"))["panels"]
    return [target["expr"] for panel in panels for target in panel["targets"]]


def test_rules_and_board_name_metrics_and_labels_that_there_are() -> None:
    labels: dict[str, set[str]] = {}
    for one in METRICS:
        of_all = {*one.attributes, "instance"}  # Prometheus adds the latter
        labels[one.prometheus] = of_all
        if one.kind is Kind.HISTOGRAM:
            labels |= {f"{one.prometheus}_{part}": of_all for part in ("sum", "count")}
            labels[f"{one.prometheus}_bucket"] = of_all | {"le"}
    for expression in [*board(), *RULES.values()]:
        names = re.findall(r"durable_\w+", expression)
        assert names
        used = {label for by in re.findall(r"by \(([^)]*)\)", expression) for label in by.split(", ")}
        used |= set(re.findall(r"[{,]\s*(\w+)\s*(?:=|!)", expression))
        for name in names:
            assert name in labels, expression
            assert used <= labels[name], expression


def test_what_a_rule_says_it_knows_from_its_expression() -> None:
    text = (DOCS / "alerts.yaml").read_text("utf-8")
    told = 0
    for alert, expression in RULES.items():
        rule = text.split(f"- alert: {alert}\n")[1].split("- alert:")[0]
        known = {label for by in re.findall(r"by \(([^)]*)\)", expression) for label in by.split(", ")} - {
            "le"
        }
        said = set(re.findall(r"\$labels\.(\w+)", rule))
        assert said <= known, alert
        told += len(said)
    assert told


@pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool is not installed")
def test_promtool_reads_rules_and_board(tmp_path: Path) -> None:
    rules = [{"record": f"board:{n}", "expr": expression} for n, expression in enumerate(board())]
    file = tmp_path / "board.yaml"
    file.write_text(json.dumps({"groups": [{"name": "board", "rules": rules}]}), "utf-8")  # JSON is YAML
    done = subprocess.run(
        ["promtool", "check", "rules", str(DOCS / "alerts.yaml"), str(file)], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr
