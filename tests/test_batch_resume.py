"""Batch jobs whose process is killed, and jobs done by calls of our own: nothing is asked, or paid, twice."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from ipfs_accelerate_py import AsyncClient, Client
from ipfs_accelerate_py.batch_jobs.job import BatchCounts
from ipfs_accelerate_py.batch_jobs.spool import Requests, Results
from ipfs_accelerate_py.errors import (
    AuthenticationError,
    ConfigurationError,
    InvalidRequest,
    RateLimited,
    UnsupportedOperation,
)
from ipfs_accelerate_py.simulator import Fault, SimulatorThread
from tests.conftest import ROOT
from tests.test_batch_jobs import at_once, client_of, collected, posted, questions
from tests.upstreams import QUICK, nothing_held


def asked(sim: SimulatorThread) -> Counter[str]:
    """How often each question was asked."""
    return Counter(
        request.body["messages"][0]["content"]
        for request in sim.requests
        if request.path.endswith(("/chat/completions", "/messages")) and request.body is not None
    )


def in_another_process(code: str, *arguments: object) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", code, *map(str, arguments)], cwd=ROOT, text=True, stdout=subprocess.PIPE
    )


HAND_IN = """
import asyncio, os, sys
from ipfs_accelerate_py import AsyncClient
url, path, backend, where = sys.argv[1:]

async def main():
    client = AsyncClient(backend, base_url=url, api_key="sk")
    send = client.send
    async def watched(call):
        reply = await send(call)
        if where == "before" and call.request.path.endswith("/batches"):
            os._exit(9)  # it was made, and nobody has noted it
        return reply
    client.send = watched
    model = "gpt-4o" if backend == "openai" else "claude-haiku-4-5"
    requests = [{"model": model, "messages": f"question {n}", "custom_id": f"q{n}", "max_tokens": 12} for n in range(6)]
    await client.batch(requests, manifest=path)
    os._exit(9)

asyncio.run(main())
"""


@pytest.mark.parametrize("where", ["before", "after"])
@pytest.mark.parametrize("backend", ["openai", "claude"])
async def test_a_process_that_dies_around_the_moment_of_paying(backend: str, where: str, tmp_path: Path) -> None:
    path = tmp_path / "job.json"
    with SimulatorThread("openai" if backend == "openai" else "anthropic") as sim:
        process = in_another_process(HAND_IN, sim.url, path, backend, where)
        process.communicate(timeout=300)
        assert process.returncode == 9
        assert posted(sim, "/batches") == 1
        state = json.loads(path.read_text())["parts"][0]["state"]
        assert state == ("creating" if where == "before" else "created")
        async with client_of(sim, backend) as client:
            job = await client.batch_job(path)
            assert (job.manifest, job.counts.total) == (str(path), 6)
            results = await collected(job)
            assert [result.custom_id for result in results if result.reply] == [f"q{n}" for n in range(6)]
            await job.aclose()
            # And once more, from what is on disk.
            before = len(sim.requests)
            job = await client.batch_job(path)
            assert [result.reply for result in await collected(job)] == [result.reply for result in results]
            assert len(sim.requests) == before
            await job.aclose()
        assert posted(sim, "/batches") == 1


WORK = """
import sys
from ipfs_accelerate_py import Client
url, path = sys.argv[1:]
client = Client("openai", base_url=url, api_key="sk")
requests = [{"model": "gpt-4o", "messages": f"question {n}"} for n in range(200)]
job = client.batch(requests, via="calls", manifest=path, concurrency=4)
for counts in job.watch():
    print(counts.completed, flush=True)
