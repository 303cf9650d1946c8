"""The simulator's images, sound, verdicts, rankings and counts, seen by the official clients and held to the spec."""

from __future__ import annotations

import base64
import io
import wave
from collections.abc import AsyncIterator
from typing import Any

import httpx
import openai
import pytest
from openai import AsyncOpenAI

from ipfs_accelerate_py.simulator import Simulator

from .test_simulator_spec import _FILE, Spec, spec  # noqa: F401  # the fixture

SOUND = ("talk.wav", b"RIFF" + bytes(range(256)) * 200, "audio/wav")


@pytest.fixture
async def sim() -> AsyncIterator[Simulator]:
    async with Simulator("openai") as simulator:
        yield simulator


@pytest.fixture
async def client(sim: Simulator) -> AsyncIterator[AsyncOpenAI]:
    async with AsyncOpenAI(base_url=sim.url, api_key="sk-test", max_retries=0) as made:
        yield made


@pytest.fixture
async def http(sim: Simulator) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{sim.port}") as made:
        yield made


# --- images ------------------------------------------------------------------------------------------------------


def size_of(png: bytes) -> tuple[int, int]:
    assert png.startswith(b"\x89PNG\r\n\x1a\n")
    return int.from_bytes(png[16:20], "big"), int.from_bytes(png[20:24], "big")


async def test_images_by_url_can_be_fetched(client: AsyncOpenAI, http: httpx.AsyncClient) -> None:
    made = await client.images.generate(model="dall-e-3", prompt="A lake", size="1024x1024")
    assert made.data is not None
    (image,) = made.data
    assert image.url is not None
    assert image.revised_prompt is not None
    got = await http.get(image.url)
    assert (got.status_code, got.headers["content-type"]) == (200, "image/png")
    assert size_of(got.content) == (1024, 1024)
    assert (await http.get("/simulated/pictures/none.png")).status_code == 404


async def test_images_by_value_are_the_same_each_time(client: AsyncOpenAI) -> None:
    first, second = [await client.images.generate(model="gpt-image-1", prompt="A lake", n=2) for _ in range(2)]
    assert first.data == second.data
    assert first.data is not None
    assert first.usage is not None
    assert [size_of(base64.b64decode(image.b64_json or "")) for image in first.data] == [(1024, 1024)] * 2
    assert first.usage.total_tokens == first.usage.input_tokens + first.usage.output_tokens


async def test_an_image_can_be_edited(client: AsyncOpenAI) -> None:
    made = await client.images.edit(model="gpt-image-1", image=("a.png", b"\x89PNG..."), prompt="Bluer", n=2)
    assert len(made.data or ()) == 2


# --- sound -------------------------------------------------------------------------------------------------------


async def test_speech_is_a_recording(client: AsyncOpenAI) -> None:
    got = await client.audio.speech.create(model="tts-1", voice="alloy", input="Hello there.", response_format="wav")
    with wave.open(io.BytesIO(got.content)) as recording:
        assert (recording.getframerate(), recording.getnchannels(), recording.getnframes()) == (16000, 1, 9600)
    assert got.response.headers["content-type"] == "audio/wav"
    other = await client.audio.speech.create(model="tts-1", voice="alloy", input="Hello there.")
    assert (other.content[:3], other.response.headers["content-type"]) == (b"ID3", "audio/mpeg")


@pytest.mark.filterwarnings("ignore:deprecated:DeprecationWarning")  # the client's own word on translations
async def test_a_recording_is_heard(client: AsyncOpenAI, sim: Simulator) -> None:
    plain = await client.audio.transcriptions.create(model="whisper-1", file=SOUND)
    text = await client.audio.transcriptions.create(model="whisper-1", file=SOUND, response_format="text")
    assert text == plain.text + "\n"
    verbose = await client.audio.transcriptions.create(
        model="whisper-1", file=SOUND, response_format="verbose_json", timestamp_granularities=["word", "segment"]
    )
    assert verbose.text == plain.text
    assert verbose.segments is not None
    assert " ".join(segment.text.strip() for segment in verbose.segments) == plain.text
    assert verbose.words is not None
    assert " ".join(word.word for word in verbose.words) == plain.text
    subtitles = await client.audio.transcriptions.create(model="whisper-1", file=SOUND, response_format="vtt")
    assert subtitles.startswith("WEBVTT\n\n00:00:00.000 --> ")
    sim.configure(reply="Forty-two.")
    assert (await client.audio.translations.create(model="whisper-1", file=SOUND)).text == "Forty-two."


