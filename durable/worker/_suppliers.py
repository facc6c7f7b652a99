"""Slots as programs see them: how many tasks of each kind a worker has under way, and who decides that.

A *slot* lets a worker have one task under way: a workflow task, an activity, or a local activity. A *supplier* hands slots
out: a fixed number of them, as many as the machine can bear, or by what a program of one's own says. A *tuner* is one
supplier for each kind.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Literal, Self, TypeAlias

from durable._internal.instants import SECOND, Duration, to_duration
from durable._internal.shown import shown
from durable.common import WorkerDeploymentVersion

SlotKind: TypeAlias = Literal["workflow", "activity", "local-activity"]

MOST_BY_RESOURCES = 500
"""Slots that a resource-based supplier hands out at most, when nothing is said (Temporal's)."""

LEAST_BY_RESOURCES: dict[SlotKind, int] = {"workflow": 5, "activity": 1, "local-activity": 1}
"""Slots that it hands out whatever the machine does, when nothing is said (Temporal's)."""

RAMP: dict[SlotKind, float] = {"workflow": 0.0, "activity": 0.05, "local-activity": 0.05}
"""Seconds between two slots beyond these, when nothing is said (Temporal's)."""


@dataclass(frozen=True)
class FixedSizeSlotSupplier:
    """So many slots, and no more."""

    num_slots: int

    def __post_init__(self) -> None:
        count(self.num_slots, "num_slots", 1)


@dataclass(frozen=True)
class ResourceBasedTunerConfig:
    """How much of the machine may be in use before a worker stops taking on more.

    What counts is the use by all processes, and of the share that a container is allowed, if that is less.

    Attributes:
        target_memory_usage: From 0 to 1. Leave some room: what a task will need is not known when it gets its slot.
        target_cpu_usage: From 0 to 1.
    """

    target_memory_usage: float
    target_cpu_usage: float

    def __post_init__(self) -> None:
        for name in ("target_memory_usage", "target_cpu_usage"):
            value: object = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int | float):
                raise TypeError(f"{name} must be a number from 0 to 1, not {shown(value)}")
            if not 0 < value <= 1:
                raise ValueError(f"{name} must be a number from 0 to 1, not {shown(value)}")


@dataclass(frozen=True)
class ResourceBasedSlotConfig:
    """What a `ResourceBasedSlotSupplier` keeps to, whatever the machine does.

    Attributes:
        minimum_slots: So many are handed out in any case; 5 for workflow tasks and 1 for activities if nothing is said.
        maximum_slots: And never more than so many; 500 if nothing is said.
        ramp_throttle: How long it waits, beyond the minimum, before it hands out another one, so that it shows what the last
            one takes; 0 for workflow tasks and 50 ms for activities if nothing is said.
    """

    minimum_slots: int | None = None
    maximum_slots: int | None = None
    ramp_throttle: Duration | None = None

    def __post_init__(self) -> None:
        least, most = self.minimum_slots, self.maximum_slots
        if least is not None:
            count(least, "minimum_slots", 1)
        if most is not None:
            count(most, "maximum_slots", 1)
            if least is not None and least > most:
                raise ValueError(f"minimum_slots ({least}) must not be more than maximum_slots ({most})")
        if self.ramp_throttle is not None:
            to_duration(self.ramp_throttle, "ramp_throttle")


