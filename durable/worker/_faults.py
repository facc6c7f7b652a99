"""What is at fault when a run is blocked, in one line for people."""

from __future__ import annotations

import asyncio
import os
import traceback
from collections.abc import Sequence
from typing import cast

from durable.exceptions import WorkflowTaskError

_NOT_THE_USERS = (os.path.dirname(os.path.dirname(__file__)), os.path.dirname(asyncio.__file__))
"""Where source files lie whose lines tell a workflow's author nothing."""

MAX_REASON = 2000
"""Characters of the reason why a run is blocked; the log has the whole traceback."""


def describe_fault(error: BaseException) -> str:
    """Return what is at fault in one line: the exceptions, innermost members for a group, each with its line."""
    members = cast(Sequence[BaseException], getattr(error, "exceptions", ()))
    if members:
        inner = "; ".join(describe_fault(member) for member in members)
        return f"{type(error).__name__}: {error}: {inner}"[:MAX_REASON]
    where = ""
    frames = traceback.extract_tb(error.__traceback__)
    own = [frame for frame in frames if not frame.filename.startswith(_NOT_THE_USERS)]
    if own and not isinstance(error, WorkflowTaskError):
        where = f" ({own[-1].filename}:{own[-1].lineno})"
    return f"{type(error).__name__}: {error}{where}"[:MAX_REASON]
