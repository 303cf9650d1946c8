"""``/completions``, the older endpoint that continues a text."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

import msgspec

from ipfs_accelerate_py.simulator.answering import Said, say
from ipfs_accelerate_py.simulator.text import count_tokens, unit
from ipfs_accelerate_py.simulator.wire import Answer, Event, Request, Settings, StreamItem

from .chat import DONE
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
    model_of,
    refuse,
    wrong_type,
)
from .common import FINGERPRINT, created, new_id, stops, usage

__all__ = ["answer", "cost"]

_encode = msgspec.json.Encoder().encode
_RULES: Final[Rules] = {
    "best_of": an_integer(1, 20),
    "echo": a_boolean,
    "frequency_penalty": a_number(-2, 2),
    "logit_bias": an_object,
    "logprobs": an_integer(0, 5),
    "max_tokens": an_integer(0),
    "n": an_integer(1, 128),
    "presence_penalty": a_number(-2, 2),
    "seed": an_integer(),
    "stream": a_boolean,
    "stream_options": an_object,
    "suffix": a_string,
    "temperature": a_number(0, 2),
    "top_p": a_number(0, 1),
    "user": a_string,
}


def _prompts(body: dict[str, Any]) -> list[str | list[int]]:
    given = body.get("prompt")
    if given is None:
        return ["<|endoftext|>"]
    if isinstance(given, str):
        return [given]
    if not isinstance(given, list):
        wrong_type("prompt", "a string or an array", given)
    if all(isinstance(item, int) for item in given):
        return [given] if given else [""]
    for index, item in enumerate(given):
        if not isinstance(item, str):
            an_array(f"prompt[{index}]", item)
    return given


def _tokens(prompts: list[str | list[int]]) -> int:
    return sum(count_tokens(item) if isinstance(item, str) else len(item) for item in prompts)


def cost(body: dict[str, Any]) -> int:
    """Tokens of the prompts."""
    return _tokens(_prompts(body))


def answer(request: Request, settings: Settings) -> Answer:
    body = body_of(request)
    model = model_of(body, settings)
    check(body, _RULES)
    stream = body.get("stream") is True
    if body.get("stream_options") is not None and not stream:
        refuse("The 'stream_options' parameter is only allowed when 'stream' is enabled.", "stream_options")
    prompts = _prompts(body)
    stop = stops("stop", body.get("stop"))
    limit = 16 if body.get("max_tokens") is None else body["max_tokens"]  # the endpoint's own default
    said: list[Said] = []
    echoes: list[str] = []
    for prompt in prompts:
        source = prompt.encode("utf-8", "surrogatepass") if isinstance(prompt, str) else _encode(prompt)
        for index in range(body.get("n") or 1):
            said.append(say(source if index == 0 else b"%d:" % index + source, settings, body, limit=limit, stop=stop))
            echoes.append(prompt if body.get("echo") and isinstance(prompt, str) else "")
    used = usage(_tokens(prompts), said)
    if stream:
        events = _events(body, model, said, echoes, used)
        return Answer(content_type="text/event-stream; charset=utf-8", events=events, model=model, usage=used)
    made = {
        "id": new_id("cmpl-"),
        "object": "text_completion",
        "created": created(),
        "model": model,
        "choices": [
            {
                "text": echoes[index] + "".join(one.tokens),
                "index": index,
                "logprobs": _logprobs(body, one.tokens, len(echoes[index])),
                "finish_reason": "length" if one.cut else "stop",
            }
            for index, one in enumerate(said)
        ],
        "usage": used,
        "system_fingerprint": FINGERPRINT,
    }
    return Answer(body=_encode(made), model=model, usage=used)


def _logprobs(body: dict[str, Any], tokens: Any, offset: int) -> dict[str, Any] | None:
    top = body.get("logprobs")
    if top is None:
        return None
    offsets, values, tops = [], [], []
    for token in tokens:
        value = -unit(token.encode())
        offsets.append(offset)
        values.append(value)
        tops.append({token if rank == 0 else f"{token}~{rank}": value - rank for rank in range(top)})
        offset += len(token)
    return {"tokens": list(tokens), "token_logprobs": values, "top_logprobs": tops, "text_offset": offsets}


def _events(
    body: dict[str, Any], model: str, said: list[Said], echoes: list[str], used: dict[str, Any]
) -> Iterator[StreamItem]:
    with_usage = bool((body.get("stream_options") or {}).get("include_usage"))
    base: dict[str, Any] = {
        "id": new_id("cmpl-"),
        "object": "text_completion",
        "created": created(),
        "model": model,
        "system_fingerprint": FINGERPRINT,
    }
    if with_usage:
        base["usage"] = None

    def chunk(index: int, text: str, tokens: int, finish: str | None, logprobs: dict[str, Any] | None) -> Event:
        choice = {"text": text, "index": index, "logprobs": logprobs, "finish_reason": finish}
        return Event(_encode({**base, "choices": [choice]}), tokens=tokens)

    for index, one in enumerate(said):
        offset = len(echoes[index])
        if echoes[index]:
            yield chunk(index, echoes[index], 0, None, None)
        for token in one.tokens:
            yield chunk(index, token, 1, None, _logprobs(body, (token,), offset))
            offset += len(token)
        yield chunk(index, "", 0, "length" if one.cut else "stop", None)
    if with_usage:
        yield Event(_encode({**base, "choices": [], "usage": used}))
    yield DONE
