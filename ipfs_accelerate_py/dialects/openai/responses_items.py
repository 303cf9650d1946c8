"""Items of the Responses API as messages of the vocabulary. Pure.

Source: OpenAI's API specification (openai.openapi.yaml, ``InputItem``). What the assistant said is there in pieces
(reasoning, messages, calls of tools), and here in one message for each of its turns. Fields that nobody here knows are
refused by name, as OpenAI itself does; fields that are null are as good as not there.
"""

from __future__ import annotations

from collections.abc import Callable, Container
from typing import Any, Final

from ipfs_accelerate_py.dialects.openai.answers import signed
from ipfs_accelerate_py.dialects.openai.responses_signed import Signed, unpack
from ipfs_accelerate_py.dialects.serving import bad_request
from ipfs_accelerate_py.errors import InvalidRequest
from ipfs_accelerate_py.types import Message

__all__ = ["Conversation", "known"]

Part = dict[str, Any]

#: Of every item: they name it or say how far it was made.
_OF_ITEMS: Final = ("type", "id", "status")
_NOT_STORED: Final = "answers are not stored here, so 'input' must hold the whole conversation"


class Conversation:
    """Messages, as items are added to them.

    Attributes:
        messages: those that are complete.
        ignored: names of what was left out because no answer depends on it.
    """

    def __init__(self) -> None:
        self.messages: list[Message] = []
        self.ignored: dict[str, None] = {}
        #: Where in the request each message begins.
        self.places: list[str] = []
        self._where = ""
        self._turn: Message | None = None
        self._turn_where = ""
        self._called: set[str] = set()
        self._signatures: dict[str, str] = {}

    def add(self, given: str | list[Any], where: str) -> None:
        """A text of the user's, or a list of items."""
        if isinstance(given, str):
            self._append({"role": "user", "content": given}, where)
            return
        # A signature may stand before its call or after it.
        found = {index: self._unpacked(item, f"{where}[{index}]") for index, item in enumerate(given)}
        for index, item in enumerate(given):
            self._add(item, found[index], f"{where}[{index}]")
        self._close()

    def _append(self, message: Message, where: str) -> None:
        self.messages.append(message)
        self.places.append(where)

    def _add(self, item: Part, signed: Signed | None, where: str) -> None:
        self._where = where
        kind = item.get("type") or ("message" if "role" in item else "item_reference")
        if kind == "message":
            self._message(item, where)
        elif kind == "function_call":
            self._call(item, where)
        elif kind == "function_call_output":
            self._output(item, where)
        elif kind == "reasoning":
            # What it says is the model's own affair, and only as its author signed it is it taken back.
            if signed is not None and signed.thinking_blocks:
                self._assistant().setdefault("thinking_blocks", []).extend(signed.thinking_blocks)
            elif signed is None:
                self.ignored["input.reasoning"] = None
        elif kind == "image_generation_call" and isinstance(item.get("result"), str):
            known(item, (*_OF_ITEMS, "result"), where)
            url = item["result"] if ":" in item["result"] else f"data:image/png;base64,{item['result']}"
            self._assistant()["content"].append({"type": "image_url", "image_url": {"url": url}})
        elif kind == "item_reference":
            raise _unsupported(f"{where}.type", "has no item_reference", _NOT_STORED)
        else:
            raise _unsupported(f"{where}.type", f"has no {kind!r}", "it has messages, function calls and reasoning")

    def _unpacked(self, item: Any, where: str) -> Signed | None:
        if not isinstance(item, dict):
            raise _wrong(where, "an object")
        if item.get("type") != "reasoning":
            return None
        known(item, (*_OF_ITEMS, "summary", "content", "encrypted_content"), where)
        text = item.get("encrypted_content")
        if not isinstance(text, str):
            return None
        try:
            found = unpack(text)
        except ValueError as problem:
            place = f"{where}.encrypted_content"
            raise bad_request(f"Invalid value for '{place}': {problem}.", "invalid_value", place) from None
        if found is not None:
            self._signatures |= found.signatures
        return found

    # --- items ---------------------------------------------------------------------------------------------------

    def _message(self, item: Part, where: str) -> None:
        known(item, (*_OF_ITEMS, "role", "content", "phase", "cache_control"), where)
        role = item.get("role")
        if item.get("phase") is not None:
            self.ignored["input.phase"] = None
        if role not in ("user", "assistant", "system", "developer"):
            raise bad_request(
                f"Invalid value for '{where}.role': expected user, assistant, system or developer.",
                "invalid_value",
                f"{where}.role",
            )
        parts = self._parts(item.get("content"), f"{where}.content")
        if item.get("cache_control") is not None and parts:
            parts[-1]["cache_control"] = item["cache_control"]
        if role == "assistant":
            self._assistant()["content"].extend(parts)
        else:
            self._close()
            self._append({"role": role, "content": _short(parts)}, where)

    def _call(self, item: Part, where: str) -> None:
        known(item, (*_OF_ITEMS, "call_id", "name", "arguments", "caller"), where)
        _direct(item, where)
        identity = _text(item, "call_id", where)
        call: Part = {
            "id": identity,
            "type": "function",
            "function": {"name": _text(item, "name", where), "arguments": _text(item, "arguments", where, least=0)},
        }
        signature = self._signatures.get(identity)
        if signature is not None:
            call["extra_content"] = signed(signature)
        self._called.add(identity)
        self._assistant().setdefault("tool_calls", []).append(call)

    def _output(self, item: Part, where: str) -> None:
        known(item, (*_OF_ITEMS, "call_id", "output", "name", "caller"), where)
        _direct(item, where)
        identity = _text(item, "call_id", where)
        if identity not in self._called:
            place = f"{where}.call_id"
            raise bad_request(
                f"Invalid value for '{place}': no function_call before it has this call_id ({_NOT_STORED}).",
                "invalid_value",
                place,
            )
        self._close()
        content = _short(self._parts(item.get("output"), f"{where}.output"))
        made: Message = {"role": "tool", "tool_call_id": identity, "content": content}
        if item.get("name") is not None:
            made["name"] = _text(item, "name", where)
        self._append(made, where)

    # --- the assistant's turn ------------------------------------------------------------------------------------

    def _assistant(self) -> Message:
        if self._turn is None:
            self._turn, self._turn_where = {"role": "assistant", "content": []}, self._where
        return self._turn

    def _close(self) -> None:
        turn, self._turn = self._turn, None
        if turn is None:
            return
        parts = turn["content"]
        if not parts and "tool_calls" not in turn:
            # It reasoned and did not get any further: a message without content is none.
            self.ignored["input.reasoning"] = None
            return
        turn["content"] = _short(parts) if parts else None
        self._append(turn, self._turn_where)

    # --- content -------------------------------------------------------------------------------------------------

    def _parts(self, content: Any, where: str) -> list[Part]:
        if isinstance(content, str):
            return [{"type": "text", "text": content}]
        if not isinstance(content, list):
            raise _wrong(where, "a string or an array of parts")
        made = []
        for index, part in enumerate(content):
            place = f"{where}[{index}]"
            if not isinstance(part, dict):
                raise _wrong(place, "an object")
            kind = part.get("type")
            read = _PARTS.get(kind) if isinstance(kind, str) else None
            if read is None:
                raise _unsupported(
                    f"{place}.type", f"has no content of type {kind!r}", f"it has {', '.join(sorted(_PARTS))}"
                )
            one = read(self, part, place)
            mark = part.get("cache_control")
            if mark is None and part.get("prompt_cache_breakpoint") is not None:
                mark = {"type": "ephemeral"}
            if mark is not None:
                one["cache_control"] = mark
            made.append(one)
        return made

    def _text_part(self, part: Part, where: str) -> Part:
        known(part, (*_OF_PARTS, "text", "annotations", "logprobs"), where)
        for name in ("annotations", "logprobs"):
            if part.get(name):
                self.ignored[f"input.{name}"] = None
        return {"type": "text", "text": _text(part, "text", where, least=0)}

    def _refusal(self, part: Part, where: str) -> Part:
        known(part, (*_OF_PARTS, "refusal"), where)
        return {"type": "refusal", "refusal": _text(part, "refusal", where, least=0)}

    def _image(self, part: Part, where: str) -> Part:
        known(part, (*_OF_PARTS, "image_url", "file_id", "detail"), where)
        if part.get("file_id") is not None:
            raise _unsupported(f"{where}.file_id", "keeps no files", "send the image itself, as a data URL or a URL")
        image = {"url": _text(part, "image_url", where)}
        if part.get("detail") not in (None, "auto"):
            image["detail"] = part["detail"]
        return {"type": "image_url", "image_url": image}

    def _file(self, part: Part, where: str) -> Part:
        known(part, (*_OF_PARTS, "file_data", "file_id", "file_url", "filename", "detail"), where)
        if part.get("detail") not in (None, "auto"):
            self.ignored["input.detail"] = None
        file = {
            name: _text(part, name, where)
            for name in ("file_data", "file_id", "file_url", "filename")
            if part.get(name) is not None
        }
        if not file.keys() - {"filename"}:
            raise bad_request(
                f"Missing required parameter: '{where}.file_data' (or file_url, or file_id).",
                "missing_required_parameter",
                f"{where}.file_data",
            )
        return {"type": "file", "file": file}

    def _audio(self, part: Part, where: str) -> Part:
        known(part, (*_OF_PARTS, "input_audio"), where)
        audio = part.get("input_audio")
        if not isinstance(audio, dict):
            raise _wrong(f"{where}.input_audio", "an object")
        return {"type": "input_audio", "input_audio": audio}


