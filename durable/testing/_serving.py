"""What an environment's own workers serve: all that is defined in this process, so far as it is not ambiguous.

A test suite defines many small workflows, several of them with one name. A worker of a program refuses to choose between
two; here the choice is what the test has called, or what stands beside that in the same module.
"""

from __future__ import annotations

from typing import Any

from durable.activity._activity import Activity
from durable.activity._registry import REGISTRY as ACTIVITIES
from durable.activity._registry import Defined, Registry
from durable.exceptions import RegistrationError
from durable.workflow._definition import REGISTRY as WORKFLOWS
from durable.workflow._definition import WorkflowDefinition
from durable.workflow._workflow import Workflow


def workflows_for(queue: str, called: WorkflowDefinition | None) -> list[Workflow[Any, ..., Any]]:
    """Return the workflows that a worker on a queue serves."""
    return [Workflow(one) for one in _chosen(WORKFLOWS, queue, called) if _whole(one)]


def activities_for(queue: str, called: WorkflowDefinition | None) -> list[Activity[..., Any]]:
    """Return the activities that a worker on a queue serves; methods are not among them, nor what needs a transaction.

    A database in memory has no transaction to lend, and a worker refuses what it could not run.
    """
    found = [one for one in _chosen(ACTIVITIES, queue, called) if not one.is_method and not one.dynamic]
    return [Activity(one) for one in found if one.executor != "process" and not one.transactional]


def ambiguous(called: WorkflowDefinition | None) -> list[str]:
    """Return, for people, which names have several definitions, so that no worker that comes by itself serves them."""
    told: list[str] = []
    for registry in (WORKFLOWS, ACTIVITIES):
        for name in registry.names():
            found = registry.named(name)
            if len(found) > 1 and len(_meant(found, called)) != 1:
                places = " and at ".join(one.where for one in found)
                told.append(
                    f"There are several definitions of {registry.kind} {name!r}, at {places}: make a worker with the one that "
                    "is meant, env.worker(workflows=[...], activities=[...])."
                )
    return told


def _meant(found: list[Any], called: WorkflowDefinition | None) -> list[Any]:
    """Of several definitions with one name, those that a test means which has called this one."""
    if called is None or len(found) < 2:
        return found
    return [one for one in found if one is called] or [one for one in found if _beside(one, called)]


def _whole(definition: WorkflowDefinition) -> bool:
    try:
        definition.check()
    except RegistrationError:
        return False
    return not definition.dynamic


def _chosen(registry: Registry[Any], queue: str, called: WorkflowDefinition | None) -> list[Any]:
    chosen: list[Any] = []
    for name in registry.names():
        found = _meant(registry.served(name, queue), called)
        if len(found) == 1:
            chosen.append(found[0])
    return chosen


def _beside(one: Defined, called: WorkflowDefinition) -> bool:
    return one.module == called.module
