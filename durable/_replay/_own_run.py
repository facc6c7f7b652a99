"""What a run's code reads and says about its own run: a part of `Instance`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from durable._metering import MetricMeter
from durable._replay._commands import Commands
from durable._replay._continue import LastRun, continued
from durable._replay._facts import info_of
from durable._replay._found import Found
from durable.common import SearchAttributeUpdate
from durable.converter import DataConverter, PayloadConverter
from durable.exceptions import ReadOnlyContextError
from durable.history import CommandEvent, WorkflowExecutionStarted
from durable.workflow._continue import Continuation
from durable.workflow._definition import WorkflowDefinition
from durable.workflow._info import Info


class Surroundings(Protocol):
    """The worker that runs the code."""

    worker_id: str
    meter: MetricMeter


class OwnRun:
    """See the module; all that it knows is the instance's.

    Attributes:
        surroundings: Where the code runs; not set where that is no worker.
    """

    __slots__ = ("_created_at", "_details", "_found", "_info", "surroundings")

    surroundings: Surroundings

    run_id: str
    namespace: str
    definition: WorkflowDefinition
    _cancel_reason: str | None
    _commands: Commands
    _converter: DataConverter
    _created_at: int
    _details: str
    _found: Found
    _info: Info | None
    _length: int
    _origin: int | None
    _size: int
    _started: WorkflowExecutionStarted
    _target_changed: bool
    version: str

    def info(self) -> Info:
        """See `Runtime.info`."""
        if self._info is None:
            assert self._origin is not None
            times = self._created_at, self._origin
            self._info = info_of(
                self._started,
                self._found,
                self.run_id,
                self.namespace,
                times,
                lambda: (self._length, self._size),
                lambda: (self.version, self._target_changed),
            )
        return self._info

    def metric_meter(self) -> MetricMeter:
        """See `Runtime.metric_meter`."""
        where: Surroundings | None = getattr(self, "surroundings", None)
        if where is None:
            return MetricMeter.noop
        about = self.info()
        meter = where.meter.with_additional_attributes({"workflow_type": about.workflow_type})
        return meter.while_(lambda: not self.is_replaying())

    def worker_id(self) -> str:
        """See `Runtime.worker_id`."""
        where: Surroundings | None = getattr(self, "surroundings", None)
        return "" if where is None else where.worker_id

    def is_replaying(self) -> bool:
        """See `Runtime.is_replaying`."""
        raise NotImplementedError

    def set_current_details(self, details: str) -> None:
        """See `Runtime.set_current_details`."""
        if self._commands.read_only:
            raise ReadOnlyContextError("a query must not change the workflow's details")
        self._details = details

    def current_details(self) -> str:
        """See `Runtime.current_details`."""
        return self._details

    def memo(self) -> Mapping[str, Any]:
        """See `Runtime.memo`."""
        convert = self._converter.from_payload
        return {key: convert(value, path=f"memo {key}") for key, value in self._found.memo.items()}

    def memo_value(self, key: str, type_hint: Any) -> Any:
        """See `Runtime.memo_value`."""
        return self._converter.from_payload(self._found.memo[key], type_hint, path=f"memo {key}")

    def upsert_memo(self, updates: Mapping[str, Any]) -> None:
        """See `Runtime.upsert_memo`."""
        self._commands.issue_new(lambda id: self._found.modify(id, updates, self._converter))
        self._info = None

    def upsert_search_attributes(self, updates: Sequence[SearchAttributeUpdate[Any]]) -> None:
        """See `Runtime.upsert_search_attributes`."""
        self._commands.issue_new(lambda id: self._found.upsert(id, updates))
        self._info = None

    def last_run(self) -> LastRun:
        """See `Runtime.last_run`."""
        return LastRun(self._started, self._converter)

    def payload_converter(self) -> PayloadConverter:
        """See `Runtime.payload_converter`."""
        return self._converter.payload_converter

    def continue_as_new(self, said: Continuation) -> CommandEvent:
        """See `Runtime.continue_as_new`."""
        if self._commands.read_only:
            raise ReadOnlyContextError("a query must not change the workflow: it cannot continue as new")
        return continued(said, self.definition, self._converter)

    def cancellation_reason(self) -> str | None:
        """See `Runtime.cancellation_reason`."""
        return self._cancel_reason
