"""Our own client on the simulator: what the older API has no method for."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from ipfs_accelerate_py import AsyncClient
from ipfs_accelerate_py.dialects.forms import Part, encode_form
from ipfs_accelerate_py.errors import (
    AuthenticationError,
    BackendError,
    ModelNotFound,
    RateLimited,
    ServerError,
    StreamCut,
)
from ipfs_accelerate_py.simulator import Fault, Simulator

Open = Callable[..., AsyncClient]


@pytest.fixture
async def sim() -> AsyncIterator[Simulator]:
    async with Simulator("openai") as simulator:
        yield simulator


@pytest.fixture
async def client(sim: Simulator) -> AsyncIterator[AsyncClient]:
    async with AsyncClient("llvm", base_url=sim.url, max_retries=0) as made:
        yield made


async def test_an_image_is_edited_by_any_path(client: AsyncClient) -> None:
    body, kind = encode_form([Part("model", b"gpt-image-1"), Part("prompt", b"Bluer"), Part("image", b"...", "a.png")])
    reply = await client.request("/images/edits", body, content_type=kind)
    assert len(reply.raw["data"]) == 1
    assert reply.usage.output_tokens == 272


async def test_a_recording_by_any_path_comes_as_it_is(client: AsyncClient) -> None:
    body = {"model": "tts-1", "voice": "alloy", "input": "Hello", "response_format": "wav"}
    reply = await client.request("/audio/speech", body)
    assert (reply.body[:4], reply.content_type, reply.raw) == (b"RIFF", "audio/wav", None)
    assert reply.body == (await client.speak("tts-1", "Hello", voice="alloy", response_format="wav")).body


async def test_events_by_any_path(client: AsyncClient) -> None:
    body = {"model": "m", "messages": [{"role": "user", "content": "Hello"}], "stream": True}
    async with client.stream_request("/chat/completions", body) as stream:
        pieces = [chunk.raw["choices"][0]["delta"].get("content") or "" async for chunk in stream]
    assert "".join(pieces) == (await client.chat("m", "Hello")).text


async def test_labels(client: AsyncClient) -> None:
    reply = await client.classify("m", ["fine", "awful"])
    assert [len(labels) for labels in reply.labels] == [1, 1]
    assert all(0 < labels[0].score <= 1 for labels in reply.labels)


CALLS: list[Callable[[AsyncClient], Any]] = [
    lambda client: client.generate_images("m", "A lake"),
    lambda client: client.speak("m", "Hello", voice="alloy"),
    lambda client: client.transcribe("m", b"RIFF..."),
    lambda client: client.transcribe("m", b"RIFF...", response_format="srt"),
    lambda client: client.moderate("m", "Hello"),
    lambda client: client.rerank("m", "a", ["b"]),
    lambda client: client.classify("m", "a"),
    lambda client: client.count_tokens("m", "a"),
]
NAMES = ["image", "speech", "transcription", "subtitles", "moderation", "rerank", "classify", "count"]


@pytest.mark.parametrize("call", CALLS, ids=NAMES)
async def test_errors_are_those_of_the_tree(client: AsyncClient, sim: Simulator, call: Any) -> None:
    sim.script("401", "500", "model_not_found")
    with pytest.raises(AuthenticationError, match=r"^Authentication error"):
        await call(client)
    with pytest.raises(ServerError):
        await call(client)
    with pytest.raises(ModelNotFound):
        await call(client)
    assert await call(client)
    sim.script(Fault.status(429, retry_after=7))
    with pytest.raises(RateLimited, match=r"^Rate limit") as limited:
        await call(client)
    assert limited.value.retry_after == 7


@pytest.mark.parametrize("fault", ["html", "not_object", "error_200", "close"])
@pytest.mark.parametrize("call", CALLS, ids=NAMES)
async def test_an_answer_that_is_none_is_never_taken_for_one(
    client: AsyncClient, sim: Simulator, call: Any, fault: str
) -> None:
    sim.script(fault)
    with pytest.raises(BackendError):
        await call(client)
    assert await call(client)


async def test_a_stream_of_any_path_that_is_cut_is_an_error(client: AsyncClient, sim: Simulator) -> None:
    body = {"model": "m", "messages": [{"role": "user", "content": "Hello"}], "stream": True}
    sim.script(Fault.cut(after=3))
    with pytest.raises((StreamCut, BackendError)):
        async for _ in client.stream_request("/chat/completions", body):
            pass
