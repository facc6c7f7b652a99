"""Every option that is accepted somewhere, and a test that fails when it is dropped; see `dropped`."""

from __future__ import annotations

DROPS: dict[str, str] = {}
