"""Every rule: its examples, and the cases on both sides of its border."""

from __future__ import annotations

from pathlib import Path

import pytest

from durable.lint import RULES, Rule
from tests.lint.rig import codes, flow, lint

ALL = pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.name)


@ALL
def test_the_bad_example_is_found_and_the_good_one_is_not(rule: Rule, tmp_path: Path) -> None:
    found = lint(tmp_path, rule.bad)
    assert set(codes(found)) == {rule.code}, found
    assert lint(tmp_path, rule.good) == []


@ALL
def test_the_examples_are_programs(rule: Rule, tmp_path: Path) -> None:
    for text in (rule.bad, rule.good):
        (tmp_path / "program.py").write_text(text)
        assert "durable" in text
        assert "\n    " in text


@ALL
def test_a_message_is_one_sentence_with_a_way_out(rule: Rule, tmp_path: Path) -> None:
    for finding in lint(tmp_path, rule.bad):
        assert "; " in finding.message or ": " in finding.message, finding.message
        assert not finding.message.endswith(".")
        assert "\n" not in finding.message


def test_codes_and_names_are_unique_and_summaries_are_sentences() -> None:
    assert len({rule.code for rule in RULES}) == len({rule.name for rule in RULES}) == len(RULES) > 20
    assert [rule.code for rule in RULES] == sorted(rule.code for rule in RULES)
    for rule in RULES:
        assert rule.summary().endswith("."), rule.code


FOUND = {
    # the machine
    "time.time()": "DUR101",
    "time.monotonic()": "DUR101",
    "datetime.now()": "DUR101",
    "datetime.now(UTC)": "DUR101",
    "datetime.utcnow()": "DUR101",
    "date.today()": "DUR101",
    "time.strftime('%Y')": "DUR101",
    "sorted(words, key=lambda word: time.time())": "DUR101",
    "random.random()": "DUR102",
    "random.Random()": "DUR102",
    "random.SystemRandom()": "DUR102",
    "os.urandom(8)": "DUR102",
    "uuid.uuid4()": "DUR103",
    "str(uuid.uuid1())": "DUR103",
    "os.environ['HOME']": "DUR108",
    "os.environ.get('HOME')": "DUR108",
    "os.getenv('HOME')": "DUR108",
    "sys.argv[1]": "DUR108",
    "print(words)": "DUR109",
    "datetime(2026, 1, 1)": "DUR111",
    "datetime.fromtimestamp(0)": "DUR111",
    "workflow.now().astimezone()": "DUR111",
    # the world outside
    "open('a').read()": "DUR104",
    "Path('a').read_text()": "DUR104",
    "(Path('a') / 'b').exists()": "DUR104",
    "Path('a').parent.is_dir()": "DUR104",
    "os.listdir('.')": "DUR104",
    "os.path.exists('a')": "DUR104",
    "input('sure?')": "DUR104",
    "os.system('ls')": "DUR106",
    "await asyncio.create_subprocess_exec('ls')": "DUR106",
    "threading.Thread(target=act)": "DUR107",
    "await asyncio.to_thread(len, words)": "DUR107",
    "await asyncio.get_running_loop().run_in_executor(None, len, words)": "DUR107",
    "asyncio.get_running_loop().call_soon_threadsafe(len)": "DUR107",
    "time.sleep(1)": "DUR110",
    # order
    "await asyncio.gather(*[act(name) for name in names])": "DUR201",
    "await asyncio.gather(*names)": "DUR201",
    "await workflow.map(act, names)": "DUR201",
    "list(names)": "DUR201",
    "names.pop()": "DUR201",
    "next(iter(names))": "DUR201",
    "', '.join(names)": "DUR201",
    "[one for one in {'a', 'b'} | names]": "DUR201",
    "list(set(words))": "DUR201",
    "{name: await act(name) for name in names}": "DUR201",
    "[*names]": "DUR201",
    "id(words)": "DUR202",
    "hash('a')": "DUR202",
    "sorted(words, key=hash)": "DUR202",
    # calls
    "act('a') or None": None,
    "await act(lambda: 1)": "DUR503",
    "await act(word for word in words)": "DUR503",
    "await workflow.execute_activity(act, lambda: 1)": "DUR503",
    "workflow.continue_as_new(lambda: 1)": "DUR503",
}  # fmt: skip
"""Expressions of a workflow, with what is found in them; None for nothing."""


