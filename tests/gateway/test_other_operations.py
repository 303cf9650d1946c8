"""What is asked beside chat, through the gateway: rankings, labels, verdicts, sound, images, vectors, counts."""

from __future__ import annotations

import base64
import json
from typing import Any

import anthropic
import ollama
import openai
import pytest
from google import genai
from google.genai import types as google_types

from ipfs_accelerate_py.simulator import Fault
from tests.simulator.raw import Got

from .support import ask, error_of
from .test_any_to_any import GATEWAY_KEY, Place, place, root

pytestmark = pytest.mark.filterwarnings("ignore:Inheritance class:DeprecationWarning")  # google-genai's, of aiohttp's

DOCUMENTS = ["Bread is baked.", "Paris is the capital of France.", "Rain falls."]
#: A recording of nothing: 8 kHz, 8 bits, one channel.
WAV = (
    b"RIFF\x24\x00\x00\x00WAVEfmt \x10\x00\x00\x00\x01\x00\x01\x00\x40\x1f\x00\x00\x40\x1f\x00\x00\x01\x00\x08\x00"
    b"data\x00\x00\x00\x00"
)


def client_of(here: Place) -> openai.AsyncOpenAI:
    return openai.AsyncOpenAI(base_url=here.gateway.url, api_key=GATEWAY_KEY, max_retries=0)


async def post(here: Place, path: str, body: dict[str, Any]) -> Got:
    return await ask(here.gateway, {"model": here.model, **body}, path, key=GATEWAY_KEY)


# --- rankings, labels, verdicts ----------------------------------------------------------------------------------


@pytest.mark.parametrize("backend", ["llvm", "hf_tei", "ovms", "opea"])
async def test_a_ranking(backend: str) -> None:
    async with place(backend) as here:
        asked = {"query": "capital?", "documents": DOCUMENTS, "top_n": 2, "return_documents": True}
        got = await post(here, "/v1/rerank", asked)
    assert got.status == 200, got.body
    results = json.loads(got.body)["results"]
    assert len(results) == 2
    assert results[0]["relevance_score"] >= results[1]["relevance_score"]
    assert [each["document"]["text"] for each in results] == [DOCUMENTS[each["index"]] for each in results]


@pytest.mark.parametrize("backend", ["llvm", "hf_tei"])
async def test_labels(backend: str) -> None:
    async with place(backend) as here:
        got = await post(here, "/v1/classify", {"input": ["I love it", "I hate it"]})
    assert got.status == 200, got.body
    data = json.loads(got.body)["data"]
    assert [each["index"] for each in data] == [0, 1]
    assert all(each["label"] == each["labels"][0] for each in data)
    assert all(each["probs"] == sorted(each["probs"], reverse=True) for each in data)


async def test_verdicts() -> None:
    async with place("openai") as here, client_of(here) as client:
        found = await client.moderations.create(model=here.model, input=["Good morning", "Hello"])
    assert len(found.results) == 2
    assert found.results[0].category_scores.violence >= 0


async def test_what_a_service_does_not_have_is_said_and_it_is_not_asked() -> None:
    async with place("claude") as here:
        for path, body in (
            ("/v1/rerank", {"query": "q", "documents": ["a"]}),
            ("/v1/images/generations", {"prompt": "a dot"}),
            ("/v1/audio/speech", {"input": "Hello", "voice": "alloy"}),
            ("/v1/embeddings", {"input": "Hello"}),
        ):
            got = await post(here, path, body)
            assert got.status == 400, (path, got.body)
            assert error_of(got)["code"] == "unsupported_operation"
        assert here.sim.requests == []


@pytest.mark.parametrize(
    ("path", "body", "param"),
    [
        ("/v1/rerank", {"documents": ["a"]}, "query"),
        ("/v1/rerank", {"query": "q", "documents": []}, "documents"),
        ("/v1/rerank", {"query": "q", "documents": [1]}, "documents[0]"),
        ("/v1/images/generations", {"prompt": 5}, "prompt"),
        ("/v1/audio/speech", {"voice": "alloy"}, "input"),
        ("/v1/moderations", {"input": {}}, "input"),
        ("/v1/classify", {"input": [5]}, "input[0]"),
        ("/v1/audio/speech", {"input": "a", "voice": "alloy", "stream": True}, "stream"),
    ],
)
async def test_a_wrong_field_is_named(path: str, body: dict[str, Any], param: str) -> None:
    async with place("openai") as here:
        got = await post(here, path, body)
        assert (got.status, error_of(got)["param"]) == (400, param)
        assert here.sim.requests == []


# --- sound and images --------------------------------------------------------------------------------------------


async def test_speech() -> None:
    async with place("openai") as here, client_of(here) as client:
        spoken = await client.audio.speech.create(model=here.model, voice="alloy", input="Hello", response_format="wav")
        assert spoken.content.startswith(b"RIFF")
        assert spoken.response.headers["content-type"] == "audio/wav"


