"""``generateContent`` and ``streamGenerateContent``."""

from __future__ import annotations

import base64
import hashlib
import itertools
import re
import struct
import zlib
from collections.abc import Iterator
from typing import Any, Final

import msgspec

from ipfs_accelerate_py.simulator.answering import Said, Tool, say
from ipfs_accelerate_py.simulator.text import count_tokens, unit
from ipfs_accelerate_py.simulator.wire import Answer, Event, Settings, StreamItem

from .messages import refuse

__all__ = ["answer", "prompt_counts", "stream"]

_encode = msgspec.json.Encoder().encode
_numbers = itertools.count(1)
#: Tokens of what is not text: about what Google charges for a small image, a second of sound, a page.
_MEDIA: Final = {"image": ("IMAGE", 258), "audio": ("AUDIO", 32), "video": ("VIDEO", 263)}
_CACHED: Final = 100
#: Models of this generation sign their calls, give them ids, and want the signatures back.
_SIGNS: Final = re.compile(r"gemini-[3-9]")
_MARK: Final = b"simulated:"
_UNCHECKED: Final = base64.urlsafe_b64decode("skip_thought_signature_validator")
_RATE: Final = 24_000


def answer(body: dict[str, Any], model: str, settings: Settings) -> Answer:
    made = _Generated(body, model, settings)
    return Answer(body=_encode(made.whole()))


def stream(body: dict[str, Any], model: str, settings: Settings, *, sse: bool) -> Answer:
    made = _Generated(body, model, settings)
    if sse:
        return Answer(content_type="text/event-stream", events=made.events())
    # Without alt=sse the stream is one JSON array, an element at a time.
    starts = itertools.chain((b"[",), itertools.repeat(b",\r\n"))

    def encode(event: Event) -> bytes:
        return event.data if event.last else next(starts) + event.data

    events = itertools.chain(made.events(), (Event(b"]", last=True),))
    return Answer(content_type="application/json", events=events, encode=encode)


def prompt_counts(body: dict[str, Any]) -> dict[str, int]:
    """Tokens of the prompt by modality."""
    counts = {"TEXT": 0}
    for content in (*body.get("contents", ()), body.get("systemInstruction", {})):
        for part in content.get("parts", ()):
            media = part.get("inlineData") or part.get("fileData")
            if media is None:
                text = part.get("text") or _encode({name: part[name] for name in ("functionCall",) if name in part})
                counts["TEXT"] += count_tokens(text if isinstance(text, str) else text.decode())
                continue
            kind = (media.get("mimeType") or "").partition("/")[0]
            modality, tokens = _MEDIA.get(kind, ("DOCUMENT", 258))
            counts[modality] = counts.get(modality, 0) + tokens
    return counts


