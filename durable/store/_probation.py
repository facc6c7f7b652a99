"""Runs whose owners died: when one is claimed only alone, and what people are told when it is held for good."""

from __future__ import annotations

PROBATION = 2
"""Deaths from which on a run is claimed only alone, and whose next death quarantines it."""

QUARANTINED = (
    "{deaths} workers died while they had this run, the last of them while it was tried alone, so it is likely to be "
    "what kills them; it stays held until an operator frees it: look into the logs of those workers first"
)
"""The reason of a quarantine. Adapters put the number of deaths in place of `{deaths}`, in the database."""
