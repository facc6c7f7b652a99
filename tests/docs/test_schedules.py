"""`docs/schedules.md`: what it shows runs, and its table is what the code does."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Any

from durable import Client, Worker
from durable.client import ScheduleBackfill
from tests.docs.clock_changes import LORD_HOWE, NEW_YORK, PAGE, instants, page
from tests.scenarios.rig import until


def programs() -> list[dict[str, Any]]:
    found = re.findall(r"^```python\n(.*?)^```$", PAGE.read_text("utf-8"), re.MULTILINE | re.DOTALL)
    made: list[dict[str, Any]] = []
    for text in found:
        names: dict[str, Any] = {"__name__": "shown"}
        exec(compile(text, str(PAGE), "exec"), names)
        made.append(names)
    return made


async def test_the_first_program_runs(store_url: str) -> None:
    shown = programs()[0]
    async with (
        Client.connect(store_url) as client,
        Worker(client, workflows=[shown["nightly"]], activities=[]),
    ):
        handle = await shown["create"](client)
        jump = ScheduleBackfill(datetime(2026, 3, 28, 12, tzinfo=UTC), datetime(2026, 3, 29, 12, tzinfo=UTC))
        await handle.backfill(jump)

        async def run() -> bool:
            return (await handle.describe()).info.num_actions == 1

        await until("the backfill is taken", run)
        result = await client.get_workflow_handle("nightly-2026-03-29T01:00:00Z").result(timeout=60)
        assert result == "berlin: from 2026-03-28 01:30:00+00:00 to 2026-03-29 01:00:00+00:00"


def test_the_calendar_leaves_christmas_out() -> None:
    from durable._internal.instants import from_datetime, to_datetime
    from durable._timetables._times import timetable

    times = timetable(programs()[1]["WORKDAYS"].to_record())
    days = times.between(
        from_datetime(datetime(2026, 12, 22, 12, tzinfo=UTC), ""),
        from_datetime(datetime(2026, 12, 29, 12, tzinfo=UTC), ""),
    )
    assert [to_datetime(one).day for one in days] == [23, 28, 29]


def test_the_table_is_what_the_code_does() -> None:
    assert PAGE.read_text("utf-8") == page(), "run: python -m tests.docs.clock_changes"


def test_the_golden_cases_of_clock_changes() -> None:
    """Written down here once more, so that the table cannot change with the code."""

    def local(cron: str, zone: str, day: str) -> list[str]:
        return [f"{time:%H:%M%z}" for time in instants(cron, zone, day)]

    assert local("30 2 * * *", NEW_YORK, "2026-03-08") == ["03:00-0400"]
    assert local("*/30 2 * * *", NEW_YORK, "2026-03-08") == []
    assert len(local("0 * * * *", NEW_YORK, "2026-03-08")) == 23
    assert local("30 1 * * *", NEW_YORK, "2026-11-01") == ["01:30-0400"]
    assert local("0 * * * *", NEW_YORK, "2026-11-01")[:4] == [
        "00:00-0400",
        "01:00-0400",
        "01:00-0500",
        "02:00-0500",
    ]
    assert len(local("0 * * * *", NEW_YORK, "2026-11-01")) == 25
    assert local("45 1 * * *", LORD_HOWE, "2026-04-05") == ["01:45+1100"]
    assert local("15 2 * * *", LORD_HOWE, "2026-10-04") == ["02:30+1100"]