HARMLESS = [
    "workflow.now()",
    "workflow.time()",
    "workflow.random().choice(words)",
    "random.Random(7).random()",
    "random.Random(workflow.random_seed()).random()",
    "workflow.uuid4()",
    "uuid.UUID('00000000-0000-0000-0000-000000000005')",
    "uuid.uuid5(uuid.NAMESPACE_DNS, 'a')",
    "time.strftime('%Y', time.gmtime(0))",
    "datetime(2026, 1, 1, tzinfo=UTC)",
    "datetime(2026, 1, 1).replace(tzinfo=UTC)",
    "datetime.fromtimestamp(0, UTC)",
    "datetime.fromisoformat('2026-01-01T00:00:00+00:00')",
    "workflow.now().astimezone(UTC)",
    "asyncio.get_running_loop().time()",
    "Path('a') / 'b'",
    "Path('a.txt').with_suffix('.md').name",
    "os.path.join('a', 'b')",
    "os.sep",
    "workflow.logger.info('hello')",
    "[one for one in sorted(names)]",
    "sorted(names)",
    "sum(len(name) for name in names)",
    "any(name == 'a' for name in names)",
    "{name for name in names}",
    "len(names)",
    "'a' in names",
    "set(name for name in names)",
    "[one for one in {1, 2, 3}]",
    "list(set(range(5)))",
    "[one for one in {True: 1, 'a': 2}]",
    "await asyncio.wait({asyncio.create_task(act('a')), asyncio.create_task(act('b'))})",
    "await asyncio.sleep(1)",
    "await asyncio.gather(act('a'), act('b'))",
    "act.start('a')",
    "asyncio.create_task(act('a'))",
    "await act([one for one in words])",
    "await act(sum(1 for one in words))",
    "sorted(words, key=lambda word: word.lower())",
    "await workflow.wait_condition(lambda: bool(words))",
]  # fmt: skip


@pytest.mark.parametrize("expression", FOUND, ids=str)
def test_what_is_found(expression: str, tmp_path: Path) -> None:
    wanted = FOUND[expression]
    assert codes(lint(tmp_path, flow(f"return {expression}"))) == ([] if wanted is None else [wanted])


@pytest.mark.parametrize("expression", HARMLESS, ids=str)
def test_what_is_harmless(expression: str, tmp_path: Path) -> None:
    assert lint(tmp_path, flow(f"return {expression}")) == []


BLOCKS: list[tuple[str, str, str | None]] = [
    ("a loop over a set that awaits", "for name in names:\n    await act(name)", "DUR201"),
    ("a loop over a set that starts", "for name in names:\n    act.start(name)", "DUR201"),
    ("a loop over a set that collects", "found = []\nfor name in names:\n    found.append(name)", "DUR201"),
    ("a loop over a set that counts", "n = 0\nfor name in names:\n    n += len(name)", None),
    ("a set that was assigned", "both = set(words) | names\nfor one in both:\n    await act(one)", "DUR201"),
    ("a set that was sorted", "both = sorted(set(words))\nfor one in both:\n    await act(one)", None),
    ("a set of tasks", "tasks = {asyncio.create_task(act(one)) for one in words}\nfor one in tasks:\n    await one", None),
    ("what wait has done", "done, rest = await asyncio.wait([act.start(one) for one in words])\nfor one in done:\n    await one", None),
    ("a dict", "for key in dict.fromkeys(words):\n    await act(key)", None),
    ("an alias", "now = time.time\nnow()", "DUR101"),
    ("an import in the function", "from time import time as t\nt()", "DUR101"),
    ("a local of the same name", "time = workflow\ntime.time()", None),
    ("a parameter of an inner function", "def inner(random: object) -> object:\n    return random.random()\ninner(1)", None),
    ("an inner function", "def inner() -> object:\n    return random.random()\ninner()", "DUR102"),
    ("an environment under another name", "from os import environ as env\nenv['A']", "DUR108"),
    ("a path in a variable", "path: Path = Path('a')\npath.read_text()", "DUR104"),
    ("a path that is passed on", "path = Path('a')\nawait act(str(path))", None),
    ("a print that is not repeated", "if not workflow.unsafe.is_replaying():\n    print('once')", None),
    (
        "what may pass",
        "with workflow.unsafe.sandbox_unrestricted():\n    began = time.perf_counter()",
        None,
    ),
    (
        "an order under what may pass",
        "with workflow.unsafe.sandbox_unrestricted():\n    for name in names:\n        await act(name)",
        "DUR201",
    ),
    ("everything is caught", "try:\n    await act()\nexcept BaseException:\n    return 1", "DUR401"),
    ("a bare except", "try:\n    await act()\nexcept:\n    return 1", "DUR401"),
    ("everything is caught and raised again", "try:\n    await act()\nexcept BaseException:\n    raise", None),
    ("an Exception is caught", "try:\n    await act()\nexcept Exception:\n    return 1", None),
    ("a cancellation is answered", "try:\n    await act()\nexcept asyncio.CancelledError:\n    return 1", None),
    (
        "a cancellation is ignored for ever",
        "while True:\n    try:\n        await act()\n    except asyncio.CancelledError:\n        pass",
        "DUR401",
    ),
    (
        "a task that was cancelled is waited for",
        "task = act.start()\nwhile True:\n    task.cancel()\n    try:\n        await task\n    except asyncio.CancelledError:\n        pass",
        None,
    ),
    ("a finally that returns", "try:\n    workflow.continue_as_new()\nfinally:\n    return 1", "DUR402"),
    ("a finally that tidies", "try:\n    workflow.continue_as_new()\nfinally:\n    words.clear()", None),
    ("a loop for ever that waits", "while True:\n    await act()", None),
    ("a loop for ever that breaks", "while True:\n    break", None),
    ("a loop for ever whose inner loop breaks", "while True:\n    for one in words:\n        break", "DUR403"),
    ("a loop with a condition", "while words:\n    words.pop()", None),
    ("a patch that is asked", "if workflow.patched('p'):\n    await act()", None),
    ("a patch that is asked and deprecated", "workflow.deprecate_patch('p')\nif workflow.patched('p'):\n    await act()", "DUR404"),
    ("two patches", "workflow.deprecate_patch('p')\nif workflow.patched('q'):\n    await act()", None),
    ("a deprecated patch that is asked", "if workflow.deprecate_patch('p'):\n    await act()", "DUR404"),
    ("a timer that is not awaited", "workflow.sleep(1)", "DUR501"),
    ("a helper that is not awaited", "async def inner() -> None: ...\ninner()", "DUR501"),
    ("an activity with options that is not awaited", "act.options(task_queue='q')('a')", "DUR501"),
    ("an activity that is kept", "call = act('a')\nawait call", None),
]  # fmt: skip


