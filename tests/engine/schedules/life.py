"""A schedule that is lived through: the clock moves, actions end, and what was decided is a line of words."""

from __future__ import annotations

from durable._engine.schedules._decide import Decision, decide
from durable._engine.schedules._requests import closed, created
from durable._engine.schedules.records import (
    ActionRecord,
    PolicyRecord,
    ScheduleOverlapPolicy,
    ScheduleRecord,
    Standing,
)
from durable._timetables.records import SpecRecord
from durable.common import WorkflowExecutionStatus
from durable.history import Failure, Payloads
from tests.engine.schedules.said import MINUTE, at

SKIP = ScheduleOverlapPolicy.SKIP
BUFFER_ONE = ScheduleOverlapPolicy.BUFFER_ONE
BUFFER_ALL = ScheduleOverlapPolicy.BUFFER_ALL
CANCEL_OTHER = ScheduleOverlapPolicy.CANCEL_OTHER
TERMINATE_OTHER = ScheduleOverlapPolicy.TERMINATE_OTHER
ALLOW_ALL = ScheduleOverlapPolicy.ALLOW_ALL

COMPLETED = WorkflowExecutionStatus.COMPLETED
NOON = at("2026-11-21T12:00")
EVERY_MINUTE = SpecRecord(cron=("* * * * *",))
ACTION = ActionRecord("Report", "report", "default")


class Life:
    """A schedule with a clock, in minutes behind noon."""

    def __init__(
        self,
        overlap: ScheduleOverlapPolicy = SKIP,
        spec: SpecRecord = EVERY_MINUTE,
        standing: Standing | None = None,
        **policy: object,
    ) -> None:
        self.schedule = ScheduleRecord(ACTION, spec, PolicyRecord(overlap=overlap, **policy))  # type: ignore[arg-type]
        self.progress = created("nightly", standing or Standing(), NOON)
        self.now = NOON
        self.decision: Decision | None = None

    def wait(self, minutes: float) -> list[str]:
        self.now += round(minutes * MINUTE)
        return self.decide()

    def decide(self) -> list[str]:
        running = [one.run_id for one in self.progress.running]
        self.decision = decide(self.schedule, self.progress, now=self.now, running=running)
        self.progress = self.decision.progress
        starts = [f"start {minute(one.nominal)}" for one in self.decision.starts]
        return starts + [
            f"{one.what.name.lower()} {minute_of(one.workflow_id)}" for one in self.decision.asks
        ]

    def end(
        self,
        status: WorkflowExecutionStatus = COMPLETED,
        result: Payloads = (),
        failure: Failure | None = None,
    ) -> list[str]:
        """The oldest running action ends."""
        first = self.progress.running[0].run_id
        self.progress = closed(
            self.schedule.policy, self.progress, first, status, result=result, failure=failure
        )
        return self.decide()

    def waits(self) -> list[str]:
        return [minute(one.nominal) for one in self.progress.buffer]

    def runs(self) -> list[str]:
        return [minute_of(one.workflow_id) for one in self.progress.running]

    def counts(self) -> dict[str, int]:
        names = ("num_actions", "missed_catchup", "skipped_overlap", "buffer_dropped")
        return {name: getattr(self.progress, name) for name in names if getattr(self.progress, name)}

    def wakes(self) -> float | None:
        assert self.decision is not None
        return None if self.decision.wake is None else (self.decision.wake - NOON) / MINUTE


def minute(instant: int) -> str:
    return f"{(instant - NOON) / MINUTE:g}"


def minute_of(name: str) -> str:
    return minute(at(name.removeprefix("report-").removesuffix("Z")))
