"""The semantic cache as a policy, with vectors made up for the purpose, and once with the real model."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from ipfs_accelerate_py.errors import ServerError
from ipfs_accelerate_py.pipeline.cache import DiskStore, MemoryStore, RedisStore, SemanticCache, SemanticCachePolicy
from ipfs_accelerate_py.pipeline.cache.meanings import ENTRY_OVERHEAD
from ipfs_accelerate_py.types import Call, ChatRequest, Chunk, Passthrough, Reply, Usage
from tests.pipeline.support import Backend, Clock, Source, settle, stream_reply
from tests.servers import RedisServer

pytest.importorskip("numpy")

from ipfs_accelerate_py.runtimes.vector_index import VectorIndex  # numpy first

QUESTION = "What is quantum computing?"
SAME = "Please explain quantum computing to me."
OTHER = "What is classical computing?"
NEAR = {QUESTION: [1.0, 0.0], SAME: [0.95, 0.31], OTHER: [0.97, 0.24], "What is bread?": [0.0, 1.0]}


class Embeddings:
    """Vectors by text; slow or failing where told so."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.error: Exception | None = None
        self.gate: asyncio.Event | None = None
        self.cancelled = 0

    async def __call__(self, text: str) -> Any:
        self.asked.append(text)
        try:
            if self.gate is not None:
                await self.gate.wait()
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        if self.error is not None:
            raise self.error
        return NEAR.get(text, [0.5, -0.5])


def policy(backend: Any = None, **options: Any) -> tuple[Embeddings, SemanticCachePolicy]:
    embed = Embeddings()
    backend = backend or Backend(*(answer(number) for number in range(50)))
    cache = SemanticCache(embed, VectorIndex(), **options)
    if cache.meanings.store is not None:
        cache.meanings.store.time_limit = 30.0  # no verdict here is about a store that is slow
    return embed, SemanticCachePolicy(backend, cache)


def answer(number: int) -> Reply:
    return Reply(
        backend="b", model="m", text=f"answer {number}", finish_reason="stop", usage=Usage(3, 4, reported=True)
    )


def ask(text: str, *, model: str = "m", system: str = "", **fields: Any) -> Call:
    messages = [{"role": "system", "content": system}] if system else []
    request = ChatRequest(model, [*messages, {"role": "user", "content": text}], fields.pop("options", {}))
    return Call(operation=request.operation, request=request, request_id="r", **fields)


async def told(asked: SemanticCachePolicy, text: str, **fields: Any) -> tuple[str, str]:
    reply = await asked(ask(text, **fields))
    return reply.text, reply.cache


async def test_the_same_question_in_other_words() -> None:
    embed, asked = policy()
    assert await told(asked, QUESTION) == ("answer 0", "")
    reply = await asked(ask(SAME))
    assert (reply.text, reply.cache, reply.usage, reply.attempts) == (
        "answer 0",
        "semantic",
        Usage(3, 4, reported=True),
        0,
    )
    assert reply.similarity == pytest.approx(0.95, abs=0.01)
    again = await asked(ask(SAME))  # these words are known by now, and need no embedding
    assert (again.cache, again.similarity) == ("semantic", reply.similarity)
    verbatim = await asked(ask(QUESTION))
    assert (verbatim.cache, verbatim.similarity) == ("semantic", 1.0)
    assert embed.asked == [QUESTION, SAME]
    found = asked.cache.snapshot()
    assert (found["hits"], found["misses"], found["hit_rate"], found["tokens_saved"]) == (3, 1, 0.75, 21)


async def test_near_is_not_the_same() -> None:
    _, asked = policy()
    await told(asked, QUESTION)
    assert await told(asked, OTHER) == ("answer 1", "")
    assert asked.cache.guarded == 1
    assert await told(asked, "What is bread?") == ("answer 2", "")
    assert asked.cache.guarded == 1  # that was not near


