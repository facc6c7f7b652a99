"""What helps to test: programs written with `durable`, and databases it is to run on."""

from __future__ import annotations

__all__: list[str] = []