class _Generated:
    """The candidates of one request, whole or as events."""

    def __init__(self, body: dict[str, Any], model: str, settings: Settings) -> None:
        self._model = model
        self._signs = _SIGNS.search(model) is not None
        self._config: dict[str, Any] = body.get("generationConfig", {})
        self._counts = prompt_counts(body)
        self._cached = _CACHED if body.get("cachedContent") else 0
        if not body.get("contents"):
            refuse("* GenerateContentRequest.contents: contents is not specified\n")
        self._check_turns(body["contents"])
        config = self._config
        schema = config.get("responseJsonSchema") or _json_schema(config.get("responseSchema"))
        json = config.get("responseMimeType") == "application/json"
        if schema is not None and not json:
            refuse("responseMimeType must be 'application/json' where a schema of the response is set.")
        if json and schema is None:
            schema = {"type": "object", "properties": {"answer": {"type": "string"}}, "required": ["answer"]}
        thinking = config.get("thinkingConfig", {})
        if "thinkingBudget" in thinking and "thinkingLevel" in thinking:
            refuse("You can only set only one of thinking budget and thinking level.")
        self._thoughts_shown = thinking.get("includeThoughts") is True
        thinks = bool(thinking) and thinking.get("thinkingBudget", -1) != 0
        source = _encode([body["contents"], body.get("systemInstruction")])
        tools = _called(body)
        self._source = source
        self.said: list[Said] = [
            say(
                b"%d:" % index + source if index else source,
                settings,
                body,
                limit=config.get("maxOutputTokens"),
                stop=config.get("stopSequences", ()),
                tools=tools,
                schema=schema,
                reasoning=thinks,
            )
            for index in range(config.get("candidateCount", 1))
        ]

    # --- what the conversation must be ---------------------------------------------------------------------------

    def _check_turns(self, contents: list[dict[str, Any]]) -> None:
        awaited = 0
        for number, content in enumerate(contents):
            if content.get("role", "user") not in ("user", "model", "function"):
                refuse("Please use a valid role: user, model.")
            parts = content.get("parts") or refuse(
                f"* GenerateContentRequest.contents[{number}].parts: contents.parts must not be empty.\n"
            )
            for part in parts:
                if len(part.keys() & {"text", "inlineData", "functionCall", "functionResponse", "fileData"}) > 1:
                    refuse(f"Invalid value at 'contents[{number}].parts': oneof field 'data' is already set.")
                if not part:
                    refuse(f"* GenerateContentRequest.contents[{number}].parts: data must have one initialized field\n")
            answered = [part["functionResponse"] for part in parts if "functionResponse" in part]
            if (awaited or answered) and len(answered) != awaited:
                refuse(
                    "Please ensure that the number of function response parts is equal to the number of function call "
                    "parts of the function call turn."
                )
            if any(not response.get("name") for response in answered):
                refuse(f"* GenerateContentRequest.contents[{number}].parts: function_response.name: Name is required\n")
            calls = [part for part in parts if "functionCall" in part]
            awaited = len(calls)
            if calls and self._signs:
                self._check_signature(calls[0], number)
        if awaited:
            refuse("Please ensure that function call turn comes immediately before a function response turn.")

    def _check_signature(self, part: dict[str, Any], number: int) -> None:
        signature = part.get("thoughtSignature")
        if signature is None:
            refuse(
                "Function call is missing a thought_signature in functionCall parts. This is required for tools to "
                f"work correctly. Additional data, function call `{part['functionCall'].get('name')}`, position "
                f"{number + 1}."
            )
        if signature != _UNCHECKED and not signature.startswith(_MARK):
            refuse("Thought signature is not valid.")

    # --- answers -------------------------------------------------------------------------------------------------

    def _answer(self, candidates: list[dict[str, Any]], thoughts: int, made: int, name: str) -> dict[str, Any]:
        prompt = sum(self._counts.values()) + self._cached
        usage: dict[str, Any] = {"promptTokenCount": prompt}
        if made:
            usage["candidatesTokenCount"] = made
        usage["totalTokenCount"] = prompt + made + thoughts
        if self._cached:
            usage["cachedContentTokenCount"] = self._cached
            usage["cacheTokensDetails"] = [{"modality": "TEXT", "tokenCount": self._cached}]
        usage["promptTokensDetails"] = [
            {"modality": modality, "tokenCount": tokens + (self._cached if modality == "TEXT" else 0)}
            for modality, tokens in self._counts.items()
        ]
        if thoughts:
            usage["thoughtsTokenCount"] = thoughts
        if "AUDIO" in self._config.get("responseModalities", ()):
            usage["candidatesTokensDetails"] = [{"modality": "AUDIO", "tokenCount": made}]
        return {"candidates": candidates, "usageMetadata": usage, "modelVersion": self._model, "responseId": name}

    def whole(self) -> dict[str, Any]:
        candidates = []
        for index, one in enumerate(self.said):
            parts: list[dict[str, Any]] = []
            if one.reasoning and self._thoughts_shown:
                parts.append({"text": "".join(one.reasoning), "thought": True})
            parts += self._calls(one) if one.calls else self._media(one) or [{"text": "".join(one.tokens)}]
            candidate: dict[str, Any] = {
                "content": {"parts": parts, "role": "model"},
                "finishReason": "MAX_TOKENS" if one.cut else "STOP",
                "index": index,
            }
            if self._config.get("responseLogprobs"):
                candidate |= self._logprobs(one)
            candidates.append(candidate)
        thoughts = sum(len(one.reasoning) for one in self.said)
        made = sum(one.count for one in self.said) - thoughts
        return self._answer(candidates, thoughts, made, _name())

    def events(self) -> Iterator[StreamItem]:
        name = _name()
        thoughts = made = 0

        def event(index: int, part: dict[str, Any], tokens: int, **more: Any) -> Event:
            candidate = {"content": {"parts": [part], "role": "model"}, "index": index, **more}
            return Event(_encode(self._answer([candidate], thoughts, made, name)), tokens=tokens)

        for index, one in enumerate(self.said):
            for token in one.reasoning:
                thoughts += 1
                if self._thoughts_shown:
                    yield event(index, {"text": token, "thought": True}, 1)
            if one.calls:
                for part, call in zip(self._calls(one), one.calls, strict=True):
                    made += 1 + len(call.arguments)
                    yield event(index, part, 1 + len(call.arguments))
            elif media := self._media(one):
                made += len(one.tokens)
                for part in media:
                    yield event(index, part, len(one.tokens))
            else:
                for token in one.tokens:
                    made += 1
                    yield event(index, {"text": token}, 1)
            yield event(index, {"text": ""}, 0, finishReason="MAX_TOKENS" if one.cut else "STOP")

    def _calls(self, said: Said) -> list[dict[str, Any]]:
        parts = []
        for number, call in enumerate(said.calls):
            made: dict[str, Any] = {"name": call.name, "args": msgspec.json.decode("".join(call.arguments))}
            part: dict[str, Any] = {"functionCall": made}
            if self._signs:
                made["id"] = f"sim{next(_numbers):08x}"
                if number == 0:
                    part["thoughtSignature"] = base64.b64encode(_MARK + call.name.encode()).decode()
            parts.append(part)
        return parts

    def _media(self, said: Said) -> list[dict[str, Any]]:
        wanted = self._config.get("responseModalities", ())
        parts: list[dict[str, Any]] = []
        if "IMAGE" in wanted:
            if "TEXT" in wanted:
                parts.append({"text": "".join(said.tokens)})
            parts.append(_inline("image/png", _picture(self._source)))
        if "AUDIO" in wanted:
            sound = hashlib.shake_128(self._source).digest(480 * max(1, len(said.tokens)))
            parts.append(_inline(f"audio/L16;codec=pcm;rate={_RATE}", sound))
        return parts

    def _logprobs(self, said: Said) -> dict[str, Any]:
        top = self._config.get("logprobs", 0)
        chosen: list[dict[str, Any]] = [
            {"token": token, "tokenId": count_tokens(token), "logProbability": -unit(token.encode())}
            for token in said.tokens
        ]
        ranked = [
            {"candidates": [{**each, "logProbability": each["logProbability"] - rank} for rank in range(top)]}
            for each in chosen
        ]
        total = sum(each["logProbability"] for each in chosen)
        return {
            "avgLogprobs": total / max(1, len(chosen)),
            "logprobsResult": {"chosenCandidates": chosen, "topCandidates": ranked},
        }


