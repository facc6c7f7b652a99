"""What happened, as data: events, payloads and failures, and how they are written down. No behaviour, no I/O."""

from __future__ import annotations

from durable.history._events import *  # noqa: F403
from durable.history._failures import *  # noqa: F403
from durable.history._payloads import *  # noqa: F403
from durable.history._wire import *  # noqa: F403
