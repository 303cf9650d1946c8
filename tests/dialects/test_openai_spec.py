"""Requests against OpenAI's own OpenAPI description, where that is at hand (see the simulator's test of it)."""

from __future__ import annotations

import json

import pytest
import yaml

from ipfs_accelerate_py.client import chat_messages
from ipfs_accelerate_py.dialects.openai import OpenAIDialect
from ipfs_accelerate_py.types import Call
from tests.simulator.test_simulator_spec import _FILE, Spec

from .support import chat, completion, embed, response
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
]


@pytest.mark.parametrize(("name", "call"), CALLS, ids=range(len(CALLS)))
def test_requests_are_what_the_description_says(spec: Spec, name: str, call: Call) -> None:
    spec.check(name, json.loads(OpenAIDialect().encode(call).body or b""))
