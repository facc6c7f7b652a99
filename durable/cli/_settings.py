"""Where a setting comes from: a flag, else the environment, else `[tool.durable]` in the nearest pyproject.toml."""

from __future__ import annotations

import os
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from durable.exceptions import StoreConfigurationError

SETTINGS = {
    "url": "the database, such as sqlite:///app.db or postgresql://user@host/database",
    "namespace": "the schema of PostgreSQL that keeps the application's workflows",
    "app": "the module that defines workflows and activities, or MODULE:NAME",
    "task_queue": "the task queue of workers and starts",
    "converter": "the data converter, as MODULE:NAME",
    "identity": "how people find whoever ran the command",
}
"""What can be set, and what it means."""

OF_WORKER = ("concurrency", "cache", "drain_timeout", "processes", "http", "log_level")
"""What can be set besides, for `durable worker`: its options of the same names. In a file numbers are allowed too."""

_LIBPQ = ("PGHOST", "PGDATABASE", "PGSERVICE")


class Settings:
    """The settings of one command."""

    def __init__(self, flags: Mapping[str, Any], environment: Mapping[str, str], directory: Path) -> None:
        self._flags = flags
        self._environment = environment
        self._file, self._table = _table_of(directory)

    def get(self, name: str) -> str | None:
        """Return a setting, None when nobody has set it."""
        if (flag := self._flags.get(name)) is not None:
            return str(flag)
        if given := self._environment.get(f"DURABLE_{name.upper()}"):
            return given
        return self._table.get(name)

    def source(self, name: str) -> str:
        """Return where a setting that no flag gave comes from, for an error's text."""
        variable = f"DURABLE_{name.upper()}"
        return variable if self._environment.get(variable) else f"{name} in [tool.durable] of {self._file}"

    @property
    def url(self) -> str:
        """Where the database is.

        Raises:
            StoreConfigurationError: Nobody has said.
        """
        if found := self.get("url"):
            return found
        if any(self._environment.get(name) for name in _LIBPQ):
            return "postgresql://"  # the driver reads the rest from there
        where = f"; {self._file} has no url in [tool.durable]" if self._file else ""
        raise StoreConfigurationError(
            f"no database: pass --db, for example --db sqlite:///app.db, or set DURABLE_URL{where}"
        )


def current(flags: Mapping[str, Any]) -> Settings:
    """Return the settings of this process.

    Raises:
        ValueError: pyproject.toml says something that is no setting.
    """
    return Settings(flags, os.environ, Path.cwd())


def _table_of(directory: Path) -> tuple[Path | None, dict[str, str]]:
    """Return the nearest pyproject.toml and what it says about `durable`."""
    for folder in (directory, *directory.parents):
        file = folder / "pyproject.toml"
        if not file.is_file():
            continue
        try:
            table: dict[str, Any] = tomllib.loads(file.read_text("utf-8")).get("tool", {}).get("durable", {})
        except (tomllib.TOMLDecodeError, UnicodeDecodeError, AttributeError) as error:
            raise ValueError(f"{file}: {error}") from None
        plain: dict[str, str] = {}
        for name, value in table.items():
            if isinstance(value, dict):
                continue  # tables are tools'
            if name not in (*SETTINGS, *OF_WORKER):
                known = ", ".join((*SETTINGS, *OF_WORKER))
                raise ValueError(f"{file}: [tool.durable] has no {name!r}; there are {known}")
            if not isinstance(value, str) and (name in SETTINGS or type(value) is not int):
                raise ValueError(f"{file}: {name} in [tool.durable] must be a text, not {value!r}")
            plain[name] = str(value)
        return file, plain
    return None, {}
