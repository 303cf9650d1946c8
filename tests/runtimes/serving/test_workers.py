"""Models in processes of their own: their answers, and above all their ends."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import pytest

from ipfs_accelerate_py.errors import InvalidRequest, MemoryExhausted, RuntimeUnavailable, WorkerLost
from ipfs_accelerate_py.results import Fills, Text
from ipfs_accelerate_py.runtimes.engines.base import LoadPlan
from ipfs_accelerate_py.runtimes.serving.connection import Connection
from ipfs_accelerate_py.runtimes.serving.jobs import Job
from ipfs_accelerate_py.runtimes.serving.memory import own_memory
from ipfs_accelerate_py.runtimes.serving.messages import ToWorker
from ipfs_accelerate_py.runtimes.serving.nursery import Nursery
from ipfs_accelerate_py.runtimes.serving.remote import RemoteServable

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="workers are watched by means of Linux here")

SENTENCE = "one [MASK] three"


def fill(count: int = 1, priority: int = 1) -> Job:
    return Job(task="fill-mask", inputs=[SENTENCE] * count, options={"top_k": 2}, priority=priority)


@pytest.fixture
async def remote(nursery: Nursery, masked: Path) -> AsyncIterator[RemoteServable]:
    servable = RemoteServable("masked", masked, LoadPlan(threads=1), nursery)
    await servable.open("fill-mask")
    yield servable
    await servable.aclose()


async def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 120
    while not condition():
        assert time.monotonic() < deadline, "it did not come to pass"
        await asyncio.sleep(0.002)


def ticks(pid: int | None) -> int:
    """Processor time that it has used."""
    with contextlib.suppress(OSError), open(f"/proc/{pid}/stat") as file:
        return sum(map(int, file.read().rpartition(")")[2].split()[11:13]))
    return 0


async def at_work(remote: RemoteServable) -> None:
    """Until the worker does something with what has just been asked, and not yet been sent."""
    before = ticks(remote.pid)
    await until(lambda: ticks(remote.pid) > before)


def alive(pid: int) -> bool:
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


async def test_a_worker_answers_as_a_model_here_does(remote: RemoteServable, masked: Path) -> None:
    from ipfs_accelerate_py.runtimes.serving.servable import open_servable

    facts = remote.facts
    assert (facts.model_type, facts.runtime, facts.isolated) == ("bert", "torch", True)
    there = await remote.run(fill(3))
    here = await asyncio.to_thread(lambda: open_servable("masked", masked, task="fill-mask", plan=LoadPlan(threads=1)))
    try:
        assert (await here.run(fill(3))).input_tokens == there.input_tokens
        for one, other in zip((await here.run(fill(3))).results, there.results, strict=True):
            assert isinstance(one, Fills)
            assert isinstance(other, Fills)
            assert [each.token_id for each in one.masks[0]] == [each.token_id for each in other.masks[0]]
    finally:
        await here.aclose()


async def test_an_error_keeps_its_type_and_blame(remote: RemoteServable) -> None:
    with pytest.raises(InvalidRequest, match="no mask") as caught:
        await remote.run(Job(task="fill-mask", inputs=["nothing to fill"]))
    assert (caught.value.param, caught.value.status) == ("input", 400)
    with pytest.raises(InvalidRequest, match="object is no input"):
        await remote.run(Job(task="fill-mask", inputs=[object()]))


async def test_killing_the_worker_in_mid_batch_costs_nobody_an_answer(remote: RemoteServable) -> None:
    first = remote.pid
    assert first is not None
    calls = [asyncio.ensure_future(remote.run(fill(300))) for _ in range(8)]
    await at_work(remote)
    os.kill(first, signal.SIGKILL)
    answers = await asyncio.gather(*calls)
    assert [len(answer.results) for answer in answers] == [300] * 8
    assert remote.pid not in (None, first)
    assert remote.snapshot()["worker"]["crashes"] == 1
    assert not alive(first)


async def test_a_worker_that_ends_as_soon_as_it_has_loaded_is_replaced(
    nursery: Nursery, masked: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its end was told before it became the one to use: nobody would tell it again."""
    born: list[Connection] = []

    class Doomed(Connection):
        def ask(self, make: Callable[[int], ToWorker]) -> tuple[int, Future[Any], Future[None] | None]:
            asked = super().ask(make)
            if self not in born:
                born.append(self)
            if self is born[0]:
                asked[1].result()
                os.kill(self.child.pid, signal.SIGKILL)
                while not self.ended:
                    time.sleep(0.001)
            return asked

    monkeypatch.setattr("ipfs_accelerate_py.runtimes.serving.remote.Connection", Doomed)
    servable = RemoteServable("masked", masked, LoadPlan(threads=1), nursery)
    await servable.open("fill-mask")
    assert (await servable.run(fill())).results
    await servable.aclose()
    assert len(born) == 2


async def test_what_makes_the_model_crash_twice_fails_typed_and_alone(
    remote: RemoteServable, monkeypatch: pytest.MonkeyPatch
) -> None:
    def killer() -> None:
        if remote.pid is not None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(remote.pid, signal.SIGKILL)

    begun = asyncio.ensure_future(remote.run(fill(2000)))
    await at_work(remote)
    first = remote.pid
    killer()
    await until(lambda: remote.pid not in (None, first) and bool(remote.snapshot().get("worker")))
    while not begun.done():  # whenever it runs again, its worker ends again
        killer()
        await asyncio.sleep(0.02)
    with pytest.raises(RuntimeUnavailable) as caught:
        await begun
    assert isinstance(caught.value, WorkerLost)
    assert caught.value.retryable
    assert (await remote.run(fill())).results


