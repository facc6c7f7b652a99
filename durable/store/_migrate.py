"""Which changes of the tables to make, decided without a database.

Migrations are numbered files, `migrations/0002_what.sql`, in each adapter's package; several may share a number, and are
made in the order of their names. A change that workers of the release before could not live with comes in two of one
number, `0002_what.before.sql` and `0002_what.after.sql`: the first only adds and may be made while old workers run, the
second removes, once none is left. So workers of release n-1 run on schema n, and a deploy needs no pause.

A database keeps the names of what it has made in `schema_version`; its version is the highest number among them, apart
from what comes after. What a program does with that is `judge`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from importlib import resources
from typing import NamedTuple

from durable.exceptions import SchemaError

_NAME = re.compile(r"^(\d{4})_[a-z0-9_]+(?:\.(?:before|(after)))?$")


class Migration(NamedTuple):
    """One file: its number, whether it waits for the last old worker to be gone, its name without `.sql`, its text."""

    number: int
    after: bool
    name: str
    sql: str


class MigrationStatus(NamedTuple):
    """A migration as a database has it.

    Attributes:
        name: Its name.
        made: Whether it has been made there.
        after: Whether it waits until no worker of the release before is left.
    """

    name: str
    made: bool
    after: bool


def load(package: str) -> list[Migration]:
    """Return the migrations of an adapter's package, in the order in which they are made.

    Raises:
        ValueError: A file has no proper name, or a number is missing.
    """
    found: list[Migration] = []
    for entry in resources.files(package).joinpath("migrations").iterdir():
        if not entry.name.endswith(".sql"):
            continue
        name = entry.name.removesuffix(".sql")
        match = _NAME.match(name)
        if match is None:
            raise ValueError(f"{package}/migrations/{entry.name}: not a migration's name")
        found.append(Migration(int(match[1]), match[2] is not None, name, entry.read_text("utf-8")))
    found.sort()
    if {migration.number for migration in found if not migration.after} != set(range(1, newest(found) + 1)):
        raise ValueError(f"{package}/migrations: a number is missing")
    return found


def newest(migrations: Iterable[Migration]) -> int:
    """The version of a database that has all of these."""
    return max((migration.number for migration in migrations if not migration.after), default=0)


def version(applied: Iterable[str]) -> int:
    """The version of a database that has made the migrations with these names."""
    return max((int(name[:4]) for name in applied if not name.endswith(".after")), default=0)


def pending(migrations: Iterable[Migration], applied: Iterable[str], *, after: bool) -> list[Migration]:
    """The migrations still to be made, in order; those that remove something only when `after` is set."""
    done = set(applied)
    return [
        migration for migration in migrations if migration.name not in done and (after or not migration.after)
    ]


def statuses(migrations: Iterable[Migration], applied: Iterable[str]) -> list[MigrationStatus]:
    """Each migration of this release, then those that only the database knows, whatever made them."""
    done = [*applied]
    known = [MigrationStatus(one.name, one.name in done, one.after) for one in migrations]
    names = {one.name for one in known}
    return known + [
        MigrationStatus(name, True, name.endswith(".after")) for name in done if name not in names
    ]


def judge(found: int | None, known: int, *, migrate: bool, url: str) -> bool:
    """Return whether the tables are to be made first: there are none, and that was asked for.

    Args:
        found: The database's version; None when it has no tables of ours.
        known: The version this release was made for.
        migrate: Whether tables may be made.
        url: The database, without any password; it appears in the errors.

    Raises:
        SchemaError: The tables are missing and not to be made, or older, or newer by more than one version.
    """
    command = f"durable migrate up --db {url}"
    if found is None:
        if not migrate:
            raise SchemaError(
                f"{url} has no tables of durable, and this program does not make them; run: {command}"
            )
        return True
    if found < known:
        raise SchemaError(
            f"the tables in {url} have version {found}, this release needs version {known}; run: {command}"
        )
    if found > known + 1:
        raise SchemaError(
            f"the tables in {url} have version {found}, this release was made for version {known} and runs on "
            f"{known + 1} at most; install a newer release of durable (then `{command}` changes nothing)"
        )
    return False
