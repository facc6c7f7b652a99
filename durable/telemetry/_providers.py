"""Whether a program has set OpenTelemetry up, asked without importing it.

Importing OpenTelemetry's API takes longer than all of `durable`. Who wants it has imported it: without that there is no
provider to find.
"""

from __future__ import annotations

import sys
from typing import Any

__all__ = ["provider_of"]


def provider_of(module: str, getter: str) -> Any:
    """Return the provider that is set for the process; None if none is, or one that does nothing."""
    api = sys.modules.get(module)
    if api is None or (get := getattr(api, getter, None)) is None:
        return None
    provider = get()
    # What the API has itself does nothing: its no-op, and the one that waits for another to be set.
    return None if type(provider).__module__.startswith(module) else provider
