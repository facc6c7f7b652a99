"""`durable schedule`: what starts workflows by itself."""

from __future__ import annotations

import argparse
from collections.abc import AsyncIterator, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from itertools import islice
from typing import Any
from zoneinfo import ZoneInfo

from durable._internal.instants import from_datetime, to_datetime
from durable._timetables._times import timetable
from durable.cli._context import Context
from durable.cli._exits import ExitCode
from durable.cli._options import ask_before, confirm, duration, instant, value, verb, verbs_of, whole
from durable.cli._output import Output, iso
from durable.client import (
    Schedule,
    ScheduleActionStartWorkflow,
    ScheduleBackfill,
    ScheduleDescription,
    ScheduleIntervalSpec,
    ScheduleListDescription,
    ScheduleOverlapPolicy,
    SchedulePolicy,
    ScheduleSpec,
    ScheduleState,
)

Record = dict[str, Any]

OVERLAP = {one.name.lower().replace("_", "-"): one for one in ScheduleOverlapPolicy}


def add(parser: argparse.ArgumentParser) -> None:
    """Give the command its verbs."""
    verbs = verbs_of(parser)
    _add_create(verb(verbs, "create", create, "create a schedule", app=True, data=False))
    verb(verbs, "list", list_, "list the schedules")
    _add_id(verb(verbs, "describe", describe, "show what a schedule does, has done, and will do"))
    previewing = verb(
        verbs,
        "preview",
        preview,
        "print the next instants, of a schedule or of a spec, with changes of the clock",
    )
    previewing.add_argument(
        "id", nargs="?", metavar="ID", help="a schedule; or say what one would be, with --cron or --every"
    )
    _add_spec(previewing)
    previewing.add_argument("--next", type=whole, default=10, metavar="N", help="how many; 10 by default")
    for name, run, help in (
        ("pause", pause, "take no action any more, until unpause"),
        ("unpause", unpause, "take actions again"),
    ):
        one = verb(verbs, name, run, help, data=False)
        _add_id(one)
        one.add_argument("--note", help="why, for people")
    triggering = verb(verbs, "trigger", trigger, "take one action now", data=False)
    _add_id(triggering)
    _add_overlap(triggering)
    filling = verb(
        verbs, "backfill", backfill, "take the actions of a period as if it passed now", data=False
    )
    _add_id(filling)
    filling.add_argument(
        "--start", type=instant, required=True, metavar="TIME", help="behind which, in ISO 8601"
    )
    filling.add_argument("--end", type=instant, required=True, metavar="TIME", help="until when, in ISO 8601")
    _add_overlap(filling)
    deleting = verb(verbs, "delete", delete, "delete a schedule; what it has started goes on", data=False)
    _add_id(deleting)
    ask_before(deleting)


