"""Requests against Ollama's own OpenAPI description, where that is at hand (see the simulator's test of OpenAI's)."""

from __future__ import annotations

import json

import pytest
import yaml

from ipfs_accelerate_py.dialects.ollama.dialect import OllamaDialect
from ipfs_accelerate_py.types import Call
from tests.simulator.test_simulator_spec import _FOLDERS, Spec

from .support import chat, completion, embed
from .test_ollama_requests import PIXEL, SCHEMA, TOOL

FILE = next((path for folder in _FOLDERS if (path := folder / "ollama.openapi.yaml").is_file()), None)
pytestmark = pytest.mark.skipif(FILE is None, reason="ollama.openapi.yaml not found: see IPFS_ACCELERATE_SPECS")


@pytest.fixture(scope="module")
def spec() -> Spec:
    assert FILE is not None
    with FILE.open("rb") as file:
        return Spec(yaml.load(file, Loader=yaml.CSafeLoader)["components"]["schemas"])


IMAGE = {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PIXEL}"}}
CALL = {"id": "c", "type": "function", "function": {"name": "weather", "arguments": '{"city":"Rome"}'}}
CALLS: list[tuple[str, Call]] = [
    ("ChatRequest", chat()),
    ("ChatRequest", chat(stream=True, temperature=0.2, max_tokens=5, stop="x", seed=1, num_ctx=4096, min_p=0.1)),
    ("ChatRequest", chat(tools=[TOOL, {"type": "function", "function": {"name": "now"}}])),
    ("ChatRequest", chat(response_format={"type": "json_object"}, keep_alive=0, logprobs=True, top_logprobs=2)),
    ("ChatRequest", chat(response_format={"type": "json_schema", "json_schema": {"name": "s", "schema": SCHEMA}})),
    ("ChatRequest", chat(reasoning_effort="xhigh")),
    ("ChatRequest", chat(reasoning_effort="none")),
    ("ChatRequest", chat([{"role": "developer", "content": [{"type": "text", "text": "?"}, IMAGE]}])),
    (
        "ChatRequest",
        chat(
            [
                {"role": "assistant", "content": None, "tool_calls": [CALL], "reasoning_content": "Hm."},
                {"role": "tool", "tool_call_id": "c", "content": "sunny"},
            ]
        ),
    ),
    ("GenerateRequest", completion()),
    ("GenerateRequest", completion(suffix="end", raw=True, logprobs=3, images=[PIXEL], system="s", stream=True)),
    ("EmbedRequest", embed("a")),
    ("EmbedRequest", embed("a", "b", dimensions=3, truncate=False, keep_alive="5m", num_ctx=64)),
]


@pytest.mark.parametrize(("name", "call"), CALLS, ids=range(len(CALLS)))
def test_requests_are_what_the_description_says(spec: Spec, name: str, call: Call) -> None:
    spec.check(name, json.loads(OllamaDialect().encode(call).body or b""))