async def test_who_speaks(client: AsyncOpenAI) -> None:
    heard = await client.audio.transcriptions.create(
        model="gpt-4o-transcribe-diarize", file=SOUND, response_format="diarized_json"
    )
    assert [segment.speaker for segment in heard.segments] == ["A", "B", "A"]
    assert heard.usage is not None


# --- verdicts ----------------------------------------------------------------------------------------------------


async def test_texts_are_judged(client: AsyncOpenAI) -> None:
    judged = await client.moderations.create(model="omni-moderation-latest", input=["Hello", "I will kill it"])
    assert [result.flagged for result in judged.results] == [False, True]
    assert judged.results[1].categories.violence
    picture: Any = {"type": "image_url", "image_url": {"url": "https://example.com/a.png"}}
    assert len((await client.moderations.create(input=[{"type": "text", "text": "?"}, picture])).results) == 1


async def test_tokens_are_counted(client: AsyncOpenAI) -> None:
    counted = await client.responses.input_tokens.count(model="gpt-4o", input="Hello there")
    answered = await client.responses.create(model="gpt-4o", input="Hello there")
    assert answered.usage is not None
    assert counted.input_tokens == answered.usage.input_tokens


# --- what vLLM and llama.cpp have besides ------------------------------------------------------------------------


async def test_documents_are_ranked(http: httpx.AsyncClient) -> None:
    body = {"model": "bge", "query": "red apple", "documents": ["a stone", {"text": "a red apple"}], "top_n": 1}
    for path in ("/rerank", "/v1/rerank"):
        (result,) = (await http.post(path, json=body)).json()["results"]
        assert (result["index"], result["document"]) == (1, {"text": "a red apple"})
    without = (await http.post("/rerank", json={**body, "return_documents": False})).json()["results"]
    assert "document" not in without[0]


async def test_labels_and_counts_lie_above_the_version(http: httpx.AsyncClient) -> None:
    labels = (await http.post("/classify", json={"model": "m", "input": ["a", "b"]})).json()["data"]
    assert all(abs(sum(each["probs"]) - 1) < 1e-9 and each["num_classes"] == 3 for each in labels)
    chat = {"model": "m", "messages": [{"role": "user", "content": "Hello"}]}
    counted = (await http.post("/tokenize", json=chat)).json()
    assert counted["count"] == len(counted["tokens"]) == 9
    assert (await http.post("/tokenize", json={"model": "m", "prompt": "Hello"})).json()["count"] == 2
    assert (await http.post("/v1/chat/completions/input_tokens", json=chat)).json()["input_tokens"] == 9
    assert (await http.post("/v1/tokenize", json=chat)).status_code == 404


# --- wrong requests ----------------------------------------------------------------------------------------------

