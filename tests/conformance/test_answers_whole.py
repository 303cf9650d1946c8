"""What a service answers reaches the client in its own format, whole or as a stream, as the vendor's own types read it.

What a format has no place for is in docs/gateway.md.
"""

from __future__ import annotations

import base64
import json
from typing import Any

import msgspec
import openai.types.responses as responses
import pytest

from ipfs_accelerate_py.dialects.serving import ServedRequest, StreamWriter
from ipfs_accelerate_py.errors import ServerError
from ipfs_accelerate_py.gateway.ingresses import ingress
from ipfs_accelerate_py.stream import Collector
from ipfs_accelerate_py.types import Chunk, Image, Operation, Reply, ToolCall, Usage

from .readers import READ, Seen, events
from .test_nothing_dropped import ASKED
from .things import THINGS

pytestmark = pytest.mark.filterwarnings("ignore:Inheritance class:DeprecationWarning")  # google-genai's, of aiohttp's

NAMES = ("openai", "responses", "anthropic", "gemini", "ollama")
USAGE = Usage(90, 40, 20, 15, 6, 5, 10, reported=True)
SIGNED = {"type": "thinking", "thinking": "Hm. ", "signature": "c2lnMQ=="}
MORE = {"type": "thinking", "thinking": "Aha.", "signature": "c2lnMg=="}
HIDDEN = {"type": "redacted_thinking", "data": "aGlkZGVu"}
PICTURE = Image(data=b"\x89PNG picture", media_type="image/png")


# --- asking ------------------------------------------------------------------------------------------------------


def asked(name: str) -> ServedRequest:
    form, operation, path = ASKED[name]
    body = dict(THINGS[name][0].without)
    if name == "openai":
        body |= {"stream": True, "stream_options": {"include_usage": True}}
    encoded = msgspec.json.encode(body)
    return ingress(form).decode(operation, encoded, "application/json", {**path, "alt": "sse"}, stream=True)


def writer(name: str) -> StreamWriter:
    return ingress(ASKED[name][0]).writer(asked(name), "m", "req_1", 7)


def both(name: str, chunks: list[Chunk]) -> tuple[Any, Any]:
    """The answer, whole and streamed, as the vendor's types have them."""
    collector = Collector()
    for chunk in chunks:
        collector.add(chunk)
    reply = collector.reply(Reply(request_id="req_1"))
    writes = writer(name)
    data = b"".join([writes.encode([chunk]) for chunk in chunks]) + writes.end()
    whole = ingress(ASKED[name][0]).encode(asked(name), reply, "m", 7).body
    return READ[name].whole(whole), READ[name].streamed(data)


def last(finish: str) -> Chunk:
    return Chunk(finish_reason=finish, usage=USAGE, model="big-1")


# --- tests -------------------------------------------------------------------------------------------------------

FINISHES = {
    "openai": {},
    "responses": {
        "stop": "completed", "tool_calls": "completed", "length": "max_output_tokens", "pause_turn": "completed",
    },
    "anthropic": {
        "stop": "end_turn", "tool_calls": "tool_use", "length": "max_tokens", "content_filter": "refusal",
    },
    "gemini": {
        "stop": "STOP", "tool_calls": "STOP", "length": "MAX_TOKENS", "content_filter": "SAFETY", "pause_turn": "OTHER",
    },
    "ollama": {"tool_calls": "stop"},
}  # fmt: skip


@pytest.mark.parametrize("name", NAMES)
def test_every_part_of_an_answer_comes_through(name: str) -> None:
    chunks = [
        Chunk(model="big-1", reasoning="Hm. "),
        Chunk(thinking_blocks=[SIGNED]),
        Chunk(reasoning="Aha."),
        Chunk(thinking_blocks=[MORE]),
        Chunk("Let me "),
        Chunk("see."),
        Chunk(tool_calls=[ToolCall("call_1", "weather", '{"city":', 0, signature="c2ln")]),
        Chunk(tool_calls=[ToolCall(arguments='"Rome"}', index=0)]),
        Chunk(tool_calls=[ToolCall("call_2", "clock", "{}", 1)]),
        last("tool_calls"),
    ]
    whole, streamed = both(name, chunks)
    wanted = Seen(
        "Let me see.",
        "Hm. Aha.",
        [("weather", {"city": "Rome"}), ("clock", {})],
        FINISHES[name].get("tool_calls", "tool_calls"),
        (90, 40),
    )
    assert READ[name].seen(whole) == wanted
    assert READ[name].seen(streamed) == wanted


@pytest.mark.parametrize("finish", ["stop", "length", "content_filter", "pause_turn"])
@pytest.mark.parametrize("name", NAMES)
def test_every_end_comes_through(name: str, finish: str) -> None:
    whole, streamed = both(name, [Chunk("Hello", model="big-1"), last(finish)])
    wanted = Seen("Hello", "", [], FINISHES[name].get(finish, finish), (90, 40))
    assert READ[name].seen(whole) == wanted
    assert READ[name].seen(streamed) == wanted


@pytest.mark.parametrize("name", NAMES)
def test_a_refusal_beside_a_text_is_told(name: str) -> None:
    for chunks in ([Chunk("Well. ", model="big-1"), Chunk(refusal="No."), last("content_filter")],
                   [Chunk("Well. ", refusal="No.", model="big-1"), last("content_filter")]):  # fmt: skip
        for answer in both(name, chunks):
            text = READ[name].seen(answer).text
            assert "Well." in text
            assert "No." in text


