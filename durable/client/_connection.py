"""What a client and its handles share: the database, how values are stored, and who else is in this process."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from durable._engine._messages import end
from durable._engine._updates import LOST
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
from durable.store import ANY_KEY, Close, Deed, Hint, HintKind, RunRecord, RunStatus, Store


class Calls:
    """Where calls go; set once, when the client is made."""

    outbound: OutboundInterceptor


@dataclass(frozen=True, slots=True, eq=False)
class Connection:
    """An open database and what is needed to use it.

    Attributes:
        calls: Where the calls of handles go: through the interceptors, and back to what has this connection.
        workflow_interceptors: What stands around workflow code that is replayed here to answer a query.
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
        """End a run from outside, with all that follows from it; False when it is not open (any more).

        Raises:
            HistoryError: Its first event cannot be read.
            StoreUnavailableError: The database is away; it may or may not have been ended.
        """
        store = self.store
        news = await self.patiently(lambda: news_of(store, run, event))
        close = Close(RunStatus.TERMINATED, update_lost=LOST)
        deed = self.deed("terminate", run.workflow_id, event.reason, batch_id=batch_id)
        done = await self.patiently(
            lambda: store.terminate(run.run_id, lambda seq: end(seq, event), close, news, deed=deed)
        )
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
