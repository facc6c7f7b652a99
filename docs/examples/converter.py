"""Types of one's own: one inside JSON, at any depth, and one with a form of its own."""

import asyncio
import sys
from dataclasses import dataclass
from ipaddress import IPv4Address
from typing import Any

from durable import Client, Worker, activity, workflow
from durable.converter import (
    CompositePayloadConverter,
    DataConverter,
    DefaultPayloadConverter,
    EncodingPayloadConverter,
    JSONPlainPayloadConverter,
    JSONTypeConverter,
    Payload,
)


class Addresses(JSONTypeConverter):
    """Writes addresses as text, wherever they stand in a value."""

    def to_json_value(self, value: Any) -> Any:
        return str(value) if isinstance(value, IPv4Address) else self.Unhandled

    def to_typed_value(self, hint: Any, value: Any) -> Any:
        return IPv4Address(value) if hint is IPv4Address else self.Unhandled


class Image:
    """Too large for JSON."""

    def __init__(self, pixels: bytes) -> None:
        self.pixels = pixels


class Images(EncodingPayloadConverter):
    """Stores an image that is passed, or returned, as its bytes."""

    @property
    def encoding(self) -> str:
        return "image/raw"

    def to_payload(self, value: Any) -> Payload | None:
        return Payload(value.pixels, self.encoding) if isinstance(value, Image) else None

    def from_payload(self, payload: Payload, type_hint: Any = None) -> Any:
        return Image(payload.data)


class Converter(CompositePayloadConverter):
    def __init__(self) -> None:
        null, binary, _ = DefaultPayloadConverter.default_encoding_payload_converters
        json = JSONPlainPayloadConverter(custom_type_converters=[Addresses()])
        super().__init__(Images(), null, binary, json)


@dataclass
class Camera:
    name: str
    addresses: list[IPv4Address]


@activity.defn
async def take_picture(camera: Camera) -> Image:
    return Image(b"\x00\xff" * len(camera.addresses))


@workflow.defn
async def watch(camera: Camera) -> str:
    image = await take_picture(camera)
    return f"{camera.name} at {camera.addresses[0] + 1}: {len(image.pixels)} pixels"


async def main(url: str) -> None:
    converter = DataConverter(payload_converter_class=Converter)
    async with Client.connect(url, data_converter=converter) as client, Worker(client):
        camera = Camera("door", [IPv4Address("10.0.0.1"), IPv4Address("10.0.0.2")])
        print(await client.execute_workflow(watch(camera), id="watch-1"))


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:] or ["sqlite://:memory:"]))
