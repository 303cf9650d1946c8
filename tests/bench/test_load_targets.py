"""What is measured of real answers, by real sockets from a simulator; and that nothing but the service is measured."""

from __future__ import annotations

import math
from typing import Any

import pytest

from ipfs_accelerate_py.bench.arrivals import Closed, Open
from ipfs_accelerate_py.bench.load.calling import Calls
from ipfs_accelerate_py.bench.load.mix import Mix, Synthetic
from ipfs_accelerate_py.bench.load.runner import Bounds, Run, drive
from ipfs_accelerate_py.bench.load.session import LoadTest, Plan
from ipfs_accelerate_py.bench.load.summary import Summary, summarise
from ipfs_accelerate_py.bench.load.targets import LoadTarget, shown
from ipfs_accelerate_py.client import AsyncClient
from ipfs_accelerate_py.errors import AuthenticationError, MissingCredential, UnsupportedOperation
from ipfs_accelerate_py.router.core import AsyncRouter
from ipfs_accelerate_py.router.targets import Target
from ipfs_accelerate_py.simulator import Fault, Simulator
from tests.upstreams import DONE, END, RawServer, event, framed, replies, stream_head

pytestmark = pytest.mark.virtual_time
KEY = "sk-this-must-not-be-seen"
EVEN = math.inf


async def loaded(
    sim: Simulator,
    load: Open | Closed,
    bounds: Bounds,
    mix: Mix | None = None,
    *,
    stream: bool = True,
    through: bool = False,
    timeout: float | None = None,
    **settings: Any,
) -> tuple[Run, Summary, Calls]:
    async with AsyncClient("openai", base_url=sim.url, api_key=KEY, **settings) as client:
        calls = Calls(LoadTarget(client, "m", through=through), mix or Synthetic(), stream=stream, timeout=timeout)
        run = await drive(calls, load, bounds)
        return run, summarise(run), calls


async def test_first_token_and_gaps_are_what_the_service_takes() -> None:
    async with Simulator(latency=0.2, tokens=5, chunk_interval=0.05) as sim:
        run, summary, _ = await loaded(sim, Open(10, burstiness=EVEN), Bounds(requests=8))
    for sample in run.samples:
        assert sample.first_token == pytest.approx(0.2, abs=0.005)
        assert sample.gaps == pytest.approx([0.05] * 4, abs=0.005)
        assert sample.total == pytest.approx(0.4, abs=0.01)
        assert sample.per_token == pytest.approx(0.05, abs=0.002)
        assert (sample.output_tokens, sample.counted) == (5, True)
    assert (summary.good, summary.errors) == (8, {})
    assert summary.offered == pytest.approx(10, rel=0.01)


async def test_an_answer_in_one_piece_has_no_first_token() -> None:
    async with Simulator(latency=0.3) as sim:
        run, summary, _ = await loaded(sim, Closed(2), Bounds(requests=4), stream=False)
    assert summary.total == pytest.approx([0.3] * 4, abs=0.005)
    assert summary.first == summary.between == []
    assert all(sample.output_tokens == 20 for sample in run.samples)


@pytest.mark.parametrize("kind", ["chat", "completion", "embedding"])
async def test_every_kind_of_call(kind: str) -> None:
    mix = Synthetic(kind, batch=3 if kind == "embedding" else 1)
    async with Simulator(dimensions=4) as sim:
        _, summary, calls = await loaded(sim, Closed(1), Bounds(requests=2), mix)
        bodies = [request.body for request in sim.requests]
    assert summary.good == 2
    assert summary.input_tokens > 100
    assert calls.stream is (kind != "embedding")
    if kind == "embedding":
        assert all(len(body["input"]) == 3 for body in bodies)
        assert summary.output_tokens == 0


async def test_each_call_is_made_once_and_at_once_whatever_came_of_others() -> None:
    """Without the pipeline nothing of the client is in the way: no retry, no rest after a 429, no open breaker."""
    async with Simulator() as sim:
        sim.always(Fault.status(429, retry_after=60))
        run, summary, _ = await loaded(sim, Open(20, burstiness=EVEN), Bounds(requests=30))
        assert len(sim.requests) == 30
        assert summary.errors == {"RateLimited 429": 30}
        assert run.ended - run.began == pytest.approx(1.5, abs=0.05)
        sim.clear()
        sim.always(Fault.status(503))
        run, summary, _ = await loaded(sim, Open(20, burstiness=EVEN), Bounds(requests=30), circuit_failure_threshold=2)
        assert summary.errors == {"ServerError 503": 30}
        assert len(sim.requests) == 60


