"""Worker versions: what is kept for one, what follows its queue, and what becomes of both when versions change."""

from __future__ import annotations

from typing import Any

from msgspec.structs import replace

from durable._engine.operations import Operated
from durable._engine.records import Upsert
from durable._engine.versioning import (
    AUTO_UPGRADE,
    RAMPING,
    WHOLE,
    DeploymentRow,
    QueueRoute,
    Stamp,
    place,
    places,
    ramp_of,
)
from durable._internal.ids import uuid7
from durable.store import ClaimedRun, Message, NewRun, Release, StartOutcome, Transition
from durable.testing.conformance._registry import OpenStore, check
from durable.testing.conformance._room import (
    ACTIVITY,
    QUEUE,
    TYPE,
    Room,
    event,
    message,
    new_activity,
    room,
    worker_record,
)

FORMAT = 2
ONE, TWO = "shop:1", "shop:2"


class _Team:
    """Workers of versions, beside a room's own."""

    def __init__(self, one: Room) -> None:
        self.one = one
        self.store = one.store
        self.names: dict[str, str] = {"": one.worker}

    async def join(self, version: str, *queues: str) -> str:
        """Register a worker of a version."""
        name = f"{version}-{uuid7()}"
        record = replace(worker_record(name), version=version, task_queues=queues or (QUEUE,))
        await (await self.store.register_worker(record)).aclose()
        self.names[version] = name
        return name

    async def claim(self, version: str, limit: int = 10) -> set[str]:
        """What a worker of a version claims."""
        found = await self.store.claim_runs(
            self.names[version], (QUEUE,), (TYPE,), limit, format=FORMAT, version=version
        )
        assert all(one.run.task_queue == QUEUE for one in found)
        return {one.run.run_id for one in found}

    async def set(self, **fields: Any) -> DeploymentRow:
        """Change the deployment."""
        (row,) = await self.store.find_deployments("shop")
        assert await self.store.write_deployment(replace(row, **fields))
        return (await self.store.find_deployments("shop"))[0]

    async def owned(self, version: str, new: NewRun) -> ClaimedRun:
        """Have a worker of a version own a run that is ready for it."""
        (claimed,) = await self.store.claim_runs(
            self.names[version], (QUEUE,), (TYPE,), 1, format=FORMAT, version=version
        )
        assert claimed.run.run_id == new.run_id
        return claimed

    async def stamp(self, run: ClaimedRun, version: str, *, pinned: bool, **fields: Any) -> None:
        """Write that a version ran the first task of a run, and give it up."""
        stamp = Stamp(version, 1 if pinned else 2, version if pinned else "")
        await self.one.written(
            Transition(
                run.run.run_id,
                run.run.epoch,
                (event(2),),
                upsert=Upsert({}, b"{}", stamp),
                release=fields.pop("release", Release(wake_in=0)),
                **fields,
            )
        )


def _told(run_id: str) -> Message:
    return Message(run_id, f"told-{uuid7()}", 5, b"{}", internal=True)


@check()
async def check_what_follows_its_queue_goes_to_whom_the_queue_is_routed(open_store: OpenStore) -> None:
    async with room(open_store) as one:
        team = _Team(one)
        assert await one.store.queue_routes([QUEUE]) == {}
        await team.join(ONE)
        await team.join(TWO)
        assert await one.store.queue_routes([QUEUE, "unknown"]) == {QUEUE: QueueRoute()}
        run = await one.start()
        assert await team.claim(ONE) == set()
        assert await team.claim("") == {run.run_id}
        await team.set(current=ONE)
        run = await one.start()
        assert await team.claim("") == await team.claim(TWO) == set()
        assert await team.claim(ONE) == {run.run_id}
        await team.set(current="")
        run = await one.start()
        assert await team.claim(ONE) == set()
        assert await team.claim("") == {run.run_id}


