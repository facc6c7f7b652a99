"""Which activities a worker serves."""

from __future__ import annotations

import pytest

from durable import activity
from durable.activity import Activity, _activity, _collect
from durable.activity._collect import collect
from durable.activity._definition import ActivityDefinition
from durable.activity._registry import Registry
from durable.exceptions import RegistrationError


@pytest.fixture(autouse=True)
def registry(monkeypatch: pytest.MonkeyPatch) -> Registry[ActivityDefinition]:
    """A process of its own, which has imported `here`, `there` and `Stock`."""
    registry: Registry[ActivityDefinition] = Registry("activity")
    monkeypatch.setattr(_collect, "REGISTRY", registry)
    monkeypatch.setattr(_activity, "REGISTRY", registry)
    for known in (here, there, Stock.reserve, Stock.release):
        registry.add(known.definition)
    return registry


@activity.defn(name="collect.here")
async def here() -> None: ...


@activity.defn(name="collect.there", task_queue="there")
async def there() -> None: ...


class Stock:
    def __init__(self, n: int) -> None:
        self.n = n

    @activity.defn(name="collect.reserve")
    def reserve(self, sku: str) -> int:
        return self.n

    @activity.method(name="collect.release")
    def release(self, sku: str) -> int:
        return self.n


def test_without_a_list_a_worker_serves_what_was_imported_for_its_queue_or_for_none() -> None:
    assert set(collect(None, "default")) == {"collect.here"}, "methods are not served without an instance"
    assert set(collect(None, "there")) == {"collect.here", "collect.there"}


def test_a_list_wins() -> None:
    assert set(collect([there], "default")) == {"collect.there"}
    assert collect([], "default") == {}


def test_an_instance_brings_its_methods() -> None:
    stock = Stock(7)
    found = collect([stock], "q")
    assert set(found) == {"collect.reserve", "collect.release"}
    assert found["collect.reserve"].fn("x") == 7
    assert set(collect([stock.release], "q")) == {"collect.release"}


def test_the_same_one_twice_is_one() -> None:
    stock = Stock(1)
    assert set(collect([here, here, stock, stock.reserve], "q")) == {
        "collect.here",
        "collect.reserve",
        "collect.release",
    }


def _two() -> tuple[Activity[[], int], Activity[[], int]]:
    @activity.defn(name="collect.twice")
    def first() -> int:
        return 1

    @activity.defn(name="collect.twice")
    def second() -> int:
        return 2

    return first, second


def test_two_of_one_name_are_an_error_that_names_both_lines() -> None:
    first, second = _two()
    with pytest.raises(
        RegistrationError,
        match=r"two definitions of activity 'collect.twice', at tests/activity/test_collect.py:\d+ and at "
        r"tests/activity/test_collect.py:\d+, and one worker cannot serve both; give one of them another name=",
    ):
        collect([first, second], "q")
    with pytest.raises(RegistrationError, match="two definitions of activity 'collect"):
        collect(None, "q")
    assert collect([second], "q")["collect.twice"].definition is second.definition


def test_what_a_finished_function_defined_is_in_nobodys_way() -> None:
    first, second = _two()
    del first
    found = collect(None, "q")["collect.twice"]
    assert found.definition is second.definition


def test_defining_the_same_thing_again_replaces_it(registry: Registry[ActivityDefinition]) -> None:
    def load() -> Activity[[], None]:
        @activity.defn(name="collect.again")
        def again() -> None: ...

        return again

    before, after = load(), load()
    assert registry.named("collect.again") == [after.definition]
    assert before.definition is not after.definition


@pytest.mark.parametrize(
    ("item", "text"),
    [
        (print, "print is a plain function; put @activity.defn above it"),
        (3, "3 is not an activity; pass a function under @activity.defn"),
        (Stock, "Stock is a class, and its activities need an instance: pass Stock(...)"),
        (Stock.reserve, "is a method and needs an instance: pass Stock(...) or Stock(...).reserve"),
    ],
)
def test_what_cannot_be_served_is_refused(item: object, text: str) -> None:
    with pytest.raises(RegistrationError) as caught:
        collect([item], "q")
    assert text in str(caught.value)


def test_one_method_of_two_instances_is_refused() -> None:
    with pytest.raises(RegistrationError, match="listed on two instances"):
        collect([Stock(1), Stock(2)], "q")


def test_a_hint_that_cannot_be_read_is_found_when_the_worker_starts() -> None:
    @activity.defn
    def bad(x: Nowhere) -> None: ...  # type: ignore[name-defined]  # noqa: F821

    with pytest.raises(RegistrationError, match="name 'Nowhere' is not defined"):
        collect([bad], "q")
