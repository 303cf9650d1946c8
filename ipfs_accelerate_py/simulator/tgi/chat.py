"""``/v1/chat/completions``, ``/v1/completions`` and ``/chat_tokenize``: OpenAI's format with TGI's liberties."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any, Final

import msgspec

from ipfs_accelerate_py.simulator.answering import pieces
from ipfs_accelerate_py.simulator.schema import example
from ipfs_accelerate_py.simulator.text import unit
from ipfs_accelerate_py.simulator.wire import Answer, Event, Request, Settings, StreamItem

from .checks import (
    MOST_TOP,
    Rules,
    a_boolean,
    a_float,
    a_string,
    an_unsigned,
    anything,
    body_of,
    check,
    check_parameters,
    invalid,
    strings,
    unreadable,
)
from .generating import Written, check_length, input_tokens, schema_of, text_headers, tokenize, write

__all__ = ["chat", "chat_tokenize", "completions", "model_id", "prompt_of"]

#: Every answer says that it was made by the simulator.
FINGERPRINT: Final = "fp_simulator"
_DONE: Final = Event(b"[DONE]", last=True)
_encode = msgspec.json.Encoder().encode
_RULES: Final[Rules] = {
    "frequency_penalty": a_float,
    "logit_bias": ("a sequence", lambda value: isinstance(value, list)),
    "logprobs": a_boolean,
    "max_tokens": an_unsigned,
    "messages": ("a sequence", lambda value: isinstance(value, list)),
    "model": a_string,
    "n": an_unsigned,
    "presence_penalty": a_float,
    "repetition_penalty": a_float,
    "response_format": anything,
    "seed": an_unsigned,
    "stop": strings,
    "stream": a_boolean,
    "stream_options": ("a map", lambda value: isinstance(value, dict)),
    "suffix": a_string,
    "temperature": a_float,
    "tools": ("a sequence", lambda value: isinstance(value, list)),
    "top_logprobs": an_unsigned,
    "top_p": a_float,
}


def model_id(settings: Settings) -> str:
    return settings.models[0] if settings.models else "simulator/tgi"


def _model(body: dict[str, Any], settings: Settings) -> str:
    """The server's own name for what it serves; behind a router, the name that was asked for."""
    named: Any = body.get("model")
    return named if settings.models is None and named not in (None, "", "tgi", "dummy") else model_id(settings)


# --- the prompt --------------------------------------------------------------------------------------------------


def prompt_of(body: dict[str, Any]) -> str:
    """The messages as a chat template writes them."""
    lines = []
    for index, message in enumerate(body["messages"]):
        if not isinstance(message, dict) or not isinstance(message.get("role"), str):
            unreadable(f"messages[{index}]: missing field `role` at line 1 column 2")
        content, calls = message.get("content"), message.get("tool_calls")
        if content is None and not isinstance(calls, list):
            unreadable(
                f"messages[{index}]: data did not match any variant of untagged enum MessageBody at line 1 column 2"
            )
        # A message has either; one with both is read as text.
        text = _text(content, index) if content is not None else _encode(calls).decode()
        lines.append(f"<|{message['role']}|>{text}")
    return "\n".join(lines)


def _text(content: Any, index: int) -> str:
    if isinstance(content, str):
        return content
    found = []
    parts: list[Any] = content if isinstance(content, list) else [None]
    for part in parts:
        kind = part.get("type") if isinstance(part, dict) else None
        if kind == "text" and isinstance(part.get("text"), str):
            found.append(part["text"])
        elif (
            kind == "image_url"
            and isinstance(part.get("image_url"), dict)
            and isinstance(part["image_url"].get("url"), str)
        ):
            found.append(f"![]({part['image_url']['url']})")
        else:
            unreadable(f"messages[{index}].content: data did not match any variant of untagged enum MessageContent")
    return "".join(found)


def _asked(body: dict[str, Any]) -> str:
    last = body["messages"][-1]
    return _text(last["content"], 0) if last["role"] == "user" and last.get("content") is not None else ""


def chat_tokenize(request: Request, settings: Settings) -> Answer:
    body = body_of(request, "messages")
    check(body, _RULES)
    prompt = prompt_of(body)
    return Answer(body=_encode({"tokenize_response": tokenize(prompt), "templated_text": prompt}))


