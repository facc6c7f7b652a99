"""Opening a database file: is it one of ours, may we, and are its tables there."""

from __future__ import annotations

import contextlib
import os
import re
import sqlite3
import stat
import time
from collections.abc import Collection, Generator

from durable._engine.versioning import ramp_of
from durable.exceptions import StoreConfigurationError
from durable.store import _migrate
from durable.store._migrate import Migration, MigrationStatus
from durable.store.sqlite._limits import Limits
from durable.store.sqlite._locks import FileLock

OLDEST = (3, 35, 0)
"""The oldest SQLite that has all that is used here: RETURNING's release, with UPDATE FROM and 32,766 parameters."""

NETWORK_FILE_SYSTEMS = frozenset(
    {"nfs", "nfs4", "cifs", "smb3", "smbfs", "afs", "ceph", "glusterfs", "fuse.sshfs", "fuse.s3fs"}
)

_VERSIONS = (
    "CREATE TABLE IF NOT EXISTS schema_version (name TEXT NOT NULL PRIMARY KEY, applied_at INTEGER NOT NULL)"
)
_TABLES = re.compile(r"^CREATE TABLE (?:IF NOT EXISTS )?(\w+)", re.MULTILINE | re.IGNORECASE)
_NOTE = "INSERT INTO schema_version VALUES ('{name}', CAST(strftime('%s', 'now') AS INTEGER) * 1000000);\n"


def check_library(version: tuple[int, ...] = sqlite3.sqlite_version_info) -> None:
    """Refuse an SQLite that is too old.

    Raises:
        StoreConfigurationError: It is; the text says how to get another.
    """
    if version < OLDEST:
        raise StoreConfigurationError(
            f"SQLite {'.'.join(map(str, OLDEST))} or newer is needed, this Python was built with "
            f"{'.'.join(map(str, version))}; use a newer Python, or PostgreSQL"
        )


def prepare(path: str) -> str:
    """Return the real path of a database file, which exists afterwards and is readable by its owner only.

    Raises:
        StoreConfigurationError: There is something there that is no plain file, or there is no such directory.
    """
    directory, name = os.path.split(os.path.abspath(path))
    path = os.path.join(os.path.realpath(directory), name)
    try:
        mode = os.lstat(path).st_mode
    except FileNotFoundError:
        try:
            # By its own descriptor and never again: closing it later would drop SQLite's locks on the file.
            flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | getattr(os, "O_NOFOLLOW", 0)
            os.close(os.open(path, flags, 0o600))
        except FileExistsError:
            return prepare(path)  # another process was faster
        except OSError as error:
            raise StoreConfigurationError(f"cannot make the database {path}: {error.strerror}") from error
        return path
    except OSError as error:
        raise StoreConfigurationError(f"cannot open the database {path}: {error.strerror}") from error
    if stat.S_ISLNK(mode):
        raise StoreConfigurationError(
            f"{path} is a symbolic link, and whoever can change it could exchange the database; name the file itself"
        )
    if not stat.S_ISREG(mode):
        raise StoreConfigurationError(f"{path} is not a file")
    return path


def check_there(path: str, url: str) -> None:
    """Return only if there is a file: one that has no tables and may have none is not worth making.

    Raises:
        SchemaError: There is none.
    """
    if path != ":memory:" and not os.path.exists(path):
        _migrate.judge(None, _migrate.newest(_migrate.load("durable.store.sqlite")), migrate=False, url=url)


def check_file_system(path: str, mounts: str = "/proc/self/mountinfo") -> None:
    """Refuse a file on a network, where locks and shared memory do not do what the database needs.

    Only Linux tells; elsewhere this passes.

    Raises:
        StoreConfigurationError: It is on one.
    """
    try:
        with open(mounts, encoding="utf-8", errors="surrogateescape") as lines:
            found = [line.split(" ") for line in lines]
    except OSError:
        return
    # Field 5 is the mount point, with blanks as \040; the type stands behind a lone dash. The longest one that fits wins.
    points = [
        (fields[4].replace("\\040", " "), fields[fields.index("-") + 1]) for fields in found if "-" in fields
    ]
    fitting = [(point, kind) for point, kind in points if os.path.commonpath((point, path)) == point]
    if fitting:
        point, kind = max(
            reversed(fitting), key=lambda mount: len(mount[0])
        )  # the last mount on a point hides others
        if kind in NETWORK_FILE_SYSTEMS:
            raise StoreConfigurationError(
                f"{path} is on a network ({kind}, mounted at {point}), where SQLite loses data: put it on a local disk, "
                "or use PostgreSQL"
            )


def connect(
    path: str,
    limits: Limits,
    *,
    read_only: bool = False,
    factory: type[sqlite3.Connection] = sqlite3.Connection,
) -> sqlite3.Connection:
    """Open a connection that threads hand to each other, never use at the same time."""
    db = sqlite3.connect(
        path,
        timeout=limits.busy,
        isolation_level=None,
        check_same_thread=False,
        cached_statements=512,
        factory=factory,
    )
    try:
        db.execute(f"PRAGMA cache_size = -{limits.cache_bytes // 1024}")
        db.execute("PRAGMA wal_autocheckpoint = 0")
        db.execute("PRAGMA synchronous = FULL")
        db.execute("PRAGMA foreign_keys = ON")
        db.execute("PRAGMA temp_store = MEMORY")
        db.create_function("durable_ramp", 1, ramp_of, deterministic=True)
        if read_only:
            db.execute("PRAGMA query_only = ON")
    except BaseException:
        db.close()
        raise
    return db


