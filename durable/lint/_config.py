"""`[tool.durable.lint]` in `pyproject.toml`."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatch
from pathlib import Path
from typing import Any, cast

from durable.lint.rules import RULES

CODES = (*(rule.code for rule in RULES), "DUR900", "DUR901")
"""What a finding may be of: the rules, files that are no Python, and suppressions of no use."""

SKIPPED = ("build", "dist", "node_modules", "venv", "__pycache__", "site-packages")
"""Folders that hold no code of the program, beside all whose names begin with a dot."""


class ConfigError(ValueError):
    """The configuration cannot be read, or says what there is not."""


@dataclass(frozen=True)
class Config:
    """What is checked, and how.

    Attributes:
        root: The folder of the program: imports are looked for below it, and paths are shown from it.
        select: The rules, by code or by its beginning.
        ignore: Those left out, likewise.
        exclude: Patterns of paths that are not checked.
        per_file_ignores: Rules left out in files, by pattern of their paths.
        allow: Dotted names that are no offence, such as "numpy.random.default_rng".
    """

    root: Path
    select: tuple[str, ...] = ("DUR",)
    ignore: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    per_file_ignores: Mapping[str, tuple[str, ...]] = field(default_factory=dict[str, tuple[str, ...]])
    allow: tuple[str, ...] = ()

    def wants(self, code: str, shown: str) -> bool:
        """Whether a rule is asked for in a file."""
        left_out = [
            *self.ignore,
            *(
                code
                for pattern, codes in self.per_file_ignores.items()
                if matches(shown, pattern)
                for code in codes
            ),
        ]
        return code.startswith(self.select) and not code.startswith(tuple(left_out))

    def skips(self, shown: str) -> bool:
        """Whether a file is not checked."""
        return any(matches(shown, pattern) for pattern in self.exclude)


def matches(shown: str, pattern: str) -> bool:
    """Whether a pattern names a path, or a folder that it is in."""
    return fnmatch(shown, pattern) or fnmatch(shown, f"{pattern.rstrip('/')}/*")


def find_config(start: Path) -> Config:
    """Read the configuration of the program that a folder belongs to: the nearest `pyproject.toml`, in it or above.

    Where there is none, the program is what is in the current folder, or else in the one that is given.

    Raises:
        ConfigError: It cannot be read, or says what there is not.
    """
    start = start.resolve()
    for folder in (start, *start.parents):
        file = folder / "pyproject.toml"
        if file.is_file():
            return read_config(file)
    here = Path.cwd()
    return Config(here if start.is_relative_to(here) else start)


def read_config(file: Path) -> Config:
    """Read the configuration in a file.

    Raises:
        ConfigError: It cannot be read, or says what there is not.
    """
    try:
        found: Any = tomllib.loads(file.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise ConfigError(f"{file}: {error}") from None
    for name in ("tool", "durable", "lint"):
        found = _table(file, name, found.get(name, {}))
    table: dict[str, Any] = found
    known = ("allow", "exclude", "ignore", "per-file-ignores", "select")
    for name in table:
        if name not in known:
            raise ConfigError(f"{file}: [tool.durable.lint] has no {name!r}; there are {', '.join(known)}")
    per_file = _table(file, "per-file-ignores", table.get("per-file-ignores", {}))
    return Config(
        root=file.parent.resolve(),
        select=_codes(file, "select", table.get("select", ["DUR"])),
        ignore=_codes(file, "ignore", table.get("ignore", [])),
        exclude=_strings(file, "exclude", table.get("exclude", [])),
        per_file_ignores={one: _codes(file, one, codes) for one, codes in per_file.items()},
        allow=_strings(file, "allow", table.get("allow", [])),
    )


def _table(file: Path, name: str, found: Any) -> dict[str, Any]:
    if not isinstance(found, dict):
        raise ConfigError(f"{file}: {name} is a table, not {found!r}")
    return cast("dict[str, Any]", found)


def _strings(file: Path, name: str, found: Any) -> tuple[str, ...]:
    if not isinstance(found, list) or not all(isinstance(one, str) for one in cast("list[object]", found)):
        raise ConfigError(f"{file}: {name} is a list of strings, not {found!r}")
    return tuple(cast("list[str]", found))


def _codes(file: Path, name: str, found: Any) -> tuple[str, ...]:
    codes = _strings(file, name, found)
    for code in codes:
        check_code(code, str(file))
    return codes


def check_code(code: str, where: str) -> None:
    """Refuse what is neither a rule's code nor the beginning of one.

    Raises:
        ConfigError: It is none.
    """
    if not code or not any(one.startswith(code) for one in CODES):
        raise ConfigError(f"{where}: no rule has a code that begins with {code!r}")
