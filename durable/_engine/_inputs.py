"""What has come for a run and is in no task yet, and the order in which it becomes tasks.

Signals and updates come first in a task, then results, in order; a cancel request has a task of its own behind those that
were already there, and so has each instant at which timers are due. So what a handler has to say is said before the code
goes on with a result, and may return or continue as new over it; a committed result always reaches the code; and the
cancel meets its next await. Neither cancel nor timers can be put off more than once.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from heapq import heapify, heappop, heappush

import msgspec

from durable._engine._activities import ActivityInputEvent
from durable._engine._state import RunState
from durable._engine.records import Message
from durable.history import (
    MESSAGES_FIRST,
    EventData,
    Input,
    OperationInput,
    TimerFired,
    WorkflowExecutionCancelRequested,
    WorkflowExecutionSignaled,
    WorkflowExecutionTerminated,
    WorkflowExecutionUpdateAccepted,
)

_SENT = (WorkflowExecutionSignaled, WorkflowExecutionUpdateAccepted)
"""What somebody sent, and a handler takes."""


class Inputs:
    """The inputs that wait, of one run.

    Of its sets and lists most stay empty in most runs: they are dicts and tuples, which the collector then passes over.

    Attributes:
        results: Outcomes of activities that ran here, by the activity's id.
        resulted: The activities that have an outcome which is not in the log.
        messages: By position in the inbox; cancel requests are kept apart, in `cancels`.
        consumed: Positions of messages that the next transition deletes.
        timers: When each timer is due that the code still wants, by id.
        updates: How many of the messages are updates.
        termination: What ends the run from outside, if that has come.
        flags: What every input that is taken says about its task.
    """

    __slots__ = (
        "_deferred",
        "_heap",
        "_known",
        "_state",
        "cancels",
        "consumed",
        "flags",
        "messages",
        "resulted",
        "results",
        "termination",
        "timers",
        "updates",
    )

    def __init__(self, state: RunState) -> None:
        self._state = state
        self._known: dict[int, None] = {}
        self._deferred = False
        self.results: dict[int, ActivityInputEvent] = {}
        self.resulted: dict[int, None] = {}
        self.messages: dict[int, Input] = {}
        self.cancels: dict[int, Input] = {}
        self.consumed: Sequence[int] = ()
        self.updates = 0
        self.flags = 0
        self.termination: WorkflowExecutionTerminated | None = None
        self.timers = dict(state.timers)
        self._heap = [(at, id) for id, at in self.timers.items()]
        heapify(self._heap)

    # ------------------------------------------------------------------ what arrives

    def add(self, result: ActivityInputEvent) -> None:
        """Take the outcome of an activity that ran here."""
        self.resulted[result.id] = None
        self.results[result.id] = result

    def receive(self, message: Message, decode: Callable[[int, bytes], EventData]) -> None:
        """Take an unread message; one that is known already is only deleted.

        Raises:
            HistoryError: It cannot be decoded; the run must be blocked, visibly.
        """
        if message.position in self._known:
            return
        event = decode(message.type, message.data)
        assert isinstance(event, Input)
        self._known[message.position] = None
        if event.message in self._state.messages:
            self.consumed = [*self.consumed, message.position]
        elif isinstance(event, ActivityInputEvent):
            if event.id in self.resulted:
                self.consumed = [*self.consumed, message.position]
            else:
                # Whether it is waited for is not known before it is taken: what asked for it may be in flight still.
                self.resulted[event.id] = None
                self.messages[message.position] = event
        elif isinstance(event, WorkflowExecutionCancelRequested):
            self.cancels[message.position] = event
        elif isinstance(event, WorkflowExecutionTerminated):
            # It never becomes an input: whoever owns the run ends it, and the inbox with it.
            self.termination = event
        else:
            if isinstance(event, WorkflowExecutionUpdateAccepted):
                self.updates += 1
            self.messages[message.position] = event

    def start_timer(self, id: int, at: int) -> None:
        """Let a timer be due at an instant."""
        self.timers[id] = at
        heappush(self._heap, (at, id))

    def next_timer(self) -> int | None:
        """Return the instant at which the next timer is due that the code still wants."""
        heap = self._heap
        while heap and self.timers.get(heap[0][1]) != heap[0][0]:
            heappop(heap)
        return heap[0][0] if heap else None

    def is_due(self, now: int) -> bool:
        """Whether a timer is due."""
        due = self.next_timer()
        return due is not None and due <= now

    @property
    def any_but_timers(self) -> bool:
        """Whether results or messages wait."""
        return bool(self.results or self.messages or self.cancels)

    # ------------------------------------------------------------------ what becomes of it

    def next_task(self, now: int) -> list[Input]:
        """Take the inputs of the next task from what waits."""
        if not (self._heap or self.messages or self.cancels or self.flags):
            # Results alone, as mostly.
            self._deferred = False
            results, self.results = self.results, {}
            return [*results.values()]
        fired = self._due_timers(now) if self._heap else []
        inputs: list[Input] = [*fired]
        alone = bool(self.cancels or fired)
        if (self.results or self.messages) and not (alone and self._deferred):
            self._deferred = alone
            results, self.results = self.results, {}
            inputs = [*results.values()]
            if self.messages:
                taken = self.take_messages()
                sent = [event for event in taken if isinstance(event, _SENT)]
                inputs = [*sent, *inputs, *(event for event in taken if not isinstance(event, _SENT))]
        elif self.cancels:
            # Timers that were put off once are not put off again because a cancel goes before them.
            self._deferred = bool(fired)
            inputs = self.take_cancels()
        else:
            self._deferred = False
        if flags := self.flags:
            return [msgspec.structs.replace(one, flags=one.flags | flags) for one in inputs]
        return inputs

    def take_messages(self) -> list[Input]:
        """Take all messages but cancel requests, as inputs of one task."""
        waiting, self.messages, self.updates = self.messages, {}, 0
        return self.take(waiting)

    def take_signals(self) -> list[Input]:
        """Take what `take_messages` does, but for updates: they wait for a task that may refuse them."""
        if not self.updates:
            return self.take_messages()
        updates = {position: event for position, event in self.messages.items() if _is_update(event)}
        waiting = {position: event for position, event in self.messages.items() if not _is_update(event)}
        self.messages = updates
        return self.take(waiting)

    def take_joining(self) -> list[Input]:
        """Take what `take_signals` does, for a task whose other inputs are in the log: it goes before them all the same."""
        joining = self.take_signals()
        if joining:
            joining[-1] = msgspec.structs.replace(joining[-1], flags=joining[-1].flags | MESSAGES_FIRST)
        return joining

    def take_late(self) -> list[Input]:
        """Take what comes too late to change how the run closes: updates, and cancel requests beside them."""
        updates = {position: event for position, event in self.messages.items() if _is_update(event)}
        self.messages = {
            position: event for position, event in self.messages.items() if position not in updates
        }
        late, self.cancels, self.updates = updates | self.cancels, {}, 0
        return self.take(late)

    @property
    def only_late(self) -> bool:
        """Whether updates wait, and no signal that should be read before the run closes."""
        return self.updates > 0 and all(
            isinstance(event, WorkflowExecutionUpdateAccepted | ActivityInputEvent | OperationInput)
            for event in self.messages.values()
        )

    @property
    def has_signals(self) -> bool:
        """Whether messages wait that would join a task which closes the run."""
        return len(self.messages) > self.updates

    def take_cancels(self) -> list[Input]:
        """Take the cancel requests, as inputs of one task."""
        waiting, self.cancels = self.cancels, {}
        return self.take(waiting)

    def take(self, waiting: dict[int, Input]) -> list[Input]:
        """Return the messages that become inputs, in order; all of them are consumed.

        Only now is it certain what the log holds: nothing is in flight. A message that was sent again while the commit
        of its first copy was on its way waits here under another position, and is dropped.
        """
        taken: list[Input] = []
        seen: set[str] = set()
        positions = sorted(waiting)
        self.consumed = [*self.consumed, *positions]
        for position in positions:
            event = waiting[position]
            if isinstance(event, ActivityInputEvent):
                stale = event.id not in self._state.activities
                if stale:
                    self.resulted.pop(event.id, None)
            else:
                stale = isinstance(event, OperationInput) and not self._state.awaits(event)
            if not stale and event.message not in self._state.messages and event.message not in seen:
                seen.add(event.message)
                taken.append(event)
        return taken

    def _due_timers(self, now: int) -> list[Input]:
        """The timers of the earliest instant, if it has come."""
        due = self.next_timer()
        if due is None or due > now:
            return []
        fired: list[int] = []
        while self.next_timer() == due:
            fired.append(heappop(self._heap)[1])
        for id in fired:
            heappush(self._heap, (due, id))
        return [TimerFired(id=id) for id in sorted(fired)]

    def put_back(
        self, results: dict[int, ActivityInputEvent], messages: dict[int, Input], cancels: dict[int, Input]
    ) -> None:
        """Take back what was taken for a task that did not come about, before what has come since."""
        self.results = results | self.results
        self.messages = messages | self.messages
        self.cancels = cancels | self.cancels
        self.updates = sum(map(_is_update, self.messages.values()))

    def forget(self, positions: Sequence[int]) -> None:
        """Take the news that messages are deleted."""
        for position in positions:
            self._known.pop(position, None)


def _is_update(event: Input) -> bool:
    return isinstance(event, WorkflowExecutionUpdateAccepted)
