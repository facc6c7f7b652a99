"""Overrides of versions, as people write them and as they are stored."""

from __future__ import annotations

from durable._engine.versioning import AUTO_UPGRADE
from durable._internal.shown import shown
from durable.client._connection import Connection
from durable.common import (
    AutoUpgradeVersioningOverride,
    PinnedVersioningOverride,
    VersioningOverride,
    WorkerDeploymentVersion,
)


def check_override(override: object) -> str:
    """Return an override as it is stored, "" for None.

    Raises:
        TypeError: It is none.
    """
    match override:
        case None:
            return ""
        case PinnedVersioningOverride():
            return f"{override.version.deployment_name}:{override.version.build_id}"
        case AutoUpgradeVersioningOverride():
            return AUTO_UPGRADE
        case _:
            raise TypeError(
                "versioning_override must be a PinnedVersioningOverride or an AutoUpgradeVersioningOverride, not "
                f"{shown(override)}"
            )


def override_of(stored: str) -> VersioningOverride | None:
    """Return an override as people see it."""
    if not stored:
        return None
    if stored == AUTO_UPGRADE:
        return AutoUpgradeVersioningOverride()
    version = version_of(stored)
    return None if version is None else PinnedVersioningOverride(version)


def version_of(stored: str) -> WorkerDeploymentVersion | None:
    """Return a version as people see it; None for none."""
    return WorkerDeploymentVersion(*stored.split(":", 1)) if stored else None


async def check_served(connection: Connection, override: str, task_queue: str) -> None:
    """Refuse to pin a run to a version that has never served its queue: nobody would run it.

    Raises:
        ValueError: It has not.
        StoreUnavailableError: The database is away.
    """
    if not override or override == AUTO_UPGRADE:
        return
    name = override.partition(":")[0]
    found = await connection.patiently(lambda: connection.store.find_versions(name))
    if not any(one.version == override and task_queue in one.task_queues for one in found):
        raise ValueError(
            f"no worker of version {override} has ever served task queue {task_queue!r}: start one, or name another version"
        )
