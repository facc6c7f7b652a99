"""A workflow that has run, and edits of it: fifty after which its runs would not go on, and fifty that do no harm."""

from __future__ import annotations

from typing import NamedTuple

PROGRAM = """\
import asyncio
from datetime import timedelta

from durable import ActivityError, workflow
from tests.lint.shop import Order, audit, charge, decided, label, mail, other, pack, reserve, ship

FEE = 5


async def thank(names: list[str], text: str) -> int:
    sent = 0
    for name in names:
        await mail(name, text)
        sent += 1
    return sent


@workflow.defn(name="edits.checkout")
async def checkout(order: Order) -> str:
    total = order.cents * order.amount + FEE
    seat = await reserve(order.id)
    receipt = await charge(order.id, total)
    await workflow.sleep(timedelta(hours=1))
    box, tag = await asyncio.gather(pack(order.id), label(order.id))
    shipped = await ship(order.id)
    try:
        answer = await decided.receive(timeout=timedelta(days=3))
    except TimeoutError:
        answer = "nobody"
    sent = await thank(order.names, "thanks")
    if workflow.patched("audit"):
        await audit(total)
    return f"{seat}, {receipt}, {box}, {tag}, {shipped}, {answer}, {sent}"
"""


class Edit(NamedTuple):
    """An edit of the program.

    Attributes:
        name: What it does.
        old: What stands there.
        new: What is to stand there.
        caught: By what it is noticed, "replay", "guard" or "lint"; "" for a harmless one.
        line: What stands in the line that is named.
    """

    name: str
    old: str
    new: str
    caught: str = ""
    line: str = ""


RESERVE = "    seat = await reserve(order.id)\n"
CHARGE = "    receipt = await charge(order.id, total)\n"
SLEEP = "    await workflow.sleep(timedelta(hours=1))\n"
GATHER = "    box, tag = await asyncio.gather(pack(order.id), label(order.id))\n"
SHIP = "    shipped = await ship(order.id)\n"
SENT = '    sent = await thank(order.names, "thanks")\n'
TOTAL = "    total = order.cents * order.amount + FEE\n"
ANSWER = "        answer = await decided.receive(timeout=timedelta(days=3))\n"
PATCHED = '    if workflow.patched("audit"):\n        await audit(total)\n'


def before(old: str, new: str, name: str, caught: str, line: str = "", imports: str = "") -> Edit:
    """An edit that adds lines in front of one, and perhaps an import."""
    added = "".join(f"    {one}\n" for one in new.split("\n"))
    return Edit(
        name, old, f"{added}{old}" + (f"\0{imports}" if imports else ""), caught, line or new.split("\n")[0]
    )


