"""Requests of Google's clients in the vocabulary, for targets of another format. Pure.

What the vocabulary has no words for is refused by the field's name: nothing is left out that an answer depends on.
"""

from __future__ import annotations

from typing import Any

import msgspec

from ipfs_accelerate_py.dialects.gemini.shapes import (
    REDACTED,
    Config,
    Content,
    Declaration,
    Embed,
    Generate,
    Part,
    json_schema,
)
from ipfs_accelerate_py.dialects.serving import bad_request
from ipfs_accelerate_py.errors import InvalidRequest
from ipfs_accelerate_py.types import Message

__all__ = ["cannot_carry", "embed_input", "ignored_of", "messages_of", "options_of"]

_encode = msgspec.json.Encoder().encode
_PLAIN = {
    "temperature": "temperature",
    "topP": "top_p",
    "topK": "top_k",
    "maxOutputTokens": "max_tokens",
    "stopSequences": "stop",
    "seed": "seed",
    "presencePenalty": "presence_penalty",
    "frequencyPenalty": "frequency_penalty",
}
_DETAILS = {"MEDIA_RESOLUTION_LOW": "low", "MEDIA_RESOLUTION_HIGH": "high"}
#: Resolutions that others have no word for.
_PLAIN_DETAILS = (None, "", "MEDIA_RESOLUTION_UNSPECIFIED", *_DETAILS)
#: Thresholds that ask for no filter beyond the target's own.
_UNFILTERED = frozenset(("BLOCK_NONE", "OFF", "HARM_BLOCK_THRESHOLD_UNSPECIFIED", None))


def cannot_carry(place: str) -> InvalidRequest:
    return bad_request(
        f"Unsupported field: '{place}'. The model is served by a backend of another format, which has no counterpart.",
        "unsupported_parameter",
        place,
    )


# --- messages ----------------------------------------------------------------------------------------------------


class _Conversation:
    def __init__(self, detail: str | None) -> None:
        self.messages: list[Message] = []
        self._detail = detail
        self._open: list[tuple[str, str]] = []  # calls without a result yet: id and name
        self._made = 0
        self._unsigned = ""

    def user(self, content: Content, place: str) -> None:
        parts: list[dict[str, Any]] = []
        for number, part in enumerate(content.parts):
            where = f"{place}.parts[{number}]"
            if part.functionResponse is not None:
                self.messages.append(self._result(part, where))
            else:
                parts.append(self.part(part, where))
        if parts or not content.parts:
            self.messages.append({"role": "user", "content": _content(parts)})

    def model(self, content: Content, place: str) -> None:
        parts: list[dict[str, Any]] = []
        message: Message = {"role": "assistant", "content": None}
        self._unsigned = ""
        for number, part in enumerate(content.parts):
            where = f"{place}.parts[{number}]"
            if part.functionCall is not None:
                message.setdefault("tool_calls", []).append(self._call(part))
            elif part.thought:
                self._thought(part, message)
            elif part.text != "":
                parts.append(self.part(part, where))
            if part.thoughtSignature and part.functionCall is None and not part.thought:
                message["extra_content"] = {"google": {"thought_signature": part.thoughtSignature}}
        if parts:
            message["content"] = _content(parts)
        self.messages.append(message)

    def _thought(self, part: Part, message: Message) -> None:
        text = part.text or ""
        message["reasoning_content"] = message.get("reasoning_content", "") + text
        self._unsigned += text
        signature = part.thoughtSignature or ""
        if signature.startswith(REDACTED):
            block = {"type": "redacted_thinking", "data": signature.removeprefix(REDACTED)}
            message.setdefault("thinking_blocks", []).append(block)
        elif signature:  # as the writer makes it of another vendor's signed reasoning
            block = {"type": "thinking", "thinking": self._unsigned, "signature": signature}
            message.setdefault("thinking_blocks", []).append(block)
            self._unsigned = ""

    def _call(self, part: Part) -> dict[str, Any]:
        called = part.functionCall
        assert called is not None
        identity = called.id or f"call_{self._made}"
        self._made += 1
        self._open.append((identity, called.name))
        arguments = _encode(called.args or {}).decode()
        made: dict[str, Any] = {
            "id": identity,
            "type": "function",
            "function": {"name": called.name, "arguments": arguments},
        }
        if part.thoughtSignature:
            made["extra_content"] = {"google": {"thought_signature": part.thoughtSignature}}
        return made

    def _result(self, part: Part, place: str) -> Message:
        response = part.functionResponse
        assert response is not None
        found = next(
            (call for call in self._open if (call[0] == response.id if response.id else call[1] == response.name)), None
        )
        if found is None:
            raise bad_request(
                f"'{place}.functionResponse' answers no function call before it.",
                "invalid_value",
                f"{place}.functionResponse",
            )
        self._open.remove(found)
        message: Message = {"role": "tool", "tool_call_id": found[0], "name": response.name}
        given = response.response or {}
        if given.keys() == {"error"} and isinstance(given["error"], str):
            text, message["is_error"] = given["error"], True
        elif given.keys() == {"output"}:
            text = given["output"] if isinstance(given["output"], str) else _encode(given["output"]).decode()
        else:
            text = _encode(given).decode()
        message["content"] = text
        if response.parts:
            media = [
                self.part(Part(inlineData=each.inlineData), f"{place}.functionResponse.parts[{number}]")
                for number, each in enumerate(response.parts)
            ]
            message["content"] = [{"type": "text", "text": text}, *media]
        return message

    def part(self, part: Part, place: str) -> dict[str, Any]:
        """A part of a message: text, or data or an address by its type."""
        if part.inlineData is not None:
            kind, data = part.inlineData.mimeType, part.inlineData.data
            if kind.startswith("audio/"):
                form = {"mpeg": "mp3", "x-wav": "wav", "wave": "wav"}.get(kind[6:], kind[6:])
                return {"type": "input_audio", "input_audio": {"data": data, "format": form}}
            url = f"data:{kind};base64,{data}"
            if kind.startswith(("image/", "video/")):
                return self._seen(kind, url)
            ending = {"application/pdf": "pdf", "text/plain": "txt"}.get(kind, kind.rpartition("/")[2])
            return {"type": "file", "file": {"file_data": url, "filename": f"file.{ending}"}}
        if part.fileData is not None:
            kind, uri = part.fileData.mimeType, part.fileData.fileUri
            if kind.startswith(("image/", "video/")):
                return self._seen(kind, uri)
            return {"type": "file", "file": {"file_id": uri}}
        if part.text is not None:
            return {"type": "text", "text": part.text}
        raise cannot_carry(place)

    def _seen(self, kind: str, url: str) -> dict[str, Any]:
        if kind.startswith("video/"):
            return {"type": "video_url", "video_url": {"url": url}}
        shown = {"url": url, "detail": self._detail} if self._detail else {"url": url}
        return {"type": "image_url", "image_url": shown}


