"""Workers: what claims runs, runs their code, commits their steps and executes activities."""

from __future__ import annotations

from durable.worker._patches import PatchActivationInput
from durable.worker._worker import Worker

__all__ = ["PatchActivationInput", "Worker"]