@contextlib.contextmanager
def _alone(path: str | None) -> Generator[None]:
    """Keep every other process from writing."""
    if path is None:
        yield
        return
    gate = FileLock(f"{path}-lock")
    try:
        gate.acquire()
        yield
    finally:
        gate.close()


def open_database(path: str | None, url: str, limits: Limits, *, migrate: bool) -> sqlite3.Connection:
    """Return a connection for the writer, the tables checked, and made when they are not there and may be.

    Raises:
        SchemaError: See `_migrate.judge`.
        StoreConfigurationError: It cannot be used as we need it.
        sqlite3.Error: It cannot be opened.
    """
    migrations = _migrate.load("durable.store.sqlite")
    db = connect(":memory:" if path is None else path, limits)
    try:
        with _alone(path):
            if path is not None and db.execute("PRAGMA journal_mode = WAL").fetchone()[0] != "wal":
                raise StoreConfigurationError(
                    f"{url} cannot use a write-ahead log; is it on a network file system?"
                )
            applied = _applied(db)
            found = None if applied is None else _migrate.version(applied)
            if found is None:
                _refuse_strangers(db, migrations, url)
            if _migrate.judge(found, _migrate.newest(migrations), migrate=migrate, url=url):
                _apply(db, migrations)
    except BaseException:
        db.close()
        raise
    return db


def migrate_file(path: str, limits: Limits, *, after: bool) -> list[str]:
    """Bring the tables of a file up to date, making them if need be; return the names of what was done."""
    db = connect(path, limits)
    try:
        with _alone(path):
            db.execute("PRAGMA journal_mode = WAL")
            applied, migrations = _applied(db), _migrate.load("durable.store.sqlite")
            if applied is None:
                _refuse_strangers(db, migrations, path)
            todo = _migrate.pending(migrations, applied or (), after=after or applied is None)
            _apply(db, todo)
            return [migration.name for migration in todo]
    finally:
        db.close()


def statuses(path: str, limits: Limits) -> list[MigrationStatus]:
    """Return the migrations of this release and whether a file, which need not exist, has them."""
    known = _migrate.load("durable.store.sqlite")
    if not os.path.exists(path):
        return _migrate.statuses(known, ())
    db = connect(path, limits, read_only=True)
    try:
        return _migrate.statuses(known, _applied(db) or ())
    finally:
        db.close()


def script(made: Collection[str]) -> str:
    """Return what `migrate_file` would do, for the shell of SQLite."""
    todo = [one for one in _migrate.load("durable.store.sqlite") if one.name not in made]
    parts = [f"-- {one.name}\n{one.sql}\n{_NOTE.format(name=one.name)}" for one in todo]
    return "\n".join(["BEGIN IMMEDIATE;", f"{_VERSIONS};", *parts, "COMMIT;"])


def _refuse_strangers(db: sqlite3.Connection, migrations: list[Migration], url: str) -> None:
    """See that no table has a name that ours are to have.

    Raises:
        StoreConfigurationError: One has; it is the application's.
    """
    ours = {"schema_version", *(name for one in migrations for name in _TABLES.findall(one.sql))}
    theirs = [row[0] for row in db.execute("SELECT name FROM sqlite_schema WHERE type IN ('table', 'view')")]
    if clash := sorted(name for name in theirs if name.lower() in ours):
        raise StoreConfigurationError(
            f"{url} has tables of another program that are named as those of durable: {', '.join(clash)}; give durable a file "
            "of its own, or name the others otherwise"
        )


def _applied(db: sqlite3.Connection) -> list[str] | None:
    """The names of what was done to this database, None when it has no tables of ours."""
    columns = [row[1] for row in db.execute("PRAGMA table_info(schema_version)")]
    if columns != ["name", "applied_at"]:
        return None
    return [row[0] for row in db.execute("SELECT name FROM schema_version").fetchall()]


def _apply(db: sqlite3.Connection, migrations: list[Migration]) -> None:
    """Make all of these, or none. The caller keeps other processes out."""
    if not migrations:
        return
    now = time.time_ns() // 1000
    db.execute("BEGIN IMMEDIATE")
    try:
        db.execute(_VERSIONS)
        for migration in migrations:
            for statement in _statements(migration.sql):
                db.execute(statement)
            db.execute("INSERT INTO schema_version VALUES (?, ?)", (migration.name, now))
        db.execute("COMMIT")
    except BaseException:
        if db.in_transaction:
            db.execute("ROLLBACK")
        raise


def _statements(sql: str) -> list[str]:
    """The statements of a file. (`executescript` would commit in the middle.)"""
    statements: list[str] = []
    current = ""
    for line in sql.splitlines(keepends=True):
        current += line
        if line.rstrip().endswith(";") and sqlite3.complete_statement(current):
            statements.append(current)
            current = ""
    return statements