async def test_through_the_pipeline_its_policies_are_part_of_it() -> None:
    async with Simulator() as sim:
        sim.script(Fault.status(429, retry_after=2), Fault.status(500))
        run, summary, _ = await loaded(sim, Closed(1), Bounds(requests=1), through=True, initial_retry_delay=0.01)
        assert len(sim.requests) == 3
    assert (summary.good, summary.retries) == (1, 2)
    assert run.samples[0].total > 2


async def test_errors_by_their_class_and_what_the_first_one_said() -> None:
    async with Simulator(tokens=10) as sim:
        sim.script(Fault.status(500), Fault.status(500), Fault.cut(after=3), Fault.status(400))
        _, summary, calls = await loaded(sim, Closed(1), Bounds(requests=6))
    assert summary.errors == {"ServerError 500": 2, "StreamCut": 1, "InvalidRequest 400": 1}
    assert summary.good == 2
    assert set(calls.said) == set(summary.errors)
    assert len(summary.first) == 2  # of a stream that broke off nothing is counted


async def test_a_call_that_takes_too_long_is_given_up() -> None:
    async with Simulator() as sim:
        sim.script(Fault.latency(seconds=30))
        _, summary, _ = await loaded(sim, Closed(1), Bounds(requests=2), timeout=5)
    assert summary.errors == {"ReadTimeout": 1}


async def test_a_service_that_counts_no_tokens() -> None:
    answer = b"".join(framed(event(word)) for word in ("one", " two", " three")) + framed(event(finish="stop"))
    play = replies(stream_head() + answer + framed(DONE) + END)
    async with RawServer(play) as server, AsyncClient("llvm", base_url=server.url) as client:
        run = await drive(Calls(LoadTarget(client, "m"), Synthetic()), Closed(1), Bounds(requests=2))
    assert summarise(run).uncounted == 2
    assert [sample.output_tokens for sample in run.samples] == [3, 3]  # pieces of the stream


async def test_a_key_that_is_quoted_back_is_not_said() -> None:
    async with Simulator(api_keys=["sk-other"]) as sim:
        sim.always(Fault.status(401, message=f"Incorrect API key provided: {KEY}"))
        _, summary, calls = await loaded(sim, Closed(1), Bounds(requests=2))
    assert list(summary.errors) == ["AuthenticationError 401"]
    assert KEY not in str(calls.said)
    assert KEY not in calls.target.without_secrets(f"see https://x/?key={KEY}")
    assert shown(f"https://me:{KEY}@host:1/v1?key={KEY}") == "https://host:1/v1"


async def test_keys_take_turns_and_none_rests() -> None:
    async with Simulator(api_keys={"one": "sk-one", "two": "sk-two"}) as sim:
        sim.script(*[Fault.status(401)] * 4)
        async with AsyncClient("openai", base_url=sim.url, api_key={"a": "sk-one", "b": "sk-two"}) as client:
            calls = Calls(LoadTarget(client, "m"), Synthetic())
            summary = summarise(await drive(calls, Closed(1), Bounds(requests=8)))
        keys = [request.key for request in sim.requests]
    assert keys == ["one", "two"] * 4
    assert summary.good == 4


async def test_a_missing_key_and_an_operation_that_there_is_none_of_are_said_at_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    plan = Plan(Closed(1), (1,), Bounds(duration=60), warm_up=0)
    async with AsyncClient("openai") as client:
        with pytest.raises(MissingCredential, match="OPENAI_API_KEY"):
            await LoadTest([Calls(LoadTarget(client, "m"), Synthetic())], plan).run()
    async with AsyncClient("claude", api_key=KEY) as client:
        with pytest.raises(UnsupportedOperation):
            await LoadTest([Calls(LoadTarget(client, "m"), Synthetic("embedding"))], plan).run()


async def test_a_service_that_does_not_answer_one_call_is_not_put_under_load() -> None:
    async with Simulator(api_keys=["sk-other"]) as sim:
        async with AsyncClient("openai", base_url=sim.url, api_key=KEY) as client:
            plan = Plan(Closed(8), (8,), Bounds(duration=60))
            with pytest.raises(AuthenticationError):
                await LoadTest([Calls(LoadTarget(client, "m"), Synthetic())], plan).run()
        assert len(sim.requests) == 1


async def test_a_router_is_always_itself() -> None:
    async with Simulator(latency=0.1) as good, Simulator() as broken:
        broken.always(Fault.status(503))
        targets = [
            Target("openai", "m", base_url=broken.url, api_key=KEY, max_retries=0),
            Target("llvm", "m", base_url=good.url),
        ]
        async with AsyncRouter({"smart": targets}) as router:
            target = LoadTarget(router, "smart")
            summary = summarise(await drive(Calls(target, Synthetic()), Closed(2), Bounds(requests=10)))
            assert target.through
            assert KEY not in target.without_secrets(KEY)
    assert summary.good == 10
    assert summary.total == pytest.approx([0.1] * 10, abs=0.02)