def _name() -> str:
    return f"sim{next(_numbers):08x}"


def _called(body: dict[str, Any]) -> list[Tool]:
    """The functions that the simulated model calls: when it must, or when the last message speaks of one."""
    declared = [each for tool in body.get("tools", ()) for each in tool.get("functionDeclarations", ())]
    for number, each in enumerate(declared):
        if not each.get("name"):
            refuse(f"* GenerateContentRequest.tools[0].function_declarations[{number}].name: Invalid function name.\n")
        if "parameters" in each and "parametersJsonSchema" in each:
            refuse("parameters and parameters_json_schema are mutually exclusive.")
    config = body.get("toolConfig", {}).get("functionCallingConfig", {})
    mode, names = config.get("mode", "AUTO"), config.get("allowedFunctionNames")
    if names and mode not in ("ANY", "VALIDATED"):
        refuse("Please set allowed_function_names only when function calling mode is ANY.")
    if names and (unknown := set(names) - {each["name"] for each in declared}):
        refuse(f"allowed_function_names has names that are not declared: {sorted(unknown)}")
    tools = [
        Tool(each["name"], each.get("parametersJsonSchema") or _json_schema(each.get("parameters")) or {})
        for each in declared
        if not names or each["name"] in names
    ]
    if mode == "NONE" or not tools:
        return []
    last = body["contents"][-1]
    words = " ".join(part.get("text", "") for part in last["parts"]) if last.get("role", "user") == "user" else ""
    named = [tool for tool in tools if tool.name in words]
    if mode != "ANY" and not named and "tool" not in words.lower():
        return []
    return named or tools


def _json_schema(schema: Any) -> Any:
    """A schema of Google's own kind (OpenAPI's, with types in capitals) as a JSON schema."""
    if not isinstance(schema, dict):
        return None
    made = {
        name: value
        for name, value in schema.items()
        if name not in ("nullable", "propertyOrdering", "example", "title")
    }
    if "type" in made:
        made["type"] = made["type"].lower()
    if "items" in made:
        made["items"] = _json_schema(made["items"])
    if "properties" in made:
        made["properties"] = {name: _json_schema(value) for name, value in made["properties"].items()}
    if "anyOf" in made:
        made["anyOf"] = [_json_schema(value) for value in made["anyOf"]]
    return made


def _inline(kind: str, data: bytes) -> dict[str, Any]:
    return {"inlineData": {"mimeType": kind, "data": base64.b64encode(data).decode()}}


def _picture(source: bytes) -> bytes:
    """A PNG of one pixel, whose colour is a hash of the source."""

    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    pixel = hashlib.blake2b(source, digest_size=3).digest()
    head = struct.pack(">IIBBBBB", 1, 1, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(b"\0" + pixel)) + chunk(b"IEND", b"")
    )
