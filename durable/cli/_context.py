"""What a command is given."""

from __future__ import annotations

import argparse
import os
import socket
import sys
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from functools import cached_property
from importlib import import_module
from typing import Any

from durable._internal.shown import shown
from durable.cli._output import Output
from durable.cli._settings import Settings, current
from durable.client import Client
from durable.converter import DataConverter, default
from durable.store import Store, migrations, open_store

PATIENCE = 2.5
"""Seconds to go on trying in: with what Python takes to start, a command tells within five that the database is away."""


def hurried(url: str) -> dict[str, float]:
    """Return the limits of a store for somebody who waits for the answer."""
    if url.startswith("sqlite:"):
        return {"busy": PATIENCE}
    return {"acquire": PATIENCE, "connect": PATIENCE, "opening": 1.0}


class Context:
    """The options of a command, its settings, and where its output goes.

    Attributes:
        options: Its options, by name.
        out: Where output goes.
        arguments: What stood behind the program's name.
    """

    def __init__(self, options: argparse.Namespace, out: Output, arguments: Sequence[str] = ()) -> None:
        self.options: Any = options
        self.arguments = arguments
        self._flags: dict[str, Any] = vars(options)
        self.out = out

    @cached_property
    def settings(self) -> Settings:
        """Its flags, on top of the environment, on top of pyproject.toml."""
        return current(self._flags)

    @asynccontextmanager
    async def client(self, *, serves: bool = False) -> AsyncGenerator[Client]:
        """Open the database, and close it behind the block.

        Args:
            serves: Whether it is for workers: they make missing tables, as programs do, and are patient with the database
                once it has answered. Whoever asks something wants to know soon.

        Raises:
            StoreError: It cannot be opened.
        """
        settings = self.settings
        if "app" in self.options:
            self.load()
        url, namespace = settings.url, settings.get("namespace")
        if serves:
            await migrations(url, namespace=namespace, **hurried(url))
        store = await open_store(url, namespace=namespace, migrate=serves, **({} if serves else hurried(url)))
        try:
            client = self.client_of(store, namespace)
            if not serves:
                client._connection.patiently.patience = PATIENCE
        except BaseException:
            await store.aclose()
            raise
        async with client:
            yield client

    def client_of(self, store: Store, namespace: str | None) -> Client:
        """Return a client of an open store, as the settings want it."""
        converter = self.settings.get("converter")
        return Client(
            store,
            namespace=namespace or "default",
            identity=self.settings.get("identity") or f"{os.getpid()}@{socket.gethostname()}",
            data_converter=default() if converter is None else load_converter(converter),
        )

    def load(self) -> Any:
        """Import the application, if one is named, and return what its name stands for.

        Raises:
            ImportError: There is no such module, or no such name in it.
        """
        app = self.settings.get("app")
        return None if app is None else load(app, "-A")


def load_converter(name: str) -> DataConverter:
    """Return the data converter that `MODULE:NAME` stands for.

    Raises:
        ImportError: There is no such module, or no such name in it.
        ValueError: It is something else.
    """
    found = load(name, "--converter")
    if not isinstance(found, DataConverter):
        raise ValueError(f"--converter {name}: it is no DataConverter, but {shown(found)}")
    return found


def load(name: str, option: str) -> Any:
    """Return a module, or with `MODULE:NAME` what has that name in it. The working directory is looked in first.

    Raises:
        ImportError: There is no such module, or no such name in it.
    """
    if "" not in sys.path:
        sys.path.insert(0, "")
    where, _, attribute = name.partition(":")
    try:
        found: Any = import_module(where)
    except ModuleNotFoundError as error:
        if error.name is not None and (where == error.name or where.startswith(f"{error.name}.")):
            raise ImportError(
                f"{option} {name}: there is no module {error.name!r} here or installed"
            ) from None
        raise
    for part in attribute.split(".") if attribute else ():
        if not hasattr(found, part):
            raise ImportError(f"{option} {name}: {where} has no {attribute!r}")
        found = getattr(found, part)
    return found
