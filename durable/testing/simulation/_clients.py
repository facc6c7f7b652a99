"""What clients do, and what they are told."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Any

import msgspec

from durable._internal.instants import SECOND
from durable.client import Client
from durable.exceptions import DurableError, StoreError, WorkflowFailureError, WorkflowNotFoundError
from durable.testing.invariants import OperationLog
from durable.testing.simulation._plan import Ask, Plan
from durable.testing.simulation._world import World


class Clients:
    """The clients of a plan.

    Attributes:
        logs: What each of them asked for, and was told.
        results: What they were told that workflows returned.
        wrong: What they were told and cannot be.
    """

    def __init__(self, plan: Plan, world: World) -> None:
        self.plan = plan
        self.world = world
        self.began = world.now / SECOND
        self.logs = [
            OperationLog(f"c{number}", clock=lambda: world.now / SECOND) for number in range(plan.clients)
        ]
        self.results: dict[int, str] = {}
        self.wrong: list[str] = []
        self._acknowledged: set[int] = set()
        self._noted: dict[int, set[int]] = {}

    async def use(self, client: Client, number: int) -> None:
        """Do what one of them is to do."""
        mine = [ask for ask in self.plan.asks if ask.client == number and ask.kind != "tell"]
        await asyncio.gather(*[self._ask(client, ask) for ask in mine])

    async def _ask(self, client: Client, ask: Ask) -> None:
        loop = asyncio.get_running_loop()
        await asyncio.sleep(max(0.0, self.began + ask.at - loop.time()))
        while ask.kind != "start" and ask.workflow not in self._acknowledged:  # noqa: ASYNC110 - clients share no loop
            await asyncio.sleep(0.05)
        ways = {
            "start": self._start, "signal": self._signal, "flood": self._flood, "update": self._update,
            "query": self._query, "cancel": self._cancel, "result": self._result,
        }  # fmt: skip
        with contextlib.suppress(WorkflowFailureError, StoreError):
            await ways[ask.kind](client, client.get_workflow_handle(f"w{ask.workflow}"), ask)

    def _log(self, ask: Ask, kind: str, key: str = "") -> Any:
        refused = (WorkflowNotFoundError,) if kind == "signal" else ()
        return self.logs[ask.client].operation(kind, f"w{ask.workflow}", key, refused)

    async def _start(self, client: Client, handle: Any, ask: Ask) -> None:
        workflow_id = f"w{ask.workflow}"
        async with self._log(ask, "start") as answer:
            started: Any = await client.start_workflow(
                "simulation.program", args=[ask.program, 0, {}], id=workflow_id, request_id=workflow_id
            )
            answer.run_id = started.result_run_id or ""
        self._acknowledged.add(ask.workflow)

    async def _signal(self, client: Client, handle: Any, ask: Ask) -> None:
        async with self._log(ask, "signal", str(ask.value)):
            await handle.signal("say", ask.value)

    async def _flood(self, client: Client, handle: Any, ask: Ask) -> None:
        """Send signals that nobody waits for until the workflow has ended: then that is said, and none is lost before."""
        for value in range(ask.value, ask.value + ask.count):
            try:
                async with self._log(ask, "signal", str(value)):
                    await handle.signal("note", value)
            except WorkflowNotFoundError:
                return
            self._noted.setdefault(ask.workflow, set()).add(value)
            if ask.pause:
                await asyncio.sleep(ask.pause)

    async def _update(self, client: Client, handle: Any, ask: Ask) -> None:
        with contextlib.suppress(DurableError):  # a workflow that ends meanwhile says so
            async with self._log(ask, "update", str(ask.value)):
                told = await handle.execute_update("ask", ask.value)
            if told != ask.value + 1:
                self.wrong.append(f"w{ask.workflow} answered update {ask.value} with {told}")

    async def _query(self, client: Client, handle: Any, ask: Ask) -> None:
        before = set(self._noted.get(ask.workflow, ()))
        with contextlib.suppress(DurableError):  # nobody may be there to answer
            told = await handle.query("notes")
            self.world.tell(None, f"w{ask.workflow} has noted {len(told)}")
            if missing := before - set(told):
                self.wrong.append(f"w{ask.workflow} was asked, and did not know of {sorted(missing)}")

    async def _cancel(self, client: Client, handle: Any, ask: Ask) -> None:
        with contextlib.suppress(DurableError):
            async with self._log(ask, "cancel", f"because {ask.value}"):
                await handle.cancel(reason=f"because {ask.value}")

    async def _result(self, client: Client, handle: Any, ask: Ask) -> None:
        async with self._log(ask, "result") as answer:
            try:
                answer.value = msgspec.json.encode(await handle.result()).decode()
            except WorkflowFailureError as error:
                answer.value = f"failed: {type(error.cause).__name__}"
            self.results[ask.workflow] = answer.value
        self.world.tell(None, f"w{ask.workflow} is {answer.value}")
