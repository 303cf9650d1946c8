"""Aliases: several targets behind one name, for clients of every format, whole answers and streams."""

from __future__ import annotations

from typing import Any

import anthropic
import openai
import pytest

from ipfs_accelerate_py.simulator import Fault

from .aliased import CHAT, FOREIGN, STREAM, TWO, Aliased, aliased
from .support import error_of

BOTH = pytest.mark.parametrize("stream", [False, True], ids=["unary", "stream"])


def openai_client(setup: Aliased) -> openai.AsyncOpenAI:
    return openai.AsyncOpenAI(base_url=setup.gateway.url, api_key="any", max_retries=0)


async def said(setup: Aliased, *, stream: bool) -> tuple[str, set[str], Any]:
    """What OpenAI's own client makes of an answer: text, names of the model, usage."""
    async with openai_client(setup) as client:
        if not stream:
            whole = await client.chat.completions.create(model="smart", messages=CHAT["messages"])
            return whole.choices[0].message.content or "", {whole.model}, whole.usage
        text, models, usage = "", set(), None
        options: Any = {"stream_options": {"include_usage": True}}
        async for chunk in await client.chat.completions.create(
            model="smart", messages=CHAT["messages"], stream=True, **options
        ):
            models.add(chunk.model)
            usage = chunk.usage or usage
            if chunk.choices:
                text += chunk.choices[0].delta.content or ""
        return text, models, usage


@BOTH
@pytest.mark.parametrize("text", [TWO, FOREIGN], ids=["one format", "two formats"])
async def test_openai_s_client_keeps_getting_answers(text: str, stream: bool) -> None:
    services = ("openai", "anthropic") if text is FOREIGN else ("openai", "openai")
    async with aliased(text, *services) as setup:
        first, models, _ = await said(setup, stream=stream)
        assert models == {"gpt-4o"}
        assert setup.counts() == [1, 0]
        setup.sims[0].always(Fault.status(503))
        second, models, usage = await said(setup, stream=stream)
        assert models == {"claude-sonnet-4-5" if text is FOREIGN else "gpt-4o-mini"}
        assert second
        assert usage.completion_tokens > 0
        assert first
        assert setup.counts() == [2, 1]
        await setup.at_rest()


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/v1/messages", {"model": "smart", "max_tokens": 50, "messages": [{"role": "user", "content": "Hi"}]}),
        ("/api/chat", {"model": "smart", "messages": [{"role": "user", "content": "Hi"}], "stream": False}),
        ("/v1beta/models/smart:generateContent", {"contents": [{"parts": [{"text": "Hi"}]}]}),
        ("/v1/responses", {"model": "smart", "input": "Hi"}),
        ("/v1/completions", {"model": "smart", "prompt": "Hi"}),
    ],
    ids=["anthropic", "ollama", "gemini", "responses", "completions"],
)
@pytest.mark.parametrize("streams", [False, True])
async def test_clients_of_every_format_do(path: str, body: dict[str, Any], streams: bool) -> None:
    if streams:
        path = path.replace(":generateContent", ":streamGenerateContent?alt=sse")
        body = body if "contents" in body else {**body, "stream": True}
    async with aliased(TWO) as setup:
        setup.sims[0].always(Fault.status(500))
        got = await setup.ask(body, path)
        assert got.status == 200, got.body
        assert got.headers["x-ipfs-accelerate-model"] == "gpt-4o-mini"
        assert got.headers["x-ipfs-accelerate-attempts"] == "2"
        assert setup.counts() == [1, 1]
        await setup.at_rest()


async def test_anthropic_s_client_does() -> None:
    async with (
        aliased(TWO) as setup,
        anthropic.AsyncAnthropic(
            base_url=setup.gateway.url.removesuffix("/v1"), api_key="any", max_retries=0
        ) as client,
    ):
        setup.sims[0].always(Fault.status(529))
        hello: Any = [{"role": "user", "content": "Hello"}]
        whole = await client.messages.create(model="smart", max_tokens=50, messages=hello)
        assert whole.content[0].text  # type: ignore[union-attr]
        assert whole.model == "gpt-4o-mini"
        async with client.messages.stream(model="smart", max_tokens=50, messages=hello) as stream:
            assert (await stream.get_final_message()).stop_reason in ("end_turn", "max_tokens")


