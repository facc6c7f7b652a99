"""What happened, as data: events, payloads and failures, and how they are written down. No behaviour, no I/O."""

from __future__ import annotations

from ._events import *  # noqa: F403
from ._failures import *  # noqa: F403
from ._payloads import *  # noqa: F403
from ._wire import *  # noqa: F403