def _content(parts: list[dict[str, Any]]) -> str | list[dict[str, Any]]:
    if all(part["type"] == "text" for part in parts) and len(parts) < 2:
        return parts[0]["text"] if parts else ""
    return parts


def messages_of(
    system: Content | None, contents: list[Content], config: Config | None
) -> tuple[list[Message], tuple[str, ...]]:
    """System instruction and turns as messages, and where in the body each of them was."""
    conversation = _Conversation(_DETAILS.get(config.mediaResolution or "") if config is not None else None)
    if system is not None and system.parts:
        parts = [conversation.part(part, f"systemInstruction.parts[{n}]") for n, part in enumerate(system.parts)]
        conversation.messages.append({"role": "system", "content": _content(parts)})
    places = ["systemInstruction"] * len(conversation.messages)
    for number, content in enumerate(contents):
        place = f"contents[{number}]"
        if content.role == "model":
            conversation.model(content, place)
        elif content.role in (None, "", "user", "function"):
            conversation.user(content, place)
        else:
            raise bad_request("Please use a valid role: user, model.", "invalid_value", f"{place}.role")
        places += [place] * (len(conversation.messages) - len(places))
    return conversation.messages, tuple(places)


# --- options -----------------------------------------------------------------------------------------------------


def ignored_of(typed: Generate) -> tuple[str, ...]:
    """Names of what asks for nothing that another service could do, or does not do anyway."""
    found = []
    if typed.safetySettings:  # those that ask for a filter are refused
        found.append("safetySettings")
    config = typed.generationConfig
    if config is not None:
        if config.mediaResolution not in _PLAIN_DETAILS:
            found.append("generationConfig.mediaResolution")
        if config.thinkingConfig is not None and config.thinkingConfig.includeThoughts is not None:
            found.append("generationConfig.thinkingConfig.includeThoughts")
    return tuple(found)


