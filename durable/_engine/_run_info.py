"""What lists and descriptions show of a run beside its row, and how a step changes that."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from durable._engine._state import RunState
from durable._engine.records import Upsert
from durable._engine.versioning import BEHAVIORS, Stamp, pinned_to
from durable._search_attributes import MAX_VALUE
from durable.common import SearchAttributeKey, SearchAttributePair, TypedSearchAttributes
from durable.history import (
    EventData,
    MarkerRecorded,
    Payload,
    UpsertWorkflowSearchAttributes,
    WorkflowExecutionStarted,
    WorkflowPropertiesModified,
    WorkflowTaskCompleted,
    modified_memo,
)
from durable.history._search_attributes import encode_search_attributes, merge_search_attributes

UPSERTS = (
    UpsertWorkflowSearchAttributes,
    WorkflowPropertiesModified,
    WorkflowTaskCompleted,
    MarkerRecorded,
)
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
    commands = list(commands)
    memo, attributes, changes = after(state, commands)
    patches, builds, stamp = state.patches, state.builds, None
    for command in commands:
        if isinstance(command, MarkerRecorded):
            patches += (command.patch_id,)
        elif isinstance(command, WorkflowTaskCompleted):
            builds += (command.worker_deployment_version,)
            stamp = Stamp(
                command.worker_deployment_version,
                BEHAVIORS.index(command.versioning_behavior),
                pinned_to(state.override, command),
            )
    found = noted(patches, builds)
    if len(patches) > len(state.patches):
        changes[CHANGES] = found[CHANGES]
    if len(builds) > len(state.builds) and BUILDS in found:
        changes[BUILDS] = found[BUILDS]
    return Upsert(changes, _info(state.started, memo, attributes | found), stamp)


CHANGES, BUILDS = "TemporalChangeVersion", "BuildIds"


def noted(patches: Iterable[str], builds: Iterable[str]) -> dict[str, Payload]:
    """Return the search attributes that say which patches a run has, and which builds of its workers it has seen."""
    values = {
        CHANGES: _fitting(patches),
        BUILDS: _fitting(f"versioned:{one.partition(':')[2]}" for one in builds if one),
    }
    return encode_search_attributes(
        TypedSearchAttributes(
            [
                SearchAttributePair(SearchAttributeKey.for_keyword_list(name), value)
                for name, value in values.items()
                if value
            ]
        ),
        reserved=True,
    )


def _fitting(values: Iterable[str]) -> list[str]:
    """The first of these values that fit into one attribute together, each once; a run is not to fail over the rest."""
    found: list[str] = []
    size = 0
    for value in dict.fromkeys(values):
        size += len(value.encode())
        if size > MAX_VALUE:
            break
        found.append(value)
    return found
