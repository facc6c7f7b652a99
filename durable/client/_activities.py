"""What a client does with activities of its own: starts, lists and finds them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeVar, TypeVarTuple, Unpack, overload

from durable._internal.ids import check_optional_name
from durable._internal.shown import shown
from durable.activity._call import ActivityCall
from durable.client._activity_executions import ActivityExecutionAsyncIterator, ActivityExecutionCount
from durable.client._activity_handle import ActivityHandle
from durable.client._activity_starts import ActivityStartOptions, input_of, many
from durable.client._async_activity import AsyncActivityHandle, async_activity_handle
from durable.client._connection import Connection
from durable.interceptor.client import CountActivitiesInput, ListActivitiesInput, StartActivityInput

R = TypeVar("R")
Ts = TypeVarTuple("Ts")


class ActivityStart:
    """One of many activities to be started at once, see `Client.start_activities`."""

    @overload
    def __init__(self, activity: ActivityCall[Any], /, **options: Unpack[ActivityStartOptions]) -> None: ...
    @overload
    def __init__(
        self,
        activity: Callable[[*Ts], ActivityCall[Any]],
        /,
        *arguments: *Ts,
        **options: Unpack[ActivityStartOptions],
    ) -> None: ...
    @overload
    def __init__(
        self,
        activity: Callable[..., ActivityCall[Any]] | str,
        /,
        *arguments: Any,
        args: Sequence[Any] = ...,
        result_type: Any = ...,
        **options: Unpack[ActivityStartOptions],
    ) -> None: ...
    def __init__(self, activity: Any, /, *arguments: object, **options: Any) -> None:
        """Note what is to be started.

        Args:
            activity: The activity, a call of one, or the name of one.
            arguments: Its arguments; `args=[...]` takes them as a list.
            options: See `ActivityStartOptions`; the id is required.

        Raises:
            TypeError: The arguments do not fit the activity, or there is no such option.
            RegistrationError: It is no activity.
        """
        self._input = input_of("ActivityStart", activity, arguments, options)

    def __repr__(self) -> str:
        return f"<ActivityStart {self._input.activity_type} {self._input.id!r}>"

    @property
    def input(self) -> StartActivityInput:
        """The start, as interceptors see it."""
        return self._input


class ClientActivities:
    """The part of a client that is about activities; see `Client`."""

    _connection: Connection

    @overload
    async def start_activity(
        self, activity: ActivityCall[R], /, **options: Unpack[ActivityStartOptions]
    ) -> ActivityHandle[R]: ...
    @overload
    async def start_activity(
        self,
        activity: Callable[[*Ts], ActivityCall[R]],
        /,
        *arguments: *Ts,
        **options: Unpack[ActivityStartOptions],
    ) -> ActivityHandle[R]: ...
    @overload
    async def start_activity(
        self,
        activity: Callable[..., ActivityCall[R]],
        /,
        *,
        args: Sequence[Any],
        **options: Unpack[ActivityStartOptions],
    ) -> ActivityHandle[R]: ...
    @overload
    async def start_activity(
        self,
        activity: str,
        /,
        *arguments: Any,
        args: Sequence[Any] = ...,
        result_type: type[R],
        **options: Unpack[ActivityStartOptions],
    ) -> ActivityHandle[R]: ...
    @overload
    async def start_activity(
        self,
        activity: str,
        /,
        *arguments: Any,
        args: Sequence[Any] = ...,
        **options: Unpack[ActivityStartOptions],
    ) -> ActivityHandle[Any]: ...
    async def start_activity(
        self, activity: Any, /, *arguments: object, **options: Any
    ) -> ActivityHandle[Any]:
        """Start an activity by itself, without a workflow; once this returns it is stored, and will be run to its end.

        Args:
            activity: The activity, a call of one (`charge(order)`, of an `async def`), or the name of one.
            arguments: Its arguments; `args=[...]` takes them as a list.
            options: See `ActivityStartOptions`; the id is required.

        Raises:
            ActivityAlreadyStartedError: The id is taken, or may not be used again.
            TypeError: An argument does not fit the activity, or there is no such option.
            ValueError: An option is out of range.
            RegistrationError: It is no activity.
            ConversionError: An argument cannot be stored, or is not of the type the activity takes.
            StoreUnavailableError: The database is away; the activity may or may not have been started. Start it again
                with the same id to be sure.
        """
        started: ActivityHandle[Any] = await self._connection.outbound.start_activity(
            input_of("start_activity", activity, arguments, options)
        )
        return started

    @overload
    async def execute_activity(
        self, activity: ActivityCall[R], /, **options: Unpack[ActivityStartOptions]
    ) -> R: ...
    @overload
    async def execute_activity(
        self,
        activity: Callable[[*Ts], ActivityCall[R]],
        /,
        *arguments: *Ts,
        **options: Unpack[ActivityStartOptions],
    ) -> R: ...
    @overload
    async def execute_activity(
        self,
        activity: Callable[..., ActivityCall[R]],
        /,
        *,
        args: Sequence[Any],
        **options: Unpack[ActivityStartOptions],
    ) -> R: ...
    @overload
    async def execute_activity(
        self,
        activity: str,
        /,
        *arguments: Any,
        args: Sequence[Any] = ...,
        result_type: type[R],
        **options: Unpack[ActivityStartOptions],
    ) -> R: ...
    @overload
    async def execute_activity(
        self,
        activity: str,
        /,
        *arguments: Any,
        args: Sequence[Any] = ...,
        **options: Unpack[ActivityStartOptions],
    ) -> Any: ...
    async def execute_activity(self, activity: Any, /, *arguments: object, **options: Any) -> Any:
        """Start an activity and return its result; `start_activity` and `ActivityHandle.result` in one.

        Raises:
            ActivityFailureError: It closed without a result; `cause` says why.
            Exception: As `start_activity`.
        """
        if options.get("connection") is not None:
            raise TypeError(
                "execute_activity waits for a result, which cannot come before you commit: start_activity takes a "
                "connection, and its handle's result() waits behind the commit"
            )
        start_activity: Any = self.start_activity
        handle: ActivityHandle[Any] = await start_activity(activity, *arguments, **options)
        return await handle.result()

    start_activity_method = start_activity
    """`start_activity`, under the name that Temporal has for activities that are methods."""

    execute_activity_method = execute_activity
    """`execute_activity`, under the name that Temporal has for activities that are methods."""

    async def start_activities(self, activities: Sequence[ActivityStart]) -> list[ActivityHandle[Any]]:
        """Start many activities, some hundreds in a transaction, and return their handles in the same order.

        Each stands or falls alone: those that can be started are, whatever becomes of the others. Interceptors see each
        of them as a start of its own.

        Args:
            activities: What is to be started, with ids of their own.

        Raises:
            ExceptionGroup: Some could not be started; it holds what `start_activity` would have raised for each of these.
        """
        for one in activities:
            if not isinstance(one, ActivityStart):
                raise TypeError(f"start_activities() takes ActivityStart(...) objects, not {shown(one)}")
            if one.input.connection is not None:
                raise ValueError(
                    "start_activities() has transactions of its own, in which each start stands or falls alone; in yours "
                    "call start_activity(..., connection=...) for each"
                )
        start = self._connection.outbound.start_activity
        found = await many(start, [one.input for one in activities])
        errors = [one for one in found if isinstance(one, BaseException)]
        for error in errors:
            if not isinstance(error, Exception):
                raise error
        if errors:
            raise BaseExceptionGroup(f"{len(errors)} of {len(found)} activities were not started", errors)
        return found

    def list_activities(
        self,
        query: str | None = None,
        *,
        limit: int | None = None,
        page_size: int = 1000,
        next_page_token: bytes | None = None,
    ) -> ActivityExecutionAsyncIterator:
        """Return the activities that clients started and a filter finds, to be iterated over with `async for`.

        Args:
            query: The filter, as of `list_workflows` but with `ActivityId` and `ActivityType`: for example
                "ActivityType = 'resize' AND ExecutionStatus = 'Running'"; all of them, the one started last first, when None.
            limit: How many at most.
            page_size: How many are read at once, up to 10,000.
            next_page_token: Where another list of the same filter ended.

        Raises:
            FilterError: It is no filter; the text names the place. What it names is looked up with the first page.
            ValueError: A number is out of range.
        """
        found: ActivityExecutionAsyncIterator = self._connection.outbound.list_activities(
            ListActivitiesInput(query, limit, page_size, next_page_token)
        )
        return found

    async def count_activities(self, query: str | None = None) -> ActivityExecutionCount:
        """Return how many of the activities that clients started a filter finds, as `list_activities` would find them.

        Args:
            query: The filter, which may end with GROUP BY ExecutionStatus (or ActivityType, or TaskQueue); all when None.

        Raises:
            FilterError: It is no filter; the text names the place.
            StoreUnavailableError: The database is away.
        """
        found: ActivityExecutionCount = await self._connection.outbound.count_activities(
            CountActivitiesInput(query)
        )
        return found

    def get_activity_handle(
        self, activity_id: str, *, run_id: str | None = None, result_type: Any = Any
    ) -> ActivityHandle[Any]:
        """Return a handle of an activity that a client started, by id, whether it exists or not.

        Args:
            activity_id: Its id.
            run_id: The run that is meant; whichever is open, or was last, by default.
            result_type: What its result is decoded as.

        Raises:
            ValueError: The id cannot be one.
        """
        run_id = check_optional_name(run_id, "run_id")
        return ActivityHandle(self._connection, activity_id, run_id=run_id, result_type=result_type)

    def get_async_activity_handle(
        self,
        *,
        workflow_id: str | None = None,
        run_id: str | None = None,
        activity_id: str | None = None,
        task_token: bytes | None = None,
    ) -> AsyncActivityHandle:
        """Return a handle of an activity whose function has called `activity.raise_complete_async()`, to end it.

        Args:
            workflow_id: The workflow that asked for the activity, with `activity_id`; None for one that a client started.
            run_id: Which run of it; the open one by default.
            activity_id: The activity's id, whichever attempt is open.
            task_token: Instead of the ids: the attempt that `activity.info().task_token` named.

        Raises:
            ValueError: Neither way is taken, or both, or one of them cannot be an id or a token.
        """
        return async_activity_handle(self._connection, workflow_id, run_id, activity_id, task_token)
