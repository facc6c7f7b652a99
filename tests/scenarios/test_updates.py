"""Updates: validated, handled once, answered; what they leave in the history, and what a refused one does not."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

import pytest

from durable import ApplicationError, Client, Update, activity, workflow
from durable.client import (
    WorkflowUpdateFailedError,
    WorkflowUpdateRPCTimeoutOrCancelledError,
    WorkflowUpdateStage,
)
from durable.exceptions import CancelledError, ConversionError, WorkflowNotFoundError
from tests.scenarios.rig import PATIENCE, Env, event, events, held, reached, until

ADMITTED, ACCEPTED, COMPLETED = (
    WorkflowUpdateStage.ADMITTED,
    WorkflowUpdateStage.ACCEPTED,
    WorkflowUpdateStage.COMPLETED,
)


@activity.defn(name="upd.double")
async def double(x: int) -> int:
    return 2 * x


@workflow.defn(name="upd.account")
class Account:
    """A balance, from which nobody may take more than there is."""

    def __init__(self) -> None:
        self.balance = 100
        self.seen: list[str] = []
        self.open = True

    @workflow.run
    async def run(self) -> int:
        self.seen.append("run")
        await workflow.wait_condition(lambda: not self.open)
        await workflow.wait_condition(workflow.all_handlers_finished)
        return self.balance

    @workflow.update
    def withdraw(self, amount: int) -> int:
        self.balance -= amount
        return self.balance

    @withdraw.validator
    def _enough(self, amount: int) -> None:
        if amount > self.balance:
            raise ApplicationError("not enough", self.balance, type="Insufficient")

    @workflow.update
    async def deposit_doubled(self, amount: int) -> int:
        more = await double(amount)
        self.balance += more
        return self.balance

    @workflow.update(name="fails")
    def fail(self, how: str) -> None:
        raise ApplicationError("on purpose", type="Planned") if how == "failure" else KeyError("a bug")

    @workflow.update
    async def who(self) -> list[str]:
        async def inner() -> str:
            found = workflow.current_update_info()
            return "" if found is None else found.id

        found = workflow.current_update_info()
        assert found is not None
        return [found.id, found.name, await asyncio.create_task(inner())]

    @workflow.signal
    def close(self) -> None:
        self.open = False

    @workflow.query
    def log(self) -> list[str]:
        return self.seen


async def refused(waiting: Any) -> ApplicationError:
    with pytest.raises(WorkflowUpdateFailedError) as caught:
        await waiting
    cause = caught.value.cause
    assert isinstance(cause, ApplicationError)
    return cause


@pytest.mark.temporal("update/basic", "workflow/update_handlers_happy")
async def test_basic(env: Env) -> None:
    async with env.worker(Account):
        handle = await env.start(Account.run())
        assert await handle.execute_update(Account.withdraw(30)) == 70
        assert await handle.execute_update(Account.withdraw, 20) == 50
        assert await handle.execute_update("withdraw", 5, result_type=int) == 45
        assert await handle.execute_update("withdraw", args=[5]) == 40
        await handle.signal(Account.close())
        assert await handle.result(timeout=PATIENCE) == 40
    told = await events(handle)
    assert told[:3] == ["Started", "UpdateAccepted", "UpdateCompleted"]
    assert told.count("UpdateAccepted") == told.count("UpdateCompleted") == 4


@pytest.mark.temporal("update/basic_async", "update/activities", "workflow/update_handlers_happy")
async def test_basic_async_and_activities(env: Env) -> None:
    async with env.worker(Account, double):
        handle = await env.start(Account.run())
        assert await handle.execute_update(Account.deposit_doubled(5)) == 110
        assert await asyncio.gather(*[handle.execute_update(Account.deposit_doubled(1)) for _ in range(5)])
        await handle.signal(Account.close())
        assert await handle.result(timeout=PATIENCE) == 120
    told = await events(handle)
    assert told[:5] == [
        "Started",
        "UpdateAccepted",
        "ActivityScheduled",
        "ActivityCompleted",
        "UpdateCompleted",
    ]


@pytest.mark.temporal("update/non_durable_reject", "workflow/update_handlers_unhappy")
async def test_non_durable_reject_leaves_no_event(env: Env) -> None:
    async with env.worker(Account):
        handle = await env.start(Account.run())
        cause = await refused(handle.execute_update(Account.withdraw(101), id="u"))
        assert (str(cause), cause.type, list(cause.details)) == (
            "Insufficient: not enough",
            "Insufficient",
            [100],
        )
        assert await events(handle) == ["Started"]
        # A refused update is deduplicated too.
        assert (await refused(handle.execute_update(Account.withdraw(1), id="u"))).type == "Insufficient"
        assert await events(handle) == ["Started"]
        assert await handle.execute_update(Account.withdraw(100)) == 0
        await handle.signal(Account.close())
        assert await handle.result(timeout=PATIENCE) == 0
    assert await events(handle) == ["Started", "UpdateAccepted", "UpdateCompleted", "Signaled", "Completed"]


@pytest.mark.temporal("update/async_accepted")
async def test_async_accepted(env: Env) -> None:
    gate = asyncio.Event()

    @activity.defn(name="upd.gate")
    async def wait_for_gate() -> str:
        await gate.wait()
        return "open"

    @workflow.defn(name="upd.gated")
    class Gated:
        @workflow.run
        async def run(self) -> None:
            await asyncio.sleep(3600)

        @workflow.update
        async def go(self) -> str:
            return await wait_for_gate()

    async with env.worker(Gated, wait_for_gate):
        handle = await env.start(Gated.run())
        update = await handle.start_update(Gated.go(), wait_for_stage=ACCEPTED, id="go")
        with pytest.raises(WorkflowUpdateRPCTimeoutOrCancelledError, match="goes on"):
            await update.result(rpc_timeout=0.05)
        gate.set()
        assert await update.result() == "open"
        assert await handle.get_update_handle("go").result() == "open"
        assert await handle.get_update_handle_for(Gated.go, "go").result() == "open"
        with pytest.raises(WorkflowNotFoundError, match="no update 'nobody'"):
            await handle.get_update_handle("nobody").result()
        await handle.terminate()
    assert await events(handle) == [
        "Started", "TimerStarted", "UpdateAccepted", "ActivityScheduled", "ActivityCompleted", "UpdateCompleted",
        "Terminated",
    ]  # fmt: skip


@pytest.mark.temporal("update/deduplication")
async def test_deduplication(env: Env) -> None:
    async with env.worker(Account, double):
        handle = await env.start(Account.run())
        same = [handle.execute_update(Account.withdraw(10), id="once") for _ in range(10)]
        assert await asyncio.gather(*same) == [90] * 10
        assert await handle.execute_update(Account.withdraw(50), id="once") == 90
        await handle.signal(Account.close())
        assert await handle.result(timeout=PATIENCE) == 90
        # Its outcome survives the run.
        assert await handle.execute_update(Account.withdraw(50), id="once") == 90
        with pytest.raises(WorkflowNotFoundError, match="closed"):
            await handle.execute_update(Account.withdraw(50), id="another")
    assert (await events(handle)).count("UpdateAccepted") == 1


@pytest.mark.temporal("update/task_failure", "workflow/update_task_fails")
async def test_task_failure_blocks_and_a_failure_fails_the_update(env: Env) -> None:
    async with env.worker(Account):
        handle = await env.start(Account.run())
        assert (await refused(handle.execute_update("fails", "failure"))).type == "Planned"
        assert await events(handle) == ["Started", "UpdateAccepted", "UpdateCompleted"]
        assert (await event(handle, "UpdateCompleted")).failure.info.type == "Planned"
        await handle.start_update("fails", "bug", wait_for_stage=ADMITTED)
        assert "a bug" in await held(handle)
        assert await events(handle) == ["Started", "UpdateAccepted", "UpdateCompleted"]
        await handle.terminate()


@pytest.mark.temporal("workflow/update_handlers_unhappy")
async def test_unknown_updates_and_bad_arguments_are_refused(env: Env) -> None:
    async with env.worker(Account):
        handle = await env.start(Account.run())
        unknown = await refused(handle.execute_update("nobody", 1))
        assert unknown.type == "UpdateNotFound"
        assert "it has: deposit_doubled, fails, who, withdraw" in str(unknown)
        assert "amount" in str(await refused(handle.execute_update("withdraw")))
        assert "withdraw" in str(await refused(handle.execute_update("withdraw", "ten")))
        assert "withdraw" in str(await refused(handle.execute_update("withdraw", args=[1, 2])))
        assert await events(handle) == ["Started"]
        for wrong in (
            lambda: handle.execute_update(Account.withdraw(object())),  # type: ignore[arg-type]
            lambda: handle.execute_update("withdraw", object()),
            lambda: handle.execute_update(""),
            lambda: handle.execute_update(3),  # type: ignore[call-overload]
            lambda: handle.execute_update("withdraw", 1, id="a\nb"),
            lambda: handle.start_update("withdraw", 1, wait_for_stage=3),  # type: ignore[call-overload]
            lambda: handle.execute_update("withdraw", 1, rpc_timeout=-1),
        ):
            with pytest.raises((ConversionError, TypeError, ValueError)):
                await wrong()
        await handle.terminate()


async def test_current_update_info(env: Env) -> None:
    async with env.worker(Account):
        handle = await env.start(Account.run())
        assert await handle.execute_update(Account.who(), id="u-7") == ["u-7", "who", "u-7"]
        await handle.terminate()


# ---------------------------------------------------------------- before the first line


@pytest.mark.temporal(
    "workflow/update_before_worker_start", "workflow/update_in_first_task_sees_init", "workflow/workflow_init"
)
async def test_update_before_worker_start_sees_workflow_init(env: Env) -> None:
    @workflow.defn(name="upd.inits")
    class Inits:
        @workflow.init
        def __init__(self, word: str) -> None:
            self.seen = [word]

        @workflow.run
        async def run(self, word: str) -> list[str]:
            self.seen.append("run")
            await workflow.wait_condition(lambda: len(self.seen) > 3)
            return self.seen

        @workflow.update
        def add(self, word: str) -> list[str]:
            self.seen.append(word)
            return list(self.seen)

        @workflow.signal
        def note(self, word: str) -> None:
            self.seen.append(word)

    handle = await env.start(Inits.run("init"))
    await handle.signal(Inits.note("signal"))
    update = await handle.start_update(Inits.add("update"), wait_for_stage=ADMITTED)
    with pytest.raises(WorkflowUpdateRPCTimeoutOrCancelledError):
        await update.result(rpc_timeout=0.01)
    async with env.worker(Inits):
        assert await update.result() == ["init", "signal", "update"]
        assert await handle.result(timeout=PATIENCE) == ["init", "signal", "update", "run"]
    assert await events(handle) == ["Started", "Signaled", "UpdateAccepted", "UpdateCompleted", "Completed"]


async def test_refused_before_the_first_line(env: Env) -> None:
    handle = await env.start(Account.run())
    update = await handle.start_update(Account.withdraw(500), wait_for_stage=ADMITTED)
    async with env.worker(Account):
        assert (await refused(update.result())).type == "Insufficient"
        assert await handle.query(Account.log()) == ["run"]
        assert await events(handle) == ["Started"]
        await handle.terminate()


@Update
def add(x: int) -> int: ...


@workflow.defn(name="upd.function")
async def function_style() -> int:
    total = 0
    done = False

    async def handler(x: int) -> int:
        nonlocal total, done
        total += x
        await asyncio.sleep(0)
        done = total >= 10
        return total

    def positive(x: int) -> None:
        if x <= 0:
            raise ValueError("not positive")

    workflow.set_handler(add, handler, validator=positive)
    await workflow.wait_condition(lambda: done)
    return total


async def test_function_style(env: Env) -> None:
    handle = await env.start(function_style())
    early = await handle.start_update(add(3), wait_for_stage=ADMITTED)
    async with env.worker(function_style):
        assert await early.result() == 3
        assert (await refused(handle.execute_update(add(0)))).type == "ValueError"
        assert await handle.execute_update(add, 7) == 10
        assert await handle.result(timeout=PATIENCE) == 10
    assert (await events(handle)).count("UpdateAccepted") == 2


async def test_dynamic_handlers_and_their_validator(env: Env) -> None:
    @workflow.defn(name="upd.dynamic")
    class Dynamic:
        @workflow.run
        async def run(self) -> None:
            await asyncio.sleep(3600)

        @workflow.update
        def named(self) -> str:
            return "named"

        @workflow.update(dynamic=True)
        def other(self, name: str, args: list[Any]) -> str:
            return f"{name} {args}"

        @other.validator
        def _check(self, name: str, args: list[Any]) -> None:
            if name != "free":
                raise ValueError(f"no {name}")

    async with env.worker(Dynamic):
        handle = await env.start(Dynamic.run())
        assert await handle.execute_update(Dynamic.named()) == "named"
        assert await handle.execute_update("free", args=[1, "a"]) == "free [1, 'a']"
        assert str(await refused(handle.execute_update("bound"))) == "ValueError: no bound"
        await handle.terminate()


# ---------------------------------------------------------------- validators


@pytest.mark.temporal("workflow/update_handlers_unhappy")
async def test_a_validator_may_not_change_anything(env: Env) -> None:
    @workflow.defn(name="upd.validates")
    class Validates:
        def __init__(self) -> None:
            self.event = asyncio.Event()

        @workflow.run
        async def run(self) -> None:
            await self.event.wait()

        @workflow.update
        def change(self, how: str, things: list[int]) -> list[int]:
            return things

        @change.validator
        def _change(self, how: str, things: list[int]) -> None:
            things.append(1)
            if how == "swallow":
                try:
                    workflow.uuid4()
                except Exception:
                    return
            if how == "wake":
                self.event.set()
            if how == "task":
                waiting = self.event.wait()
                try:
                    asyncio.get_running_loop().create_task(waiting)
                finally:
                    waiting.close()
            if how == "timer":
                asyncio.get_running_loop().call_later(1, print)
            if how == "handler":
                workflow.set_update_handler("x", print)

    for how in ("swallow", "wake", "task", "timer", "handler"):
        async with env.worker(Validates):
            handle = await env.start(Validates.run())
            assert await handle.execute_update(Validates.change("fine", [])) == [], (
                "arguments are decoded again"
            )
            await handle.start_update(Validates.change(how, []), wait_for_stage=ADMITTED)
            assert "ReadOnlyContextError" in await held(handle), how
            assert await events(handle) == ["Started", "UpdateAccepted", "UpdateCompleted"]
            await handle.terminate()


async def test_a_validator_that_is_cancelled_refuses(env: Env) -> None:
    """As with any other error: nothing of the update is in the log, and nobody waits for an outcome for ever."""

    @workflow.defn(name="upd.cancels")
    class Cancels:
        handled = 0

        @workflow.run
        async def run(self) -> int:
            await workflow.wait_condition(lambda: self.handled > 0)
            return self.handled

        @workflow.update
        async def change(self, number: int) -> int:
            self.handled += number
            return number

        @change.validator
        def _change(self, number: int) -> None:
            if number < 0:
                raise asyncio.CancelledError("negative")

    async with env.worker(Cancels):
        handle = await env.start(Cancels.run())
        with pytest.raises(WorkflowUpdateFailedError) as refused:
            await handle.execute_update(Cancels.change(-1), rpc_timeout=PATIENCE)
        assert isinstance(refused.value.cause, CancelledError)
        assert await events(handle) == ["Started"]
        assert await handle.execute_update(Cancels.change(2)) == 2
        assert await handle.result(timeout=PATIENCE) == 2


async def test_a_validator_sees_earlier_messages_of_its_task(env: Env) -> None:
    """Signal and two updates are one task: the second update is refused over what the first one took."""
    handle = await env.start(Account.run())
    await handle.signal(Account.close())
    one = await handle.start_update(Account.withdraw(60), wait_for_stage=ADMITTED)
    two = await handle.start_update(Account.withdraw(60), wait_for_stage=ADMITTED)
    async with env.worker(Account):
        assert await one.result() == 40
        assert (await refused(two.result())).type == "Insufficient"
        assert await handle.result(timeout=PATIENCE) == 40
    assert await events(handle) == ["Started", "Signaled", "UpdateAccepted", "UpdateCompleted", "Completed"]


# ---------------------------------------------------------------- the end of a run


@pytest.mark.temporal("workflow/completion_order")
async def test_update_completion_is_honored_when_after_workflow_return(env: Env) -> None:
    @workflow.defn(name="upd.returns")
    class Returns:
        def __init__(self) -> None:
            self.returning = False

        @workflow.run
        async def run(self) -> str:
            await workflow.wait_condition(lambda: self.returning)
            return "returned"

        @workflow.update
        async def end(self) -> str:
            self.returning = True
            await workflow.wait_condition(lambda: self.returning)
            return "updated"

        @workflow.update
        def end_at_once(self) -> str:
            self.returning = True
            return "updated"

        @workflow.update
        async def never(self) -> str:
            self.returning = True
            await asyncio.sleep(3600)
            return "never"

    async with env.worker(Returns):
        for update in (Returns.end(), Returns.end_at_once()):
            handle = await env.start(Returns.run())
            assert await handle.execute_update(update) == "updated"
            assert await handle.result(timeout=PATIENCE) == "returned"
            assert await events(handle) == ["Started", "UpdateAccepted", "UpdateCompleted", "Completed"]
        handle = await env.start(Returns.run())
        lost = await refused(handle.execute_update(Returns.never(), id="never"))
        assert lost.type == "AcceptedUpdateCompletedWorkflow"
        assert await handle.result(timeout=PATIENCE) == "returned"
        assert await events(handle) == ["Started", "UpdateAccepted", "TimerStarted", "Completed"]


async def test_an_update_that_comes_while_the_run_closes_is_handled(env: Env) -> None:
    sent = asyncio.Event()

    async def late(commit: Any, transitions: Any) -> Any:
        if any(t.close for t in transitions) and not sent.is_set():
            sent.set()
            for number in range(3):
                updates.append(
                    await handle.start_update(
                        Account.withdraw(60 if number else 50), wait_for_stage=ADMITTED, id=f"u{number}"
                    )
                )
            if both:
                await handle.cancel()
        return await commit(transitions)

    for both in (False, True):
        updates: list[Any] = []
        sent.clear()
        async with env.worker(Account):
            handle = await env.start(Account.run())
            env.store.hooks["commit"] = late
            await handle.signal(Account.close())
            # The code has returned: what it returned stays, and the update is answered all the same.
            assert await handle.result(timeout=PATIENCE) == 100
            assert await updates[0].result() == 50
            assert (await refused(updates[1].result())).type == "Insufficient"
            assert (await refused(updates[2].result())).type == "Insufficient"
        told = await events(handle)
        more = ["CancelRequested"] if both else []
        assert told == ["Started", "Signaled", "UpdateAccepted", *more, "UpdateCompleted", "Completed"]
        env.store.hooks.clear()


async def test_a_signal_and_an_update_while_the_run_closes(env: Env) -> None:
    sent = asyncio.Event()

    async def late(commit: Any, transitions: Any) -> Any:
        if any(t.close for t in transitions) and not sent.is_set():
            sent.set()
            updates.append(await handle.start_update(Account.withdraw(50), wait_for_stage=ADMITTED))
            await handle.signal("unknown to it")
        return await commit(transitions)

    updates: list[Any] = []
    async with env.worker(Account):
        handle = await env.start(Account.run())
        env.store.hooks["commit"] = late
        await handle.signal(Account.close())
        assert await handle.result(timeout=PATIENCE) == 100
        assert await updates[0].result() == 50
    assert await events(handle) == [
        "Started",
        "Signaled",
        "Signaled",
        "UpdateAccepted",
        "UpdateCompleted",
        "Completed",
    ]


async def test_a_signal_over_a_close_that_an_update_brought_about(env: Env) -> None:
    """The tried task closes the run and is refused: all of it is tried again, with the signal."""

    @workflow.defn(name="upd.ends")
    class Ends:
        def __init__(self) -> None:
            self.ended = False
            self.noted: list[str] = []

        @workflow.run
        async def run(self) -> list[str]:
            await workflow.wait_condition(lambda: self.ended)
            return self.noted

        @workflow.update
        def end(self) -> str:
            self.ended = True
            return "ended"

        @workflow.signal
        def note(self, text: str) -> None:
            self.noted.append(text)

    sent: list[int] = []

    async def late(commit: Any, transitions: Any) -> Any:
        if any(t.close for t in transitions) and len(sent) < 2:
            sent.append(1)
            await handle.signal(Ends.note(f"note {len(sent)}"))
        return await commit(transitions)

    async with env.worker(Ends):
        handle = await env.start(Ends.run())
        env.store.hooks["commit"] = late
        assert await handle.execute_update(Ends.end()) == "ended"
        assert await handle.result(timeout=PATIENCE) == ["note 1", "note 2"]
    assert await events(handle) == [
        "Started",
        "UpdateAccepted",
        "Signaled",
        "Signaled",
        "UpdateCompleted",
        "Completed",
    ]


async def test_terminate_gives_pending_updates_an_outcome(env: Env) -> None:
    handle = await env.start(Account.run())
    unread = await handle.start_update(Account.withdraw(1), wait_for_stage=ADMITTED)
    await handle.terminate()
    assert (await refused(unread.result())).type == "AcceptedUpdateCompletedWorkflow"


# ---------------------------------------------------------------- unfinished handlers


@pytest.mark.temporal("workflow/unfinished_handlers")
@pytest.mark.parametrize("policy", list(workflow.HandlerUnfinishedPolicy))
async def test_unfinished_handlers(
    env: Env, policy: workflow.HandlerUnfinishedPolicy, caplog: pytest.LogCaptureFixture
) -> None:
    @workflow.defn(name="upd.unfinished")
    class Unfinished:
        def __init__(self) -> None:
            self.started = 0

        @workflow.run
        async def run(self) -> bool:
            await workflow.wait_condition(lambda: self.started == 3)
            return workflow.all_handlers_finished()

        @workflow.update(unfinished_policy=policy)
        async def update(self) -> None:
            self.started += 1
            await asyncio.sleep(3600)

        @workflow.signal(unfinished_policy=policy)
        async def signal(self) -> None:
            self.started += 1
            await asyncio.sleep(3600)

    with caplog.at_level(logging.WARNING, "durable"):
        async with env.worker(Unfinished):
            handle = await env.start(Unfinished.run())
            await handle.start_update(Unfinished.update(), wait_for_stage=ACCEPTED)
            await handle.signal(Unfinished.signal())
            await handle.signal(Unfinished.signal())
            assert await handle.result(timeout=PATIENCE) is False
    told = await events(handle)
    assert (told[0], sorted(told[1:-1]), told[-1]) == (
        "Started",
        ["Signaled", "Signaled", "TimerStarted", "TimerStarted", "TimerStarted", "UpdateAccepted"],
        "Completed",
    )
    warned = [one.getMessage() for one in caplog.records if "abandoned" in one.getMessage()]
    if policy is workflow.HandlerUnfinishedPolicy.ABANDON:
        assert warned == []
    else:
        assert len(warned) == 1
        assert "update 'update' (1), signal 'signal' (2)" in warned[0]


# ---------------------------------------------------------------- who wins


@pytest.mark.parametrize("before", [True, False], ids=["before the worker", "beside it"])
async def test_of_twenty_withdrawals_exactly_one_is_accepted(env: Env, before: bool) -> None:
    if before:
        handle = await env.start(Account.run())
        started = [
            await handle.start_update(Account.withdraw(60), wait_for_stage=ADMITTED) for _ in range(20)
        ]
        async with env.worker(Account):
            got = await asyncio.gather(*[one.result() for one in started], return_exceptions=True)
            await handle.signal(Account.close())
            assert await handle.result(timeout=PATIENCE) == 40
    else:
        async with env.worker(Account):
            handle = await env.start(Account.run())
            got = await asyncio.gather(
                *[handle.execute_update(Account.withdraw(60)) for _ in range(20)], return_exceptions=True
            )
            await handle.signal(Account.close())
            assert await handle.result(timeout=PATIENCE) == 40
    assert [one for one in got if not isinstance(one, Exception)] == [40]
    assert all(isinstance(one, WorkflowUpdateFailedError) for one in got if one != 40)
    told = await events(handle)
    assert told.count("UpdateAccepted") == told.count("UpdateCompleted") == 1


@pytest.mark.temporal("update/worker_restart")
async def test_worker_restart(env: Env) -> None:
    """An update that was accepted by one worker is completed by the next."""
    async with env.worker(Account):
        handle = await env.start(Account.run())
        update = await handle.start_update(Account.deposit_doubled(4), wait_for_stage=ACCEPTED)
    async with env.worker(Account, double):
        assert await update.result() == 108
        assert await handle.execute_update(Account.withdraw(8)) == 100
        await handle.signal(Account.close())
        assert await handle.result(timeout=PATIENCE) == 100
    assert await events(handle) == [
        "Started", "UpdateAccepted", "ActivityScheduled", "ActivityCompleted", "UpdateCompleted",
        "UpdateAccepted", "UpdateCompleted", "Signaled", "Completed",
    ]  # fmt: skip


async def test_from_another_client(env: Env, store_url: str) -> None:
    """Waited for through hints and looks only."""
    async with Client.connect(store_url) as other, env.worker(Account, double):
        handle = await env.start(Account.run())
        far = other.get_workflow_handle_for(Account, handle.id)  # type: ignore[call-overload]
        assert await far.execute_update(Account.withdraw(10), rpc_timeout=PATIENCE) == 90
        assert await far.execute_update(Account.deposit_doubled(5), rpc_timeout=PATIENCE) == 100
        assert (await refused(far.execute_update(Account.withdraw(500), rpc_timeout=PATIENCE))).type
        await far.signal(Account.close())
        assert await far.result(timeout=PATIENCE) == 100


@pytest.mark.temporal("update/self")
async def test_self_update(env: Env) -> None:
    """A workflow's activity updates the workflow it belongs to."""

    @activity.defn(name="upd.updates_its_workflow")
    async def updates_its_workflow() -> int:
        handle = env.client.get_workflow_handle(activity.info().workflow_id)
        answer: int = await handle.execute_update("set", 7)
        return answer

    @workflow.defn(name="upd.self")
    class Self:
        def __init__(self) -> None:
            self.value = 0

        @workflow.run
        async def run(self) -> int:
            return await updates_its_workflow() + self.value

        @workflow.update
        def set(self, value: int) -> int:
            self.value = value
            return value + 1

    async with env.worker(Self, updates_its_workflow):
        handle = await env.start(Self.run())
        assert await handle.result(timeout=PATIENCE) == 15
    assert await events(handle) == [
        "Started", "ActivityScheduled", "UpdateAccepted", "UpdateCompleted", "ActivityCompleted", "Completed"
    ]  # fmt: skip


