"""`python -m benchmarks.report`: from the results that are kept, the table and the pictures of docs/performance.md.

It prints the table, and names what was not measured. Nothing here measures anything, so the page says what the files say: a test compares them.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Mapping, Sequence
from itertools import zip_longest
from pathlib import Path
from typing import Any

from benchmarks import _chart, _results
from benchmarks._environment import ROOT
from benchmarks._profile_notes import NOTES
from benchmarks._rows import ROWS, Measured, measured

FIRST = 10
"""Entries of the profile that are shown, each with a sentence."""

PAGE = ROOT / "docs" / "performance.md"
IMAGES = ROOT / "docs" / "images"
MARK = "<!-- {}: {} -->"

DATABASES = (("postgresql", "PostgreSQL"), ("sqlite", "SQLite"))

Results = Mapping[str, Any]


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.report", description=__doc__)
    parser.add_argument("--print-only", action="store_true", help="leave the page and the pictures alone")
    options = parser.parse_args()
    results = _results.read()
    if not options.print_only:
        for path, text in pages(results).items():
            path.parent.mkdir(exist_ok=True)
            path.write_text(text)
    print(table(results))
    print()
    print(compared(results))
    for line in left_out(results):
        print(line)


def pages(results: Results) -> dict[Path, str]:
    """Return what the files in docs/ have to say."""
    page = PAGE.read_text()
    for name, text in (
        ("measured", block(results)),
        ("costs", costs(results)),
        ("profile", profile(results)),
    ):
        begin, end = MARK.format(name, "begin"), MARK.format(name, "end")
        before, _, rest = page.partition(begin)
        _, _, after = rest.partition(end)
        page = f"{before}{begin}\n{text}\n{end}{after}"
    texts = {PAGE: page}
    if "curves" in results:
        for name, chart in _chart.charts(results["curves"]["figures"]).items():
            texts[IMAGES / f"{name}.svg"] = chart
    return texts


def costs(results: Results) -> str:
    """What the database counts for a step."""
    if "costs" not in results:
        return ""
    figures = results["costs"]["figures"]
    loads = list(next(iter(figures.values())))
    rows: list[Sequence[str]] = [("For each step of ten", *loads)]
    rows += [
        (
            f"{name.removesuffix(' per step')}, {title}",
            *(_number(figures[kind][load][name], "") for load in loads),
        )
        for kind, title in DATABASES
        if kind in figures
        for name in figures[kind][loads[0]]
    ]
    return _markdown(rows)


def profile(results: Results) -> str:
    """The first entries of a worker's profile, each with a sentence."""
    if "profile" not in results:
        return ""
    rows: list[Sequence[str]] = [("Function", "Share", "Calls per step", "What it does there")]
    rows += [
        (
            f"`{entry['function']}`",
            f"{entry['own share']:.1%}",
            _number(entry["calls per step"], ""),
            NOTES.get(entry["function"], ""),
        )
        for entry in results["profile"]["figures"]["entries"][:FIRST]
    ]
    return _markdown(rows)


def block(results: Results) -> str:
    """What stands in the page between the marks."""
    parts = [
        table(results),
        compared(results),
        *(_variants(results["variants"]["figures"]) if "variants" in results else ()),
        "\n".join(f"* {line}" for line in (*_where(results), *_peers(results))),
        "\n".join(left_out(results)),
    ]
    return "\n\n".join(part for part in parts if part)


def table(results: Results) -> str:
    """The lines that have to be reached, beside what was found."""
    rows: list[Sequence[str]] = [("What", "", "Must reach", "Measured", "Spread", "Reached", "Benchmark")]
    for row in ROWS:
        for number, target in enumerate(row.targets):
            found = measured(target, results)
            rows.append(
                (
                    "" if number else row.what,
                    target.label,
                    _bound(found),
                    "not measured" if found.value is None else _number(found.value, target.unit),
                    "" if found.value is None else f"{found.spread:.0%}",
                    {True: "yes", False: "no", None: ""}[found.reached],
                    f"`{target.benchmark}`",
                )
            )
    return _markdown(rows)


