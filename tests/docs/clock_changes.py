"""The table of clock changes in `docs/schedules.md`, made of what the code does: `python -m tests.docs.clock_changes`."""

from __future__ import annotations

import re
from datetime import datetime
from itertools import islice
from pathlib import Path
from zoneinfo import ZoneInfo

from durable._internal.instants import from_datetime, to_datetime
from durable._timetables._times import Timetable
from durable._timetables.records import SpecRecord

PAGE = Path(__file__).parents[2] / "docs" / "schedules.md"
NEW_YORK, LORD_HOWE = "America/New_York", "Australia/Lord_Howe"

CASES = (
    ("30 2 * * *", NEW_YORK, "2026-03-08", "forward at 02:00, by an hour"),
    ("*/30 2 * * *", NEW_YORK, "2026-03-08", "forward at 02:00, by an hour"),
    ("0 * * * *", NEW_YORK, "2026-03-08", "forward at 02:00, by an hour"),
    ("30 1 * * *", NEW_YORK, "2026-11-01", "back at 02:00, by an hour"),
    ("*/30 1 * * *", NEW_YORK, "2026-11-01", "back at 02:00, by an hour"),
    ("0 * * * *", NEW_YORK, "2026-11-01", "back at 02:00, by an hour"),
    ("45 1 * * *", LORD_HOWE, "2026-04-05", "back at 02:00, by half an hour"),
    ("15 2 * * *", LORD_HOWE, "2026-10-04", "forward at 02:00, by half an hour"),
)
"""Expression, zone, day, and what the clock does on it."""


def instants(cron: str, zone: str, day: str) -> list[datetime]:
    """What a cron expression means on one day of a zone, in its local time."""
    here = ZoneInfo(zone)
    midnight = datetime.fromisoformat(day).replace(tzinfo=here)
    after, until = (
        from_datetime(midnight, "day") - 1,
        from_datetime(midnight.replace(hour=23, minute=59), "day"),
    )
    found = islice(Timetable(SpecRecord(cron=(cron,), zone=zone)).between(after, until), 100)
    return [to_datetime(instant).astimezone(here) for instant in found]


def table() -> str:
    lines = ["| Expression | Zone | Day | The clock goes | Runs, in local time |", "|---|---|---|---|---|"]
    for cron, zone, day, change in CASES:
        times = [f"{time:%H:%M%z}" for time in instants(cron, zone, day)] or ["not on this day"]
        shown = times if len(times) < 5 else [*times[:4], "...", f"{len(times)} in all"]
        lines.append(f"| `{cron}` | {zone} | {day} | {change} | {', '.join(shown)} |")
    return "\n".join(lines)


def page() -> str:
    """The page with its table made anew."""
    mark = r"(<!-- made by: python -m tests\.docs\.clock_changes -->\n).*?(<!-- end -->)"
    return re.sub(
        mark, lambda found: f"{found[1]}{table()}\n{found[2]}", PAGE.read_text("utf-8"), flags=re.DOTALL
    )


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
