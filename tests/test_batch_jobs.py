"""Batch jobs through providers' batch APIs: handed in once, waited for, answered in order."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from ipfs_accelerate_py import AsyncClient, Client
from ipfs_accelerate_py.batch_jobs.job import BatchCounts, BatchJob, BatchResult
from ipfs_accelerate_py.dialects.anthropic.batches import AnthropicBatches
from ipfs_accelerate_py.dialects.openai.batches import OpenAIBatches
from ipfs_accelerate_py.errors import (
    BackendError,
    ConfigurationError,
    InvalidRequest,
    ReadTimeout,
    ServerError,
    UnsupportedOperation,
)
from ipfs_accelerate_py.records import CallRecord
from ipfs_accelerate_py.simulator import Fault, SimulatorThread
from tests.upstreams import QUICK, nothing_held


async def at_once(seconds: float) -> None:
    """No wait between looks."""


def client_of(sim: SimulatorThread, backend: str = "openai", **settings: Any) -> AsyncClient:
    client = AsyncClient(backend, base_url=sim.url, **{"api_key": "sk", **QUICK, **settings})
    client._batch_sleep = at_once
    return client


def questions(count: int, model: str = "gpt-4o") -> list[dict[str, Any]]:
    return [
        {"model": model, "messages": f"question {number}", "custom_id": f"q{number}", "max_tokens": 12}
        for number in range(count)
    ]


async def collected(job: BatchJob) -> list[BatchResult]:
    return [result async for result in job.results()]


def posted(sim: SimulatorThread, path: str) -> int:
    return sum(request.method == "POST" and request.path.endswith(path) for request in sim.requests)


# --- OpenAI --------------------------------------------------------------------------------------------------------


async def test_answers_in_order_and_errors_by_request() -> None:
    with SimulatorThread("openai") as sim:
        async with client_of(sim) as client:
            requests = questions(9)
            requests[4]["temperature"] = "hot"
            job = await client.batch(requests)
            assert (job.via, job.status, job.counts) == ("provider", "validating", BatchCounts(9, 0, 0))
            seen: list[BatchCounts] = []
            assert await job.wait(progress=seen.append) == BatchCounts(9, 8, 1)
            assert [counts.left for counts in seen] == sorted((counts.left for counts in seen), reverse=True)
            assert len(seen) == 2
            results = await collected(job)
            assert [(result.index, result.custom_id) for result in results] == [(n, f"q{n}") for n in range(9)]
            wrong = results[4].error
            assert isinstance(wrong, InvalidRequest)
            assert (wrong.status, wrong.param) == (400, "temperature")
            for number, result in enumerate(results):
                if number != 4:
                    alone = await client.chat("gpt-4o", f"question {number}", max_tokens=12)
                    assert result.reply is not None
                    assert result.reply.text == alone.text
                    assert result.reply.usage.tier == "batch"
                    assert result.reply.usage.output_tokens == alone.usage.output_tokens
                    assert (result.reply.backend, result.reply.request_id) == ("openai", f"{job.id}-{number}")
            assert [each.reply for each in await collected(job)] == [each.reply for each in results]  # and again
            await job.aclose()
            await nothing_held(client)
        assert (posted(sim, "/files"), posted(sim, "/batches")) == (1, 1)


async def test_every_kind_of_request_in_its_own_job() -> None:
    with SimulatorThread("openai", dimensions=4) as sim:
        async with client_of(sim) as client:
            requests: list[Any] = [
                {"model": "gpt-4o", "messages": [{"role": "user", "content": "a"}]},
                {"model": "text-embedding-3-small", "input": ["x", "y"]},
                {"model": "gpt-4o-mini", "messages": "b", "system": "Be brief."},
                {"model": "gpt-4o", "input": "c", "operation": "response"},
                {"model": "davinci", "prompt": "d"},
                {"model": "omni-moderation-latest", "input": "e", "operation": "moderate"},
                {"url": "/v1/chat/completions", "method": "POST", "custom_id": "own",
                 "body": {"model": "gpt-4o", "messages": [{"role": "user", "content": "f"}]}},
                {"model": "text-embedding-3-small", "input": "z"},
            ]  # fmt: skip
            job = await client.batch(requests)
            assert len(job.provider_ids) == 6  # by endpoint and model
            results = await collected(job)
            replies = [result.reply for result in results]
            assert [bool(reply and reply.text) for reply in replies] == [
                True,
                False,
                True,
                True,
                True,
                False,
                True,
                False,
            ]
            assert [len(reply.vectors) for reply in replies if reply and reply.vectors] == [2, 1]
            assert replies[1] is not None
            assert replies[1].vectors == (await client.embed("text-embedding-3-small", ["x", "y"])).vectors
            assert replies[5] is not None
            assert len(replies[5].moderations) == 1
            assert results[6].custom_id == "own"
            await job.aclose()


async def test_more_than_the_provider_takes_is_several_jobs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(OpenAIBatches, "most_requests", 4)
    monkeypatch.setattr(OpenAIBatches, "most_inputs", 5)
    with SimulatorThread("openai", dimensions=4) as sim:
        async with client_of(sim) as client:
            job = await client.batch(questions(10) + [{"model": "e", "input": ["a", "b", "c"]}] * 2)
            assert len(job.provider_ids) == 5
            assert [result.index for result in await collected(job) if result.reply] == list(range(12))
            assert job.counts == BatchCounts(12, 12, 0)
            await job.aclose()
    monkeypatch.setattr(OpenAIBatches, "most_requests", 1000)
    monkeypatch.setattr(OpenAIBatches, "most_bytes", 1000)
    with SimulatorThread("openai") as sim:
        async with client_of(sim) as client:
            job = await client.batch(questions(20))
            sizes = [len(request.raw) for request in sim.requests if request.path.endswith("/files")]
            assert len(sizes) > 3
            assert max(sizes) < 1500
            assert all(result.reply for result in await collected(job))
            await job.aclose()


async def test_an_answer_that_was_lost_is_looked_for_and_nothing_is_paid_twice() -> None:
    for fault in (Fault.reset(), Fault.status(500)):
        with SimulatorThread("openai") as sim:
            lost: list[int] = []

            def first(request: Any, lost: list[int] = lost) -> bool:
                if request.method == "POST" and request.path.endswith("/batches") and not lost:
                    lost.append(request.number)
                    return True
                return False

            sim.always(fault, when=first)  # the job is made, and nobody is told
            async with client_of(sim) as client:
                job = await client.batch(questions(3))
                assert all(result.reply for result in await collected(job))
                await job.aclose()
            assert lost
            assert posted(sim, "/batches") == 1


async def test_a_refused_file_is_everybodys_error() -> None:
    with SimulatorThread("openai") as sim:
        async with client_of(sim) as client:
            requests = questions(3)
            job = await client.batch(requests)
            await job.wait()
            part = job._state.parts[0]
            # What the provider says of a file that it does not take, in the place of what it said of this one.
            part.status = job._state.status = "failed"
            part.results, part.problems = (), ("The input file is too large. (line 2)",)
            results = await collected(job)
            assert [type(result.error) for result in results] == [BackendError] * 3
            assert all("too large" in str(result.error) for result in results)
            assert all(result.error is not None and result.error.code == "batch_failed" for result in results)
            await job.aclose()


async def test_cancelled_what_is_done_stays_and_the_rest_says_so() -> None:
    with SimulatorThread("openai") as sim:
        async with client_of(sim) as client:
            job = await client.batch(questions(6))
            await job.refresh()
            await job.cancel()
            assert job.status == "cancelling"
            await job.wait()
            assert job.status == "cancelled"
            results = await collected(job)
            assert [result.reply is not None for result in results] == [True] * 3 + [False] * 3
            assert {result.error.code for result in results if result.error} == {"batch_cancelled"}
            await job.cancel()  # harmless
            await job.aclose()


async def test_a_job_of_somebody_elses() -> None:
    import openai

    with SimulatorThread("openai") as sim, openai.OpenAI(base_url=sim.url, api_key="sk") as other:
        lines = [
            {
                "custom_id": f"mine-{n}",
                "method": "POST",
                "url": "/v1/embeddings",
                "body": {"model": "e", "input": f"t{n}"},
            }
            for n in range(4)
        ]
        file = other.files.create(file=("x.jsonl", "\n".join(map(json.dumps, lines)).encode()), purpose="batch")
        made = other.batches.create(input_file_id=file.id, endpoint="/v1/embeddings", completion_window="24h")
        async with client_of(sim) as client:
            job = await client.batch_job(made.id)
            assert job.provider_ids == [made.id]
            results = await collected(job)
            assert sorted(result.custom_id for result in results) == [f"mine-{n}" for n in range(4)]
            assert all(result.reply and len(result.reply.vectors) == 1 for result in results)
            await job.aclose()
            with pytest.raises(InvalidRequest, match="batch_nothing"):
                await client.batch_job("batch_nothing")


async def test_waiting_has_a_limit() -> None:
    with SimulatorThread("openai") as sim:
        async with client_of(sim) as client:
            job = await client.batch(questions(2))
            job._sleep = lambda seconds: asyncio.sleep(60)
            with pytest.raises(ReadTimeout, match="goes on"):
                await job.wait(0.05)
            await job.aclose()


# --- keys, headers, costs ----------------------------------------------------------------------------------------


async def test_one_key_for_all_that_belongs_to_a_job() -> None:
    with SimulatorThread("openai") as sim:
        async with client_of(sim, api_key={"one": "sk-1", "two": "sk-2", "three": "sk-3"}) as client:
            job = await client.batch(questions(3), tags={"night": "1"})
            assert all(result.reply for result in await collected(job))
            assert len({request.key for request in sim.requests}) == 1
            await job.aclose()
            before = len(sim.requests)
            job = await client.batch(questions(3), api_key_name="two")
            await collected(job)
            assert {request.key for request in sim.requests[before:]} == {sim.key_name("sk-2")}
            await job.aclose()


class _Prices:
    def cost(self, backend: str, model: str, usage: Any, alias: str = "") -> Any:
        from ipfs_accelerate_py.types import Cost

        return Cost(float(usage.total_tokens), {"input": float(usage.input_tokens)}, "test")

    def estimate(self, call: Any, backend: str, model: str) -> float | None:
        return None


async def test_each_request_is_told_of_once_at_half_the_price() -> None:
    with SimulatorThread("openai") as sim:
        async with client_of(sim) as client:
            heard: list[CallRecord] = []
            client.usage_policy.observers.append(heard.append)
            client.usage_policy.pricer = _Prices()
            requests = questions(4)
            requests[1]["temperature"] = "hot"
            job = await client.batch(requests, tenant="t", tags={"feature": "nightly"})
            results = await collected(job)
            await collected(job)
            mine = [record for record in heard if record.tags and "batch" in record.tags]
            assert sorted(record.request_id for record in mine) == [f"{job.id}-{n}" for n in range(4)]
            for record in mine:
                assert (record.tenant, record.tags) == ("t", {"feature": "nightly", "batch": job.id})
                if record.request_id.endswith("-1"):
                    assert (record.outcome, record.error, record.status) == ("failure", "InvalidRequest", 400)
                else:
                    assert record.usage.tier == "batch"
                    assert record.cost is not None
                    assert record.cost.total == record.usage.total_tokens / 2
            used = sum(result.reply.usage.total_tokens for result in results if result.reply)
            assert client.snapshot()["usage"]["models"]["gpt-4o"]["total_tokens"] == used
            await job.aclose()


# --- Anthropic and Groq --------------------------------------------------------------------------------------------


async def test_anthropic(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(AnthropicBatches, "most_requests", 3)
    with SimulatorThread("anthropic") as sim:
        async with client_of(sim, "claude") as client:
            requests = questions(5, "claude-haiku-4-5")
            requests[3]["max_tokens"] = 0
            job = await client.batch(requests)
            assert len(job.provider_ids) == 2
            results = await collected(job)
            assert [result.custom_id for result in results] == [f"q{n}" for n in range(5)]
            assert isinstance(results[3].error, InvalidRequest)
            for number in (0, 1, 2, 4):
                reply = results[number].reply
                alone = await client.chat("claude-haiku-4-5", f"question {number}", max_tokens=12)
                assert reply is not None
                assert (reply.text, reply.usage.output_tokens) == (alone.text, alone.usage.output_tokens)
            assert job.counts == BatchCounts(5, 4, 1)
            await job.aclose()
            with pytest.raises(UnsupportedOperation, match="embed"):
                await client.batch([{"model": "m", "input": "x"}], via="provider")


async def test_anthropic_a_lost_answer_and_what_is_in_beta() -> None:
    with SimulatorThread("anthropic") as sim:
        lost: list[int] = []

        def first(request: Any) -> bool:
            if request.method == "POST" and request.path.endswith("/batches") and not lost:
                lost.append(request.number)
                return True
            return False

        sim.always(Fault.reset(), when=first)
        async with client_of(sim, "claude") as client:
            requests = questions(4, "claude-haiku-4-5")
            for request in requests:
                request["betas"] = ["some-beta-2026-01-01"]
            job = await client.batch(requests)
            assert all(result.reply for result in await collected(job))
            await job.aclose()
        assert lost
        assert posted(sim, "/batches") == 1
        [made] = [r for r in sim.requests if r.method == "POST" and r.path.endswith("/batches")]
        assert made.headers["anthropic-beta"] == "some-beta-2026-01-01"


async def test_groq() -> None:
    with SimulatorThread("openai") as sim:
        async with client_of(sim, "groq") as client:
            with pytest.raises(ConfigurationError, match="24h, 7d"):
                await client.batch(questions(2), window="1h")
            job = await client.batch(questions(2))
            assert all(result.reply and result.reply.backend == "groq" for result in await collected(job))
            await job.aclose()


# --- wrong use -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("request_", "says"),
    [
        ("text", "request 2 of the batch is a str"),
        ({"model": "m"}, "neither messages nor input"),
        ({"messages": "x"}, "names no model"),
        ({"model": "m", "messages": []}, "messages is empty"),
        ({"model": "m", "messages": "x", "stream": True}, "stream"),
        ({"model": "m", "messages": "x", "priority": "HIGH"}, "'priority', which is told the whole batch"),
        ({"model": "m", "operation": "fly"}, "operation 'fly'"),
        ({"model": "m", "documents": ["x"]}, "has no 'query'"),
        ({"url": "/v1/other", "body": {}}, "url '/v1/other'"),
        ({"model": "m", "input": "x", "extra": object()}, "JSON"),
    ],
)
async def test_a_wrong_request_is_told_before_anything_is_sent(request_: Any, says: str, tmp_path: Path) -> None:
    with SimulatorThread("openai") as sim:
        async with client_of(sim) as client:
            with pytest.raises(ConfigurationError, match=says):
                await client.batch([*questions(1), request_], manifest=tmp_path / "job.json")
            assert sim.requests == []
            assert os.listdir(tmp_path) == []


async def test_wrong_use(tmp_path: Path) -> None:
    async with AsyncClient("openai", base_url="http://127.0.0.1:9/v1", api_key="sk") as client:
        for arguments, says in (
            ({"via": "pigeon"}, "via"),
            ({"window": "1h"}, "24h"),
            ({"concurrency": 0}, "concurrency"),
            ({"temperature": 1}, "no option 'temperature'"),
            ({"manifest": tmp_path / "no" / "job.json"}, "no folder"),
        ):
            with pytest.raises(ConfigurationError, match=says):
                await client.batch(questions(1), **arguments)
        with pytest.raises(ConfigurationError, match="no requests"):
            await client.batch([])
        with pytest.raises(ConfigurationError, match="no manifest"):
            await client.batch_job(tmp_path / "none.json")
        (tmp_path / "odd.json").write_text("{}")
        with pytest.raises(ConfigurationError, match="no manifest of a batch job"):
            await client.batch_job(tmp_path / "odd.json")


async def test_an_upstream_that_stays_down_leaves_a_job_to_go_on_with(tmp_path: Path) -> None:
    path = tmp_path / "job.json"
    with SimulatorThread("openai") as sim:
        sim.always(Fault.status(503), when=lambda request: request.path.endswith("/batches"))
        async with client_of(sim, max_retries=0) as client:
            with pytest.raises(ServerError) as caught:
                await client.batch(questions(3), manifest=path)
            assert any("goes on from here" in note for note in caught.value.__notes__)
            sim.clear()
            job = await client.batch_job(path)
            assert all(result.reply for result in await collected(job))
            await job.aclose()


# --- generators and the synchronous client -------------------------------------------------------------------------


async def test_requests_may_come_bit_by_bit() -> None:
    async def later() -> AsyncIterator[dict[str, Any]]:
        for request in questions(3):
            yield request

    with SimulatorThread("openai") as sim:
        async with client_of(sim) as client:
            job = await client.batch(later())
            assert len(await collected(job)) == 3
            await job.aclose()
            job = await client.batch((request for request in questions(300)), model="unused")
            assert [result.index for result in await collected(job)] == list(range(300))
            await job.aclose()


def test_in_ordinary_code() -> None:
    with SimulatorThread("openai") as sim, Client("openai", base_url=sim.url, api_key="sk", **QUICK) as client:
        client.asynchronous._batch_sleep = at_once
        with client.batch(questions(40)) as job:
            assert [counts.left for counts in job.watch()][-1] == 0
            assert job.ended
            results = list(job.results())
            assert [result.custom_id for result in results] == [f"q{n}" for n in range(40)]
            assert (job.counts, job.status, job.via, job.manifest) == (
                BatchCounts(40, 40, 0),
                "completed",
                "provider",
                None,
            )
        with client.batch_job(job.provider_ids[0]) as again:
            assert [result.reply.text for result in again.results() if result.reply] == [
                result.reply.text for result in results if result.reply
            ]
        with pytest.raises(ConfigurationError, match="request 1"):
            client.batch(iter(["x"]))
