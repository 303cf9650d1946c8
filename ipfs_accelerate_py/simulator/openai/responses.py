"""``/responses``: unary, and as a stream of typed events."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

import msgspec

from ipfs_accelerate_py.simulator.answering import Said, ToolCall, say
from ipfs_accelerate_py.simulator.text import count_tokens
from ipfs_accelerate_py.simulator.wire import Answer, Event, Problem, Request, Settings, StreamItem

from .checks import (
    Rules,
    a_boolean,
    a_number,
    a_string,
    an_array,
    an_integer,
    an_object,
    body_of,
    check,
    missing,
    model_of,
    one_of,
    wrong_type,
)
from .common import FINGERPRINT, chosen_tools, content_tokens, created, is_reasoning, new_id, text_of

__all__ = ["answer", "error_event", "prompt_tokens"]

_encode = msgspec.json.Encoder().encode
_RULES: Final[Rules] = {
    "background": a_boolean,
    "include": an_array,
    "instructions": a_string,
    "max_output_tokens": an_integer(16),
    "metadata": an_object,
    "parallel_tool_calls": a_boolean,
    "previous_response_id": a_string,
    "reasoning": an_object,
    "store": a_boolean,
    "stream": a_boolean,
    "temperature": a_number(0, 2),
    "text": an_object,
    "top_p": a_number(0, 1),
    "truncation": one_of("auto", "disabled"),
    "user": a_string,
}


def prompt_tokens(body: dict[str, Any]) -> int:
    """Tokens of instructions and input."""
    given = body.get("input")
    total = 3 + count_tokens(body["instructions"]) if isinstance(body.get("instructions"), str) else 3
    if isinstance(given, str):
        return total + 4 + count_tokens(given)
    for item in given if isinstance(given, list) else ():
        if isinstance(item, dict):
            total += 4 + content_tokens(item.get("content")) + content_tokens(item.get("output"))
    return total


def answer(request: Request, settings: Settings) -> Answer:
    body = body_of(request)
    model = model_of(body, settings)
    check(body, _RULES)
    given = body.get("input")
    if given is None:
        missing("input")
    if not isinstance(given, str | list):
        wrong_type("input", "one of a string or array of input items", given)
    asked = _asked(given)
    tools = chosen_tools(body, asked, nested=False)
    source = _encode([body.get("instructions"), given])
    said = say(
        source,
        settings,
        body,
        limit=body.get("max_output_tokens"),
        tools=tools,
        schema=_schema(body),
        reasoning=is_reasoning(model) and (body.get("reasoning") or {}).get("effort") != "none",
    )
    made = _Response(body, model, said)
    if body.get("stream") is True:
        events = made.events()
        return Answer(content_type="text/event-stream; charset=utf-8", events=events, model=model, usage=made.usage())
    return Answer(body=_encode(made.whole(made.output(), done=True)), model=model, usage=made.usage())


def _asked(given: str | list[Any]) -> str | None:
    """The text of the last message, where that is the user's."""
    if isinstance(given, str):
        return given
    for index, item in enumerate(given):
        an_object(f"input[{index}]", item)
    last = given[-1] if given else {}
    return text_of(last.get("content")) if last.get("role") == "user" else None


def _schema(body: dict[str, Any]) -> Any:
    wanted = (body.get("text") or {}).get("format")
    if wanted is None:
        return None
    an_object("text.format", wanted)
    kind = wanted.get("type")
    one_of("text", "json_object", "json_schema")("text.format.type", kind)
    if kind == "json_schema":
        if wanted.get("name") is None:
            missing("text.format.name")
        if wanted.get("schema") is None:
            missing("text.format.schema")
        return wanted["schema"]
    if kind == "json_object":
        return {"type": "object", "properties": {"answer": {"type": "string"}}, "required": ["answer"]}
    return None


