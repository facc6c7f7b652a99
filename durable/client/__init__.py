"""Clients: what starts workflows, sends them messages, asks them, and waits for their results."""

from __future__ import annotations

from ._client import Client
from ._describe import PendingActivity, WorkflowExecutionDescription
from ._handle import WorkflowHandle, WorkflowHistory

__all__ = [
    "Client",
    "PendingActivity",
    "WorkflowExecutionDescription",
    "WorkflowHandle",
    "WorkflowHistory",
]
