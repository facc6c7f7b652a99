"""Runs with interceptors: an instance whose calls, in and out, go through those of its worker.

A run without interceptors is a plain `Instance` and knows nothing of this. Here the innermost interceptors, `_Inbound` and
`_Outbound`, do what a plain instance does. What an interceptor says of a call takes effect where the innermost one makes
the call again from its input: headers are put on the command that it issues, by `_Commands`.

Invariant: an interceptor that only changes inputs issues the same commands in the same order as no interceptor would, so
that one may be added while runs are open. Therefore nothing here goes through a task of its own: a coroutine of an
interceptor runs inside the await that asked for it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Mapping, Sequence
from datetime import timedelta
from functools import partial
from typing import Any, NoReturn

from msgspec import structs

from durable._internal.instants import to_duration, to_timedelta
from durable._replay._activities import Serves
from durable._replay._commands import Commands
from durable._replay._handlers import Handler, for_name
from durable._replay._instance import Instance
from durable._replay._loop import NumberedTask
from durable._replay._messages import Note
from durable._replay._others import OtherWorkflows
from durable._replay._patches import Activation
from durable._replay._queries import Ask, Headers
from durable.activity._call import ActivityCall
from durable.activity._options import ActivityOptions
from durable.converter import DataConverter
from durable.history import (
    CommandEvent,
    WorkflowExecutionSignaled,
    WorkflowExecutionUpdateAccepted,
)
from durable.interceptor._headers import checked_headers
from durable.interceptor.worker import (
    ContinueAsNewInput,
    ExecuteWorkflowInput,
    HandleQueryInput,
    HandleSignalInput,
    HandleUpdateInput,
    SignalChildWorkflowInput,
    SignalExternalWorkflowInput,
    StartActivityInput,
    StartChildWorkflowInput,
    StartLocalActivityInput,
    WorkflowInboundInterceptor,
    WorkflowOutboundInterceptor,
)
from durable.workflow._child_options import ChildOptions
from durable.workflow._continue import Continuation, ContinueAsNewError
from durable.workflow._definition import WorkflowDefinition
from durable.workflow._info import Info
from durable.workflow._runtime import ChildRequest, Target

Interceptors = Sequence[type[WorkflowInboundInterceptor]]
"""The classes of what stands around a run, the outermost first."""

_NOTHING_SAID = ChildOptions()


def new_instance(
    definition: WorkflowDefinition,
    run_id: str,
    converter: DataConverter,
    *,
    namespace: str,
    note: Note,
    trace: bool = False,
    silent: bool = False,
    interceptors: Interceptors = (),
    activates: Activation | None = None,
    serves: Serves | None = None,
) -> Instance:
    """Return a run's code, with interceptors around it if there are any; see `Instance` for the rest."""
    make = partial(InterceptedInstance, interceptors) if interceptors else Instance
    return make(
        definition,
        run_id,
        converter,
        namespace=namespace,
        note=note,
        trace=trace,
        silent=silent,
        activates=activates,
        serves=serves,
    )


class _Commands(Commands):
    """Commands, the next of which may be given headers."""

    __slots__ = ("headers",)

    headers: Headers

    def issue(self, command: CommandEvent) -> None:
        if self.headers:
            command = structs.replace(command, headers=self.headers)
            self.headers = {}
        super().issue(command)