def _bound(found: Measured) -> str:
    target = found.target
    absolute = target.at_least if target.at_least is not None else target.at_most
    assert absolute is not None
    text = f"{'≥' if target.at_least is not None else '≤'} {_number(absolute, target.unit)}"
    return text if found.bound == absolute else f"{text}; here {_number(found.bound, '')}"


def compared(results: Results) -> str:
    """Steps/s of all who were compared."""
    if "compare" not in results:
        return ""
    rows: list[Sequence[str]] = [("Steps/s, ten-step workflows", "1 at once", "50 at once", "500 at once")]
    for kind, title in DATABASES:
        of = results["compare"]["figures"].get(kind, {"rates": {}})["rates"]
        rows += [
            (f"{name}, {title}", *(_number(load["median"], "") for load in loads.values()))
            for name, loads in of.items()
        ]
    return _markdown(rows)


def _variants(figures: Mapping[str, Any]) -> Iterator[str]:
    rows: list[Sequence[str]] = [("Steps/s, the same ten steps", "1 at once", "50 at once", "500 at once")]
    for kind, title in DATABASES:
        if kind in figures:
            loads = figures[kind].values()
            rows += [
                (f"{name}, {title}", *(_number(load[name]["rate"]["median"], "") for load in loads))
                for name in next(iter(loads))
            ]
    yield _markdown(rows)


def _where(results: Results) -> Iterator[str]:
    """Machine, settings and revision, each once with the benchmarks that were run there."""
    places: dict[str, list[str]] = {}
    for name, result in results.items():
        found = result["environment"]
        machine, postgres = found["machine"], found["databases"].get("postgresql", {})
        settings = ", ".join(
            f"{key}={postgres[key]}" for key in ("fsync", "synchronous_commit") if key in postgres
        )
        place = (
            f"{machine['cores']} cores ({machine['cpu']}), {found['python']}, PostgreSQL {postgres.get('version', 'none')} "
            f"({settings}), SQLite {found['databases'].get('sqlite', {}).get('version', 'none')} (synchronous=full), "
            f"revision {found['revision'][:10]}{' with changes' if found['modified'] else ''}, {found['time'][:10]}, "
            f"{result['repeats']} rounds of {result['scale']:.0%} of the work"
        )
        floor = result["floor"]
        places.setdefault(place, []).append(
            f"`{name}` ({floor['1 at once']:,.0f} and {floor['500 at once']:,.0f})"
        )
    for place, names in places.items():
        yield f"{place}. In brackets the floor's steps/s in that run with 1 and 500 at once: {', '.join(names)}."


def _peers(results: Results) -> Iterator[str]:
    """Which release of whom was measured, and how it was set."""
    for result in results.values():
        figures = result["figures"]
        for part in figures.values():
            settings = part.get("settings", {}) if isinstance(part, Mapping) else {}
            if isinstance(settings, str):
                settings = {"temporalio": settings}
            for peer, text in settings.items():
                yield f"{peer} {text}."


def left_out(results: Results) -> list[str]:
    """Which peers are not among the figures, and why."""
    return [
        f"Not measured by `{name}`: {peer} ({why})."
        for name, result in results.items()
        for peer, why in result["figures"].get("missing", {}).items()
    ]


def _number(value: float, unit: str) -> str:
    text = f"{value:,.0f}" if value >= 100 else f"{value:.3g}"
    return f"{text} {unit}".rstrip()


def _markdown(rows: Sequence[Sequence[str]]) -> str:
    """A table that can be read as it is, too."""
    widths = [max(map(len, column)) for column in zip_longest(*rows, fillvalue="")]
    lines = [
        "| " + " | ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) + " |"
        for row in rows
    ]
    lines.insert(1, "|" + "|".join("-" * (width + 2) for width in widths) + "|")
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
