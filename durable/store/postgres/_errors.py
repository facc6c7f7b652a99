"""What an error of the driver means: the one table from SQLSTATE to what the library does about it.

Never by text, which is translated and changes; and never by the driver's class, of which there are hundreds.
"""

from __future__ import annotations

from enum import Enum
from typing import cast

import asyncpg

from durable.exceptions import SchemaError, StoreConfigurationError, StoreError, StoreUnavailableError


class Meaning(Enum):
    """What is to be done about an error."""

    UNAVAILABLE = (
        "unavailable"  # the connection is gone or useless; whether the statement took effect is not known
    )
    REFUSED = (
        "refused"  # the server did not do it and cannot now (disk, memory, a cancel); the connection is fine
    )
    CONFLICT = "conflict"  # undone to resolve a conflict: begin again
    POOLER = (
        "pooler"  # a prepared statement is elsewhere: something between us and the server swaps connections
    )
    STALE = "stale"  # the tables changed under a prepared statement: prepare again
    TAKEN = "taken"  # a key is there already
    DATA = "data"  # a value the database cannot hold: the caller's fault
    SCHEMA = "schema"  # tables or functions are missing
    CONFIGURATION = "configuration"  # credentials, rights, isolation
    BUG = "bug"


_MEANINGS = {
    "40001": Meaning.CONFLICT,  # serialization_failure
    "40P01": Meaning.CONFLICT,  # deadlock_detected
    "55P03": Meaning.CONFLICT,  # lock_not_available, after lock_timeout
    "23505": Meaning.TAKEN,
    "26000": Meaning.POOLER,  # no such prepared statement
    "42P05": Meaning.POOLER,  # there is one of this name already
    "25006": Meaning.UNAVAILABLE,  # read-only: a failover left us on the old primary; a new connection finds the new one
    "53300": Meaning.UNAVAILABLE,  # too many connections
    "57P01": Meaning.UNAVAILABLE,  # terminated by an administrator
    "57P02": Meaning.UNAVAILABLE,  # crash of another backend
    "57P03": Meaning.UNAVAILABLE,  # starting up
    "57P05": Meaning.UNAVAILABLE,  # idle for too long
    "25P03": Meaning.UNAVAILABLE,  # idle in a transaction for too long
    "57014": Meaning.REFUSED,  # cancelled, or the server's statement_timeout
    "58030": Meaning.REFUSED,  # input or output failed
    "42501": Meaning.CONFIGURATION,  # the role may not
    "3D000": Meaning.CONFIGURATION,  # no such database
    "DU001": Meaning.CONFIGURATION,  # ours: another isolation than READ COMMITTED
    "42P01": Meaning.SCHEMA,
    "42703": Meaning.SCHEMA,
    "42883": Meaning.SCHEMA,
    "3F000": Meaning.SCHEMA,
}

_CLASSES = {
    "08": Meaning.UNAVAILABLE,
    "53": Meaning.REFUSED,
    "28": Meaning.CONFIGURATION,
    "22": Meaning.DATA,
    "23": Meaning.DATA,
}


def sqlstate(error: BaseException) -> str:
    """The error's SQLSTATE, empty when it is not the server's."""
    return (
        cast(str, getattr(error, "sqlstate", None) or "") if isinstance(error, asyncpg.PostgresError) else ""
    )


def meaning(error: BaseException) -> Meaning:
    """What is to be done about an error that the driver raised."""
    if isinstance(error, asyncpg.InvalidCachedStatementError | asyncpg.OutdatedSchemaCacheError):
        return Meaning.STALE
    code = sqlstate(error)
    if code:
        return _MEANINGS.get(code) or _CLASSES.get(code[:2], Meaning.BUG)
    if isinstance(error, asyncpg.DataError):  # found by the driver, before anything was sent
        return Meaning.DATA
    if isinstance(error, OSError | TimeoutError | asyncpg.InterfaceError | asyncpg.PostgresConnectionError):
        return Meaning.UNAVAILABLE
    if isinstance(error, asyncpg.InternalClientError):
        # A connection that was cut in the middle of something trips over its own state: nothing is known.
        return Meaning.UNAVAILABLE
    return Meaning.BUG


def connection_survives(error: BaseException) -> bool:
    """Whether the connection that raised this can be used again."""
    return isinstance(error, Exception) and meaning(error) not in (
        Meaning.UNAVAILABLE,
        Meaning.POOLER,
        Meaning.BUG,
    )


def translate(error: Exception, where: str) -> Exception:
    """The library's error for one of the driver's. `where` is the store's URL, without a password."""
    told = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
    match meaning(error):
        case Meaning.UNAVAILABLE | Meaning.REFUSED | Meaning.POOLER | Meaning.STALE:
            return StoreUnavailableError(f"{where} cannot be reached now ({told})")
        case Meaning.CONFLICT:
            return StoreUnavailableError(f"{where}: a row stayed locked by another session ({told})")
        case Meaning.DATA:
            return ValueError(f"a value cannot be stored ({told})")
        case Meaning.SCHEMA:
            return SchemaError(
                f"{where} lacks tables or functions of this release ({told}); "
                "open the store with migrate=True, as a role that may create them"
            )
        case Meaning.CONFIGURATION:
            return StoreConfigurationError(f"{where} is not usable ({told})")
        case Meaning.TAKEN | Meaning.BUG:
            return StoreError(f"{where}: {told}")