async def test_transcriptions_in_every_format() -> None:
    async with place("openai") as here, client_of(here) as client:
        create: Any = client.audio.transcriptions.create
        file = ("speech.wav", WAV, "audio/wav")
        assert (await create(model=here.model, file=file, language="en", prompt="Names", temperature=0.1)).text
        plain = await create(model=here.model, file=file)
        text = await create(model=here.model, file=file, response_format="text")
        assert text.strip() == plain.text
        verbose = await create(
            model=here.model, file=file, response_format="verbose_json", timestamp_granularities=["segment"]
        )
        assert "".join(segment.text for segment in verbose.segments).split() == verbose.text.split()
        assert "-->" in await create(model=here.model, file=file, response_format="srt")
        assert (await create(model=here.model, file=file, response_format="vtt")).startswith("WEBVTT")
        with pytest.warns(DeprecationWarning, match="deprecated"):  # the client's own, of this endpoint
            english = await client.audio.translations.create(model=here.model, file=file)
        assert english.text
        assert [request.path.rpartition("/")[2] for request in here.sim.requests] == ["transcriptions"] * 6 + [
            "translations"
        ]


async def test_a_form_that_is_none_is_refused() -> None:
    async with place("openai") as here, client_of(here) as client:
        create: Any = client.audio.transcriptions.create
        with pytest.raises(openai.BadRequestError, match="response_format"):
            await create(model=here.model, file=("a.wav", WAV), response_format="mp3")
        with pytest.raises(openai.NotFoundError):
            await create(model="nobody/has-it", file=("a.wav", WAV))
        got = await ask(here.gateway, {"model": here.model}, "/v1/audio/transcriptions", key=GATEWAY_KEY)
        assert got.status == 415
        assert [request for request in here.sim.requests if request.method == "POST"] == []


@pytest.mark.parametrize("backend", ["openai", "gemini"])
async def test_images(backend: str) -> None:
    async with place(backend) as here, client_of(here) as client:
        made = await client.images.generate(model=here.model, prompt="A red dot", n=1)
        [image] = made.data or []
        assert image.url or base64.b64decode(image.b64_json or "").startswith(b"\x89PNG")


# --- vectors and counts, from every client to every service --------------------------------------------------------


@pytest.mark.parametrize("backend", ["openai", "gemini", "ollama", "hf_tei", "ovms"])
async def test_vectors_for_every_client(backend: str) -> None:
    async with place(backend) as here:
        async with client_of(here) as client:
            ours = (await client.embeddings.create(model=here.model, input=["a", "b"], encoding_format="float")).data
        options = google_types.HttpOptions(base_url=root(here))
        async with genai.Client(api_key=GATEWAY_KEY, http_options=options).aio as google:
            contents: Any = ["a", "b"]
            googles = (await google.models.embed_content(model=here.model, contents=contents)).embeddings or []
        async with ollama.AsyncClient(root(here), headers={"Authorization": f"Bearer {GATEWAY_KEY}"}) as client:
            ollamas = (await client.embed(model=here.model, input=["a", "b"])).embeddings
    for ours_one, google_one, ollama_one in zip(ours, googles, ollamas, strict=True):
        assert google_one.values == pytest.approx(ours_one.embedding, abs=1e-6)
        assert list(ollama_one) == pytest.approx(ours_one.embedding, abs=1e-6)


@pytest.mark.parametrize("backend", ["openai", "claude", "gemini", "llvm"])
async def test_tokens_are_counted_for_anthropics_and_googles_clients(backend: str) -> None:
    async with place(backend) as here:
        async with anthropic.AsyncAnthropic(base_url=root(here), api_key=GATEWAY_KEY, max_retries=0) as client:
            counted = await client.messages.count_tokens(
                model=here.model, messages=[{"role": "user", "content": "How many tokens is this?"}]
            )
        options = google_types.HttpOptions(base_url=root(here))
        async with genai.Client(api_key=GATEWAY_KEY, http_options=options).aio as google:
            also = await google.models.count_tokens(model=here.model, contents="How many tokens is this?")
    assert counted.input_tokens == also.total_tokens
    assert counted.input_tokens > 3


async def test_a_failure_of_the_upstream_is_the_clients_own_error() -> None:
    async with place("openai") as here, client_of(here) as client:
        here.sim.always(Fault.status(503))
        with pytest.raises(openai.InternalServerError):
            await client.images.generate(model=here.model, prompt="x")
        here.sim.clear()
        here.sim.always(Fault.status(429, retry_after=2))
        with pytest.raises(openai.RateLimitError) as caught:
            await client.moderations.create(model=here.model, input="x")
        assert caught.value.response.headers["retry-after"] == "2"
