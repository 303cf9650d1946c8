"""The semantic cache: the same question in other words is answered with what was answered before.

Two things must agree: the embeddings (a cosine of at least ``similarity_threshold``), and the guard, which looks at the
words (see ``wording``: no threshold tells a changed number, name or negation).
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from typing import Any, TypeAlias

from ipfs_accelerate_py.pipeline.cache import answers
from ipfs_accelerate_py.pipeline.cache.guarded_store import GuardedStore
from ipfs_accelerate_py.pipeline.cache.meanings import Index, Meaning, Meanings
from ipfs_accelerate_py.pipeline.cache.question import Question, question_of
from ipfs_accelerate_py.pipeline.cache.stats import CacheStats
from ipfs_accelerate_py.pipeline.cache.stores import CacheStore
from ipfs_accelerate_py.pipeline.cache.wording import same_question
from ipfs_accelerate_py.records import Pricer
from ipfs_accelerate_py.stream import Stream
from ipfs_accelerate_py.types import Call, Handler, Operation, Reply

__all__ = ["Embed", "SemanticCache", "SemanticCachePolicy"]

logger = logging.getLogger(__name__)

Embed: TypeAlias = Callable[[str], Awaitable[Any]]
"""The embedding of a text: anything that numpy makes a row of numbers of."""

_KEPT = frozenset((Operation.CHAT, Operation.COMPLETION, Operation.RESPONSE))


class SemanticCache:
    """What the policy keeps across its being made anew.

    Args:
        embed: makes embeddings.
        index: finds those that are near (`runtimes.VectorIndex`).
        similarity_threshold: least cosine of a hit.
        cache_size: most entries; the least recently used give way.
        max_bytes: most memory of answers and vectors.
        ttl: seconds an answer is kept at most; None: until there is no room.
        multi_turn: look at questions in the midst of a conversation too; what was said before must be the same.
        guard: whether two questions differ in nothing but their wording; None trusts the embeddings alone.
        opt_in: leave alone every call that does not say ``cache="on"`` (or "refresh").
        embedding_timeout: seconds that a call waits for its embedding; then it is made, and kept all the same when the
            embedding comes.
        most_characters: longer questions are left alone (embeddings of long texts are of their beginnings).
        store: keeps entries beyond this process, or shares them; None: memory alone.
        namespace: keeps apart who shares a store.
        embedding_model: vectors of two models must not meet in a store.
    """

    def __init__(
        self,
        embed: Embed,
        index: Index,
        *,
        similarity_threshold: float = 0.9,
        cache_size: int = 1000,
        max_bytes: int = 256 << 20,
        ttl: float | None = 3600.0,
        multi_turn: bool = False,
        guard: Callable[[str, str], bool] | None = same_question,
        opt_in: bool = False,
        embedding_timeout: float = 0.5,
        most_characters: int = 1000,
        max_entry_bytes: int = 8 << 20,
        store: CacheStore | None = None,
        namespace: str = "",
        embedding_model: str = "",
        pricer: Callable[[], Pricer | None] = lambda: None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.embed = embed
        self.similarity_threshold = similarity_threshold
        self.multi_turn = multi_turn
        self.guard = guard
        self.opt_in = opt_in
        self.embedding_timeout = embedding_timeout
        self.most_characters = most_characters
        self.max_entry_bytes = max_entry_bytes
        self.stats = CacheStats(pricer)
        self.meanings = Meanings(
            index,
            cache_size=cache_size,
            max_bytes=max_bytes,
            ttl=ttl,
            store=None if store is None else GuardedStore(store),
            scope=f"{namespace}|semantic|{embedding_model}",
            clock=clock,
        )
        #: Candidates that were near enough and that the guard turned away.
        self.guarded = 0
        self.embedding_errors = 0
        self.embedding_timeouts = 0
        self._told = False

    def question(self, call: Call) -> Question | None:
        """The question of a call that is looked up and kept, or None."""
        wish = call.cache
        if wish == "off" or (wish == "" and self.opt_in) or call.operation not in _KEPT:
            return None
        return question_of(call, multi_turn=self.multi_turn, most=self.most_characters)

    def find(self, call: Call, question: Question, vector: Any) -> Reply | None:
        """The answer to a question that is near enough and the same but for its wording."""
        for meaning, similarity in self.meanings.near(question.partition, vector, self.similarity_threshold):
            if self.guard is not None and not self.guard(question.text, meaning.text):
                self.guarded += 1
                continue
            reply = self.given(call, question, meaning, similarity)
            if reply is not None:
                return reply
        return None

    def same(self, call: Call, question: Question) -> Reply | None:
        """The answer to the very same question, for which no embedding is needed."""
        found = self.meanings.same(question.partition, question.text)
        return None if found is None else self.given(call, question, *found)

    def given(self, call: Call, question: Question, meaning: Meaning, similarity: float) -> Reply | None:
        reply = answers.unpack(call, meaning.data)
        if reply is None:
            return None
        self.meanings.used(meaning, question.text, similarity)
        reply.cache = "semantic"
        reply.similarity = min(1.0, similarity)
        self.stats.hit(call, reply, reply.usage if reply.stream is None else reply.stream.usage)
        return reply

    def keep(self, call: Call, question: Question, reply: Reply, embedding: asyncio.Future[Any]) -> None:
        """Keep an answer, when it and its question's embedding are there, and if it is good."""
        if reply.cache or (reply.verbatim and question.format is None):
            embedding.cancel()
            return
        stream = reply.stream
        if stream is None:
            self._put(call, question, answers.pack(reply) if answers.complete(call, reply) else None, embedding)
            return
        recorder = answers.Recorder(call, reply, self.max_entry_bytes)
        stream.tap(recorder)

        def done(stream: Stream, error: BaseException | None) -> None:
            self._put(call, question, recorder.packed(stream) if error is None else None, embedding)

        stream.add_done_callback(done)

    def _put(self, call: Call, question: Question, data: bytes | None, embedding: asyncio.Future[Any]) -> None:
        if data is None or len(data) > self.max_entry_bytes:
            self.stats.not_kept += 1
            embedding.cancel()
            return
        if embedding.done():
            self._put_now(call, question, data, embedding)
        else:
            embedding.add_done_callback(lambda found: self._put_now(call, question, data, found))

    def _put_now(self, call: Call, question: Question, data: bytes, embedding: asyncio.Future[Any]) -> None:
        if embedding.cancelled() or embedding.exception() is not None:
            self.stats.not_kept += 1  # its failure is counted where it was waited for
            return
        try:
            model = call.alias or call.request.model
            kept = self.meanings.add(
                question.partition, question.text, embedding.result(), data, tenant=call.tenant, model=model
            )
        except Exception as error:  # a vector of another size, say: the call is none the worse for it
            self.failed(error)
            kept = False
        if kept:
            self.stats.kept += 1
        else:
            self.stats.not_kept += 1

    def failed(self, error: BaseException) -> None:
        """An embedding was not to be had: counted, and told of once."""
        self.embedding_errors += 1
        if not self._told:
            self._told = True
            logger.warning("the semantic cache has no embeddings (%s): calls are made without it", type(error).__name__)

    def worked(self) -> None:
        self._told = False

    async def clear(self, *, tenant: str | None = None, model: str | None = None) -> int:
        """Throw away answers: all of them, or a tenant's, or a model's; gives how many."""
        return await self.meanings.clear(tenant, model)

    def snapshot(self) -> dict[str, Any]:
        return {
            **self.stats.snapshot(),
            "guarded": self.guarded,
            "embedding_errors": self.embedding_errors,
            "embedding_timeouts": self.embedding_timeouts,
            **self.meanings.snapshot(),
        }

    async def aclose(self) -> None:
        await self.meanings.aclose()


