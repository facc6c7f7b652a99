"""Insertion order for the sets inside asyncio and anyio, and three guards on what they would do by themselves.

Theory. ``asyncio.wait``, ``TaskGroup``, ``as_completed`` and nearly everything of anyio's keep tasks, scopes and
events in a ``set`` and iterate it when they cancel or wake: the order of effects is then the order of memory
addresses. Numbered hashes repair tasks and futures but not coroutines, scopes or events, and their order depends on the
table size of CPython's sets. So the name ``set`` is put into the globals of the four modules, before the builtin: it
makes a set that iterates in insertion order when the running loop is ours, and the builtin set for everybody else.

Two places stay: a set *display* or comprehension (``as_completed`` has one) does not look the name up, and there the
numbered hash decides, for ``gather()`` futures the one given below; a bare ``asyncio.Future()`` made by a user and
put into a set of the user's is ordered by address, and is for the linter.

Invariants.

* Without a deterministic loop running, every replaced thing does what the original does.
* Everything replaced is a private name. All are checked before any is replaced, so that a release which moved one is
  refused when the first loop is built and never found out by a workflow.
* anyio, if it can be imported, is imported then, since it loads its backend at the first call, which would be in a
  turn.
"""

from __future__ import annotations

import asyncio
import asyncio.taskgroups
import asyncio.tasks
import importlib
import importlib.util
import sys
import types
from asyncio import _get_running_loop  # get_running_loop raises where none runs
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from contextvars import Context
from inspect import getattr_static
from typing import Any, TypeVar

__all__ = ["OrderedSet", "base_context", "install", "redelivery"]

T = TypeVar("T")

_SET: type[set[Any]] = set


class _State:
    """What is installed. One per process, since what is replaced is."""

    loop_type: type[Any] | None = None
    anyio: types.ModuleType | None = None
    redelivery: object = None
    base: Context = Context()


def _ours() -> bool:
    return isinstance(_get_running_loop(), _State.loop_type or ())


class OrderedSet(set[T]):
    """A set that iterates, and pops, in insertion order.

    It keeps the elements twice: in the set it is, for C code that reads a set's table without asking, and in a dict
    that remembers the order. ``pop`` takes the oldest.
    """

    __slots__ = ("_order",)
    __hash__ = None  # unhashable, as every set

    def __init__(self, iterable: Iterable[T] = ()) -> None:
        self._order: dict[T, None] = dict.fromkeys(iterable)
        _SET.__init__(self, self._order)

    def __iter__(self) -> Iterator[T]:
        return iter(self._order)

    def __reversed__(self) -> Iterator[T]:
        return reversed(self._order)

    def __repr__(self) -> str:
        return f"{{{', '.join(map(repr, self._order))}}}" if self._order else "set()"

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (list(self._order),)

    def add(self, element: T, /) -> None:
        _SET.add(self, element)
        self._order[element] = None

    def discard(self, element: Any, /) -> None:
        _SET.discard(self, element)
        self._order.pop(element, None)

    def remove(self, element: T, /) -> None:
        _SET.remove(self, element)
        del self._order[element]

    def pop(self) -> T:
        for element in self._order:
            self.remove(element)
            return element
        raise KeyError("pop from an empty set")

    def clear(self) -> None:
        _SET.clear(self)
        self._order.clear()

    def copy(self) -> OrderedSet[T]:
        return OrderedSet(self._order)

    __copy__ = copy

    def _assign(self, elements: Iterable[T]) -> None:
        order = dict.fromkeys(elements)
        _SET.clear(self)
        _SET.update(self, order)
        self._order = order

    def update(self, *others: Iterable[T]) -> None:
        for other in others:
            for element in list(other):
                self.add(element)

    def difference(self, *others: Iterable[Any]) -> OrderedSet[T]:
        gone = _SET().union(*others)
        return OrderedSet(element for element in self._order if element not in gone)

    def intersection(self, *others: Iterable[Any]) -> OrderedSet[T]:
        kept = [set(other) for other in others]
        return OrderedSet(element for element in self._order if all(element in other for other in kept))

    def union(self, *others: Iterable[Any]) -> OrderedSet[Any]:
        result: OrderedSet[Any] = self.copy()
        result.update(*others)
        return result

    def symmetric_difference(self, other: Iterable[Any], /) -> OrderedSet[Any]:
        right: OrderedSet[Any] = OrderedSet(other)
        return self.difference(right).union(right.difference(self))

    def difference_update(self, *others: Iterable[Any]) -> None:
        self._assign(self.difference(*others))

    def intersection_update(self, *others: Iterable[Any]) -> None:
        self._assign(self.intersection(*others))

    def symmetric_difference_update(self, other: Iterable[Any], /) -> None:
        self._assign(self.symmetric_difference(other))