BREAKING = [
    # what is asked for, or its order
    Edit("swap two activities", RESERVE + CHARGE, CHARGE + RESERVE, "replay", "await charge("),
    Edit("swap an activity and a timer", CHARGE + SLEEP, SLEEP + CHARGE, "replay", "workflow.sleep("),
    Edit("swap what is gathered", "gather(pack(order.id), label(order.id))", "gather(label(order.id), pack(order.id))", "replay", "asyncio.gather"),
    Edit("swap a child and what is gathered", GATHER + SHIP, SHIP + GATHER, "replay", "await ship("),
    Edit("remove the first activity", RESERVE, '    seat = ""\n', "replay", "await charge("),
    Edit("remove an activity", CHARGE, '    receipt = ""\n', "replay", "workflow.sleep("),
    Edit("remove a timer", SLEEP, "", "replay", "asyncio.gather"),
    Edit("remove one of what is gathered", GATHER, '    box, tag = await pack(order.id), ""\n', "replay", "await pack("),
    Edit("remove a child", SHIP, '    shipped = ""\n', "replay", "decided.receive"),
    Edit("remove the wait for a signal", ANSWER, '        answer = "yes"\n', "replay", "await mail("),
    Edit("remove a patch", PATCHED, "", "replay", 'workflow.defn(name="edits.checkout")'),
    Edit("remove what a patch added", "        await audit(total)\n", "        total += 1\n", "replay", 'workflow.defn(name="edits.checkout")'),
    before(RESERVE, 'await mail("shop", "new order")', "add an activity in front", "replay"),
    before(SLEEP, 'await mail("shop", "paid")', "add an activity", "replay"),
    before(CHARGE, "await workflow.sleep(1)", "add a timer", "replay"),
    before(SHIP, "await other(order.id)", "add a child", "replay"),
    before(RESERVE, "task = audit.start(total)", "add an activity beside the others", "replay"),
    before(SENT, 'if workflow.patched("audit"):\n    await audit(0)', "take a patch's name for another change", "replay", 'workflow.defn(name="edits.checkout")'),
    Edit("add an activity at the end", '    return f"', '    await audit(0)\n    return f"', "replay", "await audit(0)"),
    Edit("rename an activity", RESERVE, "    seat = await pack(order.id)\n", "replay", "seat = await pack("),
    Edit("rename a child", SHIP, "    shipped = await other(order.id)\n", "replay", "await other("),
    Edit("rename a patch", '"audit"', '"audits"', "replay", 'workflow.defn(name="edits.checkout")'),
    Edit("a timer in place of an activity", CHARGE, '    receipt = ""\n    await workflow.sleep(5)\n', "replay", "workflow.sleep(5)"),
    Edit("an activity in a loop", CHARGE, "    for _ in range(2):\n        receipt = await charge(order.id, total)\n", "replay", "await charge("),
    Edit("an activity under a condition", CHARGE, '    receipt = await charge(order.id, total) if total > 1000 else ""\n', "replay", "workflow.sleep("),
    Edit("one mail less", "for name in names:", "for name in names[1:]:", "replay", "await mail("),
    Edit("mails at once", SENT, '    await asyncio.gather(*[mail(name, "thanks") for name in order.names])\n    sent = 2\n', "replay", "mail(name"),
    # with what it is asked for
    Edit("change an argument", "charge(order.id, total)", "charge(order.id, total + 1)", "replay", "await charge("),
    Edit("change an argument by a constant", "FEE = 5", "FEE = 6", "replay", "await charge("),
    Edit("change an argument in a helper", "await mail(name, text)", "await mail(name, text.upper())", "replay", "await mail("),
    Edit("turn a list round", "for name in names:", "for name in reversed(names):", "replay", "await mail("),
    Edit("change a child's argument", "ship(order.id)", 'ship(f"{order.id}-1")', "replay", "await ship("),
    # the world
    before(CHARGE, "began = time.time()", "wall clock", "guard", imports="time"),
    before(CHARGE, "total += datetime.now().day", "wall clock in an argument", "guard", imports="from datetime import datetime"),
    before(CHARGE, "total += random.randint(0, 9)", "random", "guard", imports="random"),
    before(CHARGE, "key = uuid.uuid4()", "uuid", "guard", imports="uuid"),
    before(CHARGE, "salt = os.urandom(8)", "random bytes", "guard", imports="os"),
    before(CHARGE, "price = open('prices.txt').read()", "a file", "guard"),
    before(CHARGE, "price = Path('prices.txt').read_text()", "a file by its path", "guard", imports="from pathlib import Path"),
    before(CHARGE, "threading.Thread(target=print).start()", "a thread", "guard", imports="threading"),
    before(CHARGE, "subprocess.run(['true'])", "a subprocess", "guard", imports="subprocess"),
    before(CHARGE, "socket.create_connection(('localhost', 9))", "a socket", "guard", imports="socket"),
    before(CHARGE, "time.sleep(0)", "a sleep that blocks", "guard", imports="time"),
    # what only its text tells
    Edit("an unordered set", "order.names, ", "list(order.tags), ", "lint", "order.tags"),
    Edit("an unordered set in a loop", "for name in names:", "for name in set(names):", "lint", "set(names)"),
    before(CHARGE, "total += hash(order.id) % 2", "a hash", "lint"),
    before(CHARGE, "total += len(os.environ)", "the environment", "lint", imports="os"),
    before(CHARGE, "global FEE\nFEE += 1", "a global that is changed", "lint", "FEE += 1"),
    before(CHARGE, "reserve(order.id)", "a call that is not awaited", "lint"),
    Edit("a cancellation that is swallowed", "except TimeoutError:", "except BaseException:", "lint", "except BaseException"),
]  # fmt: skip