class SemanticCachePolicy:
    """Embeds the question, looks, and only then asks: a call that is not needed is not begun."""

    def __init__(self, inner: Handler, cache: SemanticCache) -> None:
        self._inner = inner
        self.cache = cache

    async def __call__(self, call: Call) -> Reply:
        cache = self.cache
        question = cache.question(call)
        if question is None:
            cache.stats.bypassed += 1
            return await self._inner(call)
        cache.meanings.refresh()
        if call.cache != "refresh":
            reply = cache.same(call, question)
            if reply is not None:
                return reply
        embedding: asyncio.Future[Any] = asyncio.ensure_future(cache.embed(question.text))
        try:
            vector = await self._awaited(embedding)
            if vector is not None and call.cache != "refresh":
                reply = self._found(call, question, vector)
                if reply is not None:
                    return reply
            cache.stats.misses += 1
            reply = await self._inner(call)
        except BaseException:
            _let_go(embedding)
            raise
        cache.keep(call, question, reply, embedding)
        _let_go(embedding, cancel=False)
        return reply

    def _found(self, call: Call, question: Question, vector: Any) -> Reply | None:
        try:
            return self.cache.find(call, question, vector)
        except Exception as error:  # an embedding that is none
            self.cache.failed(error)
            return None

    async def _awaited(self, embedding: asyncio.Future[Any]) -> Any:
        """The embedding, or None where it fails or takes too long."""
        cache = self.cache
        await asyncio.wait((embedding,), timeout=cache.embedding_timeout)
        if not embedding.done():
            cache.embedding_timeouts += 1
            return None
        error = embedding.exception() if not embedding.cancelled() else asyncio.CancelledError()
        if error is not None:
            cache.failed(error)
            return None
        cache.worked()
        return embedding.result()


def _let_go(embedding: asyncio.Future[Any], *, cancel: bool = True) -> None:
    """Nobody waits for it any more; its error, if it has one, has been seen or is of no interest."""
    if cancel and not embedding.done():
        embedding.cancel()
    embedding.add_done_callback(lambda found: found.cancelled() or found.exception())