def _operator(method: Callable[..., Any], *, swap: bool = False, inplace: bool = False) -> Callable[..., Any]:
    def operate(self: OrderedSet[Any], other: object) -> Any:
        if not isinstance(other, (set, frozenset)):
            return NotImplemented
        if swap:
            return method(OrderedSet(other), self)  # pyright: ignore[reportUnknownArgumentType]  # of any elements
        result = method(self, other)
        return self if inplace else result

    return operate


# `a | b` would build a builtin set in C, in the order of hashes.
for _name, _method in (
    ("or", "union"),
    ("and", "intersection"),
    ("sub", "difference"),
    ("xor", "symmetric_difference"),
):
    _plain = vars(OrderedSet)[_method]
    _update = vars(OrderedSet)["update" if _method == "union" else f"{_method}_update"]
    setattr(OrderedSet, f"__{_name}__", _operator(_plain))
    setattr(OrderedSet, f"__r{_name}__", _operator(_plain, swap=True))
    setattr(OrderedSet, f"__i{_name}__", _operator(_update, inplace=True))


class _Set:
    """The name ``set`` in the four modules: a call makes an ordered set in workflow code, else a builtin one."""

    def __new__(cls, iterable: Iterable[Any] = ()) -> Any:
        if isinstance(_get_running_loop(), _State.loop_type or ()):
            return OrderedSet(iterable)
        return set(iterable)

    @classmethod
    def __class_getitem__(cls, _item: object) -> type[_Set]:
        return cls  # anyio writes set[Event]()


# ---- asyncio


async def _wait_for(fut: Any, timeout: float | None) -> Any:
    """CPython 3.12's ``wait_for``, in workflow code: the function runs with the globals of ``asyncio.tasks``."""
    # Only what is imported here, or was put into those globals, can be named.
    import asyncio  # noqa: PLC0415
    from asyncio import tasks  # noqa: PLC0415

    names: dict[str, Any] = tasks.__dict__
    if not names["_durable_ours"]():
        return await names["_durable_wait_for"](fut, timeout)
    if timeout is not None and timeout <= 0:
        fut = asyncio.ensure_future(fut)
        if fut.done():
            return fut.result()
        await names["_cancel_and_wait"](fut, loop=fut.get_loop())
        try:
            return fut.result()
        except asyncio.CancelledError as exc:
            raise TimeoutError from exc
    async with asyncio.timeout(timeout):
        return await fut


def _replace_wait_for() -> None:
    """Give 3.11 the later algorithm.

    3.11's loses a cancel that meets the result, and takes up to three passes more: it is the one thing in asyncio
    after which a history could not move to another Python. Its code object is replaced and not the function, for the
    sake of ``from asyncio import wait_for``.
    """
    original = asyncio.wait_for
    names: dict[str, Any] = asyncio.tasks.__dict__
    if "_durable_wait_for" in names:
        return
    names["_durable_ours"] = _ours
    names["_durable_wait_for"] = types.FunctionType(
        original.__code__, names, original.__name__, original.__defaults__, original.__closure__
    )
    original.__code__ = _wait_for.__code__.replace(co_name="wait_for", co_qualname="wait_for")


def _gathering_hash(self: Any) -> Any:
    """Number the future that ``gather`` returns, at its first use in a set: its class is asyncio's, not ours."""
    try:
        return self._durable_number
    except AttributeError:
        loop = self.get_loop()
        if not isinstance(loop, _State.loop_type or ()):
            return object.__hash__(self)
        number = self._durable_number = loop.next_number()
        return number


# ---- anyio