HARMLESS = [
    # names and layout
    Edit("rename a variable", "receipt", "paid"),
    Edit("rename a helper", "thank(", "say_thanks("),
    Edit("rename the function", "async def checkout(", "async def buy("),
    Edit("rename a parameter of a helper", "names: list[str], text: str", "names: list[str], text: str, extra: int = 0"),
    Edit("a comment", RESERVE, "    # the seat first\n" + RESERVE),
    Edit("a docstring", TOTAL, '    """Sell something."""\n' + TOTAL),
    Edit("blank lines", CHARGE, "\n" + CHARGE + "\n"),
    Edit("another order of imports", "Order, audit, charge", "audit, charge, Order"),
    Edit("an import that nobody needs", "import asyncio\n", "import asyncio\nimport json\n"),
    Edit("another import root", "from durable import ActivityError, workflow", "import durable\nfrom durable import ActivityError, workflow"),
    # what comes to the same
    Edit("a constant in place of a name", "+ FEE", "+ 5"),
    Edit("another way to compute", "order.cents * order.amount + FEE", "FEE + order.amount * order.cents"),
    Edit("a sum", "order.cents * order.amount + FEE", "sum([order.cents] * order.amount) + FEE"),
    Edit("an f-string", 'f"{seat}, {receipt}', 'f"{seat!s}, {receipt}'),
    Edit("another result", 'return f"{seat}, ', 'return f"{seat}; '),
    Edit("a while loop", "    for name in names:\n        await mail(name, text)\n        sent += 1\n", "    while sent < len(names):\n        await mail(names[sent], text)\n        sent += 1\n"),
    Edit("enumerate", "    for name in names:\n        await mail(name, text)\n        sent += 1\n", "    for sent, name in enumerate(names, 1):\n        await mail(name, text)\n"),
    Edit("a sorted set", "order.names, ", "sorted(set(order.names)), "),
    Edit("a dict of the same order", "for name in names:", "for name in dict.fromkeys(names):"),
    Edit("a helper in line", SENT, '    sent = 0\n    for name in order.names:\n        await mail(name, "thanks")\n        sent += 1\n'),
    Edit("a helper more", RESERVE, "    async def first() -> str:\n        return await reserve(order.id)\n\n    seat = await first()\n"),
    Edit("tasks in place of gather", GATHER, "    first, second = asyncio.create_task(pack(order.id)), asyncio.create_task(label(order.id))\n    box, tag = await first, await second\n"),
    Edit("a task group in place of gather", GATHER, "    async with asyncio.TaskGroup() as group:\n        first = group.create_task(pack(order.id))\n        second = group.create_task(label(order.id))\n    box, tag = first.result(), second.result()\n"),
    Edit("handles in place of gather", GATHER, "    first, second = pack.start(order.id), label.start(order.id)\n    box, tag = await first, await second\n"),
    Edit("asyncio.sleep in place of workflow.sleep", "workflow.sleep(timedelta(hours=1))", "asyncio.sleep(3600)"),
    Edit("a task that is awaited at once", "await reserve(order.id)", "await asyncio.create_task(reserve(order.id))"),
    Edit("execute_activity in place of a call", "await reserve(order.id)", "await workflow.execute_activity(reserve, order.id)"),
    Edit("an argument by its name", "charge(order.id, total)", "charge(order.id, cents=total)"),
    # what may change under a running workflow
    Edit("another duration of a timer", "timedelta(hours=1)", "timedelta(hours=2)"),
    Edit("a summary of a timer", "timedelta(hours=1))", 'timedelta(hours=1), summary="wait")'),
    Edit("another timeout of a signal", "timedelta(days=3)", "timedelta(days=4)"),
    Edit("another timeout of an activity", "await reserve(", "await reserve.options(start_to_close_timeout=9)("),
    Edit("another retry policy", "await charge(", "await charge.options(retry_policy=RetryPolicy(maximum_attempts=3))(\0from durable import RetryPolicy"),
    Edit("another queue", "await charge(", 'await charge.options(task_queue="till")('),
    Edit("options of the workflow", '@workflow.defn(name="edits.checkout")', '@workflow.defn(name="edits.checkout", execution_timeout=10**7)'),
    # what the library has for it
    before(CHARGE, "now = workflow.now()", "the workflow's clock", ""),
    before(CHARGE, "number = workflow.random().random()", "the workflow's chance", ""),
    before(CHARGE, "key = workflow.uuid4()", "the workflow's uuid", ""),
    before(CHARGE, 'workflow.logger.info("charging %s", order.id)', "a log", ""),
    before(CHARGE, 'workflow.set_current_details("charging")', "what it says of itself", ""),
    before(RESERVE, "workflow.set_handler(status, lambda: total)", "a query", "", imports="from durable import Query\n\n\n@Query\ndef status() -> int: ...\n"),
    before(SENT, 'if workflow.patched("gift"):\n    await mail("shop", "a gift")', "a change behind a patch", ""),
    Edit("a patch that is everywhere", PATCHED, '    workflow.deprecate_patch("audit")\n    await audit(total)\n'),
    before(CHARGE, "await asyncio.sleep(0)", "a pause of no time", ""),
    # what the code does by itself
    before(CHARGE, "checked = [one for one in order.names if one]", "a list", ""),
    before(CHARGE, "assert total > 0", "an assertion", ""),
    before(CHARGE, 'large = "large" in order.tags', "a look into a set", ""),
    before(CHARGE, "digest = hashlib.sha256(order.id.encode()).hexdigest()", "a digest", "", imports="hashlib"),
    Edit("an exception that is let through", CHARGE, f"    try:\n    {CHARGE}    except ActivityError:\n        raise\n"),
    Edit("a finally", SHIP, f"    try:\n    {SHIP}    finally:\n        total += 0\n"),
]  # fmt: skip


def edited(edit: Edit) -> str:
    """The program after an edit."""
    new, _, imports = edit.new.partition("\0")
    assert edit.old in PROGRAM, edit.name
    text = PROGRAM.replace(edit.old, new)
    if imports:
        line = imports if " " in imports else f"import {imports}"
        text = text.replace("\nFEE = 5", f"{line}\n\nFEE = 5")
    return text
