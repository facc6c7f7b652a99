"""What Temporal has and this library has not says so where a program meets it, and names the alternative."""

from __future__ import annotations

import importlib

import pytest

from durable import Client, activity, workflow
from durable._internal.left_out import NAMES, OPTIONS, why_left_out
from tests.temporal.parity import missing, names_of_temporal


@pytest.mark.parametrize(
    ("module", "name", "text"),
    [
        ("workflow", "create_nexus_client", "call a child workflow"),
        ("workflow", "VersioningIntent", "superseded"),
        ("workflow", "extern_functions", "no sandbox"),
        ("client", "CloudOperationsClient", "Client.connect"),
        ("client", "BuildIdOp", "superseded"),
        ("client", "RPCError", "StoreError"),
        ("worker", "SandboxedWorkflowRunner", "no sandbox"),
        ("worker", "PollerBehaviorAutoscaling", "poll_interval"),
        ("common", "SearchAttributes", "TypedSearchAttributes"),
        ("exceptions", "TemporalError", "DurableError"),
        ("exceptions", "NexusOperationError", "call a child workflow"),
        ("converter", "JSONProtoPayloadConverter", "EncodingPayloadConverter"),
    ],
)
def test_a_name_that_is_left_out_says_what_to_use(module: str, name: str, text: str) -> None:
    with pytest.raises(AttributeError, match=f"'durable.{module}' has no attribute '{name}': .*{text}"):
        getattr(importlib.import_module(f"durable.{module}"), name)


@pytest.mark.parametrize(
    "module", ["workflow", "client", "worker", "common", "exceptions", "converter", "activity"]
)
def test_a_name_that_nobody_has_is_what_it_is_everywhere(module: str) -> None:
    with pytest.raises(AttributeError, match=f"^module 'durable.{module}' has no attribute 'nothing'$"):
        _ = importlib.import_module(f"durable.{module}").nothing


def test_patterns_are_for_names_of_temporal_that_are_missing() -> None:
    gone = [name.partition(".")[2] for name in missing() if "(" not in name]
    names = {name.lower() for name in gone if "." not in name} | {
        "rpcerror",
        "rpcstatuscode",
        "datacodec",
        "poller",
    }
    from fnmatch import fnmatchcase

    assert [one for one in NAMES if not any(fnmatchcase(name, one) for name in names)] == [], (
        "nobody meets these"
    )
    there = {name for module in names_of_temporal().values() for name in module} - set(gone)
    assert {name for name in there if why_left_out(name)} <= {"SearchAttributeKey"}, "these are there"


@pytest.mark.parametrize(
    "option", ["tls", "api_key", "rpc_metadata", "plugins", "lazy", "runtime", "payload_limits"]
)
def test_options_of_a_connection(option: str) -> None:
    with pytest.raises(TypeError, match=f"Client.connect has no option '{option}': ..."):
        Client.connect("sqlite://:memory:", **{option: None})  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="Client.connect has no option 'nothing'$"):  # noqa: RUF043
        Client.connect("sqlite://:memory:", nothing=None)  # type: ignore[arg-type]


@activity.defn(name="left_out.a")
async def a() -> None: ...


@workflow.defn(name="left_out.w")
async def w() -> None: ...


async def test_options_of_starts_and_calls(store_url: str) -> None:
    async with Client.connect(store_url) as client:
        for option in ("rpc_timeout", "request_eager_start", "callbacks"):
            with pytest.raises(TypeError, match=f"has no option '{option}': {OPTIONS[option][:20]}"):
                await client.start_workflow(w(), **{option: None})  # type: ignore[call-overload]
    with pytest.raises(TypeError, match="has no option 'versioning_intent': it is superseded"):
        a.options(versioning_intent=None)  # type: ignore[call-arg]
    with pytest.raises(TypeError, match="has no option 'versioning_intent': it is superseded"):
        w.options(versioning_intent=None)  # type: ignore[call-arg]


async def test_options_of_handles(store_url: str) -> None:
    async with Client.connect(store_url) as client:
        handle = client.get_workflow_handle("w")
        for method in (handle.signal, handle.cancel, handle.describe, handle.result):
            with pytest.raises(
                TypeError, match=r"WorkflowHandle\.\w+ has no option 'rpc_timeout': there is no"
            ):
                await method(rpc_timeout=1)  # type: ignore[call-overload]
        with pytest.raises(TypeError, match="has no option 'rpc_metadata': there is no"):
            await client.get_schedule_handle("s").pause(rpc_metadata={})  # type: ignore[call-arg]
        with pytest.raises(TypeError, match="has no option 'skip_archival': there is no"):
            handle.fetch_history_events(skip_archival=True)  # type: ignore[call-arg]
        with pytest.raises(TypeError, match="unexpected keyword argument 'nothing'"):
            await handle.cancel(nothing=1)  # type: ignore[call-arg]