# --- chat --------------------------------------------------------------------------------------------------------


def chat(request: Request, settings: Settings) -> Answer:
    body = body_of(request, "messages")
    check(body, _RULES)
    if not body["messages"]:
        invalid("`inputs` cannot be empty")
    prompt = prompt_of(body)
    _check_sampling(body)
    if body.get("top_logprobs", 0) > MOST_TOP:
        invalid(f"`top_logprobs` is {body['top_logprobs']}; it may be 0 to {MOST_TOP}")
    length = check_length(input_tokens(prompt), body.get("max_tokens"))
    tool = _chosen_tool(body)
    schema = schema_of(body.get("response_format"), "response_format")
    if body.get("response_format") is not None and body.get("tools"):
        invalid("a grammar and tools exclude each other", "tool_error")
    source = prompt.encode("utf-8", "surrogatepass")
    if tool is not None:
        arguments = _encode(
            example(tool.get("parameters", tool.get("arguments")) or {}, source, settings.seed)
        ).decode()
        made = Written(pieces(arguments), "eos_token", length)
    else:
        made = write(
            source,
            settings,
            body,
            input_length=length,
            limit=body.get("max_tokens"),
            stop=body.get("stop") or (),
            schema=schema,
        )
    base = {"id": "", "created": int(time.time()), "model": _model(body, settings), "system_fingerprint": FINGERPRINT}
    if body.get("stream"):
        events = _events({"object": "chat.completion.chunk", **base}, body, made, tool)
        return Answer(headers=[("x-accel-buffering", "no")], content_type="text/event-stream", events=events)
    choice = {"index": 0, "message": _message(made, tool), "logprobs": None, "finish_reason": _reason(made)}
    if body.get("logprobs"):
        choice["logprobs"] = {"content": [_logprob(each, body) for each in made.tokens]}
    answer = {"object": "chat.completion", **base, "choices": [choice], "usage": _usage([made])}
    return Answer(headers=text_headers([made], len(prompt)), body=_encode(answer))


def _check_sampling(body: dict[str, Any]) -> None:
    """What chat hands on to the generation, by the same rules; a temperature of 0 is greedy here."""
    given = {name: body.get(name) for name in ("frequency_penalty", "seed", "stop", "top_p")}
    given["max_new_tokens"] = body.get("max_tokens")
    given["temperature"] = body.get("temperature") or None
    check_parameters(given, stream=False)


def _chosen_tool(body: dict[str, Any]) -> dict[str, Any] | None:
    """The one tool that is called: TGI calls no more. The rules are those of the simulated OpenAI."""
    tools = []
    for index, tool in enumerate(body.get("tools") or ()):
        function = tool.get("function") if isinstance(tool, dict) else None
        if not isinstance(function, dict) or not isinstance(function.get("name"), str):
            unreadable(f"tools[{index}].function: missing field `name` at line 1 column 2")
        if "parameters" not in function and "arguments" not in function:
            unreadable(f"tools[{index}].function: missing field `arguments` at line 1 column 2")
        tools.append(function)
    choice: Any = body.get("tool_choice")
    if not tools or choice == "none":
        return None
    if isinstance(choice, dict):
        name = (choice.get("function") or {}).get("name")
        named = [tool for tool in tools if tool["name"] == name]
        if not named:
            invalid(f"there is no tool {name}", "tool_error")
        return named[0]
    words = _asked(body)
    named = [tool for tool in tools if tool["name"] in words]
    if choice != "required" and not named and "tool" not in words.lower():
        return None
    return (named or tools)[0]


def _message(made: Written, tool: dict[str, Any] | None) -> dict[str, Any]:
    if tool is None:
        return {"role": "assistant", "content": made.text}
    function = {"description": None, "name": tool["name"], "arguments": made.text}
    return {"role": "assistant", "tool_calls": [{"id": "0", "type": "function", "function": function}]}


def _reason(made: Written) -> str:
    return "stop" if made.reason == "eos_token" else made.reason


def _usage(made: list[Written]) -> dict[str, int]:
    given, written = sum(each.input_length for each in made), sum(each.count for each in made)
    return {"prompt_tokens": given, "completion_tokens": written, "total_tokens": given + written}