class _Response:
    """One response and its items, whole or as events."""

    def __init__(self, body: dict[str, Any], model: str, said: Said) -> None:
        self._body = body
        self._model = model
        self._said = said
        self._id = new_id("resp_")
        self._created = created()
        self._number = -1

    def usage(self) -> dict[str, Any]:
        prompt, said = prompt_tokens(self._body), self._said
        return {
            "input_tokens": prompt,
            "input_tokens_details": {"cached_tokens": 0, "cache_write_tokens": 0},
            "output_tokens": said.count,
            "output_tokens_details": {"reasoning_tokens": len(said.reasoning)},
            "total_tokens": prompt + said.count,
        }

    def whole(self, output: list[dict[str, Any]], *, done: bool) -> dict[str, Any]:
        body, said = self._body, self._said
        status = "in_progress" if not done else "incomplete" if said.cut else "completed"
        whole = {
            "id": self._id,
            "object": "response",
            "created_at": self._created,
            "completed_at": created() if status == "completed" else None,
            "status": status,
            "background": False,
            "error": None,
            "incomplete_details": {"reason": "max_output_tokens"} if done and said.cut else None,
            "instructions": body.get("instructions"),
            "max_output_tokens": body.get("max_output_tokens"),
            "model": self._model,
            "output": output,
            "parallel_tool_calls": body.get("parallel_tool_calls") is not False,
            "previous_response_id": body.get("previous_response_id"),
            "store": body.get("store") is not False,
            "temperature": 1.0 if body.get("temperature") is None else body["temperature"],
            "text": body.get("text") or {"format": {"type": "text"}},
            "tool_choice": body.get("tool_choice") or "auto",
            "tools": body.get("tools") or [],
            "top_p": 1.0 if body.get("top_p") is None else body["top_p"],
            "truncation": body.get("truncation") or "disabled",
            "metadata": body.get("metadata") or {},
            "system_fingerprint": FINGERPRINT,
        }
        if done:
            whole["usage"] = self.usage()
        return whole

    def output(self) -> list[dict[str, Any]]:
        said = self._said
        items: list[dict[str, Any]] = []
        if said.reasoning:
            items.append(_reasoning(new_id("rs_"), "".join(said.reasoning)))
        if said.calls:
            items += [_call(new_id("fc_"), new_id("call_"), call, "completed") for call in said.calls]
        elif said.tokens or not said.cut:
            items.append(_message(new_id("msg_"), [_text("".join(said.tokens))], self._ending))
        return items

    @property
    def _ending(self) -> str:
        return "incomplete" if self._said.cut else "completed"

    def _event(self, kind: str, tokens: int = 0, **fields: Any) -> Event:
        self._number += 1
        return Event(_encode({"type": kind, "sequence_number": self._number, **fields}), kind, tokens)

    def events(self) -> Iterator[StreamItem]:
        output = self.output()
        start = self.whole([], done=False)
        yield self._event("response.created", response=start)
        yield self._event("response.in_progress", response=start)
        calls = iter(self._said.calls)
        for index, item in enumerate(output):
            if item["type"] == "reasoning":
                yield from self._reasoning_events(index, item)
            elif item["type"] == "message":
                yield from self._message_events(index, item)
            else:
                yield from self._call_events(index, item, next(calls))
        yield self._event(f"response.{self._ending}", response=self.whole(output, done=True))

    def _reasoning_events(self, index: int, item: dict[str, Any]) -> Iterator[StreamItem]:
        place = {"item_id": item["id"], "output_index": index, "summary_index": 0}
        yield self._event("response.output_item.added", output_index=index, item={**item, "summary": []})
        empty = {"type": "summary_text", "text": ""}
        yield self._event("response.reasoning_summary_part.added", **place, part=empty)
        for token in self._said.reasoning:
            yield self._event("response.reasoning_summary_text.delta", 1, **place, delta=token)
        part = item["summary"][0]
        yield self._event("response.reasoning_summary_text.done", **place, text=part["text"])
        yield self._event("response.reasoning_summary_part.done", **place, part=part)
        yield self._event("response.output_item.done", output_index=index, item=item)

    def _message_events(self, index: int, item: dict[str, Any]) -> Iterator[StreamItem]:
        place = {"item_id": item["id"], "output_index": index, "content_index": 0}
        added = _message(item["id"], [], "in_progress")
        yield self._event("response.output_item.added", output_index=index, item=added)
        yield self._event("response.content_part.added", **place, part=_text(""))
        for token in self._said.tokens:
            yield self._event("response.output_text.delta", 1, **place, delta=token, logprobs=[])
        part = item["content"][0]
        yield self._event("response.output_text.done", **place, text=part["text"], logprobs=[])
        yield self._event("response.content_part.done", **place, part=part)
        yield self._event("response.output_item.done", output_index=index, item=item)

    def _call_events(self, index: int, item: dict[str, Any], call: ToolCall) -> Iterator[StreamItem]:
        place = {"item_id": item["id"], "output_index": index}
        added = {**item, "arguments": "", "status": "in_progress"}
        yield self._event("response.output_item.added", 1, output_index=index, item=added)
        for piece in call.arguments:
            yield self._event("response.function_call_arguments.delta", 1, **place, delta=piece)
        yield self._event(
            "response.function_call_arguments.done", **place, name=call.name, arguments="".join(call.arguments)
        )
        yield self._event("response.output_item.done", output_index=index, item=item)


def _text(text: str) -> dict[str, Any]:
    return {"type": "output_text", "text": text, "annotations": [], "logprobs": []}


def _message(name: str, content: list[dict[str, Any]], status: str) -> dict[str, Any]:
    return {"id": name, "type": "message", "status": status, "role": "assistant", "content": content}


def _reasoning(name: str, text: str) -> dict[str, Any]:
    return {"id": name, "type": "reasoning", "summary": [{"type": "summary_text", "text": text}]}


def _call(name: str, call_id: str, call: ToolCall, status: str) -> dict[str, Any]:
    return {
        "id": name,
        "type": "function_call",
        "status": status,
        "arguments": "".join(call.arguments),
        "call_id": call_id,
        "name": call.name,
    }


def error_event(problem: Problem, number: int) -> Event:
    """An error in mid-stream, as this endpoint sends it."""
    fields = {"code": problem.code, "message": problem.message, "param": problem.param, "sequence_number": number}
    return Event(_encode({"type": "error", **fields}), "error")
