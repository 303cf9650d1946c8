"""Images, sound, verdicts, rankings and counts of the older API: blocking and awaited, against the simulator."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ipfs_accelerate_py.api_backends import groq, llvm, openai_api
from ipfs_accelerate_py.errors import ConfigurationError, UnsupportedOperation
from ipfs_accelerate_py.simulator import SimulatorThread

SOUND = b"RIFF" + bytes(range(256)) * 200
TALK = [{"role": "user", "content": "Hello, how are you?"}]


@pytest.fixture
def simulator(simulators: Callable[..., SimulatorThread]) -> SimulatorThread:
    return simulators()


@pytest.fixture
def openai(faces: Any, simulator: SimulatorThread) -> openai_api:
    made: openai_api = faces(openai_api, simulator)
    return made


def sent(simulator: SimulatorThread) -> Any:
    return simulator.requests[-1].body


# --- images ------------------------------------------------------------------------------------------------------


async def test_images(openai: openai_api, simulator: SimulatorThread) -> None:
    found = openai.text_to_image("dall-e-2", "1024x1024", 2, "A serene lakeside sunset")
    assert [url.startswith("http://127.0.0.1:") for url in found["urls"]] == [True, True]
    assert found["images"] == [b"", b""]
    assert sent(simulator) == {"model": "dall-e-2", "size": "1024x1024", "n": 2, "prompt": "A serene lakeside sunset"}
    again = await openai.atext_to_image("dall-e-2", "1024x1024", 2, prompt="A serene lakeside sunset")
    assert again["urls"] == found["urls"]


def test_images_that_come_as_bytes_have_a_url_that_holds_them(openai: openai_api, simulator: SimulatorThread) -> None:
    found = openai.text_to_image("gpt-image-1", prompt="A lake", request_id="req_1")
    assert found["urls"][0].startswith("data:image/png;base64,")
    assert found["images"][0].startswith(b"\x89PNG")
    assert found["usage"]["total_tokens"] > 0
    assert found["request_id"] == "req_1"
    assert sent(simulator) == {"model": "gpt-image-1", "prompt": "A lake"}
    with pytest.raises(ConfigurationError, match="needs a prompt"):
        openai.text_to_image("dall-e-3", "1024x1024", 1)


# --- sound -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [openai_api, groq, llvm])
async def test_sound_both_ways(faces: Any, simulator: SimulatorThread, kind: type[Any]) -> None:
    face = faces(kind, simulator)
    said = face.text_to_speech("tts-1", "Hello there.", "alloy", response_format="wav", speed=2)
    assert (said["audio"][:4], said["content_type"]) == (b"RIFF", "audio/wav")
    assert sent(simulator) == {
        "model": "tts-1",
        "input": "Hello there.",
        "voice": "alloy",
        "response_format": "wav",
        "speed": 2,
    }
    assert (await face.atext_to_speech("tts-1", "Hello there.", "alloy"))["content_type"] == "audio/mpeg"
    heard = face.speech_to_text("whisper-1", said["audio"], language="de")
    assert heard["text"]
    assert (await face.aspeech_to_text("whisper-1", said["audio"], "de"))["text"] == heard["text"]
    assert heard["segments"] == []
    english = face.speech_to_text("whisper-1", said["audio"], translate=True, response_format="verbose_json")
    assert english["text"] != heard["text"]
    assert [set(segment) for segment in english["segments"]] == [{"start", "end", "text"}] * len(english["segments"])
    assert simulator.requests[-1].path == "/v1/audio/translations"


def test_recordings_by_path_and_from_open_files(openai: openai_api, simulator: SimulatorThread, tmp_path: Path) -> None:
    path = tmp_path / "talk.mp3"
    path.write_bytes(SOUND)
    unnamed = openai.speech_to_text("whisper-1", SOUND)["text"]
    assert openai.speech_to_text("whisper-1", path)["text"] == unnamed
    assert b'filename="talk.mp3"\r\nContent-Type: audio/mpeg' in simulator.requests[-1].raw
    assert openai.speech_to_text("whisper-1", str(path), filename="other.flac")["text"] == unnamed
    assert b'filename="other.flac"' in simulator.requests[-1].raw
    with path.open("rb") as file:
        assert openai.speech_to_text("whisper-1", file)["text"] == unnamed
    assert openai.speech_to_text("whisper-1", io.BytesIO(SOUND))["text"] == unnamed
    assert b'filename="audio.wav"' in simulator.requests[-1].raw


def test_what_is_no_recording(openai: openai_api, simulator: SimulatorThread, tmp_path: Path) -> None:
    for audio, words in (
        (tmp_path / "none.wav", "cannot be read"),
        (tmp_path, "cannot be read"),
        (io.StringIO("text"), "mode 'rb'"),
        (3, "not int"),
    ):
        with pytest.raises(ConfigurationError, match=words):
            openai.speech_to_text("whisper-1", audio)  # type: ignore[arg-type]
    assert simulator.requests == []


def test_subtitles_come_whole(openai: openai_api) -> None:
    found = openai.speech_to_text("whisper-1", SOUND, response_format="srt")
    assert found["text"].startswith("1\n00:00:00,000 --> ")
    assert len(found["segments"]) == 3


# --- verdicts, rankings, counts ----------------------------------------------------------------------------------


async def test_verdicts(openai: openai_api) -> None:
    found = openai.moderation("I will kill it")
    assert found["flagged"] is True
    assert found["categories"]["violence"] is True
    assert found["category_scores"]["violence"] > 0.5
    several = await openai.amoderation(["Hello", "I will kill it"], model="omni-moderation-latest")
    assert [each["flagged"] for each in several["results"]] == [False, True]
    assert several["flagged"] is True
    assert openai.moderation("Hello")["flagged"] is False


async def test_tokens_as_the_service_counts_them(faces: Any, simulator: SimulatorThread, openai: openai_api) -> None:
    counted = openai.count_tokens("gpt-4o", TALK, system="Be brief.")
    assert counted == await openai.acount_tokens("gpt-4o", TALK, system="Be brief.")
    assert simulator.requests[-1].path == "/v1/responses/input_tokens"
    assert counted == openai.chat("gpt-4o", TALK, system="Be brief.")["usage"]["prompt_tokens"]
    for make, path in (("vllm", "/tokenize"), ("llama.cpp", "/v1/chat/completions/input_tokens")):
        assert faces(llvm, simulator, server=make).count_tokens("m", TALK, system="Be brief.") == counted
        assert simulator.requests[-1].path == path


async def test_an_estimate_says_that_it_is_one(faces: Any, simulator: SimulatorThread) -> None:
    api: groq = faces(groq, simulator)
    counted = api.count_tokens("m", TALK)
    assert counted == 12
    assert counted + 1 == 13
    assert f"{counted}" == "about 12 tokens (an estimate)"
    assert counted.estimated
    assert await api.acount_tokens("m", TALK) == counted
    assert abs(counted - api.chat("m", TALK)["usage"]["prompt_tokens"]) < 3
    assert api.count_tokens("m", TALK, tools=[{"type": "function", "function": {"name": "f"}}]) > counted
    assert api.count_tokens("m", [{"role": "user", "content": [{"type": "text", "text": "世界" * 20}]}]) > 30
    with pytest.raises(UnsupportedOperation, match="image_url"):
        api.count_tokens("m", [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "data:,"}}]}])


async def test_rankings(faces: Any, simulator: SimulatorThread) -> None:
    api: llvm = faces(llvm, simulator)
    found = api.rerank("bge", "red apple", ["a stone", "a red apple"], top_n=1)
    assert [(each["index"], each["document"]) for each in found["results"]] == [(1, "a red apple")]
    assert (await api.arerank("bge", "red apple", ["a stone", "a red apple"]))["results"][0]["index"] == 1


async def test_inference_both_ways(faces: Any, simulator: SimulatorThread) -> None:
    api: llvm = faces(llvm, simulator)
    assert api.run_inference("m", "Once", {"max_tokens": 3})["usage"]["completion_tokens"] == 3
    assert (await api.arun_inference("m", TALK))["text"] == api.chat("m", TALK)["text"]
    handler = api.create_llvm_endpoint_handler()
    assert handler("Hello")["text"] == (await handler("Hello"))["text"]
    assert api.list_models() == await api.alist_models()


def test_what_a_service_lacks_is_said_and_nothing_is_sent(faces: Any, simulator: SimulatorThread) -> None:
    api = faces(groq, simulator)
    with pytest.raises(UnsupportedOperation, match="Groq has no operation image"):
        api._client.generate_images("m", "A lake")
    assert simulator.requests == []
