"""The sync client: any thread, any notebook, forks, Ctrl-C, and ends of programs."""

from __future__ import annotations

import asyncio
import gc
import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from ipfs_accelerate_py import AsyncClient, Client
from ipfs_accelerate_py.errors import AccelerateError, ConfigurationError, InvalidRequest, QueueFull, ReadTimeout
from ipfs_accelerate_py.simulator import Fault, SimulatorThread
from ipfs_accelerate_py.simulator.wire import Request
from tests.upstreams import QUICK, held, nothing_held_sync

ROOT = Path(__file__).resolve().parent.parent


def model_is(*names: str) -> Any:
    def when(request: Request) -> bool:
        return isinstance(request.body, dict) and request.body.get("model") in names

    return when


@pytest.fixture(scope="module")
def simulator() -> Iterator[SimulatorThread]:
    with SimulatorThread("openai") as sim:
        yield sim


@pytest.fixture
def sim(simulator: SimulatorThread) -> Iterator[SimulatorThread]:
    simulator.always(Fault.hang(), when=model_is("hang"))
    simulator.always(Fault.silence(after=3), when=model_is("silent"))
    simulator.always(Fault.latency(0.3), when=model_is("slow"))
    simulator.always(Fault.drip(size=400, interval=0.01), when=model_is("paced"))
    yield simulator
    simulator.clear()


@pytest.fixture
def client(sim: SimulatorThread) -> Iterator[Client]:
    with Client("openai", base_url=sim.url, api_key="sk-test", **QUICK) as made:
        yield made
        nothing_held_sync(made)


# --- the same as the asynchronous one ----------------------------------------------------------------------------


def test_every_verb(client: Client) -> None:
    reply = client.chat("gpt-4o", "Hello", system="Be brief.", temperature=0.2, priority="HIGH")
    assert reply.text
    assert reply.usage.total_tokens
    assert "".join(chunk.text for chunk in client.stream("gpt-4o", "Hello", system="Be brief.")) == reply.text
    whole = client.stream("gpt-4o", "Hello", system="Be brief.").collect()
    assert (whole.text, whole.finish_reason, whole.usage) == (reply.text, reply.finish_reason, reply.usage)
    assert whole.request_id
    assert client.complete("m", "Once").text
    assert client.stream_complete("m", "Once").collect().text == client.complete("m", "Once").text
    assert client.respond("gpt-4o", "Hello").text
    assert client.stream_respond("gpt-4o", "Hello").collect().text == client.respond("gpt-4o", "Hello").text
    assert len(client.embed("e", ["a", "b"]).vectors) == 2
    assert [model.id for model in client.models()]
    assert client.request("/chat/completions", {"model": "m", "messages": [{"role": "user", "content": "x"}]}).raw


def test_its_verbs_and_arguments_are_those_of_the_asynchronous_one() -> None:
    import inspect

    def public(kind: type) -> set[str]:
        return {name for name in dir(kind) if not name.startswith("_")}

    renamed = {
        "aclose": "close",
        "send": None,
        "front": None,
        "usage_policy": None,
        "services": None,
        "pipelines": None,
        "candidates": None,
    }
    for name in public(AsyncClient):
        other = renamed.get(name, name)
        if other is None:
            continue
        assert hasattr(Client, other), name
        mine, theirs = getattr(Client, other), getattr(AsyncClient, name)
        if inspect.isfunction(theirs):
            assert list(inspect.signature(mine).parameters) == list(inspect.signature(theirs).parameters), name
    assert inspect.signature(Client.__init__) == inspect.signature(AsyncClient.__init__)


def test_a_stream_knows_its_end(client: Client) -> None:
    stream = client.stream("gpt-4o", "Hello")
    chunks = list(stream)
    assert stream.finish_reason in ("stop", "length")
    assert stream.usage.output_tokens == 20
    assert stream.model == "gpt-4o"
    assert stream.request_id.startswith("req_")
    assert list(stream) == []
    assert len(chunks) > 20


def test_errors_are_the_same(client: Client, sim: SimulatorThread) -> None:
    sim.script(Fault.status(400, message="n is wrong"), Fault.status(400, message="n is wrong"))
    with pytest.raises(InvalidRequest, match="n is wrong"):
        client.chat("m", "x")
    stream = client.stream("m", "x")
    with pytest.raises(InvalidRequest, match="n is wrong"):
        next(stream)
    with pytest.raises(ConfigurationError):
        client.chat("m", [])
    with pytest.raises(ConfigurationError, match=r"client\.stream"):
        client.chat("m", "x", stream=True)


def test_settings_are_live(client: Client, sim: SimulatorThread) -> None:
    client.max_retries = 0
    sim.script(Fault.status(500))
    with pytest.raises(ValueError, match="500"):
        client.chat("m", "x")
    client.max_retries = 5
    sim.script(Fault.status(500))
    assert client.chat("m", "x").attempts == 2
    client.queue_size = 50
    assert client.queue_size == 50
    assert client.snapshot()["queue"]["queue_size"] == 50
    with pytest.raises(ConfigurationError):
        client.max_retries = -1
    with pytest.raises(AttributeError, match="did you mean 'max_retries'"):
        client.max_retry = 5


