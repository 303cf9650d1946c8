"""An answer's text, as it comes, to what is said, what is only thought, and which tools are called."""

from __future__ import annotations

import random
import re
from collections.abc import Collection

from ipfs_accelerate_py.types import ToolCall

from .tool_calls import Format, overlap, parse_calls

__all__ = ["Piece", "Reader"]

#: ``("text", str)``, ``("reasoning", str)`` or ``("call", ToolCall)``.
Piece = tuple[str, str | ToolCall]

_NAME = re.compile(r'^\s*\{\s*"name"\s*:\s*"((?:[^"\\]|\\.)*)"\s*,\s*"(?:arguments|parameters|args)"\s*:\s*(?=\{)')


class Reader:
    """Reads one answer.

    Args:
        calls: how calls are written; None where no tools were offered.
        tools: their names.
        think: marks around what is only thought.
        thinking: whether the prompt has opened that already.
    """

    def __init__(
        self,
        calls: Format | None = None,
        tools: Collection[str] = (),
        think: tuple[str, str] | None = None,
        *,
        thinking: bool = False,
    ) -> None:
        self._calls, self._tools, self._think = calls, tools, think
        self._mode = "reasoning" if think is not None and thinking else "begin"
        self._held = ""
        self._fresh = True
        self._count = 0
        self._open: _Streaming | None = None

    @property
    def reasoning(self) -> bool:
        return self._mode == "reasoning"

    @property
    def called(self) -> bool:
        """Whether a call has been read."""
        return self._count > 0

    def feed(self, text: str) -> list[Piece]:
        """What is certain with this piece of text."""
        self._held += text
        found: list[Piece] = []
        while self._held:
            before = (self._mode, self._held)
            getattr(self, f"_in_{self._mode}")(found)
            if (self._mode, self._held) == before:
                break
        return found

    def flush(self, *, cut: bool = False) -> list[Piece]:
        """The rest, when nothing more comes; ``cut``: because there was no more room for it."""
        found: list[Piece] = []
        held, self._held = self._held, ""
        if self._mode == "call":
            assert self._calls is not None
            # Half a call that does not even say of what is neither a call nor something said.
            marked = bool(self._calls.begin and cut)
            self._close(found, held, over=marked, closing="")
        elif held:
            if cut and self.called and self._calls is not None:
                held = held[: len(held) - overlap(held, [self._calls.begin])]  # half a mark: the next call's
            kind = "reasoning" if self._mode == "reasoning" else "text"
            if kind == "reasoning" or held.strip() or not self.called:
                found.append((kind, held))
        return found

    # --- modes -------------------------------------------------------------------------------------------------------

    def _in_begin(self, found: list[Piece]) -> None:
        start = self._held.lstrip()
        if self._think is not None:
            opening = self._think[0]
            if start.startswith(opening):
                self._held, self._mode = start[len(opening) :].lstrip("\n"), "reasoning"
                return
            if opening.startswith(start):
                return
        if self._calls is not None and not self._calls.begin:
            if start.startswith(("{", "[{", "<|python_tag|>")):
                self._mode, self._open = "call", _Streaming()
                return
            if "<|python_tag|>".startswith(start) or start == "[":
                return
        self._mode = "text"

    def _in_reasoning(self, found: list[Piece]) -> None:
        assert self._think is not None
        closing = self._think[1]
        if self._fresh:  # what opens a thought ends its line
            self._held = self._held.lstrip("\n")
            self._fresh = not self._held
            if self._fresh:
                return
        at = self._held.find(closing)
        if at >= 0:
            thought = self._held[:at].rstrip("\n")
            if thought:
                found.append(("reasoning", thought))
            self._held, self._mode = self._held[at + len(closing) :], "after"
            return
        keep = overlap(self._held, [closing])
        blank = len(self._held) - len(self._held.rstrip("\n"))  # those before the end are no part of it
        keep = max(keep + _blank(self._held, keep), blank)
        if len(self._held) > keep:
            found.append(("reasoning", self._held[: len(self._held) - keep]))
            self._held = self._held[len(self._held) - keep :]

    def _in_after(self, found: list[Piece]) -> None:
        self._held = self._held.lstrip("\n")
        if self._held:
            self._think, self._mode = None, "begin"

    def _in_text(self, found: list[Piece]) -> None:
        mark = self._calls.begin if self._calls is not None else ""
        at = self._held.find(mark) if mark else -1
        if at >= 0:
            said = self._held[:at].rstrip()
            if said:
                found.append(("text", said))
            self._held, self._mode, self._open = self._held[at + len(mark) :], "call", _Streaming()
            return
        keep = overlap(self._held, [mark]) if mark else 0
        if mark:
            # Blanks before a call belong to neither.
            keep += _blank(self._held, keep)
        shown = self._held[: len(self._held) - keep]
        if shown:
            found.append(("text", shown))
            self._held = self._held[len(shown) :]

    def _in_call(self, found: list[Piece]) -> None:
        known = self._calls
        assert known is not None
        assert self._open is not None
        end = self._held.find(known.end) if known.end else -1
        body = self._held[:end] if end >= 0 else self._held
        if not known.several:
            ready = body if end >= 0 or not known.end else body[: len(body) - overlap(body, [known.end])]
            self._stream(found, ready)
        if end >= 0:
            self._held = self._held[end + len(known.end) :]
            self._close(found, body, closing=known.end)
            self._mode = "text"

    def _stream(self, found: list[Piece], body: str) -> None:
        """A call's name, then its arguments as far as they have come."""
        open_ = self._open
        assert open_ is not None
        clean = body.replace("<|python_tag|>", "", 1)
        if not open_.name:
            named = _NAME.match(clean)
            if named is None or (self._tools and named.group(1) not in self._tools):
                return
            open_.name, open_.at = named.group(1), named.end()
            found.append(("call", ToolCall(id=_call_id(), name=open_.name, index=self._count)))
            self._count += 1
        piece = open_.more(clean)
        if piece:
            found.append(("call", ToolCall(arguments=piece, index=self._count - 1)))

    def _close(self, found: list[Piece], body: str, *, closing: str, over: bool = False) -> None:
        """A call, or several, is complete; what turns out to be none is text, unless it is ``over`` before its end."""
        known, open_ = self._calls, self._open
        assert known is not None
        if open_ is not None and open_.name:
            self._stream(found, body)
            rest = body.replace("<|python_tag|>", "", 1)[open_.scanned :].strip().removeprefix("}").lstrip("; ,\n")
            if not rest.startswith("{"):
                return
            body = rest
        try:
            calls = parse_calls(body, known)
            if not known.begin and self._tools and any(each.name not in self._tools for each in calls):
                raise ValueError("the answer is JSON, but no call")
        except ValueError:
            if body.strip() and not over:
                found.append(("text", f"{known.begin}{body}{closing}"))
            return
        for each in calls:
            found.append(("call", ToolCall(_call_id(), each.name, each.arguments, self._count)))
            self._count += 1


class _Streaming:
    """How far the arguments of a call have been passed on."""

    def __init__(self) -> None:
        self.name = ""
        #: Where they begin, and up to where they have been read.
        self.at = 0
        self._depth = 0
        self._quoted = self._escaped = self._done = False
        self.scanned = 0

    def more(self, body: str) -> str:
        """Arguments that have come since. Ends with the bracket that closes them."""
        start = max(self.at, self.scanned)
        if self._done:
            return ""
        for at in range(start, len(body)):
            letter = body[at]
            if self._quoted:
                if self._escaped:
                    self._escaped = False
                elif letter == "\\":
                    self._escaped = True
                elif letter == '"':
                    self._quoted = False
            elif letter == '"':
                self._quoted = True
            elif letter in "{[":
                self._depth += 1
            elif letter in "}]":
                self._depth -= 1
                if self._depth == 0:
                    self._done, self.scanned = True, at + 1
                    return body[start : at + 1]
        self.scanned = len(body)
        return body[start:]


def _blank(text: str, keep: int) -> int:
    body = text[: len(text) - keep]
    return len(body) - len(body.rstrip())


def _call_id() -> str:
    return f"call_{random.getrandbits(96):024x}"
