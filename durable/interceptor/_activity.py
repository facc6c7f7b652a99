"""What stands around an activity: around its execution, and around what it asks for while it runs."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from typing import Any

from durable.activity._context import Info
from durable.history import Payload


@dataclass
class ExecuteActivityInput:
    """An attempt of an activity, as it begins.

    Attributes:
        fn: The function, bound to its object if it is a method.
        args: Its arguments, decoded.
        executor: Where it runs, if it is no `async def`.
        headers: What came with the call.
    """

    fn: Callable[..., Any]
    args: Sequence[Any]
    executor: Executor | None
    headers: Mapping[str, Payload]


class ActivityInboundInterceptor:
    """Around the execution of an activity; each method hands on to `next` unless it is overridden.

    Made for each attempt, by `Interceptor.intercept_activity`.
    """

    def __init__(self, next: ActivityInboundInterceptor) -> None:
        self.next = next

    def init(self, outbound: ActivityOutboundInterceptor) -> None:
        """Take what stands around the activity's own calls; override it to hand one's own on to `next.init`."""
        self.next.init(outbound)

    async def execute_activity(self, input: ExecuteActivityInput) -> Any:
        """Run the activity and return its result."""
        return await self.next.execute_activity(input)


class ActivityOutboundInterceptor:
    """Around what an activity asks for while it runs; each method hands on to `next` unless it is overridden.

    An activity in a thread calls these from its thread.
    """

    def __init__(self, next: ActivityOutboundInterceptor) -> None:
        self.next = next

    def info(self) -> Info:
        """Called for every `activity.info()`."""
        return self.next.info()

    def heartbeat(self, *details: Any) -> None:
        """Called for every `activity.heartbeat()`."""
        self.next.heartbeat(*details)
