"""Requests judged as Google's servers judge them: protobuf's JSON, where every name and type is known or refused.

Names are accepted as the protobuf writes them (``stop_sequences``) and as its JSON does (``stopSequences``), and come
out as the latter. Source: google.ai.generativelanguage.v1beta and "ProtoJSON format" (protobuf.dev).
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Callable, Mapping
from typing import Any, Final, NoReturn

from ipfs_accelerate_py.simulator.wire import Problem, Refused

__all__ = ["BATCH", "COUNT", "EMBED", "GENERATE", "parse", "refuse"]

Rule = Callable[[Any, str], Any]
Message = Mapping[str, Rule]

_CAPITAL: Final = re.compile(r"[A-Z]")


def refuse(message: str, status: int = 400, code: str | None = None) -> NoReturn:
    raise Refused(Problem(status, message, None, code))


def _snake(name: str) -> str:
    return _CAPITAL.sub(lambda found: "_" + found[0].lower(), name)


def _camel(name: str) -> str:
    first, *rest = name.split("_")
    return first + "".join(word[:1].upper() + word[1:] for word in rest)


def parse(value: Any, message: Message, place: str = "") -> dict[str, Any]:
    """The object with names in camel case. Raises ``Refused`` for a name or a type that the message does not have."""
    where = f" at '{place}'" if place else ""
    if not isinstance(value, dict):
        refuse(f"Invalid value{where} (type.googleapis.com/google.ai.generativelanguage.v1beta), {value!r}")
    made: dict[str, Any] = {}
    for name, item in value.items():
        rule = message.get(name) or message.get(_camel(name))
        if rule is None:
            refuse(f'Invalid JSON payload received. Unknown name "{name}"{where}: Cannot find field.')
        spelt = name if name in message else _camel(name)
        if spelt in made:
            refuse(f'Invalid JSON payload received. Field "{spelt}"{where} is given twice.')
        if item is not None:
            made[spelt] = rule(item, f"{place}.{_snake(spelt)}" if place else _snake(spelt))
    return made


def _wrong(place: str, kind: str, value: Any) -> NoReturn:
    refuse(f"Invalid value at '{place}' ({kind}), {value!r}")


def _text(value: Any, place: str) -> str:
    if not isinstance(value, str):
        _wrong(place, "TYPE_STRING", value)
    return value


def _flag(value: Any, place: str) -> bool:
    if not isinstance(value, bool):
        _wrong(place, "TYPE_BOOL", value)
    return value


def _integer(value: Any, place: str) -> int:
    if isinstance(value, str) and value.lstrip("-").isdigit():
        value = int(value)
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int) or not -(1 << 31) <= value < 1 << 31:
        _wrong(place, "TYPE_INT32", value)
    return value


def _number(value: Any, place: str) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        _wrong(place, "TYPE_FLOAT", value)
    return value


def _bytes(value: Any, place: str) -> bytes:
    try:
        text = _text(value, place).replace("-", "+").replace("_", "/")
        return base64.b64decode(text + "=" * (-len(text) % 4), validate=True)
    except (binascii.Error, ValueError):
        refuse(f"Invalid value at '{place}' (TYPE_BYTES), Base64 decoding failed for {value!r}")


def _struct(value: Any, place: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        _wrong(place, "type.googleapis.com/google.protobuf.Struct", value)
    return value


def _any(value: Any, place: str) -> Any:
    return value


def _bounded(rule: Callable[[Any, str], float], low: float, high: float, *, open_end: bool = False) -> Rule:
    def check(value: Any, place: str) -> float:
        found = rule(value, place)
        if found < low or found > high or (open_end and found == high):
            refuse(f"* GenerateContentRequest.{place}: {place} must be in the range [{low}, {high}].")
        return found

    return check


def _one_of(*values: str) -> Rule:
    def check(value: Any, place: str) -> str:
        if value not in values:
            _wrong(place, "type.googleapis.com/google.ai.generativelanguage.v1beta", value)
        return str(value)

    return check


def _list(rule: Rule, most: int | None = None) -> Rule:
    def check(value: Any, place: str) -> list[Any]:
        given = value if isinstance(value, list) else [value]  # protobuf's parser takes one for a list of one
        if most is not None and len(given) > most:
            refuse(f"* {place}: at most {most} values are allowed, got {len(given)}.")
        return [rule(item, f"{place}[{position}]") for position, item in enumerate(given)]

    return check


def _of(message: Message) -> Rule:
    return lambda value, place: parse(value, message, place)


def _schema(value: Any, place: str) -> Any:
    return parse(value, _SCHEMA, place)


def _properties(value: Any, place: str) -> dict[str, Any]:
    return {name: _schema(item, f"{place}[{name}]") for name, item in _struct(value, place).items()}


_TYPES: Final = ("STRING", "NUMBER", "INTEGER", "BOOLEAN", "ARRAY", "OBJECT", "NULL")
_SCHEMA: Final[dict[str, Rule]] = {
    "type": _one_of(*_TYPES, *(kind.lower() for kind in _TYPES)),
    "format": _text,
    "title": _text,
    "description": _text,
    "nullable": _flag,
    "enum": _list(_text),
    "items": _schema,
    "maxItems": _integer,
    "minItems": _integer,
    "properties": _properties,
    "required": _list(_text),
    "minProperties": _integer,
    "maxProperties": _integer,
    "minimum": _number,
    "maximum": _number,
    "minLength": _integer,
    "maxLength": _integer,
    "pattern": _text,
    "example": _any,
    "anyOf": _list(_schema),
    "propertyOrdering": _list(_text),
    "default": _any,
}
_BLOB: Final[Message] = {"mimeType": _text, "data": _bytes, "displayName": _text}
_RESOLUTION: Final = _one_of("MEDIA_RESOLUTION_LOW", "MEDIA_RESOLUTION_MEDIUM", "MEDIA_RESOLUTION_HIGH")
_PART: Final[Message] = {
    "text": _text,
    "inlineData": _of(_BLOB),
    "functionCall": _of({"id": _text, "name": _text, "args": _struct}),
    "functionResponse": _of(
        {
            "id": _text,
            "name": _text,
            "response": _struct,
            "parts": _list(_of({"inlineData": _of(_BLOB)})),
            "willContinue": _flag,
            "scheduling": _text,
        }
    ),
    "fileData": _of({"mimeType": _text, "fileUri": _text}),
    "executableCode": _of({"language": _text, "code": _text}),
    "codeExecutionResult": _of({"outcome": _text, "output": _text}),
    "videoMetadata": _of({"startOffset": _text, "endOffset": _text, "fps": _number}),
    "thought": _flag,
    "thoughtSignature": _bytes,
    "partMetadata": _struct,
    "mediaResolution": _of({"level": _RESOLUTION}),
}
_CONTENT: Final[Message] = {"parts": _list(_of(_PART)), "role": _text}
_DECLARATION: Final[Message] = {
    "name": _text,
    "description": _text,
    "parameters": _schema,
    "parametersJsonSchema": _any,
    "response": _schema,
    "responseJsonSchema": _any,
    "behavior": _one_of("BLOCKING", "NON_BLOCKING"),
}
_TOOL: Final[Message] = {
    "functionDeclarations": _list(_of(_DECLARATION)),
    "googleSearch": _struct,
    "googleSearchRetrieval": _struct,
    "codeExecution": _struct,
    "urlContext": _struct,
    "computerUse": _struct,
    "fileSearch": _struct,
    "googleMaps": _struct,
}
_VOICE: Final[Message] = {"prebuiltVoiceConfig": _of({"voiceName": _text})}
_CONFIG: Final[Message] = {
    "candidateCount": _bounded(_integer, 1, 8),
    "stopSequences": _list(_text, 5),
    "maxOutputTokens": _bounded(_integer, 1, 1 << 30),
    "temperature": _bounded(_number, 0, 2),
    "topP": _bounded(_number, 0, 1),
    "topK": _integer,
    "seed": _integer,
    "responseMimeType": _one_of("application/json", "text/plain", "text/x.enum"),
    "responseSchema": _schema,
    "responseJsonSchema": _any,
    "presencePenalty": _bounded(_number, -2, 2, open_end=True),
    "frequencyPenalty": _bounded(_number, -2, 2, open_end=True),
    "responseLogprobs": _flag,
    "logprobs": _bounded(_integer, 0, 20),
    "enableEnhancedCivicAnswers": _flag,
    "responseModalities": _list(_one_of("TEXT", "IMAGE", "AUDIO")),
    "speechConfig": _of(
        {
            "voiceConfig": _of(_VOICE),
            "languageCode": _text,
            "multiSpeakerVoiceConfig": _of(
                {"speakerVoiceConfigs": _list(_of({"speaker": _text, "voiceConfig": _of(_VOICE)}))}
            ),
        }
    ),
    "thinkingConfig": _of(
        {
            "includeThoughts": _flag,
            "thinkingBudget": _integer,
            "thinkingLevel": _one_of("MINIMAL", "LOW", "MEDIUM", "HIGH", "XHIGH"),
        }
    ),
    "imageConfig": _of({"aspectRatio": _text, "imageSize": _text}),
    "mediaResolution": _RESOLUTION,
}
_CATEGORIES: Final = ("HARASSMENT", "HATE_SPEECH", "SEXUALLY_EXPLICIT", "DANGEROUS_CONTENT", "CIVIC_INTEGRITY")
_SAFETY: Final[Message] = {
    "category": _one_of(*(f"HARM_CATEGORY_{name}" for name in _CATEGORIES)),
    "threshold": _one_of("BLOCK_LOW_AND_ABOVE", "BLOCK_MEDIUM_AND_ABOVE", "BLOCK_ONLY_HIGH", "BLOCK_NONE", "OFF"),
}
GENERATE: Final[Message] = {
    "model": _text,
    "systemInstruction": _of(_CONTENT),
    "contents": _list(_of(_CONTENT)),
    "tools": _list(_of(_TOOL)),
    "toolConfig": _of(
        {
            "functionCallingConfig": _of(
                {"mode": _one_of("AUTO", "ANY", "NONE", "VALIDATED"), "allowedFunctionNames": _list(_text)}
            ),
            "retrievalConfig": _struct,
        }
    ),
    "safetySettings": _list(_of(_SAFETY)),
    "generationConfig": _of(_CONFIG),
    "cachedContent": _text,
    "labels": _struct,
    "serviceTier": _text,
    "store": _flag,
}
EMBED: Final[Message] = {
    "model": _text,
    "content": _of(_CONTENT),
    "taskType": _one_of(
        "RETRIEVAL_QUERY",
        "RETRIEVAL_DOCUMENT",
        "SEMANTIC_SIMILARITY",
        "CLASSIFICATION",
        "CLUSTERING",
        "QUESTION_ANSWERING",
        "FACT_VERIFICATION",
        "CODE_RETRIEVAL_QUERY",
    ),
    "title": _text,
    "outputDimensionality": _bounded(_integer, 1, 65536),
}
BATCH: Final[Message] = {"model": _text, "requests": _list(_of(EMBED))}
COUNT: Final[Message] = {"model": _text, "contents": _list(_of(_CONTENT)), "generateContentRequest": _of(GENERATE)}
