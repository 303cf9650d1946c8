"""Asking, and printing what comes back: piece by piece, in one piece, or as JSON."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from ipfs_accelerate_py.cli.fallbacks import Targets
from ipfs_accelerate_py.cli.terminal import Terminal, printable
from ipfs_accelerate_py.stream import Collector
from ipfs_accelerate_py.types import Message, Reply, ToolCall

if TYPE_CHECKING:
    from ipfs_accelerate_py.sync import Client
    from ipfs_accelerate_py.sync_router import Router

__all__ = ["Answer", "print_answer", "print_usage", "unary_answer"]

#: Said of an answer that ended otherwise than by itself.
_CUT_SHORT = {
    "length": "the answer was cut off at the limit of its length (--max-tokens sets it)",
    "content_filter": "the service's content filter cut the answer off",
}


@dataclass
class Answer:
    """How to ask, and what was answered last. ``targets`` is where ``client`` came from."""

    client: Client | Router
    targets: Targets
    model: str
    options: dict[str, Any]
    streaming: bool = True
    reasoning: bool = False
    reply: Reply = field(default_factory=Reply)
    seconds: float = 0.0

    def ask(self, model: str) -> None:
        """Ask another model of the same backend from now on."""
        self.targets.change(self.client, model)
        self.model = model

    @property
    def instead(self) -> str:
        """The fallback that gave the last answer, as ``backend/model``; empty where it was not one."""
        reply = self.reply
        fallback = reply.target_model and (reply.backend, reply.target_model) != (self.targets.backend, self.model)
        return f"{reply.backend}/{reply.target_model}" if fallback else ""

    @property
    def answered_by(self) -> str:
        """``backend/model``, the model as the service itself calls it."""
        return f"{self.reply.backend or self.targets.backend}/{self.reply.model or self.model}"


def unary_answer(answer: Answer, messages: str | list[Message]) -> dict[str, Any]:
    """Ask, and give the whole reply as plain data."""
    import msgspec

    began = time.monotonic()
    answer.reply = answer.client.chat(answer.model, messages, **answer.options)
    answer.seconds = time.monotonic() - began
    plain: dict[str, Any] = msgspec.to_builtins(answer.reply)
    # What only a gateway's passthrough or another operation fills in.
    for name in ("stream", "body", "content_type", "vectors", "models"):
        del plain[name]
    plain["usage"]["total_tokens"] = answer.reply.usage.total_tokens
    return plain


def print_answer(terminal: Terminal, answer: Answer, messages: str | list[Message]) -> None:
    """Ask, and print the answer; what came before an error is printed, and ends its line."""
    began = time.monotonic()
    writer = _Writer(terminal, answer.reasoning)
    try:
        if answer.streaming:
            _print_stream(answer, messages, writer)
        else:
            with _waiting(terminal):
                answer.reply = answer.client.chat(answer.model, messages, **answer.options)
            writer.reasoning(answer.reply.reasoning)
            writer.text(answer.reply.text)
            writer.text(answer.reply.refusal)
    finally:
        answer.seconds = time.monotonic() - began
        writer.finish(answer.reply.tool_calls)
    if problem := _CUT_SHORT.get(answer.reply.finish_reason or ""):
        terminal.warn(problem)
    if answer.instead:
        terminal.note(f"(answered by {answer.instead})")


def _print_stream(answer: Answer, messages: str | list[Message], writer: _Writer) -> None:
    collector = Collector()
    answer.reply = Reply()
    stream = answer.client.stream(answer.model, messages, **answer.options)
    with contextlib.ExitStack() as waiting, stream:
        waiting.enter_context(_waiting(writer.terminal))
        for chunk in stream:
            waiting.close()
            collector.add(chunk)
            if chunk.restart:
                writer.restarted(chunk.model)
            if chunk.index == 0:  # of several answers (n=2) the first is printed, as the unary call gives it
                writer.reasoning(chunk.reasoning)
                writer.text(chunk.text)
                writer.text(chunk.refusal)
        answer.reply = collector.reply(stream.reply)


class _Writer:
    """Writes text to stdout and reasoning to stderr, each beginning on a line of its own on a shared terminal."""

    def __init__(self, terminal: Terminal, reasoning: bool) -> None:
        self.terminal = terminal
        self._reasoning = reasoning
        self._thinking = False
        self._last = "\n"

    def text(self, text: str) -> None:
        if text:
            self._end_reasoning()
            self._last = text[-1]  # before: an interrupt may come as soon as it is written
            self.terminal.write(text)

    def reasoning(self, text: str) -> None:
        if text and self._reasoning:
            self._thinking = True
            self.terminal.aside(text)

    def restarted(self, model: str) -> None:
        """The answer so far is void: another target begins it anew."""
        self._end_reasoning()
        self._end_line()
        self.terminal.say(printable(f"[restarted on {model or 'another target'}: what came before is void]"))

    def finish(self, tool_calls: list[ToolCall]) -> None:
        """End the line, then tell the tools that the model asks for: a line each, name and arguments."""
        self._end_reasoning()
        self._end_line()
        for call in tool_calls:
            self.terminal.write(f"{call.name}({call.arguments})\n")

    def _end_line(self) -> None:
        if self._last != "\n":
            self._last = "\n"
            self.terminal.write("\n")

    def _end_reasoning(self) -> None:
        if self._thinking:
            self._thinking = False
            self.terminal.aside("\n")


@contextlib.contextmanager
def _waiting(terminal: Terminal) -> Iterator[None]:
    """A sign of life until the first piece arrives, on a terminal."""
    if terminal.quiet or not terminal.colourful(sys.stderr):
        yield
        return
    with terminal.console().status("waiting", spinner="dots"):
        yield


def print_usage(terminal: Terminal, answer: Answer) -> None:
    """Tokens and time of the last answer, on stderr."""
    usage = answer.reply.usage
    if usage.reported:
        parts = [f"{usage.input_tokens} tokens in", f"{usage.output_tokens} out"]
        if usage.cached_tokens:
            parts.append(f"{usage.cached_tokens} cached")
        if usage.reasoning_tokens:
            parts.append(f"{usage.reasoning_tokens} of reasoning")
    else:
        parts = ["the service reported no token counts"]
    parts += [f"{answer.seconds:.2f} s", answer.answered_by]
    terminal.say(", ".join(parts))
