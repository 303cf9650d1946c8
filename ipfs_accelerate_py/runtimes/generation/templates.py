"""Messages in OpenAI's shape to a prompt, by the chat template that a checkpoint brings."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from ipfs_accelerate_py.errors import InvalidRequest, UnsupportedOperation

__all__ = ["MARKS", "Template", "template_of"]

#: Marks that are special tokens in some tokenizers and yet a part of what is said: calls and thoughts.
MARKS = (
    *("<tool_call>", "</tool_call>", "[TOOL_CALLS]", "[ARGS]", "[CALL_ID]", "<|python_tag|>"),
    *("<think>", "</think>", "[THINK]", "[/THINK]"),
)
_THINK = (("<think>", "</think>"), ("[THINK]", "[/THINK]"))
_ROLES = ("system", "developer", "user", "assistant", "tool")


def template_of(tokenizer: Any) -> str | None:
    """The checkpoint's template for conversations; None where it has none."""
    found = getattr(tokenizer, "chat_template", None)
    if isinstance(found, Mapping):
        found = found.get("tool_use") or found.get("default") or next(iter(found.values()), None)
    return found or None


class Template:
    """One checkpoint's template. Thread-safe."""

    def __init__(self, tokenizer: Any, name: str) -> None:
        self._tokenizer, self._name = tokenizer, name
        self.text = template_of(tokenizer)

    def render(self, messages: Sequence[Mapping[str, Any]], options: Mapping[str, Any]) -> str:
        """The prompt.

        Args:
            messages: in OpenAI's shape; parts of a content must be texts.
            options: ``tools``, ``chat_template``, ``chat_template_kwargs``, ``add_generation_prompt``,
                ``continue_final_message``, ``reasoning_effort``.

        Raises:
            UnsupportedOperation: the checkpoint has no template.
            InvalidRequest: the messages are none, or the template refuses them.
        """
        template = options.get("chat_template") or self.text
        if template is None:
            raise UnsupportedOperation(
                f"model {self._name!r} has no chat template: it was not made to chat. Ask it to complete a prompt "
                "instead (complete, /v1/completions), or give the template as the option chat_template"
            )
        extra = dict(options.get("chat_template_kwargs") or {})
        if (effort := options.get("reasoning_effort")) is not None:
            extra.setdefault("reasoning_effort", effort)
            extra.setdefault("enable_thinking", effort != "none")
        continued = bool(options.get("continue_final_message", False))
        made = [self._message(each, template) for each in messages]
        if not made:
            raise InvalidRequest("messages are empty: give at least one", status=400, param="messages")
        try:
            text: str = self._tokenizer.apply_chat_template(
                made,
                tools=options.get("tools") or None,
                chat_template=template,
                add_generation_prompt=bool(options.get("add_generation_prompt", not continued)),
                continue_final_message=continued,
                tokenize=False,
                **extra,
            )
        except Exception as exc:
            raise InvalidRequest(
                f"the chat template of model {self._name!r} refuses these messages: {exc}", status=400, param="messages"
            ) from exc
        return text

    def ids(self, text: str) -> list[int]:
        """A rendered prompt's ids. The template has written the tokens that a tokenizer would add."""
        found: list[int] = self._tokenizer(text, add_special_tokens=False)["input_ids"]
        return found

    @property
    def think(self) -> tuple[str, str] | None:
        """Marks around what the model only thinks."""
        known = set(getattr(self._tokenizer, "get_vocab", dict)())
        for opening, closing in _THINK:
            if closing in (self.text or "") or (opening in known and closing in known):
                return opening, closing
        return None

    def _message(self, message: Mapping[str, Any], template: str) -> dict[str, Any]:
        if not isinstance(message, Mapping) or not isinstance(message.get("role"), str):
            raise InvalidRequest("a message is an object with a role and a content", status=400, param="messages")
        made = {key: value for key, value in message.items() if value is not None}
        role = made["role"]
        if role not in _ROLES and role not in template:
            raise InvalidRequest(
                f"messages: role {role!r} is none of {', '.join(_ROLES)}", status=400, param="messages"
            )
        if role == "developer" and "developer" not in template:
            made["role"] = "system"
        made["content"] = _content(made.get("content"))
        if calls := made.get("tool_calls"):
            made["tool_calls"] = [_call(each) for each in calls]
        return made


def _content(content: Any) -> str:
    if content is None or isinstance(content, str):
        return content or ""
    texts = []
    for part in content:
        kind = part.get("type") if isinstance(part, Mapping) else None
        if isinstance(part, str):
            texts.append(part)
        elif kind in ("text", "input_text", "output_text", "refusal"):
            texts.append(str(part.get("text", part.get("refusal", ""))))
        else:
            raise InvalidRequest(
                f"messages: this model reads texts, not a part of type {kind!r}", status=400, param="messages"
            )
    return "".join(texts)


def _call(call: Any) -> dict[str, Any]:
    """A call as templates expect it: with its arguments as an object. OpenAI has them as JSON text."""
    try:
        function = dict(call["function"])
        given = function.get("arguments", {})
        function["arguments"] = json.loads(given or "{}") if isinstance(given, str) else given
    except (KeyError, TypeError, ValueError) as exc:
        raise InvalidRequest(
            f"messages: a tool call has a function with a name, and arguments as JSON: {exc}",
            status=400,
            param="messages",
        ) from exc
    return {**call, "function": function}
