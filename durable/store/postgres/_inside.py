"""Starts and messages in transactions of callers, on their connections."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import msgspec

from durable._engine.activity_records import SoleActivity
from durable._engine.lanes import lane_queue
from durable._engine.records import Message, NewRun, SendOutcome, StartOutcome, StartVerdict
from durable._engine.versioning import place
from durable._internal.named_sql import load
from durable.common import WorkflowIDReusePolicy
from durable.exceptions import UnfitConnectionError
from durable.store._inside import Delivery
from durable.store._seats import PostgresSeat, seat_of, sqlstate
from durable.store.postgres._pack import found_columns, lane_columns
from durable.store.postgres._pool import Pool
from durable.store.postgres._rows import is_run_id
from durable.store.postgres._search import Search, types_of
from durable.store.postgres._settings import check_namespace, qualified

_FAILED_TRANSACTION = "25P02"
_NO_TRANSACTION = "25P01"

_SEES_ALL = ("read committed", "read uncommitted")
"""At these, every statement sees what has been committed before it."""

_LOOKS_BACK = (WorkflowIDReusePolicy.REJECT_DUPLICATE, WorkflowIDReusePolicy.ALLOW_DUPLICATE_FAILED_ONLY)


class Look(msgspec.Struct, frozen=True):
    """What a connection leads to, and what its transaction is."""

    database: str
    system: str | None
    name: str
    there: bool
    isolation: str
    read_only: bool
    transaction: str | None

    @property
    def where(self) -> tuple[str | None, str]:
        """The cluster and the database in it."""
        return self.system, self.database


_decode_look = msgspec.json.Decoder(Look).decode


class _Started(msgspec.Struct):
    outcome: int
    run_id: str
    workflow_type: str


class _Sent(msgspec.Struct):
    outcome: int
    run_id: str | None


class Callers(Search):
    """The port's method about transactions of callers."""

    def __init__(self, pool: Pool) -> None:
        super().__init__(pool)
        self._where: tuple[str | None, str] | None = None

    async def inside(self, connection: object) -> PostgresInside:
        """Return what a caller's open transaction can be told to do."""
        seat, look = await self.look_through(connection)
        await self.check_place(look)
        tell = self._pool.settings.limits.tell_callers
        return PostgresInside(seat, look, self._sql, self.attribute_types, tell=tell)

    async def look_through(self, connection: object) -> tuple[PostgresSeat, Look]:
        """Return what a connection leads to; waits for nothing else.

        Raises:
            UnfitConnectionError: It cannot be asked.
        """
        seat = await seat_of(connection)
        if not isinstance(seat, PostgresSeat):
            raise UnfitConnectionError(
                f"the connection is to SQLite, and the client's database is {self.url}"
            )
        return seat, await look_at(seat, self._sql["look"], self._pool.settings.namespace)

    async def check_place(self, look: Look) -> None:
        """Return only if that is our database, and something can be written there.

        Raises:
            UnfitConnectionError: It is not, or it cannot.
        """
        # Ours is looked at again before anybody is refused: it may have moved.
        if self._where != look.where and await self._look_at_ours() != look.where:
            raise UnfitConnectionError(
                f"the connection is to another database ({look.name}) than the client, whose is {self.url}"
            )
        check(look, self._pool.settings.namespace)

    async def _look_at_ours(self) -> tuple[str | None, str]:
        ((told,),) = await self._read("look", self._pool.settings.namespace)
        self._where = _decode_look(told).where
        return self._where


async def inside_of(seat: PostgresSeat, namespace: str) -> PostgresInside:
    """Return what a caller's transaction can be told to do, in whatever database it is.

    Raises:
        UnfitConnectionError: As `Store.inside`.
    """
    check_namespace(namespace)
    queries = load("durable.store.postgres", "sql/callers.sql")
    sql = {name: qualified(text, namespace) for name, text in queries.items()}
    look = await look_at(seat, sql["look"], namespace)
    check(look, namespace)

    async def attribute_types(wanted: Mapping[str, int]) -> dict[str, int]:
        told = await seat.ask(sql["caller_types"], msgspec.json.encode(wanted).decode())
        return msgspec.json.decode(told, type=dict[str, int])

    return PostgresInside(seat, look, sql, attribute_types, tell=True)


async def look_at(seat: PostgresSeat, sql: str, namespace: str) -> Look:
    """Return what a caller's connection leads to.

    Raises:
        UnfitConnectionError: It cannot even be asked.
    """
    try:
        told = await seat.ask(sql, namespace)
    except Exception as error:
        if sqlstate(error) == _FAILED_TRANSACTION:
            raise UnfitConnectionError(
                "the transaction on the connection has failed already, by a statement before; roll it back, and begin again"
            ) from error
        raise UnfitConnectionError(
            f"the connection cannot be used: {str(error) or type(error).__name__}"
        ) from error
    return _decode_look(told)


