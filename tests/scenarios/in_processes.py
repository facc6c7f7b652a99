"""Activities that scenarios run in other processes, which find them here by name."""

from __future__ import annotations

import multiprocessing
import os
import signal
import time
from dataclasses import asdict
from typing import Any

from durable import ApplicationError, activity
from durable.exceptions import CancelledError


class OddError(Exception):
    """One that cannot be made again from its arguments."""

    def __init__(self, one: int, two: int) -> None:
        super().__init__(f"{one} and {two}")


@activity.defn(name="scn.pr.where")
def where(word: str) -> list[Any]:
    about = activity.info()
    return [word, os.getpid(), multiprocessing.current_process().name != "MainProcess", about.attempt]


@activity.defn(name="scn.pr.here", executor="thread")
def here() -> int:
    return os.getpid()


@activity.defn(name="scn.pr.fails")
def fails(how: str) -> Any:
    if how == "odd":
        raise OddError(1, 2)
    if how == "caused":
        try:
            raise KeyError("below")
        except KeyError as error:
            raise ApplicationError("above", 7, type="Above", non_retryable=True) from error
    if how == "argument":
        return "never"
    return lambda: None  # cannot be pickled


@activity.defn(name="scn.pr.waits")
def waits() -> str:
    while not activity.is_cancelled():
        activity.heartbeat("alive")
        time.sleep(0.01)
    raise CancelledError("as it was asked")


@activity.defn(name="scn.pr.explains")
def explains() -> list[str]:
    """Wait until it is asked to end, and return why."""
    assert activity.cancellation_details() is None
    while not activity.is_cancelled():
        activity.heartbeat("alive")
        time.sleep(0.01)
    details = activity.cancellation_details()
    assert details is not None
    return [name for name, true in asdict(details).items() if true]


@activity.defn(name="scn.pr.beats")
def beats() -> list[Any]:
    about = activity.info()
    if about.attempt == 1:
        activity.heartbeat("so far", 3)
        raise ApplicationError("again")
    return list(about.heartbeat_details)


@activity.defn(name="scn.pr.dies")
def dies() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


class Shop:
    def __init__(self, name: str) -> None:
        self.name = name

    @activity.method(name="scn.pr.method", executor="process")
    def at(self, item: str) -> str:
        return f"{item} at {self.name}, in {multiprocessing.current_process().name != 'MainProcess'}"
