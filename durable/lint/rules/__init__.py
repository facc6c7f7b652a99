"""The rules, by subject: the world outside, order, state, the way through the code, calls, activities."""

from __future__ import annotations

from durable.lint._rule import Rule
from durable.lint.rules import _activities, _calls, _flow, _order, _outside, _state, _world

__all__ = ["RULES"]

SUBJECTS = (_world, _outside, _order, _state, _flow, _calls, _activities)

RULES: tuple[Rule, ...] = tuple(
    sorted((rule for subject in SUBJECTS for rule in subject.RULES), key=lambda rule: rule.code)
)
"""All rules, by code."""
