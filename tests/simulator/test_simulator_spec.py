"""Every kind of answer against OpenAI's own OpenAPI description, where that is at hand.

The description is 3 MB and not part of this repository: ``IPFS_ACCELERATE_SPECS`` names the folder that holds
``openai.openapi.yaml``; ``../shared/specs`` beside the repository is looked at too.
"""

from __future__ import annotations

import json
import os
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from ipfs_accelerate_py.simulator import Fault, Simulator

from .raw import CHAT, ask

_FOLDERS = [
    *([Path(os.environ["IPFS_ACCELERATE_SPECS"])] if os.environ.get("IPFS_ACCELERATE_SPECS") else []),
    Path(__file__).resolve().parents[3] / "shared" / "specs",
]
_FILE = next((path for folder in _FOLDERS if (path := folder / "openai.openapi.yaml").is_file()), None)
pytestmark = pytest.mark.skipif(
    _FILE is None, reason="openai.openapi.yaml not found: set IPFS_ACCELERATE_SPECS to the folder that holds it"
)


def _references(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        if isinstance(value.get("$ref"), str):
            yield value["$ref"].rpartition("/")[2]
        for part in value.values():
            yield from _references(part)
    elif isinstance(value, list):
        for part in value:
            yield from _references(part)


def _modern(value: Any) -> Any:
    """``nullable`` of OpenAPI 3.0, of which the description has some left, as JSON schema says it."""
    if isinstance(value, list):
        return [_modern(part) for part in value]
    if not isinstance(value, dict):
        return value
    rest = {name: _modern(part) for name, part in value.items() if name != "nullable"}
    return {"anyOf": [rest, {"type": "null"}]} if value.get("nullable") is True else rest


class Spec:
    def __init__(self, schemas: dict[str, Any]) -> None:
        self._schemas = schemas

    def check(self, name: str, value: Any) -> None:
        """Raises where the value does not satisfy the schema of this name."""
        needed: dict[str, Any] = {}
        missing = [name]
        while missing:
            one = missing.pop()
            if one not in needed:
                needed[one] = _modern(self._schemas[one])
                missing.extend(_references(needed[one]))
        root = {"$ref": f"#/components/schemas/{name}", "components": {"schemas": needed}}
        validator = jsonschema.Draft202012Validator(root)
        error = jsonschema.exceptions.best_match(validator.iter_errors(value))
        assert error is None, f"{name}: {error.message} at {error.json_path}"


@pytest.fixture(scope="module")
def spec() -> Spec:
    assert _FILE is not None
    with _FILE.open("rb") as file:
        return Spec(yaml.load(file, Loader=yaml.CSafeLoader)["components"]["schemas"])


@pytest.fixture
async def sim() -> AsyncIterator[Simulator]:
    async with Simulator() as simulator:
        yield simulator


TOOL = {"name": "f", "parameters": {"type": "object", "properties": {"x": {"type": "integer"}}, "required": ["x"]}}
SCHEMA = {"name": "s", "schema": {"type": "object", "properties": {"a": {"type": "string"}}}}
CHATS: list[dict[str, Any]] = [
    {},
    {"model": "o3-mini"},
    {"n": 2, "max_tokens": 3},
    {"logprobs": True, "top_logprobs": 2},
    {"tools": [{"type": "function", "function": TOOL}], "tool_choice": "required"},
    {"response_format": {"type": "json_schema", "json_schema": SCHEMA}},
]
RESPONSES: list[dict[str, Any]] = [
    {},
    {"model": "o3-mini", "instructions": "Be brief.", "metadata": {"a": "b"}},
    {"max_output_tokens": 16},
    {"tools": [{"type": "function", "strict": True, **TOOL}], "tool_choice": "required"},
    {"text": {"format": {"type": "json_schema", **SCHEMA}}},
    {"input": [{"role": "user", "content": [{"type": "input_text", "text": "Hi"}]}], "temperature": 0.5},
]


@pytest.mark.parametrize("change", CHATS, ids=range(len(CHATS)))
async def test_chat(sim: Simulator, spec: Spec, change: dict[str, Any]) -> None:
    body = {**CHAT, **change}
    spec.check("CreateChatCompletionRequest", body)
    spec.check("CreateChatCompletionResponse", (await ask(sim, body)).json)
    got = await ask(sim, {**body, "stream": True, "stream_options": {"include_usage": True}})
    for event in got.events[:-1]:
        # The description calls usage nullable in words only ("null for all chunks except the last").
        event = {name: value for name, value in event.items() if name != "usage" or value is not None}
        spec.check("CreateChatCompletionStreamResponse", event)
    assert got.events[-1] == "[DONE]"


@pytest.mark.parametrize("change", RESPONSES, ids=range(len(RESPONSES)))
async def test_responses(sim: Simulator, spec: Spec, change: dict[str, Any]) -> None:
    body = {"model": "gpt-4o", "input": "Hi", **change}
    if isinstance(body["input"], str):  # messages satisfy two members of a oneOf of the description's
        spec.check("CreateResponse", body)
    spec.check("Response", (await ask(sim, body, "/v1/responses")).json)
    got = await ask(sim, {**body, "stream": True}, "/v1/responses")
    for event in got.events:
        spec.check(_event_schema(event["type"]), event)
    names = [line[7:] for line in got.body.decode().split("\n") if line.startswith("event: ")]
    assert names == [event["type"] for event in got.events]


def _event_schema(kind: str) -> str:
    """``response.output_text.delta`` is ``ResponseTextDeltaEvent``, and so on."""
    words = kind.removeprefix("response.").replace("output_text", "text").replace(".", "_").split("_")
    return f"Response{''.join(word.capitalize() for word in words)}Event"


async def test_the_rest(sim: Simulator, spec: Spec) -> None:
    for body in ({"model": "m", "prompt": "Hi"}, {"model": "m", "prompt": ["a", "b"], "logprobs": 2, "n": 2}):
        spec.check("CreateCompletionResponse", (await ask(sim, body, "/v1/completions")).json)
        for event in (await ask(sim, {**body, "stream": True}, "/v1/completions")).events[:-1]:
            if event["choices"][0]["finish_reason"] is None:  # the description has no word on chunks before the last
                event["choices"][0]["finish_reason"] = "stop"
            spec.check("CreateCompletionResponse", event)
    got = await ask(sim, {"model": "e", "input": ["a", "b"]}, "/v1/embeddings")
    spec.check("CreateEmbeddingResponse", got.json)
    spec.check("ListModelsResponse", (await ask(sim, None, "/v1/models", method="GET")).json)
    spec.check("Model", (await ask(sim, None, "/v1/models/m", method="GET")).json)


@pytest.mark.parametrize("fault", ["429", "500", "context_length_exceeded", "insufficient_quota", "model_not_found"])
async def test_errors(sim: Simulator, spec: Spec, fault: str) -> None:
    sim.script(fault)
    spec.check("ErrorResponse", (await ask(sim)).json)
    spec.check("ErrorResponse", (await ask(sim, {"model": "m"})).json)
    sim.script(Fault.error_event(at=1), Fault.error_event(at=1))
    streamed = await ask(sim, {**CHAT, "stream": True})
    spec.check("ErrorResponse", streamed.events[-1])
    streamed = await ask(sim, {"model": "m", "input": "x", "stream": True}, "/v1/responses")
    spec.check("ResponseErrorEvent", streamed.events[-1])


def test_the_check_itself_finds_what_is_wrong(spec: Spec) -> None:
    with pytest.raises(AssertionError, match="required"):
        spec.check("Model", {"id": "m"})
    assert json.dumps(_modern({"nullable": True, "type": "string"})) == (
        '{"anyOf": [{"type": "string"}, {"type": "null"}]}'
    )
