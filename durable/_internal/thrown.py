"""Exceptions raised in other threads, and whether one is on its way.

CPython 3.11 has one flag for the whole interpreter that says so. It falls when an exception arrives in its thread, and not
when it is taken back; while it is up, a thread that is traced or profiled goes round and round at the beginning of the
next function it calls. So nothing is ever taken back: who may be meant lets it arrive (`let_arrive`), and who wants to
profile asks `on_their_way` before.
"""

from __future__ import annotations

import ctypes

on_their_way: set[int] = set()
"""Threads in which an exception is to be raised that they have not been seen to have got."""

_STEPS = 100
"""Loop rounds after which an exception that was sent to this thread has arrived: the first one looks for it."""


def raise_in_thread(thread_id: int, exception: type[BaseException]) -> None:
    """Raise an exception in another thread, at its next bytecode."""
    on_their_way.add(thread_id)
    ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(thread_id), ctypes.py_object(exception))


def let_arrive() -> None:
    """Let what was raised in the calling thread arrive: here, if it has not yet.

    Raises:
        BaseException: It did, here.
    """
    for _ in range(_STEPS):
        pass


def has_arrived(thread_id: int) -> None:
    """Take the news, from the thread itself, that nothing is on its way to it."""
    on_their_way.discard(thread_id)