@dataclass(frozen=True)
class ResourceBasedSlotSupplier:
    """As many slots as the machine can bear: more are handed out while memory and CPU are below their targets.

    Attributes:
        slot_config: What it keeps to in any case.
        tuner_config: The targets, the same for all suppliers of one tuner.
    """

    slot_config: ResourceBasedSlotConfig
    tuner_config: ResourceBasedTunerConfig

    def __post_init__(self) -> None:
        for name, kind in (
            ("slot_config", ResourceBasedSlotConfig),
            ("tuner_config", ResourceBasedTunerConfig),
        ):
            if not isinstance(value := getattr(self, name), kind):
                raise TypeError(f"{name} must be a {kind.__name__}, not {shown(value)}")

    def least(self, kind: SlotKind) -> int:
        """Return how many it hands out in any case."""
        said = self.slot_config.minimum_slots
        return min(LEAST_BY_RESOURCES[kind] if said is None else said, self.most)

    @property
    def most(self) -> int:
        """How many it hands out at most."""
        said = self.slot_config.maximum_slots
        return MOST_BY_RESOURCES if said is None else said

    def ramp(self, kind: SlotKind) -> float:
        """Return the seconds between two beyond the minimum."""
        said = self.slot_config.ramp_throttle
        return RAMP[kind] if said is None else to_duration(said, "ramp_throttle") / SECOND


class SlotPermit:
    """The right to have one task under way. A supplier of one's own may return a class of its own, with data in it."""


@dataclass(frozen=True)
class SlotReserveContext:
    """For whom a slot is asked.

    Attributes:
        slot_type: "workflow", "activity" or "local-activity".
        task_queue: The worker's queue.
        worker_identity: Its identity.
        worker_build_id: The build of its version, "" if it has none.
        worker_deployment_version: Its version, if it has one.
        is_sticky: Whether it is for a workflow that this worker has in memory already.
    """

    slot_type: SlotKind
    task_queue: str
    worker_identity: str
    worker_build_id: str
    worker_deployment_version: WorkerDeploymentVersion | None
    is_sticky: bool


@dataclass(frozen=True)
class WorkflowSlotInfo:
    """A slot is used by a workflow task.

    Attributes:
        workflow_type: Of which type.
        is_sticky: Whether this worker had the workflow in memory already.
    """

    workflow_type: str
    is_sticky: bool


@dataclass(frozen=True)
class ActivitySlotInfo:
    """A slot is used by an activity of this type."""

    activity_type: str


@dataclass(frozen=True)
class LocalActivitySlotInfo:
    """A slot is used by a local activity of this type."""

    activity_type: str


SlotInfo: TypeAlias = WorkflowSlotInfo | ActivitySlotInfo | LocalActivitySlotInfo


@dataclass(frozen=True)
class SlotMarkUsedContext:
    """Which task uses a slot now.

    Attributes:
        slot_info: The task.
        permit: What the supplier returned for it.
    """

    slot_info: SlotInfo
    permit: SlotPermit


@dataclass(frozen=True)
class SlotReleaseContext:
    """Which slot is free again.

    Attributes:
        slot_info: The task that used it; None if none has.
        permit: What the supplier returned for it.
    """

    slot_info: SlotInfo | None
    permit: SlotPermit


class CustomSlotSupplier(ABC):
    """Decides by a program of one's own whether one more task may be under way.

    All methods are called on the worker's event loop. What they raise is logged, and taken for a no. One object may serve
    several kinds and several workers of one event loop.
    """

    @abstractmethod
    async def reserve_slot(self, ctx: SlotReserveContext) -> SlotPermit:
        """Wait until there is a slot, and return a permit for it.

        Called before the worker looks for work, and when a task that it has must wait. It is cancelled when the worker stops.
        """

    @abstractmethod
    def try_reserve_slot(self, ctx: SlotReserveContext) -> SlotPermit | None:
        """Return a permit if there is a slot at once, else None.

        Called for tasks that the worker may do itself or leave to others, for those it has in memory already, and for
        further ones that a look for work could bring.
        """

    @abstractmethod
    def mark_slot_used(self, ctx: SlotMarkUsedContext) -> None:
        """Take the news that a task has begun in a slot; must not block."""

    @abstractmethod
    def release_slot(self, ctx: SlotReleaseContext) -> None:
        """Take a permit back: its task has ended, or there was none for it; must not block. Called once for each permit."""


SlotSupplier: TypeAlias = FixedSizeSlotSupplier | ResourceBasedSlotSupplier | CustomSlotSupplier


