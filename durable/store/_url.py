"""URLs of databases: which adapter, which place, and the same without what must not be shown."""

from __future__ import annotations

import re
from typing import NamedTuple
from urllib.parse import parse_qsl, unquote, urlencode, urlsplit, urlunsplit

from durable.exceptions import StoreConfigurationError

ADAPTERS = {
    "sqlite": "durable.store.sqlite",
    "postgresql": "durable.store.postgres",
    "postgres": "durable.store.postgres",
}
"""The package that opens the databases of each scheme."""

ACCEPTED = "sqlite:///relative.db, sqlite:////absolute/path.db, sqlite://:memory: and postgresql://user:password@host/database"

MEMORY = ":memory:"

_SCHEME = re.compile(r"^([A-Za-z][A-Za-z0-9+.-]*)://")
_SECRETS = ("password", "sslpassword", "passfile")


class Target(NamedTuple):
    """What a URL says: its scheme, in lower case, and the URL as it was given."""

    scheme: str
    url: str


def parse(url: object) -> Target:
    """Return where a URL leads.

    Raises:
        StoreConfigurationError: No adapter takes it; the text names what is accepted, and shows no password.
    """
    if not isinstance(url, str):
        raise StoreConfigurationError(
            f"a database URL is a string, such as {ACCEPTED}; not {type(url).__name__}"
        )
    match = _SCHEME.match(url)
    if match is None:
        hint = f"; did you mean sqlite:///{url}" if url.endswith((".db", ".sqlite", ".sqlite3")) else ""
        raise StoreConfigurationError(f"{redact(url)!r} is not a database URL{hint}; accepted are {ACCEPTED}")
    scheme = match[1].lower()
    if scheme not in ADAPTERS:
        raise StoreConfigurationError(
            f"no adapter for {scheme}:// ({redact(url)!r}); accepted are {ACCEPTED}"
        )
    return Target(scheme, url)


def redact(url: str) -> str:
    """Return the URL without any password, fit for logs and error texts."""
    try:
        parts = urlsplit(url)
        credentials, at, host = parts.netloc.rpartition("@")
        user = credentials.partition(":")[0]
        query = parts.query
        if query:
            query = urlencode([(k, "***" if k.lower() in _SECRETS else v) for k, v in parse_qsl(query, True)])
        netloc = f"{user}:***{at}{host}" if ":" in credentials else parts.netloc
        return urlunsplit(parts._replace(netloc=netloc, query=query)) if parts.netloc or query else url
    except ValueError:  # not even a URL, yet there may be something like a password in it
        return re.sub(r"//[^/@]*@", "//***@", url)


def sqlite_path(url: str) -> str:
    """Return the file an SQLite URL names, or `:memory:`.

    Raises:
        StoreConfigurationError: It names none, or carries options, of which there are none.
    """
    rest = url.partition("://")[2]
    if rest in (MEMORY, f"/{MEMORY}"):
        return MEMORY
    path, question, _ = rest.partition("?")
    if question or "#" in path:
        raise StoreConfigurationError(
            f"{url!r}: an SQLite URL takes no options; a '?' or '#' that belongs to the file's name is written as %3F or %23"
        )
    if not path.startswith("/"):
        raise StoreConfigurationError(
            f"{url!r} names a host, and SQLite has none; sqlite:/// and a path is relative, sqlite://// absolute"
        )
    path = unquote(path[1:])
    if not path or path.endswith("/") or "\0" in path:
        raise StoreConfigurationError(f"{url!r} names no file; accepted are {ACCEPTED}")
    return path
