"""A bank: each step of a transfer and the record that it was done are one transaction, so each is done exactly once."""

import asyncio
import sqlite3
import sys

from durable import Client, Worker, activity, workflow


@activity.defn(transactional=True)
def withdraw(tx: sqlite3.Connection, account: str, cents: int) -> bool:
    found = tx.execute(
        "update accounts set cents = cents - ? where name = ? and cents >= ?", (cents, account, cents)
    )
    return found.rowcount == 1


@activity.defn(transactional=True)
def deposit(tx: sqlite3.Connection, account: str, cents: int) -> None:
    tx.execute("update accounts set cents = cents + ? where name = ?", (cents, account))
    if activity.info().attempt == 1:
        raise ConnectionError("the process dies here, so to speak")  # what was just written is undone


@workflow.defn
async def transfer(source: str, target: str, cents: int) -> str:
    if not await withdraw(source, cents):
        return f"{source} has less than {cents}"
    await deposit(target, cents)
    return f"{cents} from {source} to {target}"


def open_accounts(file: str) -> None:
    with sqlite3.connect(file) as db:
        db.execute("create table if not exists accounts (name text primary key, cents integer)")
        db.execute("replace into accounts values ('ada', 1000), ('bob', 0)")
    db.close()


def balances(file: str) -> dict[str, int]:
    db = sqlite3.connect(file)
    try:
        return dict(db.execute("select name, cents from accounts"))
    finally:
        db.close()


async def main(url: str) -> None:
    file = url.removeprefix("sqlite:///")
    open_accounts(file)
    async with Client.connect(url) as client, Worker(client):
        print(await client.execute_workflow(transfer("ada", "bob", 300), id="rent"))
        print(await client.execute_workflow(transfer("ada", "bob", 900), id="car"))
    print(balances(file))


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:] or ["sqlite:///bank.db"]))
