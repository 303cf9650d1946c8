"""A span for every call, by the semantic conventions for generative AI.

The policy is outermost, so the span sees what the caller sees: the queue, every attempt, fallbacks, answers from
caches. Attempts become child spans where there was more than one: a lone attempt is the call itself, and a second span
of it would cost what the first one costs and tell nothing.

Nobody's call fails or waits because of this: spans are handed to OpenTelemetry's processors, which export elsewhere.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from ipfs_accelerate_py.records import Pricer
from ipfs_accelerate_py.stream import Stream, unheld
from ipfs_accelerate_py.telemetry import content, conventions
from ipfs_accelerate_py.telemetry.extras import require
from ipfs_accelerate_py.telemetry.parents import headers_of, parent_of
from ipfs_accelerate_py.types import Attempt, Call, Handler, Reply, Usage

if TYPE_CHECKING:
    from opentelemetry.trace import Span, Tracer, TracerProvider

__all__ = ["CANCELLED", "SCOPE", "Tracing", "TracingPolicy"]

#: Name of the instrumentation.
SCOPE = "ipfs_accelerate_py"
#: ``error.type`` of a call that its caller gave up.
CANCELLED = "cancelled"
#: Child spans of one call: a router with many targets may make many attempts.
MOST_ATTEMPTS = 32


class Tracing:
    """What spans are made with; one for a client or router, across changes of its policies.

    Args:
        provider: makes the tracer; None is OpenTelemetry's global one.
        backend, base_url: of a client with one backend, known before a call; a router's spans learn theirs at the end.
        capture_content: put what is asked and answered into the spans. Never keys.
        propagate: send ``traceparent`` and ``X-Request-Id`` to the upstream.
        pricer: gives what knows prices, for the cost of a call.
    """

    def __init__(
        self,
        provider: TracerProvider | None = None,
        *,
        backend: str = "",
        base_url: str = "",
        capture_content: bool = False,
        propagate: bool = True,
        pricer: Callable[[], Pricer | None] = lambda: None,
    ) -> None:
        require("opentelemetry.trace")
        from opentelemetry import trace

        from ipfs_accelerate_py._version import __version__

        #: A provider that was made for this alone, and ends with it.
        self.owned: Any = None
        self.tracer: Tracer = trace.get_tracer(SCOPE, __version__, tracer_provider=provider)
        self.capture_content = capture_content
        self.propagate = propagate
        self._pricer = pricer
        self._known: dict[str, Any] = conventions.place(base_url)
        if backend:
            self._known["gen_ai.provider.name"] = conventions.provider_name(backend)
        in_process = backend in conventions.IN_PROCESS
        self._kind = trace.SpanKind.INTERNAL if in_process else trace.SpanKind.CLIENT

    def __call__(self, inner: Handler) -> TracingPolicy:
        """Make the policy (`Stack.install` calls this)."""
        return TracingPolicy(inner, self)

    def begin(self, call: Call) -> Span:
        """Begin the call's span, and tell the upstream of it."""
        request = call.request
        operation = conventions.operation_name(call.operation)
        attributes: dict[str, Any] = {
            "gen_ai.operation.name": operation,
            "ipfs_accelerate.request_id": call.request_id,
            **self._known,
        }
        if request.model:
            attributes["gen_ai.request.model"] = request.model
        if call.stream:
            attributes["gen_ai.request.stream"] = True
        options = getattr(request, "options", None)
        if options:
            attributes.update(conventions.request_attributes(options))
        if call.session:
            attributes["gen_ai.conversation.id"] = call.session
        span = self.tracer.start_span(
            conventions.span_name(operation, request.model),
            context=None if call.trace is None else parent_of(call.trace),
            kind=self._kind,
            attributes=attributes,
        )
        if self.propagate:
            context = span.get_span_context()
            if context.is_valid and not _has_own(call.headers):
                call.propagation = headers_of(context)
                if call.request_id.isascii() and call.request_id.isprintable():
                    call.propagation["X-Request-Id"] = call.request_id
        return span

    def end(
        self,
        span: Span,
        call: Call,
        reply: Reply | None,
        usage: Usage | None,
        error: BaseException | None,
        extra: Mapping[str, Any] | None = None,
        stream: Stream | None = None,
    ) -> None:
        """End it, with all that is known by now. ``extra`` are further attributes; ``stream`` is that of the reply."""
        if not span.is_recording():
            return  # not sampled
        found: dict[str, Any] = dict(extra or {})
        if call.queued:
            found["ipfs_accelerate.queue.duration"] = call.queued
        if call.tenant:
            found["ipfs_accelerate.tenant"] = call.tenant
        if call.alias:
            found["ipfs_accelerate.alias"] = call.alias
        upstream_id = None
        if reply is not None:
            upstream_id = reply.upstream_request_id
            self._of_reply(found, call, reply, usage, stream)
        elif error is not None:
            upstream_id = getattr(error, "request_id", None)
            if backend := getattr(error, "backend", None):
                found.setdefault("gen_ai.provider.name", conventions.provider_name(backend))
        if upstream_id:
            found["ipfs_accelerate.upstream_request_id"] = upstream_id
        if error is not None:
            self._failed(span, found, error)
        found["ipfs_accelerate.attempts"] = len(call.attempts) + (error is None and not (reply and reply.cache))
        if call.attempts and not (len(call.attempts) == 1 and call.attempts[0].error == type(error).__name__):
            self._attempts(span, call, reply, error)
        span.set_attributes(found)
        span.end()

    def _of_reply(
        self, found: dict[str, Any], call: Call, reply: Reply, usage: Usage | None, stream: Stream | None
    ) -> None:
        if reply.backend:
            found["gen_ai.provider.name"] = conventions.provider_name(reply.backend)
        if reply.id:
            found["gen_ai.response.id"] = reply.id
        if model := (stream.model if stream is not None else "") or reply.model:
            found["gen_ai.response.model"] = model
        if reason := stream.finish_reason if stream is not None else reply.finish_reason:
            found["gen_ai.response.finish_reasons"] = (reason,)
        if reply.key_name:
            found["ipfs_accelerate.key"] = reply.key_name  # its name
        if reply.target_model:
            found["ipfs_accelerate.target_model"] = reply.target_model
        if reply.cache:
            found["ipfs_accelerate.cache"] = reply.cache
            if reply.similarity is not None:
                found["ipfs_accelerate.similarity"] = reply.similarity
        elif usage is not None:
            found.update(conventions.usage_attributes(usage))
            cost = reply.cost
            if cost is None and (pricer := self._pricer()) is not None:
                asked = (reply.backend, reply.target_model or call.request.model, usage)
                cost = pricer.cost(*asked, call.alias) if call.alias else pricer.cost(*asked)
            if cost is not None:
                found["ipfs_accelerate.cost.usd"] = cost.total
        if self.capture_content and stream is None:
            found.update(content.answered(reply))

    def _failed(self, span: Span, found: dict[str, Any], error: BaseException) -> None:
        from opentelemetry.trace import Status, StatusCode

        if isinstance(error, asyncio.CancelledError | GeneratorExit):
            found["error.type"] = CANCELLED  # its caller left: no error of anybody's
            return
        found["error.type"] = type(error).__name__
        if (status := getattr(error, "status", None)) is not None:
            found["http.response.status_code"] = status
        # A service's message may quote what it was sent.
        span.set_status(Status(StatusCode.ERROR, str(error) if self.capture_content else type(error).__name__))

    def _attempts(self, span: Span, call: Call, reply: Reply | None, error: BaseException | None) -> None:
        """Child spans of the attempts that failed, and of the one that answered."""
        from opentelemetry.trace import set_span_in_context

        context = set_span_in_context(span)
        # Attempts are timed by the monotonic clock, spans by the one on the wall.
        offset = time.time_ns() - int(time.monotonic() * 1e9)
        for attempt in call.attempts[-MOST_ATTEMPTS:]:
            if attempt.began:
                self._attempt(context, call, attempt, offset)
        if error is None and reply is not None and reply.began and not reply.cache:
            last = Attempt(
                len(call.attempts) + 1,
                reply.key_name,
                time.monotonic() - reply.began,
                backend=reply.backend,
                model=reply.target_model or call.request.model,
                began=reply.began,
            )
            self._attempt(context, call, last, offset)

    def _attempt(self, context: Any, call: Call, attempt: Attempt, offset: int) -> None:
        from opentelemetry.trace import Status, StatusCode

        operation = conventions.operation_name(call.operation)
        model = attempt.model or call.request.model
        attributes: dict[str, Any] = {
            "gen_ai.operation.name": operation,
            "ipfs_accelerate.attempt": attempt.number,
            **self._known,
        }
        if model:
            attributes["gen_ai.request.model"] = model
        if attempt.backend:
            attributes["gen_ai.provider.name"] = conventions.provider_name(attempt.backend)
        if attempt.key:
            attributes["ipfs_accelerate.key"] = attempt.key
        if attempt.status is not None:
            attributes["http.response.status_code"] = attempt.status
        if attempt.error:
            attributes["error.type"] = attempt.error
        began = int(attempt.began * 1e9) + offset
        span = self.tracer.start_span(
            conventions.span_name("attempt", model),
            context=context,
            kind=self._kind,
            attributes=attributes,
            start_time=began,
        )
        if attempt.error:
            span.set_status(Status(StatusCode.ERROR, attempt.error))
        span.end(began + int(attempt.seconds * 1e9))


