"""`opea`: what the older API asks of it, against the simulated services."""

from __future__ import annotations

import asyncio
import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ipfs_accelerate_py import Client
from ipfs_accelerate_py.api_backends import opea
from ipfs_accelerate_py.errors import (
    ConfigurationError,
    InvalidRequest,
    ServerError,
    StreamCut,
    UnsupportedOperation,
)
from ipfs_accelerate_py.simulator import SimulatorThread

HELLO = [{"role": "user", "content": "Hello"}]


@pytest.fixture
def simulator() -> Iterator[SimulatorThread]:
    with SimulatorThread("opea") as made:
        yield made


@pytest.fixture
def face(simulator: SimulatorThread) -> Iterator[opea]:
    with opea(metadata={"opea_endpoint": simulator.url}, initial_retry_delay=0.001) as made:
        yield made


def test_chat_and_its_stream_say_the_same(simulator: SimulatorThread, face: opea) -> None:
    answer = face.chat(HELLO, temperature=0.2, max_tokens=12, top_n=2)
    assert simulator.requests[-1].path == "/v1/chatqna"
    assert simulator.requests[-1].body == {
        "messages": "Hello",
        "temperature": 0.2,
        "max_tokens": 12,
        "top_n": 2,
        "stream": False,
    }
    assert (answer["model"], answer["usage"], answer["finish_reason"]) == ("chatqna", {}, "stop")
    assert answer["text"] == answer["raw"]["choices"][0]["message"]["content"]
    *pieces, last = face.stream_chat("Hello", temperature=0.2, max_tokens=12, top_n=2)
    assert "".join(piece["text"] for piece in pieces) == answer["text"]
    assert (last["done"], last["finish_reason"], last["usage"]) == (True, "stop", {})


async def test_every_verb_has_its_awaitable_twin(face: opea) -> None:
    assert (await face.achat("Hello"))["text"] == "".join([piece["text"] async for piece in face.astream_chat("Hello")])
    answers = await asyncio.gather(face.acodegen("x"), face.asummarize("x"), face.adataprep(links="https://x"))
    assert [answers[0]["model"], answers[1]["model"], answers[2]["status"]] == ["codegen", "docsum", 200]
    assert len(await face.alist_documents()) == 1
    assert (await face.arerank("?", ["a"]))["results"][0]["index"] == 0
    assert await face.adelete_document("all") == {"status": True}


def test_services_are_chosen_with_the_call_or_for_all(simulator: SimulatorThread, face: opea) -> None:
    assert face.codegen("Write a loop")["model"] == "codegen"
    assert "".join(piece["text"] for piece in face.stream_chat("Write a loop", service="codegen"))
    translated = face.chat("print(1)", service="codetrans", language_from="Python", language_to="Go")
    assert translated["text"]
    assert face.chat("Hello", service="chat/completions")["usage"]["total_tokens"] > 0
    with opea(metadata={"opea_endpoint": simulator.url + "/v1/codegen"}) as other:
        assert other.chat("Hello")["model"] == "codegen"
        assert other.dataprep(links=["https://x"])["status"] == 200
    with opea(base_url=simulator.url, service="docsum") as other:
        assert other.chat("Hello")["model"] == "docsum"
    assert face.create_opea_endpoint_handler(service="codegen")("Hello")["model"] == "codegen"


def test_summaries_of_texts_and_of_files(simulator: SimulatorThread, face: opea, tmp_path: Path) -> None:
    assert face.summarize("A long text", summary_type="refine")["text"]
    assert simulator.requests[-1].body["summary_type"] == "refine"
    path = tmp_path / "report.txt"
    path.write_text("A long text")
    said = [
        face.summarize(file=file, max_tokens=9)["text"]
        for file in (path, str(path), b"A long text", ("name.txt", b"A long text"), io.BytesIO(b"A long text"))
    ]
    assert len(set(said)) == 1
    assert said[0]
    assert simulator.requests[-1].headers["content-type"].startswith("multipart/form-data")
    assert face.summarize(file=[path, b"more"])["text"] != said[0]
    with pytest.raises(ConfigurationError, match="text or a file"):
        face.summarize()
    with pytest.raises(ConfigurationError, match="cannot be read"):
        face.summarize(file=tmp_path / "none.txt")