def options_of(typed: Generate, *, stream: bool) -> dict[str, Any]:
    """Configuration and tools as options, under OpenAI's names."""
    options: dict[str, Any] = {}
    for number, setting in enumerate(typed.safetySettings or ()):
        if setting.threshold not in _UNFILTERED:
            raise cannot_carry(f"safetySettings[{number}]")
    if typed.labels:
        options["metadata"] = typed.labels
    config = typed.generationConfig
    if config is not None:
        _configured(config, options, stream=stream)
    _tools(typed, options)
    return options


def _configured(config: Config, options: dict[str, Any], *, stream: bool) -> None:
    for name, option in _PLAIN.items():
        value = getattr(config, name)
        if value is not None:
            options[option] = value
    if config.candidateCount not in (None, 1):
        if not stream:
            raise cannot_carry("generationConfig.candidateCount")
        options["n"] = config.candidateCount
    if config.responseModalities not in (None, [], ["TEXT"]):
        raise cannot_carry("generationConfig.responseModalities")
    schema = config.responseJsonSchema
    if schema is None and config.responseSchema is not None:
        schema = json_schema(config.responseSchema)
    if config.responseMimeType not in (None, "", "text/plain", "application/json"):
        raise cannot_carry("generationConfig.responseMimeType")
    if schema is not None:
        options["response_format"] = {"type": "json_schema", "json_schema": {"name": "response", "schema": schema}}
    elif config.responseMimeType == "application/json":
        options["response_format"] = {"type": "json_object"}
    thinking = config.thinkingConfig
    if thinking is not None:
        effort = _effort(thinking.thinkingBudget, thinking.thinkingLevel)
        if effort is not None:
            options["reasoning_effort"] = effort


def _effort(budget: int | None, level: str | None) -> str | None:
    if level:
        return None if level == "THINKING_LEVEL_UNSPECIFIED" else level.lower()
    if budget is None or budget < 0:
        return None
    if budget == 0:
        return "none"
    return "low" if budget <= 1024 else "medium" if budget <= 8192 else "high"


def _tools(typed: Generate, options: dict[str, Any]) -> None:
    functions = [_function(each) for tool in typed.tools or () for each in tool.functionDeclarations or ()]
    calling = typed.toolConfig.functionCallingConfig if typed.toolConfig is not None else None
    mode = (calling.mode if calling is not None else None) or "AUTO"
    if functions:
        if mode == "VALIDATED":
            for function in functions:
                function["strict"] = True
        options["tools"] = [{"type": "function", "function": function} for function in functions]
    if calling is None or not functions:
        return
    names = calling.allowedFunctionNames or []
    choice = {"AUTO": "auto", "MODE_UNSPECIFIED": "auto", "VALIDATED": "auto", "ANY": "required", "NONE": "none"}.get(
        mode
    )
    if choice is None:
        raise cannot_carry("toolConfig.functionCallingConfig.mode")
    if names and choice == "required" and len(names) == 1:
        options["tool_choice"] = {"type": "function", "function": {"name": names[0]}}
    elif names and choice != "none":
        allowed = [{"type": "function", "function": {"name": name}} for name in names]
        options["tool_choice"] = {"type": "allowed_tools", "allowed_tools": {"mode": choice, "tools": allowed}}
    else:
        options["tool_choice"] = choice


def _function(declaration: Declaration) -> dict[str, Any]:
    made: dict[str, Any] = {"name": declaration.name}
    if declaration.description:
        made["description"] = declaration.description
    schema = declaration.parametersJsonSchema
    if schema is None and declaration.parameters is not None:
        schema = json_schema(declaration.parameters)
    if schema is not None:
        made["parameters"] = schema
    return made


# --- embeddings --------------------------------------------------------------------------------------------------


def embed_input(requests: list[Embed], place: str) -> tuple[list[str], dict[str, Any]]:
    """The texts, and the options that hold for all of them."""
    options = [
        {
            name: value
            for name, value in (
                ("dimensions", each.outputDimensionality),
                ("task_type", each.taskType),
                ("title", each.title),
            )
            if value is not None
        }
        for each in requests
    ]
    if any(each != options[0] for each in options):
        raise cannot_carry(f"{place} with different options")
    texts = []
    for number, each in enumerate(requests):
        found = [part.text for part in each.content.parts]
        if not found or any(text is None for text in found):
            raise cannot_carry(f"{place}[{number}].content.parts")
        texts.append("\n".join(text for text in found if text is not None))
    return texts, options[0]
