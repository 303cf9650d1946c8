"""Bodies as Google's clients write them: brought into one spelling, and checked against the API's messages. Pure.

Source: the protobuf google.ai.generativelanguage.v1beta and "ProtoJSON format" (protobuf.dev): a field's name may be
written as in the protobuf (``stop_sequences``) or in camel case, and one value stands for a list of one.
"""

from __future__ import annotations

from typing import Annotated, Any

import msgspec

from ipfs_accelerate_py.dialects.checking import wrong_of
from ipfs_accelerate_py.dialects.gemini.options import camel
from ipfs_accelerate_py.dialects.serving import bad_request
from ipfs_accelerate_py.errors import InvalidRequest

__all__ = [
    "REDACTED",
    "Batch",
    "Config",
    "Content",
    "Count",
    "Declaration",
    "Embed",
    "Generate",
    "Part",
    "check",
    "json_schema",
    "unknown",
]

#: Begins a signature that is all of another vendor's thought: what only its author can read. (It is base64 itself.)
REDACTED = "redactedThinking"

#: What is in these is the caller's own, names included.
_OPAQUE = frozenset(
    (
        "args",
        "default",
        "enum",
        "example",
        "labels",
        "parametersJsonSchema",
        "partMetadata",
        "response",
        "responseJsonSchema",
    )
)
_LISTS = frozenset(
    (
        "allowedFunctionNames",
        "contents",
        "functionDeclarations",
        "parts",
        "requests",
        "responseModalities",
        "safetySettings",
        "stopSequences",
        "tools",
    )
)


class Blob(msgspec.Struct):
    data: str
    mimeType: str = ""  # noqa: N815  # the format's names


class FileData(msgspec.Struct):
    fileUri: str  # noqa: N815
    mimeType: str = ""  # noqa: N815


class FunctionCall(msgspec.Struct):
    name: str
    args: dict[str, Any] | None = None
    id: str | None = None


class ResponsePart(msgspec.Struct):
    inlineData: Blob | None = None  # noqa: N815


class FunctionResponse(msgspec.Struct):
    name: str
    response: dict[str, Any] | None = None
    id: str | None = None
    parts: list[ResponsePart] | None = None


class Part(msgspec.Struct):
    text: str | None = None
    thought: bool | None = None
    thoughtSignature: str | None = None  # noqa: N815
    inlineData: Blob | None = None  # noqa: N815
    fileData: FileData | None = None  # noqa: N815
    functionCall: FunctionCall | None = None  # noqa: N815
    functionResponse: FunctionResponse | None = None  # noqa: N815


class Content(msgspec.Struct):
    parts: list[Part] = []
    role: str | None = None


class Declaration(msgspec.Struct):
    name: str
    description: str | None = None
    parameters: dict[str, Any] | None = None
    parametersJsonSchema: Any = None  # noqa: N815


class Tool(msgspec.Struct):
    functionDeclarations: list[Declaration] | None = None  # noqa: N815


class Calling(msgspec.Struct):
    mode: str | None = None
    allowedFunctionNames: list[str] | None = None  # noqa: N815


class ToolConfig(msgspec.Struct):
    functionCallingConfig: Calling | None = None  # noqa: N815


class Thinking(msgspec.Struct):
    includeThoughts: bool | None = None  # noqa: N815
    thinkingBudget: int | None = None  # noqa: N815
    thinkingLevel: str | None = None  # noqa: N815


class Config(msgspec.Struct):
    candidateCount: int | None = None  # noqa: N815
    stopSequences: list[str] | None = None  # noqa: N815
    maxOutputTokens: int | None = None  # noqa: N815
    temperature: float | None = None
    topP: float | None = None  # noqa: N815
    topK: int | None = None  # noqa: N815
    seed: int | None = None
    presencePenalty: float | None = None  # noqa: N815
    frequencyPenalty: float | None = None  # noqa: N815
    responseMimeType: str | None = None  # noqa: N815
    responseSchema: dict[str, Any] | None = None  # noqa: N815
    responseJsonSchema: Any = None  # noqa: N815
    responseModalities: list[str] | None = None  # noqa: N815
    mediaResolution: str | None = None  # noqa: N815
    thinkingConfig: Thinking | None = None  # noqa: N815


class Safety(msgspec.Struct):
    category: str | None = None
    threshold: str | None = None


class Generate(msgspec.Struct):
    contents: Annotated[list[Content], msgspec.Meta(min_length=1)]
    model: str | None = None
    systemInstruction: Content | None = None  # noqa: N815
    tools: list[Tool] | None = None
    toolConfig: ToolConfig | None = None  # noqa: N815
    safetySettings: list[Safety] | None = None  # noqa: N815
    generationConfig: Config | None = None  # noqa: N815
    labels: dict[str, Any] | None = None


