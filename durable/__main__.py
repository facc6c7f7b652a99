"""`python -m durable`: what has to work before there is a command line worth its name."""

from __future__ import annotations

import argparse
import asyncio
import sys
from importlib import metadata

from durable import store
from durable.exceptions import StoreConfigurationError, StoreUnavailableError

USAGE = 2
UNREACHABLE = 6


def main(arguments: list[str] | None = None) -> int:
    """Run a command and return the exit code: 0 done, 2 wrong usage, 6 the database cannot be reached."""
    parser = argparse.ArgumentParser(prog="python -m durable")
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("version", help="print the version")
    migrate = commands.add_parser("migrate", help="bring the tables of a database up to date")
    migrate.add_argument("url")
    migrate.add_argument("--namespace")
    migrate.add_argument(
        "--after", action="store_true", help="no worker of the release before is left: tidy up, too"
    )
    options = parser.parse_args(arguments)
    if options.command == "version":
        print(metadata.version("durable"))
        return 0
    try:
        done = asyncio.run(store.migrate(options.url, namespace=options.namespace, after=options.after))
    except StoreConfigurationError as error:
        print(error, file=sys.stderr)
        return USAGE
    except StoreUnavailableError as error:
        print(error, file=sys.stderr)
        return UNREACHABLE
    print(f"made {', '.join(done)}" if done else "nothing to do")
    return 0


if __name__ == "__main__":
    sys.exit(main())
