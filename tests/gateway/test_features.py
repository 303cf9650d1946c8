"""What a configuration switches on: batching, the semantic cache, hedging; and what is said of what cannot be had."""

from __future__ import annotations

import asyncio
from typing import Any

import openai
import pytest

from ipfs_accelerate_py.errors import ConfigurationError
from ipfs_accelerate_py.gateway import RunningGateway
from ipfs_accelerate_py.simulator import Fault

from .aliased import CHAT, STREAM, TWO, aliased, read

pytestmark = pytest.mark.virtual_time

EMBEDDINGS = """
model_list:
  - name: vectors
    targets:
      - {model: openai/text-embedding-3-small, base_url: "{0}", api_key: k, settings: {{quick}}}
      - {model: openai/text-embedding-3-small, base_url: "{1}", api_key: k, settings: {{quick}}}
  - {name: plain, model: openai/text-embedding-3-small, base_url: "{0}", api_key: k, settings: {{quick}}}
"""


@pytest.mark.parametrize("name", ["vectors", "plain"])
async def test_embeddings_of_many_clients_are_merged_and_split_exactly(name: str) -> None:
    text = EMBEDDINGS + "batching: {batch_timeout: 0.05}\n"
    async with aliased(text) as setup, aliased(EMBEDDINGS) as without:

        async def vectors(gateway: RunningGateway) -> list[Any]:
            async with openai.AsyncOpenAI(base_url=gateway.url, api_key="any", max_retries=0) as client:
                asked = (client.embeddings.create(model=name, input=f"text {n}") for n in range(12))
                return [each.data[0].embedding for each in await asyncio.gather(*asked)]

        assert await vectors(setup.gateway) == await vectors(without.gateway)
        assert without.counts() == [12, 0]
        assert sum(setup.counts()) < 6
        if name == "vectors":
            setup.sims[0].always(Fault.status(503))
            assert len(await vectors(setup.gateway)) == 12
        await setup.at_rest()


async def test_the_semantic_cache_asks_a_model_that_the_gateway_serves() -> None:
    text = (
        TWO
        + """  - {name: vectors, model: openai/text-embedding-3-small, base_url: "{1}", api_key: k}
cache: {semantic: {embedding_model: vectors, similarity_threshold: 0.99}}
keys: [{name: a, key: sk-a}, {name: b, key: sk-b}]
"""
    )
    async with aliased(text) as setup:
        told = []
        for key, body in (("sk-a", CHAT), ("sk-a", CHAT), ("sk-b", CHAT), ("sk-a", {**CHAT, "temperature": 0.5})):
            got = await setup.ask(body, key=key)
            assert got.status == 200
            told.append(got.headers["x-ipfs-accelerate-cache"])
        assert told == ["miss", "semantic", "miss", "miss"]
        hit = await setup.ask(key="sk-a")
        assert float(hit.headers["x-ipfs-accelerate-similarity"]) > 0.99
        assert setup.counts()[0] == 3


@pytest.mark.parametrize("body", [CHAT, STREAM], ids=["unary", "stream"])
async def test_a_slow_answer_gets_a_second_attempt_at_another_target(body: dict[str, Any]) -> None:
    async with aliased(TWO.replace("    targets:", "    hedge: 0.05\n    targets:")) as setup:
        setup.sims[0].always(Fault.latency(seconds=1.0))
        got = await setup.ask(body)
        assert got.status == 200
        assert got.headers["x-ipfs-accelerate-model"] == "gpt-4o-mini"
        assert setup.app.front.hedging_stats()["won"] == 1
        await setup.at_rest()


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("batching: {operations: [chat]}", "gateway.yaml:1: batching: operations that can be merged are"),
        ("\ntracing: {endpoint: 'ftp://x'}", "gateway.yaml:2: tracing: endpoint must be"),
        ("alerts:\n- {metric: shoe_size, above: 1}", "gateway.yaml:2: alerts[0]: there is nothing called 'shoe_size'"),
        ("hedging: {after: p200}", "gateway.yaml:1: hedging: "),
        ("cache: {exact: {store: disk, path: /dev/null/x}}", "gateway.yaml:1: cache.exact: "),
    ],
)
async def test_what_cannot_be_had_is_told_before_it_listens(text: str, words: str) -> None:
    gateway = RunningGateway(read(text))
    with pytest.raises(ConfigurationError) as refused:
        await gateway.start()
    assert words in str(refused.value)
    await gateway.app.aclose()


@pytest.mark.virtual_time(False)  # the cache on disk has a thread of its own
async def test_what_was_switched_on_ends_with_the_gateway(tmp_path: Any) -> None:
    text = (
        TWO
        + f"""
cache: {{exact: {{store: disk, path: {tmp_path / "answers"}, time_limit: 30}}}}
ledger: {{path: {tmp_path / "usage.sqlite3"}}}
alerts: [{{metric: error_rate, above: 0.5, log: false}}]
log_calls: INFO
single_flight: true
"""
    )
    for expected in ("miss", "exact"):  # and what was kept is there again
        async with aliased(text) as setup:
            first = await setup.ask()
            assert (first.status, first.headers["x-ipfs-accelerate-cache"]) == (200, expected)
            text = text.replace("{0}", setup.sims[0].url).replace("{1}", setup.sims[1].url)


async def test_a_client_s_span_is_known_to_the_call() -> None:
    seen: list[Any] = []

    async def look(call: Any) -> Any:
        seen.append(call.trace)
        raise ConfigurationError("enough")

    async with aliased(TWO) as setup:
        setup.app.front.front.install("limits", lambda inner: look)
        parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
        await setup.ask(traceparent=parent, tracestate="a=1")
        await setup.ask(tracestate="a=1")
    assert seen == [{"traceparent": parent, "tracestate": "a=1"}, None]
