"""A conversation on a terminal: what was said before goes along with each question."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ipfs_accelerate_py.cli.answers import Answer, print_answer, print_usage
from ipfs_accelerate_py.cli.failures import hint, summary
from ipfs_accelerate_py.cli.selection import split_model
from ipfs_accelerate_py.cli.terminal import Terminal
from ipfs_accelerate_py.errors import AccelerateError
from ipfs_accelerate_py.types import Message

__all__ = ["converse"]

_HELP = """\
/system TEXT   set the instruction that stands before the conversation; without TEXT, take it away
/model NAME    ask another model of the same backend
/usage         tokens and time of the last answer
/clear         forget what was said
/help          this list
/exit          leave; so does Ctrl-D
Ctrl-C breaks an answer off. \"\"\" begins and ends a question of several lines."""
_FENCE = '"""'
#: Lines kept in the file of earlier input.
_MOST_LINES = 1000


def converse(terminal: Terminal, answer: Answer, *, keep_history: bool, show_usage: bool) -> None:
    """Read questions and print answers until the user leaves. A failed question is reported, and forgotten."""
    conversation = _Conversation(terminal, answer, show_usage)
    terminal.note(f"{answer.targets.backend}/{answer.model}. /help lists what else can be said, Ctrl-D leaves.")
    with _line_editing(keep_history):
        while conversation.turn():
            pass


class _Conversation:
    def __init__(self, terminal: Terminal, answer: Answer, show_usage: bool) -> None:
        self._terminal = terminal
        self._answer = answer
        self._show_usage = show_usage
        self._messages: list[Message] = []

    def turn(self) -> bool:
        """One question or command; False when the user leaves."""
        try:
            text = _read()
        except EOFError:
            self._terminal.note("")
            return False
        except KeyboardInterrupt:
            self._terminal.note("\n(Ctrl-D leaves)")
            return True
        if text.startswith("/"):
            return self._command(text)
        if text.strip():
            self._ask(text)
        return True

    def _ask(self, text: str) -> None:
        messages = [*self._messages, {"role": "user", "content": text}]
        try:
            print_answer(self._terminal, self._answer, messages)
        except KeyboardInterrupt:
            self._terminal.note("(broken off; neither the question nor the answer is remembered)")
            return
        except AccelerateError as error:
            self._terminal.error(summary(error), hint(error))
            return
        self._messages = [*messages, _remembered(self._answer)]
        if self._show_usage:
            print_usage(self._terminal, self._answer)

    def _command(self, text: str) -> bool:
        verb, _, rest = text.strip().partition(" ")
        rest = rest.strip()
        if verb in ("/exit", "/quit"):
            return False
        if verb == "/clear":
            self._messages = []
        elif verb == "/system":
            self._answer.options["system"] = rest or None
        elif verb == "/usage":
            print_usage(self._terminal, self._answer)
        elif verb == "/model" and rest:
            self._change_model(rest)
        elif verb == "/help":
            self._terminal.say(_HELP)
        else:
            self._terminal.warn(f"there is no {verb}; /help lists what there is")
        return True

    def _change_model(self, name: str) -> None:
        backend, rest = split_model(name)
        self._answer.ask(rest if backend == self._answer.targets.backend else name)


def _remembered(answer: Answer) -> dict[str, Any]:
    """The answer as a message of the conversation, in OpenAI's shape."""
    message: dict[str, Any] = {"role": "assistant", "content": answer.reply.text or answer.reply.refusal}
    if answer.reply.tool_calls:
        message["tool_calls"] = [
            {"id": call.id, "type": call.type, "function": {"name": call.name, "arguments": call.arguments}}
            for call in answer.reply.tool_calls
        ]
    return message


def _read() -> str:
    first = input("> ")
    if not first.startswith(_FENCE):
        return first
    lines = [first[len(_FENCE) :]]
    while not lines[-1].endswith(_FENCE):
        lines.append(input(". "))
    lines[-1] = lines[-1].removesuffix(_FENCE)
    return "\n".join(lines).strip("\n")


@contextlib.contextmanager
def _line_editing(keep: bool) -> Iterator[None]:
    """Line editing, and earlier input under the arrow keys; in a file that only its owner can read."""
    try:
        import readline
    except ImportError:  # a Python built without it: plain input works
        yield
        return
    path = _history_path() if keep else None
    if path is not None:
        with contextlib.suppress(OSError):
            readline.read_history_file(path)
    readline.set_history_length(_MOST_LINES)
    try:
        yield
    finally:
        if path is not None:
            _save(readline, path)


def _save(readline: Any, path: Path) -> None:
    # What people ask is private, and the file must not be open to others for a moment.
    mask = os.umask(0o077)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        readline.write_history_file(path)
    except OSError:
        pass  # a home that cannot be written to: the lines are not kept
    finally:
        os.umask(mask)


def _history_path() -> Path:
    """Where state belongs: https://specifications.freedesktop.org/basedir-spec/latest/."""
    state = os.environ.get("XDG_STATE_HOME") or "~/.local/state"
    return Path(state).expanduser() / "ipfs-accelerate" / "chat_history"
