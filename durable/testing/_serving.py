"""What an environment's own workers serve: all that is defined in this process, so far as it is not ambiguous.

A test suite defines many small workflows, several of them with one name. A worker of a program refuses to choose between
two; here the choice is what the test has called, or what stands beside that in the same module.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, get_origin

from msgspec.structs import replace

from durable.activity._activity import Activity
from durable.activity._definition import ActivityDefinition
from durable.activity._registry import REGISTRY as ACTIVITIES
from durable.activity._registry import Defined, Registry
from durable.exceptions import RegistrationError
from durable.workflow._definition import REGISTRY as WORKFLOWS
from durable.workflow._definition import WorkflowDefinition
from durable.workflow._workflow import Workflow


def workflows_for(queue: str, called: WorkflowDefinition | None) -> list[Workflow[Any, ..., Any]]:
    """Return the workflows that a worker on a queue serves."""
    return [Workflow(one) for one in _chosen(WORKFLOWS, queue, called) if _whole(one)]


def activities_for(
    queue: str, called: WorkflowDefinition | None, transactions: Sequence[type[Any]]
) -> list[Activity[..., Any]]:
    """Return the activities that a worker on a queue serves, those of processes in threads; methods are not among them.

    Args:
        queue: The queue.
        called: What the test has called last.
        transactions: What is lent to transactional activities. A worker refuses what it could not run, so those that want
            something else are not among them.
    """
    found = [one for one in _chosen(ACTIVITIES, queue, called) if not one.is_method]
    return [Activity(here(one)) for one in found if not one.transactional or _fits(one, transactions)]


def here(definition: ActivityDefinition) -> ActivityDefinition:
    """Return the same activity, in this process: where patches, debuggers and what tests look at reach it."""
    return replace(definition, executor="thread") if definition.executor == "process" else definition


def _fits(definition: ActivityDefinition, transactions: Sequence[type[Any]]) -> bool:
    wanted = definition.parameters.transaction
    return bool(transactions) and (wanted is Any or (get_origin(wanted) or wanted) in transactions)


def any_transactional() -> bool:
    """Whether a transactional activity is defined in this process."""
    return any(one.transactional for name in ACTIVITIES.names() for one in ACTIVITIES.named(name))


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
    return True


def _chosen(registry: Registry[Any], queue: str, called: WorkflowDefinition | None) -> list[Any]:
    chosen: list[Any] = []
    for name in registry.names():
        found = _meant(registry.served(name, queue), called)
        if len(found) == 1:
            chosen.append(found[0])
    return chosen


def _beside(one: Defined, called: WorkflowDefinition) -> bool:
    return one.module == called.module
