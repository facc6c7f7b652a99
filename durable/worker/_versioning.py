"""Which version a worker is of, what that means for its workflows, and which of its runs it has to let go."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from dataclasses import dataclass

from durable._engine.versioning import BEHAVIORS, NO_VERSION, QueueRoute, place, reach, reaches
from durable._internal.shown import shown
from durable.common import VersioningBehavior, WorkerDeploymentVersion
from durable.history import WorkflowTaskCompleted
from durable.worker._home import Home
from durable.workflow._definition import WorkflowDefinition

logger = logging.getLogger("durable.worker")

STRANDED_EVERY = 60.0
"""Seconds between two warnings about runs whose version has no workers."""


@dataclass(frozen=True)
class WorkerDeploymentConfig:
    """Which version of an application a worker is.

    Attributes:
        version: Its deployment and build. Nothing is read from the source: who builds names the build.
        use_worker_versioning: Whether it gets only runs of its version. When not, it is a worker without a version.
        default_versioning_behavior: That of workflows which say nothing themselves.
    """

    version: WorkerDeploymentVersion
    use_worker_versioning: bool
    default_versioning_behavior: VersioningBehavior = VersioningBehavior.UNSPECIFIED

    def __post_init__(self) -> None:
        version: object = self.version
        if not isinstance(version, WorkerDeploymentVersion):
            raise TypeError(f"version must be a WorkerDeploymentVersion, not {shown(version)}")
        behavior: object = self.default_versioning_behavior
        if not isinstance(behavior, VersioningBehavior):
            raise TypeError(
                f"default_versioning_behavior must be a VersioningBehavior, not {shown(behavior)}"
            )


def version_of(config: WorkerDeploymentConfig | None) -> str:
    """Return the version a worker serves, as it is stored; "" for one without.

    Raises:
        TypeError: It is no `WorkerDeploymentConfig`.
    """
    if config is None:
        return ""
    if not isinstance(config, WorkerDeploymentConfig):
        raise TypeError(f"deployment_config must be a WorkerDeploymentConfig, not {shown(config)}")
    return stored(config.version) if config.use_worker_versioning else ""


def stored(version: WorkerDeploymentVersion) -> str:
    """Return a version as it is stored."""
    return f"{version.deployment_name}:{version.build_id}"


def default_of(
    config: WorkerDeploymentConfig | None, workflows: Iterable[WorkflowDefinition]
) -> VersioningBehavior:
    """Return what holds for those of a worker's workflows that say nothing of versions.

    Raises:
        ValueError: The worker has a version, and a workflow says nothing of versions, nor does the worker for it.
    """
    if config is None or not (version := version_of(config)):
        return VersioningBehavior.UNSPECIFIED
    for definition in workflows:
        if definition.dynamic_config is None:
            completed(version, definition, config.default_versioning_behavior)
    return config.default_versioning_behavior


def completed(
    version: str, definition: WorkflowDefinition, default: VersioningBehavior
) -> WorkflowTaskCompleted:
    """Return what the log is to say of tasks of a workflow that a worker of a version runs.

    Raises:
        ValueError: Neither the workflow nor the default says anything of versions.
    """
    behavior = definition.versioning_behavior or default
    if behavior is VersioningBehavior.UNSPECIFIED:
        raise ValueError(
            f"{definition.parameters.what} ({definition.where}) says nothing of versions, and its worker has one "
            f"({version}): write @workflow.defn(versioning_behavior=VersioningBehavior.PINNED) or AUTO_UPGRADE, or give "
            "WorkerDeploymentConfig a default_versioning_behavior"
        )
    return WorkflowTaskCompleted(worker_deployment_version=version, versioning_behavior=BEHAVIORS[behavior])


class Versions:
    """What one incarnation knows of versions: its own, and whom its queue belongs to."""

    def __init__(self, home: Home, version: str) -> None:
        self._home = home
        self.version = version
        self.route: QueueRoute | None = None
        self._warn_at = 0.0
        self._stranded: list[tuple[str, str]] = []

    @property
    def routed(self) -> bool:
        """Whether the queue is, as far as is known, one of versions."""
        return self.route is not None

    def served(self, definition: WorkflowDefinition) -> WorkflowTaskCompleted:
        """What the log is to say of tasks of a workflow that this worker runs.

        Raises:
            ValueError: A dynamic workflow says nothing of versions where it must.
        """
        if not self.version:
            return NO_VERSION
        return completed(self.version, definition, self._home.options.default_behavior)

    def may_own(self, task_queue: str, version: str, workflow_id: str) -> bool:
        """Whether a new run may be this worker's from the start, as far as is known here; the database decides."""
        if self.route is None:
            return not self.version and not version
        return reaches(reach(task_queue, self.version, self.route), place(task_queue, version), workflow_id)

    def changed(self, workflow_id: str) -> bool:
        """Whether a run of this worker would be another version's, if it followed its queue."""
        return (
            self.route is not None and bool(self.version) and self.route.target(workflow_id) != self.version
        )

    async def look(self) -> None:
        """Learn whom the queue belongs to, and have every run given up that is not this worker's any more.

        Each goes as soon as nothing of it is under way.

        Raises:
            StoreUnavailableError: The database is away; the next look finds them.
        """
        home = self._home
        queue = home.task_queue
        route = (await home.store.queue_routes([queue])).get(queue)
        if route != self.route:
            self.route = route
            for host in home.hosts.values():
                host.watch_target()
        if route is None:
            return
        for run_id in await home.store.moved_runs(home.worker_id, [queue], self.version):
            if (moved := home.hosts.get(run_id)) is not None:
                moved.pause()

    async def warn_of_stranded(self, now: float) -> None:
        """Say which versions have runs that are ready and no worker, once in a while."""
        if self.route is None or now < self._warn_at:
            return
        self._warn_at = now + STRANDED_EVERY
        found = await self._home.store.stranded_versions()
        for version, queue in found:
            if (version, queue) in self._stranded:
                logger.warning(
                    "runs on task queue %r are pinned to version %s, of which no worker is alive: start one, or move them "
                    "with handle.update_options(versioning_override=...)",
                    queue,
                    version,
                )
        # Twice before it is said: a worker may be about to come.
        self._warn_at = now + (STRANDED_EVERY if self._stranded == found else 1.0)
        self._stranded = found
