"""What a client and its handles share: the database, how values are stored, and who else is in this process."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from msgspec.structs import replace

from durable._engine._messages import end, named
from durable._engine._updates import LOST
from durable._internal.ids import uuid7
from durable.client._local import LocalRuns
from durable.client._parents import news_of
from durable.client._patience import Patience
from durable.client._update_waiting import UpdateWaiting
from durable.client._waiting import Waiting
from durable.common import QueryRejectCondition
from durable.converter import DataConverter
from durable.history import WorkflowExecutionTerminated
from durable.interceptor.client import OutboundInterceptor
from durable.interceptor.worker import WorkflowInboundInterceptor
from durable.store import ANY_KEY, Close, Deed, Hint, HintKind, RunRecord, RunStatus, Store, beneath
from durable.telemetry import Tracing


class Calls:
    """Where calls go; set once, when the client is made."""

    outbound: OutboundInterceptor


@dataclass(frozen=True, slots=True, eq=False)
class Connection:
    """An open database and what is needed to use it.

    Attributes:
        calls: Where the calls of handles go: through the interceptors, and back to what has this connection.
        workflow_interceptors: What stands around workflow code that is replayed here to answer a query.
        tracing: What makes its spans; None for no spans.
    """

    store: Store
    namespace: str
    identity: str
    converter: DataConverter
    local: LocalRuns
    waiting: Waiting
    patiently: Patience
    updates: UpdateWaiting
    reject_queries: QueryRejectCondition | None = None
    calls: Calls = field(default_factory=Calls)
    workflow_interceptors: Sequence[type[WorkflowInboundInterceptor]] = ()
    tracing: Tracing | None = None

    @property
    def outbound(self) -> OutboundInterceptor:
        """What every call of the client goes to."""
        return self.calls.outbound

    def converter_for(self, workflow_id: str) -> DataConverter:
        """Return the converter of a workflow's values, which may want to know whose they are."""
        return self.converter.of_workflow(self.namespace, workflow_id)

    def deed(
        self, operation: str, workflow_id: str, reason: str = "", detail: str = "", batch_id: str = ""
    ) -> Deed:
        """Return what the log is to say of what this client does."""
        return Deed(operation, workflow_id, self.identity, reason, detail, batch_id)

    async def terminate(self, run: RunRecord, event: WorkflowExecutionTerminated, batch_id: str = "") -> bool:
        """End a run from outside, with all that follows from it; False when something else has ended it.

        Raises:
            HistoryError: Its first event cannot be read.
            StoreUnavailableError: The database is away; it may or may not have been ended.
        """
        store = self.store
        event = replace(event, message=uuid7())
        news = await self.patiently(lambda: news_of(store, run, event))
        close = Close(RunStatus.TERMINATED, update_lost=LOST)
        deed = self.deed("terminate", run.workflow_id, event.reason, batch_id=batch_id)
        done = await self.patiently(
            lambda: store.terminate(run.run_id, lambda seq: end(seq, event), close, news, deed=deed)
        )
        # When the answer was lost, it is ended already as it is asked again.
        done = done or await self._is_end(run.run_id, event.message)
        if done:
            # Which children have been told of it is known to nobody here.
            store.hint(
                [
                    Hint(HintKind.CLOSED, run.run_id),
                    Hint(HintKind.MESSAGE, ANY_KEY),
                    Hint(HintKind.RUN, ANY_KEY),
                ]
            )
        return done

    async def _is_end(self, run_id: str, message_id: str) -> bool:
        """Whether a run was ended by what has this id."""
        store = beneath(self.store)  # where ids are as plain as anywhere
        last = (await self.patiently(lambda: store.read_closing_events([run_id]))).get(run_id)
        return last is not None and named(message_id) in last.data