@pytest.mark.parametrize(("body", "wanted"), [one[1:] for one in BLOCKS], ids=[one[0] for one in BLOCKS])
def test_blocks(body: str, wanted: str | None, tmp_path: Path) -> None:
    assert codes(lint(tmp_path, flow(body))) == ([] if wanted is None else [wanted])


def test_a_signal_that_is_not_awaited(tmp_path: Path) -> None:
    found = lint(tmp_path, flow("go.receive()\nawait go.receive()", 'go = Signal("go", str)\n'))
    assert codes(found) == ["DUR501"]


def test_a_constant_of_the_module_may_be_read_and_a_list_that_others_change_may_not(tmp_path: Path) -> None:
    head = """
    RATES = {"a": 1}
    seen: list[str] = []

    def note(word: str) -> None:
        seen.append(word)
    """
    (found,) = lint(tmp_path, flow("return RATES['a'] + len(seen)", head))
    assert found.code == "DUR302"
    assert "changed by note" in found.message


@pytest.mark.parametrize(
    "body",
    [
        "global count\ncount += 1",
        "table['a'] = 1",
        "table.update(a=1)",
        "del table['a']",
        "numbers.append(1)",
        "Shared.count += 1",
        "Shared.items.append(1)",
        "return next(ids)",
    ],
)
def test_what_all_runs_share_is_not_to_be_changed(body: str, tmp_path: Path) -> None:
    head = """
    import itertools
    count = 0
    table: dict[str, int] = {}
    numbers = [1]
    ids = itertools.count()

    class Shared:
        count = 0
        items: list[int] = []
    """
    assert codes(lint(tmp_path, flow(body, head))) == ["DUR301"]


def test_a_query_only_looks(tmp_path: Path) -> None:
    found = lint(
        tmp_path,
        """
        from durable import workflow

        @workflow.defn
        class Cart:
            def __init__(self) -> None:
                self.items: list[str] = []
                self.last = {"a": 1}

            @workflow.run
            async def run(self) -> None:
                await workflow.wait_condition(lambda: len(self.items) > 3)

            @workflow.query
            def first(self) -> str:
                items = list(self.items)
                items.sort()
                return items[0]

            @workflow.query
            def take(self) -> str:
                return self.items.pop()

            @workflow.update
            def add(self, item: str) -> int:
                self.items.append(item)
                return len(self.items)

            @add.validator
            def check(self, item: str) -> None:
                self.last["a"] = 2
        """,
    )
    assert [(one.code, one.message.split()[1]) for one in found] == [
        ("DUR303", "query"),
        ("DUR303", "validator"),
    ]


def test_signatures(tmp_path: Path) -> None:
    found = lint(
        tmp_path,
        """
        import asyncpg
        from collections.abc import AsyncIterator, Iterable
        from typing import Any, Literal
        from durable import activity, workflow

        @activity.defn
        async def stream(rows: Iterable[int]) -> AsyncIterator[int]: ...

        @activity.defn(transactional=True)
        async def debit(tx: asyncpg.Connection, cents: int) -> None: ...

        @activity.defn
        async def connect(to: "asyncpg.Connection | None") -> None: ...

        @activity.defn
        async def order(kind: Literal["a"], rest: dict[str, Any]) -> None: ...

        class Store:
            @activity.method
            async def put(self, name: str, *, cents) -> None: ...
        """,
    )
    assert [(one.code, one.message.split()[0]) for one in found] == [
        ("DUR502", "collections.abc.AsyncIterator"),
        ("DUR502", "asyncpg.Connection"),
        ("DUR504", "parameter"),
    ]


def test_an_activity_may_block_its_thread_and_not_the_event_loop(tmp_path: Path) -> None:
    found = lint(
        tmp_path,
        """
        import requests, time
        from durable import activity

        def fetch(url: str) -> str:
            try:
                return requests.get(url).text
            except requests.HTTPError:
                return ""

        @activity.defn
        def in_a_thread(url: str) -> str:
            time.sleep(1)
            return ""

        @activity.defn
        async def on_the_loop(url: str) -> str:
            return fetch(url)
        """,
    )
    (one,) = found
    assert one.code == "DUR601"
    assert one.line == 6
    assert "in fetch, which activity on_the_loop runs" in one.message
