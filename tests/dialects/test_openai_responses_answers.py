"""Answers of chat as the Responses API's: the whole object, and the stream that comes to the same."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from typing import Any

import pytest
import yaml
from openai.types.responses import Response

from ipfs_accelerate_py.dialects.openai.responses_answers import Answered
from ipfs_accelerate_py.dialects.openai.responses_signed import unpack
from ipfs_accelerate_py.dialects.openai.responses_writer import ResponseWriter
from ipfs_accelerate_py.dialects.openai.stream import ResponseStreamDecoder
from ipfs_accelerate_py.stream import Collector
from ipfs_accelerate_py.types import Chunk, Reply, ToolCall, Usage
from tests.simulator.test_simulator_spec import _FILE, Spec, _event_schema

ASKED: dict[str, Any] = {
    "model": "house",
    "input": "Hi",
    "instructions": "Be brief.",
    "max_output_tokens": 64,
    "metadata": {"a": "b"},
    "parallel_tool_calls": False,
    "reasoning": {"effort": "low", "summary": "auto"},
    "store": True,
    "temperature": 0.5,
    "text": {"format": {"type": "json_object"}, "verbosity": None},
    "tool_choice": {"type": "function", "name": "weather"},
    "tools": [{"type": "function", "name": "weather"}],
    "top_p": None,
    "user": "u",
}
USAGE = Usage(9, 7, cached_tokens=4, cache_write_tokens=2, reasoning_tokens=3, reported=True)
BLOCK: dict[str, Any] = {"type": "thinking", "thinking": "Hm. ", "signature": "sig"}
REDACTED: dict[str, Any] = {"type": "redacted_thinking", "data": "x"}


def _text(*pieces: str) -> list[Chunk]:
    return [Chunk(text=piece) for piece in pieces]


def _calls() -> list[Chunk]:
    """Two calls whose pieces come in turns."""
    pieces = [
        ToolCall("c1", "weather", "", 0, signature="call-sig"),
        ToolCall("", "", '{"city"', 0),
        ToolCall("c2", "time", "", 1),
        ToolCall("", "", ': "Oslo"}', 0),
        ToolCall("", "", '{"zone": "Z"}', 1),
    ]
    return [Chunk(tool_calls=[piece]) for piece in pieces]


def _end(reason: str | None) -> list[Chunk]:
    return [Chunk(finish_reason=reason, model="big-1"), Chunk(usage=USAGE, model="big-1")]


THOUGHT = [
    Chunk(reasoning="Hm", model="big-1"),
    Chunk(reasoning=". "),
    Chunk(thinking_blocks=[BLOCK]),
    Chunk(thinking_blocks=[REDACTED]),
]
#: In the order in which models answer: reasoning, text, calls of tools.
ANSWERS: dict[str, list[Chunk]] = {
    "text": [*_text("Hel", "lo é世界😀"), *_end("stop")],
    "reasoning": [*THOUGHT, *_text("Hello"), *_end("stop")],
    "calls": [*_calls(), *_end("tool_calls")],
    "everything": [*THOUGHT, *_text("Let me ", "see."), *_calls(), *_end("tool_calls")],
    "cut": [*_text("Hel"), *_end("length")],
    "cut in reasoning": [Chunk(reasoning="Hm"), *_end("length")],
    "cut in a call": [*_text("See"), Chunk(tool_calls=[ToolCall("c1", "weather", '{"ci', 0)]), *_end("length")],
    "cut before a call's arguments": [Chunk(tool_calls=[ToolCall("c1", "weather", "", 0)]), *_end("length")],
    "filtered": [*_text("Hel"), Chunk(refusal="I can't."), *_end("content_filter")],
    "refused": [Chunk(refusal="I "), Chunk(refusal="can't."), *_end("stop")],
    "a call without arguments": [Chunk(tool_calls=[ToolCall("c1", "time", "", 0)]), *_end("tool_calls")],
    "calls without ids": [
        Chunk(tool_calls=[ToolCall("", "time", "{}", 0), ToolCall("", "time", "{}", 1)]),
        *_end("tool_calls"),
    ],
    "calls of one id": [
        Chunk(tool_calls=[ToolCall("c", "time", "{}", 0), ToolCall("c", "time", "{}", 1)]),
        *_end("tool_calls"),
    ],
    "a name that comes late": [
        Chunk(tool_calls=[ToolCall("c1", "", "{", 0, signature="s")]),
        Chunk(tool_calls=[ToolCall("", "time", "}", 0)]),
        *_end("tool_calls"),
    ],
    "nothing": _end("stop"),
    "no reason for the end": _text("Hello"),
    "all at once": [
        Chunk("Hello", "Hm. ", "", _calls()[0].tool_calls, "tool_calls", USAGE, "big-1", thinking_blocks=[BLOCK])
    ],
}


def collected(chunks: list[Chunk]) -> Reply:
    collector = Collector()
    for chunk in chunks:
        collector.add(chunk)
    return collector.reply()


def whole(chunks: list[Chunk], asked: dict[str, Any] = ASKED) -> dict[str, Any]:
    """The unary answer that these chunks come to."""
    found: dict[str, Any] = json.loads(Answered(asked, "resp_1", 1_700_000_000).encode(collected(chunks), "house"))
    return found


def raw_stream(chunks: list[Chunk]) -> bytes:
    writer = ResponseWriter(Answered(ASKED, "resp_1", 1_700_000_000), "house")
    return b"".join([writer.encode([chunk]) for chunk in chunks]) + writer.end()


def events(chunks: list[Chunk]) -> list[dict[str, Any]]:
    """The events of a stream, each under its own name and number."""
    found = []
    *frames, rest = raw_stream(chunks).split(b"\n\n")
    assert rest == b""
    for number, frame in enumerate(frames):
        name, data = frame.split(b"\n")
        event = json.loads(data.removeprefix(b"data: "))
        assert name == b"event: " + event["type"].encode()
        assert event["sequence_number"] == number
        found.append(event)
    return found


class Read:
    """A stream as a strict reader sees it: nothing before it was announced, nothing after it was done."""

    def __init__(self, found: list[dict[str, Any]]) -> None:
        self.items: list[dict[str, Any]] = []
        self.done: list[int] = []
        self._parts: dict[tuple[int, int], str] = {}
        assert [event["type"] for event in found[:2]] == ["response.created", "response.in_progress"]
        assert all(event["response"]["status"] == "in_progress" for event in found[:2])
        for event in found[2:-1]:
            kind = event["type"].removeprefix("response.")
            if kind == "output_item.added":
                assert event["output_index"] == len(self.items)
                assert event["item"]["status"] == "in_progress"
                self.items.append(event["item"])
                continue
            at = event["output_index"]
            assert at not in self.done
            if kind == "output_item.done":
                assert {**event["item"], "status": ""}.items() >= {**self.items[at], "status": ""}.items()
                assert (event["item"]["id"], event["item"]["type"]) == (self.items[at]["id"], self.items[at]["type"])
                self.items[at] = event["item"]
                self.done.append(at)
                continue
            assert event["item_id"] == self.items[at]["id"]
            self._piece(kind, event, self.items[at])
        self.final = found[-1]
        assert sorted(self.done) == list(range(len(self.items)))
        assert self.final["response"]["output"] == self.items

    def _piece(self, kind: str, event: dict[str, Any], item: dict[str, Any]) -> None:
        if item["type"] == "function_call":
            if kind == "function_call_arguments.delta":
                item["arguments"] += event["delta"]
            else:
                assert kind == "function_call_arguments.done"
                assert (event["arguments"], event["name"]) == (item["arguments"], item["name"])
            return
        parts = item["summary" if item["type"] == "reasoning" else "content"]
        index = event["summary_index" if item["type"] == "reasoning" else "content_index"]
        if kind.endswith("part.added"):
            assert index == len(parts)
            parts.append(event["part"])
            return
        part = parts[index]
        field = "refusal" if part["type"] == "refusal" else "text"
        if kind.endswith(".delta"):
            assert event["delta"]
            part[field] += event["delta"]
        elif kind.endswith("part.done"):
            assert event["part"] == part
        else:
            assert event[field] == part[field]


# --- the whole answer --------------------------------------------------------------------------------------------


def test_a_reply_as_a_response() -> None:
    raw = whole(ANSWERS["everything"])
    response = Response.model_validate(raw)
    assert (response.id, response.model, response.status) == ("resp_1", "big-1", "completed")
    assert (response.output_text, response.created_at) == ("Let me see.", 1_700_000_000)
    kinds = [item.type for item in response.output]
    assert kinds == ["reasoning", "message", "reasoning", "function_call", "function_call"]
    calls = [(item.call_id, item.name, item.arguments) for item in response.output if item.type == "function_call"]
    assert calls == [("c1", "weather", '{"city": "Oslo"}'), ("c2", "time", '{"zone": "Z"}')]
    assert raw["output"][0]["summary"] == [{"type": "summary_text", "text": "Hm. "}]
    found = unpack(raw["output"][0]["encrypted_content"])
    assert found is not None
    assert found.thinking_blocks == [BLOCK, REDACTED]
    found = unpack(raw["output"][2]["encrypted_content"])
    assert found is not None
    assert found.signatures == {"c1": "call-sig"}
    assert len({item["id"] for item in raw["output"]}) == 5


def test_what_was_asked_is_repeated_and_what_is_not_done_is_said() -> None:
    raw = whole(ANSWERS["text"])
    same = ("instructions", "max_output_tokens", "metadata", "parallel_tool_calls", "temperature", "user")
    assert {name: raw[name] for name in same} == {name: ASKED[name] for name in same}
    assert raw["reasoning"] == ASKED["reasoning"]
    assert raw["text"] == {"format": {"type": "json_object"}}
    assert raw["tool_choice"] == ASKED["tool_choice"]
    assert raw["tools"] == [{"type": "function", "name": "weather", "parameters": None, "strict": None}]
    assert (raw["store"], raw["previous_response_id"], raw["truncation"]) == (False, None, "disabled")


def test_what_was_not_asked_has_the_apis_own_values() -> None:
    raw = whole(ANSWERS["text"], {"model": "house", "input": "Hi"})
    assert (raw["tools"], raw["tool_choice"], raw["metadata"], raw["parallel_tool_calls"]) == ([], "auto", {}, True)
    assert raw["text"] == {"format": {"type": "text"}}
    assert raw["instructions"] is raw["temperature"] is raw["top_p"] is None


def test_counts() -> None:
    assert whole(ANSWERS["text"])["usage"] == {
        "input_tokens": 9,
        "input_tokens_details": {"cached_tokens": 4, "cache_write_tokens": 2},
        "output_tokens": 7,
        "output_tokens_details": {"reasoning_tokens": 3},
        "total_tokens": 16,
    }
    assert "usage" not in whole(ANSWERS["no reason for the end"])  # nobody counted


@pytest.mark.parametrize(
    ("name", "status", "reason"),
    [
        ("text", "completed", None),
        ("refused", "completed", None),
        ("calls", "completed", None),
        ("cut", "incomplete", "max_output_tokens"),
        ("cut in a call", "incomplete", "max_output_tokens"),
        ("filtered", "incomplete", "content_filter"),
    ],
)
def test_how_it_ended(name: str, status: str, reason: str | None) -> None:
    raw = whole(ANSWERS[name])
    assert raw["status"] == status
    assert (raw["incomplete_details"] or {}).get("reason") == reason
    assert [item["status"] for item in raw["output"]] == ["completed"] * (len(raw["output"]) - 1) + [status]
    assert events(ANSWERS[name])[-1]["type"] == f"response.{status}"


def test_refusals_are_parts_of_their_own() -> None:
    [item] = whole(ANSWERS["filtered"])["output"]
    assert [part.get("text") or part["refusal"] for part in item["content"]] == ["Hel", "I can't."]


def test_every_call_can_be_told_from_the_others() -> None:
    for name in ("calls without ids", "calls of one id"):
        ids = [item["call_id"] for item in whole(ANSWERS[name])["output"]]
        assert all(ids)
        assert len(set(ids)) == 2


# --- the stream --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ANSWERS)
def test_a_stream_comes_to_the_whole_answer(name: str) -> None:
    found = events(ANSWERS[name])
    read = Read(found)
    assert read.final["response"] == whole(ANSWERS[name])


def test_calls_whose_pieces_come_in_turns() -> None:
    found = events(ANSWERS["calls"])
    deltas = [event for event in found if event["type"] == "response.function_call_arguments.delta"]
    assert [(event["output_index"], event["delta"]) for event in deltas] == [
        (1, '{"city"'),
        (1, ': "Oslo"}'),
        (2, '{"zone": "Z"}'),
    ]


def test_a_message_is_done_before_the_first_call() -> None:
    """What can be shown is shown, and what can be spoken is spoken, while calls are still being written."""
    kinds = [(event["type"], (event.get("item") or {}).get("type")) for event in events(ANSWERS["everything"])]
    done = kinds.index(("response.output_item.done", "message"))
    assert done < kinds.index(("response.output_item.added", "function_call"))
    assert kinds.index(("response.output_item.done", "reasoning")) < kinds.index(
        ("response.output_item.added", "message")
    )


def test_what_comes_out_of_turn_has_items_of_its_own() -> None:
    """Text after a call, reasoning after text: the order in which it came is kept, and nothing is lost."""
    chunks = [
        *THOUGHT[:3],
        *_text("One."),
        Chunk(reasoning="More."),
        Chunk(thinking_blocks=[REDACTED]),
        *_calls()[:2],
        *_text("Two."),
        Chunk(thinking_blocks=[BLOCK]),  # late: the message is not torn apart for it
        *_text(" Three."),
        *_calls()[2:],
        Chunk(tool_calls=[ToolCall(index=1, signature="late")]),
        *_end("tool_calls"),
    ]
    read = Read(events(chunks))
    output = read.final["response"]["output"]
    assert [item["type"] for item in output] == [
        *("reasoning", "message", "reasoning", "reasoning", "function_call"),
        *("message", "reasoning", "function_call", "reasoning"),
    ]
    assert [part["text"] for item in output if item["type"] == "message" for part in item["content"]] == [
        "One.",
        "Two. Three.",
    ]
    packed = [unpack(item["encrypted_content"]) for item in output if item["type"] == "reasoning"]
    assert [block for each in packed if each for block in each.thinking_blocks] == [BLOCK, REDACTED, BLOCK]
    assert {k: v for each in packed if each for k, v in each.signatures.items()} == {"c1": "call-sig", "c2": "late"}
    assert [item["arguments"] for item in output if item["type"] == "function_call"] == [
        '{"city": "Oslo"}',
        '{"zone": "Z"}',
    ]


@pytest.mark.parametrize("seed", range(40))
def test_nothing_is_lost_in_whatever_order_it_comes(seed: int) -> None:
    dice = random.Random(seed)
    named: set[int] = set()
    chunks = []
    for number in range(dice.randrange(1, 25)):
        kind = dice.choice(("text", "reasoning", "refusal", "blocks", "call", "call"))
        if kind == "blocks":
            chunks.append(Chunk(thinking_blocks=[{**BLOCK, "thinking": str(number)}]))
        elif kind == "call":
            index = dice.randrange(3)
            first = index not in named
            named.add(index)
            identity, name = (f"c{index}", "f") if first else ("", "")
            signature = f"s{index}" if dice.random() < 0.2 else ""
            chunks.append(Chunk(tool_calls=[ToolCall(identity, name, str(number), index, signature=signature)]))
        else:
            piece: dict[str, Any] = {kind: f"{kind}{number} "}
            chunks.append(Chunk(**piece))
    output = Read(events([*chunks, *_end("stop")])).final["response"]["output"]
    wanted = collected(chunks)
    parts = [part for item in output if item["type"] == "message" for part in item["content"]]
    assert "".join(part.get("text", "") for part in parts) == wanted.text
    assert "".join(part.get("refusal", "") for part in parts) == wanted.refusal
    thoughts = [item for item in output if item["type"] == "reasoning"]
    assert "".join(part["text"] for item in thoughts for part in item["summary"]) == wanted.reasoning
    packed = [found for item in thoughts if (found := unpack(item.get("encrypted_content", "")))]
    assert [block for each in packed for block in each.thinking_blocks] == wanted.thinking_blocks
    calls = {item["call_id"]: item["arguments"] for item in output if item["type"] == "function_call"}
    assert calls == {call.id: call.arguments for call in wanted.tool_calls}
    signatures = {name: text for each in packed for name, text in each.signatures.items()}
    assert signatures == {call.id: call.signature for call in wanted.tool_calls if call.signature}


def test_other_choices_are_nobodys() -> None:
    read = Read(events([Chunk(text="a"), Chunk(text="b", index=1), *_end("stop")]))
    assert [part["text"] for part in read.items[0]["content"]] == ["a"]


def test_the_model_is_the_backends_once_it_is_known() -> None:
    found = events([Chunk(text="a"), *_end("stop")])
    assert (found[0]["response"]["model"], found[-1]["response"]["model"]) == ("house", "big-1")


@pytest.mark.parametrize("name", ANSWERS)
def test_our_own_client_reads_it(name: str) -> None:
    """Gateways may stand behind each other."""
    decoder = ResponseStreamDecoder()
    reply = collected(decoder.feed(raw_stream(ANSWERS[name])))
    decoder.end()
    wanted = collected(ANSWERS[name])
    assert (reply.text, reply.reasoning, reply.refusal) == (wanted.text, wanted.reasoning, wanted.refusal)
    assert [call.name for call in reply.tool_calls] == [call.name for call in wanted.tool_calls]
    assert reply.usage.total_tokens == wanted.usage.total_tokens
    assert decoder.finished


# --- OpenAI's own description ------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def spec() -> Iterator[Spec]:
    if _FILE is None:
        pytest.skip("openai.openapi.yaml not found: set IPFS_ACCELERATE_SPECS to the folder that holds it")
    with _FILE.open("rb") as file:
        yield Spec(yaml.load(file, Loader=yaml.CSafeLoader)["components"]["schemas"])


@pytest.mark.parametrize("name", ["everything", "filtered", "cut in a call"])
def test_answers_and_events_are_what_the_description_says(spec: Spec, name: str) -> None:
    spec.check("Response", whole(ANSWERS[name]))
    seen = set()
    for event in events(ANSWERS[name]):
        if event["type"] not in seen:  # once each: the description is large
            seen.add(event["type"])
            spec.check(_event_schema(event["type"]), event)
