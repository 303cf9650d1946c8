"""Asking another target to go on where an answer broke off: who accepts that, how it is asked, how the ends are joined.

Known to go on from a last message of the assistant: Anthropic's models before Claude 4.6 (later ones refuse it, and
the earlier ones do with extended thinking); Groq's models, but for those that reason first; vLLM, when it is told so
(``continue_final_message``); llama.cpp. A plain completion goes on anywhere: what was delivered is part of the prompt.
"""

from __future__ import annotations

import re
from typing import Any

import msgspec

from ipfs_accelerate_py.router.alignment import Delivered
from ipfs_accelerate_py.router.routed import Routed
from ipfs_accelerate_py.types import Call, ChatRequest, Chunk, CompletionRequest

__all__ = ["Joint", "accepts_continuation", "continued"]

#: Anthropic's names up to Claude 4.5, also as other services write them ("anthropic.claude-3-5-sonnet-...").
_OLDER_CLAUDE = re.compile(
    r"claude-(?:instant\b|[23](?:[.-]|$)|(?:opus|sonnet|haiku)-4(?:[.-][015](?!\d))?(?=$|[@:_]|-(?:\d{8}|latest|v\d)))"
)
_REASONS_FIRST = re.compile(r"gpt-oss|qwen-?3|deepseek-r1|qwq", re.IGNORECASE)
#: Options under which a model's answer has a beginning that a continuation would lack, or a form that it would break.
_NOT_WITH = ("thinking", "reasoning", "reasoning_effort", "response_format", "logprobs", "best_of", "echo", "suffix")
#: An answer that repeats at least so many characters from its beginning has begun anew, whatever it was asked.
_REPEATS = 24


def accepts_continuation(routed: Routed) -> bool:
    """Whether a target is known to go on where the assistant's last message ends."""
    told = routed.target.accepts_continuation
    if told is not None:
        return told
    backend = routed.backend.spec.name
    if backend == "claude":
        return _OLDER_CLAUDE.search(routed.model) is not None
    if backend == "groq":
        return _REASONS_FIRST.search(routed.model) is None
    return backend == "llvm"


def continued(call: Call, routed: Routed, delivered: Delivered) -> tuple[Call, str] | None:
    """The call that asks a target to go on, and what of the delivered text is not part of it; None where it cannot."""
    text = delivered.only_text()
    if text is None or call.passthrough is not None:
        return None
    request = call.request
    options = request.options
    if options.get("n", 1) != 1 or any(options.get(name) for name in _NOT_WITH):
        return None
    # White space at the end is refused by some, and makes odd tokens for the others.
    sent = text.rstrip()
    if not sent:
        return None
    made: ChatRequest | CompletionRequest
    if isinstance(request, CompletionRequest):
        if not isinstance(request.prompt, str):
            return None
        made = CompletionRequest(request.model, request.prompt + text, _shortened(options, delivered.pieces))
        return msgspec.structs.replace(call, request=made), ""
    if not isinstance(request, ChatRequest) or not accepts_continuation(routed):
        return None
    messages = list(request.messages)
    if messages and messages[-1].get("role") == "assistant":
        begun = messages.pop()  # the caller's own beginning of the answer
        if not isinstance(begun.get("content"), str) or begun.get("tool_calls"):
            return None
        sent = begun["content"] + sent
    messages.append({"role": "assistant", "content": sent})
    changed = _shortened(options, delivered.pieces)
    if routed.backend.spec.name == "llvm" and routed.backend.options.get("server") != "llama.cpp":
        changed = {**changed, "continue_final_message": True, "add_generation_prompt": False}
    made = ChatRequest(request.model, messages, changed)
    return msgspec.structs.replace(call, request=made), text[len(text.rstrip()) :]


def _shortened(options: dict[str, Any], used: int) -> dict[str, Any]:
    """The limit of the answer's length, less what was delivered of it: a chunk is about a token."""
    changed = dict(options)
    for name in ("max_tokens", "max_completion_tokens"):
        most = changed.get(name)
        if isinstance(most, int) and not isinstance(most, bool):
            changed[name] = max(1, most - used)
    return changed


class Joint:
    """Where a continuation meets what was delivered.

    White space that was not sent along is not said twice. And should the target have begun anew all the same, its
    repetition is held back: all of it, or (where it turns out to be something else) none.
    """

    def __init__(self, delivered: str, unsent: str) -> None:
        self._unsent = unsent
        self._whole = delivered if len(delivered) >= _REPEATS else ""
        self._seen = 0
        self._held: list[Chunk] = []
        self._joined = False

    def feed(self, chunks: list[Chunk]) -> list[Chunk]:
        """What of the continuation goes on to the caller."""
        if self._joined:
            return chunks
        passed: list[Chunk] = []
        for position, chunk in enumerate(chunks):
            if self._joined:
                passed.extend(chunks[position:])
                break
            passed.extend(self._take(chunk))
        return passed

    def _take(self, chunk: Chunk) -> list[Chunk]:
        text = chunk.text
        ends = bool(
            chunk.finish_reason or chunk.reasoning or chunk.refusal or chunk.tool_calls or chunk.thinking_blocks
        )
        if not text and not ends:
            self._held.append(chunk)
            return []
        if self._whole and text:
            left = len(self._whole) - self._seen
            if self._whole.startswith(text[:left], self._seen):
                self._seen += min(left, len(text))
                self._held.append(chunk)
                if self._seen < len(self._whole):
                    return self._release() if ends else []
                # It has said all of it again.
                self._joined = True
                self._held.clear()
                return [msgspec.structs.replace(chunk, text=text[left:], data=b"")] if text[left:] or ends else []
        self._held.append(chunk)
        return self._release()

    def _release(self) -> list[Chunk]:
        """It goes on, as it was asked to."""
        held, self._held = self._held, []
        self._whole = ""
        passed: list[Chunk] = []
        for chunk in held:
            text = chunk.text
            if text and self._unsent:
                count = 0
                while count < len(text) and count < len(self._unsent) and text[count] == self._unsent[count]:
                    count += 1
                # Where it says less white space than was delivered, the rest of that is no part of what follows.
                self._unsent = self._unsent[count:] if count == len(text) else ""
                if count:
                    chunk = msgspec.structs.replace(chunk, text=text[count:], data=b"")
            passed.append(chunk)
        self._joined = not self._unsent
        return passed

    def end(self) -> list[Chunk]:
        """The stream has ended: what was still held back."""
        return self._release() if self._held else []
