"""The numbers of the PostgreSQL adapter."""

from __future__ import annotations

from msgspec import Struct


class Limits(Struct, frozen=True):
    """Limits of a store on PostgreSQL; every one can be given to `open_store` by name. Times are in seconds.

    Attributes:
        pool_size: Connections for everything but commits, hints and the lease, which have one each (commits that start
            runs another). Each method is a transaction of milliseconds, so a few serve a worker; hundreds of workers
            share one server's limit.
        transactions: Connections for transactional activities, made when they are needed: as many of them run at once, and
            the others wait. None of them is ever waited for by anything else.
        transaction_idle: After how long the server ends such a transaction that stands still between two statements, as
            that of a stopped process would, holding up the attempt that is to take its place.
        acquire: How long a call waits for a connection, and for the database to come back, before it gives up.
        opening: How long opening a store goes on while nobody takes connections at its address: a restart of a server
            takes less, and a wrong address is told soon. A server that says that it is starting is waited for as ever.
        connect: How long one attempt to connect may take.
        statement: How long one call may take. It only ends what a black hole in the network would hold for ever.
        settle: How long is waited for the session of an ambiguous commit to end before the caller is told that it may
            not have; it is waited for again before anything is read back.
        backoff: The longest wait before the first attempt to connect again; it doubles, and the wait is random (full
            jitter), so that a restarted server is not met by everybody at once.
        backoff_most: The longest wait between two attempts.
        idle_in_transaction: After how long the server ends a session of ours that stands still inside a transaction, as
            that of a stopped process would, hiding the rows it has locked.
        lock: How long `terminate` waits for a row at a time.
        held_back: How long a start waits before it asks a run again that takes no messages for a moment.
        tries: How often a transaction is begun again that the server undid to resolve a conflict.
        hint_pause: How long hints are gathered behind those that were sent last.
        hint_most: How many hints of one kind are sent one by one; beyond it "anything" is said once.
        hint_linger: How long the listening connection is kept when nobody listens any more.
        tell_callers: Whether a start or a message in a transaction of a caller is hinted at when that commits, by a NOTIFY
            in it. Without one workers find it when they look next; a transaction that is to be prepared may have none.
        heartbeat: How often the listening connection is tried, since a dead one looks like a silent one.
        heartbeat_answer: How long it may take to answer.
    """

    pool_size: int = 4
    transactions: int = 8
    transaction_idle: float = 30.0
    acquire: float = 10.0
    opening: float = 2.5
    connect: float = 10.0
    statement: float = 30.0
    settle: float = 5.0
    backoff: float = 0.1
    backoff_most: float = 10.0
    idle_in_transaction: float = 10.0
    lock: float = 2.0
    held_back: float = 0.02
    tries: int = 5
    hint_pause: float = 0.003
    hint_most: int = 50
    hint_linger: float = 5.0
    tell_callers: bool = True
    heartbeat: float = 10.0
    heartbeat_answer: float = 5.0
