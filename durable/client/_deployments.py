"""Worker deployments: which version of an application is current, which one ramps up, and which are not needed any more."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from enum import IntEnum

from msgspec import structs

from durable._engine.versioning import DeploymentRow, VersionRow
from durable._internal.ids import check_name
from durable._internal.instants import to_datetime
from durable.client._connection import Connection
from durable.client._versioning import version_of
from durable.common import WorkerDeploymentVersion
from durable.exceptions import WorkerDeploymentConflictError, WorkerDeploymentNotFoundError
from durable.store import ANY_KEY, Hint, HintKind

TRIES = 10
"""How often a change is made anew over somebody else's, when no conflict token says that it must not be."""


class WorkerDeploymentVersionStatus(IntEnum):
    """Where a version is in its life. Values are Temporal's."""

    UNSPECIFIED = 0
    INACTIVE = 1
    """It has never been current or ramping, or nothing is left that says so, and no run is pinned to it."""
    CURRENT = 2
    RAMPING = 3
    DRAINING = 4
    """It is neither any more, and open runs are pinned to it: keep its workers."""
    DRAINED = 5
    """Its workers can go: no open run is pinned to it."""


@dataclass(frozen=True)
class WorkerDeploymentRoutingConfig:
    """Whom runs belong to that follow their queue.

    Attributes:
        current_version: Who has them, but for the ramping version's share; None for workers without a version.
        ramping_version: Who has a share; None for nobody, or, with a percentage, for workers without a version.
        ramping_version_percentage: How large that share of workflow ids is, from 0 to 100.
        current_version_changed_time: When the current version was set; None when none was.
        ramping_version_changed_time: When the ramping version was set; None when there is none.
    """

    current_version: WorkerDeploymentVersion | None
    ramping_version: WorkerDeploymentVersion | None
    ramping_version_percentage: float
    current_version_changed_time: datetime | None
    ramping_version_changed_time: datetime | None


@dataclass(frozen=True)
class WorkerDeploymentVersionSummary:
    """A version of a deployment.

    Attributes:
        version: Which.
        status: Where it is in its life.
        create_time: When its first worker came.
        task_queues: The queues that its workers have served.
        workers: How many of its workers are alive.
    """

    version: WorkerDeploymentVersion
    status: WorkerDeploymentVersionStatus
    create_time: datetime
    task_queues: tuple[str, ...]
    workers: int


@dataclass(frozen=True)
class WorkerDeploymentDescription:
    """A deployment as the database knows it at one moment.

    Attributes:
        name: Its name.
        routing_config: Whom runs belong to that follow their queue.
        version_summaries: Its versions, the oldest first.
        create_time: When its first worker came.
        last_modifier_identity: Who changed the routing last.
        conflict_token: Names this state; a change that is given it is refused once somebody else has made one.
    """

    name: str
    routing_config: WorkerDeploymentRoutingConfig
    version_summaries: tuple[WorkerDeploymentVersionSummary, ...]
    create_time: datetime
    last_modifier_identity: str
    conflict_token: bytes