async def test_what_only_one_format_can_say_goes_to_who_understands_it() -> None:
    """The client's own body goes to a target of its format, options that we know nothing of included; a target of
    another format gets it translated."""
    async with aliased(FOREIGN, "openai", "anthropic") as setup:
        await setup.ask({**CHAT, "logprobs": False, "prediction": {"type": "content", "content": "x"}, "seed": 1})
        body = setup.sims[0].requests[-1].body
        assert (body["model"], body["prediction"]) == ("gpt-4o", {"type": "content", "content": "x"})
        setup.sims[0].always(Fault.status(503))
        got = await setup.ask({**CHAT, "stop": ["."], "max_tokens": 9})
        assert got.status == 200
        body = setup.sims[1].requests[-1].body
        assert (body["model"], body["stop_sequences"], body["max_tokens"]) == ("claude-sonnet-4-5", ["."], 9)


async def test_answers_of_the_client_s_own_format_are_passed_on_as_they_are() -> None:
    async with aliased(TWO) as setup:
        got = await setup.ask()
        assert got.json["system_fingerprint"]  # a word that the vocabulary does not have
        stream = await setup.ask(STREAM)
        assert not stream.events[0].get("system_fingerprint")  # in chunks, for another target to go on with them
    async with aliased(TWO.replace("    targets:", "    mid_stream: error\n    targets:")) as setup:
        assert (await setup.ask(STREAM)).events[0]["system_fingerprint"]


async def test_a_stream_s_odd_wishes_are_better_unrescued_than_refused() -> None:
    """Probabilities of tokens have no word in the vocabulary that rescued streams are read in."""
    async with aliased(TWO) as setup:
        got = await setup.ask({**STREAM, "logprobs": True, "top_logprobs": 2})
        assert got.status == 200
        assert setup.sims[0].requests[-1].body["logprobs"] is True
        assert got.events[-1] == "[DONE]"


# --- streams that break ------------------------------------------------------------------------------------------


async def test_a_stream_that_breaks_is_gone_on_with() -> None:
    """Through OpenAI's own client, which sees one answer; the second service was asked to continue it."""
    async with aliased(FOREIGN, "openai", "anthropic") as setup:
        whole, _, _ = await said(setup, stream=True)
        setup.sims[0].script(Fault.cut(after=6))
        text, models, usage = await said(setup, stream=True)
        begun = "".join(part for part in whole.split(" ") if part)
        assert text != whole
        assert begun
        assert models == {"gpt-4o", "claude-sonnet-4-5"}
        assert usage.completion_tokens > 6
        asked = setup.sims[1].requests[-1].body["messages"]
        assert asked[-1]["role"] == "assistant"
        assert text.startswith(asked[-1]["content"] if isinstance(asked[-1]["content"], str) else "")
        assert setup.app.metrics.mid_streams == {("smart", "continued"): 1}
        await setup.at_rest()


async def test_a_stream_that_another_target_tells_in_the_same_words_is_whole() -> None:
    """The two answer alike (temperature 0, say): the second one's repetition is held back."""
    text = TWO.replace("openai/gpt-4o-mini", "openai/gpt-4o")
    async with aliased(text) as setup:
        whole, _, _ = await said(setup, stream=True)
        setup.sims[0].script(Fault.cut(after=6))
        assert (await said(setup, stream=True))[0] == whole
        await setup.at_rest()


async def test_a_stream_that_nobody_can_go_on_with_ends_in_an_error() -> None:
    async with aliased(TWO.replace("    targets:", "    mid_stream: error\n    targets:")) as setup:
        setup.sims[0].script(Fault.cut(after=6))
        got = await setup.ask(STREAM)
        assert got.status == 200
        assert got.events[-1]["error"]["code"] == "stream_cut"
        assert "[DONE]" not in got.events
        assert setup.app.metrics.mid_streams == {("smart", "failed"): 1}
        assert setup.counts() == [1, 0]
        await setup.at_rest()


