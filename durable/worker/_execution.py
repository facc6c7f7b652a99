"""How the function of an attempt is called: with values of its payloads, where it belongs, and within what it needs.

A coroutine runs on the event loop, a plain function in a thread or a process; interceptors and transactions stand around
it. Whatever comes of it is an outcome: an activity fails, it does not end its worker.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from concurrent.futures import BrokenExecutor, Executor
from functools import partial
from typing import Any

from durable._engine._activities import Completed, Failed, HandedOut, Outcome
from durable.activity._activity import Activity
from durable.activity._context import CURRENT, CompleteAsyncError
from durable.activity._definition import DYNAMIC
from durable.common import RawValue
from durable.converter import DataConverter
from durable.exceptions import ApplicationError, CancelledError, ConversionError
from durable.interceptor.worker import Interceptor
from durable.store import ActivityTransaction, Store, TransactionSource
from durable.worker._attempt_info import converter_for
from durable.worker._attempts import Attempt
from durable.worker._intercepted import execute
from durable.worker._processes import Processes, in_process
from durable.worker._reports import Reports
from durable.worker._stopped import stopped
from durable.worker._threads import run_in_thread
from durable.worker._transactional import run_within

NO_ASYNC = (
    "a local activity cannot be completed from outside, since only its worker knows of it; use "
    "workflow.execute_activity for one that calls activity.raise_complete_async()"
)


class Execution:
    """See the module. One for all attempts of a worker."""

    def __init__(
        self,
        store: Store,
        reports: Reports,
        *,
        namespace: str,
        served: Mapping[str, Activity[..., Any]],
        converter: DataConverter,
        interceptors: Sequence[Interceptor],
        executor: Executor,
        processes: Processes | None,
        transactions: Mapping[str, TransactionSource],
        fatal: Callable[[BaseException], None],
    ) -> None:
        """Call functions of these activities.

        Args:
            store: The database, for those that are transactional.
            reports: Who is told of what these commit.
            namespace: Where their workflows live.
            served: By type.
            converter: Makes values of payloads, and payloads of results.
            interceptors: What stands around the functions.
            executor: Where plain functions run.
            processes: Where those run that belong in a process.
            transactions: Who begins the transactions of which activities, as far as that is not the store.
            fatal: Takes an error behind which no attempt can run any more.
        """
        self._store = store
        self._reports = reports
        self._namespace = namespace
        self._served = served
        self._dynamic = served.get(DYNAMIC)
        self._converter = converter
        self._interceptors = interceptors
        self._executor = executor
        self._processes = processes
        self._transactions = transactions
        self._fatal = fatal

    @property
    def types(self) -> list[str] | None:
        """Names of the activities that are served; None for all."""
        return list(self._served) if self._dynamic is None else None

    def serves(self, activity_type: str) -> bool:
        """Whether an activity of a type can run here at all."""
        return activity_type in self._served or self._dynamic is not None

    def converter_for(self, attempt: Attempt) -> DataConverter:
        """Return what makes values of an attempt's payloads."""
        return converter_for(attempt, self._converter, self._namespace)

    async def run(self, attempt: Attempt) -> Outcome | None:
        """Run the function of an attempt; return how that ended, None when it is told already."""
        scheduled, converter = attempt.scheduled, self._converter
        if converter.takes_context:
            converter = self.converter_for(attempt)
        activity = self._served.get(scheduled.activity_type) or self._dynamic
        assert activity is not None
        definition = activity.definition
        try:
            if attempt.details is not None:
                raise asyncio.CancelledError  # It was stopped before its first step.
            given, parameters, name = scheduled.input, definition.parameters, scheduled.activity_type
            if definition.dynamic:
                args: tuple[Any, ...] = (
                    converter.from_payloads(given, [RawValue] * len(given), path=f"{name} input"),
                )
            else:
                values = converter.from_payloads(given, parameters.types[: len(given)], path=f"{name} input")
                args = parameters.bind(tuple(values), {})
            if definition.transactional:
                call = partial(self._intercepted, attempt, activity, args)
                completed = partial(self._completed, name, converter=converter)
                return await run_within(
                    attempt,
                    call,
                    completed,
                    self._store,
                    self._transactions.get(name),
                    self._reports,
                    converter,
                )
            if self._interceptors:
                result = await self._intercepted(attempt, activity, args)
                return self._completed(name, result, converter)
            entered = CURRENT.set(attempt)
            try:
                if definition.is_async:
                    result = await definition.call(activity.instance, args)
                else:
                    result = await self._elsewhere(
                        attempt,
                        activity,
                        partial(definition.call, activity.instance, args),
                        definition.fn,
                        args,
                    )
            finally:
                CURRENT.reset(entered)
            return self._completed(name, result, converter)
        except CompleteAsyncError:
            if scheduled.local is None:
                return HandedOut()
            return Failed(
                converter.to_failure(ApplicationError(NO_ASYNC, type="TypeError", non_retryable=True))
            )
        except (asyncio.CancelledError, CancelledError) as error:
            return stopped(attempt, error, converter)
        except BrokenExecutor as error:
            # No attempt can run there any more.
            self._fatal(error)
            return Failed(converter.to_failure(error))
        except BaseException as error:
            # SystemExit and the like too: an activity fails, it does not end its worker.
            return Failed(converter.to_failure(error))

    def _intercepted(
        self,
        attempt: Attempt,
        activity: Activity[..., Any],
        args: Sequence[Any],
        transaction: ActivityTransaction | None = None,
    ) -> Awaitable[Any]:
        """Call a function through the interceptors, if there are any; they see nothing of its transaction."""
        definition = activity.definition

        async def run(function: partial[Any]) -> Any:
            given = function.args if transaction is None else (transaction.connection, *function.args)
            if definition.is_async:
                return await function.func(*given)
            function = partial(function.func, *given)
            if transaction is not None and transaction.around is not None:
                function = partial(transaction.around, function)
            return await self._elsewhere(attempt, activity, function, function.func, given)

        executor = None if definition.is_async else self._executor
        return execute(self._interceptors, attempt, activity, args, executor, run)

    def _elsewhere(
        self,
        attempt: Attempt,
        activity: Activity[..., Any],
        function: Callable[[], Any],
        fn: Callable[..., Any],
        args: Sequence[Any],
    ) -> Awaitable[Any]:
        """Run a plain function, which is `fn` with `args`, in a thread or in a process."""
        definition = activity.definition
        if self._processes is not None and in_process(definition):
            return self._processes.run(attempt, activity, fn, args)
        return run_in_thread(attempt, definition, function, self._executor)

    def _completed(self, name: str, result: Any, converter: DataConverter) -> Outcome:
        try:
            return Completed(converter.to_payload(result, path=f"result of activity {name}"))
        except ConversionError as error:
            # The same code would return the same again.
            refused = ApplicationError(str(error), type=type(error).__name__, non_retryable=True)
            return Failed(converter.to_failure(refused))
