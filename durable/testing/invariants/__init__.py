"""What is always true: the invariants of a database, of what clients were told, and of what activities did.

    snapshot = await read_snapshot(client.store)
    assert not check(Evidence(snapshot, operations=log.operations, effects=ledger.effects))

`verify` holds a live database against those that its tables tell of; `durable doctor --verify` does it from a shell.
"""

from __future__ import annotations

from durable.testing.invariants._evidence import (
    Effect,
    Evidence,
    Fault,
    Holders,
    MessageRow,
    Operation,
    RunFacts,
    RunRow,
    Snapshot,
    TaskRow,
    UpdateRow,
    Write,
)
from durable.testing.invariants._logs import (
    Answer,
    EffectLedger,
    OperationLog,
    read_effects,
    read_operations,
)
from durable.testing.invariants._read import read_pages, read_snapshot, verify
from durable.testing.invariants._table import INVARIANTS, Invariant, Violation, check, check_runs

__all__ = [
    "INVARIANTS",
    "Answer",
    "Effect",
    "EffectLedger",
    "Evidence",
    "Fault",
    "Holders",
    "Invariant",
    "MessageRow",
    "Operation",
    "OperationLog",
    "RunFacts",
    "RunRow",
    "Snapshot",
    "TaskRow",
    "UpdateRow",
    "Violation",
    "Write",
    "check",
    "check_runs",
    "read_effects",
    "read_operations",
    "read_pages",
    "read_snapshot",
    "verify",
]
