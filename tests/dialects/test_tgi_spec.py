"""Requests to TGI and TEI against their own OpenAPI descriptions, where these are at hand."""

from __future__ import annotations

import json
from typing import Any

import pytest

from ipfs_accelerate_py.dialects.tei.dialect import TeiDialect
from ipfs_accelerate_py.dialects.tgi.dialect import TgiDialect
from ipfs_accelerate_py.types import Call
from tests.hf_specs import arguments_for_parameters, description

from .hf_support import TEI, TGI, chat, classify, complete, count, embed, rerank
from .test_tgi_requests import TOOL, WANTED

IMAGE = {"type": "image_url", "image_url": {"url": "https://example.com/a.png", "detail": "low"}}
CALLED = {"id": "0", "type": "function", "function": {"name": "f", "arguments": "{}"}}
TURNS = [
    {"role": "user", "content": [{"type": "text", "text": "What?"}, IMAGE]},
    {"role": "assistant", "content": "I look.", "tool_calls": [CALLED], "reasoning_content": "hm"},
    {"role": "tool", "tool_call_id": "0", "content": "sunny"},
]
CALLS: list[tuple[str, str, TgiDialect | TeiDialect, Call]] = [
    ("tgi", "GenerateRequest", TGI, complete()),
    ("tgi", "GenerateRequest", TGI, complete(stream=True, max_tokens=5, temperature=0, top_p=1, stop="x")),
    (
        "tgi",
        "GenerateRequest",
        TGI,
        complete(temperature=0.5, top_k=5, typical_p=0.5, seed=3, best_of=1, watermark=True),
    ),
    (
        "tgi",
        "GenerateRequest",
        TGI,
        complete(response_format=WANTED, logprobs=2, echo=True, adapter_id="a", truncate=9),
    ),
    ("tgi", "ChatRequest", TGI, chat()),
    ("tgi", "ChatRequest", TGI, chat(stream=True, max_completion_tokens=5, stop="x", temperature=0.5, top_p=0.9)),
    ("tgi", "ChatRequest", TGI, chat(TURNS, tools=[TOOL], tool_choice={"type": "function", "function": {"name": "f"}})),
    ("tgi", "ChatRequest", TGI, chat(response_format=WANTED, logprobs=True, top_logprobs=2, seed=1)),
    ("tgi", "ChatRequest", TGI, count({"role": "user", "content": "Hello"}, tools=[TOOL])),
    ("tei", "EmbedRequest", TEI, embed("a", "b", normalize=False, truncate=True, truncation_direction="left")),
    ("tei", "EmbedRequest", TEI, embed([1, 2], "b", dimensions=8, prompt_name="query", encoding_format="base64")),
    ("tei", "RerankRequest", TEI, rerank("q", "a", {"text": "b"}, return_documents=True, raw_scores=True, top_n=1)),
    ("tei", "PredictRequest", TEI, classify("a", ["b", "c"], raw_scores=True, truncate=True)),
    ("tei", "TokenizeRequest", TEI, count({"role": "user", "content": "a"}, add_special_tokens=False)),
]


@pytest.mark.parametrize(("service", "name", "dialect", "call"), CALLS, ids=range(len(CALLS)))
def test_requests_are_what_the_description_says(
    service: str, name: str, dialect: TgiDialect | TeiDialect, call: Call
) -> None:
    sent: Any = json.loads(dialect.encode(call).body or b"")
    description(service).check(name, arguments_for_parameters(sent))