async def test_a_guard_of_ones_own_and_none() -> None:
    _, asked = policy(guard=None)
    await told(asked, QUESTION)
    assert await told(asked, OTHER) == ("answer 0", "semantic")
    seen: list[tuple[str, str]] = []

    def guard(one: str, other: str) -> bool:
        seen.append((one, other))
        return False

    _, asked = policy(guard=guard)
    await told(asked, QUESTION)
    await told(asked, SAME)
    assert seen == [(SAME, QUESTION)]


@pytest.mark.parametrize(("threshold", "hit"), [(0.94, True), (0.96, False)])
async def test_the_threshold(threshold: float, hit: bool) -> None:
    _, asked = policy(similarity_threshold=threshold)
    await told(asked, QUESTION)
    assert (await told(asked, SAME))[1] == ("semantic" if hit else "")


async def test_only_the_question_may_vary() -> None:
    _, asked = policy()
    await told(asked, QUESTION)
    for fields in (
        {"model": "n"},
        {"system": "s"},
        {"tenant": "t"},
        {"options": {"temperature": 1}},
        {"key_name": "k"},
    ):
        assert (await told(asked, SAME, **fields))[1] == "", fields
    assert (await told(asked, SAME))[1] == "semantic"


async def test_a_stream_and_a_whole_answer_are_one() -> None:
    chunks = [Chunk(text="streamed "), Chunk(text="answer"), Chunk(finish_reason="stop")]
    _, asked = policy(Backend(stream_reply(Source(chunks[1:]), chunks[0])))
    reply = await asked(ask(QUESTION, stream=True))
    assert reply.stream is not None
    assert len([chunk async for chunk in reply.stream]) == 3
    await settle()
    assert await told(asked, SAME) == ("streamed answer", "semantic")
    again = await asked(ask(SAME, stream=True))
    assert again.stream is not None
    assert "".join([chunk.text async for chunk in again.stream]) == "streamed answer"
    assert (again.cache, again.stream.usage) == ("semantic", Usage(3, 2, reported=True))


async def test_a_stream_that_is_left_is_not_kept() -> None:
    embed, asked = policy(Backend(stream_reply(Source([Chunk(text="b")]), Chunk(text="a")), answer(1)))
    reply = await asked(ask(QUESTION, stream=True))
    assert reply.stream is not None
    reply.stream.abort()
    assert await told(asked, SAME) == ("answer 1", "")
    assert embed.asked == [QUESTION, SAME]


async def test_what_is_not_good_is_not_kept() -> None:
    _, asked = policy(Backend(Reply(text="x", finish_reason="content_filter"), ServerError("down")))
    assert await told(asked, QUESTION) == ("x", "")
    with pytest.raises(ServerError):
        await asked(ask(SAME))
    assert (await told(asked, SAME))[1] == ""
    assert asked.cache.snapshot()["entries"] == 1


async def test_what_the_caller_says() -> None:
    _, asked = policy()
    assert await told(asked, QUESTION, cache="off") == ("answer 0", "")
    assert await told(asked, SAME) == ("answer 1", "")
    assert await told(asked, SAME, cache="refresh") == ("answer 2", "")
    assert await told(asked, SAME) == ("answer 2", "semantic")
    assert await told(asked, QUESTION) == ("answer 2", "semantic")
    _, asked = policy(opt_in=True)
    await told(asked, QUESTION)
    assert (await told(asked, QUESTION))[1] == ""
    await told(asked, QUESTION, cache="on")
    assert (await told(asked, SAME, cache="on"))[1] == "semantic"


# --- embeddings that fail or are slow -------------------------------------------------------------------------------