"""


async def test_killed_in_the_middle_of_calls_and_gone_on_with(tmp_path: Path) -> None:
    path = tmp_path / "job.json"
    with SimulatorThread("openai") as sim:
        sim.always(Fault.latency(0.01))
        process = in_another_process(WORK, sim.url, path)
        assert process.stdout is not None
        for line in process.stdout:
            if int(line) >= 40:
                break
        process.send_signal(signal.SIGKILL)
        process.communicate(timeout=300)
        known = len(asked(sim))
        assert 40 <= known < 200
        async with client_of(sim) as client:
            job = await client.batch_job(path)
            assert job.via == "calls"
            assert job.counts.completed >= 40
            results = await collected(job)
            assert job.status == "completed"
            assert [result.index for result in results if result.reply and result.reply.text] == list(range(200))
            await job.aclose()
            await nothing_held(client)
        twice = [text for text, times in asked(sim).items() if times > 1]
        assert len(twice) <= 4  # those that were under way when it was killed
        assert len(asked(sim)) == 200


async def test_the_same_program_once_more(tmp_path: Path) -> None:
    path = tmp_path / "job.json"
    with SimulatorThread("openai") as sim:
        async with client_of(sim) as client:
            for via in ("calls", "provider"):
                path = tmp_path / f"{via}.json"
                first = await client.batch(questions(4), via=via, manifest=path)
                results = await collected(first)
                await first.aclose()
                before = len(sim.requests)
                second = await client.batch(questions(4), via=via, manifest=path)
                assert second.id == first.id
                assert [result.reply for result in await collected(second)] == [result.reply for result in results]
                assert len(sim.requests) == before
                await second.aclose()
                with pytest.raises(ConfigurationError, match="other requests"):
                    await client.batch(questions(5), via=via, manifest=path)
    assert sorted(os.listdir(tmp_path)) == sorted(
        f"{via}.json{end}" for via in ("calls", "provider") for end in ("", ".requests", ".results")
    )
    assert all((tmp_path / name).stat().st_mode & 0o077 == 0 for name in os.listdir(tmp_path))


async def test_a_manifest_goes_with_its_files_and_its_backend(tmp_path: Path) -> None:
    path = tmp_path / "job.json"
    with SimulatorThread("openai") as sim:
        async with client_of(sim) as client:
            job = await client.batch(questions(2), manifest=path)
            await job.aclose()
            (tmp_path / "job.json.requests").write_bytes(b"")
            with pytest.raises(ConfigurationError, match="not what it was"):
                await client.batch_job(path)
        async with client_of(sim, "groq") as other:
            with pytest.raises(ConfigurationError, match=r"'openai'.*'groq'"):
                await other.batch_job(path)


# --- by calls ----------------------------------------------------------------------------------------------------


async def test_calls_a_few_at_a_time_at_low_priority() -> None:
    most = running = 0
    with SimulatorThread("openai") as sim:
        async with client_of(sim) as client:
            send = client.send

            async def counted(call: Any) -> Any:
                nonlocal most, running
                assert call.priority.name == "LOW"
                assert (call.tenant, call.tags) == ("t", {"x": "y"})
                running += 1
                most = max(most, running)
                try:
                    return await send(call)
                finally:
                    running -= 1

            client.send = counted  # type: ignore[method-assign]
            requests: list[Any] = questions(20)
            requests[3] = {**requests[3], "temperature": "hot"}
            requests[5] = {"model": "e", "input": ["a", "b"]}
            requests[6] = {"model": "m", "operation": "moderate", "input": "x"}
            job = await client.batch(requests, via="calls", concurrency=3, tenant="t", tags={"x": "y"})
            assert job.via == "calls"
            seen = [counts async for counts in job.watch()]
            assert [counts.left for counts in seen] == sorted((counts.left for counts in seen), reverse=True)
            assert job.counts == BatchCounts(20, 19, 1)
            assert most == 3
            results = await collected(job)
            assert isinstance(results[3].error, InvalidRequest)
            assert results[3].error.status == 400
            assert results[5].reply is not None
            assert results[5].reply.vectors == (await AsyncClient.embed(client_of(sim), "e", ["a", "b"])).vectors
            assert results[6].reply is not None
            assert results[6].reply.moderations
            assert results[7].reply is not None
            assert results[7].reply.message()["content"] == results[7].reply.text
            await job.aclose()
            await job.aclose()


async def test_a_service_that_refuses_for_a_while_is_asked_again() -> None:
    with SimulatorThread("openai") as sim:
        sim.script(*[Fault.status(429)] * 3, Fault.status(503))
        async with client_of(sim, max_retries=0) as client:
            job = await client.batch(questions(4), via="calls", concurrency=1)
            assert all(result.reply for result in await collected(job))
            await job.aclose()
        assert len(sim.requests) == 8


async def test_what_was_bad_luck_is_asked_again_when_it_is_gone_on_with(tmp_path: Path) -> None:
    path = tmp_path / "job.json"
    with SimulatorThread("openai") as sim:
        sim.always(Fault.status(429), when=lambda r: r.body["messages"][0]["content"] == "question 1")
        async with client_of(sim, max_retries=0) as client:
            requests = questions(4)
            requests[2]["temperature"] = "hot"
            job = await client.batch(requests, via="calls", manifest=path)
            results = await collected(job)
            assert isinstance(results[1].error, RateLimited)
            assert results[1].error.retryable
            assert job.counts == BatchCounts(4, 2, 2)
            await job.aclose()
            sim.clear()
            job = await client.batch_job(path)
            again = await collected(job)
            assert job.status == "completed"
            assert job.counts == BatchCounts(4, 3, 1)
            assert again[1].reply
            assert isinstance(again[2].error, InvalidRequest)
            assert asked(sim)["question 2"] == 1
            await job.aclose()


async def test_stopped_and_cancelled(tmp_path: Path) -> None:
    path = tmp_path / "job.json"
    with SimulatorThread("openai") as sim:
        sim.always(Fault.latency(0.02))
        async with client_of(sim) as client:
            job = await client.batch(questions(50), via="calls", manifest=path, concurrency=2)
            async for counts in job.watch():
                if counts.completed >= 4:
                    break
            await job.aclose()
            assert job.status == "stopped"
            await nothing_held(client)
            job = await client.batch_job(path)
            assert job.counts.completed >= 4
            await job.cancel()
            assert job.status == "cancelled"
            results = await collected(job)
            assert len(results) == 50
            assert sum(result.reply is not None for result in results) == job.counts.completed
            assert {result.error.code for result in results if result.error} == {"batch_cancelled"}
            await job.aclose()
            before = len(sim.requests)
            job = await client.batch_job(path)
            await job.wait()
            assert job.status == "cancelled"
            assert len(sim.requests) == before
            await job.aclose()


async def test_services_without_a_batch_api_are_asked_by_calls() -> None:
    with SimulatorThread("ollama") as sim:
        async with client_of(sim, "ollama") as client:
            job = await client.batch(questions(3, "llama3"))
            assert job.via == "calls"
            assert all(result.reply and result.reply.text for result in await collected(job))
            await job.aclose()
            with pytest.raises(UnsupportedOperation, match="via='calls'"):
                await client.batch(questions(1), via="provider")
            with pytest.raises(ConfigurationError, match="no batch API"):
                await client.batch_job("batch_1")
    with SimulatorThread("openai") as sim:  # a server in OpenAI's place, which has no files
        sim.always(Fault.status(404), when=lambda request: request.path.endswith("/files"))
        async with client_of(sim) as client:
            job = await client.batch(questions(3))
            assert job.via == "calls"
            assert all(result.reply for result in await collected(job))
            await job.aclose()
            with pytest.raises(UnsupportedOperation, match="no batch API"):
                await client.batch(questions(1), via="provider")
            # What its batch API does not take goes by calls, all of it.
            job = await client.batch([*questions(1), {"model": "m", "operation": "classify", "input": "x"}])
            assert job.via == "calls"
            await job.aclose()


async def test_a_wrong_key_is_an_error_at_once() -> None:
    with SimulatorThread("openai", api_keys=["right"]) as sim:
        async with client_of(sim) as client:
            with pytest.raises(AuthenticationError):
                await client.batch(questions(2))


def test_by_calls_in_ordinary_code(tmp_path: Path) -> None:
    with SimulatorThread("openai") as sim, Client("openai", base_url=sim.url, api_key="sk", **QUICK) as client:
        client.asynchronous._batch_sleep = at_once
        seen: list[BatchCounts] = []
        with client.batch(questions(30), via="calls", manifest=tmp_path / "j.json") as job:
            assert job.wait(30, progress=seen.append) == BatchCounts(30, 30, 0)
            assert seen[-1].left == 0
            assert [result.index for result in job.results()] == list(range(30))
        with client.batch_job(tmp_path / "j.json") as job:
            assert job.refresh().completed == 30
            job.cancel()
            assert job.status == "completed"


# --- files -------------------------------------------------------------------------------------------------------


def test_a_torn_last_line_is_dropped(tmp_path: Path) -> None:
    path = tmp_path / "x"
    requests = Requests(path)
    for number in range(3):
        requests.append(b'{"n":%d}\n' % number)
    digest = requests.digest
    requests.close()
    with open(path, "ab") as file:
        file.write(b'{"n":3')
    again = Requests(path)
    assert (len(again), again.digest, again.read(2)) == (3, digest, b'{"n":2}')
    again.append(b'{"n":"' + b"x" * 100_000 + b'"}\n')
    assert len(again.read(3)) == 100_008
    again.close()

    results = Results(tmp_path / "r", 3)
    results.append(2, b'{"index":2,"error":{},"final":false}\n', failed=True, final=False)
    results.append(0, b'{"index":0,"reply":{}}\n')
    assert (results.answered, results.failed, results.has(2), results.has(0)) == (1, 1, False, True)
    results.append(2, b'{"index":2,"reply":{}}\n')
    results.close()
    reopened = Results(tmp_path / "r", 3)
    assert (reopened.answered, reopened.failed, reopened.read(1)) == (2, 0, None)
    assert json.loads(reopened.read(2) or b"") == {"index": 2, "reply": {}}
    reopened.close()


async def test_many_requests_are_not_kept_in_memory() -> None:
    """Twenty thousand of them, of a kilobyte each, beside what the process has anyway."""
    import tracemalloc

    with SimulatorThread("openai") as sim:
        async with client_of(sim) as client:
            from ipfs_accelerate_py.batch_jobs.making import Preparation

            tracemalloc.start()
            prepared = Preparation(client, "", "provider", "24h", None, 1, {})
            began = time.perf_counter()
            for number in range(20_000):
                prepared.add({"model": "gpt-4o", "messages": f"{number}" + "x" * 1000})
                if number % 1000 == 0:
                    await asyncio.sleep(0)
            _, peak = tracemalloc.get_traced_memory()
            tracemalloc.stop()
            assert time.perf_counter() - began < 60
            assert peak < 3_000_000
            assert len(prepared.requests) == 20_000
            prepared.discard()
        assert sim.requests == []
