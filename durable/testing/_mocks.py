"""Activities that are not run in a test, but answered for."""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable
from typing import Any, Generic, ParamSpec, Protocol, Self, TypeVar

from msgspec.structs import replace

from durable.activity import info
from durable.activity._activity import Activity, ActivityMethod
from durable.activity._definition import ActivityDefinition
from durable.converter import DataConverter, default
from durable.exceptions import ApplicationError, ConversionError
from durable.interceptor import client as client_side
from durable.interceptor import worker as worker_side

P = ParamSpec("P")
R = TypeVar("R")

Answer = Callable[..., Any]
"""What is called in the place of the function, once, or again and again."""


class ActivityMock(Generic[P, R]):
    """What stands in for an activity in a test, instead of its function. `mock_activity(charge)` makes one.

    What is said first comes first: `mock_activity(charge).raises(CardTimeout, times=2).returns("r-1")` fails twice and then
    returns, at every attempt from then on. A call for which nothing is left to say fails for good.

    Attributes:
        calls: The arguments of each attempt so far, as the workflow passed them, defaults included.
    """

    def __init__(self, definition: ActivityDefinition, converter: DataConverter | None = None) -> None:
        self.calls: list[tuple[Any, ...]] = []
        self._definition = definition
        self._converter = converter or default()
        self._said: list[tuple[Answer, int | None]] = []
        self._answers: list[tuple[Answer, int | None]] = []

    def returns(self, value: R, *, times: int | None = None) -> Self:
        """Return `value`, so many times; from then on always by default.

        Raises:
            TypeError: It is not of the type that the activity returns.
        """
        kind, name = self._definition.ret_type, self._definition.name
        try:
            self._converter.from_payload(self._converter.to_payload(value), kind)
        except ConversionError as error:
            raise TypeError(
                f"activity {name!r} returns {_shown(kind)}, and {value!r} is none: {error}"
            ) from None
        return self._then(lambda *args: value, times)

    def raises(self, error: BaseException | type[BaseException], *, times: int | None = None) -> Self:
        """Raise an error, so many times; from then on always by default. Retries go by the policy of the activity.

        Raises:
            TypeError: It is no exception.
        """
        if not isinstance(error, BaseException) and not (
            isinstance(error, type) and issubclass(error, BaseException)
        ):
            raise TypeError(f"raises() takes an exception or a class of exceptions, not {error!r}")

        def fail(*args: Any) -> Any:
            raise error

        return self._then(fail, times)

    def side_effect(self, function: Callable[P, R | Awaitable[R]], *, times: int | None = None) -> Self:
        """Call `function` with the arguments, and return what it returns; `async def` or not, on the test's event loop.

        Raises:
            TypeError: It does not take the arguments of the activity.
        """
        parameters = self._definition.signature.parameters
        try:
            inspect.signature(function).bind(*[None] * len(parameters))
        except TypeError as error:
            wanted = ", ".join(parameters)
            raise TypeError(
                f"activity {self._definition.name!r} is called with ({wanted}): {error}"
            ) from None
        return self._then(function, times)

    def _then(self, answer: Answer, times: int | None) -> Self:
        if times is not None and times < 1:
            raise ValueError(f"times must be at least 1, not {times}")
        if self._said and self._said[-1][1] is None:
            raise ValueError("what was said before is without times=, so nothing comes after it")
        self._said.append((answer, times))
        self._answers.append((answer, times))
        return self

    def rewind(self) -> None:
        """Begin again with what was said first."""
        self._answers = list(self._said)

    async def call(self, args: tuple[Any, ...]) -> Any:
        """Answer an attempt."""
        self.calls.append(args)
        if not self._answers:
            raise ApplicationError(
                f"the mock of activity {self._definition.name!r} has nothing to say: use returns(), raises() or "
                f"side_effect(); this was its call number {len(self.calls)}",
                type="MockExhausted",
                non_retryable=True,
            )
        answer, times = self._answers[0]
        if times == 1:
            self._answers.pop(0)
        elif times is not None:
            self._answers[0] = answer, times - 1
        result = answer(*args)
        return await result if inspect.isawaitable(result) else result

    def __repr__(self) -> str:
        return f"<mock of activity {self._definition.name}, called {len(self.calls)} times>"


def _shown(kind: Any) -> str:
    return kind.__name__ if isinstance(kind, type) else str(kind)


class MockActivity(Protocol):
    """What the fixture `mock_activity` is: a function that takes an activity and returns what answers for it."""

    def __call__(self, activity: Activity[P, R], /) -> ActivityMock[P, R]:
        """Return a mock of an activity, in the place of the one it had."""
        ...


class Mocks(client_side.Interceptor, worker_side.Interceptor):
    """The mocks of a test, in front of the workers of its environments."""

    def __init__(self) -> None:
        self._mocks: dict[str, ActivityMock[..., Any]] = {}
        self._definitions: dict[str, ActivityDefinition] = {}

    def mock(self, activity: Activity[P, R]) -> ActivityMock[P, R]:
        """Return a mock of an activity, in the place of the one it had.

        Raises:
            TypeError: It is no activity.
        """
        given: object = activity
        if not isinstance(given, Activity | ActivityMethod):
            raise TypeError(f"mock_activity takes a function under @activity.defn, not {given!r}")
        made = ActivityMock[P, R](activity.definition)
        self._mocks[activity.name] = made
        self._definitions[activity.name] = activity.definition
        return made

    def of(self, name: str) -> ActivityMock[..., Any] | None:
        """Return what answers for an activity, if it is mocked."""
        return self._mocks.get(name)

    def rewind(self) -> None:
        """Let each of them begin again with what was said first."""
        for one in self._mocks.values():
            one.rewind()

    @property
    def activities(self) -> list[Activity[..., Any]]:
        """The mocked activities, fit for any worker: of their functions nothing is used, nor instances and transactions."""
        return [
            Activity(
                replace(one, executor="async", transactional=False), None, self if one.is_method else None
            )
            for one in self._definitions.values()
            if not one.dynamic
        ]

    def intercept_activity(
        self, next: worker_side.ActivityInboundInterceptor
    ) -> worker_side.ActivityInboundInterceptor:
        """Answer for those that are mocked."""
        return _Mocking(next, self._mocks) if self._mocks else next


class _Mocking(worker_side.ActivityInboundInterceptor):
    def __init__(
        self, next: worker_side.ActivityInboundInterceptor, mocks: dict[str, ActivityMock[..., Any]]
    ) -> None:
        super().__init__(next)
        self._mocks = mocks

    async def execute_activity(self, input: worker_side.ExecuteActivityInput) -> Any:
        found = self._mocks.get(info().activity_type)
        if found is None:
            return await super().execute_activity(input)
        return await found.call(tuple(input.args))
