"""A client before it is open."""

from __future__ import annotations

from typing import Any

import pytest

from durable import Client


async def test_one_that_is_not_open_yet_says_so(store_url: str) -> None:
    forgotten: Any = Client.connect(store_url)
    told = r"no 'start_workflow' yet: Client.connect\(...\) opens the client when"
    with pytest.raises(AttributeError, match=told):
        await forgotten.start_workflow("order")


async def test_a_converter_that_is_none(store_url: str) -> None:
    converter: Any = 5
    with pytest.raises(TypeError, match=r"data_converter is a durable\.converter\.DataConverter, not 5"):
        await Client.connect(store_url, data_converter=converter)
