"""The replayer: histories run again through the code as it is now, without a database and without a worker."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Never, TypedDict

from durable._replay._instance import Instance
from durable._replay._intercepted import new_instance
from durable._replay._replay import Activate, replay
from durable._replay._turns import Turns
from durable.client import WorkflowHistory
from durable.converter import DataConverter, default
from durable.exceptions import DeadlockError, HistoryCorruptError, RegistrationError, WorkflowTaskError
from durable.history import WorkflowExecutionStarted, check_history
from durable.interceptor.worker import Interceptor, workflow_interceptors
from durable.worker._watchdog import BREAK_AFTER, WARN_AFTER, Watchdog
from durable.worker._worker import exceptions
from durable.workflow._definition import DYNAMIC, REGISTRY, WorkflowDefinition
from durable.workflow._workflow import collect

logger = logging.getLogger("durable.worker")

NOTHING_RUNS = "a replay writes nothing and runs on the calling thread"

REFUSED = {
    "workflow_task_executor": NOTHING_RUNS,
    "identity": NOTHING_RUNS,
    "runtime": NOTHING_RUNS,
    "workflow_runner": "there is no sandbox",
    "unsandboxed_workflow_runner": "there is no sandbox",
    "disable_safe_workflow_eviction": "eviction is always safe",
    "debug_mode": "code that is stepped through by a debugger may take its time anyway",
    "build_id": "what a run knows of its worker's version is recorded in its history",
    "plugins": "pass their interceptors and their data converter",
    "header_codec_behavior": "a history is decoded when it is fetched, headers as well",
}
"""Options of Temporal's replayer that mean nothing here, and why."""


class ReplayerConfig(TypedDict, total=False):
    """The options of a `Replayer`."""

    workflows: Sequence[Any] | None
    namespace: str | None
    data_converter: DataConverter
    interceptors: Sequence[Interceptor]
    workflow_failure_exception_types: Sequence[type[BaseException]]
    strict: bool


@dataclass(frozen=True)
class WorkflowReplayResult:
    """What came of one history.

    Attributes:
        history: The history.
        replay_failure: Why it did not replay; None when it did.
    """

    history: WorkflowHistory
    replay_failure: Exception | None


@dataclass(frozen=True)
class WorkflowReplayResults:
    """What came of many histories.

    Attributes:
        replay_failures: Why those did not replay that did not, by run id.
    """

    replay_failures: Mapping[str, Exception] = field(default_factory=dict[str, Exception])


