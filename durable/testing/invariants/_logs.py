"""Logs of operations and effects, as lines of JSON that several processes may write into one file."""

from __future__ import annotations

import os
import time
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec

from durable import activity
from durable.testing.invariants._evidence import Effect, Operation, Outcome


class _Lines:
    """Appends lines to a file, each whole, whoever else writes there; or keeps them, without one."""

    def __init__(self, path: str | Path | None) -> None:
        self._file = None if path is None else os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        self.kept: list[Any] = []

    def write(self, one: Any) -> None:
        if self._file is None:
            self.kept.append(one)
        else:
            os.write(self._file, msgspec.json.encode(one) + b"\n")


class Answer:
    """What an operation was told, filled in by whoever asked."""

    def __init__(self) -> None:
        self.run_id = ""
        self.value = ""


class OperationLog:
    """What one client asks for and is told.

        async with log.operation("signal", "order-1", key="token-17"):
            await handle.signal(Order.add, "token-17")

    An exception is how an answer is missing: one of `refused` says that nothing happened, every other one says nothing.

    Args:
        client: Who asks.
        path: A file of lines of JSON; several logs may share one. They are kept in `operations` without one.
        clock: What time it is, in seconds.
    """

    def __init__(
        self, client: str, path: str | Path | None = None, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._client = client
        self._clock = clock
        self._lines = _Lines(path)
        self._number = 0

    @property
    def operations(self) -> list[Operation]:
        """What was asked for, in the order of the answers; empty when it is written to a file."""
        return self._lines.kept

    @asynccontextmanager
    async def operation(
        self, kind: str, workflow_id: str, key: str = "", refused: tuple[type[BaseException], ...] = ()
    ) -> AsyncGenerator[Answer]:
        """Log what is done in the block as one operation, see `Operation`. What it raises goes on."""
        self._number += 1
        number, began, answer, outcome = self._number, self._clock(), Answer(), "info"
        try:
            yield answer
            outcome = "ok"
        except refused:
            outcome = "fail"
            raise
        finally:
            told: Outcome = outcome  # type: ignore[assignment]
            self._lines.write(
                Operation(
                    number,
                    self._client,
                    kind,
                    workflow_id,
                    key,
                    told,
                    answer.run_id,
                    answer.value,
                    began,
                    self._clock(),
                )
            )


def read_operations(path: str | Path) -> list[Operation]:
    """Return the operations of a file; a last line that was not written whole is left out."""
    return _read(path, Operation)


class EffectLedger:
    """What activities do, so that nothing is done in vain and nothing twice.

    Args:
        path: A file of lines of JSON that any number of processes may write; without one, effects are kept in `effects`.
        clock: What time it is, in seconds, for all who write.
    """

    def __init__(self, path: str | Path | None = None, *, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self._lines = _Lines(path)

    @property
    def effects(self) -> list[Effect]:
        """What was done; empty when it is written to a file."""
        return self._lines.kept

    def now(self) -> float:
        """Return the ledger's time."""
        return self._clock()

    def write(self, value: str = "", *, began: float | None = None, ended: bool = True) -> None:
        """Write what the present attempt does.

        Args:
            value: What is done.
            began: When the attempt began, on the ledger's clock; now, if left out.
            ended: Whether all of its work is done with this.
        """
        info, now = activity.info(), self._clock()
        self._lines.write(
            Effect(
                info.workflow_run_id or "",
                info.activity_id,
                info.activity_type,
                info.attempt,
                info.idempotency_key,
                value,
                now if began is None else began,
                now if ended else 0.0,
            )
        )


def read_effects(path: str | Path) -> list[Effect]:
    """Return the effects of a file; a last line that was not written whole is left out."""
    return _read(path, Effect)


def _read(path: str | Path, kind: type[Any]) -> list[Any]:
    decode = msgspec.json.Decoder(kind).decode
    lines = Path(path).read_bytes().split(b"\n") if Path(path).exists() else [b""]
    return [decode(line) for line in lines[:-1]]