async def test_no_call_fails_for_its_embedding(caplog: pytest.LogCaptureFixture) -> None:
    embed, asked = policy()
    embed.error = RuntimeError("no model, and a secret")
    for number in range(3):
        assert await told(asked, QUESTION) == (f"answer {number}", "")
    assert asked.cache.snapshot()["embedding_errors"] == 3
    [record] = caplog.records
    assert "secret" not in record.getMessage()
    embed.error = None
    NEAR["broken"] = [1.0, 2.0, 3.0]
    await told(asked, QUESTION)
    assert (await told(asked, "broken"))[1] == ""  # a vector of another size
    assert (await told(asked, SAME))[1] == "semantic"


@pytest.mark.virtual_time
async def test_a_slow_embedding_delays_no_call_for_long_and_is_kept_when_it_comes() -> None:
    embed, asked = policy(embedding_timeout=0.01)
    embed.gate = asyncio.Event()
    assert await told(asked, QUESTION) == ("answer 0", "")
    assert asked.cache.snapshot()["entries"] == 0
    assert asked.cache.embedding_timeouts == 1
    embed.gate.set()
    await settle()
    assert asked.cache.snapshot()["entries"] == 1
    assert await told(asked, SAME) == ("answer 0", "semantic")


async def test_leaving_while_it_is_embedded_or_answered() -> None:
    embed, asked = policy()
    embed.gate = asyncio.Event()
    task = asyncio.create_task(asked(ask(QUESTION)))
    await settle()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await settle()
    assert embed.cancelled == 1
    started = asyncio.Event()

    async def never(call: Call) -> Reply:
        started.set()
        await asyncio.Event().wait()
        raise AssertionError

    _, asked = policy(never)
    task = asyncio.create_task(asked(ask(QUESTION)))
    await started.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert asked.cache.snapshot()["entries"] == 0


@pytest.mark.virtual_time
async def test_an_embedding_that_nobody_needs_any_more_is_given_up() -> None:
    embed, asked = policy(Backend(ServerError("down")), embedding_timeout=0.01)
    embed.gate = asyncio.Event()
    with pytest.raises(ServerError):
        await asked(ask(QUESTION))
    await settle()
    assert embed.cancelled == 1


# --- bounds --------------------------------------------------------------------------------------------------------


async def test_the_least_recently_used_give_way() -> None:
    _, asked = policy(cache_size=3)
    for name in ("a", "b", "c"):
        await told(asked, name)
    await told(asked, "a")
    await told(asked, "d")
    found = asked.cache.snapshot()
    assert (found["entries"], found["evictions"]) == (3, 1)
    assert [(await told(asked, name, cache=""))[1] for name in ("a", "c", "d")] == ["semantic"] * 3
    assert (await told(asked, "b"))[1] == ""


async def test_bytes_are_bounded_too() -> None:
    _, asked = policy(max_bytes=3 * (ENTRY_OVERHEAD + 400))
    for number in range(20):
        await told(asked, f"question {number}")
    found = asked.cache.snapshot()
    assert 2 <= found["entries"] <= 4
    assert found["bytes"] <= found["max_bytes"]


async def test_time_to_live() -> None:
    clock = Clock()
    _, asked = policy(ttl=60, clock=clock)
    await told(asked, QUESTION)
    clock.advance(59)
    assert (await told(asked, SAME))[1] == "semantic"
    clock.advance(2)
    assert (await told(asked, SAME))[1] == ""
    assert asked.cache.snapshot()["expired"] == 1


async def test_clearing() -> None:
    _, asked = policy()
    for tenant in ("a", "b"):
        for model in ("m", "n"):
            await told(asked, QUESTION, tenant=tenant, model=model)
    assert await asked.cache.clear(tenant="a", model="n") == 1
    assert await asked.cache.clear(model="m") == 2
    assert (await told(asked, SAME, tenant="b", model="n"))[1] == "semantic"
    assert await asked.cache.clear() == 1
    assert asked.cache.meanings._by_text == asked.cache.meanings._by_name == {}


# --- forwarded answers ---------------------------------------------------------------------------------------------


