"""Writing a stream to a client, and the gateway's own share of the time that an answer took."""

from __future__ import annotations

import asyncio
import logging
import time

from ipfs_accelerate_py.dialects.serving import Ingress, StreamWriter
from ipfs_accelerate_py.errors import AccelerateError
from ipfs_accelerate_py.gateway.incoming import Incoming
from ipfs_accelerate_py.gateway.metrics import GatewayMetrics
from ipfs_accelerate_py.gateway.routes import Asked
from ipfs_accelerate_py.gateway.stopping import internal_error, stopping
from ipfs_accelerate_py.types import Call, Operation, Reply

__all__ = ["own_time", "write_stream"]

logger = logging.getLogger(__name__)

#: Allowed before a stream's first event, and unknown to most clients.
_BOM = b"\xef\xbb\xbf"
_NO_CACHE = (b"cache-control", b"no-cache")


async def write_stream(
    incoming: Incoming,
    asked: Asked,
    ingress: Ingress,
    call: Call,
    reply: Reply,
    writer: StreamWriter | None,
    extra: list[tuple[bytes, bytes]],
    metrics: GatewayMetrics,
    received: float,
) -> None:
    """Write a stream; its first content is here. From now on errors are told in band, without the terminator.

    ``writer`` is None for bytes that are the client's own format already; ``received`` is when the request was here.
    """
    stream = reply.stream
    assert stream is not None
    targets = len(call.asked)
    send = incoming.send
    metrics.streams += 1
    metrics.first_content(asked.route, incoming.model, time.monotonic() - incoming.began)
    own_time(metrics, asked, call, reply, received)
    last = b""
    broken = False
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
        error: AccelerateError | None = None
        try:
            batch = await stream.next_batch()
            if writer is None and batch:
                batch[0] = batch[0].removeprefix(_BOM)
            while batch:
                # One write for all that the upstream's last read has brought.
                data = writer.encode(batch) if writer is not None else b"".join(batch)
                await send({"type": "http.response.body", "body": data, "more_body": True})
                batch = await stream.next_batch()
            if writer is not None:
                last = writer.end()
        except AccelerateError as raised:
            error = raised
        except asyncio.CancelledError:
            if incoming.left:
                raise
            error = stopping()
        except Exception:
            logger.exception("a stream failed (request %s)", incoming.request_id)
            error = internal_error(incoming.request_id)
        if error is not None:
            broken = True
            metrics.stream_errors += 1
            last = _told(incoming, ingress, writer, asked.operation, error)
            error = None  # it holds this frame by its traceback
        await send({"type": "http.response.body", "body": last})
    finally:
        stream.abort()
        metrics.streams -= 1
        if targets and (broken or len(call.asked) > targets):  # the router has asked them
            metrics.broke(call.alias, "failed" if broken else "continued")


def _told(
    incoming: Incoming,
    ingress: Ingress,
    writer: StreamWriter | None,
    operation: Operation,
    error: AccelerateError,
) -> bytes:
    """An error in band."""
    told = getattr(writer, "error_event", None)
    if told is not None:
        event: bytes = told(error)
        return event
    return ingress.error_event(error, operation, incoming.request_id)


def own_time(metrics: GatewayMetrics, asked: Asked, call: Call, reply: Reply, received: float) -> None:
    """Note the gateway's own time: since the request was here, without what it waited for others.

    Only of calls of which that is known: of those that were answered at the first attempt, or from a cache.
    """
    if reply.cache or (reply.upstream and not call.attempts):
        metrics.overhead(asked.route, time.monotonic() - received - reply.upstream - call.queued)
