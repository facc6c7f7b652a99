"""A coroutine without a frame: what calling a definition gives.

Theory. Workflow code writes `await charge(order)`, and the same expression goes to `gather`, `create_task`,
`wait_for` and anyio's task groups. These want a coroutine, by `collections.abc.Coroutine`; a native one would cost a
frame and a second generator per step, so this one has none. Awaited directly, `__await__` returns the iterator of the
future behind the operation and the object here is gone from the stack. Only a task, which drives `send` and `throw`,
keeps it.

Invariants.

* It begins at most once: at the first `__await__` or `send`. A second time is a `RuntimeError`, as for coroutines.
* Thrown into or closed before it began, it never begins.
* Identity is equality. `gather` looks calls up in a dict, and two equal calls are two operations.
* Nothing is scheduled by creating one; nobody waiting for it is a mistake, reported when it is dropped.
"""

from __future__ import annotations

import sys
import warnings
from collections.abc import Coroutine, Generator
from types import CodeType
from typing import Any, TypeVar

__all__ = ["Deferred", "line_of", "shorten"]

R_co = TypeVar("R_co", covariant=True)


def shorten(path: str) -> str:
    """Return a source path without the directory of the program, or the whole path when it lies elsewhere."""
    for root in sys.path:
        base = root.rstrip("/\\")
        if base and path.startswith((base + "/", base + "\\")):
            return path[len(base) + 1 :]
    return path


def line_of(code: CodeType, instruction: int) -> int:
    """Return the source line of a bytecode offset."""
    for start, end, line in code.co_lines():
        if line is not None and start <= instruction < end:
            return line
    return code.co_firstlineno


class Deferred(Coroutine[Any, Any, R_co]):
    """The coroutine's protocol on top of one method, `_begin`, which returns the iterator that does the waiting.

    Subclasses set every slot themselves: an `__init__` here would be a second Python call per step.
    """

    __slots__ = ("__weakref__", "_begun", "_code", "_instruction", "_steps", "name")

    name: str
    _begun: bool
    _steps: Generator[Any, Any, R_co] | None
    _code: CodeType | None
    _instruction: int

    def _begin(self) -> Generator[Any, Any, R_co]:
        raise NotImplementedError

    def _kind(self) -> str:
        raise NotImplementedError

    @property
    def where(self) -> str:
        """The source line that made the call, as `path/file.py:12`; empty when it is not known."""
        if self._code is None:
            return ""
        return f"{shorten(self._code.co_filename)}:{line_of(self._code, self._instruction)}"

    def __await__(self) -> Generator[Any, Any, R_co]:
        if self._begun:
            raise self._again()
        self._begun = True
        return self._begin()

    def _again(self) -> RuntimeError:
        return RuntimeError(
            f"this {self._kind()} call of {self.name!r} was already awaited: a call is one execution, "
            "so call the definition again for another one"
        )

    def send(self, value: Any, /) -> Any:
        steps = self._steps
        if steps is None:
            steps = self._steps = self.__await__()
        return steps.send(value)

    def throw(self, typ: Any, val: Any = None, tb: Any = None, /) -> Any:
        if not isinstance(typ, BaseException):
            typ = val if isinstance(val, BaseException) else typ() if val is None else typ(val)
        if tb is not None:
            typ = typ.with_traceback(tb)
        steps = self._steps
        if steps is None:
            if self._begun:
                raise self._again()
            self._begun = True
            raise typ
        return steps.throw(typ)

    def close(self) -> None:
        self._begun = True
        if self._steps is not None:
            self._steps.close()

    # What `inspect`, and through it anyio, asks of a coroutine. There is no frame at any time.

    cr_frame = None

    @property
    def cr_running(self) -> bool:
        return False

    @property
    def cr_suspended(self) -> bool:
        return self._steps is not None

    @property
    def cr_await(self) -> Any:
        return self._steps

    @property
    def __name__(self) -> str:  # pyright: ignore[reportIncompatibleVariableOverride]  # asyncio's repr asks for it
        return self.name

    def __del__(self) -> None:
        if not self._begun and self._code is not None:
            warnings.warn_explicit(
                f"{self._kind()} call {self.name!r} was never awaited, so it never happened: write "
                f"`await {self.name}(...)`, or `{self.name}.start(...)` to schedule it and go on",
                RuntimeWarning,
                self._code.co_filename,
                line_of(self._code, self._instruction),
                source=self,
            )
