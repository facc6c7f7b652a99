"""The port between the engine and a database, and what is needed to open one."""

from __future__ import annotations

import importlib
from collections.abc import AsyncGenerator, Collection, Mapping
from contextlib import asynccontextmanager
from typing import Any

from durable._engine.deadlines import DeadlineTurn, LateRun, LateRuns
from durable._engine.deeds import BatchNews, BatchRow, BatchRun, Dealt, Deed, DeedRow, NewBatch
from durable._engine.fleet import MOST_COUNTED, QueueState, QueueSurvey, Survey
from durable._engine.hints import ANY_KEY, Glance, Hint, HintKind
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
from durable.store._encoded import EncodedStore, as_stored, beneath, through
from durable.store._inside import Delivery, Inside
from durable.store._migrate import MigrationStatus
from durable.store._nowhere import Nowhere
from durable.store._protocol import Lease, Store
from durable.store._transaction_protocol import ActivityTransaction, BegunTransaction, TransactionSource

__all__ = [
    "ANY_KEY",
    "MOST_COUNTED",
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
    "DeadlineTurn",
    "Dealt",
    "Deed",
    "DeedRow",
    "Delivery",
    "EncodedStore",
    "ExternalSend",
    "Forced",
    "Glance",
    "Heartbeat",
    "HeartbeatAnswer",
    "Hint",
    "HintKind",
    "Hold",
    "Inside",
    "KeyRecord",
    "Lane",
    "LateRun",
    "LateRuns",
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
    "QueueState",
    "QueueSurvey",
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
    "Survey",
    "TransactionSource",
    "Transition",
    "Unread",
    "UpdateOutcome",
    "UpdateStage",
    "Verdict",
    "WorkerRecord",
    "as_stored",
    "beneath",
    "make_roles",
    "migrate",
    "migration_script",
    "migrations",
    "open_store",
    "roles_script",
    "scratch",
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


def roles_script(url: str, *, namespace: str | None = None) -> str:
    """Return the SQL that `make_roles` would run, as a script for the database's own shell; nothing is asked.

    Args:
        url: As for `open_store`; only its scheme is looked at.
        namespace: As for `open_store`.

    Raises:
        StoreConfigurationError: The URL or the namespace will not do, or the database has no roles.
    """
    adapter = importlib.import_module(_url.ADAPTERS[_url.parse(url).scheme])
    script: str = adapter.roles_script(url, namespace=namespace)
    return script


async def make_roles(url: str, *, namespace: str | None = None) -> None:
    """Make the roles of a namespace, each with the rights it needs, and hand the tables to their owner; again changes nothing.

    Args:
        url: As for `open_store`, with a role that may make roles.
        namespace: As for `open_store`.

    Raises:
        StoreConfigurationError: The URL or the namespace will not do, the role may not, or the database has no roles.
        SchemaError: There are no tables.
        StoreUnavailableError: The database cannot be reached (now).
    """
    adapter = importlib.import_module(_url.ADAPTERS[_url.parse(url).scheme])
    await adapter.make_roles(url, namespace=namespace)


@asynccontextmanager
async def scratch(url: str) -> AsyncGenerator[tuple[Store, str | None, Mapping[str, str]]]:
    """Open a store beside a database, empty and on the same server or disk, and remove it behind the block.

    It comes with its namespace, and with the settings of the database that decide what a commit costs.

    Args:
        url: As for `open_store`; what is there is neither read nor changed.

    Raises:
        StoreConfigurationError: The URL will not do, or there is no place for it.
        StoreUnavailableError: The database cannot be reached (now).
    """
    adapter = importlib.import_module(f"{_url.ADAPTERS[_url.parse(url).scheme]}._scratch")
    async with adapter.scratch(url) as (place, namespace):
        store = await open_store(place, namespace=namespace)
        try:
            yield store, namespace, await adapter.settings_of(store)
        finally:
            await store.aclose()
