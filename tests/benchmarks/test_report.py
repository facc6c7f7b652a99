"""The page about performance says what the kept results say, and the table asks for figures that there are."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import pytest

from benchmarks import _chart, _results, report
from benchmarks._profile_notes import NOTES
from benchmarks._rows import ALONE, MANY, ROWS, Target, measured
from benchmarks.peers.install import requirements

FIGURE = {"median": 4.0, "spread": 0.5}
FLOOR = {"1 at once": 1_750.0, "500 at once": 120_000.0}


def test_page_and_pictures_are_those_of_the_kept_results() -> None:
    for path, text in report.pages(_results.read()).items():
        assert path.read_text() == text, f"{path.name} is old: run python -m benchmarks.report"


def test_every_kept_result_says_where_it_comes_from() -> None:
    results = _results.read()
    assert results, "nothing is kept"
    for name, result in results.items():
        assert {"environment", "scale", "repeats", "floor", "figures"} == result.keys(), name
        assert result["environment"]["databases"]["postgresql"]["fsync"] == "on", name


def result(figures: dict[str, Any]) -> dict[str, Any]:
    return {"one": {"floor": FLOOR, "figures": figures}}


@pytest.mark.parametrize(
    ("target", "bound", "reached"),
    [
        (Target("", "one", ("a",), at_least=3), 3, True),
        (Target("", "one", ("a",), at_least=5), 5, False),
        (Target("", "one", ("a",), at_most=5), 5, True),
        # The floor reached half of what bounds hold for: half the rate will do, and twice the time.
        (Target("", "one", ("a",), at_least=6, scaled=ALONE), 3, True),
        (Target("", "one", ("a",), at_most=3, scaled=ALONE), 6, True),
        # A fast machine is asked for no more.
        (Target("", "one", ("a",), at_least=5, scaled=MANY), 5, False),
    ],
)
def test_bounds_are_scaled_by_the_floor(target: Target, bound: float, reached: bool) -> None:
    found = measured(target, result({"a": FIGURE}))
    assert (found.bound, found.value, found.spread) == (bound, 4.0, 0.5)
    assert found.reached is reached


def test_what_was_not_measured_is_not_reached_either() -> None:
    target = Target("", "one", ("a", "b"), at_least=1)
    for results in ({}, result({}), result({"a": {}})):
        found = measured(target, results)
        assert found.value is None
        assert found.reached is None


def test_what_is_kept_is_read_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_results, "RESULTS", tmp_path / "results")
    _results.write("one", {"figures": {"a": FIGURE, "of": "§"}})
    assert _results.read() == {"one": {"figures": {"a": FIGURE, "of": "§"}}}


def test_a_peer_that_is_missing_is_named_last() -> None:
    results = result({"missing": {"dbos": "dbos is not installed"}})
    assert report.left_out(results) == ["Not measured by `one`: dbos (dbos is not installed)."]


def test_every_row_can_be_told_from_the_others() -> None:
    labels = [(row.what, target.label) for row in ROWS for target in row.targets]
    assert len(labels) == len(set(labels))
    for row in ROWS:
        for target in row.targets:
            assert (target.at_least is None) != (target.at_most is None), target


def test_each_of_the_first_entries_of_the_profile_has_a_sentence() -> None:
    entries = _results.read()["profile"]["figures"]["entries"][: report.FIRST]
    assert len(entries) == report.FIRST
    for entry in entries:
        assert NOTES.get(entry["function"], "").endswith("."), f"{entry['function']} is not in _profile_notes"


def test_charts_show_all_points_and_both_schemes() -> None:
    points = {x: {"median": y} for x, y in (("0", 10.0), ("10", 500.0), ("1000", 900.0))}
    figures = {kind: dict.fromkeys(CURVES, points) for kind in ("postgresql", "sqlite")}
    charts = _chart.charts(figures)
    assert charts.keys() == {"concurrency", "history", "parked"}
    for name, text in charts.items():
        root = ET.fromstring(text)
        lines = [one for one in root if one.tag.endswith("polyline")]
        assert len(lines) == (4 if name == "concurrency" else 2)
        assert all(len(line.get("points", "").split()) == len(points) for line in lines)
        assert "prefers-color-scheme: dark" in text


CURVES = ("concurrency", "concurrency, floor", "history", "parked")


def test_peers_are_installed_one_by_one_from_the_group() -> None:
    names = {one.split(">")[0] for one in requirements()}
    assert {"dbos", "absurd-sdk", "pgqueuer", "temporalio", "restate-sdk"} <= names