class Replayer:
    """Tells whether workflows of earlier, open or closed, would go on under the code as it is now.

    A history may be complete or not; it may end in a result, in a failure, or be cut off by a termination. It replays when
    the code asks for the same, in the same order, as is recorded. Nothing is written anywhere, no activity runs, and
    `workflow.logger` is silent.

        handles = client.list_workflows("WorkflowType = 'checkout' AND ExecutionStatus = 'Running'")
        await Replayer(workflows=[checkout]).replay_workflows(handles.map_histories())

    The code is run on the calling thread, a history at a time; one that holds it for more than 10 seconds does not replay.

    Args:
        workflows: The workflows as they are now; all that were defined in this process, if left out.
        namespace: What `workflow.info()` shows; the history's own by default.
        data_converter: As the workers have it. A codec is not needed: histories are decoded when they are fetched.
        interceptors: As the workers have them.
        workflow_failure_exception_types: As the workers have them.
        strict: Whether an argument that has changed is a failure as well, and not only a warning in the log.

    Raises:
        RegistrationError: Two definitions have one name, or something that is listed is none.
        TypeError: There is no such option; the text says why.
    """

    def __init__(
        self,
        *,
        workflows: Sequence[Any] | None = None,
        namespace: str | None = None,
        data_converter: DataConverter | None = None,
        interceptors: Sequence[Interceptor] = (),
        workflow_failure_exception_types: Sequence[type[BaseException]] = (),
        strict: bool = False,
        **elsewhere: Never,
    ) -> None:
        for name in elsewhere:
            raise TypeError(
                f"Replayer has no option {name!r}" + (f": {why}" if (why := REFUSED.get(name)) else "")
            )
        self._namespace = namespace
        self._converter = default() if data_converter is None else data_converter
        self._strict = strict
        self._config = ReplayerConfig(
            workflows=workflows,
            namespace=namespace,
            data_converter=self._converter,
            interceptors=interceptors,
            workflow_failure_exception_types=workflow_failure_exception_types,
            strict=strict,
        )
        self._definitions = None if workflows is None else collect(workflows, "")
        self._interceptors = workflow_interceptors(interceptors)
        self._failures = exceptions(workflow_failure_exception_types)

    def config(self) -> ReplayerConfig:
        """Return the options it was made with."""
        return self._config.copy()

    async def replay_workflow(
        self, history: WorkflowHistory, *, raise_on_replay_failure: bool = True
    ) -> WorkflowReplayResult:
        """Replay one history.

        Args:
            history: The history, from `WorkflowHandle.fetch_history` or `WorkflowHistory.from_json`.
            raise_on_replay_failure: Whether to raise why it does not replay, instead of returning it.

        Raises:
            NondeterminismError: The code asks for something else than is recorded; both are shown.
            RegistrationError: There is no such workflow.
            HistoryCorruptError: It is not a whole history.
            DeadlockError: The code held the thread for too long.
            Exception: Whatever else the code raised that does not fail a workflow.
        """
        async with self.workflow_replay_iterator([history]) as results:
            result = await anext(results)
        if result.replay_failure is not None and raise_on_replay_failure:
            raise result.replay_failure
        return result

    async def replay_workflows(
        self,
        histories: AsyncIterable[WorkflowHistory] | Iterable[WorkflowHistory],
        *,
        raise_on_replay_failure: bool = True,
    ) -> WorkflowReplayResults:
        """Replay many histories, one after the other.

        Args:
            histories: For example those of `client.list_workflows(...).map_histories()`.
            raise_on_replay_failure: Whether to raise at the first that does not replay, instead of going on and returning
                all that did not.

        Raises:
            Exception: As `replay_workflow`, or what the iterator raised.
        """
        failures: dict[str, Exception] = {}
        async with self.workflow_replay_iterator(histories) as results:
            async for result in results:
                if result.replay_failure is None:
                    continue
                if raise_on_replay_failure:
                    raise result.replay_failure
                failures[result.history.run_id] = result.replay_failure
        return WorkflowReplayResults(failures)

    @asynccontextmanager
    async def workflow_replay_iterator(
        self, histories: AsyncIterable[WorkflowHistory] | Iterable[WorkflowHistory]
    ) -> AsyncGenerator[AsyncIterator[WorkflowReplayResult], None]:
        """Return a context with an iterator of results, in the order of the histories, each replayed when it is asked for.

        Args:
            histories: For example those of `client.list_workflows(...).map_histories()`.
        """
        watchdog = Watchdog(warn_after=min(WARN_AFTER, BREAK_AFTER / 2), break_after=BREAK_AFTER)
        # The process is not a worker's: nobody takes over what it leaves.
        watchdog.exit = lambda code: None
        watchdog.start()
        results = self._results(histories, watchdog)
        try:
            yield results
        finally:
            await results.aclose()
            await watchdog.stop()

    async def _results(
        self, histories: AsyncIterable[WorkflowHistory] | Iterable[WorkflowHistory], watchdog: Watchdog
    ) -> AsyncGenerator[WorkflowReplayResult, None]:
        async for history in _each(histories):
            yield WorkflowReplayResult(history, self._failure(history, watchdog))
            await asyncio.sleep(0)  # others on this loop shall come to their turn

    def _failure(self, history: WorkflowHistory, watchdog: Watchdog) -> Exception | None:
        if not isinstance(history, WorkflowHistory):
            raise TypeError(f"a history is a WorkflowHistory, not {history!r}; see WorkflowHistory.from_json")
        try:
            if watchdog.during(history, self._replay, history):
                return DeadlockError(
                    f"the code of {history.workflow_id!r} held the thread without awaiting, and was ended; it was here:\n"
                    f"{watchdog.broken_stack}"
                )
        except Exception as error:
            return error
        except BaseException as error:
            if isinstance(error, KeyboardInterrupt):
                raise
            return _wrapped(error)
        return None

    def _replay(
        self, history: WorkflowHistory, *, activate: Activate = Instance.activate, trace: bool = False
    ) -> None:
        events = check_history(list(history.events))
        if not events:
            raise HistoryCorruptError(f"the history of {history.workflow_id!r} has no events")
        started = events[0].data
        assert isinstance(started, WorkflowExecutionStarted)
        options = partial(
            new_instance,
            self._definition(started),
            history.run_id,
            self._converter,
            namespace=self._namespace or history.namespace,
            note=partial(_note, history.workflow_id),
            silent=True,
            interceptors=self._interceptors,
        )

        instance = options(trace=trace)
        try:
            with Turns() as turns:
                replay(
                    instance,
                    turns,
                    events,
                    rebuild=partial(options, trace=True),
                    strict=self._strict,
                    warn=lambda text: logger.warning("workflow %s: %s", history.workflow_id, text),
                    activate=activate,
                )
        finally:
            instance.evict()

    def _definition(self, started: WorkflowExecutionStarted) -> WorkflowDefinition:
        name = started.workflow_type
        if self._definitions is None:
            found = _defined(name, started.task_queue)
            dynamic = None if found else _defined(DYNAMIC, started.task_queue)
            known = "no module that defines it has been imported"
        else:
            found, dynamic = self._definitions.get(name), self._definitions.get(DYNAMIC)
            known = f"it has {', '.join(sorted(self._definitions)) or 'none'}"
        if found is None and dynamic is not None:
            found = dynamic.for_type(name)
        if found is None:
            raise RegistrationError(f"the replayer has no workflow {name!r}: {known}")
        found.check()
        return found.failing_with(self._failures)


def _defined(name: str, task_queue: str) -> WorkflowDefinition | None:
    """This process's code of a workflow, None if it has none.

    Raises:
        RegistrationError: It has several, of which any might be meant.
    """
    found = REGISTRY.served(name, task_queue) or REGISTRY.named(name)
    if len(found) > 1:
        places = " and at ".join(one.where for one in found)
        raise RegistrationError(
            f"there are {len(found)} definitions of workflow {name!r}, at {places}: name the one that is meant, "
            "Replayer(workflows=[...])"
        )
    return found[0] if found else None


def _wrapped(error: BaseException) -> Exception:
    made = WorkflowTaskError(f"{type(error).__name__} left workflow code: {error}")
    made.__cause__ = error
    return made


def _note(workflow_id: str, message: str, exception: BaseException | None) -> None:
    logger.debug("workflow %s, replayed: %s", workflow_id, message, exc_info=exception)


async def _each(
    histories: AsyncIterable[WorkflowHistory] | Iterable[WorkflowHistory],
) -> AsyncIterator[WorkflowHistory]:
    if isinstance(histories, AsyncIterable):
        async for history in histories:
            yield history
    else:
        for history in histories:
            yield history
