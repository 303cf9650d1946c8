"""Requests for models: from a body to a `Call`, and from a `Reply` to an answer, in any of the wire formats.

Where client and backend speak the same format the body is checked, given the backend's name of the model, and
forwarded; so are the answer's bytes. Nothing is sent to anybody before the request has passed every check.
"""

from __future__ import annotations

import time

from ipfs_accelerate_py.dialects.serving import Ingress, ServedRequest, StreamWriter, bad_request, placed
from ipfs_accelerate_py.errors import AccelerateError, BudgetExceeded, InvalidRequest, LimitExceeded
from ipfs_accelerate_py.gateway.call_headers import NAMES, read_headers, told
from ipfs_accelerate_py.gateway.front import GatewayFront
from ipfs_accelerate_py.gateway.incoming import Incoming
from ipfs_accelerate_py.gateway.metrics import GatewayMetrics
from ipfs_accelerate_py.gateway.routes import Asked
from ipfs_accelerate_py.gateway.streaming import own_time, write_stream
from ipfs_accelerate_py.gateway.table import ModelTable
from ipfs_accelerate_py.gateway.targets import AnyTarget
from ipfs_accelerate_py.gateway.variants import RequestVariants
from ipfs_accelerate_py.stream import Stream
from ipfs_accelerate_py.types import Call, Operation

__all__ = ["Inference", "not_allowed"]

#: Answers that come from a cache, or could have.
_CACHES = frozenset(("exact_cache", "semantic_cache", "single_flight"))


class Inference:
    """Answers what a route asks."""

    def __init__(self, table: ModelTable, front: GatewayFront, metrics: GatewayMetrics, max_body: int) -> None:
        self._table = table
        self._send = front.send
        self._policies = front.front
        self._metrics = metrics
        self._max_body = max_body

    async def __call__(self, incoming: Incoming, asked: Asked, ingress: Ingress) -> None:
        """Answer. What goes wrong before the answer has begun is raised."""
        form = asked.operation is Operation.TRANSCRIBE or (
            asked.operation is Operation.TASK and b"multipart/" in incoming.headers.get(b"content-type", b"").lower()
        )
        body = await incoming.body(self._max_body, form=form)
        received = time.monotonic()
        incoming.watch()
        kind = incoming.headers[b"content-type"].decode("latin-1") if form else "application/json"
        request = ingress.decode(asked.operation, body, kind, asked.path, stream=asked.stream)
        if not request.model:
            request.model = self._table.usual(asked.operation, incoming.holder.may_ask)
        if not incoming.holder.may_ask(request.model):
            raise not_allowed(request.model)
        target = self._table.find(request.model) or await self._table.discover(request.model)
        incoming.model = target.label
        variants = RequestVariants(request, ingress, asked, body, incoming.headers)
        call = self._call(incoming, request, target, variants)
        writer: StreamWriter | None = None
        if request.stream and call.passthrough is None:
            # Made now, so that what cannot be written is refused before anything is sent.
            writer = ingress.writer(request, target.name, call.request_id, int(time.time()))
        try:
            reply = await self._send(call)
        except AccelerateError as error:
            if target.alias:
                self._moved(call)
            if isinstance(error, LimitExceeded | BudgetExceeded):
                self._metrics.over_limit(error)
            if places := getattr(request, "places", ()):
                placed(error, places)
            raise
        if target.alias:
            self._moved(call)
        extra: list[tuple[bytes, bytes]] = []
        caching = bool(self._policies.makers) and not _CACHES.isdisjoint(self._policies.makers)
        if caching or target.alias or call.attempts or reply.cost is not None:
            extra = told(call, reply, caching=caching, alias=target.alias)
        if (ignored := getattr(request, "ignored", ())) or reply.ignored:
            ignored = (*ignored, *reply.ignored)
            extra.append((b"x-ignored-parameters", ", ".join(ignored).encode("latin-1", "replace")))
        # An alias is a name of ours; its answer says who gave it.
        model = (reply.model or reply.target_model or target.name) if target.alias else target.name
        if reply.stream is not None:
            if reply.verbatim:
                writer = None
            elif writer is None or target.alias:
                writer = self._writer(ingress, request, model, call, reply.stream, follows=target.alias)
            await write_stream(incoming, asked, ingress, call, reply, writer, extra, self._metrics, received)
            return
        if reply.verbatim:
            await incoming.answer(200, reply.body, extra=extra)
        else:
            answer = ingress.encode(request, reply, model, int(time.time()))
            kind_of_answer = (b"content-type", answer.content_type.encode())
            await incoming.answer(
                200, answer.body, kind_of_answer, [*extra, *answer.headers] if answer.headers else extra
            )
        own_time(self._metrics, asked, call, reply, received)

    def _moved(self, call: Call) -> None:
        """Count a call that one target was not enough for."""
        if len(call.asked) > 1:
            self._metrics.fell_back(call.alias, (call.attempts and call.attempts[-1].error) or "unavailable")

    def _call(self, incoming: Incoming, request: ServedRequest, target: AnyTarget, variants: RequestVariants) -> Call:
        timeout = target.total_timeout
        if target.alias:
            if target.rescues:
                variants.rescue()
            asked, passed = variants.whole(target.name)
        else:
            asked, passed = variants(target.dialect, target.operations, target.model, target.stream_usage)
        call = Call(
            # Of the translation: an answer of the Responses API may be asked for as a chat.
            operation=asked.operation,
            request=asked,
            request_id=incoming.request_id,
            stream=request.stream,
            deadline=None if timeout is None else time.monotonic() + timeout,
            passthrough=passed,
            variants=variants,
            route=target.route,
            alias=target.name,
        )
        if target.backend is not None and target.backend.settings.first_content_timeout is not None:
            # It is the limit after which another target is asked, and here is none: the answer is waited for.
            call.limits = {"first_content_timeout": None}
        if not NAMES.isdisjoint(incoming.headers):
            read_headers(incoming.headers, call, hops=0 if target.alias else 1)
        incoming.holder.sign(call)
        return call

    @staticmethod
    def _writer(
        ingress: Ingress, request: ServedRequest, model: str, call: Call, stream: Stream, *, follows: bool
    ) -> StreamWriter:
        try:
            writer = ingress.writer(request, stream.model or model, call.request_id, int(time.time()))
        except BaseException:
            stream.abort()
            raise
        if follows and getattr(writer, "follows", None) is False:
            writer.follows = True  # type: ignore[attr-defined]
        return writer


def not_allowed(name: str) -> InvalidRequest:
    """403 for a model that the key's holder may not ask for."""
    shown = name if len(name) <= 200 else name[:200] + "..."
    return bad_request(f"This API key may not ask for the model '{shown}'.", "model_not_allowed", "model", 403)
