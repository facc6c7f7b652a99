"""Deterministic simulation: workers, clients, a network and a database in one process, on one thread, from one seed."""

from __future__ import annotations

from durable.testing.simulation._making import make_plan
from durable.testing.simulation._plan import Ask, Fault, Plan, read_plan
from durable.testing.simulation._run import Report, simulate
from durable.testing.simulation._scenario import simulate_script
from durable.testing.simulation._shrink import shrink

__all__ = [
    "Ask",
    "Fault",
    "Plan",
    "Report",
    "make_plan",
    "read_plan",
    "shrink",
    "simulate",
    "simulate_script",
]
