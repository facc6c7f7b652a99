"""Attempts of transactional activities: their function is given a transaction, and their completion commits it.

Such an attempt always has a row, and the row is its fence. A failure undoes the transaction and is told as that of any other
attempt. A commit whose outcome is not known, or that the database could not make, is told as an attempt that came to
nothing: the row refuses that if the commit was made after all, and else the attempt is made again.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, get_origin

from durable._engine._activities import Completed, Failed, Outcome
from durable.activity._activity import Activity
from durable.activity._context import CompleteAsyncError
from durable.converter import DataConverter
from durable.exceptions import ApplicationError, RegistrationError, StoreUnavailableError, TransactionError
from durable.store import ActivityTransaction, Store, TransactionSource
from durable.worker._attempts import Attempt
from durable.worker._reports import Reports

logger = logging.getLogger("durable.worker")

NOT_LOCAL = (
    "a transactional activity cannot be a local one, since its row in the database is what it commits with; use "
    "workflow.execute_activity"
)
NOT_OUTSIDE = (
    "a transactional activity cannot be completed from outside, since its completion commits its transaction; leave out "
    "transactional=True, or return"
)


def sources_of(
    activities: Mapping[str, Activity[..., Any]], store: Store, sources: Sequence[TransactionSource]
) -> dict[str, TransactionSource]:
    """Return who begins the transactions of which activities, as far as that is not the store.

    Raises:
        RegistrationError: A transactional one wants what nobody gives, or what its function cannot use.
    """
    found: dict[str, TransactionSource] = {}
    for name, activity in activities.items():
        definition = activity.definition
        if not definition.transactional:
            continue
        what = f"{definition.parameters.what} ({definition.where})"
        if not store.transaction_types:
            raise RegistrationError(
                f"{what} is transactional, and {store.url} is in memory, where there is one connection and none to lend: "
                "use a file, sqlite:///name.db"
            )
        wanted = definition.parameters.transaction
        kind = get_origin(wanted) or wanted
        if kind is Any or kind in store.transaction_types:
            continue
        source = next((one for one in sources if kind in one.transaction_types), None)
        if source is None:
            known = [
                *store.transaction_types,
                *(one for source in sources for one in source.transaction_types),
            ]
            raise RegistrationError(
                f"{what}: its first parameter is the transaction, in the database of the workflows. On {store.url} that is a "
                f"{' or '.join(map(_shown, known))}, not {_shown(wanted)}; Worker(transactions=[...]) adds others, see "
                "durable.contrib"
            )
        if source.in_thread == definition.is_async:
            right = "a plain `def`" if source.in_thread else "an `async def`"
            raise RegistrationError(f"{what} must be {right} to use a {_shown(kind)}")
        found[name] = source
    return found


def _shown(kind: Any) -> str:
    module, name = getattr(kind, "__module__", ""), getattr(kind, "__qualname__", "")
    return f"{module.partition('.')[0]}.{name}" if module and name else repr(kind)


async def run_within(
    attempt: Attempt,
    call: Callable[[ActivityTransaction], Awaitable[Any]],
    completed: Callable[[Any], Outcome],
    store: Store,
    source: TransactionSource | None,
    reports: Reports,
    converter: DataConverter,
) -> Outcome | None:
    """Run the function of an attempt in a transaction; return how it ended, or None when that is told already.

    Args:
        attempt: The attempt.
        call: Calls its function with the transaction.
        completed: Makes the outcome of what it returned.
        store: The database.
        source: Who begins the transaction, if the store does not.
        reports: Who is told of the commit.
        converter: Makes a failure of an error.

    Raises:
        BaseException: What the function raised, or what its commit was refused with.
    """
    if attempt.scheduled.local is not None:
        raise ApplicationError(NOT_LOCAL, type="TypeError", non_retryable=True)
    record = await attempt.row()
    in_function = False
    try:
        async with store.transaction(record.run_id, record.id, record.attempt, source) as transaction:
            in_function = True
            outcome = completed(await call(transaction))
            in_function = False
            if not isinstance(outcome, Completed) or attempt.ended:
                return outcome
            ended = reports.conclude(attempt, record, outcome)
            if await transaction.commit(ended):
                reports.committed(attempt.scheduled, outcome, ended)
            else:
                logger.info(
                    "activity %d of run %s: attempt %d had been ended otherwise, what it wrote is undone",
                    record.id,
                    record.run_id,
                    record.attempt,
                )
            return None
    except CompleteAsyncError:
        raise ApplicationError(NOT_OUTSIDE, type="TypeError", non_retryable=True) from None
    except TransactionError as error:
        raise ApplicationError(str(error), type="TransactionError", non_retryable=True) from error
    except StoreUnavailableError as error:
        if in_function:
            raise
        return Failed(converter.to_failure(error), uncounted=True)