class InterceptedInstance(Instance):
    """See the module."""

    __slots__ = ("_inbound", "_outbound")

    COMMANDS = _Commands
    _commands: _Commands

    def __init__(self, interceptors: Interceptors, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._commands.headers = {}
        innermost = _Inbound(self)
        inbound: WorkflowInboundInterceptor = innermost
        for kind in reversed(interceptors):
            inbound = kind(inbound)
        inbound.init(_Outbound(self))
        self._inbound = inbound
        self._outbound: WorkflowOutboundInterceptor = innermost.outbound

    def evict(self) -> int:
        """See `Instance`. Only the collector opens circles."""
        resisted = super().evict()
        del self._inbound, self._outbound
        return resisted

    # ------------------------------------------------------------------ in

    def _begin(self) -> NumberedTask[Any]:
        definition = self.definition
        input = ExecuteWorkflowInput(
            type=definition.cls,
            run_fn=definition.run_fn,
            args=self._arguments(),
            headers=self._started.headers,
        )
        return self.loop.create_task(self._inbound.execute_workflow(input), name="workflow")

    def handle_signal(self, signal: WorkflowExecutionSignaled, handler: Handler, args: list[Any]) -> Any:
        """See `Instance`."""
        return self._inbound.handle_signal(
            HandleSignalInput(signal.name, args, signal.headers, (signal.name, handler))
        )

    def handle_query(self, name: str, headers: Headers) -> Ask:
        """See `Instance`."""

        def ask(handler: Handler, args: list[Any]) -> Any:
            input = HandleQueryInput(id=name, query=name, args=args, headers=headers, handler=(name, handler))
            return _at_once(self._inbound.handle_query(input))

        return ask

    def handle_update(
        self, update: WorkflowExecutionUpdateAccepted, handler: Handler, args: list[Any]
    ) -> Any:
        """See `UpdateHost`."""
        return self._inbound.handle_update_handler(_update_input(update, handler, args))

    def validate_update(
        self, update: WorkflowExecutionUpdateAccepted, validator: Handler, args: list[Any]
    ) -> None:
        """See `UpdateHost`."""
        self._inbound.handle_update_validator(_update_input(update, validator, args))

    # ------------------------------------------------------------------ out

    def info(self) -> Info:
        """See `Runtime.info`."""
        return self._outbound.info()

    def own_info(self) -> Info:
        """Return what a plain instance does."""
        return super().info()

    def start_activity(self, call: ActivityCall[Any]) -> asyncio.Future[Any]:
        """See `Runtime.start_activity`."""
        said = call.options
        return self._outbound.start_activity(
            StartActivityInput(
                activity=call.name,
                args=call.args,
                activity_id=said.activity_id,
                task_queue=said.task_queue,
                schedule_to_close_timeout=_told(said.schedule_to_close_timeout),
                schedule_to_start_timeout=_told(said.schedule_to_start_timeout),
                start_to_close_timeout=_told(said.start_to_close_timeout),
                heartbeat_timeout=_told(said.heartbeat_timeout),
                retry_policy=said.retry_policy,
                cancellation_type=said.cancellation_type,
                headers={},
                disable_eager_execution=not said.eager,
                summary=said.summary or None,
                arg_types=None if call.definition is None else call.definition.arg_types,
                ret_type=call.result_type,
                priority=said.priority,
                call=call,
            )
        )

    def start_local_activity(self, call: ActivityCall[Any]) -> asyncio.Future[Any]:
        """See `Runtime.start_local_activity`."""
        said = call.options
        return self._outbound.start_local_activity(
            StartLocalActivityInput(
                activity=call.name,
                args=call.args,
                activity_id=said.activity_id,
                schedule_to_close_timeout=_told(said.schedule_to_close_timeout),
                schedule_to_start_timeout=_told(said.schedule_to_start_timeout),
                start_to_close_timeout=_told(said.start_to_close_timeout),
                retry_policy=said.retry_policy,
                local_retry_threshold=_told(said.local_retry_threshold),
                cancellation_type=said.cancellation_type,
                headers={},
                summary=said.summary or None,
                arg_types=None if call.definition is None else call.definition.arg_types,
                ret_type=call.result_type,
                call=call,
            )
        )

    def issue_activity(
        self, call: ActivityCall[Any], headers: Headers, *, local: bool = False
    ) -> asyncio.Future[Any]:
        """Do what a plain instance does, with headers on the command."""
        self.carry(headers)
        try:
            return super().start_local_activity(call) if local else super().start_activity(call)
        finally:
            self.carry({})

    def others(self) -> Any:
        """See `Runtime.others`."""
        return _Others(self, self._outbound)

    def own_others(self) -> OtherWorkflows:
        """Return what a plain instance does."""
        return super().others()

    def continue_as_new(self, said: Continuation) -> CommandEvent:
        """See `Runtime.continue_as_new`. It raises what it would have returned: that is how interceptors see it."""
        other = said.definition
        own = self.definition if said.name is None else None
        types = other or own
        self._outbound.continue_as_new(
            ContinueAsNewInput(
                workflow=said.name if other is None else other.name,
                args=said.args,
                task_queue=said.task_queue,
                run_timeout=_told(said.run_timeout),
                task_timeout=_told(said.task_timeout),
                retry_policy=said.retry_policy,
                memo=said.memo,
                search_attributes=said.search_attributes,
                headers={},
                arg_types=None if types is None or types.dynamic else types.arg_types,
                backoff_start_interval=to_timedelta(said.backoff) if said.backoff else None,
                initial_versioning_behavior=said.initial_versioning_behavior,
                call=said,
            )
        )

    def close_with(self, said: Continuation, headers: Headers) -> NoReturn:
        """Raise what ends the run and goes on as another one, with headers on it."""
        command = super().continue_as_new(said)
        raise ContinueAsNewError(
            structs.replace(command, headers=checked_headers(headers)) if headers else command
        )

    def carry(self, headers: Headers) -> None:
        """Say what headers the next command has."""
        self._commands.headers = checked_headers(headers) if headers else headers


class _Inbound(WorkflowInboundInterceptor):
    """The innermost: the code itself."""

    outbound: WorkflowOutboundInterceptor

    def __init__(self, instance: InterceptedInstance) -> None:
        self._instance = instance

    def init(self, outbound: WorkflowOutboundInterceptor) -> None:
        self.outbound = outbound

    async def execute_workflow(self, input: ExecuteWorkflowInput) -> Any:
        code = self._instance
        args = input.args if code.definition.cls is None else (code.instance(), *input.args)
        return await input.run_fn(*args)

    def _called(self, kind: str, name: str, said: tuple[str, Handler]) -> Handler:
        """The handler that the message had, unless an interceptor has given it another name."""
        if name == said[0]:
            return said[1]
        handlers = self._instance.handlers(kind)
        found = handlers.get(name) or for_name(handlers.get(None), name)
        if found is None:
            raise RuntimeError(
                f"an interceptor made {kind} {said[0]!r} one called {name!r}, which is not there"
            )
        return found

    async def handle_signal(self, input: HandleSignalInput) -> None:
        result = self._called("signal", input.signal, input.handler)(*input.args)
        if hasattr(result, "__await__"):
            await result

    async def handle_query(self, input: HandleQueryInput) -> Any:
        return self._called("query", input.query, input.handler)(*input.args)

    def handle_update_validator(self, input: HandleUpdateInput) -> None:
        self._called("validator", input.update, input.handler)(*input.args)

    async def handle_update_handler(self, input: HandleUpdateInput) -> Any:
        result = self._called("update", input.update, input.handler)(*input.args)
        return await result if hasattr(result, "__await__") else result


class _Outbound(WorkflowOutboundInterceptor):
    """The innermost: what is asked of the run."""

    def __init__(self, instance: InterceptedInstance) -> None:
        self._instance = instance

    def continue_as_new(self, input: ContinueAsNewInput) -> NoReturn:
        said: Continuation = input.call
        name = said.name if said.definition is None else said.definition.name
        if input.workflow != name:
            said = structs.replace(said, definition=None, name=input.workflow)
        said = structs.replace(
            said,
            args=tuple(input.args),
            task_queue=input.task_queue,
            run_timeout=_kept(input.run_timeout, "run_timeout"),
            task_timeout=_kept(input.task_timeout, "task_timeout"),
            backoff=0
            if input.backoff_start_interval is None
            else to_duration(input.backoff_start_interval, "backoff_start_interval"),
            retry_policy=input.retry_policy,
            memo=input.memo,
            search_attributes=input.search_attributes,
            initial_versioning_behavior=input.initial_versioning_behavior,
        )
        self._instance.close_with(said, input.headers)

    def info(self) -> Info:
        return self._instance.own_info()

    async def signal_child_workflow(self, input: SignalChildWorkflowInput) -> None:
        target: Target = input.call[0]
        if input.child_workflow_id != target.workflow_id:
            target = Target(input.child_workflow_id)
        await self._signal(target, input)

    async def signal_external_workflow(self, input: SignalExternalWorkflowInput) -> None:
        await self._signal(Target(input.workflow_id, run_id=input.workflow_run_id or ""), input)

    async def _signal(
        self, target: Target, input: SignalChildWorkflowInput | SignalExternalWorkflowInput
    ) -> None:
        _, name, types = input.call
        code, others = self._instance, self._instance.own_others()
        code.carry(input.headers)
        try:
            sent = others.signal(target, input.signal, input.args, types if input.signal == name else None)
        finally:
            code.carry({})
        await sent

    def start_activity(self, input: StartActivityInput) -> asyncio.Future[Any]:
        said: ActivityOptions = input.call.options
        changed = _changes(
            said,
            input,
            ("activity_id", "task_queue", "retry_policy", "cancellation_type", "priority"),
            (
                "schedule_to_close_timeout",
                "schedule_to_start_timeout",
                "start_to_close_timeout",
                "heartbeat_timeout",
            ),
        )
        if (input.summary or "") != said.summary:
            changed["summary"] = input.summary or ""
        if input.disable_eager_execution == said.eager:
            changed["eager"] = not input.disable_eager_execution
        return self._instance.issue_activity(_called(input, changed), input.headers)

    def start_local_activity(self, input: StartLocalActivityInput) -> asyncio.Future[Any]:
        said: ActivityOptions = input.call.options
        changed = _changes(
            said,
            input,
            ("activity_id", "retry_policy", "cancellation_type"),
            ("schedule_to_close_timeout", "schedule_to_start_timeout", "start_to_close_timeout"),
        )
        threshold = input.local_retry_threshold
        kept = None if threshold is None else to_duration(threshold, "local_retry_threshold")
        if kept != said.local_retry_threshold:
            changed["local_retry_threshold"] = kept
        if (input.summary or "") != said.summary:
            changed["summary"] = input.summary or ""
        return self._instance.issue_activity(_called(input, changed), input.headers, local=True)

    async def start_child_workflow(self, input: StartChildWorkflowInput) -> Any:
        request: ChildRequest = input.call
        child = request.options.child or _NOTHING_SAID
        changed = _changes(
            child,
            input,
            (
                "id",
                "cancellation_type",
                "parent_close_policy",
                "id_reuse_policy",
                "retry_policy",
                "cron_schedule",
                "search_attributes",
                "priority",
            ),
        )
        for name in ("static_summary", "static_details"):
            if (value := getattr(input, name) or "") != getattr(child, name):
                changed[name] = value
        if (memo := input.memo or {}) != child.memo:
            changed["memo"] = memo
        of_any = _changes(
            request.options,
            input,
            ("task_queue",),
            ("execution_timeout", "run_timeout", "task_timeout"),
        )
        if changed:
            of_any["child"] = structs.replace(child, **changed)
        request = ChildRequest(
            input.workflow,
            tuple(input.args),
            structs.replace(request.options, **of_any) if of_any else request.options,
            request.definition if input.workflow == request.name else None,
            input.ret_type,
        )
        code, others = self._instance, self._instance.own_others()
        code.carry(input.headers)
        try:
            handle = others.run_child(request)
        finally:
            code.carry({})
        await others.until_there(handle)
        return handle


class _Others:
    """What `Others` is for code with interceptors."""

    def __init__(self, instance: InterceptedInstance, outbound: WorkflowOutboundInterceptor) -> None:
        self._instance = instance
        self._outbound = outbound

    async def start_child(self, request: ChildRequest) -> Any:
        said = request.options
        child = said.child or _NOTHING_SAID
        return await self._outbound.start_child_workflow(
            StartChildWorkflowInput(
                workflow=request.name,
                args=request.args,
                id=child.id,
                task_queue=said.task_queue,
                cancellation_type=child.cancellation_type,
                parent_close_policy=child.parent_close_policy,
                execution_timeout=_told(said.execution_timeout),
                run_timeout=_told(said.run_timeout),
                task_timeout=_told(said.task_timeout),
                id_reuse_policy=child.id_reuse_policy,
                retry_policy=child.retry_policy,
                cron_schedule=child.cron_schedule,
                memo=child.memo or None,
                search_attributes=child.search_attributes,
                headers={},
                static_summary=child.static_summary or None,
                static_details=child.static_details or None,
                arg_types=None if request.definition is None else request.definition.arg_types,
                ret_type=request.result_type,
                priority=child.priority,
                call=request,
            )
        )

    async def run_child(self, request: ChildRequest) -> Any:
        return await (await self.start_child(request))

    async def signal(
        self, target: Target, name: str, args: Sequence[Any], types: Sequence[Any] | None
    ) -> None:
        call = target, name, types
        if target.first_run_id:
            await self._outbound.signal_child_workflow(
                SignalChildWorkflowInput(name, args, target.workflow_id, {}, call)
            )
        else:
            await self._outbound.signal_external_workflow(
                SignalExternalWorkflowInput(
                    name, args, self._instance.namespace, target.workflow_id, target.run_id or None, {}, call
                )
            )

    def cancel(self, target: Target, reason: str) -> asyncio.Future[None]:
        return self._instance.own_others().cancel(target, reason)


def _update_input(
    update: WorkflowExecutionUpdateAccepted, handler: Handler, args: list[Any]
) -> HandleUpdateInput:
    return HandleUpdateInput(
        id=update.message.removeprefix("update:"),
        update=update.name,
        args=args,
        headers=update.headers,
        handler=(update.name, handler),
    )


def _called(
    input: StartActivityInput | StartLocalActivityInput, changed: Mapping[str, Any]
) -> ActivityCall[Any]:
    """Return the call that an input asks for; what it does not change is the caller's own."""
    call: ActivityCall[Any] = input.call
    return ActivityCall(
        input.activity,
        tuple(input.args),
        # Options are known by identity further on.
        structs.replace(call.options, **changed) if changed else call.options,
        call.definition if input.activity == call.name else None,
        result_type=input.ret_type,
    )


def _changes(said: Any, input: Any, names: Sequence[str], durations: Sequence[str] = ()) -> dict[str, Any]:
    """Return what an input says differently from the options it was made of."""
    found = {name: getattr(input, name) for name in names}
    found |= {name: _kept(getattr(input, name), name) for name in durations}
    return {name: value for name, value in found.items() if value != getattr(said, name)}


def _told(duration: int | None) -> timedelta | None:
    return None if duration is None else to_timedelta(duration)


def _kept(duration: Any, name: str) -> int | None:
    return None if duration is None else to_duration(duration, name, allow_zero=False)


def _at_once(coroutine: Coroutine[Any, Any, Any]) -> Any:
    """Return what a coroutine returns that waits for nothing."""
    try:
        coroutine.send(None)
    except StopIteration as done:
        return done.value
    coroutine.close()
    raise RuntimeError("an interceptor's handle_query waited for something, which a query cannot")