@pytest.mark.parametrize("name", NAMES)
def test_an_image_is_given_on(name: str) -> None:
    encoded = base64.b64encode(PICTURE.data).decode()
    for answer in both(name, [Chunk("Look: ", model="big-1"), Chunk(images=[PICTURE]), last("stop")]):
        assert READ[name].seen(answer).text.startswith("Look: ")
        if name == "gemini":
            found = [part.inline_data.data for part in answer.candidates[0].content.parts if part.inline_data]
            assert found == [PICTURE.data]
        elif name == "responses":
            assert [item.result for item in answer.output if item.type == "image_generation_call"] == [encoded]
        elif name in ("anthropic", "ollama"):
            assert f"data:image/png;base64,{encoded}" in READ[name].seen(answer).text
        else:
            url = {"url": f"data:image/png;base64,{encoded}"}
            [image] = answer.choices[0].message.images
            assert {"url": image["image_url"]["url"]} == url


@pytest.mark.parametrize("name", ["openai", "responses", "anthropic", "gemini"])
def test_what_is_signed_comes_back_in_the_next_turn(name: str) -> None:
    """The answer is sent back by the client, and is a message of the vocabulary again, with all that was signed."""
    chunks = [
        Chunk(reasoning="Hm. ", model="big-1"),
        Chunk(thinking_blocks=[SIGNED]),
        Chunk(thinking_blocks=[HIDDEN]),
        Chunk(reasoning="Aha."),
        Chunk(thinking_blocks=[MORE]),
        Chunk("Yes."),
        Chunk(tool_calls=[ToolCall("call_1", "weather", "{}", 0, signature="c2ln")]),
        last("tool_calls"),
    ]
    for answer in both(name, chunks):
        body = dict(THINGS[name][0].without)
        if name == "openai":
            said = answer.choices[0].message.model_dump(exclude_none=True)
            body["messages"] = [*body["messages"], said]
        elif name == "responses":
            body["input"] = [*body["input"], *(item.model_dump(exclude_none=True) for item in answer.output)]
        elif name == "anthropic":
            content = [block.model_dump(exclude_none=True) for block in answer.content]
            body["messages"] = [*body["messages"], {"role": "assistant", "content": content}]
        else:
            content = answer.candidates[0].content.model_dump(exclude_none=True, mode="json", by_alias=True)
            body["contents"] = [*body["contents"], content]
        form, operation, path = ASKED[name]
        encoded = msgspec.json.encode(body)
        request: Any = ingress(form).decode(operation, encoded, "application/json", path, stream=False).request("m")
        message = request.messages[-1]
        assert [without_index(block) for block in message["thinking_blocks"]] == [SIGNED, HIDDEN, MORE]
        if name != "anthropic":  # it has no place for a signature of a call
            assert message["tool_calls"][0]["extra_content"] == {"google": {"thought_signature": "c2ln"}}


def without_index(block: dict[str, Any]) -> dict[str, Any]:
    """OpenAI's own accumulation numbers what is in lists."""
    return {name: value for name, value in block.items() if name != "index"}


def test_every_class_of_tokens_is_told_where_the_format_has_it() -> None:
    chunks = [Chunk("Hello", model="big-1"), last("stop")]
    for answer in both("openai", chunks):
        details = answer.usage.prompt_tokens_details
        assert (details.cached_tokens, details.cache_write_tokens, details.audio_tokens) == (20, 10, 6)
        details = answer.usage.completion_tokens_details
        assert (details.reasoning_tokens, details.audio_tokens) == (15, 5)
    for answer in both("responses", chunks):
        assert answer.usage.input_tokens_details.cached_tokens == 20
        assert answer.usage.input_tokens_details.cache_write_tokens == 10
        assert answer.usage.output_tokens_details.reasoning_tokens == 15
    for answer in both("anthropic", chunks):
        counts = answer.usage
        assert (counts.cache_read_input_tokens, counts.cache_creation_input_tokens) == (20, 10)
        assert counts.output_tokens_details.thinking_tokens == 15
    for answer in both("gemini", chunks):
        counts = answer.usage_metadata
        assert (counts.cached_content_token_count, counts.thoughts_token_count) == (20, 15)
        assert counts.prompt_tokens_details[1].token_count == 6


def test_several_answers_stream_side_by_side() -> None:
    chunks = [Chunk("a", index=0), Chunk("b", index=1), Chunk(finish_reason="stop", index=0), last("stop")]
    chunks[-1].index = 1
    for name in ("openai", "gemini"):
        writes = writer(name)
        data = writes.encode(chunks) + writes.end()
        if name == "openai":
            choices = READ["openai"].streamed(data).choices
            assert [choice.message.content for choice in choices] == ["a", "b"]
        else:
            found = [each for event in events(data) for each in event["candidates"]]
            texts = {each["index"]: each["content"]["parts"][0]["text"] for each in found if "finishReason" not in each}
            assert texts == {0: "a", 1: "b"}


def test_an_error_in_band_has_its_place_in_the_stream() -> None:
    writes: Any = writer("responses")
    told = events(writes.encode([Chunk("Hel", model="big-1")]) + writes.error_event(ServerError("broken")))
    assert [event["sequence_number"] for event in told] == list(range(len(told)))
    assert responses.ResponseErrorEvent.model_validate(told[-1]).message == "broken"


def test_an_error_of_anthropics_names_the_request() -> None:
    form = ingress("anthropic")
    for body in (
        form.error(ServerError("broken", request_id="upstream"), "req_1").body,
        form.failure(404, "nothing here", "unknown_url", "req_1").body,
        form.error_event(ServerError("broken"), Operation.CHAT, "req_1").partition(b"data: ")[2],
    ):
        assert json.loads(body)["request_id"] == "req_1"
