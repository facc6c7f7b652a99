"""What activities must not do, though they may do almost everything."""

from __future__ import annotations

from durable.lint._reach import Look, Use
from durable.lint._rule import Forbidden, Rule, Where

PLAIN = "make it a `def` activity, which runs in a thread"


class Blocking(Forbidden):
    """An `async def` activity blocks the event loop, and with it every run of the worker: `time.sleep`, `requests`, `subprocess.run`."""

    code = "DUR601"
    name = "blocking-activity"
    where = Where.ACTIVITY
    says = "holds up the worker's event loop, and every run and activity on it"
    calls = {
        "time.sleep": "use await asyncio.sleep(), or " + PLAIN,
        "requests.*": "use an asynchronous client, or " + PLAIN,
        "urllib.request.*": "use an asynchronous client, or " + PLAIN,
        "urllib3.*": "use an asynchronous client, or " + PLAIN,
        "httpx.get": "use httpx.AsyncClient, or " + PLAIN,
        "httpx.post": "use httpx.AsyncClient, or " + PLAIN,
        "httpx.put": "use httpx.AsyncClient, or " + PLAIN,
        "httpx.delete": "use httpx.AsyncClient, or " + PLAIN,
        "httpx.request": "use httpx.AsyncClient, or " + PLAIN,
        "subprocess.run": "use asyncio.create_subprocess_exec(), or " + PLAIN,
        "subprocess.call": "use asyncio.create_subprocess_exec(), or " + PLAIN,
        "subprocess.check_call": "use asyncio.create_subprocess_exec(), or " + PLAIN,
        "subprocess.check_output": "use asyncio.create_subprocess_exec(), or " + PLAIN,
        "subprocess.getoutput": "use asyncio.create_subprocess_exec(), or " + PLAIN,
        "os.system": "use asyncio.create_subprocess_shell(), or " + PLAIN,
        "socket.create_connection": "use asyncio.open_connection(), or " + PLAIN,
        "socket.getaddrinfo": "use the event loop's getaddrinfo(), or " + PLAIN,
        "builtins.input": PLAIN,
        "smtplib.*": PLAIN,
        "ftplib.*": PLAIN,
        "paramiko.*": PLAIN,
        "boto3.*": "use an asynchronous client, or " + PLAIN,
        "psycopg.connect": "use psycopg.AsyncConnection, or " + PLAIN,
        "psycopg2.*": PLAIN,
        "pymysql.*": PLAIN,
    }
    bad = """
    import time

    from durable import activity

    @activity.defn
    async def cool_down(seconds: float) -> None:
        time.sleep(seconds)
    """
    good = """
    import time

    from durable import activity

    @activity.defn
    def cool_down(seconds: float) -> None:
        time.sleep(seconds)
    """

    def applies(self, use: Use, look: Look) -> bool:
        return use.call is not None and not str(use.meaning).endswith(("Error", "Exception"))


RULES: tuple[Rule, ...] = (Blocking(),)
