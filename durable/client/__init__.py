"""Clients: what starts workflows, sends them messages, asks them, and waits for their results."""

from __future__ import annotations

from durable.client._client import Client
from durable.client._describe import PendingActivity, WorkflowExecutionDescription
from durable.client._handle import WorkflowHandle, WorkflowHistory

__all__ = [
    "Client",
    "PendingActivity",
    "WorkflowExecutionDescription",
    "WorkflowHandle",
    "WorkflowHistory",
]
