"""Bridges to libraries that `durable` does not need: each module imports its own, and nothing else imports these."""

from __future__ import annotations

__all__: list[str] = []
