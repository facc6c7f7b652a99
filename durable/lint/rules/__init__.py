"""The rules, by subject: the world outside, order, state, the way through the code, calls, activities."""

from __future__ import annotations

from durable.lint._rule import Rule
from durable.lint.rules import _activities, _calls, _flow, _order, _state, _world

__all__ = ["RULES"]

RULES: tuple[Rule, ...] = (
    *_world.RULES,
    *_order.RULES,
    *_state.RULES,
    *_flow.RULES,
    *_calls.RULES,
    *_activities.RULES,
)
"""All rules, by code."""
