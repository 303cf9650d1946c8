"""Requests for models: from a body to a `Call`, and from a `Reply` to an answer.

Where client and backend speak the same format the body is checked, given the backend's name of the model, and
forwarded; so are the answer's bytes. Nothing is sent to anybody before the request has passed every check.
"""

from __future__ import annotations

import asyncio
import logging
import time

from ipfs_accelerate_py.dialects.openai_answers import (
    StreamEncoder,
    encode_embeddings,
    encode_reply,
    error_event,
)
from ipfs_accelerate_py.dialects.openai_server import ServerRequest, bad_request, decode_body
from ipfs_accelerate_py.errors import AccelerateError, ConfigurationError, UnsupportedOperation
from ipfs_accelerate_py.gateway.incoming import Incoming
from ipfs_accelerate_py.gateway.metrics import GatewayMetrics
from ipfs_accelerate_py.gateway.stopping import internal_error, stopping
from ipfs_accelerate_py.gateway.table import ModelTable, Target
from ipfs_accelerate_py.stream import Stream
from ipfs_accelerate_py.types import Call, Operation, Priority, Reply

__all__ = ["Inference"]

logger = logging.getLogger(__name__)

_EVENTS = (b"content-type", b"text/event-stream; charset=utf-8")
#: Allowed before a stream's first event, and unknown to most clients.
_BOM = b"\xef\xbb\xbf"
_NO_CACHE = (b"cache-control", b"no-cache")


class Inference:
    """The handler of one route."""

    def __init__(
        self, operation: Operation, route: str, table: ModelTable, metrics: GatewayMetrics, max_body: int
    ) -> None:
        self._operation = operation
        self._route = route
        self._table = table
        self._metrics = metrics
        self._max_body = max_body

    async def __call__(self, incoming: Incoming) -> None:
        """Answer. What goes wrong before the answer has begun is raised."""
        body = await incoming.json_body(self._max_body)
        incoming.watch()
        request = decode_body(self._operation, body)
        target = self._table.find(request.model) or await self._table.discover(request.model)
        incoming.model = target.label
        call = self._call(incoming, request, target)
        encoder: StreamEncoder | None = None
        if request.stream and not target.passthrough:
            encoder = StreamEncoder(
                self._operation,
                target.name,
                _identity(self._operation, call.request_id),
                int(time.time()),
                usage_wanted=request.usage_wanted,
            )
        reply = await target.backend(call)
        if reply.stream is not None:
            await self._stream(incoming, reply.stream, encoder)
        else:
            await incoming.answer(200, self._encoded(request, target, reply))

    def _call(self, incoming: Incoming, request: ServerRequest, target: Target) -> Call:
        timeout = target.backend.settings.total_timeout
        call = Call(
            operation=self._operation,
            request=request.summary(target.model) if target.passthrough else request.request(target.model),
            request_id=incoming.request_id,
            stream=request.stream,
            deadline=None if timeout is None else time.monotonic() + timeout,
        )
        if target.passthrough:
            call.passthrough = request.passthrough(target.model_json, stream_usage=target.stream_usage)
        elif self._operation is Operation.RESPONSE:
            raise UnsupportedOperation(f"The model '{target.name}' is served by a backend without the Responses API.")
        priority = incoming.headers.get(b"x-priority")
        if priority is not None:
            call.priority = _priority(priority)
        return call

    def _encoded(self, request: ServerRequest, target: Target, reply: Reply) -> bytes:
        if target.passthrough:
            return reply.body
        if self._operation is Operation.EMBED:
            reply.model = target.name
            return encode_embeddings(reply, target.name, request.base64)
        identity = _identity(self._operation, reply.request_id)
        return encode_reply(self._operation, reply, target.name, identity, int(time.time()))

    async def _stream(self, incoming: Incoming, stream: Stream, encoder: StreamEncoder | None) -> None:
        """Write a stream; its first content is here. From now on errors are told in band, without the terminator."""
        metrics = self._metrics
        send = incoming.send
        metrics.streams += 1
        metrics.first_content(self._route, incoming.model, time.monotonic() - incoming.began)
        last = b""
        try:
            incoming.status = 200
            incoming.started = True
            headers = [_EVENTS, _NO_CACHE, (b"x-request-id", incoming.request_id.encode())]
            await send({"type": "http.response.start", "status": 200, "headers": headers})
            try:
                batch = await stream.next_batch()
                if encoder is None and batch:
                    batch[0] = batch[0].removeprefix(_BOM)
                while batch:
                    # One write for all that the upstream's last read has brought.
                    if encoder is not None:
                        data = encoder.encode(batch)
                    else:
                        data = batch[0] if len(batch) == 1 else b"".join(batch)
                    await send({"type": "http.response.body", "body": data, "more_body": True})
                    batch = await stream.next_batch()
                if encoder is not None:
                    last = encoder.end()
            except AccelerateError as error:
                last = self._broken(error)
            except asyncio.CancelledError:
                if incoming.left:
                    raise
                last = self._broken(stopping())
            except Exception:
                logger.exception("a stream failed (request %s)", incoming.request_id)
                last = self._broken(internal_error(incoming.request_id))
            await send({"type": "http.response.body", "body": last})
        finally:
            stream.abort()
            metrics.streams -= 1

    def _broken(self, error: AccelerateError) -> bytes:
        self._metrics.stream_errors += 1
        return error_event(error, self._operation)


def _identity(operation: Operation, request_id: str) -> str:
    """An id in the manner of OpenAI's, for answers of backends that give none."""
    prefix = "chatcmpl" if operation is Operation.CHAT else "cmpl"
    return f"{prefix}-{request_id.removeprefix('req_')}"


def _priority(value: bytes) -> Priority:
    try:
        text = value.decode("latin-1").strip()
        return Priority.parse(int(text) if text.isdigit() else text)
    except (ConfigurationError, ValueError):
        raise bad_request(
            "The header 'X-Priority' must be HIGH, NORMAL or LOW.", "invalid_value", "x-priority"
        ) from None
