"""What workflow code does in the world outside, or leaves its event loop for: files, connections, processes, threads."""

from __future__ import annotations

import ast
from collections.abc import Iterator

from durable.lint._reach import Look, Use
from durable.lint._rule import Forbidden, Found, Rule, lookup, shown

IN_ACTIVITY = "do it in an activity and await its result"

_PATH = [
    "absolute",
    "chmod",
    "copy",
    "copy_into",
    "cwd",
    "exists",
    "expanduser",
    "glob",
    "group",
    "hardlink_to",
    "home",
    "is_block_device",
    "is_char_device",
    "is_dir",
    "is_fifo",
    "is_file",
    "is_mount",
    "is_socket",
    "is_symlink",
    "iterdir",
    "lchmod",
    "link_to",
    "lstat",
    "mkdir",
    "move",
    "move_into",
    "open",
    "owner",
    "read_bytes",
    "read_text",
    "readlink",
    "rename",
    "replace",
    "resolve",
    "rglob",
    "rmdir",
    "samefile",
    "stat",
    "symlink_to",
    "touch",
    "unlink",
    "walk",
    "write_bytes",
    "write_text",
]

_OS = [
    "access",
    "chdir",
    "chmod",
    "chown",
    "close",
    "fdopen",
    "fsync",
    "getcwd",
    "link",
    "listdir",
    "lseek",
    "lstat",
    "makedirs",
    "mkdir",
    "open",
    "pipe",
    "read",
    "readlink",
    "remove",
    "removedirs",
    "rename",
    "renames",
    "replace",
    "rmdir",
    "scandir",
    "stat",
    "statvfs",
    "symlink",
    "sync",
    "truncate",
    "unlink",
    "utime",
    "walk",
    "write",
]

_OS_PATH = [
    "abspath",
    "exists",
    "expanduser",
    "getatime",
    "getctime",
    "getmtime",
    "getsize",
    "isdir",
    "isfile",
    "islink",
    "ismount",
    "lexists",
    "realpath",
    "samefile",
]


class Files(Forbidden):
    """A file, a folder or the terminal is read or written: `open`, `pathlib.Path.read_text`, `os.listdir`, `input`."""

    code = "DUR104"
    name = "files"
    says = "looks at the machine, where a replay may find something else"
    calls = {
        "builtins.open": IN_ACTIVITY,
        "builtins.input": "wait for a signal, or ask in an activity",
        "io.open": IN_ACTIVITY,
        "codecs.open": IN_ACTIVITY,
        "gzip.open": IN_ACTIVITY,
        "bz2.open": IN_ACTIVITY,
        "lzma.open": IN_ACTIVITY,
        "zipfile.ZipFile": IN_ACTIVITY,
        "tarfile.open": IN_ACTIVITY,
        "shelve.open": IN_ACTIVITY,
        "dbm.open": IN_ACTIVITY,
        "anyio.open_file": IN_ACTIVITY,
        "anyio.Path.*": IN_ACTIVITY,
        "aiofiles.*": IN_ACTIVITY,
        "shutil.*": IN_ACTIVITY,
        "tempfile.*": IN_ACTIVITY,
        "glob.*": IN_ACTIVITY,
        "fileinput.*": IN_ACTIVITY,
        "importlib.resources.*": IN_ACTIVITY,
        **{f"os.{name}": IN_ACTIVITY for name in _OS},
        **{f"os.path.{name}": IN_ACTIVITY for name in _OS_PATH},
        **{f"pathlib.Path.{name}": IN_ACTIVITY for name in _PATH},
        **{f"pathlib.PosixPath.{name}": IN_ACTIVITY for name in _PATH},
    }
    bad = """
    from pathlib import Path

    from durable import workflow

    @workflow.defn
    async def letter(name: str) -> str:
        return Path("letter.txt").read_text() + name
    """
    good = """
    from pathlib import Path

    from durable import activity, workflow

    @activity.defn
    def template() -> str:
        return Path("letter.txt").read_text()

    @workflow.defn
    async def letter(name: str) -> str:
        return await template() + name
    """


