"""Conversations with a tiny model: forms that hold for random weights, tools, options, figures."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("torch")
import jsonschema

from ipfs_accelerate_py.errors import ContextLengthExceeded, InvalidRequest, UnsupportedOperation
from ipfs_accelerate_py.runtimes.engines.base import Source
from ipfs_accelerate_py.runtimes.generation.base import Conversation
from ipfs_accelerate_py.types import Chunk

ASKED = [{"role": "user", "content": "hello"}]
SCHEMA = {
    "type": "object",
    "properties": {
        "a": {"type": "integer", "minimum": 0, "maximum": 99},
        "b": {"enum": ["x", "y"]},
        "c": {"type": "array", "items": {"type": "boolean"}, "maxItems": 3},
        "s": {"type": "string", "maxLength": 8},
    },
    "required": ["a", "b", "c", "s"],
    "additionalProperties": False,
}
TOOLS = [
    {
        "type": "function",
        "function": {
            "name": name,
            "parameters": {
                "type": "object",
                "properties": {"city": {"type": "string", "maxLength": 6}},
                "required": ["city"],
                "additionalProperties": False,
            },
        },
    }
    for name in ("weather", "time")
]


@pytest.fixture(scope="module", params=["qwen2", "llama"])
def talk(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Conversation]:
    from ipfs_accelerate_py.runtimes.engines.base import LoadPlan
    from ipfs_accelerate_py.runtimes.engines.torch_engine import TorchEngine
    from ipfs_accelerate_py.runtimes.families.catalog import open_source
    from ipfs_accelerate_py.runtimes.families.tiny import write_tiny
    from ipfs_accelerate_py.runtimes.generation.making import make_conversation, make_generator

    folder: Path = tmp_path_factory.mktemp(request.param)
    write_tiny(request.param, folder, changes={"max_position_embeddings": 600})
    source, task = open_source("tiny", folder, "text-generation")
    generator = make_generator(TorchEngine().load(source, task, LoadPlan()), source)
    yield make_conversation(generator, source)
    generator.close()


def ask(talk: Conversation, given: Any, **options: Any) -> list[Chunk]:
    found: list[Chunk] = []
    ended = threading.Event()
    failed: list[Exception] = []

    def told(chunk: Chunk | Exception) -> None:
        if isinstance(chunk, Exception):
            failed.append(chunk)
            ended.set()
        else:
            found.append(chunk)
            if chunk.usage is not None:
                ended.set()

    begin = talk.chat if isinstance(given, list) and given and isinstance(given[0], dict) else talk.complete
    begin(given, options, told)
    assert ended.wait(60)
    if failed:
        raise failed[0]
    return found


def text(chunks: list[Chunk], index: int = 0) -> str:
    return "".join(each.text for each in chunks if each.index == index)


@pytest.mark.parametrize("seed", [1, 2])
def test_random_weights_write_what_a_schema_wants(talk: Conversation, seed: int) -> None:
    form = {"type": "json_schema", "json_schema": {"name": "it", "schema": SCHEMA, "strict": True}}
    found = ask(talk, ASKED, response_format=form, seed=seed, max_tokens=400)
    assert found[-1].finish_reason == "stop"
    jsonschema.validate(json.loads(text(found)), SCHEMA)


def test_other_forms(talk: Conversation) -> None:
    assert re.fullmatch("[a-c]{3}-[0-9]{2}", text(ask(talk, ASKED, constraint={"regex": "[a-c]{3}-[0-9]{2}"}, seed=1)))
    assert text(ask(talk, "once", constraint={"grammar": 'start: "yes" | "no"'}, max_tokens=9)) in ("yes", "no")
    found = text(ask(talk, ASKED, response_format={"type": "json_object"}, seed=4, max_tokens=60))
    assert found.startswith("{")
    with pytest.raises(InvalidRequest):
        ask(talk, ASKED, constraint={"regex": "(("})
    with pytest.raises(InvalidRequest):
        ask(talk, ASKED, response_format={"type": "json_schema", "json_schema": {"schema": {"type": "nonsense"}}})


@pytest.mark.parametrize("choice", ["required", {"type": "function", "function": {"name": "time"}}])
def test_a_call_that_is_required_is_made(talk: Conversation, choice: Any) -> None:
    found = ask(talk, ASKED, tools=TOOLS, tool_choice=choice, parallel_tool_calls=False, seed=5, max_tokens=300)
    calls = [call for chunk in found for call in chunk.tool_calls]
    assert found[-1].finish_reason == "tool_calls"
    assert calls[0].id.startswith("call_")
    assert calls[0].name in (("weather", "time") if choice == "required" else ("time",))
    jsonschema.validate(json.loads("".join(call.arguments for call in calls)), TOOLS[0]["function"]["parameters"])  # type: ignore[index]
    assert text(found) == ""


def test_several_calls_may_be_made_at_once(talk: Conversation) -> None:
    counts = []
    for seed in range(2):
        found = ask(talk, ASKED, tools=TOOLS, tool_choice="required", seed=seed, max_tokens=250)
        calls = [call for chunk in found for call in chunk.tool_calls]
        names = {call.index: call.name for call in calls if call.name}
        for index in names:
            given = "".join(call.arguments for call in calls if call.index == index)
            if found[-1].finish_reason == "tool_calls":
                jsonschema.validate(json.loads(given), TOOLS[0]["function"]["parameters"])  # type: ignore[index]
        assert len({call.id for call in calls if call.id}) == len(names)
        assert text(found) == ""
        counts.append(len(names))
    assert max(counts) > 1
    with pytest.raises(InvalidRequest, match="parallel_tool_calls"):
        ask(talk, ASKED, tools=TOOLS, tool_choice="required", parallel_tool_calls="yes")


def test_a_seed_gives_the_same_in_any_company(talk: Conversation) -> None:
    alone = text(ask(talk, ASKED, seed=7, max_tokens=12, ignore_eos=True))
    beside = ask(talk, ASKED, seed=6, n=3, max_tokens=12, ignore_eos=True)
    assert text(beside, 1) == alone
    assert len({text(beside, index) for index in range(3)}) == 3
    assert [each.usage for each in beside[:-1]] == [None] * (len(beside) - 1)
    usage = beside[-1].usage
    assert usage is not None
    assert usage.output_tokens == 36
    assert usage.input_tokens == talk.count(ASKED, {})


def test_stop_and_echo(talk: Conversation) -> None:
    whole = text(ask(talk, "once upon", max_tokens=12, temperature=0))
    stop = whole[4:6]
    assert text(ask(talk, "once upon", max_tokens=12, temperature=0, stop=stop)) == whole[: whole.find(stop)]
    assert text(ask(talk, "once upon", max_tokens=12, temperature=0, echo=True)) == "once upon" + whole


def test_log_probabilities(talk: Conversation) -> None:
    found = ask(talk, ASKED, max_tokens=4, temperature=0, logprobs=True, top_logprobs=2)
    rows = [row for each in found if each.data for row in each.raw["choices"][0]["logprobs"]["content"]]
    assert len(rows) == 4
    for row in rows:
        assert row["logprob"] == max(each["logprob"] for each in row["top_logprobs"])
        assert row["logprob"] <= 0
    assert not any(each.data for each in ask(talk, ASKED, max_tokens=2))
    # One for each token, also of those whose text is held back for what may follow.
    held = ask(talk, ASKED, max_tokens=6, temperature=0, logprobs=True, stop=["never to be seen"], n=2, seed=1)
    for index in (0, 1):
        data = [each.raw["choices"][0] for each in held if each.data and each.index == index]
        assert {each["index"] for each in data} == {index}
        assert sum(len(each["logprobs"]["content"]) for each in data) == 6


@pytest.mark.parametrize(
    ("options", "param"),
    [
        ({"wrong_option": 1}, "wrong_option"),
        ({"temperature": "hot"}, "temperature"),
        ({"n": 0}, "n"),
        ({"stop": [1]}, "stop"),
        ({"top_logprobs": 2}, "top_logprobs"),
        ({"tool_choice": "required"}, "tool_choice"),
        ({"tools": [{"name": "x"}]}, "tools"),
        ({"response_format": {"type": "xml"}}, "response_format"),
        ({"functions": []}, "functions"),
    ],
)
def test_options_that_are_refused_by_name(talk: Conversation, options: dict[str, Any], param: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        ask(talk, ASKED, **options)
    assert caught.value.param == param


def test_options_that_change_nothing(talk: Conversation) -> None:
    plain = text(ask(talk, ASKED, seed=1, max_tokens=5))
    harmless = {"user": "me", "metadata": {}, "store": True, "service_tier": "auto", "stream_options": {}}
    assert text(ask(talk, ASKED, seed=1, max_completion_tokens=5, **harmless)) == plain


def test_too_long(talk: Conversation) -> None:
    with pytest.raises(ContextLengthExceeded, match=r"600 tokens; the prompt has \d+ and max_tokens is 599"):
        ask(talk, ASKED, max_tokens=599)


def test_without_a_template(talk: Conversation) -> None:
    from ipfs_accelerate_py.runtimes.generation.templates import Template

    class Bare:
        chat_template = None

    with pytest.raises(UnsupportedOperation, match="complete a prompt"):
        Template(Bare(), "bare").render(ASKED, {})
    assert Source("x", Path()).auto == ""
