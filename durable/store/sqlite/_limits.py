"""The numbers of the SQLite adapter."""

from __future__ import annotations

from msgspec import Struct


class Limits(Struct, frozen=True):
    """Limits of a store on SQLite; every one can be given to `open_store` by name.

    Attributes:
        busy: Seconds to wait for the database while another process writes, before the caller gets an error. Longer
            than any transaction should take, shorter than people wait.
        held_back: Seconds until a start asks a run again that takes no messages for a moment.
        transaction: Seconds that a transactional activity may keep its transaction open, before it is undone: nothing else
            is written meanwhile, by whatever process. Shorter than `busy`, so that the others only wait.
        idle: Seconds without a write after which the log is moved into the database, and other processes are looked for less often.
        look_around: Seconds between two looks for commits of other processes, while somebody listens.
        look_idle: The same when nobody has committed for `idle` seconds. A look wakes a thread, which costs a sleeping
            machine some 100 µs: this is a fifth of 1 % of a core.
        wal_commits: Commits after which the log is moved into the database. That costs about as much as three
            commits; after it the log is written over from its beginning, and the file system syncs that in half the time
            of a log that grows.
        wal_bytes: Size of the log at which it is moved whatever the number of commits; readers slow down as it grows. At
            twice the size the file is cut off as well.
        cache_bytes: Memory for pages, of each of the two connections.
    """

    busy: float = 10.0
    held_back: float = 0.02
    transaction: float = 5.0
    idle: float = 1.0
    look_around: float = 0.02
    look_idle: float = 0.05
    wal_commits: int = 100
    wal_bytes: int = 8 * 1024 * 1024
    cache_bytes: int = 16 * 1024 * 1024