class Network(Forbidden):
    """A socket, a web service or a database is called: `requests`, `httpx`, `socket`, `asyncpg`, `sqlite3`."""

    code = "DUR105"
    name = "network"
    says = "asks something outside, which answers otherwise at a replay"
    calls = {
        f"{name}.*": IN_ACTIVITY
        for name in [
            "socket",
            "socketserver",
            "ssl",
            "select",
            "selectors",
            "http.client",
            "http.server",
            "urllib.request",
            "urllib3",
            "ftplib",
            "imaplib",
            "poplib",
            "smtplib",
            "telnetlib",
            "xmlrpc.client",
            "requests",
            "httpx",
            "aiohttp",
            "websockets",
            "websocket",
            "grpc",
            "paramiko",
            "boto3",
            "botocore",
            "aioboto3",
            "aiobotocore",
            "google.cloud",
            "azure",
            "redis",
            "aioredis",
            "pymongo",
            "motor",
            "pika",
            "aio_pika",
            "kafka",
            "aiokafka",
            "confluent_kafka",
            "elasticsearch",
            "openai",
            "anthropic",
            "stripe",
            "asyncpg",
            "psycopg",
            "psycopg2",
            "psycopg_pool",
            "sqlite3",
            "aiosqlite",
            "pymysql",
            "aiomysql",
            "mysql",
            "MySQLdb",
            "cx_Oracle",
            "oracledb",
            "duckdb",
        ]
    } | {
        "asyncio.open_connection": IN_ACTIVITY,
        "asyncio.open_unix_connection": IN_ACTIVITY,
        "asyncio.start_server": IN_ACTIVITY,
        "asyncio.start_unix_server": IN_ACTIVITY,
        "asyncio.AbstractEventLoop.create_connection": IN_ACTIVITY,
        "asyncio.AbstractEventLoop.create_server": IN_ACTIVITY,
        "asyncio.AbstractEventLoop.getaddrinfo": IN_ACTIVITY,
        "anyio.connect_tcp": IN_ACTIVITY,
        "anyio.connect_unix": IN_ACTIVITY,
        "anyio.create_tcp_listener": IN_ACTIVITY,
        "anyio.getaddrinfo": IN_ACTIVITY,
        "sqlalchemy.create_engine": IN_ACTIVITY,
        "sqlalchemy.ext.asyncio.create_async_engine": IN_ACTIVITY,
        "sqlalchemy.orm.Session.*": IN_ACTIVITY,
        "sqlalchemy.ext.asyncio.AsyncSession.*": IN_ACTIVITY,
        "durable.Client.*": "signal or start workflows with the functions of durable.workflow",
        "durable.client.Client.*": "signal or start workflows with the functions of durable.workflow",
    }
    bad = """
    import httpx

    from durable import workflow

    @workflow.defn
    async def weather(city: str) -> str:
        return httpx.get(f"https://weather.example/{city}").text
    """
    good = """
    import httpx

    from durable import activity, workflow

    @activity.defn
    async def look_up(city: str) -> str:
        async with httpx.AsyncClient() as client:
            return (await client.get(f"https://weather.example/{city}")).text

    @workflow.defn
    async def weather(city: str) -> str:
        return await look_up(city)
    """

    def applies(self, use: Use, look: Look) -> bool:
        last = str(use.meaning).rpartition(".")[2]
        return not last.endswith(("Error", "Exception", "Timeout", "Warning"))


class Subprocess(Forbidden):
    """Another process is started or told something: `subprocess`, `os.system`, `multiprocessing`."""

    code = "DUR106"
    name = "subprocess"
    says = "starts or tells another process, again at every replay"
    calls = {
        "subprocess.*": IN_ACTIVITY,
        "multiprocessing.*": IN_ACTIVITY,
        "pty.*": IN_ACTIVITY,
        "asyncio.create_subprocess_exec": IN_ACTIVITY,
        "asyncio.create_subprocess_shell": IN_ACTIVITY,
        "anyio.run_process": IN_ACTIVITY,
        "anyio.open_process": IN_ACTIVITY,
        "os.system": IN_ACTIVITY,
        "os.popen": IN_ACTIVITY,
        "os.fork": IN_ACTIVITY,
        "os.kill": IN_ACTIVITY,
        "os.posix_spawn": IN_ACTIVITY,
        "os.startfile": IN_ACTIVITY,
        "os._exit": "raise ApplicationError to fail the workflow",
        "os.abort": "raise ApplicationError to fail the workflow",
        "sys.exit": "raise ApplicationError to fail the workflow",
        "signal.signal": IN_ACTIVITY,
        "signal.alarm": "use workflow.sleep()",
    }
    bad = """
    import subprocess

    from durable import workflow

    @workflow.defn
    async def release(tag: str) -> str:
        return subprocess.run(["git", "show", tag], capture_output=True, text=True).stdout
    """
    good = """
    import subprocess

    from durable import activity, workflow

    @activity.defn
    def show(tag: str) -> str:
        return subprocess.run(["git", "show", tag], capture_output=True, text=True).stdout

    @workflow.defn
    async def release(tag: str) -> str:
        return await show(tag)
    """


