"""What the simulated model writes, token by token, and how TGI's own endpoints answer with it."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

import msgspec

from ipfs_accelerate_py.simulator.answering import pieces, say
from ipfs_accelerate_py.simulator.text import count_tokens, unit
from ipfs_accelerate_py.simulator.wire import Answer, Event, Request, Settings, StreamItem

from .checks import MOST_INPUT, MOST_TOKENS, a_boolean, a_string, body_of, check, check_parameters, invalid, unreadable

__all__ = [
    "Written",
    "check_length",
    "generate",
    "input_tokens",
    "schema_of",
    "text_headers",
    "token_id",
    "tokenize",
    "write",
]

_encode = msgspec.json.Encoder().encode
_END: Final = "</s>"


@dataclass(slots=True, frozen=True)
class Written:
    """One text in tokens, and why it ended: ``eos_token``, ``length`` or ``stop_sequence``."""

    tokens: Sequence[str]
    reason: str
    input_length: int

    @property
    def text(self) -> str:
        return "".join(self.tokens)

    @property
    def count(self) -> int:
        """Generated tokens; the end of text is one of them."""
        return len(self.tokens) + (self.reason == "eos_token")


def write(
    source: bytes,
    settings: Settings,
    body: Any,
    *,
    input_length: int,
    limit: int | None,
    stop: Sequence[str] = (),
    schema: Any = None,
) -> Written:
    """Make up a text. What stops it is its last part: the server leaves it in."""
    tokens = say(source, settings, body, schema=schema).tokens
    reason = "eos_token"
    text = ""
    for number, token in enumerate(tokens, 1):
        text += token
        if any(word and text.endswith(word) for word in stop):
            tokens, reason = tokens[:number], "stop_sequence"
            break
    if limit is not None and len(tokens) + (reason == "eos_token") > limit:
        tokens, reason = tokens[:limit], "length"
    return Written(tokens, reason, input_length)


def token_id(text: str) -> int:
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=3).digest(), "big") >> 7


def _token(text: str, *, special: bool = False) -> dict[str, Any]:
    return {"id": 2 if special else token_id(text), "text": text, "logprob": -unit(text.encode()), "special": special}


def _tops(text: str, top: int) -> list[dict[str, Any]]:
    made = _token(text)
    return [
        made,
        *({**made, "id": made["id"] + n, "text": f"{text}~{n}", "logprob": made["logprob"] - n} for n in range(1, top)),
    ]


def schema_of(grammar: Any, place: str) -> Any:
    """The JSON schema that the text must satisfy; None for plain text, and for regular expressions."""
    if grammar is None:
        return None
    kind = grammar.get("type") if isinstance(grammar, dict) else None
    if kind not in ("json", "json_object", "json_schema", "regex"):
        unreadable(
            f"{place}: unknown variant `{kind}`, expected one of `json`, `regex`, `json_schema` at line 1 column 2"
        )
    if "value" not in grammar:
        unreadable(f"{place}: missing field `value` at line 1 column 2")
    if kind == "regex":
        return None
    value = grammar["value"]
    if kind == "json_schema":
        value = value.get("schema") if isinstance(value, dict) else None
    if isinstance(value, str):
        try:
            value = msgspec.json.decode(value)
        except msgspec.DecodeError as problem:
            invalid(f"grammar is not valid: {problem}")
    if not isinstance(value, dict):
        invalid("grammar is not supported")
    if "properties" not in value:
        invalid("grammar is not valid: Grammar must have a 'properties' field")
    return value


def input_tokens(text: str) -> int:
    return count_tokens(text)


def check_length(given: int, limit: int | None, truncate: int | None = None) -> int:
    """The prompt's tokens, where they and the answer's fit."""
    length = given if truncate is None else min(given, truncate)
    if limit is not None and length + limit > MOST_TOKENS:
        invalid(
            f"`inputs` tokens + `max_new_tokens` must be <= {MOST_TOKENS}. Given: {length} `inputs` tokens and {limit} "
            "`max_new_tokens`"
        )
    if length > MOST_INPUT:
        invalid(f"`inputs` must have less than {MOST_INPUT} tokens. Given: {length}")
    return length


def text_headers(written: Sequence[Written], characters: int) -> list[tuple[str, str]]:
    """What TGI says of an answer in its headers."""
    return [
        ("x-compute-characters", str(characters)),
        ("x-prompt-tokens", str(sum(each.input_length for each in written))),
        ("x-generated-tokens", str(sum(each.count for each in written))),
        ("x-total-time", "1"),
        ("x-time-per-token", "0"),
    ]


def generate(request: Request, settings: Settings, *, stream: bool | None = None, listed: bool = False) -> Answer:
    """``/generate`` and ``/generate_stream``; ``/`` (``listed``) is told by its body whether it streams."""
    body = body_of(request, "inputs")
    check(body, {"inputs": a_string, "stream": a_boolean})
    parameters = body.get("parameters") or {}
    if not isinstance(parameters, dict):
        unreadable("parameters: invalid type, expected struct GenerateParameters at line 1 column 2")
    if stream is None:
        stream = body.get("stream") is True
    prompt = body["inputs"]
    check_parameters(parameters, stream=stream)
    if not prompt:
        invalid("`inputs` cannot be empty")
    limit = parameters.get("max_new_tokens")
    length = check_length(input_tokens(prompt), limit, parameters.get("truncate"))
    schema = schema_of(parameters.get("grammar"), "parameters.grammar")
    source = prompt.encode("utf-8", "surrogatepass")
    made = [
        write(
            source if index == 0 else b"%d:" % index + source,
            settings,
            body,
            input_length=length,
            limit=limit,
            stop=parameters.get("stop") or (),
            schema=schema,
        )
        for index in range(parameters.get("best_of") or 1)
    ]
    start = prompt if parameters.get("return_full_text") else ""
    if stream:
        headers = [("x-compute-characters", str(len(prompt))), ("x-accel-buffering", "no")]
        return Answer(headers=headers, content_type="text/event-stream", events=_events(made[0], parameters, start))
    answer: dict[str, Any] = {"generated_text": start + made[0].text}
    if parameters.get("details") or parameters.get("decoder_input_details"):
        answer["details"] = _details(made[0], parameters, prompt)
        if len(made) > 1:
            answer["details"]["best_of_sequences"] = [
                {"generated_text": start + each.text, **_details(each, parameters, prompt)} for each in made[1:]
            ]
    return Answer(headers=text_headers(made[:1], len(prompt)), body=_encode([answer] if listed else answer))


def _details(written: Written, parameters: dict[str, Any], prompt: str) -> dict[str, Any]:
    tokens = [_token(each) for each in written.tokens]
    if written.reason == "eos_token":
        tokens.append(_token(_END, special=True))
    details: dict[str, Any] = {
        "finish_reason": written.reason,
        "generated_tokens": written.count,
        "seed": parameters.get("seed"),
        "prefill": [],
        "tokens": tokens,
    }
    if parameters.get("decoder_input_details"):
        details["prefill"] = [
            {"id": token_id(each), "text": each, "logprob": None if index == 0 else -unit(each.encode())}
            for index, each in enumerate(pieces(prompt, 4))
        ]
    if top := parameters.get("top_n_tokens"):
        details["top_tokens"] = [_tops(each["text"], top) for each in tokens]
    return details


def _events(written: Written, parameters: dict[str, Any], start: str) -> Iterator[StreamItem]:
    tokens = [_token(each) for each in written.tokens]
    if written.reason == "eos_token":
        tokens.append(_token(_END, special=True))
    top = parameters.get("top_n_tokens") or 0
    for index, token in enumerate(tokens, 1):
        event: dict[str, Any] = {"index": index, "token": token}
        if top:
            event["top_tokens"] = _tops(token["text"], top)
        event.update(generated_text=None, details=None)
        if index == len(tokens):
            event["generated_text"] = start + written.text
            if parameters.get("details"):
                event["details"] = {
                    "finish_reason": written.reason,
                    "generated_tokens": written.count,
                    "seed": parameters.get("seed"),
                    "input_length": written.input_length,
                }
        yield Event(_encode(event), tokens=0 if token["special"] else 1)


def tokenize(text: str) -> list[dict[str, Any]]:
    """Tokens of four characters each, and where they are in the text."""
    made = pieces(text, 4)
    return [
        {"id": token_id(each), "text": each, "start": 4 * index, "stop": 4 * index + len(each)}
        for index, each in enumerate(made)
    ]
