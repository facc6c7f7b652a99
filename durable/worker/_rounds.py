"""What every worker offers to do for the whole database, and one at a time does."""

from __future__ import annotations

from collections.abc import Coroutine
from typing import Any

from durable.worker._deadlines import watch
from durable.worker._home import Home
from durable.worker._observed import Observer
from durable.worker._retention import retire
from durable.worker._surveys import survey


def rounds(home: Home, observer: Observer | None) -> list[tuple[str, Coroutine[Any, Any, None]]]:
    """Return these parts of a worker, each with its name."""
    return [
        ("retention", retire(home)),
        ("survey", survey(home, observer)),
        ("deadlines", watch(home, observer)),
    ]
