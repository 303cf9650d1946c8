"""Requests against OpenAI's own OpenAPI description, where that is at hand (see the simulator's test of it)."""

from __future__ import annotations

import json

import pytest
import yaml

from ipfs_accelerate_py.dialects.forms import decode_form
from ipfs_accelerate_py.dialects.openai.dialect import OpenAIDialect
from ipfs_accelerate_py.types import Call
from ipfs_accelerate_py.verbs import chat_messages
from tests.simulator.test_simulator_spec import _FILE, Spec

from .support import chat, completion, embed, response
from .test_openai_media import image, moderation, speech, transcription
from .test_openai_ranking import TALK, count
from .test_openai_requests import SCHEMA, TOOL

pytestmark = pytest.mark.skipif(_FILE is None, reason="openai.openapi.yaml not found")


@pytest.fixture(scope="module")
def spec() -> Spec:
    assert _FILE is not None
    with _FILE.open("rb") as file:
        return Spec(yaml.load(file, Loader=yaml.CSafeLoader)["components"]["schemas"])


IMAGE = {"type": "image_url", "image_url": {"url": "https://example.com/a.png"}}
CALLS: list[tuple[str, Call]] = [
    ("CreateChatCompletionRequest", chat()),
    ("CreateChatCompletionRequest", chat(chat_messages("Hello", "Be brief."), temperature=0.2, max_tokens=5)),
    ("CreateChatCompletionRequest", chat(stream=True)),
    ("CreateChatCompletionRequest", chat(tools=[TOOL], tool_choice="required", parallel_tool_calls=False)),
    ("CreateChatCompletionRequest", chat(response_format=SCHEMA, n=2, logprobs=True, top_logprobs=2)),
    ("CreateChatCompletionRequest", chat([{"role": "user", "content": [{"type": "text", "text": "?"}, IMAGE]}])),
    ("CreateCompletionRequest", completion()),
    ("CreateCompletionRequest", completion([1, 2, 3], stream=True, max_tokens=3)),
    ("CreateEmbeddingRequest", embed("a", "b")),
    ("CreateEmbeddingRequest", embed("a", encoding_format="base64", dimensions=8)),
    ("CreateResponse", response()),
    ("CreateResponse", response(stream=True, instructions="Be brief.", max_output_tokens=16)),
    ("CreateImageRequest", image(n=2, size="1024x1024", response_format="b64_json", quality="hd")),
    ("CreateSpeechRequest", speech(response_format="wav", speed=1.5, instructions="Softly.")),
    ("CreateModerationRequest", moderation("a", "b")),
    ("CreateModerationRequest", moderation({"type": "text", "text": "a"}, IMAGE)),
    ("TokenCountsBody", count()),
    ("TokenCountsBody", count(tools=[TOOL], reasoning_effort="low", response_format=SCHEMA)),
]


@pytest.mark.parametrize(("name", "call"), CALLS, ids=range(len(CALLS)))
def test_requests_are_what_the_description_says(spec: Spec, name: str, call: Call) -> None:
    spec.check(name, json.loads(OpenAIDialect().encode(call).body or b""))


@pytest.mark.parametrize("call", [count(TALK)], ids=["a whole talk"])
def test_each_item_of_a_counted_talk_is_of_a_kind_that_the_description_has(spec: Spec, call: Call) -> None:
    kinds = {"function_call": "FunctionToolCall", "function_call_output": "FunctionCallOutputItemParam"}
    for item in json.loads(OpenAIDialect().encode(call).body or b"")["input"]:
        spec.check(kinds.get(item.get("type"), "EasyInputMessage"), item)


@pytest.mark.parametrize("translate", [False, True])
def test_forms_have_the_fields_that_the_description_has(spec: Spec, translate: bool) -> None:
    call = transcription(translate=translate, response_format="verbose_json", temperature=0.5, prompt="Names: Ada")
    wire = OpenAIDialect().encode(call)
    assert wire.headers is not None
    form = {part.name: part.text for part in decode_form(wire.body or b"", wire.headers["Content-Type"])}
    name = "CreateTranslationRequest" if translate else "CreateTranscriptionRequest"
    spec.check(name, {**form, "temperature": float(form["temperature"])})