WRONG: list[tuple[str, dict[str, Any], str]] = [
    ("/v1/images/generations", {"model": "dall-e-2"}, "prompt"),
    ("/v1/images/generations", {"model": "dall-e-2", "prompt": "a", "n": 11}, "n"),
    ("/v1/images/generations", {"model": "dall-e-3", "prompt": "a", "n": 2}, "n"),
    ("/v1/images/generations", {"model": "dall-e-2", "prompt": "a", "size": "big"}, "size"),
    ("/v1/images/generations", {"model": "gpt-image-1", "prompt": "a", "response_format": "url"}, "response_format"),
    ("/v1/audio/speech", {"model": "tts-1", "input": "a"}, "voice"),
    ("/v1/audio/speech", {"model": "tts-1", "input": "a" * 5000, "voice": "alloy"}, "input"),
    ("/v1/audio/speech", {"model": "tts-1", "input": "a", "voice": "alloy", "speed": 9}, "speed"),
    ("/v1/moderations", {}, "input"),
    ("/v1/moderations", {"input": [{"type": "video"}]}, "input[0]"),
    ("/v1/rerank", {"model": "m", "query": "a"}, "documents"),
    ("/classify", {"model": "m"}, "input"),
    ("/tokenize", {"model": "m"}, "prompt"),
    ("/v1/chat/completions/input_tokens", {"model": "m"}, "messages"),
]


@pytest.mark.parametrize(("path", "body", "param"), WRONG)
async def test_wrong_requests_are_refused_by_name(
    http: httpx.AsyncClient, path: str, body: dict[str, Any], param: str
) -> None:
    got = await http.post(path, json=body)
    assert (got.status_code, got.json()["error"]["param"]) == (400, param)


async def test_wrong_forms_are_refused(client: AsyncOpenAI, http: httpx.AsyncClient) -> None:
    calls: list[dict[str, Any]] = [
        {"data": {"model": "whisper-1"}, "files": {"other": SOUND}},
        {"data": {"model": "whisper-1"}, "files": {"file": ("a.wav", b"")}},
        {"data": {"model": "whisper-1"}, "files": {"file": ("a", b"x")}},
        {"data": {"model": "whisper-1", "response_format": "xml"}, "files": {"file": SOUND}},
        {"data": {"model": "whisper-1", "response_format": "diarized_json"}, "files": {"file": SOUND}},
        {"data": {"model": "whisper-1", "temperature": "warm"}, "files": {"file": SOUND}},
        {"data": {"model": "whisper-1", "timestamp_granularities[]": "word"}, "files": {"file": SOUND}},
        {"files": {"file": SOUND}},
        {"json": {"model": "whisper-1"}},
        {"content": b"--b\r\n", "headers": {"content-type": "multipart/form-data; boundary=b"}},
    ]
    for call in calls:
        assert (await http.post("/v1/audio/transcriptions", **call)).status_code == 400, call
    with pytest.raises(openai.BadRequestError, match="temperature"):
        await client.audio.transcriptions.create(model="whisper-1", file=SOUND, temperature=3)
    assert (await http.get("/v1/audio/speech")).status_code == 405
    assert (await http.get("/tokenize")).status_code == 405


# --- the spec ----------------------------------------------------------------------------------------------------


@pytest.mark.skipif(_FILE is None, reason="openai.openapi.yaml not found")
async def test_answers_are_what_the_description_says(http: httpx.AsyncClient, spec: Spec) -> None:  # noqa: F811
    async def post(path: str, **call: Any) -> Any:
        got = await http.post("/v1/" + path, **call)
        assert got.status_code == 200, got.text
        return got.json()

    for model in ("dall-e-3", "gpt-image-1"):
        spec.check("ImagesResponse", await post("images/generations", json={"model": model, "prompt": "a"}))
    spec.check("CreateModerationResponse", await post("moderations", json={"input": "a"}))
    spec.check("TokenCountsResource", await post("responses/input_tokens", json={"input": "a"}))
    for form, name in (("json", "Json"), ("verbose_json", "VerboseJson"), ("diarized_json", "DiarizedJson")):
        data = {"model": "gpt-4o-transcribe-diarize" if form == "diarized_json" else "whisper-1"}
        answer = await post("audio/transcriptions", data={**data, "response_format": form}, files={"file": SOUND})
        spec.check(f"CreateTranscriptionResponse{name}", answer)
    answer = await post("audio/translations", data={**data, "response_format": "verbose_json"}, files={"file": SOUND})
    spec.check("CreateTranslationResponseVerboseJson", answer)
