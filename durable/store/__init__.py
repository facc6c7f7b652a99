"""The port between the engine and a database, and what is needed to open one."""

from __future__ import annotations

import importlib
from collections.abc import Collection
from typing import Any

from durable._engine.deeds import BatchNews, BatchRow, BatchRun, Dealt, Deed, DeedRow, NewBatch
from durable._engine.hints import ANY_KEY, Hint, HintKind
from durable._engine.lanes import BreakerNews, BreakerRecord, Forced, KeyRecord, Lane
from durable._engine.operations import ActivityChange, Operated, Reset, ResetView
from durable._engine.records import (
    NEVER_DUE,
    RECENT,
    TAKEN,
    ActivityRecord,
    ActivityState,
    Anew,
    AttemptOutcome,
    ChildStart,
    ClaimedRun,
    Close,
    CommitResult,
    ExternalSend,
    Heartbeat,
    HeartbeatAnswer,
    Hold,
    ListedRun,
    Message,
    NewActivity,
    NewRun,
    QueryAnswer,
    Question,
    Release,
    Reply,
    RunRecord,
    RunStatus,
    SendOutcome,
    SoleActivity,
    SoleEnd,
    StartOutcome,
    StartVerdict,
    Transition,
    Unread,
    UpdateOutcome,
    UpdateStage,
    Verdict,
    WorkerRecord,
)
from durable._engine.schedules.rows import ScheduleRow, ScheduleWrite
from durable.store import _url
from durable.store._encoded import EncodedStore, beneath, through
from durable.store._inside import Delivery, Inside
from durable.store._migrate import MigrationStatus
from durable.store._nowhere import Nowhere
from durable.store._protocol import Lease, Store
from durable.store._transaction_protocol import ActivityTransaction, BegunTransaction, TransactionSource

__all__ = [
    "ANY_KEY",
    "NEVER_DUE",
    "RECENT",
    "TAKEN",
    "ActivityChange",
    "ActivityRecord",
    "ActivityState",
    "ActivityTransaction",
    "Anew",
    "AttemptOutcome",
    "BatchNews",
    "BatchRow",
    "BatchRun",
    "BegunTransaction",
    "BreakerNews",
    "BreakerRecord",
    "ChildStart",
    "ClaimedRun",
    "Close",
    "CommitResult",
    "Dealt",
    "Deed",
    "DeedRow",
    "Delivery",
    "EncodedStore",
    "ExternalSend",
    "Forced",
    "Heartbeat",
    "HeartbeatAnswer",
    "Hint",
    "HintKind",
    "Hold",
    "Inside",
    "KeyRecord",
    "Lane",
    "Lease",
    "ListedRun",
    "Message",
    "MigrationStatus",
    "NewActivity",
    "NewBatch",
    "NewRun",
    "Nowhere",
    "Operated",
    "QueryAnswer",
    "Question",
    "Release",
    "Reply",
    "Reset",
    "ResetView",
    "RunRecord",
    "RunStatus",
    "ScheduleRow",
    "ScheduleWrite",
    "SendOutcome",
    "SoleActivity",
    "SoleEnd",
    "StartOutcome",
    "StartVerdict",
    "Store",
    "TransactionSource",
    "Transition",
    "Unread",
    "UpdateOutcome",
    "UpdateStage",
    "Verdict",
    "WorkerRecord",
    "beneath",
    "migrate",
    "migration_script",
    "migrations",
    "open_store",
    "through",
]


async def open_store(url: str, *, namespace: str | None = None, migrate: bool = True, **limits: Any) -> Store:
    """Return an open store; only the adapter for this URL is imported.

    Args:
        url: `sqlite:///relative.db`, `sqlite:////absolute/path.db`, `sqlite://:memory:` or `postgresql://...`.
        namespace: Keeps the workflows of several applications in one database apart; on SQLite that is another file.
        migrate: Whether the tables may be made when there are none. Old ones are never changed here.
        **limits: Limits of the adapter, by name.

    Raises:
        StoreConfigurationError: The URL, the namespace, a limit or the database will not do; the text says what would.
        SchemaError: The tables are missing and may not be made, or are older or newer than this release.
        StoreUnavailableError: The database cannot be reached (now).
    """
    target = _url.parse(url)
    adapter = importlib.import_module(_url.ADAPTERS[target.scheme])
    store: Store = await adapter.open(url, namespace=namespace, migrate=migrate, **limits)
    return store


async def migrate(url: str, *, namespace: str | None = None, after: bool = False) -> list[str]:
    """Bring the tables of a database up to date, safely from many processes at once; return what was done.

    Args:
        url: As for `open_store`.
        namespace: As for `open_store`.
        after: Also make the changes that wait until no worker of the release before is left.

    Raises:
        StoreConfigurationError: The URL or the namespace will not do.
        StoreUnavailableError: The database cannot be reached (now).
    """
    target = _url.parse(url)
    adapter = importlib.import_module(_url.ADAPTERS[target.scheme])
    done: list[str] = await adapter.migrate(url, namespace=namespace, after=after)
    return done


async def migrations(url: str, *, namespace: str | None = None, **limits: Any) -> list[MigrationStatus]:
    """Return the migrations of this release and whether a database has them; nothing is changed.

    Args:
        url: As for `open_store`.
        namespace: As for `open_store`.
        **limits: As for `open_store`.

    Raises:
        StoreConfigurationError: The URL, the namespace or a limit will not do.
        StoreUnavailableError: The database cannot be reached (now).
    """
    target = _url.parse(url)
    adapter = importlib.import_module(_url.ADAPTERS[target.scheme])
    found: list[MigrationStatus] = await adapter.migrations(url, namespace=namespace, **limits)
    return found


def migration_script(url: str, *, namespace: str | None = None, made: Collection[str] = ()) -> str:
    """Return the SQL that `migrate` would run, as a script for the database's own shell; nothing is asked.

    Args:
        url: As for `open_store`; only its scheme is looked at.
        namespace: As for `open_store`.
        made: Names of migrations to leave out.

    Raises:
        StoreConfigurationError: The URL or the namespace will not do.
    """
    target = _url.parse(url)
    adapter = importlib.import_module(_url.ADAPTERS[target.scheme])
    script: str = adapter.migration_script(url, namespace=namespace, made=made)
    return script