class TracingPolicy:
    """Begins a span with the call, and ends it with the answer: of a stream, when that is done."""

    def __init__(self, inner: Handler, tracing: Tracing) -> None:
        self._inner = inner
        self.tracing = tracing

    async def __call__(self, call: Call) -> Reply:
        tracing = self.tracing
        began = time.monotonic()
        span = tracing.begin(call)
        capture = tracing.capture_content and span.is_recording()
        if capture:
            span.set_attributes(content.asked(call))
        try:
            reply = await self._inner(call)
        except BaseException as error:
            tracing.end(span, call, None, None, error)
            raise
        if reply.stream is None:
            tracing.end(span, call, reply, reply.usage, None)
            return reply
        extra: dict[str, Any] = {"gen_ai.response.time_to_first_chunk": time.monotonic() - began}
        collecting: content.Collecting | None = None
        if capture:
            collecting = content.Collecting()
            reply.stream.tap(collecting)

        kept = unheld(reply)

        def done(stream: Stream, error: BaseException | None) -> None:
            if collecting is not None:
                extra.update(collecting.answered())
            tracing.end(span, call, kept(), stream.usage, error, extra, stream)

        reply.stream.add_done_callback(done)
        return reply


def _has_own(headers: Mapping[str, str] | None) -> bool:
    return headers is not None and any(name.lower() == "traceparent" for name in headers)
