"""The semantic cache in the gateway: forwarded answers, whole and streamed, each client in its own format."""

from __future__ import annotations

from typing import Any

import pytest

from .support import ALIAS, Setup

pytest.importorskip("numpy")


def chat(text: str, **more: Any) -> dict[str, Any]:
    return {"model": ALIAS, "messages": [{"role": "user", "content": text}], **more}


async def embed(text: str) -> list[float]:
    return [1.0, 0.1 * ("quantum" in text)]


def cached(got: Any) -> str:
    return str(got.headers["x-ipfs-accelerate-cache"])


async def test_the_same_question_in_other_words(setup: Setup) -> None:
    front = setup.gateway.app.front
    await front.enable_semantic_cache(embed=embed)
    first = await setup.ask(chat("What is quantum computing?"))
    again = await setup.ask(chat("Please explain quantum computing to me"))
    assert (cached(first), cached(again)) == ("miss", "semantic")
    assert again.body == first.body
    assert float(again.headers["x-ipfs-accelerate-similarity"]) > 0.99
    assert cached(await setup.ask(chat("What is classical computing?"))) == "miss"
    # A stream is another thing than a whole answer where bytes are forwarded.
    stream = await setup.ask(chat("What is quantum computing?", stream=True))
    same = await setup.ask(chat("Tell me about quantum computing", stream=True))
    assert (cached(stream), cached(same)) == ("miss", "semantic")
    assert same.body == stream.body
    assert same.body.endswith(b"data: [DONE]\n\n")
    await front.disable_semantic_cache()


async def test_a_client_of_another_format_gets_no_bytes_of_this_one(setup: Setup) -> None:
    front = setup.gateway.app.front
    await front.enable_semantic_cache(embed=embed)
    await setup.ask(chat("What is quantum computing?"))
    theirs = {**chat("Explain quantum computing"), "max_tokens": 100}
    got = await setup.ask(theirs, "/v1/messages")
    assert (cached(got), b'"type":"message"' in got.body) == ("miss", True)
    again = await setup.ask({**theirs, "messages": chat("What is quantum computing")["messages"]}, "/v1/messages")
    assert (cached(again), b'"type":"message"' in again.body) == ("semantic", True)
    await front.disable_semantic_cache()


async def test_embeddings_are_kept_a_text_at_a_time_for_every_client(setup: Setup) -> None:
    front = setup.gateway.app.front
    await front.enable_cache()
    ask = {"model": ALIAS, "input": ["a", "b"]}
    await setup.ask(ask, "/v1/embeddings")
    got = await setup.ask({**ask, "input": ["b", "c"]}, "/v1/embeddings")
    assert got.status == 200
    assert setup.sim.requests[-1].body["input"] == ["c"]
    both = await setup.ask({**ask, "input": ["c", "a"]}, "/v1/embeddings")
    assert cached(both) == "exact"
    await front.disable_cache()