def check(look: Look, namespace: str) -> None:
    """Return only if something can be written there.

    Raises:
        UnfitConnectionError: It cannot.
    """
    if look.transaction is None:
        raise UnfitConnectionError("the transaction on the connection is read-only; begin one that may write")
    if not look.there:
        raise UnfitConnectionError(
            f"the connection leads to no namespace {namespace!r} of this release, or its role may not use the schema"
        )


class PostgresInside:
    """See `durable.store.Inside`."""

    def __init__(
        self,
        seat: PostgresSeat,
        look: Look,
        sql: Mapping[str, str],
        attribute_types: Callable[[Mapping[str, int]], Awaitable[dict[str, int]]],
        *,
        tell: bool,
    ) -> None:
        self._seat = seat
        self._look = look
        self._sql = sql
        self._attribute_types = attribute_types
        self._tell = tell

    async def create_run(self, run: NewRun) -> StartVerdict | None:
        """Create a run, unless it has a policy that this transaction cannot judge."""
        if self._look.isolation not in _SEES_ALL and run.reuse in _LOOKS_BACK:
            raise UnfitConnectionError(
                f"id_reuse_policy {run.reuse.name} is about runs that have closed, and a transaction at "
                f"{self._look.isolation.upper()} does not see all of them; start it at READ COMMITTED"
            )
        types = await self.attribute_types(types_of(run.search_attributes))
        rows = found_columns([run], types)
        request: dict[str, Any] = {
            "run": run.run_id,
            "workflow_id": run.workflow_id,
            "type": run.workflow_type,
            "queue": place(run.task_queue, run.version, run.override),
            "task_queue": run.task_queue,
            "format": run.format,
            "priority": run.priority,
            "delay": run.delay,
            "timeout": run.run_timeout,
            "reuse": run.reuse,
            "conflict": run.conflict,
            "started": run.started,
            "info": run.info,
            "rows": None if rows is None or rows[0] is None else msgspec.Raw(rows[0].encode()),
            "message_ids": [message.message_id for message in run.messages],
            "message_types": [message.type for message in run.messages],
            "message_data": [message.data for message in run.messages],
        }
        if run.activity is not None:
            request["activity"] = _activity(run, run.activity)
        told = await self._ask("caller_start", request)
        answer = msgspec.json.decode(told, type=_Started)
        if not answer.outcome:
            return None
        return StartVerdict(StartOutcome(answer.outcome), answer.run_id, answer.workflow_type)

    async def send(
        self, workflow_id: str, run_id: str | None, first_run_id: str | None, message: Message
    ) -> Delivery:
        """Put a message into an inbox."""
        if not all(one is None or is_run_id(one) for one in (run_id, first_run_id)):
            return Delivery(SendOutcome.NOT_FOUND)
        told = await self._ask(
            "caller_send",
            {
                "workflow_id": workflow_id,
                "run": run_id,
                "first": first_run_id,
                "id": message.message_id,
                "type": message.type,
                "data": message.data,
            },
        )
        answer = msgspec.json.decode(told, type=_Sent)
        return Delivery(SendOutcome(answer.outcome), answer.run_id or "")

    async def attribute_types(self, wanted: Mapping[str, int]) -> dict[str, int]:
        """Give types to attributes, in a transaction of its own: whoever has a new one waits for nobody."""
        return await self._attribute_types(wanted) if wanted else {}

    async def _ask(self, name: str, request: dict[str, Any]) -> str:
        request |= {"transaction": self._look.transaction, "tell": self._tell}
        try:
            return await self._seat.ask(self._sql[name], msgspec.json.encode(request).decode())
        except Exception as error:
            if sqlstate(error) == _NO_TRANSACTION:
                raise UnfitConnectionError(
                    "no transaction is open on the connection (each of its statements commits by itself); begin one, "
                    "or leave connection= away"
                ) from error
            raise


def _activity(run: NewRun, activity: SoleActivity) -> dict[str, Any]:
    """The activity that a run consists of, as `caller_start_2` takes it."""
    lane = activity.lane
    return {
        "type": activity.activity_type,
        "queue": run.task_queue if lane is None else lane_queue(run.task_queue),
        "scheduled": activity.scheduled,
        "start_by": activity.schedule_to_start,
        "close_by": activity.schedule_to_close,
        "start_to_close": activity.start_to_close,
        "heartbeat": activity.heartbeat,
        "lane": None if lane is None else {"run_id": run.run_id, **lane_columns(lane)},
    }