def _add_id(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("id", metavar="ID", help="the schedule's id")


def _add_overlap(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--overlap", choices=[*OVERLAP], help="what to do while an earlier action is running")


def _add_spec(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--cron", action="append", default=[], metavar="EXPRESSION", help="instants as cron has them"
    )
    parser.add_argument("--every", type=duration, metavar="TIME", help="a period: 15m, 1d")
    parser.add_argument(
        "--offset", type=duration, metavar="TIME", help="how far behind the beginning of each period"
    )
    parser.add_argument(
        "--time-zone", metavar="ZONE", help="of cron expressions, such as Europe/Berlin; UTC by default"
    )
    parser.add_argument(
        "--jitter", type=duration, metavar="TIME", help="by how much each action may be put off"
    )


def _add_create(parser: argparse.ArgumentParser) -> None:
    _add_id(parser)
    parser.add_argument("--type", required=True, metavar="TYPE", help="the workflow that it starts")
    parser.add_argument(
        "-i",
        "--input",
        action="append",
        default=[],
        type=value,
        metavar="JSON",
        help="an argument, as JSON or @FILE",
    )
    parser.add_argument(
        "--workflow-id", metavar="ID", help="what the workflows' ids begin with; the schedule's id by default"
    )
    parser.add_argument(
        "-q", "--task-queue", metavar="QUEUE", help="whose workers run them; 'default' by default"
    )
    _add_spec(parser)
    _add_overlap(parser)
    parser.add_argument(
        "--catchup-window", type=duration, metavar="TIME", help="how late an action may be taken; a year"
    )
    parser.add_argument("--pause-on-failure", action="store_true", help="pause it when a workflow fails")
    parser.add_argument("--paused", action="store_true", help="create it paused")
    parser.add_argument("--note", help="for people")
    parser.add_argument("--remaining", type=whole, metavar="N", help="stop after so many actions")


def _spec(options: Any) -> ScheduleSpec:
    """Return the spec that the options say.

    Raises:
        ValueError: They say none.
    """
    if not options.cron and options.every is None:
        raise ValueError("say when: --cron EXPRESSION, or --every TIME")
    if options.offset is not None and options.every is None:
        raise ValueError("--offset goes with --every")
    return ScheduleSpec(
        cron_expressions=options.cron,
        intervals=[] if options.every is None else [ScheduleIntervalSpec(options.every, options.offset)],
        time_zone_name=options.time_zone,
        jitter=options.jitter,
    )


async def create(context: Context) -> ExitCode:
    """Create a schedule."""
    options = context.options
    more = (
        {} if options.remaining is None else {"limited_actions": True, "remaining_actions": options.remaining}
    )
    schedule = Schedule(
        action=ScheduleActionStartWorkflow(
            str(options.type),
            args=options.input,
            id=options.workflow_id or options.id,
            task_queue=options.task_queue or context.settings.get("task_queue"),
        ),
        spec=_spec(options),
        policy=SchedulePolicy(
            OVERLAP[options.overlap or "skip"], options.catchup_window, options.pause_on_failure
        ),
        state=ScheduleState(note=options.note, paused=options.paused, **more),
    )
    async with context.client() as client:
        await client.create_schedule(options.id, schedule)
    context.out.line(options.id)
    return ExitCode.OK


async def list_(context: Context) -> ExitCode:
    """List the schedules."""
    out = context.out

    async with context.client() as client:

        async def records() -> AsyncIterator[Record]:
            async for one in await client.list_schedules():
                yield _listed(one)

        def cells(one: Record) -> Sequence[str]:
            state = "Paused" if one["paused"] else "Running"
            following = (
                one["next_action_times"][0] if one["next_action_times"] and not one["paused"] else None
            )
            return (
                state,
                one["schedule_id"],
                one["workflow_type"] or "?",
                out.when(following),
                one["note"] or "",
            )

        await out.records("schedules", records(), ("state", "id", "type", "next", "note"), cells)
    return ExitCode.OK


def _listed(one: ScheduleListDescription) -> Record:
    if one.schedule is None or one.info is None:
        note = "its time zone is not known on this machine"
        return {
            "schedule_id": one.id,
            "workflow_type": None,
            "paused": False,
            "note": note,
            "next_action_times": [],
        }
    action: Any = one.schedule.action
    return {
        "schedule_id": one.id,
        "workflow_type": action.workflow,
        "paused": one.schedule.state.paused,
        "note": one.schedule.state.note,
        "next_action_times": [*one.info.next_action_times],
    }


async def describe(context: Context) -> ExitCode:
    """Show a schedule."""
    out = context.out
    async with context.client() as client:
        record = _described(await client.get_schedule_handle(context.options.id).describe())
    shown = [(name.replace("_", " "), _text(out, one)) for name, one in record.items()]
    out.fields(record, shown)
    return ExitCode.OK


def _described(found: ScheduleDescription) -> Record:
    schedule, info = found.schedule, found.info
    action: Any = schedule.action
    spec = schedule.spec
    return {
        "schedule_id": found.id,
        "workflow_type": action.workflow,
        "workflow_id": action.id,
        "task_queue": action.task_queue,
        "cron_expressions": [*spec.cron_expressions],
        "intervals": [_seconds(one.every) for one in spec.intervals],
        "calendars": len(spec.calendars),
        "time_zone": spec.time_zone_name,
        "overlap": schedule.policy.overlap.name.lower(),
        "paused": schedule.state.paused,
        "note": schedule.state.note,
        "remaining_actions": schedule.state.remaining_actions if schedule.state.limited_actions else None,
        "actions": info.num_actions,
        "missed": info.num_actions_missed_catchup_window,
        "skipped": info.num_actions_skipped_overlap,
        "running": [one.workflow_id for one in info.running_actions],
        "recent": [
            {"workflow_id": one.action.workflow_id, "at": one.started_at} for one in info.recent_actions
        ],
        "next_action_times": [*info.next_action_times],
    }


def _seconds(every: Any) -> float:
    return every.total_seconds() if isinstance(every, timedelta) else float(every)


def _text(out: Output, one: Any) -> str:
    if isinstance(one, list):
        items: list[Any] = one  # pyright: ignore[reportUnknownVariableType]
        return "\n".join(_text(out, item) for item in items)
    if isinstance(one, dict):
        return "  ".join(_text(out, item) for item in one.values())  # pyright: ignore[reportUnknownVariableType, reportUnknownArgumentType]
    if isinstance(one, datetime):
        return out.when(one)
    return "" if one is None else str(one)


async def preview(context: Context) -> ExitCode:
    """Print the next instants."""
    options, out = context.options, context.out
    if (options.id is None) == (not options.cron and options.every is None):
        raise ValueError("say which: either a schedule's ID, or --cron or --every")
    if options.id is None:
        spec = _spec(options)
    else:
        async with context.client() as client:
            spec = (await client.get_schedule_handle(options.id).describe()).schedule.spec
    zone = ZoneInfo(spec.time_zone_name or "UTC")

    async def records() -> AsyncIterator[Record]:
        for one in _instants(spec, zone, options.next):
            yield one

    def cells(one: Record) -> Sequence[str]:
        return iso(one["time"]), one["local_time"], one["note"]

    await out.records("instants", records(), ("time", f"in {zone.key}", "note"), cells)
    return ExitCode.OK


def _instants(spec: ScheduleSpec, zone: ZoneInfo, number: int) -> Iterator[Record]:
    now = datetime.now(UTC)
    offset = now.astimezone(zone).utcoffset()
    for nominal in islice(timetable(spec.to_record()).between(from_datetime(now, "now"), None), number):
        local = to_datetime(nominal).astimezone(zone)
        moved = local.utcoffset()
        note = "" if moved == offset else f"the clocks have changed: {local.strftime('%Z')} from here on"
        offset = moved
        yield {"time": to_datetime(nominal), "local_time": local.isoformat(), "note": note}


async def pause(context: Context) -> ExitCode:
    """Pause a schedule."""
    async with context.client() as client:
        await client.get_schedule_handle(context.options.id).pause(note=context.options.note)
    return ExitCode.OK


async def unpause(context: Context) -> ExitCode:
    """Unpause a schedule."""
    async with context.client() as client:
        await client.get_schedule_handle(context.options.id).unpause(note=context.options.note)
    return ExitCode.OK


async def trigger(context: Context) -> ExitCode:
    """Take one action now."""
    overlap = OVERLAP[context.options.overlap] if context.options.overlap else None
    async with context.client() as client:
        await client.get_schedule_handle(context.options.id).trigger(overlap=overlap)
    return ExitCode.OK


async def backfill(context: Context) -> ExitCode:
    """Take the actions of a period."""
    options = context.options
    overlap = OVERLAP[options.overlap] if options.overlap else None
    async with context.client() as client:
        handle = client.get_schedule_handle(options.id)
        await handle.backfill(ScheduleBackfill(options.start, options.end, overlap))
    return ExitCode.OK


async def delete(context: Context) -> ExitCode:
    """Delete a schedule."""
    confirm(context, f"delete schedule {context.options.id!r}?")
    async with context.client() as client:
        await client.get_schedule_handle(context.options.id).delete()
    return ExitCode.OK
