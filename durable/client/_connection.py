"""What a client and its handles share: the database, how values are stored, and who else is in this process."""

from __future__ import annotations

from dataclasses import dataclass

from durable.client._local import LocalRuns
from durable.client._patience import Patience
from durable.client._waiting import Waiting
from durable.converter import DataConverter, WorkflowSerializationContext
from durable.store import Store


@dataclass(frozen=True, slots=True, eq=False)
class Connection:
    """An open database and what is needed to use it."""

    store: Store
    namespace: str
    identity: str
    converter: DataConverter
    local: LocalRuns
    waiting: Waiting
    patiently: Patience

    def converter_for(self, workflow_id: str) -> DataConverter:
        """Return the converter of a workflow's values, which may want to know whose they are."""
        if not self.converter.takes_context:
            return self.converter
        return self.converter.with_context(WorkflowSerializationContext(self.namespace, workflow_id))
