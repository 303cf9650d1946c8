"""Calls that can be merged, and an upstream that answers them by what they say."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any

from ipfs_accelerate_py.errors import AccelerateError
from ipfs_accelerate_py.pipeline.batching import Batcher, BatchingPolicy, BatchStrategy, Strategies
from ipfs_accelerate_py.types import (
    Call,
    ClassifyRequest,
    EmbedRequest,
    Handler,
    Label,
    Moderation,
    ModerationRequest,
    Operation,
    Ranked,
    Reply,
    RerankRequest,
    Usage,
    new_request_id,
)

KINDS: dict[Operation, Any] = {
    Operation.EMBED: EmbedRequest,
    Operation.CLASSIFY: ClassifyRequest,
    Operation.MODERATE: ModerationRequest,
}


def vector_of(text: Any) -> list[float]:
    return [float(len(str(text))), float(sum(map(ord, str(text))))]


def score_of(query: str, document: str) -> float:
    return ((sum(map(ord, query + document)) * 7919) % 1000) / 1000


def embed(
    *texts: Any, model: str = "m", options: dict[str, Any] | None = None, seconds: float = 60, **fields: Any
) -> Call:
    return asking(Operation.EMBED, list(texts), model, options, seconds, **fields)


def asking(
    operation: Operation,
    items: list[Any],
    model: str = "m",
    options: dict[str, Any] | None = None,
    seconds: float | None = 60,
    **fields: Any,
) -> Call:
    request = KINDS[operation](model, items, options or {})
    deadline = None if seconds is None else time.monotonic() + seconds
    return Call(operation=operation, request=request, request_id=new_request_id(), deadline=deadline, **fields)


def rerank(query: str, *documents: str, options: dict[str, Any] | None = None, **fields: Any) -> Call:
    request = RerankRequest("r", query, list(documents), options or {})
    return Call(operation=Operation.RERANK, request=request, request_id=new_request_id(), **fields)


class Upstream:
    """Answers by content, after ``gate`` opens where there is one; ``refuse`` gives the error for a call, or None."""

    def __init__(self, refuse: Callable[[Call], AccelerateError | None] = lambda call: None) -> None:
        self.calls: list[Call] = []
        self.refuse = refuse
        self.gate: asyncio.Event | None = None
        self.running = 0
        self.cancelled = 0
        self.tokens: Callable[[list[Any]], int] = lambda items: 3 * len(items)

    @property
    def sizes(self) -> list[int]:
        return [len(self.items(call)) for call in self.calls]

    @staticmethod
    def items(call: Call) -> list[Any]:
        request = call.request
        found: list[Any] = request.documents if isinstance(request, RerankRequest) else request.input  # type: ignore[union-attr,assignment]
        return found

    async def __call__(self, call: Call) -> Reply:
        self.calls.append(call)
        self.running += 1
        try:
            if self.gate is not None:
                await self.gate.wait()
            await asyncio.sleep(0)
            error = self.refuse(call)
            if error is not None:
                raise error
            return self.answer(call)
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        finally:
            self.running -= 1

    def answer(self, call: Call) -> Reply:
        items = self.items(call)
        reply = Reply(id="up", model="answered", backend="b", usage=Usage(self.tokens(items), reported=True))
        request = call.request
        if call.operation is Operation.EMBED:
            reply.vectors = [vector_of(item) for item in items]
            reply.raw = {
                "data": [{"index": place, "embedding": vector_of(item)} for place, item in enumerate(items)],
                "usage": {"prompt_tokens": reply.usage.input_tokens, "total_tokens": reply.usage.input_tokens},
            }
        elif call.operation is Operation.CLASSIFY:
            reply.labels = [[Label(f"label of {item}", 0.9)] for item in items]
        elif call.operation is Operation.MODERATE:
            reply.moderations = [Moderation("bad" in item) for item in items]
        else:
            assert isinstance(request, RerankRequest)
            ranking = [Ranked(place, score_of(request.query, item)) for place, item in enumerate(items)]
            ranking.sort(key=lambda each: -each.score)
            reply.ranking = ranking[: request.options.get("top_n")]
        return reply


def batching(inner: Handler, *, wait: float = 0.02, **options: Any) -> BatchingPolicy:
    """A policy; ``options`` are of `Strategies`, and ``operations`` of `Batcher`."""
    clock = options.pop("clock", time.monotonic)
    given = {} if "operations" not in options else {"operations": options.pop("operations")}
    batcher = Batcher(Strategies(max_wait=wait, **options), clock=clock, **given)
    return BatchingPolicy(inner, batcher)


def strategy(**fields: Any) -> dict[str, BatchStrategy]:
    return {"*": BatchStrategy(**fields)}


def idle(policy: BatchingPolicy) -> bool:
    """Nothing waits, nothing is under way, no limit of time is noted."""
    batcher = policy.batcher
    return not batcher.groups and not batcher.tasks and not len(batcher.deadlines)
