"""What is at fault when a run is blocked, in one line for people."""

from __future__ import annotations

import asyncio
import os
import traceback
from collections.abc import Sequence
from typing import cast

from durable.converter._text import clean, safe_str
from durable.exceptions import HistoryError, PayloadCodecError, WorkflowTaskError

_NOT_THE_USERS = (os.path.dirname(os.path.dirname(__file__)), os.path.dirname(asyncio.__file__))
"""Where source files lie whose lines tell a workflow's author nothing."""

_OURS = (WorkflowTaskError, PayloadCodecError, HistoryError)
"""Errors whose text names activities and positions, and never values."""

MAX_REASON = 2000
"""Characters of the reason why a run is blocked; the log has the whole traceback."""


def describe_fault(error: BaseException, *, hide: bool = False) -> str:
    """Return what is at fault in one line: the exceptions, innermost members for a group, each with its line.

    Args:
        error: What the code raised.
        hide: Whether to leave out what exceptions say that are not this library's: the reason is stored as it is.
    """
    members = cast(Sequence[BaseException], getattr(error, "exceptions", ()))
    if isinstance(error, _OURS):
        text = clean(safe_str(error), MAX_REASON)
    elif hide:
        text = "(its message is in the worker's log)"
    else:  # no database takes all that an exception may say, and it is to be one line
        text = clean(safe_str(error), MAX_REASON).replace("\n", "\\n")
    if members:
        inner = "; ".join(describe_fault(member, hide=hide) for member in members)
        return f"{type(error).__name__}: {text}: {inner}"[:MAX_REASON]
    where = ""
    frames = traceback.extract_tb(error.__traceback__)
    own = [frame for frame in frames if not frame.filename.startswith(_NOT_THE_USERS)]
    if own and not isinstance(error, WorkflowTaskError):
        where = f" ({own[-1].filename}:{own[-1].lineno})"
    return f"{type(error).__name__}: {text}{where}"[:MAX_REASON]
