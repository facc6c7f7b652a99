"""A start that rides with an update: both are stored, or neither is."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, Generic, TypeVar, TypeVarTuple, Unpack, overload

from durable.client._handle import WorkflowHandle
from durable.client._start_options import StartOptions, TemporalStartOptions, check
from durable.client._target import Target
from durable.common import WorkflowIDConflictPolicy
from durable.workflow._calls import WorkflowCall

W_co = TypeVar("W_co", covariant=True)
R_co = TypeVar("R_co", covariant=True)
Ts = TypeVarTuple("Ts")


class WithStartWorkflowOperation(Generic[W_co, R_co]):
    """The start of an update-with-start; it is used once.

    It is written like the arguments of `client.start_workflow`; `id` and `id_conflict_policy` must be given, since they
    say whether the update is for the workflow that may be there already. With a `connection` both are part of the
    transaction that is open there; then the update must be sent with `wait_for_stage` ADMITTED.

    Raises:
        TypeError: `id` or `id_conflict_policy` is missing, or something is no option of a start.
        ValueError: The policy is UNSPECIFIED, or an option is out of range.
    """

    @overload
    def __init__(self, call: WorkflowCall[W_co, R_co], /, **options: Unpack[StartOptions]) -> None: ...
    @overload
    def __init__(
        self,
        workflow: Callable[[*Ts], WorkflowCall[W_co, R_co]],
        /,
        *args: *Ts,
        **options: Unpack[StartOptions],
    ) -> None: ...
    @overload
    def __init__(self, workflow: str, /, *values: Any, **options: Unpack[TemporalStartOptions]) -> None: ...
    def __init__(self, workflow: Any, /, *values: object, **options: Any) -> None:
        for name in ("id", "id_conflict_policy"):
            if options.get(name) is None:
                raise TypeError(f"WithStartWorkflowOperation needs {name}=...")
        if options["id_conflict_policy"] is WorkflowIDConflictPolicy.UNSPECIFIED:
            raise ValueError("id_conflict_policy must say what to do when the workflow is there already")
        if options.get("start_signal") is not None:
            raise ValueError("start_signal cannot be combined with an update; send it behind the update")
        self.target = Target.of(workflow, values, options)
        self.options = check(options, self.target.options)
        self.given = {name: value for name, value in options.items() if name not in ("args", "result_type")}
        self.used = False
        self._handle: asyncio.Future[WorkflowHandle[W_co, R_co]] | None = None

    async def workflow_handle(self) -> WorkflowHandle[W_co, R_co]:
        """Return the handle of the workflow, once it is there: the one that was started, or that was there already.

        Raises:
            Exception: What the start failed with, if it did.
        """
        return await asyncio.shield(self._future())

    def _future(self) -> asyncio.Future[WorkflowHandle[W_co, R_co]]:
        if self._handle is None:
            self._handle = asyncio.get_running_loop().create_future()
        return self._handle

    async def run(
        self, start: Callable[[], Awaitable[WorkflowHandle[Any, Any]]]
    ) -> WorkflowHandle[W_co, R_co]:
        """Start, once, and tell whoever asks for the handle.

        Raises:
            RuntimeError: It was used before.
        """
        if self.used:
            raise RuntimeError("WithStartWorkflowOperation cannot be reused; make another one")
        self.used = True
        future = self._future()
        try:
            handle: WorkflowHandle[Any, Any] = await start()
        except BaseException as error:
            if isinstance(error, Exception):
                future.set_exception(error)
                future.exception()  # whoever asks gets it; nobody has to
            else:
                future.cancel()
            raise
        future.set_result(handle)
        return handle
