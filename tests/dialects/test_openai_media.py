"""Sound, images and verdicts."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from typing import Any

import pytest

from ipfs_accelerate_py.dialects.forms import decode_form
from ipfs_accelerate_py.dialects.openai.dialect import OpenAIDialect
from ipfs_accelerate_py.errors import (
    AuthenticationError,
    ConfigurationError,
    ContentFiltered,
    ProtocolError,
    UnsupportedOperation,
)
from ipfs_accelerate_py.types import (
    Call,
    ImageRequest,
    ModerationRequest,
    Operation,
    Reply,
    Segment,
    SpeechRequest,
    TranscriptionRequest,
    Usage,
)

PNG = b"\x89PNG\r\n\x1a\n..."


def image(**options: Any) -> Call:
    return Call(operation=Operation.IMAGE, request=ImageRequest("dall-e-3", "A lake", options), request_id="r")


def speech(**options: Any) -> Call:
    request = SpeechRequest("tts-1", "Hello", {"voice": "alloy", **options})
    return Call(operation=Operation.SPEAK, request=request, request_id="r")


def transcription(*, translate: bool = False, filename: str = "talk.wav", **options: Any) -> Call:
    request = TranscriptionRequest("whisper-1", b"RIFF...", filename, translate, options)
    return Call(operation=Operation.TRANSCRIBE, request=request, request_id="r")


def moderation(*inputs: Any) -> Call:
    request = ModerationRequest("omni-moderation-latest", list(inputs))
    return Call(operation=Operation.MODERATE, request=request, request_id="r")


def read(call: Call, answer: Any, headers: Mapping[str, str] | None = None) -> Reply:
    body = answer if isinstance(answer, bytes) else json.dumps(answer).encode()
    return OpenAIDialect().decode(call, body, headers or {"content-type": "application/json"})


# --- what is sent ------------------------------------------------------------------------------------------------


def test_images_speech_and_verdicts_are_sent_as_they_are_asked_for() -> None:
    dialect = OpenAIDialect()
    sent = [dialect.encode(call) for call in (image(size="512x512", n=2), speech(speed=2), moderation("a", "b"))]
    assert [(wire.path, json.loads(wire.body or b"")) for wire in sent] == [
        ("/images/generations", {"model": "dall-e-3", "prompt": "A lake", "size": "512x512", "n": 2}),
        ("/audio/speech", {"model": "tts-1", "input": "Hello", "voice": "alloy", "speed": 2}),
        ("/moderations", {"model": "omni-moderation-latest", "input": ["a", "b"]}),
    ]


def form_of(call: Call) -> tuple[str, list[tuple[str, str]], tuple[str | None, str, bytes]]:
    wire = OpenAIDialect().encode(call)
    assert wire.headers is not None
    *fields, file = decode_form(wire.body or b"", wire.headers["Content-Type"])
    assert file.name == "file"
    return wire.path, [(field.name, field.text) for field in fields], (file.filename, file.content_type, file.data)


def test_a_recording_travels_in_a_form() -> None:
    path, fields, file = form_of(
        transcription(
            language="de",
            temperature=0.2,
            prompt=None,
            timestamp_granularities=["word", "segment"],
            chunking_strategy={"type": "server_vad"},
            stream=False,
        )
    )
    assert path == "/audio/transcriptions"
    assert fields == [
        ("model", "whisper-1"),
        ("language", "de"),
        ("temperature", "0.2"),
        ("timestamp_granularities[]", "word"),
        ("timestamp_granularities[]", "segment"),
        ("chunking_strategy", '{"type":"server_vad"}'),
        ("stream", "false"),
    ]
    assert file == ("talk.wav", "audio/wav", b"RIFF...")


def test_a_translation_has_a_path_of_its_own() -> None:
    assert form_of(transcription(translate=True))[0] == "/audio/translations"


@pytest.mark.parametrize(
    ("filename", "kind"),
    [("a.MP3", "audio/mpeg"), ("a.flac", "audio/flac"), ("a.m4a", "audio/mp4"), ("a", "application/octet-stream")],
)
def test_the_name_of_a_file_says_its_type(filename: str, kind: str) -> None:
    assert form_of(transcription(filename=filename))[2][:2] == (filename, kind)


def test_what_no_form_can_say_is_refused_before_anything_is_sent() -> None:
    with pytest.raises(ConfigurationError, match="'odd'"):
        OpenAIDialect().encode(transcription(odd=object()))


@pytest.mark.parametrize("call", [image(), speech(), transcription(), moderation("a")], ids=lambda c: c.operation)
def test_what_does_not_stream_is_refused_before_anything_is_sent(call: Call) -> None:
    call.stream = True
    with pytest.raises(UnsupportedOperation, match="does not stream"):
        OpenAIDialect().encode(call)


# --- transcriptions ----------------------------------------------------------------------------------------------

VERBOSE = {
    "task": "transcribe",
    "language": "english",
    "duration": 3.5,
    "text": "Hello there.",
    "segments": [
        {"id": 0, "start": 0, "end": 1.5, "text": "Hello", "tokens": []},
        {"id": 1, "start": 1.5, "end": 3.5, "text": " there.", "unknown": 1},
    ],
    "usage": {"type": "duration", "seconds": 4},
}


def test_transcriptions_as_json() -> None:
    assert read(transcription(), {"text": "Hello"}).text == "Hello"
    found = read(transcription(response_format="verbose_json"), VERBOSE)
    assert found.text == "Hello there."
    assert found.segments == [Segment(0.0, 1.5, "Hello"), Segment(1.5, 3.5, " there.")]
    assert not found.usage.reported
    assert found.raw["language"] == "english"


def test_who_speaks() -> None:
    segments = [{"type": "transcript.text.segment", "id": "s", "start": 0, "end": 1, "text": "Hi", "speaker": "A"}]
    answer = {"task": "transcribe", "duration": 1, "text": "Hi", "segments": segments}
    assert read(transcription(response_format="diarized_json"), answer).segments == [Segment(0.0, 1.0, "Hi", "A")]


def test_what_a_transcription_cost() -> None:
    counts = {"type": "tokens", "input_tokens": 14, "input_token_details": {"text_tokens": 4, "audio_tokens": 10}}
    usage = read(transcription(), {"text": "", "usage": {**counts, "output_tokens": 5, "total_tokens": 19}}).usage
    assert usage == Usage(14, 5, input_audio_tokens=10, reported=True)
    assert sum(usage.classes().values()) == usage.total_tokens == 19


SRT = "1\r\n00:00:00,000 --> 00:00:01,500\r\nHello\r\nyou\r\n\r\n2\r\n00:00:01,500 --> 01:00:03,250\r\nthere.\r\n"
VTT = "WEBVTT\n\nNOTE a note\n\n00:00.000 --> 00:01.500 align:start\nHello\nyou\n\n00:01.500 --> 01:00:03.250\nthere.\n"


@pytest.mark.parametrize(("form", "document"), [("srt", SRT), ("vtt", VTT)])
def test_subtitles_come_as_they_are_and_as_segments(form: str, document: str) -> None:
    found = read(transcription(response_format=form), document.encode(), {"content-type": "text/plain; charset=utf-8"})
    assert found.text == document
    assert (found.body, found.content_type) == (document.encode(), "text/plain")
    assert found.segments == [Segment(0.0, 1.5, "Hello\nyou"), Segment(1.5, 3603.25, "there.")]


@pytest.mark.parametrize("answer", [b"Hello there.\n", b'{"text": "Hello there.\\n"}', b'"Hello there.\\n"'])
def test_plain_text_however_the_server_writes_it(answer: bytes) -> None:
    assert read(transcription(response_format="text"), answer, {"content-type": "text/plain"}).text == "Hello there.\n"


@pytest.mark.parametrize("answer", [b"", b"Hello", b"[]", b"{}", b'{"text": null}', b'{"text": "a", "segments": [3]}'])
def test_a_transcription_that_cannot_be_read_is_an_error(answer: bytes) -> None:
    with pytest.raises(ProtocolError):
        read(transcription(), answer)


def test_a_page_is_no_transcription_even_where_text_was_asked_for() -> None:
    with pytest.raises(ProtocolError, match="HTML"):
        read(transcription(response_format="text"), b"<html>busy</html>", {"content-type": "text/html"})


# --- speech ------------------------------------------------------------------------------------------------------


def test_a_recording_comes_as_it_is() -> None:
    found = read(speech(), b"RIFF\x00{}", {"content-type": "audio/wav"})
    assert (found.body, found.content_type) == (b"RIFF\x00{}", "audio/wav")


def test_what_is_no_recording_is_an_error() -> None:
    with pytest.raises(AuthenticationError):
        read(speech(), {"error": {"message": "no", "code": "invalid_api_key", "type": "auth"}})
    for answer, kind in ((b"{}", "application/json"), (b"<html>", "text/html"), (b"", "audio/wav")):
        with pytest.raises(ProtocolError):
            read(speech(), answer, {"content-type": kind})


# --- images ------------------------------------------------------------------------------------------------------


def test_images_by_url_and_by_value() -> None:
    items = [
        {"url": "https://example.com/a.png", "revised_prompt": "A calm lake"},
        {"b64_json": base64.b64encode(PNG).decode()},
        {"b64_json": base64.b64encode(b"??").decode(), "new": 1},
    ]
    counts = {"input_tokens": 5, "output_tokens": 272, "total_tokens": 277, "input_tokens_details": {"text_tokens": 5}}
    found = read(image(), {"created": 1, "data": items, "output_format": "webp", "usage": counts})
    assert [each.url for each in found.images] == ["https://example.com/a.png", "", ""]
    assert [each.data for each in found.images] == [b"", PNG, b"??"]
    assert [each.media_type for each in found.images] == ["", "image/png", "image/webp"]
    assert found.images[0].prompt == "A calm lake"
    assert found.usage == Usage(5, 272, reported=True, images=3)


@pytest.mark.parametrize("answer", [{"data": []}, {"data": [{}]}, {"data": [{"b64_json": "!"}]}, {"created": 1}])
def test_an_answer_without_its_image_is_an_error(answer: Any) -> None:
    with pytest.raises(ProtocolError):
        read(image(), answer)


def test_a_refused_picture_is_not_asked_for_again() -> None:
    body = b'{"error": {"code": "moderation_blocked", "message": "No.", "type": "image_generation_user_error"}}'
    error = OpenAIDialect().error(400, {}, body)
    assert isinstance(error, ContentFiltered)
    assert not error.retryable


# --- verdicts ----------------------------------------------------------------------------------------------------


def verdict(flagged: Any = True) -> dict[str, Any]:
    return {
        "flagged": flagged,
        "categories": {"violence": True, "hate": False, "illicit": None},
        "category_scores": {"violence": 0.9, "hate": 0, "illicit": None},
    }


def test_verdicts_are_those_of_the_inputs() -> None:
    found = read(moderation("a", "b"), {"id": "modr-1", "model": "m", "results": [verdict(), verdict(False)]})
    assert [each.flagged for each in found.moderations] == [True, False]
    assert found.moderations[0].categories == {"violence": True, "hate": False}
    assert found.moderations[0].scores == {"violence": 0.9, "hate": 0.0}


def test_a_text_and_its_image_are_judged_as_one() -> None:
    parts = [{"type": "text", "text": "?"}, {"type": "image_url", "image_url": {"url": "data:,"}}]
    assert len(read(moderation(*parts), {"results": [verdict()]}).moderations) == 1


@pytest.mark.parametrize("results", [[], [verdict()], [verdict(), verdict(None)], [verdict(), {}]])
def test_a_verdict_that_is_missing_or_unclear_is_an_error(results: Any) -> None:
    with pytest.raises(ProtocolError):
        read(moderation("a", "b"), {"results": results})
