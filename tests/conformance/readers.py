"""Answers as the vendors' own types read them, whole or as a stream, and what a client sees of them."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any, NamedTuple

import ollama
import openai.types.responses as responses
from anthropic.lib.streaming._messages import accumulate_event
from anthropic.types import Message, RawMessageStreamEvent
from google.genai import types as google
from openai.lib.streaming.chat import ChatCompletionStreamState
from openai.types.chat import ChatCompletion, ChatCompletionChunk
from pydantic import TypeAdapter

__all__ = ["READ", "Seen", "events"]


class Seen(NamedTuple):
    """An answer as a client has it. ``tokens`` are those in and out as the format counts them."""

    text: str
    reasoning: str
    calls: list[tuple[str, dict[str, Any]]]
    finish: str
    tokens: tuple[int, int]


# --- reading, by the vendors' own types -------------------------------------------------------------------------


def events(data: bytes) -> list[dict[str, Any]]:
    lines = [line[6:] for line in data.split(b"\n") if line.startswith(b"data: ")]
    return [json.loads(line) for line in lines if line != b"[DONE]"]


def openai_whole(data: bytes) -> ChatCompletion:
    return ChatCompletion.construct(**json.loads(data))  # as the client does: the reason to end may be anything


def openai_streamed(data: bytes) -> ChatCompletion:
    state: Any = ChatCompletionStreamState()
    for event in events(data):
        state.handle_chunk(ChatCompletionChunk.construct(**event))
    made: ChatCompletion = state.current_completion_snapshot
    return made


def openai_seen(answer: ChatCompletion) -> Seen:
    message: Any = answer.choices[0].message
    calls = [(call.function.name, json.loads(call.function.arguments)) for call in message.tool_calls or ()]
    usage = answer.usage
    assert usage is not None
    return Seen(
        (message.content or "") + (message.refusal or ""),
        getattr(message, "reasoning_content", None) or "",
        calls,
        answer.choices[0].finish_reason,
        (usage.prompt_tokens, usage.completion_tokens),
    )


def responses_whole(data: bytes) -> responses.Response:
    return responses.Response.model_validate_json(data)


def responses_streamed(data: bytes) -> responses.Response:
    adapter: TypeAdapter[Any] = TypeAdapter(responses.ResponseStreamEvent)
    made: responses.Response = [adapter.validate_python(event) for event in events(data)][-1].response
    return made


def responses_seen(answer: responses.Response) -> Seen:
    text = reasoning = ""
    calls = []
    for item in answer.output:
        if item.type == "message":
            text += "".join(part.text if part.type == "output_text" else part.refusal for part in item.content)
        elif item.type == "reasoning":
            reasoning += "".join(part.text for part in item.summary)
        elif item.type == "function_call":
            calls.append((item.name, json.loads(item.arguments)))
    usage = answer.usage
    assert usage is not None
    why = answer.incomplete_details.reason if answer.incomplete_details is not None else None
    return Seen(text, reasoning, calls, str(why or answer.status), (usage.input_tokens, usage.output_tokens))


def anthropic_whole(data: bytes) -> Message:
    return Message.model_validate_json(data)


def anthropic_streamed(data: bytes) -> Message:
    adapter: TypeAdapter[Any] = TypeAdapter(RawMessageStreamEvent)
    message: Any = None
    pieces: dict[int, bytes] = {}
    for event in events(data):
        message = accumulate_event(event=adapter.validate_python(event), current_snapshot=message, json_bufs=pieces)
    made: Message = message
    return made


def anthropic_seen(answer: Message) -> Seen:
    text = reasoning = ""
    calls = []
    for block in answer.content:
        if block.type == "text":
            text += block.text
        elif block.type == "thinking":
            reasoning += block.thinking
        elif block.type == "tool_use":
            calls.append((block.name, dict(block.input)))
    usage = answer.usage
    given = usage.input_tokens + (usage.cache_read_input_tokens or 0) + (usage.cache_creation_input_tokens or 0)
    return Seen(text, reasoning, calls, str(answer.stop_reason), (given, usage.output_tokens))


def gemini_whole(data: bytes) -> google.GenerateContentResponse:
    return google.GenerateContentResponse.model_validate_json(data)


def gemini_streamed(data: bytes) -> google.GenerateContentResponse:
    seen = [google.GenerateContentResponse.model_validate(event) for event in events(data)]
    last = seen[-1]
    assert last.candidates
    assert last.candidates[0].content is not None
    contents = [each.content for event in seen for each in event.candidates or () if each.content]
    parts = [part for content in contents for part in content.parts or ()]
    last.candidates[0].content.parts = parts
    return last


def gemini_seen(answer: google.GenerateContentResponse) -> Seen:
    assert answer.candidates
    assert answer.candidates[0].content is not None
    parts = answer.candidates[0].content.parts or []
    usage = answer.usage_metadata
    assert usage is not None
    assert answer.candidates[0].finish_reason is not None
    return Seen(
        "".join(part.text for part in parts if part.text and not part.thought),
        "".join(part.text for part in parts if part.text and part.thought),
        [(str(part.function_call.name), dict(part.function_call.args or {})) for part in parts if part.function_call],
        answer.candidates[0].finish_reason.name,
        (usage.prompt_token_count or 0, (usage.candidates_token_count or 0) + (usage.thoughts_token_count or 0)),
    )


def ollama_whole(data: bytes) -> ollama.ChatResponse:
    return ollama.ChatResponse.model_validate_json(data)


def ollama_streamed(data: bytes) -> ollama.ChatResponse:
    pieces = [ollama.ChatResponse.model_validate_json(line) for line in data.splitlines()]
    last = pieces[-1]
    last.message.content = "".join(piece.message.content or "" for piece in pieces)
    last.message.thinking = "".join(piece.message.thinking or "" for piece in pieces)
    last.message.tool_calls = [call for piece in pieces for call in piece.message.tool_calls or ()]
    return last


def ollama_seen(answer: ollama.ChatResponse) -> Seen:
    message = answer.message
    calls = [(call.function.name, dict(call.function.arguments)) for call in message.tool_calls or ()]
    tokens = (answer.prompt_eval_count or 0, answer.eval_count or 0)
    return Seen(message.content or "", message.thinking or "", calls, str(answer.done_reason), tokens)


class Read(NamedTuple):
    whole: Callable[[bytes], Any]
    streamed: Callable[[bytes], Any]
    seen: Callable[[Any], Seen]


READ = {
    "openai": Read(openai_whole, openai_streamed, openai_seen),
    "responses": Read(responses_whole, responses_streamed, responses_seen),
    "anthropic": Read(anthropic_whole, anthropic_streamed, anthropic_seen),
    "gemini": Read(gemini_whole, gemini_streamed, gemini_seen),
    "ollama": Read(ollama_whole, ollama_streamed, ollama_seen),
}
