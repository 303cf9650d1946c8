"""`hf_tei`: Text Embeddings Inference, on a server of one's own or hosted by Hugging Face."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Sequence
from typing import Any, ClassVar

from ipfs_accelerate_py.api_backends.base import ApiBackend
from ipfs_accelerate_py.api_backends.results import embedding_result, usage
from ipfs_accelerate_py.api_backends.tickets import HandlerResult
from ipfs_accelerate_py.api_backends.twins import awaitable, blocking
from ipfs_accelerate_py.api_backends.verbs import asked
from ipfs_accelerate_py.client import AsyncClient
from ipfs_accelerate_py.errors import ConfigurationError

__all__ = ["hf_tei"]

#: What a server takes in one request unless it is told otherwise (``--max-client-batch-size``).
BATCH_SIZE = 32


class hf_tei(ApiBackend):  # noqa: N801  # the older API's name
    """Text Embeddings Inference.

    ::

        api = hf_tei(metadata={"tei_url": "http://localhost:8080"})
        first, second = api.batch_embed("my-model", ["First sentence.", "Second sentence."])
        api.calculate_similarity(first, second)

    URL: ``tei_url`` in the metadata, or ``TEI_URL``; without one, Hugging Face's router is asked, which needs a key:
    ``hf_api_token`` (``hf_api_key``) in the metadata, or ``HF_API_TOKEN``, or ``HF_TOKEN``. A server of one's own has
    one model, and whatever a call names is that; the router takes the model by name, and ``TEI_MODEL`` where a call
    names none (an empty text).
    """

    _service: ClassVar[str] = "hf_tei"

    # --- vectors -------------------------------------------------------------------------------------------------

    async def _generate_embedding(self, client: AsyncClient, /, model: str, text: str, **options: Any) -> list[float]:
        """The embedding of one text, as a list of floats.

        Options: ``normalize`` (True unless it is set), ``truncate``, ``truncation_direction``, ``prompt_name``,
        ``dimensions``.
        """
        if not isinstance(text, str):
            raise ConfigurationError(f"generate_embedding takes one text, not {type(text).__name__}; see batch_embed")
        return (await client.embed(model, [text], **asked(options))).vectors[0]

    generate_embedding = blocking(_generate_embedding)
    agenerate_embedding = awaitable(_generate_embedding)

    async def _batch_embed(
        self, client: AsyncClient, /, model: str, texts: Sequence[str], batch_size: int = BATCH_SIZE, **options: Any
    ) -> list[list[float]]:
        """The embeddings of several texts, in order; of none, none.

        ``batch_size`` texts go in one request, and the requests side by side, as many as there are slots for. A server
        refuses more than it was started with, which is 32 unless its owner said otherwise.
        """
        if isinstance(texts, str):
            raise ConfigurationError("batch_embed takes a list of texts; see generate_embedding for one")
        if isinstance(batch_size, bool) or not isinstance(batch_size, int) or batch_size < 1:
            raise ConfigurationError(f"batch_size must be at least 1, not {batch_size!r}")
        options = asked(options)
        inputs = list(texts)
        # More of them in the queue than there are slots would only fill it.
        slots = asyncio.Semaphore(max(1, client.settings.max_concurrent_requests))

        async def embed(batch: list[str]) -> list[list[float]]:
            async with slots:
                return (await client.embed(model, batch, **options)).vectors

        try:
            async with asyncio.TaskGroup() as group:
                tasks = [
                    group.create_task(embed(inputs[start : start + batch_size]))
                    for start in range(0, len(inputs), batch_size)
                ]
        except BaseExceptionGroup as errors:
            raise errors.exceptions[0] from None
        return [vector for task in tasks for vector in task.result()]

    batch_embed = blocking(_batch_embed)
    abatch_embed = awaitable(_batch_embed)

    def calculate_similarity(self, a: Sequence[float], b: Sequence[float]) -> float:
        """The cosine of the angle between two vectors: 1 where they point the same way, 0 where one is all zeros."""
        first, second = _floats(a), _floats(b)
        if len(first) != len(second):
            raise ConfigurationError(
                f"vectors of {len(first)} and {len(second)} numbers cannot be compared: they are of different models"
            )
        lengths = math.hypot(*first) * math.hypot(*second)
        if not lengths:
            return 0.0
        cosine = math.fsum(x * y for x, y in zip(first, second, strict=True)) / lengths
        return max(-1.0, min(1.0, cosine))

    def normalize_embedding(self, embedding: Sequence[float]) -> list[float]:
        """The vector with a length of 1; one that is all zeros has no direction and stays as it is."""
        vector = _floats(embedding)
        length = math.hypot(*vector)
        return [number / length for number in vector] if length else vector

    # --- rankings ------------------------------------------------------------------------------------------------

    async def _rerank(
        self,
        client: AsyncClient,
        /,
        model: str,
        query: str,
        documents: Sequence[Any],
        top_n: int | None = None,
        **options: Any,
    ) -> dict[str, Any]:
        """``results``: documents by how well each answers ``query``, best first: ``index``, ``score``, ``document``.

        Options: ``raw_scores``, ``truncate``, ``truncation_direction``.
        """
        given = list(documents)
        reply = await client.rerank(model, query, given, **asked(options, top_n=top_n))
        return {
            "results": [
                {"index": each.index, "score": each.score, "document": given[each.index]} for each in reply.ranking
            ],
            "model": reply.model,
            "usage": usage(reply.usage),
            "request_id": reply.request_id,
            "attempts": reply.attempts,
            "raw": reply.raw,
        }

    rerank = blocking(_rerank)
    arerank = awaitable(_rerank)

    # --- handlers ------------------------------------------------------------------------------------------------

    async def _answer(
        self, client: AsyncClient, /, prompt: str | Sequence[str], model: str, **options: Any
    ) -> dict[str, Any]:
        single = isinstance(prompt, str)
        return embedding_result(await client.embed(model, prompt, **asked(options)), single=single)

    def create_remote_text_embedding_endpoint_handler(
        self, model: str = "", **options: Any
    ) -> Callable[..., HandlerResult]:
        """A handler: ``handler("Hello")["embedding"]``, or ``(await handler("Hello"))["embedding"]``.

        Of a list of texts, ``embeddings`` has a vector for each. There is no ``text``: nothing is written here.
        """
        return self._handler(type(self)._answer, model=model, **options)


def _floats(vector: Sequence[float]) -> list[float]:
    try:
        return [float(number) for number in vector]
    except (TypeError, ValueError):
        raise ConfigurationError(f"a vector must be a list of numbers, not {type(vector).__name__}") from None
