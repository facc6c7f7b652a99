"""Traces: what is said of them by a program, and whether there are any.

A trace begins with whoever starts a workflow: the context of the span of that start travels in the headers of the run's first
event, and is the remote parent of every span that any worker makes for the run. So no span waits for its parent, none is
lost with a process, and a run that is replayed has what it needs in its log. What caused a span besides is a link.

Nothing of OpenTelemetry is imported before a program has set up a tracer provider.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Literal

from durable._internal.instants import Duration, to_duration
from durable.interceptor import client as of_clients
from durable.interceptor import worker as of_workers
from durable.telemetry._client_spans import TracedClient
from durable.telemetry._providers import provider_of

if TYPE_CHECKING:
    from opentelemetry.trace import TracerProvider

    from durable.telemetry._spans import Spans

__all__ = ["Tracing", "carrying", "current_carrier"]

MAX_AGE = 3600.0
"""Seconds after which a run's spans begin another trace: what collects traces drops what comes late."""


class Tracing(of_clients.Interceptor, of_workers.Interceptor):
    """Makes spans of what a client and its workers do; `docs/telemetry.md` lists them.

    Every client has one. It does nothing, at no cost, until a tracer provider is set for the process. Pass one of your own
    to `Client.connect(tracing=...)` to say more.

    Args:
        tracer_provider: Whose spans they are; the one that is set for the process by default.
        trace_max_age: After how long the spans of a run begin another trace, which is linked to the one before.
        attribute_aliases: "temporal" to set the attributes of Temporal's interceptor as well (`temporalWorkflowID`, ...).

    Raises:
        ValueError: An option is out of its range.
    """

    def __init__(
        self,
        tracer_provider: TracerProvider | None = None,
        *,
        trace_max_age: Duration = MAX_AGE,
        attribute_aliases: Literal["temporal"] | None = None,
    ) -> None:
        if attribute_aliases not in (None, "temporal"):
            raise ValueError(f"attribute_aliases is 'temporal' or None, not {attribute_aliases!r}")
        self._given = tracer_provider
        self._max_age = to_duration(trace_max_age, "trace_max_age", allow_zero=False)
        self._aliases = attribute_aliases == "temporal"
        self._spans: Spans | None = None

    @property
    def on(self) -> bool:
        """Whether there is a tracer provider by now."""
        return self.spans is not None

    @property
    def spans(self) -> Spans | None:
        """What makes the spans, if there is a tracer provider by now."""
        if self._spans is None:
            provider = self._given or provider_of("opentelemetry.trace", "get_tracer_provider")
            if provider is not None:
                from durable.telemetry._spans import Spans  # noqa: PLC0415 - OpenTelemetry is there, and slow to import

                self._spans = Spans(provider, max_age=self._max_age, aliases=self._aliases)
        return self._spans

    def intercept_client(self, next: of_clients.OutboundInterceptor) -> of_clients.OutboundInterceptor:
        """See `Interceptor`. What is returned makes no spans as long as there is no provider."""
        return TracedClient(next, lambda: self.spans)

    def intercept_activity(
        self, next: of_workers.ActivityInboundInterceptor
    ) -> of_workers.ActivityInboundInterceptor:
        """See `Interceptor`."""
        spans = self.spans
        return next if spans is None else spans.around_activity(next)

    def workflow_interceptor_class(
        self, input: of_workers.WorkflowInterceptorClassInput
    ) -> type[of_workers.WorkflowInboundInterceptor] | None:
        """See `Interceptor`."""
        spans = self.spans
        return None if spans is None else spans.workflow_class()


def current_carrier() -> dict[str, str]:
    """Return the present context of OpenTelemetry as W3C writes it, to be taken to another process; empty for none."""
    if "opentelemetry.context" not in sys.modules:
        return {}
    from durable.telemetry._spans import inject  # noqa: PLC0415 - OpenTelemetry is there

    return inject(None)


def carrying(carrier: Mapping[str, str]) -> AbstractContextManager[None]:
    """Return what makes a context that came from another process the present one, for as long as it is entered."""
    if not carrier:
        return nullcontext()
    from durable.telemetry._spans import attached, extract  # noqa: PLC0415 - somebody has traces

    return attached(extract(carrier))
