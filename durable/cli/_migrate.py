"""`durable migrate`: the tables of a database."""

from __future__ import annotations

import argparse
from collections.abc import AsyncIterator

from durable import store
from durable.cli._context import Context, hurried
from durable.cli._exits import ExitCode
from durable.cli._options import verb, verbs_of
from durable.store import MigrationStatus


def add(parser: argparse.ArgumentParser) -> None:
    """Give the command its verbs."""
    verbs = verbs_of(parser)
    up = verb(
        verbs,
        "up",
        migrate_up,
        "make what is missing; from several processes at once, and beside workers of the release before",
        data=False,
    )
    up.add_argument("place", nargs="?", metavar="URL", help="the same as --db")
    up.add_argument(
        "--after", action="store_true", help="no worker of the release before is left: tidy up, too"
    )
    up.add_argument("--dry-run", action="store_true", help="only say what would be made")
    verb(verbs, "list", migrate_list, "list the migrations and whether they were made")
    verb(verbs, "check", migrate_check, "exit with 3 when something is to be made", data=False)
    sql = verb(
        verbs,
        "sql",
        migrate_sql,
        "print the SQL that `up` would run, for whoever must see it first",
        data=False,
    )
    sql.add_argument("--all", action="store_true", help="of an empty database; none is asked then")
    roles = verb(
        verbs,
        "roles",
        migrate_roles,
        "print the SQL that makes the least roles for workers, programs, people who look and whoever cleans up",
        data=False,
    )
    roles.add_argument("--apply", action="store_true", help="run it, as a role that may make roles")
    verb(verbs, "down", migrate_down, "say why there is no way back", data=False)


async def migrate_up(context: Context) -> ExitCode:
    """Bring the tables up to date."""
    options = context.options
    options.url = options.url or options.place
    if options.dry_run:
        missing = [
            one.name for one in await _there(context) if not one.made and (options.after or not one.after)
        ]
        context.out.line(f"would make {', '.join(missing)}" if missing else "nothing to do")
        return ExitCode.OK
    settings = context.settings
    await _there(context)  # whether it answers at all is told soon; what is to be made may take its time
    done = await store.migrate(settings.url, namespace=settings.get("namespace"), after=options.after)
    context.out.line(f"made {', '.join(done)}" if done else "nothing to do")
    return ExitCode.OK


async def migrate_list(context: Context) -> ExitCode:
    """List the migrations."""

    async def records() -> AsyncIterator[dict[str, object]]:
        for one in await _there(context):
            yield {"name": one.name, "made": one.made, "after": one.after}

    await context.out.records(
        "migrations",
        records(),
        ("name", "made", "note"),
        lambda one: (
            one["name"],
            "yes" if one["made"] else "no",
            "waits for the last old worker" if one["after"] else "",
        ),
    )
    return ExitCode.OK


async def migrate_check(context: Context) -> ExitCode:
    """Say whether something is to be made."""
    missing = [one.name for one in await _there(context) if not one.made and not one.after]
    if not missing:
        context.out.line("up to date")
        return ExitCode.OK
    context.out.line(f"{len(missing)} to be made: {', '.join(missing)}; run: durable migrate up")
    return ExitCode.MIGRATION_NEEDED


async def migrate_sql(context: Context) -> ExitCode:
    """Print what `up` would run."""
    settings = context.settings
    made = () if context.options.all else [one.name for one in await _there(context) if one.made]
    context.out.line(store.migration_script(settings.url, namespace=settings.get("namespace"), made=made))
    return ExitCode.OK


async def migrate_roles(context: Context) -> ExitCode:
    """Print, or run, what makes the roles."""
    settings = context.settings
    namespace = settings.get("namespace")
    if not context.options.apply:
        context.out.line(store.roles_script(settings.url, namespace=namespace))
        return ExitCode.OK
    await _there(context)
    await store.make_roles(settings.url, namespace=namespace)
    context.out.line(
        "made the roles; grant them to those who log in, and run this again after each migration"
    )
    return ExitCode.OK


async def migrate_down(context: Context) -> ExitCode:
    """Refuse."""
    context.out.note(
        "durable: migrations only add, so workers of the release before run on these tables as they are: deploy that release "
        "again. What is to be gone entirely is the whole schema (or file)."
    )
    return ExitCode.USAGE


async def _there(context: Context) -> list[MigrationStatus]:
    settings = context.settings
    return await store.migrations(settings.url, namespace=settings.get("namespace"), **hurried(settings.url))
