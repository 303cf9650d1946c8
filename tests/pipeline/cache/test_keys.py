"""What keeps calls apart: two tenants never share an answer, nor do two requests that differ in anything."""

from __future__ import annotations

import copy
import itertools
from collections.abc import Iterator
from typing import Any

import hypothesis.strategies as st
import msgspec
import pytest
from hypothesis import given

from ipfs_accelerate_py.pipeline.cache import ExactCache
from ipfs_accelerate_py.pipeline.cache.question import question_of
from ipfs_accelerate_py.types import (
    Call,
    ChatRequest,
    ClassifyRequest,
    CompletionRequest,
    EmbedRequest,
    ImageRequest,
    InferRequest,
    ModerationRequest,
    Passthrough,
    Priority,
    Request,
    RerankRequest,
    ResponseRequest,
    SpeechRequest,
    Tensor,
    TranscriptionRequest,
)

REQUESTS: list[Request] = [
    ChatRequest("m", [{"role": "system", "content": "s"}, {"role": "user", "content": "u"}], {"tools": [{"a": 1}]}),
    CompletionRequest("m", "p", {"stop": ["x"]}),
    ResponseRequest("m", "p"),
    EmbedRequest("m", ["a", "b"]),
    RerankRequest("m", "q", ["a", "b"]),
    ClassifyRequest("m", ["a"]),
    TranscriptionRequest("m", b"RIFF", "a.wav", False, {"language": "en"}),
    SpeechRequest("m", "say", {"voice": "alloy"}),
    ImageRequest("m", "p", {"size": "1x1"}),
    ModerationRequest("m", ["a"]),
    InferRequest("m", [Tensor("x", [1], "FP32", [1.0])]),
]


def call_of(request: Request, **fields: Any) -> Call:
    return Call(operation=request.operation, request=request, request_id="r", **fields)


def name(call: Call, **options: Any) -> str | None:
    return ExactCache(**options).name(call)


def changed(value: Any) -> Iterator[Any]:
    """The value with one thing in it changed, each thing in its turn."""
    if isinstance(value, msgspec.Struct):
        for field in value.__struct_fields__:
            for other in changed(getattr(value, field)):
                made = copy.deepcopy(value)
                setattr(made, field, other)
                yield made
    elif isinstance(value, dict):
        yield {**value, "one more": 1}
        for key in value:
            yield {other: each for other, each in value.items() if other != key}
            for other in changed(value[key]):
                yield {**value, key: other}
    elif isinstance(value, list):
        yield [*value, "one more"]
        if len(value) > 1 and value[0] != value[-1]:
            yield value[::-1]
        for at, each in enumerate(value):
            yield value[:at] + value[at + 1 :]
            for other in changed(each):
                yield [*value[:at], other, *value[at + 1 :]]
    elif isinstance(value, bool):
        yield not value
    elif isinstance(value, str):
        yield value + " "
        if value:
            yield value.upper() if value != value.upper() else value.lower()
    elif isinstance(value, bytes):
        yield value + b"\0"
    elif isinstance(value, int | float):
        yield value + 1


@pytest.mark.parametrize("request_", REQUESTS, ids=lambda request: request.operation.value)
def test_whatever_is_changed_in_a_request_makes_another_name(request_: Request) -> None:
    names = [name(call_of(request_))]
    names += [name(call_of(other)) for other in changed(request_)]
    assert len(names) > 5
    assert None not in names
    assert len(set(names)) == len(names)


def test_whatever_changes_the_answer_beside_the_request_makes_another_name() -> None:
    request = REQUESTS[0]
    body = b'{"model":"m"}'
    calls = [
        call_of(request),
        call_of(request, tenant="a"),
        call_of(request, tenant="b"),
        call_of(request, tenant="a "),
        call_of(request, key_name="first"),
        call_of(request, headers={"anthropic-beta": "x"}),
        call_of(request, headers={"anthropic-beta": "y"}),
        call_of(request, passthrough=Passthrough("openai", body)),
        call_of(request, passthrough=Passthrough("openai", body), stream=True),
        call_of(request, passthrough=Passthrough("anthropic", body)),
        call_of(request, passthrough=Passthrough("openai", body + b" ")),
        call_of(request, passthrough=Passthrough("openai", body, headers={"openai-beta": "x"})),
    ]
    names = [name(call) for call in calls]
    names.append(name(call_of(request), namespace="another service"))
    assert None not in names
    assert len(set(names)) == len(names)


