"""Embeddings are kept a text at a time."""

from __future__ import annotations

import asyncio
import struct
from typing import Any

import pytest

from ipfs_accelerate_py.errors import ServerError
from ipfs_accelerate_py.pipeline.cache import ExactCache, ExactCachePolicy
from ipfs_accelerate_py.pipeline.cache.vectors import shares
from ipfs_accelerate_py.types import Attempt, Call, EmbedRequest, Operation, Reply, Usage


class Embedder:
    """A vector for each text, and a token for each letter."""

    def __init__(self) -> None:
        self.asked: list[list[Any]] = []
        self.error: Exception | None = None

    async def __call__(self, call: Call) -> Reply:
        request = call.request
        assert isinstance(request, EmbedRequest)
        self.asked.append(list(request.input))
        call.attempts.append(Attempt(1, "k", 0.1))
        call.queued = 0.5
        if self.error is not None:
            raise self.error
        return Reply(
            backend="openai",
            model="e-1",
            vectors=[vector(text) for text in request.input],
            usage=Usage(sum(len(text) for text in request.input), reported=True),
            raw={"data": "all of it"},
        )


def vector(text: Any) -> list[float]:
    return [float(len(text)), 0.1, -1e-9, float(sum(map(hash, str(text))) % 97)]


def call_of(*texts: Any, **fields: Any) -> Call:
    options = fields.pop("options", {})
    return Call(operation=Operation.EMBED, request=EmbedRequest("e", list(texts), options), request_id="r", **fields)


def policy() -> tuple[Embedder, ExactCachePolicy]:
    embedder = Embedder()
    return embedder, ExactCachePolicy(embedder, ExactCache())


async def test_only_what_is_not_known_is_asked_for() -> None:
    embedder, asked = policy()
    texts = [f"text {number}" for number in range(10)]
    await asked(call_of(*texts[:7]))
    call = call_of(*texts)
    reply = await asked(call)
    assert embedder.asked[1] == texts[7:]
    assert reply.vectors == [vector(text) for text in texts]
    # What was spent is that of the three; the answer is one of the service's, and not one of the cache's.
    assert (reply.usage, reply.cache, reply.raw) == (Usage(18, reported=True), "", None)
    assert (len(call.attempts), call.queued) == (1, 0.5)
    found = asked.cache.snapshot()
    assert (found["hits"], found["misses"], found["tokens_saved"]) == (7, 10, 42)


async def test_what_is_known_is_not_asked_for_in_whatever_order() -> None:
    embedder, asked = policy()
    first = await asked(call_of("a", "bb", "ccc"))
    again = await asked(call_of("ccc", "a", "ccc", "bb"))
    assert again.vectors == [vector(text) for text in ("ccc", "a", "ccc", "bb")]
    assert (again.cache, again.backend, again.model, again.attempts) == ("exact", "openai", "e-1", 0)
    assert len(embedder.asked) == 1
    assert first.raw == {"data": "all of it"}
    again.vectors[0][0] = 99.0
    assert (await asked(call_of("ccc"))).vectors == [vector("ccc")]


async def test_a_text_that_occurs_twice_is_asked_for_once() -> None:
    embedder, asked = policy()
    reply = await asked(call_of("a", "bb", "a", "a"))
    assert embedder.asked == [["a", "bb"]]
    assert reply.vectors == [vector("a"), vector("bb"), vector("a"), vector("a")]


async def test_counts_are_honest() -> None:
    _, asked = policy()
    await asked(call_of("alone"))
    assert (await asked(call_of("alone"))).usage == Usage(5, reported=True)
    await asked(call_of("one", "three", "eleven"))
    shared = (await asked(call_of("one", "three", "eleven"))).usage
    # Together it is what they came to together, but how much of that was whose is our guess.
    assert (shared.input_tokens, shared.reported) == (14, False)


@pytest.mark.parametrize(("total", "weights"), [(0, [1, 2]), (10, [0, 0]), (7, [1, 1, 1]), (5, []), (3, [9, 0, 1])])
def test_shares_sum_to_the_whole(total: int, weights: list[int]) -> None:
    made = shares(total, weights)
    assert (len(made), sum(made) if made else total) == (len(weights), total)
    assert all(share >= 0 for share in made)


async def test_options_tenants_and_models_are_kept_apart() -> None:
    embedder, asked = policy()
    for call in (
        call_of("a"),
        call_of("a", tenant="t"),
        call_of("a", options={"dimensions": 2}),
        call_of("a", key_name="k"),
        call_of([97]),
        call_of("[97]"),
        call_of("a "),
    ):
        assert (await asked(call)).cache == ""
    assert len(embedder.asked) == 7


async def test_a_failure_keeps_nothing_and_takes_nothing_away() -> None:
    embedder, asked = policy()
    await asked(call_of("a"))
    embedder.error = ServerError("down")
    call = call_of("a", "b")
    with pytest.raises(ServerError):
        await asked(call)
    assert (len(call.attempts), call.queued) == (1, 0.5)
    assert (await asked(call_of("a"))).cache == "exact"
    embedder.error = None
    assert (await asked(call_of("b"))).cache == ""


async def test_refresh_asks_for_all_of_them_and_off_for_all_and_keeps_none() -> None:
    embedder, asked = policy()
    await asked(call_of("a"))
    await asked(call_of("a", "b", cache="off"))
    await asked(call_of("a", "b", cache="refresh"))
    assert embedder.asked[1:] == [["a", "b"], ["a", "b"]]
    assert (await asked(call_of("b"))).cache == "exact"


async def test_vectors_are_kept_exactly_in_the_least_room() -> None:
    single = [struct.unpack("f", struct.pack("f", value))[0] for value in (0.1, -0.7, 3e-5)]
    for values in (single, [0.1, -0.7, 1e-300]):

        async def backend(call: Call, values: list[float] = values) -> Reply:
            return Reply(vectors=[list(values) * 100])

        asked = ExactCachePolicy(backend, ExactCache())
        await asked(call_of("a"))
        assert (await asked(call_of("a"))).vectors == [values * 100]
        size = asked.cache.snapshot()["bytes"]
        assert 300 * (4 if values is single else 8) < size < 300 * (4 if values is single else 8) + 700


async def test_an_answer_with_the_wrong_number_of_vectors_is_not_kept() -> None:
    async def backend(call: Call) -> Reply:
        return Reply(vectors=[[1.0]])

    asked = ExactCachePolicy(backend, ExactCache())
    await asked(call_of("a", "b"))
    assert asked.cache.snapshot()["entries"] == 0


async def test_a_callers_own_format_is_put_around_what_is_kept() -> None:
    class Variants:
        fingerprint = b"body"

        def __call__(self, dialect: Any, operations: Any, model: str, stream_usage: bool) -> Any:
            assert (dialect, operations, model) == (None, None, "e")
            return EmbedRequest("e", ["a", "b"], {"encoding_format": "base64"}), None

    embedder, asked = policy()
    for expected in ("", "exact"):
        reply = await asked(call_of(variants=Variants()))
        assert (reply.cache, reply.vectors) == (expected, [vector("a"), vector("b")])
    assert embedder.asked == [["a", "b"]]


async def test_leaving_is_leaving() -> None:
    started = asyncio.Event()

    async def never(call: Call) -> Reply:
        started.set()
        await asyncio.Event().wait()
        raise AssertionError

    asked = ExactCachePolicy(never, ExactCache())
    task = asyncio.create_task(asked(call_of("a")))
    await started.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert asked.cache.snapshot()["entries"] == 0
