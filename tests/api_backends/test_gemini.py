"""`gemini`: the older API's words for Google's service."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from typing import Any

import pytest

from ipfs_accelerate_py.api_backends import gemini
from ipfs_accelerate_py.errors import ConfigurationError, MissingCredential
from ipfs_accelerate_py.simulator import SimulatorThread

MESSAGES = [{"role": "user", "content": "Hello"}]
PNG = b"\x89PNG\r\n\x1a\n" + bytes(8)


@pytest.fixture
def sim() -> Iterator[SimulatorThread]:
    with SimulatorThread("gemini", tokens=5, dimensions=4) as simulator:
        yield simulator


@pytest.fixture
def api(sim: SimulatorThread) -> Iterator[gemini]:
    with gemini({}, {"google_api_key": "AIza-1", "google_base_url": sim.url}, initial_retry_delay=0.001) as made:
        yield made


def body(sim: SimulatorThread) -> Any:
    return sim.requests[-1].body


def test_chat(api: gemini, sim: SimulatorThread) -> None:
    result = api.chat(MESSAGES)
    assert result["text"]
    assert (result["model"], result["finish_reason"]) == ("gemini-2.5-flash", "stop")
    assert result["usage"]["total_tokens"] == result["usage"]["prompt_tokens"] + 5
    assert api.chat("Hello")["text"] == result["text"]
    other = api.chat(MESSAGES, "gemini-2.5-pro", temperature=0.5, max_tokens=2, safety_settings=[])
    assert (other["model"], other["finish_reason"]) == ("gemini-2.5-pro", "length")
    assert body(sim)["generationConfig"] == {"temperature": 0.5, "maxOutputTokens": 2}
    assert sim.requests[-1].query == ""


async def test_chat_awaited_and_streamed(api: gemini) -> None:
    whole = await api.achat(MESSAGES)
    pieces = [piece async for piece in api.astream_chat(MESSAGES)]
    assert "".join(piece["text"] for piece in pieces) == whole["text"]
    assert [piece["done"] for piece in pieces] == [False] * 5 + [True]


def test_streamed(api: gemini) -> None:
    pieces = list(api.stream_chat(MESSAGES, model="gemini-2.5-pro", system="Be brief"))
    assert "".join(piece["text"] for piece in pieces) == api.chat(MESSAGES, system="Be brief")["text"]
    assert (pieces[-1]["done"], pieces[-1]["model"], pieces[-1]["finish_reason"]) == (True, "gemini-2.5-pro", "stop")


def test_tool_calls_go_back_with_their_signatures(api: gemini) -> None:
    tools = [{"type": "function", "function": {"name": "get_time"}}]
    asked = [{"role": "user", "content": "get_time please"}]
    calls = api.chat(asked, "gemini-3-pro-preview", tools=tools)["tool_calls"]
    assert calls[0]["extra_content"]["google"]["thought_signature"]
    result = {"role": "tool", "tool_call_id": calls[0]["id"], "content": "noon"}
    turns = [*asked, {"role": "assistant", "content": None, "tool_calls": calls}, result]
    assert api.chat(turns, "gemini-3-pro-preview", tools=tools)["text"]


@pytest.mark.parametrize(
    ("data", "kind"),
    [
        (PNG, "image/png"),
        (b"\xff\xd8\xff\xe0" + bytes(8), "image/jpeg"),
        (b"GIF89a" + bytes(8), "image/gif"),
        (b"RIFF\x00\x00\x00\x00WEBPVP8 ", "image/webp"),
        (b"\x00\x00\x00\x18ftypheic" + bytes(4), "image/heic"),
        (b"%PDF-1.7", "application/pdf"),
    ],
)
def test_an_images_type_is_told_from_its_bytes(api: gemini, sim: SimulatorThread, data: bytes, kind: str) -> None:
    for given in (data, bytearray(data), base64.b64encode(data).decode()):
        assert api.process_image(given, "What is this?")["text"]
        image, text = body(sim)["contents"][0]["parts"]
        assert image == {"inlineData": {"mimeType": kind, "data": base64.b64encode(data).decode()}}
        assert text == {"text": "What is this?"}


async def test_images_by_other_ways(api: gemini, sim: SimulatorThread) -> None:
    result = await api.aprocess_image(b"anything", "What?", "gemini-2.5-pro", "image/x-mine")
    assert result["model"] == "gemini-2.5-pro"
    assert body(sim)["contents"][0]["parts"][0]["inlineData"]["mimeType"] == "image/x-mine"
    api.process_image("https://example.com/cat.png")
    assert body(sim)["contents"][0]["parts"][0]["fileData"]["fileUri"] == "https://example.com/cat.png"
    for wrong in (b"anything", "no base64!", 5):
        with pytest.raises(ConfigurationError):
            api.process_image(wrong, "What?")  # type: ignore[arg-type]


async def test_embeddings(api: gemini, sim: SimulatorThread) -> None:
    one = api.embedding("a")
    assert (len(one["embedding"]), one["embeddings"]) == (4, [one["embedding"]])
    several = await api.aembedding(["a", "b"], dimensions=3, task_type="CLUSTERING")
    assert [len(vector) for vector in several["embedding"]] == [3, 3]
    assert sim.requests[-1].path == "/v1beta/models/gemini-embedding-001:batchEmbedContents"


async def test_handlers_counts_models_and_posts(api: gemini) -> None:
    handler = api.create_gemini_endpoint_handler(max_tokens=2)
    assert handler("Hello")["finish_reason"] == "length"
    assert (await handler("Hello", max_tokens=50))["finish_reason"] == "stop"
    assert api.count_tokens("Hello there") == await api.acount_tokens("Hello there") == 3
    assert "gemini-2.5-flash" in [model["id"] for model in api.list_models()]
    data = {"contents": [{"role": "user", "parts": [{"text": "Hello"}]}]}
    raw = api.make_post_request("/models/gemini-2.5-flash:generateContent", data)
    assert raw["candidates"][0]["content"]["parts"][0]["text"] == api.chat("Hello")["text"]


def test_keys_and_models_are_found_where_they_are_set(sim: SimulatorThread, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("GOOGLE_API_KEY", "GEMINI_API_KEY"):
        monkeypatch.delenv(name, raising=False)
    with gemini(base_url=sim.url) as api, pytest.raises(MissingCredential, match="GOOGLE_API_KEY or GEMINI_API_KEY"):
        api.chat("Hello")
    monkeypatch.setenv("GEMINI_API_KEY", "AIza-2")
    with gemini(base_url=sim.url, model="gemini-2.5-pro") as api:
        assert api.chat("Hello")["model"] == "gemini-2.5-pro"
    assert sim.requests[-1].key == sim.key_name("AIza-2")
    with gemini(metadata={"gemini_api_key": "AIza-3"}, base_url=sim.url) as api:
        api.chat("Hello")
    assert sim.requests[-1].key == sim.key_name("AIza-3")