async def test_a_cancelled_call_is_dropped_in_the_worker(remote: RemoteServable) -> None:
    long = asyncio.ensure_future(remote.run(fill(3000)))
    await at_work(remote)
    long.cancel()
    with pytest.raises(asyncio.CancelledError):
        await long
    await remote.run(fill())
    await until(lambda: remote.snapshot().get("AutoModelForMaskedLM", {}).get("cancelled") == 1)


async def test_a_call_over_the_limit_is_refused_before_it_is_sent(nursery: Nursery, masked: Path) -> None:
    servable = RemoteServable("masked", masked, LoadPlan(threads=1), nursery, frame_limit=20_000)
    try:
        await servable.open("fill-mask")
        with pytest.raises(InvalidRequest, match="over the limit of 20000") as caught:
            await servable.run(Job(task="fill-mask", inputs=["x" * 30_000]))
        assert caught.value.status == 413
        # An answer over the limit is the worker's to refuse.
        with pytest.raises(InvalidRequest, match="limit"):
            await servable.run(Job(task="fill-mask", inputs=[SENTENCE] * 200, options={"top_k": 50}))
        assert (await servable.run(fill())).results
    finally:
        await servable.aclose()


async def test_unloading_ends_the_process_and_calls_under_way(nursery: Nursery, masked: Path) -> None:
    servable = RemoteServable("masked", masked, LoadPlan(threads=1), nursery)
    await servable.open("fill-mask")
    pid = servable.pid
    assert pid is not None
    assert own_memory(pid) > 0
    running = asyncio.ensure_future(servable.run(fill(3000)))
    await at_work(servable)
    await servable.aclose()
    with pytest.raises(RuntimeUnavailable, match="unloaded"):
        await running
    assert not alive(pid)
    with pytest.raises(RuntimeUnavailable, match="unloaded"):
        await servable.run(fill())


async def test_a_model_that_cannot_be_loaded_leaves_no_process(nursery: Nursery, tmp_path: Path) -> None:
    servable = RemoteServable("empty", tmp_path, LoadPlan(), nursery)
    with pytest.raises(RuntimeUnavailable, match=r"config\.json"):
        await servable.open("")
    assert servable.pid is None
    await servable.aclose()


async def test_a_cap_of_memory_is_an_error_and_not_the_end(nursery: Nursery, masked: Path) -> None:
    pytest.importorskip("numpy")
    roomy = RemoteServable("masked", masked, LoadPlan(threads=1), nursery, memory=2 << 30)
    await roomy.open("fill-mask")
    try:
        assert (await roomy.run(fill())).results
    finally:
        await roomy.aclose()
    cramped = RemoteServable("masked", masked, LoadPlan(threads=1), nursery, memory=1 << 20)
    with pytest.raises(RuntimeUnavailable):
        await cramped.open("fill-mask")
    await cramped.aclose()


async def test_a_cap_that_is_reached_in_a_call_fails_that_call(nursery: Nursery, masked: Path) -> None:
    free = RemoteServable("masked", masked, LoadPlan(threads=1), nursery)
    await free.open("fill-mask")
    await free.run(fill())
    status = await asyncio.to_thread(Path(f"/proc/{free.pid}/status").read_text)
    await free.aclose()
    used = int(status.partition("VmData:")[2].split()[0]) << 10
    capped = RemoteServable("masked", masked, LoadPlan(threads=1), nursery, memory=used + (24 << 20))
    try:
        await capped.open("fill-mask")
        # Its answer alone has half a million objects. Where the want of memory struck may leave the worker fit for
        # nothing, and then it ends; either way this call fails by its own fault, and the next finds a model.
        with pytest.raises(MemoryExhausted):
            await capped.run(Job(task="fill-mask", inputs=[SENTENCE] * 1500, options={"top_k": 400}))
        assert (await capped.run(fill())).results
    finally:
        await capped.aclose()


async def test_a_stream_comes_in_order_and_ends_when_its_reader_goes(nursery: Nursery, writer: Path) -> None:
    servable = RemoteServable("writer", writer, LoadPlan(threads=1), nursery)
    try:
        await servable.open("text-generation")
        options = {"max_new_tokens": 24, "do_sample": False, "ignore_eos": True}
        job = Job(task="text-generation", inputs=["one two"], options={"max_new_tokens": 24, "do_sample": False})
        whole = (await servable.run(job)).results[0]
        assert isinstance(whole, Text)
        chunks = [chunk async for chunk in servable.stream(job)]
        assert chunks[-1].finish_reason in ("stop", "length")
        assert chunks[-1].usage is not None
        assert whole.text.endswith("".join(chunk.text for chunk in chunks))
        long = Job(task="text-generation", inputs=["one two"], options={**options, "max_new_tokens": 100})
        reading = servable.stream(long)
        await anext(reading)
        await reading.aclose()
        await servable.run(job)
    finally:
        await servable.aclose()


def test_workers_end_with_their_parent(tmp_path: Path) -> None:
    script = (
        "import os, sys, time\n"
        "from ipfs_accelerate_py.runtimes.serving.nursery import Nursery\n"
        "nursery = Nursery(imports=())\n"
        "born = [nursery.bear() for _ in range(2)]\n"
        "child = os.fork()\n"  # a fork of the parent must not keep the workers
        "if not child: time.sleep(60); os._exit(0)\n"
        "print(nursery.pid, *[child.pid for _, child in born], child, flush=True)\n"
        "time.sleep(60)\n"
    )
    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        *pids, fork = map(int, parent.stdout.readline().split())
        assert all(map(alive, pids))
        parent.kill()
    deadline = time.monotonic() + 120
    try:
        while any(map(alive, pids)):
            assert time.monotonic() < deadline
            time.sleep(0.01)
    finally:
        os.kill(fork, signal.SIGKILL)