def _logprob(token: str, body: dict[str, Any]) -> dict[str, Any]:
    best = -unit(token.encode())
    tops = [
        {"token": f"{token}~{n}" if n else token, "logprob": best - n} for n in range(body.get("top_logprobs") or 0)
    ]
    return {"token": token, "logprob": best, "top_logprobs": tops}


def _events(
    base: dict[str, Any], body: dict[str, Any], made: Written, tool: dict[str, Any] | None
) -> Iterator[StreamItem]:
    def chunk(delta: dict[str, Any], finish: str | None = None, token: str | None = None) -> Event:
        logprobs = {"content": [_logprob(token, body)]} if token is not None and body.get("logprobs") else None
        choice = {"index": 0, "delta": {"role": "assistant", **delta}, "logprobs": logprobs, "finish_reason": finish}
        return Event(_encode({**base, "choices": [choice], "usage": None}), tokens=0 if token is None else 1)

    def called(arguments: str, name: str | None) -> dict[str, Any]:
        function = {"name": name, "arguments": arguments}
        return {"tool_calls": [{"index": 0, "id": "0", "type": "function", "function": function}]}

    if tool is not None:
        yield chunk(called("", tool["name"]))
        for piece in made.tokens:
            yield chunk(called(piece, None), token=piece)
        yield chunk({"content": ""}, "stop")
    else:
        last = len(made.tokens) - 1
        for index, token in enumerate(made.tokens):
            # The reason comes with the last token, which is the end of text where that is what ended it.
            ended = index == last and made.reason != "eos_token"
            yield chunk({"content": token}, made.reason if ended else None, token)
        if made.reason == "eos_token" or not made.tokens:
            yield chunk({"content": ""}, _reason(made))
    if (body.get("stream_options") or {}).get("include_usage"):
        yield Event(_encode({**base, "choices": [], "usage": _usage([made])}))
    yield _DONE


# --- completions -------------------------------------------------------------------------------------------------


def completions(request: Request, settings: Settings) -> Answer:
    body = body_of(request, "prompt")
    check(body, _RULES)
    prompts = [body["prompt"]] if isinstance(body["prompt"], str) else body["prompt"]
    if not isinstance(prompts, list) or not all(isinstance(each, str) for each in prompts):
        unreadable("prompt: data did not match any variant of untagged enum Prompt at line 1 column 2")
    if body.get("suffix") is not None:
        invalid("`suffix` is not taken", "suffix not supported")
    if len(prompts) > 4:
        invalid("more than 4 prompts at once", "batch size exceeded")
    _check_sampling(body)
    limit = body.get("max_tokens", 100)
    made = []
    for prompt in prompts:
        if not prompt:
            invalid("`inputs` cannot be empty")
        length = check_length(input_tokens(prompt), limit)
        source = prompt.encode("utf-8", "surrogatepass")
        made.append(write(source, settings, body, input_length=length, limit=limit, stop=body.get("stop") or ()))
    base = {
        "id": "",
        "object": "text_completion",
        "created": int(time.time()),
        "model": _model(body, settings),
        "system_fingerprint": FINGERPRINT,
    }
    if body.get("stream"):
        return Answer(content_type="text/event-stream", events=_completion_events(base, made))
    choices = [
        {"index": index, "text": each.text, "logprobs": None, "finish_reason": _reason(each)}
        for index, each in enumerate(made)
    ]
    answer = {**base, "choices": choices, "usage": _usage(made)}
    return Answer(headers=text_headers(made, sum(map(len, prompts))), body=_encode(answer))


def _completion_events(base: dict[str, Any], made: list[Written]) -> Iterator[StreamItem]:
    for index, each in enumerate(made):
        tokens = [*each.tokens, *([""] if each.reason == "eos_token" or not each.tokens else [])]
        for number, token in enumerate(tokens, 1):
            # Of an unfinished choice the reason is an empty text.
            last = number == len(tokens)
            choice = {"index": index, "text": token, "logprobs": None, "finish_reason": each.reason if last else ""}
            event = {**base, "choices": [choice], **({"usage": _usage([each])} if last else {})}
            yield Event(_encode(event), tokens=1 if token else 0)
    yield _DONE
