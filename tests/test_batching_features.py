"""Batching switched on in real clients, in front of simulated services."""

from __future__ import annotations

import asyncio
import os
import threading
import time
import warnings
from concurrent.futures import ThreadPoolExecutor

import pytest

from ipfs_accelerate_py import AsyncClient, AsyncRouter, Client
from ipfs_accelerate_py.errors import AccelerateError, ConfigurationError, InvalidRequest
from ipfs_accelerate_py.pipeline.batching import BatchStrategy
from ipfs_accelerate_py.router.targets import Target
from ipfs_accelerate_py.simulator import Fault, Simulator, SimulatorThread
from tests.upstreams import QUICK, nothing_held


async def test_many_callers_one_request_and_the_same_vectors() -> None:
    with SimulatorThread("openai") as sim:
        async with AsyncClient("openai", base_url=sim.url, api_key="sk", **QUICK) as client:
            texts = [f"text {n}" for n in range(30)]
            alone = [(await client.embed("text-embedding-3-small", text)).vectors for text in texts]
            used = client.snapshot()["usage"]["total_tokens"]
            before = len(sim.requests)
            client.enable_batching()
            client.reset_usage()
            replies = await asyncio.gather(*(client.embed("text-embedding-3-small", text) for text in texts))
            assert [reply.vectors for reply in replies] == alone
            assert len(sim.requests) == before + 1
            assert client.batching_stats()["batched_requests"] == 30
            assert client.snapshot()["usage"]["total_tokens"] == used
            assert client.snapshot()["usage"]["successful_requests"] == 30
            assert len({reply.request_id for reply in replies}) == 30
            assert {reply.key_name for reply in replies} == {"explicit"}
            await nothing_held(client)
            client.disable_batching()
            await asyncio.gather(*(client.embed("text-embedding-3-small", text) for text in texts[:3]))
            assert len(sim.requests) == before + 4
            assert client.batching_stats()["batches"] == 1


async def test_a_failure_is_retried_once_for_all() -> None:
    with SimulatorThread("openai") as sim:
        async with AsyncClient("openai", base_url=sim.url, api_key="sk", **QUICK) as client:
            client.enable_batching()
            sim.script(Fault.status(503))
            replies = await asyncio.gather(*(client.embed("m", f"t{n}") for n in range(10)))
            assert len(sim.requests) == 2
            assert {reply.attempts for reply in replies} == {2}
            assert client.snapshot()["usage"]["retries"] == 1


async def test_one_bad_input_of_many_callers() -> None:
    with SimulatorThread("openai") as sim:
        async with AsyncClient("openai", base_url=sim.url, api_key="sk", **QUICK) as client:
            client.enable_batching()
            texts = [f"t{n}" for n in range(20)]
            texts[7] = ""  # OpenAI refuses an empty text
            replies = await asyncio.gather(*(client.embed("m", text) for text in texts), return_exceptions=True)
            assert [place for place, reply in enumerate(replies) if isinstance(reply, InvalidRequest)] == [7]
            assert len(sim.requests) <= 11
            assert client.batching_stats()["refused_batches"] >= 1


async def test_more_inputs_than_the_service_takes() -> None:
    with SimulatorThread("openai", dimensions=4) as sim:
        async with AsyncClient("openai", base_url=sim.url, api_key="sk", **QUICK) as client:
            texts = [f"t{n}" for n in range(5000)]
            with pytest.raises(InvalidRequest, match="2048"):
                await client.embed("m", texts)
            client.enable_batching()
            before = len(sim.requests)
            reply = await client.embed("m", texts)
            assert len(reply.vectors) == 5000
            assert reply.vectors[4999] == (await client.embed("m", "t4999")).vectors[0]
            assert [request.status for request in sim.requests[before:]] == [200] * 4
            counted = [(request.usage or {})["prompt_tokens"] for request in sim.requests[before : before + 3]]
            assert reply.usage.input_tokens == sum(counted)


async def test_text_embeddings_inference_is_asked_what_it_takes() -> None:
    with SimulatorThread("tei") as sim:
        async with AsyncClient("hf_tei", base_url=sim.url, **QUICK) as client:
            client.enable_batching(max_batch_size=500)
            documents = [f"document {n}" for n in range(80)]
            takes = (await client.request("/info", method="GET")).raw["max_client_batch_size"]
            reply = await client.rerank("m", "which?", documents)
            assert sorted(each.index for each in reply.ranking) == list(range(80))
            scores = [each.score for each in reply.ranking]
            assert scores == sorted(scores, reverse=True)
            sizes = [len(request.body["texts"]) for request in sim.requests if request.path == "/rerank"]
            assert sum(sizes) == 80
            assert max(sizes) == takes
            before = len(sim.requests)
            many = await asyncio.gather(*(client.rerank("m", "which?", [f"document {n}"]) for n in range(10)))
            assert len(sim.requests) == before + 1
            by_place = {each.index: each.score for each in reply.ranking}
            assert [each.ranking[0].score for each in many] == [by_place[n] for n in range(10)]


