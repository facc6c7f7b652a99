"""What the program of `edits.py` is about; it is defined once, since only the workflow is edited."""

from __future__ import annotations

from dataclasses import dataclass, field

from durable import Signal, activity, workflow


@dataclass
class Order:
    id: str
    cents: int = 300
    amount: int = 2
    names: list[str] = field(default_factory=lambda: ["ada", "bob"])
    tags: set[str] = field(default_factory=lambda: {"new", "large"})


@activity.defn(name="edits.reserve")
async def reserve(id: str) -> str:
    return f"seat for {id}"


@activity.defn(name="edits.charge")
async def charge(id: str, cents: int) -> str:
    return f"receipt {cents}"


@activity.defn(name="edits.pack")
async def pack(id: str) -> str:
    return "box"


@activity.defn(name="edits.label")
async def label(id: str) -> str:
    return "label"


@activity.defn(name="edits.mail")
async def mail(to: str, text: str) -> None: ...


@activity.defn(name="edits.audit")
async def audit(total: int) -> None: ...


@workflow.defn(name="edits.ship")
async def ship(id: str) -> str:
    return f"shipped {id}"


@workflow.defn(name="edits.other")
async def other(id: str) -> str:
    return id


decided = Signal("edits.decided", str)
