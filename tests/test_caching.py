"""Caches as users switch them on: clients of both kinds, routers, stores, real embeddings, forks."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ipfs_accelerate_py import AsyncClient, Client
from ipfs_accelerate_py.errors import ConfigurationError, RuntimeUnavailable, ServerError, StreamCut
from ipfs_accelerate_py.router.core import AsyncRouter
from ipfs_accelerate_py.router.targets import Target
from ipfs_accelerate_py.simulator import Fault, SimulatorThread
from tests.servers import RedisServer, redis_process, redis_server

__all__ = ["redis_process", "redis_server"]


@pytest.fixture(scope="module")
def service() -> Iterator[SimulatorThread]:
    with SimulatorThread("openai", tokens=12) as simulator:
        yield simulator


@pytest.fixture
def sim(service: SimulatorThread) -> Iterator[SimulatorThread]:
    yield service
    service.clear()


def client_of(sim: SimulatorThread, **options: Any) -> AsyncClient:
    return AsyncClient("openai", base_url=sim.url, api_key="k", **options)


async def test_a_client_that_caches(sim: SimulatorThread) -> None:
    async with client_of(sim) as client:
        assert client.cache_stats() == {}
        await client.enable_cache()
        before = len(sim.requests)
        first = await client.chat("m", "Hello", tags={"a": "b"})
        again = await client.chat("m", "Hello", priority="HIGH", request_id="mine")
        assert (again.text, again.cache, again.request_id, again.backend) == (first.text, "exact", "mine", "openai")
        assert again.raw == first.raw
        stream = client.stream("m", "Hello")
        assert "".join([chunk.text async for chunk in stream]) == first.text
        assert (stream.usage, stream.finish_reason) == (first.usage, first.finish_reason)
        assert len(sim.requests) == before + 1
        assert (await client.chat("m", "Hello", tenant="t")).cache == ""
        assert await client.clear_cache(tenant="t") == 1
        found = client.snapshot()["usage"]
        assert found["total_requests"] == 4
        assert found["total_tokens"] == 2 * first.usage.total_tokens  # what was saved was not spent
        await client.disable_cache()
        assert client.cache_stats() == {}
        assert (await client.chat("m", "Hello")).cache == ""


async def test_forwarding_of_a_fault_is_not_kept(sim: SimulatorThread) -> None:
    async with client_of(sim, max_retries=0) as client:
        await client.enable_cache()
        sim.script(Fault.cut(after=5))
        with pytest.raises(StreamCut):
            await client.stream("m", "Hello").collect()
        assert (await client.chat("m", "Hello")).cache == ""
        assert (await client.chat("m", "Hello")).cache == "exact"


async def test_a_hit_needs_neither_slot_nor_breaker(sim: SimulatorThread) -> None:
    async with client_of(sim, max_retries=0, circuit_failure_threshold=1, circuit_reset_timeout=1000) as client:
        await client.enable_cache()
        await client.chat("m", "Hello")
        sim.script(Fault.status(503))
        with pytest.raises(ServerError):
            await client.chat("m", "Other")
        assert client.circuit_state == "OPEN"
        assert (await client.chat("m", "Hello")).cache == "exact"


async def test_embeddings_a_text_at_a_time(sim: SimulatorThread) -> None:
    async with client_of(sim) as client:
        await client.enable_cache()
        both = await client.embed("e", ["a", "b"])
        more = await client.embed("e", ["b", "c", "a"])
        assert sim.requests[-1].body["input"] == ["c"]
        assert [more.vectors[0], more.vectors[2]] == [both.vectors[1], both.vectors[0]]


async def test_a_router_that_caches(sim: SimulatorThread) -> None:
    def router(model: str) -> AsyncRouter:
        return AsyncRouter({"smart": [Target("openai", model, base_url=sim.url, api_key="k")]})

    async with router("m") as one, router("n") as other:
        await one.enable_cache()
        first = await one.chat("smart", "Hello")
        again = await one.chat("smart", "Hello")
        assert (again.cache, again.target_model, again.text) == ("exact", "m", first.text)
        assert await one.clear_cache(model="smart") == 1
        # The same alias of another router means other models: in a store that they share they are kept apart.
        assert one._namespace(None) != other._namespace(None)
        assert one._namespace("mine") == other._namespace("mine")


async def test_two_services_that_share_a_store_are_never_mixed(sim: SimulatorThread, redis_server: RedisServer) -> None:
    url = redis_server.url
    with SimulatorThread("openai", tokens=5) as another:
        async with client_of(sim) as one, client_of(sim) as same, client_of(another) as other:
            for client in (one, same, other):
                await client.enable_cache("redis", url=url, time_limit=30)
            first = await one.chat("m", "Hello")
            await one.close_caches()
            assert (await same.chat("m", "Hello")).cache == "exact"
            mine = await other.chat("m", "Hello")
            assert (mine.cache, mine.text != first.text) == ("", True)
            await other.close_caches()
            assert await same.clear_cache() == 1
            assert (await other.chat("m", "Hello")).cache == "exact"
            redis_server.stop()
            assert (await one.chat("m", "Hello")).cache == ""
            assert one.cache_stats()["exact"]["errors"] >= 1


async def test_answers_on_disk(sim: SimulatorThread, tmp_path: Path) -> None:
    for expected in ("", "exact"):
        async with client_of(sim) as client:
            await client.enable_cache("disk", path=tmp_path / "answers", time_limit=30)
            assert (await client.chat("m", "Hello")).cache == expected
            await client.aclose()
            assert (await client.chat("m", "Hello")).cache == "exact"  # a client may be used after it was closed


WRONG: list[tuple[dict[str, Any], str]] = [
    ({"store": "disc"}, "store must be"),
    ({"store": "disk"}, "needs a path"),
    ({"store": "redis"}, "a url"),
    ({"path": "x"}, "no other takes"),
    ({"store": 5}, "CacheStore"),
    ({"ttl": 0}, "ttl"),
    ({"ttl": "an hour"}, "ttl"),
    ({"max_bytes": -1}, "max_bytes"),
    ({"max_entry_bytes": 0.5}, "max_entry_bytes"),
    ({"only_deterministic": "yes"}, "only_deterministic"),
    ({"namespace": 7}, "namespace"),
    ({"time_limit": None}, "time_limit"),
]


@pytest.mark.parametrize(("options", "why"), WRONG)
async def test_what_is_set_wrong_is_told_and_changes_nothing(
    sim: SimulatorThread, options: dict[str, Any], why: str
) -> None:
    async with client_of(sim) as client:
        await client.enable_cache()
        await client.chat("m", "Hello")
        with pytest.raises(ConfigurationError, match=why):
            await client.enable_cache(**options)
        assert (await client.chat("m", "Hello")).cache == "exact"


WRONG_SEMANTIC: list[tuple[dict[str, Any], str]] = [
    ({"similarity_threshold": 1.1}, "similarity_threshold"),
    ({"similarity_threshold": None}, "similarity_threshold"),
    ({"cache_size": 0}, "cache_size"),
    ({"ttl": -1}, "ttl"),
    ({"guard": "strict"}, "guard"),
    ({"embed": 5}, "embed"),
    ({"embedding_model": ""}, "embedding_model"),
    ({"store": "disk"}, "path"),
    ({"multi_turn": 1}, "multi_turn"),
]


@pytest.mark.parametrize(("options", "why"), WRONG_SEMANTIC)
async def test_what_is_set_wrong_of_the_semantic_cache(sim: SimulatorThread, options: dict[str, Any], why: str) -> None:
    async with client_of(sim) as client:
        with pytest.raises(ConfigurationError, match=why):
            await client.enable_semantic_cache(**{"embed": lambda text: [1.0], **options})
        assert client.cache_stats() == {}


async def test_a_model_that_is_not_here(sim: SimulatorThread) -> None:
    pytest.importorskip("torch")
    async with client_of(sim) as client:
        with pytest.raises(RuntimeUnavailable, match=r"embedding model.*no-such-model"):
            await client.enable_semantic_cache(embedding_model="no-such-model")


async def test_embeddings_from_a_function_or_a_client(sim: SimulatorThread) -> None:
    pytest.importorskip("numpy")

    async def embed(text: str) -> list[float]:
        return [1.0, 0.5]

    with Client("openai", base_url=sim.url, api_key="k") as ordinary:
        async with client_of(sim) as client, client_of(sim) as asynchronous:
            for options in (
                {"embed": embed},
                {"embed": lambda text: [1.0, 0.5]},
                {"embed": asynchronous, "embedding_model": "text-embedding-3-small"},
                {"embed": ordinary, "embedding_model": "text-embedding-3-small"},
            ):
                await client.enable_semantic_cache(**options, similarity_threshold=0.01)
                assert (await client.chat("m", "What is bread?")).cache == ""
                again = await client.chat("m", "Please explain bread")
                assert again.cache in ("semantic", "")  # the simulator's vectors mean nothing
                assert (await client.chat("m", "What is bread?")).cache == "semantic"
                assert client.cache_stats()["semantic"]["embedding_errors"] == 0
                await client.disable_semantic_cache()
            with pytest.raises(ConfigurationError, match="embedding_model"):
                await client.enable_semantic_cache(embed=asynchronous)


async def test_both_caches_and_the_real_model(sim: SimulatorThread) -> None:
    pytest.importorskip("torch")
    async with client_of(sim) as client:
        await client.enable_cache()
        await client.enable_semantic_cache()
        question = "What is quantum computing?"
        before = len(sim.requests)
        assert (await client.chat("m", question)).cache == ""
        assert (await client.chat("m", question)).cache == "exact"  # it stands before the other
        near = await client.chat("m", "Explain quantum computing")
        assert near.cache == "semantic"
        assert near.similarity is not None
        assert 0.85 < near.similarity < 1
        assert (await client.chat("m", "Explain classical computing")).cache == ""
        stats = client.cache_stats()
        assert (stats["exact"]["hits"], stats["semantic"]["hits"], len(sim.requests) - before) == (1, 1, 2)
        await client.disable_semantic_cache()


def test_an_ordinary_client_that_caches(sim: SimulatorThread) -> None:
    with Client("openai", base_url=sim.url, api_key="k") as client:
        client.enable_cache()
        first = client.chat("m", "Hello")
        assert client.chat("m", "Hello").cache == "exact"
        assert "".join(chunk.text for chunk in client.stream("m", "Hello")) == first.text
        assert client.cache_stats()["exact"]["hits"] == 2
        assert client.clear_cache(model="m") == 1
        assert client.chat("m", "Hello").cache == ""
        client.disable_cache()


@pytest.mark.parametrize("store", ["memory", "disk"])
def test_a_forked_child_goes_on_with_the_cache(sim: SimulatorThread, tmp_path: Path, store: str) -> None:
    with Client("openai", base_url=sim.url, api_key="k") as client:
        client.enable_cache(store, path=tmp_path / "c" if store == "disk" else None, time_limit=30)
        client.chat("m", "Hello")
        client.close_caches()
        client.chat("m", "Hello")
        child = os.fork()
        if child == 0:
            try:
                here = client.chat("m", "Hello").cache == "exact" and client.chat("m", "Child").cache == ""
                kept = client.chat("m", "Child").cache == "exact"
                client.close()
                os._exit(0 if here and kept else 1)
            except BaseException:
                os._exit(2)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        assert client.chat("m", "Hello").cache == "exact"
        # What the child kept on disk is for its parent too.
        assert client.chat("m", "Child").cache == ("exact" if store == "disk" else "")
