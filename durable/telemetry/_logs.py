"""Log records as lines of JSON, with what is known of the run and the attempt they are from."""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, cast

__all__ = ["LOG_FIELDS", "JsonFormatter", "fields_of"]

LOG_FIELDS: Mapping[str, str] = {
    "time": "when, in ISO 8601 and UTC",
    "level": "the level's name",
    "logger": "the logger's name",
    "message": "what was said, without a tail",
    "exception": "the traceback, if there is one",
    "namespace": "the namespace",
    "workflow_id": "the workflow's id",
    "run_id": "the run's id",
    "workflow_type": "the workflow's type",
    "event_id": "how many events the history had when the workflow's code said it",
    "activity_id": "the activity's id",
    "activity_type": "the activity's type",
    "attempt": "the number of the attempt, of an activity or of the workflow",
    "task_queue": "the task queue",
    "worker_id": "the worker, as `durable worker list` shows it",
    "trace_id": "the trace that the record belongs to",
    "span_id": "the span in which it was said",
}
"""The fields of a line, and what each says. Those that nothing is known of are left out; what a record has in `extra` besides
is under `extra`."""

_PLAIN = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}
_OWN = ("durable", "durable_workflow", "durable_activity")


class JsonFormatter(logging.Formatter):
    """Makes one line of JSON of each record, with the fields of `LOG_FIELDS`.

    Control characters, line ends included, are escaped, so that no message can pretend to be another record, and none
    plays with a terminal. What JSON has no way of saying is written as `str` does.

        handler = logging.StreamHandler()
        handler.setFormatter(JsonFormatter())
        logging.basicConfig(level=logging.INFO, handlers=[handler])
    """

    def __init__(self, *, extra: bool = True) -> None:
        """Prepare.

        Args:
            extra: Whether other attributes of a record, from `extra=`, are written.
        """
        super().__init__()
        self._extra = extra

    def format(self, record: logging.LogRecord) -> str:
        """Return the line."""
        line: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="microseconds"),
            "level": record.levelname,
            "logger": record.name,
            "message": _message(record),
        }
        line |= fields_of(record)
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        elif record.exc_text:
            line["exception"] = record.exc_text
        if record.stack_info:
            line["stack"] = record.stack_info
        if self._extra:
            others = {
                name: value for name, value in vars(record).items() if name not in _PLAIN and name not in _OWN
            }
            if others:
                line["extra"] = others
        return _DELETE.join(json.dumps(line, default=_shown).split("\x7f"))


_DELETE = "\\u007f"
"""The one control character that JSON lets stand."""


def fields_of(record: logging.LogRecord) -> dict[str, Any]:
    """Return what is known of the run, the attempt and the trace that a record is from, by the names of `LOG_FIELDS`."""
    found: dict[str, Any] = {}
    about = getattr(record, "durable", None)
    if isinstance(about, Mapping):
        facts = cast("Mapping[str, Any]", about)
        found = {name: facts[name] for name in LOG_FIELDS if facts.get(name) is not None}
    # Whoever has spans has imported this; it is not imported for a log.
    trace: Any = sys.modules.get("opentelemetry.trace")
    if trace is not None and (span := trace.get_current_span().get_span_context()).is_valid:
        found["trace_id"] = trace.format_trace_id(span.trace_id)
        found["span_id"] = trace.format_span_id(span.span_id)
    return found


def _message(record: logging.LogRecord) -> str:
    try:
        text = record.getMessage()
    except Exception as error:
        # A wrong format string must not cost the record.
        text = f"{record.msg!r} with {record.args!r}: {error}"
    about = getattr(record, "durable", None)
    tail = cast("Mapping[str, Any]", about).get("tail", "") if isinstance(about, Mapping) else ""
    return text.removesuffix(f" {tail}") if tail else text


def _shown(value: object) -> str:
    try:
        return str(value)
    except Exception as error:
        return f"<{type(value).__name__}, which cannot be shown: {type(error).__name__}>"