def test_a_raised_limit_wakes_the_queue(sim: SimulatorThread) -> None:
    with Client("openai", base_url=sim.url, api_key="sk-test", max_concurrent_requests=1, **QUICK) as client:
        holder = client.stream("silent", "x")
        next(holder)
        with ThreadPoolExecutor(4) as pool:
            waiting = [pool.submit(client.chat, "m", "x") for _ in range(4)]
            until = time.monotonic() + 20
            while client.snapshot()["queue"]["queued"] < 4 and time.monotonic() < until:
                time.sleep(0.002)
            assert client.snapshot()["queue"]["queued"] == 4
            client.max_concurrent_requests = 3
            assert all(each.result(60).text for each in waiting)
        assert client.active_requests == 1
        holder.close()
        nothing_held_sync(client)


def test_keys_come_and_go(client: Client, sim: SimulatorThread) -> None:
    client.add_api_key("second", "sk-second")
    assert {client.chat("m", "x").key_name for _ in range(4)} == {"explicit", "second"}
    assert client.chat("m", "x", api_key_name="second").key_name == "second"
    client.remove_api_key("second")
    assert {client.chat("m", "x").key_name for _ in range(3)} == {"explicit"}
    with pytest.raises(ConfigurationError):
        client.chat("m", "x", api_key_name="second")


# --- threads -----------------------------------------------------------------------------------------------------


def test_sixty_four_threads_at_once(sim: SimulatorThread) -> None:
    settings = {**QUICK, "max_concurrent_requests": 16, "queue_size": 10_000}
    barrier = threading.Barrier(64)
    with Client("openai", base_url=sim.url, api_key="sk-test", **settings) as client:
        expected = {number: client.chat(f"m{number}", f"Hello {number}").text for number in range(8)}

        def work(number: int) -> bool:
            barrier.wait()
            name, prompt = f"m{number % 8}", f"Hello {number % 8}"
            for turn in range(4):
                if (number + turn) % 3 == 0:
                    text = "".join(chunk.text for chunk in client.stream(name, prompt))
                else:
                    text = client.chat(name, prompt).text
                if text != expected[number % 8]:
                    return False
            return True

        with ThreadPoolExecutor(64) as pool:
            assert all(pool.map(work, range(64)))
        nothing_held_sync(client)
        assert client.snapshot()["usage"]["successful_requests"] == 64 * 4 + 8


def test_a_full_queue_is_said_in_every_thread(sim: SimulatorThread) -> None:
    settings = {**QUICK, "max_concurrent_requests": 1, "queue_size": 2, "max_retries": 0}
    with Client("openai", base_url=sim.url, api_key="sk-test", **settings) as client:
        holder = client.stream("silent", "x")
        next(holder)

        def call(_: int) -> str:
            try:
                return client.chat("m", "x").text
            except QueueFull:
                return "full"

        with ThreadPoolExecutor(8) as pool:
            results = [pool.submit(call, number) for number in range(8)]
            until = time.monotonic() + 20
            while sum(each.done() for each in results) < 6 and time.monotonic() < until:
                time.sleep(0.002)
            holder.close()
            texts = [each.result(60) for each in results]
        assert texts.count("full") == 6
        nothing_held_sync(client)


def test_under_a_running_loop_as_in_a_notebook(client: Client) -> None:
    async def cell() -> list[str]:
        whole = client.chat("m", "x").text
        return [whole, "".join(chunk.text for chunk in client.stream("m", "x"))]

    one, two = asyncio.run(cell())
    assert one == two != ""


def test_from_the_portals_own_thread_it_is_refused_with_advice(client: Client) -> None:
    client.chat("m", "x")

    async def inside() -> None:
        client.chat("m", "x")

    with pytest.raises(ConfigurationError, match="AsyncClient"):
        client.portal().call(inside)

    async def inside_stream() -> None:
        for _ in client.stream("m", "x"):
            pass

    with pytest.raises(ConfigurationError, match="AsyncClient"):
        client.portal().call(inside_stream)
    assert client.chat("m", "x").text


# --- streams -----------------------------------------------------------------------------------------------------


def test_a_slow_reader_slows_the_upstream() -> None:
    with (
        SimulatorThread("openai", tokens=200_000) as sim,
        Client("openai", base_url=sim.url, api_key="sk-test", **QUICK) as client,
    ):
        stream = client.stream("m", "x")
        next(stream)
        made, until = -1, time.monotonic() + 20
        while made != (now := sim.requests[0].streamed_chunks):
            assert time.monotonic() < until, "the upstream goes on although nobody reads"
            made = now
            time.sleep(0.2)
        assert made < 150_000
        for _ in range(1000):
            next(stream)
        stream.close()
        nothing_held_sync(client)


