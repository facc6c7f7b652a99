"""What a rule is, and what it finds."""

from __future__ import annotations

import ast
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import ClassVar

from durable.lint._reach import Look, Use


@dataclass(frozen=True, slots=True, order=True)
class Finding:
    """Something that a rule found.

    Attributes:
        path: The file, as seen from where the program's root is.
        line: Its line, from 1.
        column: Its column, from 1.
        code: The rule.
        message: What is wrong, and what to do instead.
        end_line: The last line of what is wrong.
    """

    path: str
    line: int
    column: int
    code: str
    message: str
    end_line: int

    def __str__(self) -> str:
        return f"{self.path}:{self.line}:{self.column} {self.code} {self.message}"


class Where(Enum):
    """Which functions a rule looks at."""

    WORKFLOW = "workflow code, and the helpers it calls"
    ACTIVITY = "`async def` activities, and the helpers they call"
    DEFINITION = "the signatures of workflows, activities and messages"


Found = tuple[ast.AST, str]
"""A node, and what is wrong with it."""


class Rule(ABC):
    """One thing that code of workflows or activities must not do. The first line of its docstring is what the docs show.

    Attributes:
        code: By which it is named in findings, suppressions and configuration.
        name: The same for people.
        where: Which functions it looks at.
        bad: A program in which it finds something.
        good: The same program as it should be.
    """

    code: ClassVar[str]
    name: ClassVar[str]
    where: ClassVar[Where] = Where.WORKFLOW
    bad: ClassVar[str]
    good: ClassVar[str]

    @abstractmethod
    def check(self, look: Look) -> Iterator[Found]:
        """Yield what is wrong in a function, each with a message of one sentence that names what to do instead."""

    @classmethod
    def summary(cls) -> str:
        """What it is about, in a line."""
        return (cls.__doc__ or "").strip().partition("\n")[0]


class Forbidden(Rule):
    """A rule about names that are not to be called.

    Attributes:
        calls: What must not be called: dotted names, or `package.*` for all that is in one, with what to do instead.
        says: What is wrong with these calls.
    """

    calls: ClassVar[Mapping[str, str]]
    says: ClassVar[str]

    def check(self, look: Look) -> Iterator[Found]:
        for use in look.uses:
            if not isinstance(use.meaning, str) or not is_called(use, look) or not self.applies(use, look):
                continue
            instead = lookup(self.calls, use.meaning)
            if instead is not None:
                yield use.node, f"{shown(use.meaning)}() {self.says}; {instead}"

    def applies(self, use: Use, look: Look) -> bool:
        """Whether a call with these arguments is meant."""
        return True


def is_called(use: Use, look: Look) -> bool:
    """Whether a name is called, or passed to what may call it."""
    if use.call is not None:
        return True
    parent = look.parent(use.node)
    return isinstance(parent, ast.keyword) or (isinstance(parent, ast.Call) and use.node in parent.args)


def lookup(names: Mapping[str, str], dotted: str) -> str | None:
    """Return what a table says of a dotted name, by itself or by a package it is in."""
    if dotted in names:
        return names[dotted]
    while "." in dotted:
        dotted = dotted.rpartition(".")[0]
        if (found := names.get(f"{dotted}.*")) is not None:
            return found
    return None


def shown(dotted: str) -> str:
    """A dotted name as people write it."""
    return (
        dotted.removeprefix("builtins.").replace("datetime.datetime.", "datetime.").removeprefix("durable.")
    )
