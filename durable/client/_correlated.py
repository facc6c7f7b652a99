"""Workflows that are told something by a key of the application's, a search attribute, and not by their ids."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Sequence
from datetime import datetime
from functools import partial
from typing import Any, TypeVarTuple, overload

from durable._engine._messages import message
from durable._internal.ids import check_name, check_note
from durable._internal.left_out import explains_options
from durable._search_attributes import SearchAttributeValueType
from durable.client._addressed import requested
from durable.client._attribute_types import check_types
from durable.client._calls import signal_of
from durable.client._connection import Connection
from durable.client._handle import WorkflowHandle
from durable.client._inside import HELD_BACK
from durable.client._listing import types_of
from durable.client._patience import PATIENCE
from durable.common import (
    SearchAttributeIndexedValueType,
    SearchAttributeKey,
    SearchAttributePair,
    TypedSearchAttributes,
)
from durable.converter._checked import to_checked_payloads
from durable.exceptions import AmbiguousWorkflowError, StoreUnavailableError, WorkflowNotFoundError
from durable.history import Input, WorkflowExecutionCancelRequested, WorkflowExecutionSignaled
from durable.history._search_attributes import encode_search_attributes
from durable.interceptor._headers import checked_headers
from durable.interceptor.client import CancelCorrelatedInput, SignalCorrelatedInput
from durable.store import Hint, HintKind, ListedRun, Message
from durable.store._filter import ListQuery, check_list, equal_to, of_workflows, with_status
from durable.workflow._calls import SignalCall

MOST = 1000
"""Workflows that are told at once: in one transaction, which holds all of them."""

Ts = TypeVarTuple("Ts")
Handle = WorkflowHandle[Any, Any]

_T = SearchAttributeIndexedValueType
_SEVERAL = (_T.TEXT, _T.KEYWORD_LIST)


@explains_options
class CorrelatedWorkflows:
    """The open workflows that have a search attribute; `Client.correlated` makes it.

    Attributes:
        key: The attribute.
        value: The value that they have.
    """

    def __init__(
        self,
        connection: Connection,
        key: SearchAttributeKey[SearchAttributeValueType],
        value: SearchAttributeValueType,
    ) -> None:
        if not isinstance(key, SearchAttributeKey):
            raise TypeError(f"key must be a SearchAttributeKey, not {type(key).__name__}")
        if key.indexed_value_type in _SEVERAL:
            raise ValueError(
                f"{key.name} ({key.indexed_value_type.label}) has many values, and is no key; "
                "Client.signal_workflows takes a filter"
            )
        self._connection = connection
        self._attributes = encode_search_attributes(TypedSearchAttributes([SearchAttributePair(key, value)]))
        self.key: SearchAttributeKey[Any] = key
        self.value: Any = value

    def __repr__(self) -> str:
        return f"<CorrelatedWorkflows {self.key.name} = {self.value!r}>"

    @overload
    async def signal(
        self, call: SignalCall[Any], /, *, many: bool = ..., request_id: str | None = ...
    ) -> list[Handle]: ...
    @overload
    async def signal(
        self,
        signal: Callable[[*Ts], SignalCall[Any]],
        /,
        *values: *Ts,
        many: bool = ...,
        request_id: str | None = ...,
    ) -> list[Handle]: ...
    @overload
    async def signal(
        self,
        signal: str | Callable[..., SignalCall[Any]],
        /,
        *values: Any,
        args: Sequence[Any] = ...,
        many: bool = ...,
        request_id: str | None = ...,
    ) -> list[Handle]: ...
    async def signal(
        self,
        signal: Any,
        /,
        *values: object,
        args: Sequence[Any] = (),
        many: bool = False,
        request_id: str | None = None,
    ) -> list[Handle]:
        """Send a signal to the open workflow that has the attribute, and return its handle, in a list.

        Which that is, is looked up in the transaction that stores the signal: it is open then, has the attribute then, and
        is the only one, or nobody gets the signal.

        Args:
            signal: As for `WorkflowHandle.signal`, and so are `values` and `args`.
            values: See `signal`.
            args: See `signal`.
            many: Whether all that have it are meant, up to 1,000. All of them get it or none, in one transaction.
            request_id: What makes sending it again harmless for as long as the workflow is open.

        Raises:
            WorkflowNotFoundError: No open workflow has it.
            AmbiguousWorkflowError: Several have it, and `many` was not said; or more than 1,000.
            ConversionError: An argument cannot be stored.
            ValueError: The attribute has another type in this database.
            StoreUnavailableError: The database is away; the signal may or may not have been stored.
        """
        name, arguments, types = signal_of(signal, values, args)
        found: list[Handle] = await self._connection.outbound.signal_correlated(
            SignalCorrelatedInput(self, name, arguments, {}, types, many, request_id)
        )
        return found

    async def cancel(
        self, reason: str = "", *, many: bool = False, request_id: str | None = None
    ) -> list[Handle]:
        """Ask the open workflow that has the attribute to cancel itself; return its handle, in a list. See `signal`.

        Args:
            reason: Why, for people and for the workflow's code.
            many: Whether all that have it are meant, up to 1,000.
            request_id: What makes asking again harmless for as long as the workflow is open.

        Raises:
            WorkflowNotFoundError: No open workflow has it.
            AmbiguousWorkflowError: Several have it, and `many` was not said; or more than 1,000.
            ValueError: The attribute has another type in this database.
            StoreUnavailableError: The database is away; the request may or may not have been stored.
        """
        found: list[Handle] = await self._connection.outbound.cancel_correlated(
            CancelCorrelatedInput(self, reason, many, request_id)
        )
        return found

    async def _signal(self, input: SignalCorrelatedInput) -> list[Handle]:
        """Send a signal: what `signal` does behind its interceptors."""
        connection, headers = self._connection, checked_headers(input.headers)
        name = check_name(input.signal, "signal")
        sent_as = requested(input.request_id, "signal")

        def signal(run: ListedRun) -> Message:
            payloads = to_checked_payloads(
                connection.converter_for(run.workflow_id), input.args, input.arg_types, f"signal {name}"
            )
            event = WorkflowExecutionSignaled(
                name=name, input=payloads, headers=headers, identity=connection.identity
            )
            return message(run.run_id, sent_as, event)

        return await self._send(sent_as, signal, input.many)

    async def _cancel(self, input: CancelCorrelatedInput) -> list[Handle]:
        """Ask to cancel: what `cancel` does behind its interceptors."""
        sent_as = requested(input.request_id, "cancel")
        event: Input = WorkflowExecutionCancelRequested(
            reason=check_note(input.reason, "reason"), identity=self._connection.identity
        )
        return await self._send(sent_as, lambda run: message(run.run_id, sent_as, event), input.many)

    async def _send(
        self, sent_as: str, message_for: Callable[[ListedRun], Message], many: bool
    ) -> list[Handle]:
        store, patiently = self._connection.store, self._connection.patiently
        query = await self._query()
        until = asyncio.get_running_loop().time() + PATIENCE
        while True:
            runs, _ = await patiently(partial(store.list_runs, query, MOST + 1))
            self._check(runs, many)
            messages = [message_for(run) for run in runs]
            handles = [Handle(self._connection, run.workflow_id, run_id=run.run_id) for run in runs]
            if await patiently(partial(store.send_to_found, query, messages)) or await handles[0]._was_read(
                runs[0].run_id, sent_as
            ):
                store.hint([Hint(HintKind.MESSAGE, run.run_id) for run in runs])
                return handles
            if asyncio.get_running_loop().time() > until:
                raise StoreUnavailableError(
                    f"which workflows have {self._shown} has changed for {PATIENCE:g} s; send it again"
                )
            await asyncio.sleep(random.uniform(0.01, HELD_BACK))

    async def _query(self) -> ListQuery:
        await check_types(self._connection, self._attributes)
        value = self.value.isoformat() if isinstance(self.value, datetime) else self.value
        found = of_workflows(with_status(equal_to(self.key.name, value), running=True))
        return check_list(found, await types_of(self._connection))

    def _check(self, runs: Sequence[ListedRun], many: bool) -> None:
        if not runs:
            raise WorkflowNotFoundError(
                f"no open workflow has {self._shown}; it is found once it has set it, or was started with it",
                workflow_id="",
            )
        if len(runs) > (MOST if many else 1):
            ids = [run.workflow_id for run in runs]
            hint = (
                "say many=True if all are meant" if not many else "Client.signal_workflows takes any number"
            )
            raise AmbiguousWorkflowError(
                f"{len(ids) if len(ids) <= MOST else f'more than {MOST}'} open workflows have {self._shown}, "
                f"among them {', '.join(map(repr, ids[:3]))}; {hint}",
                workflow_ids=ids,
            )

    @property
    def _shown(self) -> str:
        return f"{self.key.name} = {self.value!r}"