async def test_a_service_that_does_not_say_is_asked_once() -> None:
    with SimulatorThread("tei") as sim:
        sim.always(Fault.status(404), when=lambda request: request.path == "/info")
        async with AsyncClient("hf_tei", base_url=sim.url, **QUICK) as client:
            client.enable_batching()
            for _ in range(3):
                await client.embed("m", "x")
            assert sum(request.path == "/info" for request in sim.requests) == 1


@pytest.mark.virtual_time
async def test_a_caller_that_leaves() -> None:
    async with Simulator("openai") as sim:
        sim.always(Fault.latency(0.1))
        async with AsyncClient("openai", base_url=sim.url, api_key="sk", **QUICK) as client:
            client.enable_batching()
            tasks = [asyncio.create_task(client.embed("m", f"t{n}")) for n in range(5)]
            await asyncio.sleep(0.02)
            tasks[2].cancel()
            replies = await asyncio.gather(*tasks, return_exceptions=True)
            assert [isinstance(reply, asyncio.CancelledError) for reply in replies].count(True) == 1
            tasks = [asyncio.create_task(client.embed("m", f"t{n}")) for n in range(5)]
            await asyncio.sleep(0.02)
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            await nothing_held(client)


def test_threads() -> None:
    with SimulatorThread("openai") as sim, Client("openai", base_url=sim.url, api_key="sk", **QUICK) as client:
        sim.always(Fault.latency(0.05))
        client.enable_batching(max_batch_size=20, batch_timeout=0.5)
        start = threading.Barrier(16)

        def ask(number: int) -> int:
            start.wait()
            reply = client.embed("m", [f"a{number}"] * (number % 3 + 1))
            return len(reply.vectors)

        with ThreadPoolExecutor(16) as pool:
            assert list(pool.map(ask, range(16))) == [n % 3 + 1 for n in range(16)]
        stats = client.batching_stats()
        assert stats["batched_requests"] + stats["alone"] == 16
        assert len(sim.requests) < 8


async def test_wrong_use() -> None:
    async with AsyncClient("openai", base_url="http://127.0.0.1:9/v1", api_key="sk") as client:
        with pytest.raises(ConfigurationError, match="chat"):
            client.enable_batching(operations=["chat"])
        with pytest.raises(ConfigurationError, match="max_items"):
            client.enable_batching(0)
        with pytest.raises(ConfigurationError, match="max_wait"):
            client.enable_batching(batch_timeout=-1)
        assert client.batching_stats()["batches"] == 0
        client.enable_batching(strategies={"*": BatchStrategy(2)})
        client.max_retries = 0
        with pytest.raises(AccelerateError):
            await client.embed("m", ["a", "b", "c"])


async def test_in_front_of_a_router() -> None:
    with SimulatorThread("openai", dimensions=4) as down, SimulatorThread("openai", dimensions=4) as up:
        down.always(Fault.status(503))
        targets = [
            Target("openai", "text-embedding-3-small", base_url=sim.url, api_key="k", **QUICK) for sim in (down, up)
        ]
        async with AsyncRouter({"vectors": targets, "other": targets[1:]}) as router:
            router.enable_batching()
            replies = await asyncio.gather(*(router.embed("vectors", f"t{n}") for n in range(20)))
            assert len(up.requests) == 1
            assert [reply.vectors for reply in replies] == [
                (await router.embed("other", f"t{n}")).vectors for n in range(20)
            ]
            assert {reply.target_model for reply in replies} == {"text-embedding-3-small"}
            assert router.batching_stats()["batched_requests"] == 20
            job = await router.batch([{"model": "vectors", "input": f"t{n}"} for n in range(5)])
            assert job.via == "calls"
            results = [result async for result in job.results()]
            assert [result.reply.vectors for result in results if result.reply] == [
                reply.vectors for reply in replies[:5]
            ]
            await job.aclose()


def test_a_forked_child_begins_with_batches_of_its_own() -> None:
    with SimulatorThread("openai") as sim, Client("openai", base_url=sim.url, api_key="sk", **QUICK) as client:
        client.enable_batching()
        sim.always(Fault.latency(0.3))
        with ThreadPoolExecutor(4) as pool:
            waiting = [pool.submit(client.embed, "m", f"parent {n}") for n in range(4)]
            while not sim.requests:
                time.sleep(0.005)
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", DeprecationWarning)  # that there are threads is the point
                child = os.fork()
            if not child:
                code = 1
                try:
                    code = 0 if len(client.embed("m", "child").vectors) == 1 else 2
                finally:
                    os._exit(code)
            assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
            assert all(len(each.result().vectors) == 1 for each in waiting)
        sent = [text for request in sim.requests for text in request.body["input"]]
        assert sorted(sent) == ["child", *(f"parent {n}" for n in range(4))]
