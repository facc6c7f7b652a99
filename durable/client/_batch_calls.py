"""What a client does to all workflows that a filter finds."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Literal, TypedDict, TypeVar, TypeVarTuple, Unpack, overload

from durable._engine._reset import Excluded
from durable._internal.ids import check_flag, check_note, derived_uuid
from durable._internal.left_out import why_no_option
from durable._internal.shown import shown
from durable.client._batches import Asked, BatchProgress, Handle, Operation, Which, carry_out
from durable.client._calls import signal_of
from durable.client._connection import Connection
from durable.client._reset import TO
from durable.converter._checked import to_checked_payloads
from durable.interceptor.client import CancelWorkflowInput, SignalWorkflowInput, TerminateWorkflowInput
from durable.store import Hold, Operated
from durable.workflow._calls import SignalCall

W = TypeVar("W")
Ts = TypeVarTuple("Ts")


class BatchOptions(TypedDict, total=False):
    """How an operation is done to many workflows."""

    batch_id: str | None
    """What the batch is known by; a fresh id when None. Asked for again with it, after a crash or a cancellation, the batch
    goes on where it was, and nothing is done twice."""
    dry_run: bool
    """Whether the workflows are counted only."""
    per_second: float | None
    """How many are dealt with in a second at most; as many as the database takes when None."""
    on_progress: Callable[[BatchProgress], object] | None
    """Called now and then with how far it is."""


class ClientBatches:
    """The part of a client that is about many workflows at once; see `Client`.

    All of these work alike: what the filter finds is listed first, in the database, and then dealt with one by one, as by its
    handle. A workflow that closes before its turn is skipped; one that goes on as another run is followed. Cancelled, a batch
    stops where it is. `docs/operations/workflows.md` has the rest.
    """

    _connection: Connection

    async def cancel_workflows(
        self, query: str, *, reason: str = "", **options: Unpack[BatchOptions]
    ) -> BatchProgress:
        """Ask all open workflows that a filter finds to cancel themselves, each once, and return how many were asked.

        Args:
            query: The filter, as for `list_workflows`, without ORDER BY. It finds open workflows only.
            reason: Why, for people and for the workflows' code.
            options: See `BatchOptions`.

        Raises:
            FilterError: It is no filter; the text names the place.
            ValueError: It is empty, an option is out of range, or the batch id is another batch's.
            TypeError: There is no such option.
            StoreUnavailableError: The database is away. Asked again, with its batch id, it goes on.
        """

        async def act(handle: Handle, batch_id: str) -> bool:
            await self._connection.outbound.cancel_workflow(
                CancelWorkflowInput(handle.id, handle.run_id, None, reason, _request(batch_id))
            )
            return True

        return await self._batch("cancel_workflows", Which.OPEN, act, query, options, reason)

    async def terminate_workflows(
        self, query: str, /, *args: Any, reason: str = "", **options: Unpack[BatchOptions]
    ) -> BatchProgress:
        """End all open workflows that a filter finds, at once and without asking their code.

        Args:
            query: As for `cancel_workflows`.
            args: Details, for whoever waits for the results.
            reason: Why, for people.
            options: See `BatchOptions`.

        Raises:
            Exception: As `cancel_workflows`; and `ConversionError`: the details cannot be stored.
        """
        details = self._connection.converter.to_payloads(args, path="details")

        async def act(handle: Handle, batch_id: str) -> bool:
            await self._connection.outbound.terminate_workflow(
                TerminateWorkflowInput(handle.id, handle.run_id, None, args, reason, batch_id)
            )
            return True

        return await self._batch("terminate_workflows", Which.OPEN, act, query, options, reason, *details)

    @overload
    async def signal_workflows(
        self, query: str, call: SignalCall[Any], /, **options: Unpack[BatchOptions]
    ) -> BatchProgress: ...
    @overload
    async def signal_workflows(
        self,
        query: str,
        signal: Callable[[*Ts], SignalCall[Any]],
        /,
        *values: *Ts,
        **options: Unpack[BatchOptions],
    ) -> BatchProgress: ...
    @overload
    async def signal_workflows(
        self,
        query: str,
        signal: str | Callable[..., SignalCall[Any]],
        /,
        *values: Any,
        args: Sequence[Any] = ...,
        **options: Unpack[BatchOptions],
    ) -> BatchProgress: ...
    async def signal_workflows(
        self,
        query: str,
        signal: Any,
        /,
        *values: object,
        args: Sequence[Any] = (),
        **options: Unpack[BatchOptions],
    ) -> BatchProgress:
        """Send a signal to all open workflows that a filter finds; each of them takes it exactly once.

        Args:
            query: As for `cancel_workflows`.
            signal: As for `WorkflowHandle.signal`, and so are `values` and `args`.
            values: See `signal`.
            args: See `signal`.
            options: See `BatchOptions`.

        Raises:
            Exception: As `cancel_workflows`; and `ConversionError`: an argument cannot be stored.
        """
        name, arguments, types = signal_of(signal, values, args)
        payloads = to_checked_payloads(self._connection.converter, arguments, types, f"signal {name}")

        async def act(handle: Handle, batch_id: str) -> bool:
            await self._connection.outbound.signal_workflow(
                SignalWorkflowInput(handle.id, handle.run_id, name, arguments, {}, types, _request(batch_id))
            )
            return True

        return await self._batch("signal_workflows", Which.OPEN, act, query, options, "", name, *payloads)

    async def reset_workflows(
        self,
        query: str,
        *,
        to: Literal["first_task", "last_good_task"],
        reason: str = "",
        exclude_signals: bool = False,
        exclude_updates: bool = False,
        **options: Unpack[BatchOptions],
    ) -> BatchProgress:
        """Let all workflows that a filter finds go on from an earlier point, as other runs; closed ones too.

        Args:
            query: As for `cancel_workflows`, but it finds closed ones too: of each workflow the newest run that it finds
                is gone back in. What these resets begin is not found by them.
            to: See `WorkflowHandle.reset`, as for what follows.
            reason: Why, for people.
            exclude_signals: Whether signals from behind the point are left out.
            exclude_updates: Whether updates are.
            options: See `BatchOptions`.

        Raises:
            Exception: As `cancel_workflows`.
        """
        if not isinstance(to, str) or to not in TO:
            raise ValueError(f"to must be one of {', '.join(map(repr, TO))}, not {shown(to)}")
        excluded = Excluded(
            check_flag(exclude_signals, "exclude_signals"), check_flag(exclude_updates, "exclude_updates")
        )

        async def act(handle: Handle, batch_id: str) -> bool:
            await handle._reset(None, to, reason, excluded, _request(batch_id), batch_id)
            return True

        told = (to, exclude_signals, exclude_updates)
        return await self._batch("reset_workflows", Which.ALL, act, query, options, reason, *told)

    async def delete_workflows(
        self, query: str, *, reason: str = "", **options: Unpack[BatchOptions]
    ) -> BatchProgress:
        """Remove all closed runs that a filter finds, for good.

        Args:
            query: As for `cancel_workflows`, but it finds closed runs only.
            reason: Why, for people.
            options: See `BatchOptions`.

        Raises:
            Exception: As `cancel_workflows`.
        """

        async def act(handle: Handle, batch_id: str) -> bool:
            await handle._delete(reason, batch_id)
            return True

        return await self._batch("delete_workflows", Which.CLOSED, act, query, options, reason)

    async def pause_workflows(
        self, query: str, *, reason: str = "", **options: Unpack[BatchOptions]
    ) -> BatchProgress:
        """Stop all open workflows that a filter finds where they are; see `WorkflowHandle.pause`.

        Args:
            query: As for `cancel_workflows`.
            reason: Why, for people; `describe` shows it.
            options: See `BatchOptions`.

        Raises:
            Exception: As `cancel_workflows`.
        """

        async def act(handle: Handle, batch_id: str) -> bool:
            return await handle._pause(reason, batch_id) is Operated.CHANGED

        return await self._batch("pause_workflows", Which.OPEN, act, query, options, reason)

    async def unpause_workflows(
        self, query: str, *, reason: str = "", **options: Unpack[BatchOptions]
    ) -> BatchProgress:
        """Let all paused workflows that a filter finds go on; the others are skipped.

        Args:
            query: As for `cancel_workflows`.
            reason: Why, for people.
            options: See `BatchOptions`.

        Raises:
            Exception: As `cancel_workflows`.
        """
        return await self._free("unpause", (Hold.PAUSED,), query, reason, options)

    async def unblock_workflows(
        self, query: str, *, reason: str = "", **options: Unpack[BatchOptions]
    ) -> BatchProgress:
        """Let all blocked or quarantined workflows that a filter finds be tried again at once; the others are skipped.

        Args:
            query: As for `cancel_workflows`.
            reason: Why, for people.
            options: See `BatchOptions`.

        Raises:
            Exception: As `cancel_workflows`.
        """
        return await self._free("unblock", (Hold.BLOCKED, Hold.QUARANTINED), query, reason, options)

    async def _free(
        self, operation: str, holds: tuple[Hold, ...], query: str, reason: str, options: BatchOptions
    ) -> BatchProgress:
        async def act(handle: Handle, batch_id: str) -> bool:
            return await handle._free(operation, reason, *holds, batch_id=batch_id) is Operated.CHANGED

        return await self._batch(f"{operation}_workflows", Which.OPEN, act, query, options, reason)

    async def _batch(
        self,
        name: str,
        which: Which,
        act: Any,
        query: str,
        options: BatchOptions,
        reason: str,
        *told: Any,
    ) -> BatchProgress:
        check_note(reason, "reason")
        for option in options:
            if option not in BatchOptions.__annotations__:
                there = ", ".join(sorted(BatchOptions.__annotations__))
                raise TypeError(f"{name} has no option {option!r}{why_no_option(option)}; there are {there}")
        asked = Asked(
            query,
            options.get("batch_id"),
            options.get("dry_run", False),
            options.get("per_second"),
            options.get("on_progress"),
        )
        return await carry_out(self._connection, Operation(name, which, act, reason, told), asked)


def _request(batch_id: str) -> str:
    """What makes asking one run for the same batch again harmless."""
    return derived_uuid("durable batch", batch_id)
