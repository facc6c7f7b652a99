"""What Temporal's Python SDK has and this library has not: the error that names the alternative.

`tests/temporal/gaps.py` is the whole list, with the status of each; here is what a program that was written for Temporal
meets first.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterable
from fnmatch import fnmatchcase
from typing import Any, TypeVar

T = TypeVar("T")

_SUPERSEDED = "it is superseded by worker deployment versioning, in Temporal as well"
_NO_SERVER = "there is no server behind a client, but a database: Client.connect(url)"
_NO_SANDBOX = (
    "there is no sandbox, and modules need not be passed through; workflow code is watched while it runs, see "
    "Worker(guard=...)"
)
_BATCHES = "one look at the database brings a batch; see Worker(poll_interval=...)"
_PLUGINS = (
    "pass what it brings to Client.connect and Worker: interceptors, a data converter, workflows, activities"
)

NAMES: dict[str, str] = {
    "*nexus*": "Nexus joins namespaces of a server; call a child workflow, or call an activity that has a Client of the "
    "other database",
    "*buildid*": _SUPERSEDED,
    "*reachability*": _SUPERSEDED,
    "versioningintent": _SUPERSEDED,
    "cloudoperationsclient": _NO_SERVER,
    "serviceclient": _NO_SERVER,
    "grpccompression": _NO_SERVER,
    "*rpcerror": "the errors of a database are StoreError and what is below it, in durable.exceptions",
    "rpcstatuscode": "the errors of a database are StoreError and what is below it, in durable.exceptions",
    "servererror": "the errors of a database are StoreError and what is below it, in durable.exceptions",
    "temporalerror": "its name is DurableError",
    "*workflowrunner": _NO_SANDBOX,
    "workflowinstance*": _NO_SANDBOX,
    "sandbox*": _NO_SANDBOX,
    "extern_functions": _NO_SANDBOX,
    "*poller*": _BATCHES,
    "searchattributes": "search attributes are typed: TypedSearchAttributes in durable.common",
    "searchattributevalues": "search attributes are typed: TypedSearchAttributes in durable.common",
    "signal_with_start_workflow": "call an activity that uses client.start_workflow(..., start_signal=...)",
    "*_activity_class": "an activity is a function or a method: pass that, or call it",
    "*plugin": _PLUGINS,
    "datacodec": "it is PayloadCodec in durable.converter",
    "unfinished*handlerswarning": "the worker logs what is unfinished; see workflow.HandlerUnfinishedPolicy",
    "*proto*": "protobuf is no dependency; an EncodingPayloadConverter of your own can add it",
}
"""Patterns of names, in lower case, and what to use instead."""

OPTIONS: dict[str, str] = {
    "rpc_timeout": "there is no server to answer in time: use asyncio.timeout() around the call",
    "rpc_metadata": "there is no server that would read it; an interceptor can put headers on what is sent",
    "request_eager_start": "a start beside a worker of its queue is eager by itself",
    "callbacks": NAMES["*nexus*"],
    "links": NAMES["*nexus*"],
    "stack_level": "it is for warnings about deprecated options, of which there are none",
    "versioning_intent": _SUPERSEDED,
    "target_host": "pass the database's URL first: Client.connect(url)",
    "tls": "settings of TLS are part of the database's URL, for example ?sslmode=verify-full",
    "api_key": "the database's URL says who connects",
    "retry_config": "a database that is away is asked again by itself",
    "keep_alive_config": _NO_SERVER,
    "http_connect_proxy_config": _NO_SERVER,
    "dns_load_balancing_config": _NO_SERVER,
    "grpc_compression": _NO_SERVER,
    "lazy": "a client is connected where it is awaited or entered: keep the object that Client.connect() returns until then",
    "runtime": "there is no other runtime than Python's; its metrics are in durable.telemetry, see docs/telemetry.md",
    "plugins": _PLUGINS,
    "header_codec_behavior": "headers are encoded by the payload codec, as all other payloads are",
    "payload_limits": "the limits of sizes are fixed; see docs/values.md",
    "skip_archival": "there is no archive: what is in the database is all there is",
    "connection": "this cannot be part of a transaction of yours; starts, signals, cancel requests and updates can that "
    "are for one workflow, named by its id",
    "untyped_search_attributes": "search attributes are typed: search_attributes=TypedSearchAttributes([...])",
}
"""Options that a call has not, of Temporal's or of other calls here, and what to do instead."""


def why_left_out(name: str) -> str:
    """Return what to use instead of one of Temporal's names; "" if it is none of those that are left out."""
    low = name.lower()
    return next((text for pattern, text in NAMES.items() if fnmatchcase(low, pattern)), "")


def no_attribute(module: str, name: str) -> AttributeError:
    """Return the error for a name that a module has not."""
    why = "" if name.startswith("_") else why_left_out(name)
    return AttributeError(f"module {module!r} has no attribute {name!r}" + (f": {why}" if why else ""))


def why_no_option(name: str) -> str:
    """Return what to do instead of giving one of Temporal's options, behind a colon; "" if it is none of them."""
    return f": {why}" if (why := OPTIONS.get(name)) else ""


def explains_options(cls: type[T]) -> type[T]:
    """Let the public methods of a class and of its bases say what to do instead of giving one of Temporal's options.

    Nothing changes for calls that fit: they are made as they would be, and only what refuses an argument is looked at.
    """
    for name in dir(cls):
        method = getattr(cls, name)
        if not name.startswith("_") and inspect.isfunction(method):
            setattr(cls, name, _explaining(method))
    return cls


def _explaining(method: Callable[..., Any]) -> Callable[..., Any]:
    def explain(options: Iterable[str]) -> None:
        taken = inspect.signature(method).parameters
        refuse_options(
            (name for name in options if name not in taken and name in OPTIONS), method.__qualname__
        )

    if inspect.iscoroutinefunction(method):

        @functools.wraps(method)
        async def awaited(*args: Any, **options: Any) -> Any:
            try:
                coroutine = method(*args, **options)
            except TypeError:
                explain(options)
                raise
            return await coroutine

        return awaited

    @functools.wraps(method)
    def called(*args: Any, **options: Any) -> Any:
        try:
            return method(*args, **options)
        except TypeError:
            explain(options)
            raise

    return called


def refuse_options(names: Iterable[str], caller: str) -> None:
    """Refuse options that a call does not have.

    Raises:
        TypeError: There is one; the text says what to do instead, if it is one of Temporal's.
    """
    for name in names:
        raise TypeError(f"{caller} has no option {name!r}{why_no_option(name)}")
