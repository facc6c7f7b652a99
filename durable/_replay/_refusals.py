"""What a workflow's event loop says to the methods it does not have: what to use instead."""

from __future__ import annotations

from asyncio.events import AbstractEventLoop
from collections.abc import Callable
from typing import Any, NoReturn

__all__ = ["WAKES", "refuse_the_rest"]

WAKES = "Only completed operations, timers and messages wake a workflow: send it a signal, or complete an activity."
_TURNS = "The worker runs it in turns; workflow code awaits instead."
_IO = "Do input and output in an activity and await its result."
_SETTING = "It has no such setting."

_ADVICE = {
    "call_soon_threadsafe": WAKES,
    "run_in_executor": "Threads are outside the log. Run the function as an activity and await its result.",
    **dict.fromkeys(("run_forever", "run_until_complete", "stop", "close"), _TURNS),
    **dict.fromkeys(("shutdown_asyncgens", "shutdown_default_executor"), _TURNS),
    **dict.fromkeys(("set_debug", "set_task_factory", "set_default_executor"), _SETTING),
    **dict.fromkeys(
        ("get_exception_handler", "set_exception_handler", "default_exception_handler"), _SETTING
    ),
}


def _refusal(name: str) -> Callable[..., NoReturn]:
    def refuse(*_args: object, **_kwargs: object) -> NoReturn:
        raise RuntimeError(f"A workflow's event loop does not support {name}(). {_ADVICE.get(name, _IO)}")

    refuse.__name__ = name
    refuse.__doc__ = f"Raise RuntimeError: {_ADVICE.get(name, _IO)}"
    return refuse


def refuse_the_rest(loop_type: Any) -> None:
    """Give `loop_type` a refusal for each public method of the interface that it does not define.

    What a later Python adds refuses too. The base class raises a bare NotImplementedError, which says nothing and
    which anyio takes as a hint to start a selector thread.
    """
    for name in dir(AbstractEventLoop):
        if not name.startswith("_") and name not in vars(loop_type):
            setattr(loop_type, name, _refusal(name))