_OF_PARTS: Final = ("type", "cache_control", "prompt_cache_breakpoint")
_PARTS: Final[dict[str, Callable[[Conversation, Part, str], Part]]] = {
    "input_text": Conversation._text_part,
    "output_text": Conversation._text_part,
    "refusal": Conversation._refusal,
    "input_image": Conversation._image,
    "input_file": Conversation._file,
    "input_audio": Conversation._audio,
}


def known(fields: dict[str, Any], names: Container[str], where: str = "") -> None:
    """Raises `InvalidRequest` for a field that is none of these."""
    for name, value in fields.items():
        if value is not None and name not in names:
            place = f"{where}.{name}" if where else name
            raise bad_request(f"Unknown parameter: '{place}'.", "unknown_parameter", place)


def _short(parts: list[Part]) -> str | list[Part]:
    """A lone text is written as a text."""
    if not parts:
        return ""
    return parts[0]["text"] if len(parts) == 1 and parts[0].keys() == {"type", "text"} else parts


def _text(fields: Part, name: str, where: str, *, least: int = 1) -> str:
    value = fields.get(name)
    place = f"{where}.{name}"
    if value is None:
        raise bad_request(f"Missing required parameter: '{place}'.", "missing_required_parameter", place)
    if not isinstance(value, str) or len(value) < least:
        raise _wrong(place, "a string" if not least else "a string that is not empty")
    return value


def _direct(item: Part, where: str) -> None:
    """Calls are made by the model itself: there are no programs that make any."""
    caller = item.get("caller")
    if caller is not None and (not isinstance(caller, dict) or caller.get("type") != "direct"):
        raise _unsupported(f"{where}.caller", "has no calls that a program makes")


def _wrong(where: str, wanted: str) -> InvalidRequest:
    return bad_request(f"Invalid type for '{where}': expected {wanted}.", "invalid_type", where)


def _unsupported(where: str, what: str, why: str = "") -> InvalidRequest:
    return bad_request(
        f"Invalid value for '{where}': a model that is asked by chat {what}{why and '; ' + why}.",
        "unsupported_value",
        where,
    )
