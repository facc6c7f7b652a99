"""Local activities, as the code that called them sees them: activities whose longer waits are timers of the run.

        issued ------back off--> backing off     an attempt failed, and the next one is further off than the threshold: a
                                                 timer starts
        backing off --start----> issued          it is due: the activity is asked for again, under another number
        backing off -cancel----> done            the timer is cancelled, and nothing of it is left

The rest is as for any activity. So nothing of a long wait is in anybody's memory, and any worker goes on with it.
"""

from __future__ import annotations

from typing import Any, ClassVar

from msgspec.structs import replace

from durable._replay.machines._activity import ActivityMachine
from durable._replay.machines._machine import Table
from durable._replay.machines._timer import TimerMachine
from durable.activity._call import ActivityCall
from durable.activity._options import DEFAULT_RETRY_THRESHOLD
from durable.converter import DataConverter
from durable.history import (
    ActivityTaskFailed,
    ActivityTaskScheduled,
    ActivityTaskTimedOut,
    Input,
    LocalActivity,
    WorkflowExecutionStarted,
)


class LocalActivityMachine(ActivityMachine):
    """One local activity of one run.

    Attributes:
        attempt: The number of the attempt that follows the timer.
        command: What asked for it last, as it is in the log.
        timer: What it waits for while it backs off.
        back_off: Starts that timer, for so many microseconds.
    """

    __slots__ = ("_activity_id", "_asked_at", "attempt", "back_off", "command", "timer")

    LOCAL = True

    table: ClassVar[Table] = {
        **ActivityMachine.table,
        ("issued", "back off"): "backing off",
        ("backing off", "start"): "issued",
        ("backing off", "cancel"): "done",
    }

    command: ActivityTaskScheduled

    def __init__(self, id: int, call: ActivityCall[Any], converter: DataConverter, asked_at: int) -> None:
        super().__init__(id, call, converter)
        self._activity_id = call.options.activity_id or str(id)
        self._asked_at = asked_at
        self.attempt = 1
        self.timer: TimerMachine | None = None
        self.back_off: Any = None

    @property
    def activity_id(self) -> str:
        """See `ActivityMachine`. It stays when the number of the command changes."""
        return self._activity_id

    def start(self, started: WorkflowExecutionStarted, namespace: str) -> ActivityTaskScheduled:
        """See `ActivityMachine`."""
        said = self._call.options.local_retry_threshold
        threshold = DEFAULT_RETRY_THRESHOLD if said is None else said
        return replace(super().start(started, namespace), local=LocalActivity(retry_threshold=threshold))

    def again(self, id: int) -> ActivityTaskScheduled:
        """Return the command that goes on with the next attempt, when its timer is due."""
        self.step("start")
        self.id, self.timer = id, None
        before = self.command.local
        assert before is not None
        local = replace(before, attempt=self.attempt, since=self._asked_at)
        return replace(self.command, id=id, local=local)

    def close(self, event: Input) -> None:
        """See `ActivityMachine`. A failure that is followed by another attempt starts a timer."""
        if not isinstance(event, ActivityTaskFailed | ActivityTaskTimedOut) or event.retry_in is None:
            super().close(event)
        elif self.state == "issued":
            self.step("back off")
            self.attempt = event.attempt + 1
            self.back_off(self, event.retry_in)
        else:
            # It was cancelled meanwhile, and there is no other attempt.
            self.step("close")
            self.operation.on_cancel = None
            if not self.operation.done():
                self.operation.complete_cancelled()