class WorkerDeploymentHandle:
    """A deployment by its name. Making one asks nothing of the database."""

    def __init__(self, connection: Connection, name: str) -> None:
        self._connection = connection
        self.name = check_name(name, "name")

    def __repr__(self) -> str:
        return f"<WorkerDeploymentHandle {self.name!r}>"

    async def describe(self) -> WorkerDeploymentDescription:
        """Return the deployment as it is now: its routing, and its versions, which of them drain, and which are drained.

        Raises:
            WorkerDeploymentNotFoundError: No worker of it has ever come.
            StoreUnavailableError: The database is away.
        """
        row = await self._find()
        return _described(row, await self._versions())

    async def set_current_version(
        self,
        build_id: str | None,
        *,
        conflict_token: bytes | None = None,
        identity: str | None = None,
        ignore_missing_task_queues: bool = False,
    ) -> None:
        """Let new runs, and all that are not pinned, go on with a version from their next task on.

        A version that was ramping does so no more when it becomes current. Runs in a worker's memory are let go by it
        within moments. This is how a version is rolled back, too.

        Args:
            build_id: The version's build; None for workers without a version.
            conflict_token: Of a description: the change is refused if another one was made since.
            identity: Who does it, for people; the client's identity by default.
            ignore_missing_task_queues: Whether it may be a version that does not serve a queue which the current one
                serves. Runs of that queue which are not pinned then go to workers without a version.

        Raises:
            WorkerDeploymentNotFoundError: There is no such deployment, or no worker of that build has ever come.
            WorkerDeploymentConflictError: Somebody else has changed it, or the version lacks a queue.
            StoreUnavailableError: The database is away; it may or may not be set.
        """
        version = None if build_id is None else self._version(build_id)

        def change(row: DeploymentRow) -> DeploymentRow:
            ramps = row.ramping is None or row.ramping == (version or "")
            return structs.replace(
                row,
                current=version or "",
                ramping=None if ramps else row.ramping,
                percentage=0.0 if ramps else row.percentage,
            )

        await self._change(change, version, conflict_token, identity, ignore_missing_task_queues)

    async def set_ramping_version(
        self,
        build_id: str | None,
        percentage: float = 0.0,
        *,
        conflict_token: bytes | None = None,
        identity: str | None = None,
        ignore_missing_task_queues: bool = False,
    ) -> None:
        """Let a share of workflow ids go on with a version, before it is made current.

        Which ids these are is decided by a digest of the id, so a workflow stays where it is as the share grows.

        Args:
            build_id: The version's build; None ends the ramp.
            percentage: The share, from 0 to 100.
            conflict_token: See `set_current_version`.
            identity: Who does it, for people; the client's identity by default.
            ignore_missing_task_queues: See `set_current_version`.

        Raises:
            ValueError: It is the current version, or the percentage is none.
            WorkerDeploymentNotFoundError: There is no such deployment, or no worker of that build has ever come.
            WorkerDeploymentConflictError: Somebody else has changed it, or the version lacks a queue.
            StoreUnavailableError: The database is away; it may or may not be set.
        """
        given: object = percentage
        if isinstance(given, bool) or not isinstance(given, int | float):
            raise TypeError(f"percentage must be a number, not {type(given).__name__}")
        if not 0 <= percentage <= 100:
            raise ValueError(f"percentage must be from 0 to 100, not {percentage}")
        version = None if build_id is None else self._version(build_id)

        def change(row: DeploymentRow) -> DeploymentRow:
            if version is not None and version == row.current:
                raise ValueError(f"{version} is the current version already; there is nothing to ramp up")
            share = 0.0 if version is None else float(percentage)
            return structs.replace(row, ramping=version, percentage=share)

        await self._change(change, version, conflict_token, identity, ignore_missing_task_queues)

    async def delete_version(self, build_id: str, *, skip_drainage: bool = False) -> None:
        """Forget a version that nobody needs any more.

        Args:
            build_id: The version's build.
            skip_drainage: Whether it goes though open runs are pinned to it. They stay where they are, and wait.

        Raises:
            WorkerDeploymentNotFoundError: There is no such version.
            WorkerDeploymentConflictError: It is current or ramping, a worker of it lives, or it is not drained.
            StoreUnavailableError: The database is away; it may or may not be forgotten.
        """
        version = self._version(build_id)
        store = self._connection.store
        if not await self._connection.patiently(lambda: store.forget_version(version, pinned=skip_drainage)):
            self._known(version, await self._versions())
            raise WorkerDeploymentConflictError(
                f"version {version} is needed: it is current or ramping, one of its workers is alive, or a run is pinned to it"
            )

    # ------------------------------------------------------------------ how

    def _version(self, build_id: str) -> str:
        found: object = build_id
        if isinstance(found, WorkerDeploymentVersion):
            if found.deployment_name != self.name:
                raise ValueError(f"{found!r} is no version of deployment {self.name!r}")
            build_id = found.build_id
        version = WorkerDeploymentVersion(self.name, build_id)
        return f"{version.deployment_name}:{version.build_id}"

    async def _find(self) -> DeploymentRow:
        store = self._connection.store
        found = await self._connection.patiently(lambda: store.find_deployments(self.name))
        if not found:
            raise WorkerDeploymentNotFoundError(
                f"there is no deployment {self.name!r}; it is there once a worker with that name in its deployment_config has "
                "run"
            )
        return found[0]

    async def _versions(self) -> list[VersionRow]:
        store = self._connection.store
        return await self._connection.patiently(lambda: store.find_versions(self.name))

    def _known(self, version: str, versions: list[VersionRow]) -> VersionRow:
        for one in versions:
            if one.version == version:
                return one
        known = ", ".join(one.version for one in versions) or "none"
        raise WorkerDeploymentNotFoundError(
            f"no worker of version {version} has ever come; known are: {known}"
        )

    async def _change(
        self,
        change: Callable[[DeploymentRow], DeploymentRow],
        version: str | None,
        token: bytes | None,
        identity: str | None,
        ignore_missing: bool,
    ) -> None:
        store = self._connection.store
        for _ in range(TRIES):
            row = await self._find()
            if token is not None and token != _token(row):
                raise WorkerDeploymentConflictError(
                    f"deployment {self.name!r} has been changed by {row.changed_by or 'somebody'} since it was described"
                )
            if version is not None:
                self._check_queues(row, version, await self._versions(), ignore_missing)
            new = structs.replace(
                change(row), changed_by=self._connection.identity if identity is None else identity
            )
            if await self._connection.patiently(lambda new=new: store.write_deployment(new)):  # type: ignore[misc]
                store.hint(
                    [Hint(kind, ANY_KEY) for kind in (HintKind.PAUSE, HintKind.RUN, HintKind.ACTIVITY)]
                )
                return
            if _same(new, await self._find()):
                return  # the answer to this very write was lost
        raise WorkerDeploymentConflictError(f"deployment {self.name!r} is changed by others over and over")

    def _check_queues(
        self, row: DeploymentRow, version: str, versions: list[VersionRow], ignore_missing: bool
    ) -> None:
        served = self._known(version, versions).task_queues
        before = next((one.task_queues for one in versions if one.version == row.current), ())
        missing = sorted(set(before) - set(served))
        if missing and not ignore_missing:
            raise WorkerDeploymentConflictError(
                f"version {version} has no worker for {', '.join(map(repr, missing))}, which {row.current} serves: start one, "
                "or pass ignore_missing_task_queues=True"
            )