def test_documents_are_prepared_found_and_forgotten(face: opea, tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("one")
    answer = face.dataprep([tmp_path / "a.txt", ("ü b.txt", b"two")], links=["https://x"], chunk_size=100)
    assert answer == {"status": 200, "message": "Data preparation succeeded"}
    assert sorted(each["id"] for each in face.list_documents()) == ["a.txt", "https://x.txt", "ü b.txt"]
    vector = face.embedding("", "one")["embedding"]
    assert {"one", "two"} <= {each["text"] for each in face.retrieve("one", vector, k=3)["retrieved_docs"]}
    assert face.delete_document("a.txt") == {"status": True}
    with pytest.raises(InvalidRequest, match="File not found"):
        face.delete_document("a.txt")
    with pytest.raises(ConfigurationError, match="files or links"):
        face.dataprep()


def test_documents_are_ranked_by_their_places(face: opea) -> None:
    ranked = face.rerank("?", ["a", "b", "b"])["results"]
    assert sorted(each["index"] for each in ranked) == [0, 1, 2]
    assert [each["score"] for each in ranked] == sorted((each["score"] for each in ranked), reverse=True)
    assert len(face.rerank("?", ["a", "b"], top_n=1)["results"]) == 1


def test_a_model_that_fails_behind_it_is_tried_again_and_then_said(simulator: SimulatorThread, face: opea) -> None:
    simulator.script("error_event:at=0", "ok")
    assert "".join(piece["text"] for piece in face.stream_chat("Hello")) == face.chat("Hello")["text"]
    face.max_retries = 1
    face.failure_threshold = 50
    simulator.script("error_event:at=0", "error_event:at=0", "500", "500")
    with pytest.raises(ServerError, match="model behind it has failed") as failed:
        list(face.stream_chat("Hello"))
    assert failed.value.attempts == 2
    with pytest.raises(ServerError, match="Internal Server Error"):
        face.chat("Hello")


@pytest.mark.parametrize("fault", ["error_event:at=5", "cut:after=5", "cut:after=5,rst", "utf8_cut:after=3", "no_done"])
def test_a_stream_that_breaks_off_never_looks_whole(simulator: SimulatorThread, face: opea, fault: str) -> None:
    simulator.script(fault)
    seen: list[dict[str, Any]] = []
    with pytest.raises(StreamCut):
        seen.extend(face.stream_chat("Hello"))
    assert not any(piece["done"] for piece in seen)
    assert face.chat("Hello")["text"]


@pytest.mark.parametrize("fault", ["messy", "split:size=1", "messy:newline=cr+split:size=0"])
@pytest.mark.parametrize("service", ["chatqna", "codegen"])
def test_odd_framing_changes_nothing(simulator: SimulatorThread, face: opea, fault: str, service: str) -> None:
    whole = face.chat("Hello", service=service)["text"]
    simulator.script(fault)
    assert "".join(piece["text"] for piece in face.stream_chat("Hello", service=service)) == whole


def test_keys_are_optional_and_never_shown(simulator: SimulatorThread, monkeypatch: pytest.MonkeyPatch) -> None:
    with opea(base_url=simulator.url) as face:
        face.chat("Hello")
    assert "authorization" not in simulator.requests[-1].headers
    monkeypatch.setenv("OPEA_API_KEY", "opea-secret-1")
    monkeypatch.setenv("OPEA_API_ENDPOINT", simulator.url)
    with opea() as face:
        face.chat("Hello")
        assert simulator.requests[-1].key == simulator.key_name("opea-secret-1")
        assert "opea-secret-1" not in repr(face.get_key_usage_stats()) + repr(face)


def test_the_library_has_the_same_service(simulator: SimulatorThread) -> None:
    with Client("opea", base_url=simulator.url) as client:
        assert client.chat("", "Hello").text == client.stream("", "Hello").collect().text
        assert len(client.embed("m", ["a", "b"]).vectors) == 2
        assert client.request("/v1/health_check", method="GET").raw["Service Title"] == "simulator"
        with pytest.raises(UnsupportedOperation, match="models"):
            client.models()
        with pytest.raises(UnsupportedOperation, match="tools"):
            client.chat("", "Hello", tools=[{"type": "function", "function": {"name": "f"}}])


def test_sound_goes_through_the_microservices_of_openai_s_format(simulator: SimulatorThread) -> None:
    with Client("opea", base_url=simulator.url) as client:
        assert client.speak("tts", "Hello", voice="alloy").body
        assert client.transcribe("asr", b"RIFF....WAVE").text
    assert [request.path for request in simulator.requests] == ["/v1/audio/speech", "/v1/audio/transcriptions"]
