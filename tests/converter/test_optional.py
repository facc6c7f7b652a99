"""Classes of other libraries: used when the program uses them, never needed and never imported."""

from __future__ import annotations

import math
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest

from durable.converter import default
from durable.exceptions import ConversionError
from durable.history import Payload

attrs = pytest.importorskip("attrs")
pydantic = pytest.importorskip("pydantic")
v1 = pytest.importorskip("pydantic.v1")

NAN = math.nan


@attrs.define
class Parcel:
    weight: float
    labels: set[str] = attrs.field(factory=set)


@dataclass
class Item:
    content: Any


class Model(pydantic.BaseModel):
    name: str = pydantic.Field(alias="theName")
    amount: Decimal = Decimal("1.50")
    when: datetime = datetime(2024, 1, 2, tzinfo=UTC)
    values: list[float | None] = pydantic.Field(default_factory=list)
    anything: Any = None


class Open(pydantic.BaseModel, extra="allow"):
    pass


class Constants(pydantic.BaseModel, ser_json_inf_nan="constants"):
    value: float


class Strings(pydantic.BaseModel, ser_json_inf_nan="strings"):
    value: float


class Old(v1.BaseModel):
    """As the first version of pydantic has it."""

    name: str = v1.Field(alias="theName")
    amount: Decimal = Decimal("1.50")
    values: set[int] = v1.Field(default_factory=set)

    def __hash__(self) -> int:
        return 1


class Failing(pydantic.BaseModel):
    value: int = 0

    @pydantic.model_serializer
    def write(self) -> Any:
        raise RuntimeError("no")


@dataclass
class Holder:
    model: Model
    more: list[Model]


@dataclass
class Ok:
    value: int


MODEL = Model(theName="n", values=[1.0, None], anything={"a": [1]})


@pytest.mark.parametrize(
    ("value", "hint"),
    [
        (Parcel(1.5, {"b", "a"}), Parcel),
        ([Parcel(1.5)], list[Parcel]),
        (MODEL, Model),
        ([MODEL, None], list[Model | None]),
        ({"k": MODEL}, dict[str, Model]),
        (Holder(MODEL, [MODEL]), Holder),
        (Ok(1), Ok | Model),
        (MODEL, Ok | Model),
        (Strings(value=math.inf), Strings),
        (Open(a=1, b=None), Open),
        (Old(theName="n", values={1}), Old),
        ([Old(theName="n"), None], list[Old | None]),
        (Old(theName="n"), Ok | Old),
    ],
    ids=lambda value: type(value).__name__,
)
def test_value_and_type_survive(value: Any, hint: Any) -> None:
    payload = default().to_payload(value)
    back = default().from_payload(payload, hint)
    assert type(back) is type(value)
    assert back == value
    assert default().to_payload(value) == payload


def tower(height: int) -> Any:
    value: Any = 1
    for _ in range(height):
        value = Model(theName="n", anything=value)
    return value


@pytest.mark.parametrize(
    ("value", "path", "text"),
    [
        (Model(theName="n", values=[1.0, NAN, None]), "value.values[1]", "float nan"),
        ([Item(Model(theName="n", anything={"k": NAN}))], "value[0].content.anything.k", "float nan"),
        (Open(a=[NAN]), "value.a[0]", "float nan"),
        (Constants(value=NAN), "value.value", "float nan"),
        (Old(theName="n", amount=1, values=[1]).copy(update={"name": NAN}), "value.name", "float nan"),
        (Model(theName="\ud800"), "value", "surrogates not allowed"),
        (Model(theName="n", anything=object()), "value", "cannot be stored"),
        ([Failing()], "value", "cannot be stored"),
        (tower(129), "value.anything.anything", "deeper than 128"),
        (Parcel(NAN), "value.weight", "float nan"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_refused_with_its_place(value: Any, path: str, text: str) -> None:
    with pytest.raises(ConversionError) as caught:
        default().to_payload(value)
    assert caught.value.path.startswith(path)
    assert text in str(caught.value)


@pytest.mark.parametrize(
    ("data", "hint", "path", "text"),
    [
        (b'{"theName":"n","values":["x"]}', Model, "value.values[0]", "valid number"),
        (b'{"theName":1}', Model, "value.theName", "valid string"),
        (b'[{"theName":"n","values":["secret"]}]', list[Model], "value[0]", "valid number"),
        (b"null", Model, "value", "object"),
        (b'{"theName":"n","values":["secret"]}', Old, "value.values[0]", "valid integer"),
        (b"null", Old, "value", "Old expected dict"),
        (b'{"x":1}', Ok | Model, "value", "cannot be told"),
    ],
)
def test_refused_when_read(data: bytes, hint: Any, path: str, text: str) -> None:
    with pytest.raises(ConversionError) as caught:
        default().from_payload(Payload(data), hint)
    assert caught.value.path == path
    assert text in str(caught.value)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("module", ["pydantic", "attr"])
def test_the_library_never_imports_it(module: str) -> None:
    program = (
        "import sys, dataclasses; from durable.converter import default\n"
        "@dataclasses.dataclass\nclass D:\n a: int\n"
        "try: default().to_payload([object()])\nexcept ValueError: pass\n"
        f"c = default(); c.from_payload(c.to_payload(D(1)), D); assert {module!r} not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", program], check=True)


def test_a_program_that_imports_pydantic_later_is_understood() -> None:
    make: Callable[[], Any] = lambda: pydantic.create_model("Later", a=(int, 1))  # noqa: E731
    kind = make()
    assert default().from_payload(default().to_payload(kind()), kind) == kind()