def _hook_anyio() -> None:
    """Order anyio's sets, note its re-delivery of cancels, and keep it from starting threads under our loop; once."""
    if _State.anyio is not None:
        return
    try:
        anyio = importlib.import_module("anyio")
        backend = importlib.import_module("anyio._backends._asyncio")
        memory = importlib.import_module("anyio.streams.memory")
    except ImportError as exc:
        raise _unsupported("anyio", f"cannot be imported ({exc})") from exc
    scope = getattr(backend, "CancelScope", None)
    redeliver: Any = getattr(scope, "_deliver_cancellation", None)
    api: Any = getattr(backend, "AsyncIOBackend", None)
    to_thread: Any = getattr_static(api, "run_sync_in_worker_thread", None)
    for name, found in (
        ("CancelScope._deliver_cancellation", isinstance(redeliver, types.FunctionType)),
        ("AsyncIOBackend.run_sync_in_worker_thread", type(to_thread) is classmethod),
        ("TaskGroup", hasattr(backend, "TaskGroup")),
        ("MemoryObjectReceiveStream", hasattr(memory, "MemoryObjectReceiveStream")),
        ("no `set` of its own", not {"set"} & (vars(backend).keys() | vars(memory).keys())),
    ):
        if not found:
            raise _unsupported("anyio", f"has moved what durable relies on: {name}")
    original: Callable[..., Any] = to_thread.__func__

    def run_sync_in_worker_thread(cls: Any, *args: Any, **kwargs: Any) -> Any:
        if _ours():
            # Left alone, anyio starts the thread, and its answer never arrives: our loop takes no calls from threads.
            raise RuntimeError(
                "Workflow code cannot run a function in a thread. Run it as an activity and await its result."
            )
        return original(cls, *args, **kwargs)

    for attribute in ("__module__", "__name__", "__qualname__", "__doc__"):
        setattr(run_sync_in_worker_thread, attribute, getattr(original, attribute))
    api.run_sync_in_worker_thread = classmethod(run_sync_in_worker_thread)
    backend.__dict__["set"] = memory.__dict__["set"] = _Set
    _State.redelivery = redeliver
    _State.anyio = anyio


def _unsupported(library: str, why: str) -> RuntimeError:
    version = "unknown"
    if library == "CPython":
        version = sys.version.split()[0]
    else:
        from importlib import metadata  # noqa: PLC0415  # slow to load, and needed for this sentence only

        with suppress(metadata.PackageNotFoundError):
            version = metadata.version(library)
    return RuntimeError(
        f"durable cannot make workflow code deterministic here: {library} {version} {why}. Known to work: "
        f"CPython 3.11 to 3.15 and anyio 4.13 to 4.16. Use one of these, or a newer release of durable."
    )


# ---- installation


def install(loop_type: type[Any]) -> None:
    """Make asyncio's and anyio's sets ordered under loops of this type; a second call does nothing.

    Raises:
        RuntimeError: this Python, or this anyio, does not have the private names that are replaced.
    """
    if _State.loop_type is None:
        _check_asyncio()
        # anyio only where it can be found: a name in sys.modules counts, whatever its loader.
        if "anyio" in sys.modules or importlib.util.find_spec("anyio"):
            _hook_anyio()
        asyncio.tasks.__dict__["set"] = asyncio.taskgroups.__dict__["set"] = _Set
        asyncio.tasks.__dict__["_GatheringFuture"].__hash__ = _gathering_hash
        if sys.version_info < (3, 12):
            _replace_wait_for()
        _State.base = _make_base()
        _State.loop_type = loop_type


def _check_asyncio() -> None:
    tasks, groups = vars(asyncio.tasks), vars(asyncio.taskgroups)
    for name, found in (
        ("asyncio.tasks._GatheringFuture", isinstance(tasks.get("_GatheringFuture"), type)),
        ("asyncio.tasks._wait", callable(tasks.get("_wait"))),
        ("asyncio.tasks._enter_task", callable(tasks.get("_enter_task"))),
        ("asyncio.tasks._leave_task", callable(tasks.get("_leave_task"))),
        ("asyncio.tasks._cancel_and_wait", callable(tasks.get("_cancel_and_wait"))),
        ("asyncio.taskgroups.TaskGroup", isinstance(groups.get("TaskGroup"), type)),
        ("no `set` in asyncio.tasks and asyncio.taskgroups", "set" not in tasks and "set" not in groups),
    ):
        if not found:
            raise _unsupported("CPython", f"has moved what durable relies on: {name}")


def _make_base() -> Context:
    """Return a context that is empty but for sniffio's answer, which finds no library in a bare callback."""
    base = Context()
    if "sniffio" in sys.modules or importlib.util.find_spec("sniffio"):
        base.run(importlib.import_module("sniffio").current_async_library_cvar.set, "asyncio")
    return base


def redelivery() -> object:
    """Return the function by which anyio re-delivers a cancel, or None; hooks an anyio that was imported meanwhile."""
    if _State.anyio is None and "anyio" in sys.modules:
        _hook_anyio()
        _State.base = _make_base()
    return _State.redelivery


def base_context() -> Context:
    """Return a new context that holds nothing of the outer program."""
    return _State.base.copy()
