"""Text as it comes: whole characters, stop strings that never show, thoughts and calls of tools."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ipfs_accelerate_py.runtimes.generation.detokenizing import Detokenizer
from ipfs_accelerate_py.runtimes.generation.reading import Reader
from ipfs_accelerate_py.runtimes.generation.stopping import Stopper
from ipfs_accelerate_py.runtimes.generation.tool_calls import HERMES, LLAMA, MISTRAL, Format, derive, format_of
from ipfs_accelerate_py.types import ToolCall


def decode(ids: list[int]) -> str:
    return bytes(ids).decode("utf-8", "replace")


@given(st.text(max_size=40), st.text(max_size=5))
def test_characters_come_whole_and_none_is_lost(text: str, before: str) -> None:
    detokenizer = Detokenizer(decode, list(before.encode()))
    shown = [detokenizer.feed(each) for each in text.encode()]
    assert "".join(shown) + detokenizer.flush() == text
    if "\ufffd" not in text:
        assert not any("\ufffd" in each for each in shown)


def test_bytes_that_are_no_text_are_shown_in_the_end() -> None:
    detokenizer = Detokenizer(decode)
    shown = "".join(detokenizer.feed(0xFF) for _ in range(20)) + detokenizer.flush()
    assert shown == "\ufffd" * 20


def test_only_a_few_tokens_are_decoded_at_a_time() -> None:
    sizes: list[int] = []

    def watched(ids: list[int]) -> str:
        sizes.append(len(ids))
        return decode(ids)

    detokenizer = Detokenizer(watched, b"prompt")
    for _ in range(500):
        detokenizer.feed(65)
    assert max(sizes) < 20


@given(st.text("abc", max_size=30), st.lists(st.text("abc", min_size=1, max_size=4), max_size=3), st.data())
def test_stop_strings_never_show(text: str, stops: list[str], data: Any) -> None:
    stopper = Stopper(stops)
    shown, at = "", 0
    while at < len(text) and not stopper.stopped:
        size = data.draw(st.integers(1, 5))
        shown += stopper.feed(text[at : at + size])
        at += size
        assert not any(each in shown for each in stops)
    if not stopper.stopped:
        shown += stopper.flush()
    # What completes a stop ends the answer there: a longer one that began before it was never written.
    seen = text[:at]
    firsts = [seen.find(each) for each in stops if each in seen]
    assert shown == (text[: min(firsts)] if firsts else text)


def read(reader: Reader, text: str, size: int) -> tuple[str, str, list[tuple[str, str]]]:
    said = thought = ""
    calls: dict[int, list[str]] = {}
    pieces = [each for at in range(0, len(text), size) for each in reader.feed(text[at : at + size])]
    for kind, piece in [*pieces, *reader.flush()]:
        if isinstance(piece, ToolCall):
            found = calls.setdefault(piece.index, ["", ""])
            assert bool(piece.id) == bool(piece.name)
            found[0] += piece.name
            found[1] += piece.arguments
        elif kind == "text":
            said += piece
        else:
            thought += piece
    return said, thought, [(name, given) for name, given in calls.values()]


CALLS = [
    (HERMES, '<tool_call>\n{"name": "f", "arguments": {"a": "}{", "b": [1, {"c": 2}]}}\n</tool_call>', 1),
    (
        HERMES,
        '<tool_call>{"name":"f","arguments":{"a":1}}</tool_call>\n<tool_call>{"arguments":{},"name":"g"}</tool_call>',
        2,
    ),
    (MISTRAL, '[TOOL_CALLS][{"name": "f", "arguments": {"a": 1}}, {"name": "g", "arguments": {}}]', 2),
    (MISTRAL, '[TOOL_CALLS]f[ARGS]{"a": 1}', 1),
    (LLAMA, '{"name": "f", "parameters": {"a": "\\"x"}}', 1),
    (LLAMA, '<|python_tag|>{"name": "f", "parameters": {"a": 1}}', 1),
    (Format("own", "<call>", "</call>", "args"), '<call>{"name": "f", "args": {"a": 1}}</call>', 1),
]


@pytest.mark.parametrize("size", [1, 3, 1000])
@pytest.mark.parametrize(("known", "text", "count"), CALLS)
def test_calls_of_tools(known: Format, text: str, count: int, size: int) -> None:
    said, _, calls = read(Reader(known, {"f", "g"}), text, size)
    assert said.strip() == ""
    assert [name for name, _ in calls] == ["f", "g"][:count]
    assert all(isinstance(json.loads(arguments), dict) for _, arguments in calls)


@pytest.mark.parametrize("size", [1, 4, 1000])
def test_what_is_said_before_a_call(size: int) -> None:
    text = 'Let me look. <tool_call>{"name": "f", "arguments": {}}</tool_call>'
    assert read(Reader(HERMES, {"f"}), text, size) == ("Let me look.", "", [("f", "{}")])


@pytest.mark.parametrize(
    ("known", "text"),
    [
        (HERMES, "a < b <tool"),
        (HERMES, "<tool_call>no json</tool_call>"),
        (LLAMA, '{"name": "unknown", "parameters": {}}'),
        (LLAMA, '{"city": "Berlin"}'),
        (LLAMA, "{ not json"),
    ],
)
@pytest.mark.parametrize("size", [1, 1000])
def test_what_only_looks_like_a_call_is_said(known: Format, text: str, size: int) -> None:
    said, _, calls = read(Reader(known, {"f"}), text, size)
    assert said == text
    assert not calls


@pytest.mark.parametrize("half", ['<tool_call>{"na', "<tool_"])
@pytest.mark.parametrize("cut", [True, False])
def test_half_a_call_is_said_only_where_the_model_ended_so(cut: bool, half: str) -> None:
    reader = Reader(HERMES, {"f"})
    pieces = reader.feed('<tool_call>{"name": "f", "arguments": {}}</tool_call>' + half)
    pieces += reader.flush(cut=cut)
    assert "".join(piece for kind, piece in pieces if isinstance(piece, str)) == ("" if cut else half)
    assert reader.called


@pytest.mark.parametrize("size", [1, 5, 1000])
@pytest.mark.parametrize("opened", [True, False])
def test_thoughts(size: int, opened: bool) -> None:
    text = ("" if opened else "<think>\n") + "first\n\nsecond\n</think>\n\nthe answer"
    reader = Reader(think=("<think>", "</think>"), thinking=opened)
    assert read(reader, text, size) == ("the answer", "first\n\nsecond", [])


def test_thoughts_that_never_end() -> None:
    assert read(Reader(think=("<think>", "</think>")), "<think>hm", 2) == ("", "hm", [])


def test_a_format_is_read_off_the_template() -> None:
    def render(messages: list[dict[str, Any]]) -> str:
        made = ""
        for each in messages:
            calls = "".join(
                f"<fn>{json.dumps({'name': c['function']['name'], 'input': c['function']['arguments']})}</fn>"
                for c in each.get("tool_calls", ())
            )
            made += f"<|{each['role']}|>{each['content']}{calls}<|end|>"
        return made

    assert derive(render) == Format("derived", "<fn>", "</fn>", "input")
    assert format_of("{{ tool_calls }}", render) == derive(render)
    assert format_of("... <tool_call> ...") is HERMES
    assert format_of("... [TOOL_CALLS] ...") is MISTRAL
