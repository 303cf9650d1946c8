"""Rankings, labels and counts of tokens; and which service has what."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from ipfs_accelerate_py.backends import find_backend
from ipfs_accelerate_py.dialects.openai.dialect import OpenAIDialect
from ipfs_accelerate_py.errors import ConfigurationError, ProtocolError, UnsupportedOperation
from ipfs_accelerate_py.types import (
    Call,
    ClassifyRequest,
    CountRequest,
    Label,
    ModelsRequest,
    Operation,
    Ranked,
    Reply,
    RerankRequest,
    Usage,
)

from .support import chat, completion, embed, models, raw, response
from .test_openai_media import image, moderation, speech, transcription


def rerank(*documents: Any, **options: Any) -> Call:
    request = RerankRequest("bge", "apple", list(documents), options)
    return Call(operation=Operation.RERANK, request=request, request_id="r")


def classify(*inputs: Any, **options: Any) -> Call:
    return Call(operation=Operation.CLASSIFY, request=ClassifyRequest("m", list(inputs), options), request_id="r")


def count(messages: Any = None, **options: Any) -> Call:
    messages = messages or [{"role": "user", "content": "Hello"}]
    return Call(operation=Operation.COUNT, request=CountRequest("m", messages, options), request_id="r")


def read(call: Call, answer: Any) -> Reply:
    return OpenAIDialect().decode(call, json.dumps(answer).encode(), {})


def sent(call: Call, **options: Any) -> dict[str, Any]:
    body: dict[str, Any] = json.loads(OpenAIDialect(**options).encode(call).body or b"")
    return body


# --- rankings ----------------------------------------------------------------------------------------------------


def test_rankings_are_asked_for_as_jina_and_cohere_have_it() -> None:
    call = rerank("a", {"text": "b"}, top_n=1, return_documents=True)
    assert OpenAIDialect().encode(call).path == "/rerank"
    fields = {"model": "bge", "query": "apple", "documents": ["a", {"text": "b"}]}
    assert sent(call) == {**fields, "top_n": 1, "return_documents": True}


ANSWERS: dict[str, dict[str, Any]] = {
    "vLLM": {
        "id": "rerank-1",
        "model": "bge",
        "usage": {"total_tokens": 9},
        "results": [
            {"index": 1, "relevance_score": 0.25, "document": {"text": "b"}},
            {"index": 0, "relevance_score": 0.75, "document": {"text": "a"}},
        ],
    },
    "llama.cpp": {
        "model": "bge",
        "object": "list",
        "usage": {"prompt_tokens": 9, "total_tokens": 9},
        "results": [{"index": 0, "relevance_score": 0.75}, {"index": 1, "relevance_score": 0.25}],
    },
    "Voyage": {
        "object": "list",
        "data": [{"index": 0, "relevance_score": 0.75}, {"index": 1, "relevance_score": 0.25}],
        "usage": {"total_tokens": 9},
    },
}


@pytest.mark.parametrize("name", ANSWERS)
def test_rankings_of_every_kind_have_the_best_first(name: str) -> None:
    found = read(rerank("a", "b"), ANSWERS[name])
    assert [(each.index, each.score) for each in found.ranking] == [(0, 0.75), (1, 0.25)]
    assert found.usage == Usage(9, reported=True)


def test_documents_come_back_where_the_service_sends_them() -> None:
    assert read(rerank("a", "b"), ANSWERS["vLLM"]).ranking[0] == Ranked(0, 0.75, {"text": "a"})


@pytest.mark.parametrize(
    "results",
    [
        [{"index": 2, "relevance_score": 1}],
        [{"index": -1, "relevance_score": 1}],
        [{"index": 0, "relevance_score": 1}, {"index": 0, "relevance_score": 1}],
        [{"index": "0", "relevance_score": 1}],
        [{"index": 0}],
        [],
    ],
)
def test_a_ranking_of_other_documents_is_an_error(results: Any) -> None:
    with pytest.raises(ProtocolError):
        read(rerank("a", "b"), {"results": results})


def test_a_ranking_that_lacks_some_is_an_error_where_they_were_asked_for() -> None:
    one = {"results": [{"index": 0, "relevance_score": 1}]}
    assert len(read(rerank("a", "b", top_n=1), one).ranking) == 1
    with pytest.raises(ProtocolError, match="2 documents"):
        read(rerank("a", "b", "c", top_n=2), one)


# --- labels ------------------------------------------------------------------------------------------------------


def test_labels_are_those_of_the_inputs() -> None:
    data = [
        {"index": 1, "label": None, "probs": [0.1, 0.2, 0.7], "num_classes": 3},
        {"index": 0, "label": "good", "probs": [0.75, 0.25], "num_classes": 2},
    ]
    found = read(classify("a", "b"), {"data": data, "usage": {"prompt_tokens": 4, "total_tokens": 4}})
    assert found.labels == [[Label("good", 0.75)], [Label("2", 0.7)]]
    assert found.usage.total_tokens == 4
    with pytest.raises(ProtocolError, match="3 inputs"):
        read(classify("a", "b", "c"), {"data": data})


def test_pairs_are_refused_before_anything_is_sent() -> None:
    with pytest.raises(UnsupportedOperation, match="classifies texts, and not a list"):
        OpenAIDialect().encode(classify(["a", "b"]))


# --- counts ------------------------------------------------------------------------------------------------------

TALK: list[dict[str, Any]] = [
    {"role": "system", "content": "Be brief."},
    {
        "role": "user",
        "content": [
            {"type": "text", "text": "What is this?"},
            {"type": "image_url", "image_url": {"url": "data:image/png;base64,AA", "detail": "low"}},
            {"type": "file", "file": {"file_data": "data:application/pdf;base64,AA", "filename": "a.pdf"}},
        ],
    },
    {
        "role": "assistant",
        "content": "Let me see.",
        "tool_calls": [{"id": "c1", "type": "function", "function": {"name": "f", "arguments": "{}"}}],
    },
    {"role": "tool", "tool_call_id": "c1", "content": "42"},
]
TOOL = {"type": "function", "function": {"name": "f", "parameters": {"type": "object"}, "strict": False}}
FORMAT = {"type": "json_schema", "json_schema": {"name": "s", "schema": {"type": "object"}}}


def test_openai_counts_a_chat_as_items_of_its_newer_interface() -> None:
    call = count(TALK, tools=[TOOL], tool_choice={"type": "function", "function": {"name": "f"}})
    assert OpenAIDialect().encode(call).path == "/responses/input_tokens"
    assert sent(call) == {
        "model": "m",
        "input": [
            {"role": "system", "content": "Be brief."},
            {
                "role": "user",
                "content": [
                    {"type": "input_text", "text": "What is this?"},
                    {"type": "input_image", "image_url": "data:image/png;base64,AA", "detail": "low"},
                    {"type": "input_file", "file_data": "data:application/pdf;base64,AA", "filename": "a.pdf"},
                ],
            },
            {"role": "assistant", "content": "Let me see."},
            {"type": "function_call", "call_id": "c1", "name": "f", "arguments": "{}"},
            {"type": "function_call_output", "call_id": "c1", "output": "42"},
        ],
        "tools": [{"type": "function", "name": "f", "parameters": {"type": "object"}, "strict": False}],
        "tool_choice": {"type": "function", "name": "f"},
    }


def test_what_has_no_say_in_the_count_is_left_out_and_named() -> None:
    wire = OpenAIDialect().encode(count(temperature=0.5, max_tokens=9, reasoning_effort="low", response_format=FORMAT))
    assert wire.ignored == ("temperature", "max_tokens")
    fields = json.loads(wire.body or b"")
    assert (fields["reasoning"], fields["text"]["format"]["name"]) == ({"effort": "low"}, "s")


def test_what_openai_cannot_count_is_refused() -> None:
    sound = [{"role": "user", "content": [{"type": "input_audio", "input_audio": {"data": "AA", "format": "wav"}}]}]
    with pytest.raises(UnsupportedOperation, match="input_audio"):
        OpenAIDialect().encode(count(sound))


@pytest.mark.parametrize(
    ("options", "path"),
    [
        ({"counts": "tokenize", "root": "http://h:8000"}, "http://h:8000/tokenize"),
        ({"counts": "chat"}, "/chat/completions/input_tokens"),
    ],
)
def test_other_servers_count_the_chat_itself(options: dict[str, Any], path: str) -> None:
    call = count(TALK, tools=[TOOL])
    assert OpenAIDialect(**options).encode(call).path == path
    assert sent(call, **options) == {"model": "m", "messages": TALK, "tools": [TOOL]}


@pytest.mark.parametrize(
    "answer",
    [
        {"object": "response.input_tokens", "input_tokens": 17},
        {"count": 17, "max_model_len": 4096, "tokens": [1, 2], "token_strs": None},
    ],
)
def test_counts_of_every_kind(answer: Any) -> None:
    assert read(count(), answer).usage == Usage(17, reported=True)


@pytest.mark.parametrize("answer", [{}, {"count": "17"}, {"input_tokens": None}, {"count": True}])
def test_a_count_that_is_none_is_an_error_and_never_zero(answer: Any) -> None:
    with pytest.raises(ProtocolError):
        read(count(), answer)


# --- which service has what --------------------------------------------------------------------------------------

CALLS: list[Call] = [
    *(chat(), completion(), response(), embed("a"), models(), raw()),
    *(image(), speech(), transcription(), moderation("a"), rerank("a"), classify("a"), count()),
]
LACKING = {
    "openai": {Operation.RERANK, Operation.CLASSIFY},
    "groq": {
        *(Operation.COMPLETION, Operation.IMAGE, Operation.MODERATE),
        *(Operation.RERANK, Operation.CLASSIFY, Operation.COUNT),
    },
    "llvm": set(),
}


@pytest.mark.parametrize("backend", LACKING)
@pytest.mark.parametrize("call", CALLS, ids=lambda call: call.operation)
def test_what_a_service_lacks_is_refused_before_anything_is_sent(backend: str, call: Call) -> None:
    spec = find_backend(backend)
    dialect = spec.dialect(spec.base_url, {})
    if call.operation in LACKING[backend]:
        with pytest.raises(UnsupportedOperation, match=f"has no operation {call.operation}"):
            dialect.encode(call)
    else:
        dialect.encode(call)


def test_what_no_service_of_the_kind_has() -> None:
    call = Call(operation=Operation.INFER, request=ModelsRequest(), request_id="r")
    with pytest.raises(UnsupportedOperation, match="infer"):
        OpenAIDialect().encode(call)


@pytest.mark.parametrize("url", ["http://h:8000/v1", "http://h:8000/v1/", "http://h:8000"])
@pytest.mark.parametrize(("make", "path"), [("tokenize", "/tokenize"), ("classify", "/classify")])
def test_vllm_has_some_paths_above_the_version(url: str, make: str, path: str) -> None:
    calls: dict[str, Callable[[], Call]] = {"tokenize": count, "classify": lambda: classify("a")}
    dialect = find_backend("llvm").dialect(url, {"server": "vllm"})
    assert dialect.encode(calls[make]()).path == "http://h:8000" + path


def test_a_server_of_another_make() -> None:
    assert find_backend("llvm").dialect("http://h/v1", {"server": "llama.cpp"}).encode(count()).path == (
        "/chat/completions/input_tokens"
    )
    with pytest.raises(ConfigurationError, match=r"vllm, llama\.cpp"):
        find_backend("llvm").dialect("http://h/v1", {"server": "triton"})
    with pytest.raises(ConfigurationError, match="'guess'"):
        OpenAIDialect(counts="guess")
