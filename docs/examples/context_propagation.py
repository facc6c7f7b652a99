"""A value that follows a request through client, workflow, activity and child, without being anybody's argument."""

import asyncio
import contextlib
import sys
from collections.abc import Iterator
from contextvars import ContextVar
from typing import Any

import durable.client
import durable.worker
from durable import Client, Worker, activity, workflow
from durable.converter import PayloadConverter, default

HEADER = "__user_id"
user_id: ContextVar[str | None] = ContextVar("user_id", default=None)


@activity.defn
async def say_hello(name: str) -> str:
    return f"Hello, {name}, for {user_id.get()}"


@workflow.defn
class SayHello:
    def __init__(self) -> None:
        self.complete = False

    @workflow.run
    async def run(self, name: str) -> str:
        print("the workflow is run by", user_id.get())  # durable: ignore[DUR109]
        await workflow.wait_condition(lambda: self.complete)
        return await say_hello(name)

    @workflow.signal
    def signal_complete(self) -> None:
        print("it is signalled by", user_id.get())  # durable: ignore[DUR109]
        self.complete = True

    @workflow.query
    def asked_by(self) -> str | None:
        return user_id.get()


def with_header(input: Any, converter: PayloadConverter) -> Any:
    """Put the value into the headers of a call that goes out."""
    if (value := user_id.get()) is not None:
        input.headers = {**input.headers, HEADER: converter.to_payload(value)}
    return input


@contextlib.contextmanager
def from_header(input: Any, converter: PayloadConverter) -> Iterator[None]:
    """Have the value that came with a call, while it is handled."""
    payload = input.headers.get(HEADER)
    token = None if payload is None else user_id.set(converter.from_payload(payload, str))
    try:
        yield
    finally:
        if token is not None:
            user_id.reset(token)


class ContextPropagation(durable.client.Interceptor, durable.worker.Interceptor):
    """Pass it to `Client.connect`; the client's workers have it too."""

    def __init__(self, converter: PayloadConverter | None = None) -> None:
        self.converter = converter or default().payload_converter

    def intercept_client(
        self, next: durable.client.OutboundInterceptor
    ) -> durable.client.OutboundInterceptor:
        return FromClient(next, self.converter)

    def intercept_activity(
        self, next: durable.worker.ActivityInboundInterceptor
    ) -> durable.worker.ActivityInboundInterceptor:
        return IntoActivity(next, self.converter)

    def workflow_interceptor_class(
        self, input: durable.worker.WorkflowInterceptorClassInput
    ) -> type[durable.worker.WorkflowInboundInterceptor]:
        return IntoWorkflow


class FromClient(durable.client.OutboundInterceptor):
    def __init__(self, next: durable.client.OutboundInterceptor, converter: PayloadConverter) -> None:
        super().__init__(next)
        self.converter = converter

    async def start_workflow(self, input: durable.client.StartWorkflowInput) -> Any:
        return await super().start_workflow(with_header(input, self.converter))

    async def query_workflow(self, input: durable.client.QueryWorkflowInput) -> Any:
        return await super().query_workflow(with_header(input, self.converter))

    async def signal_workflow(self, input: durable.client.SignalWorkflowInput) -> None:
        await super().signal_workflow(with_header(input, self.converter))

    async def start_workflow_update(self, input: durable.client.StartWorkflowUpdateInput) -> Any:
        return await super().start_workflow_update(with_header(input, self.converter))


class IntoActivity(durable.worker.ActivityInboundInterceptor):
    def __init__(self, next: durable.worker.ActivityInboundInterceptor, converter: PayloadConverter) -> None:
        super().__init__(next)
        self.converter = converter

    async def execute_activity(self, input: durable.worker.ExecuteActivityInput) -> Any:
        with from_header(input, self.converter):
            return await super().execute_activity(input)


class IntoWorkflow(durable.worker.WorkflowInboundInterceptor):
    def init(self, outbound: durable.worker.WorkflowOutboundInterceptor) -> None:
        super().init(FromWorkflow(outbound))

    async def execute_workflow(self, input: durable.worker.ExecuteWorkflowInput) -> Any:
        with from_header(input, workflow.payload_converter()):
            return await super().execute_workflow(input)

    async def handle_signal(self, input: durable.worker.HandleSignalInput) -> None:
        with from_header(input, workflow.payload_converter()):
            await super().handle_signal(input)

    async def handle_query(self, input: durable.worker.HandleQueryInput) -> Any:
        with from_header(input, workflow.payload_converter()):
            return await super().handle_query(input)

    def handle_update_validator(self, input: durable.worker.HandleUpdateInput) -> None:
        with from_header(input, workflow.payload_converter()):
            super().handle_update_validator(input)

    async def handle_update_handler(self, input: durable.worker.HandleUpdateInput) -> Any:
        with from_header(input, workflow.payload_converter()):
            return await super().handle_update_handler(input)


class FromWorkflow(durable.worker.WorkflowOutboundInterceptor):
    async def signal_child_workflow(self, input: durable.worker.SignalChildWorkflowInput) -> None:
        await super().signal_child_workflow(with_header(input, workflow.payload_converter()))

    async def signal_external_workflow(self, input: durable.worker.SignalExternalWorkflowInput) -> None:
        await super().signal_external_workflow(with_header(input, workflow.payload_converter()))

    def start_activity(self, input: durable.worker.StartActivityInput) -> Any:
        return super().start_activity(with_header(input, workflow.payload_converter()))

    async def start_child_workflow(self, input: durable.worker.StartChildWorkflowInput) -> Any:
        return await super().start_child_workflow(with_header(input, workflow.payload_converter()))

    def start_local_activity(self, input: durable.worker.StartLocalActivityInput) -> Any:
        return super().start_local_activity(with_header(input, workflow.payload_converter()))


async def main(url: str) -> None:
    async with Client.connect(url, interceptors=[ContextPropagation()]) as client, Worker(client):
        user_id.set("ada")
        handle = await client.start_workflow(SayHello.run("Temporal"), id="hello-context")
        user_id.set("bob")
        print("it is asked by", await handle.query(SayHello.asked_by()))
        await handle.signal(SayHello.signal_complete())
        print(await handle.result())


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:] or ["sqlite://:memory:"]))
