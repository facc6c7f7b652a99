"""What lists and descriptions show of a run beside its row, and how a step changes that."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from durable._engine._state import RunState
from durable._engine.records import Upsert
from durable.history import (
    EventData,
    Payload,
    UpsertWorkflowSearchAttributes,
    WorkflowExecutionStarted,
    WorkflowPropertiesModified,
    modified_memo,
)
from durable.history._search_attributes import merge_search_attributes

UPSERTS = (UpsertWorkflowSearchAttributes, WorkflowPropertiesModified)
"""Commands that change what a run is found by, or what is shown of it."""


class RunInfo(msgspec.Struct, frozen=True, gc=False, omit_defaults=True):
    """See the module. Search attributes are here too, as they were set; the rows they are found by are made of them."""

    memo: dict[str, Payload] = {}
    search_attributes: dict[str, Payload] = {}
    static_summary: str = ""
    static_details: str = ""


NOTHING = b"{}"
"""The information about a run of which there is none."""

_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(RunInfo).decode


def info_of(started: WorkflowExecutionStarted) -> bytes:
    """Return what is to be shown of a run that begins."""
    if not (started.memo or started.search_attributes or started.static_summary or started.static_details):
        return NOTHING
    return _info(started, started.memo, started.search_attributes)


def _info(
    started: WorkflowExecutionStarted, memo: dict[str, Payload], attributes: dict[str, Payload]
) -> bytes:
    return _encode(RunInfo(memo, attributes, started.static_summary, started.static_details))


def decode_info(data: bytes) -> RunInfo:
    """Return what was written of a run; of what another release wrote, as much as this one knows."""
    try:
        return _decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return RunInfo()


def changes_what_is_found(commands: Iterable[EventData]) -> bool:
    """Whether one of these commands is an upsert."""
    return any(isinstance(command, UPSERTS) for command in commands)


def after(
    state: RunState, commands: Iterable[EventData]
) -> tuple[dict[str, Payload], dict[str, Payload], dict[str, Payload]]:
    """Return a run's memo and search attributes behind these commands, and the changes of the latter."""
    changes: dict[str, Payload] = {}
    memo, attributes = state.memo, state.search_attributes
    for command in commands:
        if isinstance(command, UpsertWorkflowSearchAttributes):
            changes.update(command.search_attributes)
            attributes = merge_search_attributes(attributes, command.search_attributes)
        elif isinstance(command, WorkflowPropertiesModified):
            memo = modified_memo(memo, command)
    return memo, attributes, changes


def upsert_of(state: RunState, commands: Iterable[EventData]) -> Upsert:
    """Return what the upserts among these commands, of a transition to be written, change."""
    memo, attributes, changes = after(state, commands)
    return Upsert(changes, _info(state.started, memo, attributes))