@dataclass(frozen=True)
class WorkerTuner:
    """How many tasks of each kind a worker has under way, in one object: a supplier each, None for the worker's default.

    `create_fixed`, `create_resource_based` and `create_composite` make one.
    """

    workflow_supplier: SlotSupplier | None = None
    activity_supplier: SlotSupplier | None = None
    local_activity_supplier: SlotSupplier | None = None

    def __post_init__(self) -> None:
        given = (self.workflow_supplier, self.activity_supplier, self.local_activity_supplier)
        for supplier in given:
            if supplier is not None and not isinstance(supplier, SlotSupplier):
                raise TypeError(
                    "a supplier must be a FixedSizeSlotSupplier, a ResourceBasedSlotSupplier or a CustomSlotSupplier, "
                    f"not {shown(supplier)}"
                )
        targets = {one.tuner_config for one in given if isinstance(one, ResourceBasedSlotSupplier)}
        if len(targets) > 1:
            raise ValueError("all resource-based suppliers of a tuner must have the same tuner_config")

    @property
    def by_resources(self) -> bool:
        """Whether it looks at the machine."""
        given = (self.workflow_supplier, self.activity_supplier, self.local_activity_supplier)
        return any(isinstance(one, ResourceBasedSlotSupplier) for one in given)

    @classmethod
    def create_fixed(
        cls,
        *,
        workflow_slots: int | None = None,
        activity_slots: int | None = None,
        local_activity_slots: int | None = None,
    ) -> Self:
        """Return a tuner with fixed numbers; None for the worker's default.

        Raises:
            TypeError: A number is none.
            ValueError: It is less than 1.
        """
        return cls(
            fixed(workflow_slots, "workflow_slots"),
            fixed(activity_slots, "activity_slots"),
            fixed(local_activity_slots, "local_activity_slots"),
        )

    @classmethod
    def create_resource_based(
        cls,
        *,
        target_memory_usage: float,
        target_cpu_usage: float,
        workflow_config: ResourceBasedSlotConfig | None = None,
        activity_config: ResourceBasedSlotConfig | None = None,
        local_activity_config: ResourceBasedSlotConfig | None = None,
    ) -> Self:
        """Return a tuner that takes on more while the machine has memory and CPU left.

        Args:
            target_memory_usage: From 0 to 1; see `ResourceBasedTunerConfig`.
            target_cpu_usage: From 0 to 1.
            workflow_config: Bounds for workflow tasks.
            activity_config: Bounds for activities.
            local_activity_config: Bounds for local activities.

        Raises:
            TypeError: One of them is of another kind.
            ValueError: A target is not from 0 to 1.
        """
        targets = ResourceBasedTunerConfig(target_memory_usage, target_cpu_usage)
        return cls(
            *(
                ResourceBasedSlotSupplier(ResourceBasedSlotConfig() if one is None else one, targets)
                for one in (workflow_config, activity_config, local_activity_config)
            )
        )

    @classmethod
    def create_composite(
        cls,
        *,
        workflow_supplier: SlotSupplier,
        activity_supplier: SlotSupplier,
        local_activity_supplier: SlotSupplier | None = None,
    ) -> Self:
        """Return a tuner made of suppliers, of any kinds.

        Raises:
            TypeError: One of them is no supplier.
            ValueError: Two of them are resource-based and have other targets.
        """
        return cls(workflow_supplier, activity_supplier, local_activity_supplier)


def fixed(slots: int | None, name: str) -> FixedSizeSlotSupplier | None:
    """Return the supplier that a number means; None for none.

    Raises:
        TypeError: It is none.
        ValueError: It is less than 1.
    """
    return None if slots is None else FixedSizeSlotSupplier(count(slots, name, 1))


def count(value: object, name: str, least: int) -> int:
    """Return a number that is one.

    Raises:
        TypeError: It is none.
        ValueError: It is too small.
    """
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f"{name} must be a whole number, not {type(value).__name__}")
    if value < least:
        raise ValueError(f"{name} must be at least {least}, not {value}")
    return value