async def test_waiting_survives_a_lost_answer(env: Env) -> None:
    """The commit of a tried task is in doubt: it is read back, and nothing is handled twice."""
    from durable.exceptions import StoreUnavailableError

    failures = {"before": 1, "after": 1}

    async def unsure(commit: Any, transitions: Any) -> Any:
        if any(t.outcomes for t in transitions):
            if failures["before"]:
                failures["before"] -= 1
                raise StoreUnavailableError("lost before")
            result = await commit(transitions)
            if failures["after"]:
                failures["after"] -= 1
                raise StoreUnavailableError("lost after")
            return result
        return await commit(transitions)

    async with env.worker(Account):
        handle = await env.start(Account.run())
        await reached(handle, "Started")
        env.store.hooks["commit"] = unsure
        assert await handle.execute_update(Account.withdraw(60)) == 40
        assert (await refused(handle.execute_update(Account.withdraw(60)))).type == "Insufficient"
        env.store.hooks.clear()
        await handle.signal(Account.close())
        assert await handle.result(timeout=PATIENCE) == 40
    await until("told", lambda: True)
    assert await events(handle) == ["Started", "UpdateAccepted", "UpdateCompleted", "Signaled", "Completed"]


@workflow.defn(name="upd.continues")
class Continues:
    @workflow.run
    async def run(self, generation: int) -> int:
        if generation == 0:
            await workflow.wait_condition(lambda: False)
        return generation

    @workflow.update
    def now(self) -> None:
        workflow.continue_as_new(1)

    @workflow.update
    async def after_an_activity(self) -> None:
        await double(1)
        workflow.continue_as_new(1)


@pytest.mark.parametrize("update", ["now", "after_an_activity"])
async def test_a_handler_that_continues_as_new_ends_the_run_and_its_caller_hears_of_it(
    env: Env, update: str
) -> None:
    async with env.worker(Continues, double):
        handle = await env.start(Continues.run, 0)
        lost = await refused(handle.execute_update(update))
        assert lost.type == "AcceptedUpdateCompletedWorkflow"
        assert await handle.result(timeout=PATIENCE) == 1
    run = env.client.get_workflow_handle(handle.id, run_id=handle.result_run_id)
    work = ["ActivityScheduled", "ActivityCompleted"] if update == "after_an_activity" else []
    assert await events(run) == ["Started", "UpdateAccepted", *work, "ContinuedAsNew"]
