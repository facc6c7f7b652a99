"""What tests say about an environment: what was started in it, and what was sent."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from durable.client import Client
from durable.history import (
    EventType,
    Payloads,
    WorkflowExecutionSignaled,
    WorkflowExecutionStarted,
    decode_data,
)
from durable.testing._databases import client_here
from durable.testing._elsewhere import elsewhere
from durable.testing._histories import History
from durable.workflow import Signal
from durable.workflow._calls import SignalCall, WorkflowCall
from durable.workflow._workflow import definition_of

T = TypeVar("T")


@dataclass(frozen=True)
class Started:
    """A workflow that was started, by a client or by another workflow.

    Attributes:
        id: Its id.
        run_id: Its first run.
        workflow_type: The name of its definition.
        args: Its arguments, as plain JSON values where no type is known.
    """

    id: str
    run_id: str
    workflow_type: str
    args: tuple[Any, ...]

    def __str__(self) -> str:
        return f"{self.workflow_type}({', '.join(map(repr, self.args))})  id {self.id!r}"


class Looking:
    """See the module. Plain functions: what they look at does not change while they look."""

    def _look_with(self) -> Client:
        raise NotImplementedError

    def _ask(self, question: Callable[[Client], Awaitable[T]]) -> T:
        async def ask() -> T:
            async with client_here(self._look_with()) as client:
                return await question(client)

        return elsewhere(ask())

    def history(self, workflow_id: str, run_id: str | None = None) -> History:
        """Return the history of a workflow's open run, or of its last one.

        Raises:
            WorkflowNotFoundError: There is none.
        """
        return History(
            self._ask(lambda client: client.get_workflow_handle(workflow_id, run_id=run_id).fetch_history())
        )

    def assert_started(self, workflow: Any, /, *, id: str | None = None) -> Started:
        """Return the workflow that was started so, the last one of several.

        Args:
            workflow: A definition, the name of a type, or a call, whose arguments have to be the same.
            id: Its id; any by default.

        Raises:
            AssertionError: There is none; the text shows what was started instead.
        """
        all_started = self._ask(_started)
        found = self._matching(all_started, workflow, id)
        if not found:
            raise AssertionError(
                f"no {_shown(workflow, id)} was started; " + _list("started were", "nothing was", all_started)
            )
        return found[-1]

    def refute_started(self, workflow: Any, /, *, id: str | None = None) -> None:
        """See that no workflow was started so; the arguments are those of `assert_started`.

        Raises:
            AssertionError: One was.
        """
        found = self._matching(self._ask(_started), workflow, id)
        if found:
            raise AssertionError(
                f"{_shown(workflow, id)} was started:\n" + "\n".join(f"  {one}" for one in found)
            )

    def assert_signaled(self, workflow_id: str, signal: Any, /, *args: Any) -> tuple[Any, ...]:
        """Return the arguments of the last such signal to a workflow, whether it has taken it or not.

        Args:
            workflow_id: The workflow.
            signal: A signal, its name, or a call, whose arguments have to be the same.
            args: The arguments, behind a name; any by default.

        Raises:
            AssertionError: There is none; the text shows what was sent instead.
        """
        name, wanted = _signal(signal, args)
        sent = self._ask(lambda client: _signals(client, workflow_id))
        found = [
            values for one, values in sent if one == name and (wanted is None or self._same(wanted, values))
        ]
        if not found:
            given = "" if wanted is None else f"({', '.join(map(repr, wanted))})"
            listed = [f"{one}({', '.join(map(repr, self._plain(values)))})" for one, values in sent]
            raise AssertionError(
                f"workflow {workflow_id!r} was sent no signal {name}{given}; "
                + _list("sent were", "nothing was sent", listed)
            )
        return self._plain(found[-1])

    # ------------------------------------------------------------------ comparing

    def _matching(
        self, started: Sequence[tuple[Started, Payloads]], workflow: Any, id: str | None
    ) -> list[Started]:
        call = _call(workflow)
        name = call.name if call else _name(workflow)
        return [
            one
            for one, payloads in started
            if one.workflow_type == name
            and id in (None, one.id)
            and (call is None or self._same(call.args, payloads))
        ]

    def _same(self, wanted: Sequence[Any], payloads: Payloads) -> bool:
        return tuple(self._look_with().data_converter.to_payloads(tuple(wanted))) == tuple(payloads)

    def _plain(self, payloads: Payloads) -> tuple[Any, ...]:
        return tuple(self._look_with().data_converter.from_payloads(payloads))


def _list(some: str, none: str, found: Sequence[Any]) -> str:
    if not found:
        return none
    return f"{some}:\n" + "\n".join(f"  {one[0] if isinstance(one, tuple) else one}" for one in found)


def _call(workflow: Any) -> WorkflowCall[Any, Any] | None:
    return workflow if isinstance(workflow, WorkflowCall) else None  # pyright: ignore[reportUnknownVariableType]


def _name(workflow: Any) -> str:
    return workflow if isinstance(workflow, str) else definition_of(workflow).name


def _shown(workflow: Any, id: str | None) -> str:
    if (call := _call(workflow)) is not None:
        shown = f"{call.name}({', '.join(map(repr, call.args))})"
    else:
        shown = _name(workflow)
    return f"workflow {shown}" + ("" if id is None else f" with id {id!r}")


def _signal(signal: Any, args: tuple[Any, ...]) -> tuple[str, tuple[Any, ...] | None]:
    if isinstance(signal, SignalCall):
        return signal.name, signal.args
    if isinstance(signal, str):
        return signal, args or None
    if isinstance(signal, Signal):
        return signal.name, args or None
    definition = getattr(signal, "definition", None)
    if definition is None:
        raise TypeError(f"assert_signaled takes a signal, a call of one or a name, not {signal!r}")
    return definition.name, args or None


async def _started(client: Client) -> list[tuple[Started, Payloads]]:
    found: list[tuple[Started, Payloads]] = []
    async for run in client.list_workflows("ORDER BY StartTime ASC"):
        if run.first_execution_run_id not in ("", run.run_id):
            continue  # it goes on for another one, which was started
        (row,) = await client.store.read_events(run.run_id, 0, 1)
        first = decode_data(row.type, row.data)
        assert isinstance(first, WorkflowExecutionStarted)
        args = tuple(client.data_converter.from_payloads(first.input))
        found.append((Started(run.id, run.run_id, run.workflow_type, args), first.input))
    return found


async def _signals(client: Client, workflow_id: str) -> list[tuple[str, Payloads]]:
    run = await client.store.find_run(workflow_id)
    if run is None:
        raise AssertionError(f"there is no workflow {workflow_id!r}")
    data = [decode_data(row.type, row.data) for row in await client.store.read_events(run.run_id)]
    data += [
        decode_data(message.type, message.data)
        for message in await client.store.read_messages([run.run_id])
        if message.type == EventType.WORKFLOW_EXECUTION_SIGNALED
    ]
    return [(one.name, one.input) for one in data if isinstance(one, WorkflowExecutionSignaled)]
