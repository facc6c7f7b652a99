"""The command line `durable`; `docs/cli.md` is its manual.

A command is a module of this package with a function `add(parser)`, and a line in `COMMANDS`. Its handler is given a
`Context` (the options, where the database is, where output goes) and returns an `ExitCode`; what it raises becomes one
sentence on standard error and the exit code that fits. Commands call the client, never the database.
"""

from __future__ import annotations

from durable.cli._context import Context
from durable.cli._exits import ExitCode
from durable.cli._program import main

__all__ = ["Context", "ExitCode", "main"]