def test_a_timeout_fires_although_the_reader_sleeps() -> None:
    with (
        SimulatorThread("openai", tokens=200_000) as sim,
        Client("openai", base_url=sim.url, api_key="sk-test", **QUICK) as client,
    ):
        stream = client.stream("m", "x", timeout=1.0)  # enough for the first chunk also where the machine is busy
        next(stream)
        nothing_held_sync(client)
        count = 0
        with pytest.raises(ReadTimeout):
            for _ in stream:
                count += 1
        assert count < 200_000


def test_a_half_read_stream_that_is_dropped_gives_everything_back(sim: SimulatorThread) -> None:
    with Client("openai", base_url=sim.url, api_key="sk-test", max_concurrent_requests=1, **QUICK) as client:
        for _ in range(5):
            stream = client.stream("silent", "x")
            next(stream)
            assert client.active_requests == 1
            del stream
            gc.collect()
            nothing_held_sync(client)
        for _ in range(5):
            for _chunk in client.stream("m", "x"):
                break
        nothing_held_sync(client)
        assert client.chat("m", "x").text
        assert client.snapshot()["usage"]["cancelled_requests"] >= 5


def test_a_closed_stream_is_at_its_end(client: Client) -> None:
    for model in ("m", "silent", "hang"):
        for _ in range(5):
            stream = client.stream(model, "x")
            if model != "hang":
                next(stream)
            stream.close()
            assert list(stream) == []
    nothing_held_sync(client)


def test_a_stream_may_be_read_in_another_thread_than_it_was_begun_in(client: Client) -> None:
    stream = client.stream("m", "x")
    with ThreadPoolExecutor(1) as pool:
        assert pool.submit(stream.collect).result(60).text == client.chat("m", "x").text


def test_a_client_that_was_closed_may_be_used_again(sim: SimulatorThread) -> None:
    client = Client("openai", base_url=sim.url, api_key="sk-test")
    for _ in range(2):
        with client:
            assert client.chat("m", "x").text
        assert held(client) == {}


def test_a_stream_read_after_its_client_was_closed_ends(sim: SimulatorThread) -> None:
    with Client("openai", base_url=sim.url, api_key="sk-test", idle_timeout=120, **QUICK) as client:
        stream = client.stream("silent", "x")
        next(stream)
    began = time.monotonic()
    with pytest.raises(AccelerateError):
        list(stream)
    assert time.monotonic() - began < 20


def test_clients_that_are_forgotten_leave_nothing_open(sim: SimulatorThread) -> None:
    before = sim.open_connections
    for _ in range(5):
        assert Client("openai", base_url=sim.url, api_key="sk-test").chat("m", "x").text
    gc.collect()
    until = time.monotonic() + 20
    while sim.open_connections > before and time.monotonic() < until:
        time.sleep(0.005)
    assert sim.open_connections <= before


def test_many_threads_among_faults(sim: SimulatorThread) -> None:
    """Calls, streams read whole, left, dropped and closed, with faults on a third of them: each has one end."""
    sim.clear()
    sim.random(
        0.3,
        [
            Fault.status(503),
            Fault.status(429, retry_after_ms=3),
            Fault.reset(),
            Fault.cut(after=4),
            Fault.cut(),
            Fault.silence(after=3),
            Fault.hang(),
            Fault.no_done(),
            Fault.error_event(at=2),
        ],
        seed=4,
    )
    settings = {
        **QUICK,
        "max_concurrent_requests": 16,
        "queue_size": 1000,
        "max_retries": 2,
        "idle_timeout": 0.15,
        "first_byte_timeout": 0.15,
    }
    with Client("openai", base_url=sim.url, api_key="sk-test", **settings) as client:

        def work(number: int) -> str:
            try:
                if number % 4 == 0:
                    return client.chat("m", "x").text
                stream = client.stream("m", "x")
                if number % 4 == 1:
                    return stream.collect().text
                if number % 4 == 2:
                    with stream:
                        for _ in stream:
                            break
                else:
                    next(stream)
                    del stream
            except AccelerateError as error:
                return type(error).__name__
            return "left"

        with ThreadPoolExecutor(32) as pool:
            ends = Counter(pool.map(work, range(300)))
        nothing_held_sync(client)
        assert sum(ends.values()) == 300
        assert ends["left"] > 50
        sim.clear()
        whole = client.chat("m", "x", first_byte_timeout=60, idle_timeout=60).text
        assert set(ends) - {whole, "left"} <= {
            "ServerError",
            "RateLimited",
            "TransportError",
            "StreamCut",
            "ReadTimeout",
        }
        assert ends[whole] > 50
        found = client.snapshot()["usage"]
        assert found["total_requests"] == 301
    until = time.monotonic() + 20
    while (sim.in_flight or sim.open_connections) and time.monotonic() < until:
        time.sleep(0.005)
    assert (sim.in_flight, sim.open_connections) == (0, 0)
