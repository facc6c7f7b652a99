"""Runs that an operator has paused: their owner gives them up, and nobody takes them until they go on."""

from __future__ import annotations

from durable.worker._home import Home


async def give_up_paused(home: Home) -> None:
    """Have every run given up that this worker owns and that is paused, each as soon as nothing of it is under way.

    Raises:
        StoreUnavailableError: The database is away; the next look finds them.
    """
    if not home.hosts:
        return
    for run_id in await home.store.paused_runs(home.worker_id):
        host = home.hosts.get(run_id)
        if host is not None:
            host.pause()