class Variants:
    """What the gateway gives beside a call."""

    def __init__(self, text: str, form: str | None) -> None:
        self.fingerprint = text.encode()
        self._text = text
        if form is not None:
            self.format = form

    def __call__(self, dialect: Any, operations: Any, model: str, stream_usage: bool) -> Any:
        return ChatRequest(model, [{"role": "user", "content": self._text}]), None


def forwarded(text: str, form: str | None) -> Call:
    call = ask("")
    call.request = ChatRequest("m", [])
    call.passthrough = Passthrough(form or "openai", text.encode())
    call.variants = Variants(text, form)
    return call


async def test_forwarded_answers_are_kept_apart_by_format() -> None:
    backend = Backend(*(Reply(verbatim=True, body=b'{"n":%d}' % number, model="m") for number in range(9)))
    _, asked = policy(backend)
    assert (await asked(forwarded(QUESTION, "openai"))).body == b'{"n":0}'
    again = await asked(forwarded(SAME, "openai"))
    assert (again.body, again.cache, again.verbatim) == (b'{"n":0}', "semantic", True)
    assert (await asked(forwarded(SAME, "anthropic"))).cache == ""
    assert (await asked(forwarded(OTHER, "openai"))).cache == ""
    assert (await asked(ask(SAME))).cache == ""
    _, asked = policy(Backend(Reply(verbatim=True, body=b"{}")))
    await asked(forwarded(QUESTION, None))
    assert (await asked(forwarded(SAME, None))).cache == ""  # in a format that nobody names


# --- stores --------------------------------------------------------------------------------------------------------

Made = Callable[[], Any]


@pytest.fixture(params=["disk", "redis"])
async def store(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Made]:
    made: list[Any] = []
    server: RedisServer | None = request.getfixturevalue("redis_server") if request.param == "redis" else None

    def make() -> Any:
        made.append(DiskStore(tmp_path / "c") if server is None else RedisStore(server.url, time_limit=20))
        return made[-1]

    yield make
    for each in made:
        await each.aclose()


async def test_entries_survive_in_a_store(store: Made) -> None:
    _, first = policy(store=store(), namespace="n", embedding_model="e")
    await told(first, QUESTION)
    await first.cache.aclose()
    embed, second = policy(Backend(), store=store(), namespace="n", embedding_model="e")
    assert await second.cache.meanings.load() == 1
    assert await told(second, SAME) == ("answer 0", "semantic")
    assert embed.asked == [SAME]
    for other in ({"namespace": "other"}, {"embedding_model": "other"}):
        _, third = policy(Backend(), store=store(), **{"namespace": "n", "embedding_model": "e", **other})
        assert await third.cache.meanings.load() == 0
    assert await second.cache.clear(model="m") == 1
    _, fourth = policy(Backend(), store=store(), namespace="n", embedding_model="e")
    assert await fourth.cache.meanings.load() == 0


async def test_what_others_keep_is_found_after_a_while(store: Made) -> None:
    clock = Clock()
    _, one = policy(store=store(), clock=clock)
    _, other = policy(store=store(), clock=clock)
    await told(one, "What is bread?")
    await told(other, QUESTION)
    await other.cache.meanings.store.flush()  # type: ignore[union-attr]
    clock.advance(31)
    await told(one, "What is bread?")  # while this is answered, the store is looked into
    assert one.cache.meanings._loading is not None
    await one.cache.meanings._loading
    assert (await told(one, SAME))[1] == "semantic"
    await one.cache.aclose()
    await other.cache.aclose()


async def test_a_store_that_fails_fails_no_call() -> None:
    class Broken(MemoryStore):
        async def names(self, pattern: Any) -> list[str]:
            raise OSError("broken")

        def put(self, name: str, value: bytes, ttl: float | None) -> bool:
            raise OSError("broken")

    _, asked = policy(store=Broken())
    await told(asked, QUESTION)
    assert (await told(asked, SAME))[1] == "semantic"
    assert asked.cache.snapshot()["store"]["errors"] >= 2
    await asked.cache.aclose()
