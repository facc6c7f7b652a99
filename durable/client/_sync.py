"""For programs without an event loop: starts and messages in transactions that they have open anyway."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Coroutine, Mapping, Sequence
from typing import Any, TypeVar, TypeVarTuple, Unpack, cast, overload

from durable._internal.at_once import at_once
from durable.client._client import Client
from durable.client._start_options import StartOptions, TemporalStartOptions
from durable.client._updates import WorkflowUpdateStage
from durable.converter import DataConverter, default
from durable.interceptor.client import Interceptor
from durable.store import Nowhere, Store
from durable.workflow._calls import SignalCall, UpdateCall, WorkflowCall

T = TypeVar("T")
Ts = TypeVarTuple("Ts")


class SyncClient:
    """Starts workflows and sends them messages in transactions of a program that has no event loop.

    It has no connection of its own: everything is part of the transaction that is open on the `connection=` it is given,
    and is there once that is committed. What `Client` says of each method holds. It can be made where the program begins,
    and used from any thread.

    Args:
        namespace: The schema that keeps the workflows on PostgreSQL; on SQLite a file is a namespace.
        identity: How people find this process in events; process and host by default.
        data_converter: How values are stored; all who share a database share it. Its codec must not wait for anything.
        interceptors: What stands around its calls; they must not wait for anything either.
    """

    def __init__(
        self,
        *,
        namespace: str = "durable",
        identity: str | None = None,
        data_converter: DataConverter | None = None,
        interceptors: Sequence[Interceptor] = (),
    ) -> None:
        self._client = Client(
            cast(Store, Nowhere(namespace)),
            namespace=namespace,
            identity=identity or f"{os.getpid()}@{socket.gethostname()}",
            data_converter=data_converter or default(),
            interceptors=interceptors,
        )

    @overload
    def start_workflow(
        self, call: WorkflowCall[Any, Any], /, **options: Unpack[StartOptions]
    ) -> SyncWorkflowHandle: ...
    @overload
    def start_workflow(
        self,
        workflow: Callable[[*Ts], WorkflowCall[Any, Any]],
        /,
        *args: *Ts,
        **options: Unpack[StartOptions],
    ) -> SyncWorkflowHandle: ...
    @overload
    def start_workflow(
        self, workflow: str, /, *values: Any, **options: Unpack[TemporalStartOptions]
    ) -> SyncWorkflowHandle: ...
    def start_workflow(self, workflow: Any, /, *values: object, **options: Any) -> SyncWorkflowHandle:
        """Start a workflow in the transaction on `connection`; see `Client.start_workflow`.

        Args:
            workflow: As for `Client.start_workflow`.
            values: As there.
            options: See `StartOptions`, of which `connection` must be given.

        Raises:
            UnfitConnectionError: The connection has no open transaction, or leads to no tables of this library.
            Exception: As `Client.start_workflow`, and what the connection's driver raises.
        """
        _given(options.get("connection"))
        start: Any = self._client.start_workflow
        handle = _finish(start(workflow, *values, **options))
        return SyncWorkflowHandle(self._client, handle.id, handle.result_run_id)

    def get_workflow_handle(self, workflow_id: str, *, run_id: str | None = None) -> SyncWorkflowHandle:
        """Return a handle of a workflow by id, whether it exists or not."""
        return SyncWorkflowHandle(self._client, workflow_id, run_id=run_id)


class SyncWorkflowHandle:
    """One workflow, by id, to be sent messages in transactions of the caller.

    Attributes:
        id: The workflow's id.
        run_id: The run that messages are for; None for whichever is open.
        result_run_id: The run that was started, or was there, when this handle comes from a start.
    """

    def __init__(
        self, client: Client, id: str, result_run_id: str | None = None, *, run_id: str | None = None
    ) -> None:
        self.id = id
        self.run_id = run_id
        self.result_run_id = result_run_id
        self._handle: Any = client.get_workflow_handle(id, run_id=run_id)

    def signal(
        self,
        signal: SignalCall[Any] | str | Callable[..., Any],
        /,
        *values: Any,
        connection: object,
        **more: Any,
    ) -> None:
        """Send a signal in the caller's transaction; see `WorkflowHandle.signal`.

        Raises:
            Exception: As `WorkflowHandle.signal`, and what the connection's driver raises.
        """
        _finish(self._handle.signal(signal, *values, **more, connection=_given(connection)))

    def cancel(self, reason: str = "", *, connection: object, request_id: str | None = None) -> None:
        """Ask the workflow to cancel itself, in the caller's transaction; see `WorkflowHandle.cancel`.

        Raises:
            Exception: As `WorkflowHandle.cancel`, and what the connection's driver raises.
        """
        _finish(self._handle.cancel(reason, request_id=request_id, connection=_given(connection)))

    def start_update(
        self,
        update: UpdateCall[Any, Any] | str | Callable[..., Any],
        /,
        *values: Any,
        connection: object,
        **more: Any,
    ) -> str:
        """Send an update in the caller's transaction, and return its id; see `WorkflowHandle.start_update`.

        Raises:
            Exception: As `WorkflowHandle.start_update`, and what the connection's driver raises.
        """
        options: Mapping[str, Any] = {"wait_for_stage": WorkflowUpdateStage.ADMITTED} | more
        sent = _finish(self._handle.start_update(update, *values, **options, connection=_given(connection)))
        found: str = sent.id
        return found


def _given(connection: object) -> object:
    if connection is None:
        raise TypeError("connection must be the one on which your transaction is open; None is none")
    return connection


def _finish(call: Coroutine[Any, Any, T]) -> T:
    return at_once(
        call,
        "a SyncClient cannot wait: the connection (or a codec, or an interceptor) is an asynchronous one; use a Client with it",
    )