class Embed(msgspec.Struct):
    content: Content
    model: str | None = None
    taskType: str | None = None  # noqa: N815
    title: str | None = None
    outputDimensionality: int | None = None  # noqa: N815


class Batch(msgspec.Struct):
    requests: Annotated[list[Embed], msgspec.Meta(min_length=1)]
    model: str | None = None


class Count(msgspec.Struct):
    contents: list[Content] | None = None
    generateContentRequest: Generate | None = None  # noqa: N815
    model: str | None = None


def check(value: Any, shape: type[Any]) -> tuple[dict[str, Any], Any]:
    """The body in one spelling, and as the shape; raises `InvalidRequest` naming the field that is wrong."""
    try:
        spelt = _spelt(value)
        return spelt, msgspec.convert(spelt, shape, strict=False)
    except msgspec.ValidationError as problem:
        raise _wrong(str(problem)) from None
    except RecursionError:
        raise bad_request("The body is nested too deeply.", "invalid_json") from None


def _spelt(value: Any) -> Any:
    if isinstance(value, list):
        return [_spelt(item) for item in value]
    if not isinstance(value, dict):
        return value
    made: dict[str, Any] = {}
    for name, item in value.items():
        known = camel(name)
        if known in made:
            raise bad_request(f"Field '{known}' is given twice, in two spellings.", "invalid_value", known)
        if known == "properties" and isinstance(item, dict):
            made[known] = {inner: _spelt(schema) for inner, schema in item.items()}
        elif known in _OPAQUE:
            made[known] = item
        elif known in _LISTS and item is not None and not isinstance(item, list):
            made[known] = [_spelt(item)]
        else:
            made[known] = _spelt(item)
    return made


def unknown(value: Any, shape: Any, place: str = "") -> str | None:
    """The first field that is set and that the shape has no place for; None where there is none."""
    if isinstance(value, list) and isinstance(shape, list):
        for number, (item, inner) in enumerate(zip(value, shape, strict=True)):
            if (found := unknown(item, inner, f"{place}[{number}]")) is not None:
                return found
    elif isinstance(value, dict) and isinstance(shape, msgspec.Struct):
        for name, item in value.items():
            where = f"{place}.{name}" if place else name
            if name not in shape.__struct_fields__:
                if item not in (None, [], "", False):  # an empty object is something: {"googleSearch": {}}
                    return where
            elif (found := unknown(item, getattr(shape, name), where)) is not None:
                return found
    return None


_COUNTS = frozenset(("minItems", "maxItems", "minLength", "maxLength", "minProperties", "maxProperties"))


def json_schema(schema: dict[str, Any]) -> dict[str, Any]:
    """A schema of Google's own kind (OpenAPI's, with types in capitals) as a JSON schema."""
    made: dict[str, Any] = {}
    for name, value in schema.items():
        if name == "type" and isinstance(value, str):
            made[name] = value.lower()
        elif name == "items" and isinstance(value, dict):
            made[name] = json_schema(value)
        elif name == "properties" and isinstance(value, dict):
            made[name] = {inner: json_schema(item) for inner, item in value.items() if isinstance(item, dict)}
        elif name == "anyOf" and isinstance(value, list):
            made[name] = [json_schema(item) for item in value if isinstance(item, dict)]
        elif name in _COUNTS and isinstance(value, str) and value.isascii() and value.isdecimal():
            made[name] = int(value)  # protobuf's JSON writes large numbers as texts
        elif name == "example":
            made["examples"] = [value]
        elif name not in ("nullable", "propertyOrdering"):
            made[name] = value
    order = schema.get("propertyOrdering")
    if isinstance(order, list) and isinstance(made.get("properties"), dict):
        given = made["properties"]
        first = [name for name in order if isinstance(name, str) and name in given]
        made["properties"] = {name: given[name] for name in dict.fromkeys([*first, *given])}
    if schema.get("nullable") is True and isinstance(made.get("type"), str):
        made["type"] = [made["type"], "null"]
        if isinstance(made.get("enum"), list):
            made["enum"] = [*made["enum"], None]
    return made


def _wrong(text: str) -> InvalidRequest:
    wrong = wrong_of(text)
    if wrong.missing:
        return bad_request(f"{wrong.place} is not specified", "missing_required_parameter", wrong.place)
    where = f" at '{wrong.place}'" if wrong.place else ""
    return bad_request(f"Invalid value{where}: {wrong.text}.", "invalid_value", wrong.place or None)