@check()
async def check_a_ramp_parts_runs_by_their_workflow_ids(open_store: OpenStore) -> None:
    async with room(open_store) as one:
        team = _Team(one)
        await team.join(ONE)
        await team.join(TWO)
        await team.set(current=ONE, ramping=TWO, percentage=50.0)
        assert (await one.store.queue_routes([QUEUE]))[QUEUE] == QueueRoute(ONE, TWO, WHOLE // 2)
        runs = [await one.start() for _ in range(20)]
        called = [await one.start(delay=10**12) for _ in range(20)]
        await one.store.send([message(run.run_id) for run in called])
        low = {run.run_id for run in (*runs, *called) if ramp_of(run.workflow_id) < WHOLE // 2}
        assert await team.claim(TWO, 100) == low
        assert await team.claim(ONE, 100) == {run.run_id for run in (*runs, *called)} - low


@check()
async def check_a_pinned_run_is_its_versions_alone(open_store: OpenStore) -> None:
    async with room(open_store) as one:
        team = _Team(one)
        await team.join(ONE)
        await team.join(TWO)
        await team.set(current=ONE)
        run = await one.start()
        claimed = await team.owned(ONE, run)
        await one.store.send([message(run.run_id, "before")])
        await team.stamp(claimed, ONE, pinned=True, release=Release(wake_at=None))
        await one.store.send([message(run.run_id, "behind")])
        await team.set(current=TWO)
        assert await one.claim(format=1) == [], "a worker of the release before"
        assert await team.claim("") == await team.claim(TWO) == set()
        found = await one.store.find_run(run.workflow_id)
        assert found is not None
        assert (found.pinned_to, found.override, found.task_queue) == (ONE, "", QUEUE)
        assert await one.store.next_wake(places(QUEUE, TWO)) is None
        assert await team.claim(ONE) == {run.run_id}
        (version, other) = await one.store.find_versions("shop")
        assert (version.version, version.has_pinned, version.workers, version.was_active) == (
            ONE,
            True,
            1,
            True,
        )
        assert (other.version, other.has_pinned, other.task_queues) == (TWO, False, (QUEUE,))


@check()
async def check_a_pinned_run_wakes_for_its_version(open_store: OpenStore) -> None:
    async with room(open_store) as one:
        team = _Team(one)
        await team.join(ONE)
        await team.set(current=ONE)
        run = await one.start()
        await team.stamp(await team.owned(ONE, run), ONE, pinned=True)
        assert await one.store.next_wake(places(QUEUE, ONE)) == 0
        assert await one.store.next_wake([QUEUE]) is None
        assert await one.store.stranded_versions() == []
        await one.store.unregister_worker(team.names[ONE])
        assert await one.store.stranded_versions() == [(ONE, QUEUE)]


@check()
async def check_an_override_moves_a_run_with_all_that_it_has(open_store: OpenStore) -> None:
    async with room(open_store) as one:
        team = _Team(one)
        await team.join(ONE)
        await team.join(TWO)
        await team.set(current=ONE)
        run = await one.start()
        claimed = await team.owned(ONE, run)
        activity = new_activity(1, task_queue=place(QUEUE, ONE))
        await team.stamp(claimed, ONE, pinned=True, activities=(activity,))
        for version in ("", TWO):
            assert not await one.store.claim_activities(
                team.names[version], (QUEUE,), (ACTIVITY,), 1, format=FORMAT, version=version
            )
        assert await one.store.override(run.run_id, TWO, _told(run.run_id)) is Operated.CHANGED
        assert await team.claim(ONE) == set()
        (task,) = await one.store.claim_activities(
            team.names[TWO], (QUEUE,), (ACTIVITY,), 1, format=FORMAT, version=TWO
        )
        assert task.task_queue == QUEUE
        assert await team.claim(TWO) == {run.run_id}
        found = await one.store.find_run(run.workflow_id)
        assert found is not None
        assert (found.pinned_to, found.override) == (TWO, TWO)
        assert len(await one.store.read_messages([run.run_id])) == 1
        # What its workflow says again changes nothing of that.
        (mine,) = [await one.store.reload_run(team.names[TWO], run.run_id, 2)]
        assert mine is not None
        stamp = Stamp(ONE, 1, ONE)
        await one.written(
            Transition(
                run.run_id, 2, (event(3),), upsert=Upsert({}, b"{}", stamp), release=Release(wake_in=0)
            )
        )
        assert await team.claim(ONE) == set()
        # Lifted, it is what its workflow said last.
        assert await one.store.override(run.run_id, "", _told(run.run_id)) is Operated.CHANGED
        assert await team.claim(TWO) == set()
        assert await team.claim(ONE) == {run.run_id}
        assert await one.store.override(run.run_id, AUTO_UPGRADE, _told(run.run_id)) is Operated.CHANGED
        assert await one.store.moved_runs(team.names[ONE], (QUEUE,), ONE) == []
        await team.set(current=TWO)
        assert await one.store.moved_runs(team.names[ONE], (QUEUE,), ONE) == [run.run_id]
        late = await one.start(delay=10**12)
        assert await one.store.override(late.run_id, ONE, _told(late.run_id)) is Operated.CHANGED
        assert await one.store.read_messages([late.run_id]) == []
        assert await team.claim(ONE) == set()
        assert await one.store.override(str(uuid7()), TWO, _told(run.run_id)) is Operated.NOT_FOUND


@check()
async def check_a_start_is_pinned_as_far_as_the_version_serves_its_queue(open_store: OpenStore) -> None:
    async with room(open_store) as one:
        team = _Team(one)
        await team.join(ONE)
        await team.join(TWO, "elsewhere")
        await team.set(current=ONE)
        kept = await one.start(version=ONE, override=ONE)
        follows = await one.start(version=TWO)
        freed = await one.start(override=AUTO_UPGRADE)
        await team.set(current="")
        assert await team.claim(ONE) == {kept.run_id}
        assert await team.claim("") == {follows.run_id, freed.run_id}
        for run, wanted in ((kept, (ONE, ONE)), (follows, ("", "")), (freed, ("", AUTO_UPGRADE))):
            found = await one.store.find_run(run.workflow_id)
            assert found is not None
            assert (found.pinned_to, found.override) == wanted


@check()
async def check_a_start_may_want_the_ramping_version(open_store: OpenStore) -> None:
    async with room(open_store) as one:
        team = _Team(one)
        await team.join(ONE)
        await team.join(TWO)
        await team.set(current=ONE, ramping=TWO, percentage=0.0001)
        run = await one.start(version=RAMPING)
        assert await team.claim(ONE) == set()
        assert await team.claim(TWO) == {run.run_id}
        await team.set(ramping=None, percentage=0.0)
        run = await one.start(version=RAMPING)
        assert await team.claim(TWO) == set()
        assert await team.claim(ONE) == {run.run_id}


@check()
async def check_a_worker_owns_from_the_start_only_what_it_may_have(open_store: OpenStore) -> None:
    async with room(open_store) as one:
        team = _Team(one)
        await team.join(ONE)
        await team.join(TWO)
        await team.set(current=ONE)
        for version, version_of_run, owns in (
            (ONE, "", True),
            (TWO, "", False),
            ("", "", False),
            (TWO, TWO, True),
            (ONE, TWO, False),
        ):
            run = NewRun(
                uuid7(), uuid7(), TYPE, QUEUE, b"{}", owner=team.names[version], version=version_of_run
            )
            (verdict,) = await one.store.create_runs([run])
            assert verdict.outcome is StartOutcome.STARTED
            assert (verdict.epoch > 0) is owns, (version, version_of_run)


@check()
async def check_a_deployment_is_written_over_the_revision_that_was_read(open_store: OpenStore) -> None:
    async with room(open_store) as one:
        team = _Team(one)
        assert await one.store.find_deployments() == []
        await team.join(ONE)
        await team.join("kiosk:1", "elsewhere")
        (kiosk, shop) = await one.store.find_deployments()
        assert (kiosk.name, shop.name, shop.current, shop.ramping) == ("kiosk", "shop", None, None)
        assert await one.store.write_deployment(replace(shop, current=ONE, changed_by="ada"))
        assert not await one.store.write_deployment(replace(shop, current=""))
        (found,) = await one.store.find_deployments("shop")
        assert (found.current, found.changed_by, found.revision) == (ONE, "ada", shop.revision + 1)
        assert found.current_since is not None
        assert not await one.store.forget_version(ONE)
        await one.store.unregister_worker(team.names[ONE])
        assert not await one.store.forget_version(ONE)
        await team.set(current="")
        assert await one.store.forget_version(ONE)
        assert await one.store.find_versions("shop") == []
        # A version that comes when it is current already serves its queue at once.
        await team.join(TWO)
        await team.set(current=TWO)
        await team.join(TWO, "late")
        assert (await one.store.queue_routes(["late"]))["late"].current == TWO
