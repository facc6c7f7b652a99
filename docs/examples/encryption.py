"""Nothing readable in the database: everything is encrypted, with keys of each tenant. Needs `pip install durable[crypto]`.

With one set of keys for all, `EncryptionCodec({"2026-06": key}, newest="2026-06")` is enough; see docs/encryption.md.
"""

import asyncio
import sys
from dataclasses import dataclass

from durable import Client, Worker, activity, workflow
from durable.contrib.encryption import EncryptionCodec, UnknownKeyError, encrypting
from durable.store import beneath


class TenantKeys(EncryptionCodec):
    """Encrypts with the newest key of the tenant whose name a workflow's id begins with, and reads what any of its keys wrote."""

    def __init__(self, tenants: dict[str, dict[str, bytes]]) -> None:
        super().__init__({})
        self.tenants = tenants

    async def newest_key(self) -> str:
        return max(self.tenants[self.tenant])

    async def key(self, key_id: str) -> bytes:
        await asyncio.sleep(0)  # a key service is asked here; while it is away, the tenant's runs wait
        try:
            return self.tenants[self.tenant][key_id]
        except KeyError:
            raise UnknownKeyError(key_id) from None

    @property
    def tenant(self) -> str:
        assert self.context is not None
        return self.context.workflow_id.partition("-")[0]


@dataclass
class Patient:
    name: str
    born: int


@activity.defn
async def admit(patient: Patient) -> str:
    return f"{patient.name} is in room {patient.born % 100}"


@workflow.defn
async def admission(patient: Patient) -> str:
    return await admit(patient)


async def main(url: str) -> None:
    # Made for this run; yours come from where you keep secrets.
    tenants = {"acme": {"2026-01": TenantKeys.new_key(), "2026-06": TenantKeys.new_key()}}
    converter = encrypting(TenantKeys(tenants))
    async with Client.connect(url, data_converter=converter) as client, Worker(client):
        handle = await client.start_workflow(admission(Patient("Ada", 1815)), id="acme-1")
        print(await handle.result())
        stored = await beneath(client.store).read_events(handle.result_run_id or "")
        print("readable in the database:", any(b"Ada" in event.data for event in stored))


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:] or ["sqlite://:memory:"]))
