"""Groq's own client on the simulator: it puts ``/openai/v1`` before its paths by itself."""

from __future__ import annotations

from collections.abc import AsyncIterator

import groq
import pytest

from ipfs_accelerate_py.simulator import Simulator

SOUND = ("talk.wav", b"RIFF" + bytes(range(256)) * 200)


@pytest.fixture
async def sim() -> AsyncIterator[Simulator]:
    async with Simulator("openai", api_keys={"first": "gsk-test"}) as simulator:
        yield simulator


@pytest.fixture
async def client(sim: Simulator) -> AsyncIterator[groq.AsyncGroq]:
    async with groq.AsyncGroq(base_url=f"http://127.0.0.1:{sim.port}", api_key="gsk-test", max_retries=0) as made:
        yield made


async def test_chat_unary_and_streamed(client: groq.AsyncGroq, sim: Simulator) -> None:
    whole = await client.chat.completions.create(model="m", messages=[{"role": "user", "content": "Hello"}])
    stream = await client.chat.completions.create(
        model="m", messages=[{"role": "user", "content": "Hello"}], stream=True
    )
    pieces = [chunk.choices[0].delta.content or "" async for chunk in stream]
    assert "".join(pieces) == whole.choices[0].message.content
    assert {(request.path, request.key) for request in sim.requests} == {("/openai/v1/chat/completions", "first")}


async def test_sound_and_models(client: groq.AsyncGroq) -> None:
    heard = await client.audio.transcriptions.create(model="whisper-large-v3", file=SOUND)
    plain = await client.audio.transcriptions.create(
        model="whisper-large-v3", file=SOUND, response_format="verbose_json", timestamp_granularities=["word"]
    )
    assert heard.text == plain.text
    assert (await client.audio.translations.create(model="whisper-large-v3", file=SOUND)).text
    said = await client.audio.speech.create(model="playai-tts", voice="Fritz", input="Hello", response_format="wav")
    assert (await said.read()).startswith(b"RIFF")
    assert "gpt-4o" in {model.id for model in (await client.models.list()).data}


async def test_errors(client: groq.AsyncGroq, sim: Simulator) -> None:
    sim.script("429", "500")
    with pytest.raises(groq.RateLimitError):
        await client.models.list()
    with pytest.raises(groq.InternalServerError):
        await client.models.list()
    with pytest.raises(groq.BadRequestError, match="voice"):
        await client.audio.speech.create(model="m", voice=None, input="Hello")  # type: ignore[arg-type]