THREAD = "call a `def` activity, which runs in a thread and whose result is recorded"
TASK = "use asyncio.create_task() or asyncio.TaskGroup"


class Threads(Rule):
    """Work leaves the workflow's event loop: threads, executors, `asyncio.to_thread`, `run_in_executor`, another loop."""

    code = "DUR107"
    name = "threads"
    calls = {
        "threading.Thread": THREAD,
        "threading.Timer": "use workflow.sleep()",
        "threading.Thread.*": THREAD,
        "threading.Event": "use asyncio.Event or workflow.wait_condition()",
        "threading.Condition": "use asyncio.Condition or workflow.wait_condition()",
        "threading.Semaphore": "use asyncio.Semaphore",
        "threading.Barrier": "use asyncio.Barrier",
        "queue.Queue": "use asyncio.Queue",
        "queue.SimpleQueue": "use asyncio.Queue",
        "_thread.*": THREAD,
        "concurrent.futures.*": THREAD,
        "asyncio.to_thread": THREAD,
        "anyio.to_thread.*": THREAD,
        "anyio.to_process.*": THREAD,
        "anyio.from_thread.*": THREAD,
        "asyncio.run_coroutine_threadsafe": TASK,
        "asyncio.run": TASK,
        "anyio.run": TASK,
        "asyncio.Runner": TASK,
        "asyncio.new_event_loop": "the workflow has a loop of its own: use asyncio.get_running_loop()",
        "asyncio.set_event_loop": "the workflow has a loop of its own: leave it",
        "gevent.*": TASK,
        "trio.run": TASK,
        "trio.to_thread.*": THREAD,
    }
    methods = {
        "run_in_executor": THREAD,
        "call_soon_threadsafe": TASK,
        "run_until_complete": "await it",
        "run_forever": "await what it waits for",
    }
    bad = """
    import asyncio

    from durable import workflow

    def total(rows: list[int]) -> int:
        return sum(rows)

    @workflow.defn
    async def report(rows: list[int]) -> int:
        return await asyncio.to_thread(total, rows)
    """
    good = """
    from durable import activity, workflow

    @activity.defn
    def total(rows: list[int]) -> int:
        return sum(rows)

    @workflow.defn
    async def report(rows: list[int]) -> int:
        return await total(rows)
    """

    def check(self, look: Look) -> Iterator[Found]:
        for use in look.uses:
            if not isinstance(use.meaning, str) or use.call is None:
                continue
            if (instead := lookup(self.calls, use.meaning)) is not None:
                yield use.node, self._message(shown(use.meaning), instead)
        for node in look.nodes:
            if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Attribute):
                continue
            if (instead := self.methods.get(node.func.attr)) is not None:
                yield node.func, self._message(node.func.attr, instead)

    def _message(self, name: str, instead: str) -> str:
        return f"{name}() leaves the workflow's event loop, and comes back when it likes; {instead}"


class Sleep(Forbidden):
    """The thread is held instead of the workflow: `time.sleep`."""

    code = "DUR110"
    name = "blocking-sleep"
    says = "holds up every run of the worker, and is not recorded"
    calls = {
        "time.sleep": "use await workflow.sleep()",
        "gevent.sleep": "use await workflow.sleep()",
        "select.select": "use await workflow.wait_condition()",
    }
    bad = """
    import time

    from durable import workflow

    @workflow.defn
    async def wait(seconds: float) -> None:
        time.sleep(seconds)
    """
    good = """
    from durable import workflow

    @workflow.defn
    async def wait(seconds: float) -> None:
        await workflow.sleep(seconds)
    """


RULES: tuple[Rule, ...] = (Files(), Network(), Subprocess(), Threads(), Sleep())