# --- other ways --------------------------------------------------------------------------------------------------


async def test_a_request_that_does_not_fit_goes_to_who_holds_more() -> None:
    text = """
    model_list:
      - {name: smart, model: openai/gpt-4o, base_url: "{0}", api_key: k, context_fallbacks: [long], settings: {{quick}}}
      - {name: long, model: openai/gpt-4.1, base_url: "{1}", api_key: k, settings: {{quick}}}
    """
    async with aliased(text) as setup:
        setup.sims[0].always(Fault.context_length_exceeded())
        got = await setup.ask()
        assert (got.status, got.headers["x-ipfs-accelerate-model"]) == (200, "gpt-4.1")
        assert setup.counts() == [1, 1]
        setup.sims[0].clear()
        setup.sims[0].always(Fault.content_policy_violation())
        refused = await setup.ask()
        assert (refused.status, error_of(refused)["code"]) == (400, "content_policy_violation")
        assert setup.counts() == [2, 1]


async def test_fallbacks_to_another_name_and_to_a_whole_backend() -> None:
    text = """
    model_list:
      - {name: smart, model: openai/gpt-4o, base_url: "{0}", api_key: k, fallbacks: [openai/gpt-3.5],
         settings: {{quick}}}
    backends:
      openai: {base_url: "{1}", api_key: k, settings: {{quick}}}
    """
    async with aliased(text) as setup:
        setup.sims[0].always(Fault.reset())
        got = await setup.ask()
        assert got.status == 200
        assert setup.sims[1].requests[-1].body["model"] == "gpt-3.5"
        shown = [model["id"] for model in (await setup.get("/v1/models")).json["data"]]
        assert "smart" in shown
        assert "openai/gpt-3.5" not in shown[:1]


async def test_nobody_answers_and_the_first_failure_is_told() -> None:
    async with aliased(TWO) as setup:
        setup.sims[0].always(Fault.status(503, message="Out of order until Monday."))
        setup.sims[1].always(Fault.status(401))
        for body in (CHAT, STREAM):
            got = await setup.ask(body)
            assert got.status == 502
            assert "Out of order until Monday." in error_of(got)["message"]
        assert setup.app.metrics.fallbacks == {("smart", "AuthenticationError"): 2}
        await setup.at_rest()


async def test_calls_of_a_session_stay_together() -> None:
    text = TWO.replace("    targets:", "    sticky: true\n    strategy: weighted\n    targets:")
    async with aliased(text) as setup:
        for _ in range(8):
            assert (await setup.ask(x_session="abc")).status == 200
        assert sorted(setup.counts()) == [0, 8]


async def test_litellm_s_way_of_several_deployments() -> None:
    text = """
    model_list:
      - model_name: smart
        litellm_params: {model: openai/gpt-4o, api_base: "{0}", api_key: k, order: 2, max_retries: 0}
      - model_name: smart
        litellm_params: {model: openai/gpt-4o, api_base: "{1}", api_key: k, order: 1, max_retries: 0}
    """
    async with aliased(text) as setup:
        await setup.ask()
        assert setup.counts() == [0, 1]
        setup.sims[1].always(Fault.status(500))
        assert (await setup.ask()).status == 200
        assert setup.counts() == [1, 2]


async def test_a_gateway_that_is_its_own_target_notices() -> None:
    async with aliased("gateway: {local: false}\nmodel_list: []\n", "openai") as outer:
        url = outer.gateway.url
        text = f'model_list: [{{name: gpt-4o, model: openai/gpt-4o, base_url: "{url}", api_key: k}}]'
        async with aliased(text, "openai") as inner:
            table, other = outer.app.table, inner.app.table
            table._targets.update(other._targets)  # each is the other's target now: one circle
            got = await inner.ask({**CHAT, "model": "gpt-4o"})
            assert got.status == 508
            assert error_of(got)["code"] == "loop_detected"
            assert got.headers["x-should-retry"] == "false"
