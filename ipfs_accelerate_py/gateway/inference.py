"""Requests for models: from a body to a `Call`, and from a `Reply` to an answer, in any of the wire formats.

Where client and backend speak the same format the body is checked, given the backend's name of the model, and
forwarded; so are the answer's bytes. Nothing is sent to anybody before the request has passed every check.
"""

from __future__ import annotations

import asyncio
import logging
import time

from ipfs_accelerate_py.dialects.serving import Ingress, ServedRequest, StreamWriter, bad_request, placed
from ipfs_accelerate_py.errors import AccelerateError, ConfigurationError
from ipfs_accelerate_py.gateway.incoming import Incoming
from ipfs_accelerate_py.gateway.metrics import GatewayMetrics
from ipfs_accelerate_py.gateway.routes import Asked
from ipfs_accelerate_py.gateway.stopping import internal_error, stopping
from ipfs_accelerate_py.gateway.table import ModelTable, Target
from ipfs_accelerate_py.stream import Stream
from ipfs_accelerate_py.types import Call, Operation, Priority

__all__ = ["Inference"]

logger = logging.getLogger(__name__)

#: Allowed before a stream's first event, and unknown to most clients.
_BOM = b"\xef\xbb\xbf"
_NO_CACHE = (b"cache-control", b"no-cache")
#: Headers that say how a forwarded body is to be read.
_FORWARDED = {"anthropic": (b"anthropic-beta",), "openai": (b"openai-beta",)}


class Inference:
    """Answers what a route asks."""

    def __init__(self, table: ModelTable, metrics: GatewayMetrics, max_body: int) -> None:
        self._table = table
        self._metrics = metrics
        self._max_body = max_body

    async def __call__(self, incoming: Incoming, asked: Asked, ingress: Ingress) -> None:
        """Answer. What goes wrong before the answer has begun is raised."""
        form = asked.operation is Operation.TRANSCRIBE
        body = await incoming.body(self._max_body, form=form)
        incoming.watch()
        kind = incoming.headers[b"content-type"].decode("latin-1") if form else "application/json"
        request = ingress.decode(asked.operation, body, kind, asked.path, stream=asked.stream)
        target = self._table.find(request.model) or await self._table.discover(request.model)
        incoming.model = target.label
        call = self._call(incoming, request, target, ingress)
        writer: StreamWriter | None = None
        if request.stream and call.passthrough is None:
            writer = ingress.writer(request, target.name, call.request_id, int(time.time()))
        try:
            reply = await target.backend(call)
        except AccelerateError as error:
            if places := getattr(request, "places", ()):
                placed(error, places)
            raise
        extra = []
        if ignored := (*getattr(request, "ignored", ()), *reply.ignored):
            extra.append((b"x-ignored-parameters", ", ".join(ignored).encode("latin-1", "replace")))
        if reply.stream is not None:
            await self._stream(incoming, asked, ingress, reply.stream, writer, extra)
        elif call.passthrough is not None:
            await incoming.answer(200, reply.body)
        else:
            answer = ingress.encode(request, reply, target.name, int(time.time()))
            await incoming.answer(200, answer.body, (b"content-type", answer.content_type.encode()), extra)

    def _call(self, incoming: Incoming, request: ServedRequest, target: Target, ingress: Ingress) -> Call:
        timeout = target.backend.settings.total_timeout
        passed = None
        # A service that speaks the format may yet have no Responses API; then that is asked for as a chat.
        if target.dialect == ingress.name and target.operations is not None and request.operation in target.operations:
            passed = request.passthrough(target.model, stream_usage=target.stream_usage)
        asked = request.request(target.model) if passed is None else request.summary(target.model)
        call = Call(
            # Of the translation: an answer of the Responses API may be asked for as a chat.
            operation=asked.operation,
            request=asked,
            request_id=incoming.request_id,
            stream=request.stream,
            deadline=None if timeout is None else time.monotonic() + timeout,
            passthrough=passed,
        )
        if passed is not None:
            for name in _FORWARDED.get(ingress.name, ()):
                value = incoming.headers.get(name)
                if value is not None:
                    call.headers = {**(call.headers or {}), name.decode(): value.decode("latin-1")}
        priority = incoming.headers.get(b"x-priority")
        if priority is not None:
            call.priority = _priority(priority)
        return call

    async def _stream(
        self,
        incoming: Incoming,
        asked: Asked,
        ingress: Ingress,
        stream: Stream,
        writer: StreamWriter | None,
        extra: list[tuple[bytes, bytes]],
    ) -> None:
        """Write a stream; its first content is here. From now on errors are told in band, without the terminator."""
        metrics = self._metrics
        send = incoming.send
        metrics.streams += 1
        metrics.first_content(asked.route, incoming.model, time.monotonic() - incoming.began)
        last = b""
        try:
            incoming.status = 200
            incoming.started = True
            kind = getattr(writer, "content_type", None) or ingress.stream_type
            headers = [
                (b"content-type", kind.encode()),
                _NO_CACHE,
                *incoming.identity(),
                *extra,
            ]
            await send({"type": "http.response.start", "status": 200, "headers": headers})
            try:
                batch = await stream.next_batch()
                if writer is None and batch:
                    batch[0] = batch[0].removeprefix(_BOM)
                while batch:
                    # One write for all that the upstream's last read has brought.
                    if writer is not None:
                        data = writer.encode(batch)
                    else:
                        data = batch[0] if len(batch) == 1 else b"".join(batch)
                    await send({"type": "http.response.body", "body": data, "more_body": True})
                    batch = await stream.next_batch()
                if writer is not None:
                    last = writer.end()
            except AccelerateError as error:
                last = self._broken(incoming, ingress, writer, asked.operation, error)
            except asyncio.CancelledError:
                if incoming.left:
                    raise
                last = self._broken(incoming, ingress, writer, asked.operation, stopping())
            except Exception:
                logger.exception("a stream failed (request %s)", incoming.request_id)
                failed = internal_error(incoming.request_id)
                last = self._broken(incoming, ingress, writer, asked.operation, failed)
            await send({"type": "http.response.body", "body": last})
        finally:
            stream.abort()
            metrics.streams -= 1

    def _broken(
        self,
        incoming: Incoming,
        ingress: Ingress,
        writer: StreamWriter | None,
        operation: Operation,
        error: AccelerateError,
    ) -> bytes:
        self._metrics.stream_errors += 1
        told = getattr(writer, "error_event", None)
        if told is not None:
            event: bytes = told(error)
            return event
        return ingress.error_event(error, operation, incoming.request_id)


def _priority(value: bytes) -> Priority:
    try:
        text = value.decode("latin-1").strip()
        return Priority.parse(int(text) if text.isdigit() else text)
    except (ConfigurationError, ValueError):
        raise bad_request(
            "The header 'X-Priority' must be HIGH, NORMAL or LOW.", "invalid_value", "x-priority"
        ) from None
