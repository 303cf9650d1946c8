"""Aliases together with what else there is: caches, the Responses API in front of others, limits of time."""

from __future__ import annotations

import asyncio
from typing import Any

import openai
import pytest

from ipfs_accelerate_py.simulator import Fault

from .aliased import CHAT, FOREIGN, STREAM, TWO, aliased
from .support import error_of

pytestmark = pytest.mark.virtual_time

BOTH = pytest.mark.parametrize("body", [CHAT, STREAM], ids=["unary", "stream"])


@BOTH
@pytest.mark.parametrize("text", [TWO, FOREIGN], ids=["one format", "two formats"])
async def test_kept_answers_of_an_alias_are_what_they_were(text: str, body: dict[str, Any]) -> None:
    services = ("openai", "anthropic") if text is FOREIGN else ("openai", "openai")
    async with aliased(text + "cache: {exact: true}\n", *services) as setup:
        setup.sims[0].always(Fault.status(503))
        first, second = await setup.ask(body), await setup.ask(body)
        assert [each.headers["x-ipfs-accelerate-cache"] for each in (first, second)] == ["miss", "exact"]
        if body is STREAM:
            assert "".join(second.tokens) == "".join(first.tokens) != ""
            assert second.events[-1] == "[DONE]"
        else:
            assert second.json["choices"] == first.json["choices"]
        for got in (first, second):
            assert got.headers["x-ipfs-accelerate-model"] in ("gpt-4o-mini", "claude-sonnet-4-5")
        assert second.headers["x-ipfs-accelerate-attempts"] == "0"
        assert setup.counts() == [1, 1]


@pytest.mark.parametrize("stream", [False, True])
async def test_a_response_from_whichever_target(stream: bool) -> None:
    """The first target has the API, the second one is asked for a chat; both are what OpenAI's client reads."""
    async with (
        aliased(FOREIGN, "openai", "anthropic") as setup,
        openai.AsyncOpenAI(base_url=setup.gateway.url, api_key="any", max_retries=0) as client,
    ):
        for failing in (False, True):
            if failing:
                setup.sims[0].always(Fault.status(500))
            if stream:
                events = [
                    event async for event in await client.responses.create(model="smart", input="Hi", stream=True)
                ]
                assert events[-1].type in ("response.completed", "response.incomplete")
                text = events[-1].response.output_text
            else:
                text = (await client.responses.create(model="smart", input="Hi")).output_text
            assert text
        assert setup.counts() == [2, 1]
        await setup.at_rest()


async def test_limits_of_time_of_target_name_and_everything() -> None:
    text = """
    settings: {total_timeout: 5}
    model_list:
      - name: smart
        total_timeout: 0.3
        targets: [{model: openai/gpt-4o, base_url: "{0}", api_key: k, settings: {{quick}}}]
        strategy: order
      - {name: plain, model: openai/gpt-4o, base_url: "{0}", api_key: k, settings: {total_timeout: 0.1, max_retries: 0}}
    """
    async with aliased(text, "openai") as setup:
        setup.sims[0].always(Fault.hang())
        loop = asyncio.get_running_loop()
        for name, seconds in (("smart", 0.3), ("plain", 0.1)):
            began = loop.time()
            got = await setup.ask({**CHAT, "model": name})
            assert (got.status, error_of(got)["code"]) == (504, "read_timeout")
            assert seconds * 0.9 < loop.time() - began < seconds + 1


async def test_a_list_in_gemini_s_own_stream_of_an_array() -> None:
    async with aliased(TWO) as setup:
        setup.sims[0].script(Fault.status(500))
        body = {"contents": [{"parts": [{"text": "Hi"}]}]}
        got = await setup.ask(body, "/v1beta/models/smart:streamGenerateContent")
        assert got.status == 200
        assert got.json[-1]["candidates"][0]["finishReason"]


async def test_many_clients_while_a_target_comes_and_goes() -> None:
    """Nobody gets an error while the other one is well, and all is given back in the end."""
    async with aliased(TWO) as setup:

        async def client(number: int) -> int:
            statuses = [(await setup.ask(STREAM if number % 2 else CHAT)).status for _ in range(6)]
            return sum(status != 200 for status in statuses)

        async def trouble() -> None:
            sim = setup.sims[0]
            for _ in range(4):
                sim.always(Fault.status(503))
                await asyncio.sleep(0.05)
                sim.clear()
                await asyncio.sleep(0.02)

        troubled = asyncio.create_task(trouble())
        failed = await asyncio.gather(*(client(number) for number in range(20)))
        await troubled
        assert sum(failed) == 0
        await setup.at_rest()
