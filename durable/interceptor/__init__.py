"""Interceptors: what stands around the calls of clients, of workflows and of activities.

An interceptor sees each call as an *input*, may change it, and hands it to the next one. Two kinds are written: one
around what a client does (`durable.client.Interceptor`), and one around what a worker runs (`durable.worker.Interceptor`);
a class may be both. What they tell each other travels in *headers*: payloads beside the arguments, recorded with the
events of starts, signals, updates, activities and children.
"""

from __future__ import annotations

from durable.interceptor import client, worker

__all__ = ["client", "worker"]