async def list_deployments(connection: Connection) -> list[WorkerDeploymentDescription]:
    """Return all deployments, by name."""
    store = connection.store
    rows = await connection.patiently(lambda: store.find_deployments())
    return [_described(row, await WorkerDeploymentHandle(connection, row.name)._versions()) for row in rows]


def _same(wanted: DeploymentRow, found: DeploymentRow) -> bool:
    return (
        found.revision == wanted.revision + 1
        and found.current == wanted.current
        and found.ramping == wanted.ramping
        and found.percentage == wanted.percentage
        and found.changed_by == wanted.changed_by
    )


def _token(row: DeploymentRow) -> bytes:
    return str(row.revision).encode()


def _time(micros: int | None) -> datetime | None:
    return None if micros is None else to_datetime(micros)


def _described(row: DeploymentRow, versions: list[VersionRow]) -> WorkerDeploymentDescription:
    routing = WorkerDeploymentRoutingConfig(
        current_version=version_of(row.current or ""),
        ramping_version=version_of(row.ramping or ""),
        ramping_version_percentage=row.percentage,
        current_version_changed_time=_time(row.current_since),
        ramping_version_changed_time=_time(row.ramping_since),
    )
    return WorkerDeploymentDescription(
        name=row.name,
        routing_config=routing,
        version_summaries=tuple(_summary(row, one) for one in versions),
        create_time=to_datetime(row.created_at),
        last_modifier_identity=row.changed_by,
        conflict_token=_token(row),
    )


def _summary(row: DeploymentRow, found: VersionRow) -> WorkerDeploymentVersionSummary:
    version = version_of(found.version)
    assert version is not None
    status = WorkerDeploymentVersionStatus
    if found.version == row.current:
        where = status.CURRENT
    elif found.version == row.ramping:
        where = status.RAMPING
    elif found.has_pinned:
        where = status.DRAINING
    else:
        where = status.DRAINED if found.was_active else status.INACTIVE
    return WorkerDeploymentVersionSummary(
        version, where, to_datetime(found.created_at), found.task_queues, found.workers
    )
