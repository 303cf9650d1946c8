"""Whatever a client asks for, in any format: it reaches the service, or is named as ignored, or is refused by name."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any, NamedTuple

import msgspec
import pytest

from ipfs_accelerate_py.backends.openai_rows import groq_dialect, openai_dialect, server_dialect
from ipfs_accelerate_py.dialects.anthropic.dialect import AnthropicDialect
from ipfs_accelerate_py.dialects.base import Dialect
from ipfs_accelerate_py.dialects.gemini.dialect import GeminiDialect
from ipfs_accelerate_py.dialects.ollama.dialect import OllamaDialect
from ipfs_accelerate_py.dialects.opea.dialect import OpeaDialect
from ipfs_accelerate_py.dialects.ovms.dialect import OvmsDialect
from ipfs_accelerate_py.dialects.serving import ServedRequest, placed
from ipfs_accelerate_py.dialects.tgi.dialect import TgiDialect
from ipfs_accelerate_py.errors import AccelerateError, InvalidRequest, UnsupportedOperation
from ipfs_accelerate_py.gateway.ingresses import ingress
from ipfs_accelerate_py.types import Call, Operation

from .things import THINGS, Thing

#: How each is served: the format, the operation, and what the route says.
ASKED: dict[str, tuple[str, Operation, dict[str, str]]] = {
    "openai": ("openai", Operation.CHAT, {}),
    "responses": ("openai", Operation.RESPONSE, {}),
    "anthropic": ("anthropic", Operation.CHAT, {}),
    "gemini": ("gemini", Operation.CHAT, {"model": "m"}),
    "ollama": ("ollama", Operation.CHAT, {"route": "/api/chat"}),
    "ollama generate": ("ollama", Operation.COMPLETION, {"route": "/api/generate"}),
}


class Target(NamedTuple):
    dialect: Dialect
    model: str = "m"


TARGETS = {
    "openai": Target(openai_dialect("https://api.openai.com/v1", {}), "gpt-5"),
    "groq": Target(groq_dialect("https://api.groq.com/openai/v1", {})),
    "llvm": Target(server_dialect("http://127.0.0.1/v1", {})),
    "ovms": Target(OvmsDialect()),
    "anthropic": Target(AnthropicDialect(), "claude-sonnet-4-5"),
    "anthropic adaptive": Target(AnthropicDialect(), "claude-opus-4-8"),
    "gemini 2": Target(GeminiDialect(), "gemini-2.5-flash"),
    "gemini 3": Target(GeminiDialect(), "gemini-3-pro"),
    "ollama": Target(OllamaDialect()),
    "tgi": Target(TgiDialect()),
    "tgi hosted": Target(TgiDialect(hosted=True), "org/m"),
    "opea": Target(OpeaDialect()),
    "opea visual": Target(OpeaDialect(service="visualqna")),
}


class Sent(NamedTuple):
    body: Any
    text: str
    ignored: tuple[str, ...]


def decoded(asked: str, body: dict[str, Any], *, stream: bool = False) -> ServedRequest:
    name, operation, path = ASKED[asked]
    return ingress(name).decode(operation, msgspec.json.encode(body), "application/json", path, stream=stream)


def sent(asked: str, body: dict[str, Any], target: Target) -> Sent:
    """What goes out for this body, and what is said to be left out of it."""
    served = decoded(asked, body)
    request = served.request(target.model)
    call = Call(operation=request.operation, request=request, request_id="req_1")
    wire = target.dialect.encode(call)
    assert wire.body is not None
    ignored = (*getattr(served, "ignored", ()), *wire.ignored)
    return Sent(json.loads(wire.body), wire.path + wire.body.decode() + str(wire.headers), ignored)


def refused(asked: str, thing: Thing, target: Target, error: AccelerateError) -> bool:
    """Whether the request is refused without the thing as well, and for the same."""
    try:
        sent(asked, thing.without, target)
    except (InvalidRequest, UnsupportedOperation) as before:
        return before.message == error.message
    return False


def plain(word: str) -> str:
    return word.replace("_", "").lower()


def problem(asked: str, thing: Thing, target: Target) -> str | None:
    """What became of the thing, where that is not as it must be."""
    words = {plain(word) for word in thing.words}
    try:
        found = sent(asked, thing.body, target)
    except (InvalidRequest, UnsupportedOperation) as error:
        said = plain(f"{error.message} {getattr(error, 'param', '')}")
        return None if any(word in said for word in words) or refused(asked, thing, target, error) else said
    except AccelerateError as error:
        return f"{type(error).__name__}: {error}"
    named = {plain(part) for name in found.ignored for part in re.split(r"[.\[]", name)}
    if words & named:
        return None
    try:
        before = sent(asked, thing.without, target)
    except (InvalidRequest, UnsupportedOperation):
        return None  # it makes a request possible that is none without it
    if found.body == before.body:
        return "dropped"
    lost = [mark for mark in marks(thing.body) if mark not in marks(thing.without) and mark not in found.text]
    return f"lost on the way: {lost}" if lost else None


def marks(value: Any) -> set[str]:
    """Texts that must arrive as they are."""
    if isinstance(value, dict):
        return {mark for name, item in value.items() if name != "type" for mark in marks(item)}
    if isinstance(value, list):
        return {mark for item in value for mark in marks(item)}
    return {value} if isinstance(value, str) and "zq" in value else set()


@pytest.mark.parametrize("name", TARGETS)
@pytest.mark.parametrize("asked", ASKED)
def test_each_thing_arrives_or_is_named_or_is_refused_by_name(asked: str, name: str) -> None:
    problems = {
        thing.name: what for thing in THINGS[asked] if (what := problem(asked, thing, TARGETS[name])) is not None
    }
    assert problems == {}


def at(value: Any, path: str) -> Any:
    for step in path.split("."):
        value = value[int(step)] if isinstance(value, list) else value[step]
    return value


SCHEMA = {"type": "object"}
THINKING = {"thinking": {"type": "enabled", "budget_tokens": 2048}}
FORMAT = {"format": {"type": "json_schema", "schema": SCHEMA}}
#: Ingress, target, what is asked, and where it is found with which value.
MEANINGS: list[tuple[str, str, dict[str, Any], str, Any]] = [
    ("anthropic", "gemini 2", {"stop_sequences": ["END"]}, "generationConfig.stopSequences", ["END"]),
    ("anthropic", "openai", {"stop_sequences": ["END"]}, "stop", ["END"]),
    ("anthropic", "ollama", {"stop_sequences": ["END"]}, "options.stop", ["END"]),
    ("anthropic", "gemini 2", {"system": "Be brief."}, "systemInstruction.parts.0.text", "Be brief."),
    ("anthropic", "openai", {"system": "Be brief."}, "messages.0", {"role": "system", "content": "Be brief."}),
    ("anthropic", "gemini 2", THINKING, "generationConfig.thinkingConfig.thinkingBudget", 1024),
    ("anthropic", "openai", THINKING, "reasoning_effort", "low"),
    ("anthropic", "ollama", THINKING, "think", "low"),
    ("anthropic", "gemini 3", {"output_config": FORMAT}, "generationConfig.responseJsonSchema", SCHEMA),
    ("anthropic", "tgi", {"output_config": FORMAT}, "response_format", {"type": "json", "value": SCHEMA}),
    ("anthropic", "openai", {"metadata": {"user_id": "u"}}, "user", "u"),
    ("openai", "anthropic", {"stop": "END"}, "stop_sequences", ["END"]),
    ("openai", "anthropic", {"max_completion_tokens": 7}, "max_tokens", 7),
    ("openai", "gemini 2", {"max_tokens": 7}, "generationConfig.maxOutputTokens", 7),
    ("openai", "ollama", {"max_tokens": 7}, "options.num_predict", 7),
    ("openai", "anthropic", {"user": "u"}, "metadata.user_id", "u"),
    ("openai", "anthropic adaptive", {"reasoning_effort": "high"}, "output_config.effort", "high"),
    ("openai", "ollama", {"response_format": {"type": "json_object"}}, "format", "json"),
    ("gemini", "openai", {"generationConfig": {"maxOutputTokens": 7}}, "max_tokens", 7),
    ("gemini", "anthropic", {"generationConfig": {"topK": 5}}, "top_k", 5),
    ("gemini", "anthropic", {"generationConfig": {"stopSequences": ["END"]}}, "stop_sequences", ["END"]),
    ("gemini", "openai", {"generationConfig": {"responseMimeType": "application/json"}}, "response_format.type",
     "json_object"),
    ("ollama", "openai", {"options": {"num_predict": 7}}, "max_tokens", 7),
    ("ollama", "anthropic", {"options": {"stop": ["END"]}}, "stop_sequences", ["END"]),
    ("ollama", "gemini 3", {"think": "high"}, "generationConfig.thinkingConfig.thinkingLevel", "HIGH"),
    ("ollama generate", "anthropic", {"system": "Be brief."}, "system", "Be brief."),
    ("responses", "anthropic", {"instructions": "Be brief."}, "system", "Be brief."),
    ("responses", "gemini 2", {"max_output_tokens": 7}, "generationConfig.maxOutputTokens", 7),
    ("responses", "anthropic adaptive", {"reasoning": {"effort": "low"}}, "output_config.effort", "low"),
]  # fmt: skip


@pytest.mark.parametrize(("asked", "name", "more", "path", "value"), MEANINGS)
def test_a_thing_means_the_same_where_it_arrives(
    asked: str, name: str, more: dict[str, Any], path: str, value: Any
) -> None:
    assert at(sent(asked, THINGS[asked][0].without | more, TARGETS[name]).body, path) == value


def forwarded() -> Iterator[tuple[str, Thing]]:
    for asked in ASKED:
        for each in THINGS[asked]:
            yield asked, each


def test_a_target_of_the_same_format_is_sent_everything() -> None:
    for asked, thing in forwarded():
        try:
            passed = decoded(asked, thing.body).passthrough("other")
        except InvalidRequest:
            continue  # what it says is judged above
        assert passed is not None
        body = json.loads(passed.body)
        wanted = thing.body if asked == "gemini" else {**thing.body, "model": "other"}
        assert {**wanted, "stream": False} == {**body, "stream": False}, thing.name


@pytest.mark.parametrize(
    ("asked", "body", "place"),
    [
        (
            "responses",
            {"model": "m", "instructions": "Hm.", "input": [
                {"role": "user", "content": "Hi."},
                {"role": "user", "content": [{"type": "input_file", "file_id": "f"}]}]},
            "input[1]",
        ),
        (
            "anthropic",
            {"model": "m", "max_tokens": 5, "system": "Hm.", "messages": [{"role": "user", "content": [
                {"type": "document", "source": {"type": "file", "file_id": "f"}}]}]},
            "messages.0",
        ),
        (
            "gemini",
            {"systemInstruction": {"parts": [{"text": "Hm."}]}, "contents": [
                {"parts": [{"fileData": {"mimeType": "application/pdf", "fileUri": "f"}}]}]},
            "contents[0]",
        ),
    ],
)  # fmt: skip
def test_an_error_names_the_place_in_the_clients_own_body(asked: str, body: dict[str, Any], place: str) -> None:
    served = decoded(asked, body)
    request = served.request("m")
    call = Call(operation=request.operation, request=request, request_id="req_1")
    with pytest.raises(UnsupportedOperation) as caught:
        TARGETS["ollama"].dialect.encode(call)
    placed(caught.value, getattr(served, "places", ()))
    assert str(caught.value).startswith(f"{place}: Ollama takes text and images")


def test_what_openai_refuses_is_refused_before_it_is_sent_and_goes_on_to_others() -> None:
    body = {**THINGS["openai"][0].without, "top_k": 7}
    with pytest.raises(UnsupportedOperation, match="OpenAI has no option 'top_k'"):
        sent("openai", body, TARGETS["openai"])
    for name in ("groq", "llvm", "ovms", "tgi hosted"):
        assert sent("openai", body, TARGETS[name]).body["top_k"] == 7


def test_a_schema_of_googles_own_kind_keeps_its_order_and_its_bounds() -> None:
    schema = {
        "type": "OBJECT",
        "properties": {"b": {"type": "ARRAY", "minItems": "2"}, "a": {"type": "STRING"}},
        "propertyOrdering": ["a", "b"],
    }
    config = {"responseMimeType": "application/json", "responseSchema": schema}
    found = sent("gemini", THINGS["gemini"][0].without | {"generationConfig": config}, TARGETS["tgi"])
    properties = at(found.body, "response_format.value.properties")
    assert list(properties) == ["a", "b"]
    assert properties["b"] == {"type": "array", "minItems": 2}


def test_blocks_that_were_numbered_for_openais_client_go_back_without_numbers() -> None:
    block = {"index": 0, "type": "thinking", "thinking": "Hm.", "signature": "sig"}
    said = {"role": "assistant", "content": "Hi.", "thinking_blocks": [block]}
    body = {"model": "m", "messages": [{"role": "user", "content": "Hello"}, said, {"role": "user", "content": "?"}]}
    found = sent("openai", body, TARGETS["anthropic"])
    assert at(found.body, "messages.1.content.0") == {"type": "thinking", "thinking": "Hm.", "signature": "sig"}
