"""The URL of a database, taken apart: what is ours, what is the driver's, and what may be shown."""

from __future__ import annotations

import os
import re
from urllib.parse import parse_qsl, quote, unquote, urlencode, urlsplit, urlunsplit

from msgspec import Struct

from durable.exceptions import StoreConfigurationError
from durable.store._url import redact
from durable.store.postgres._limits import Limits

_NAMESPACE = re.compile(r"[a-z_][a-z0-9_]{0,47}")
_QUALIFIER = re.compile(r"\bdurable\.")
_PORT = re.compile(r":\d+$")
_OURS = ("pooler", "statement_cache_size")
_SECRETS = ("password", "sslpassword")


class Settings(Struct, frozen=True):
    """Where the database is, and how it is used.

    Attributes:
        dsn: The URL for the driver: with the password, without our own options. Never shown.
        shown: The URL for people: without any password.
        address: Host and port, for people, whether the URL, the environment or the driver names them.
        server: The part of it that names the server, whatever the database and the role.
        secrets: The passwords, to be struck out of whatever text others make of the URL.
        namespace: The schema that holds the tables.
        pooler: Whether a pooler hands out another server connection for each transaction.
    """

    dsn: str
    shown: str
    address: str
    server: str
    secrets: tuple[str, ...]
    namespace: str
    pooler: bool
    limits: Limits

    def qualify(self, sql: str) -> str:
        """SQL written for the schema `durable`, for this namespace. Quoted: a namespace may be a word of SQL."""
        return qualified(sql, self.namespace)

    def strike_out(self, text: str) -> str:
        """Text in which no password stands."""
        for secret in self.secrets:
            text = text.replace(secret, "***")
        return text


def qualified(sql: str, namespace: str) -> str:
    """SQL written for the schema `durable`, for another."""
    return _QUALIFIER.sub(f'"{namespace}".', sql)


def check_namespace(namespace: str) -> None:
    """Return only if it can name a schema.

    Raises:
        StoreConfigurationError: It cannot.
    """
    if not _NAMESPACE.fullmatch(namespace) or namespace.startswith("pg_"):
        raise StoreConfigurationError(
            f"namespace must match [a-z_][a-z0-9_]{{0,47}} and not begin with pg_, since it names a schema: "
            f"{namespace[:60]!a}"
        )


def parse(url: str, namespace: str, limits: Limits) -> Settings:
    """Take a URL apart.

    Raises:
        StoreConfigurationError: It is not a URL of a PostgreSQL database, an option is unknown to us in value, or the
            namespace cannot be a schema's name.
    """
    check_namespace(namespace)
    try:
        parts = urlsplit(url)
        password = parts.password
    except ValueError:
        raise StoreConfigurationError("the database's URL cannot be taken apart") from None
    if parts.scheme not in ("postgresql", "postgres"):
        raise StoreConfigurationError(f"the URL must begin with postgresql://, not with {parts.scheme!a}")
    pairs = parse_qsl(parts.query, keep_blank_values=True)
    options = dict(pairs)
    pooler = options.get("pooler", "none")
    if pooler not in ("transaction", "none"):
        raise StoreConfigurationError(f"pooler must be transaction or none, not {pooler!a}")
    hosts = parts.netloc.rpartition("@")[2]
    secrets = [value for key, value in pairs if key in _SECRETS and value]
    for form in (password, None if password is None else unquote(password)):
        if form and form not in secrets:
            secrets.append(form)
    return Settings(
        dsn=urlunsplit(parts._replace(query=_query(pairs, _OURS))),
        shown=redact(url),
        address=_address(hosts, options),
        server=" ".join((hosts, options.get("host", ""), options.get("port", ""))),
        secrets=tuple(sorted(secrets, key=len, reverse=True)),
        namespace=namespace,
        pooler=pooler == "transaction" or options.get("statement_cache_size") == "0",
        limits=limits,
    )


def _address(hosts: str, options: dict[str, str]) -> str:
    """Where the driver looks, as it decides it: the URL, then the environment, then what is usual."""
    port = options.get("port") or os.environ.get("PGPORT") or "5432"
    named = unquote(hosts) or options.get("host") or os.environ.get("PGHOST")
    if not named:
        return f"a local socket or localhost, port {port} (the URL names no host)"
    return ", ".join(host if _PORT.search(host) else f"{host}:{port}" for host in named.split(","))


def _query(pairs: list[tuple[str, str]], without: tuple[str, ...]) -> str:
    return urlencode([(key, value) for key, value in pairs if key not in without], quote_via=quote)
