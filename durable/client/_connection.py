"""What a client and its handles share: the database, how values are stored, and who else is in this process."""

from __future__ import annotations

from dataclasses import dataclass

from durable.client._local import LocalRuns
from durable.client._patience import Patience
from durable.client._waiting import Waiting
from durable.common import QueryRejectCondition
from durable.converter import DataConverter
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
    reject_queries: QueryRejectCondition | None = None