def test_how_a_call_is_treated_makes_no_other_name() -> None:
    request = REQUESTS[0]
    plain = name(call_of(request))
    for fields in (
        {"priority": Priority.HIGH},
        {"deadline": 9.0},
        {"limits": {"idle_timeout": 3.0}},
        {"session": "s"},
        {"tags": {"a": "b"}},
        {"caller": "c"},
        {"stream": True},
    ):
        assert name(call_of(request, **fields)) == plain, fields
    other_order = ChatRequest("m", REQUESTS[0].messages, {"b": 1, "a": {"y": 1, "x": 2}})  # type: ignore[union-attr]
    same = ChatRequest("m", REQUESTS[0].messages, {"a": {"x": 2, "y": 1}, "b": 1})  # type: ignore[union-attr]
    assert name(call_of(other_order)) == name(call_of(same))


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inside: st.lists(inside, max_size=3) | st.dictionaries(st.text(max_size=5), inside, max_size=3),
    max_leaves=8,
)
REQUEST = st.builds(
    lambda model, texts, options: ChatRequest(model, [{"role": "user", "content": text} for text in texts], options),
    st.text(max_size=6),
    st.lists(st.text(max_size=12), min_size=1, max_size=3),
    st.dictionaries(st.text(max_size=6), JSON, max_size=3),
)


def strictly(value: Any) -> Any:
    """Equal where JSON is: 1 and True and 1.0 are not."""
    if isinstance(value, dict):
        return {key: strictly(each) for key, each in value.items()}
    if isinstance(value, list):
        return [strictly(each) for each in value]
    return type(value).__name__, repr(value)


@given(REQUEST, REQUEST, st.text(max_size=4), st.text(max_size=4))
def test_names_are_equal_only_where_everything_is(one: ChatRequest, other: ChatRequest, a: str, b: str) -> None:
    same = strictly(msgspec.to_builtins(one)) == strictly(msgspec.to_builtins(other))
    assert (name(call_of(one, tenant=a)) == name(call_of(other, tenant=b))) == (same and a == b)
    assert name(call_of(one, tenant=a)) == name(call_of(copy.deepcopy(one), tenant=a, stream=True))


# --- the semantic cache's partition --------------------------------------------------------------------------------


def partition(call: Call, **options: Any) -> bytes | None:
    found = question_of(call, **{"multi_turn": False, "most": 1000, **options})
    return None if found is None else found.partition


def chat(question: Any = "q", *, system: str = "s", model: str = "m", **options: Any) -> ChatRequest:
    return ChatRequest(model, [{"role": "system", "content": system}, {"role": "user", "content": question}], options)


def test_only_the_question_may_vary() -> None:
    assert partition(call_of(chat("one"))) == partition(call_of(chat("two"))) is not None
    image = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AA"}}
    calls = [
        call_of(chat()),
        call_of(chat(system="other")),
        call_of(chat(model="n")),
        call_of(chat(temperature=0)),
        call_of(chat(temperature=1)),
        call_of(chat(tools=[{"type": "function", "function": {"name": "f"}}])),
        call_of(chat(response_format={"type": "json_object"})),
        call_of(chat(n=2)),
        call_of(chat(n=2), stream=True),
        call_of(chat(), tenant="a"),
        call_of(chat(), key_name="k"),
        call_of(chat(), headers={"x": "y"}),
        call_of(chat([{"type": "text", "text": "q"}])),
        call_of(chat([{"type": "text", "text": "q"}, image])),
        call_of(chat([image, {"type": "text", "text": "q"}])),
        call_of(ChatRequest("m", [{"role": "developer", "content": "s"}, {"role": "user", "content": "q"}])),
        call_of(ChatRequest("m", [{"role": "user", "content": "q", "name": "n"}])),
        call_of(CompletionRequest("m", "q")),
    ]
    partitions = [partition(call) for call in calls]
    assert None not in partitions
    for (at, one), (other_at, other) in itertools.combinations(enumerate(partitions), 2):
        assert one != other, (calls[at].request, calls[other_at].request)
    assert partition(call_of(chat(), stream=True)) == partition(call_of(chat()))


def test_what_has_no_question() -> None:
    turns = [
        {"role": "user", "content": "a"},
        {"role": "assistant", "content": "b"},
        {"role": "user", "content": "c"},
    ]
    for request in (
        ChatRequest("m", turns),
        ChatRequest("m", turns[:2]),
        ChatRequest("m", []),
        chat("   "),
        chat("x" * 1001),
        chat([{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]),
        chat([{"type": "image_url"}]),
        chat(None),
        CompletionRequest("m", [1, 2]),
        EmbedRequest("m", ["a"]),
    ):
        assert partition(call_of(request)) is None, request
    assert partition(call_of(chat(), passthrough=Passthrough("openai", b"{}"))) is None  # nobody can say what it asks
    assert partition(call_of(ChatRequest("m", turns)), multi_turn=True) is not None
    other = [{"role": "user", "content": "A"}, *turns[1:]]
    assert partition(call_of(ChatRequest("m", turns)), multi_turn=True) != partition(
        call_of(ChatRequest("m", other)), multi_turn=True
    )
