"""Whether a new answer begins with what was delivered: on answers of all shapes, cut anywhere."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ipfs_accelerate_py.router.alignment import Alignment, Delivered
from ipfs_accelerate_py.router.continuation import Joint
from ipfs_accelerate_py.stream import Collector
from ipfs_accelerate_py.types import Chunk, Reply, ToolCall, Usage

#: An answer of one choice: (channel, text), as they follow each other.
Pieces = list[tuple[str, str]]

_letters = st.text(alphabet="ab ", min_size=1, max_size=6)
_plain = st.lists(st.tuples(st.sampled_from(["reasoning", "text", "refusal"]), _letters), max_size=3)


@st.composite
def answers(draw: st.DrawFn) -> Pieces:
    calls = [(f"call {index}", draw(_letters)) for index in range(draw(st.integers(0, 2)))]
    return [*draw(_plain), *calls]


@st.composite
def chunked(draw: st.DrawFn, pieces: Pieces, ids: str = "id") -> list[Chunk]:
    """The answer as chunks, cut as it comes, with empty ones in between, its end and its counts."""
    chunks: list[Chunk] = []
    for channel, text in pieces:
        tool = int(channel.split()[1]) if channel.startswith("call") else None
        if tool is not None:
            chunks.append(Chunk(tool_calls=[ToolCall(id=f"{ids}{tool}", name=f"f{tool}", index=tool)]))
        while text:
            count = draw(st.integers(1, len(text)))
            part, text = text[:count], text[count:]
            if tool is None:
                chunk = Chunk()
                setattr(chunk, channel, part)
                chunks.append(chunk)
            else:
                chunks.append(Chunk(tool_calls=[ToolCall(arguments=part, index=tool)]))
            if draw(st.booleans()):
                chunks.append(Chunk())
    chunks += [Chunk(finish_reason="stop"), Chunk(usage=Usage(1, 2, reported=True))]
    return chunks


def collected(chunks: list[Chunk]) -> Reply:
    collector = Collector()
    for chunk in chunks:
        collector.add(chunk)
    return collector.reply()


def said(reply: Reply) -> Any:
    calls = [(call.index, call.name, call.arguments) for call in reply.tool_calls]
    return reply.text, reply.reasoning, reply.refusal, calls, reply.finish_reason, reply.usage


def delivered_of(chunks: list[Chunk]) -> Delivered:
    delivered = Delivered()
    for chunk in chunks:
        delivered.add(chunk)
    return delivered


@given(st.data())
def test_the_same_answer_goes_on_unseen_wherever_it_broke(data: st.DataObject) -> None:
    pieces = data.draw(answers())
    first = data.draw(chunked(pieces, "one"))
    again = data.draw(chunked(pieces, "other"))
    ends = len(first) - 2
    cut = data.draw(st.integers(0, ends))
    alignment = Alignment(delivered_of(first[:cut]))
    rest: list[Chunk] = []
    for chunk in again:
        rest += alignment.feed([chunk])
    alignment.end()
    assert not alignment.diverged
    whole = collected([*first[:cut], *rest])
    assert said(whole) == said(collected(first))
    assert sum(chunk.finish_reason is not None for chunk in rest) == 1
    # What was called keeps the id under which the caller knows it.
    known = {call.index: call.id for chunk in first[:cut] for call in chunk.tool_calls if call.id}
    assert {call.index: call.id for call in whole.tool_calls} | known == {
        call.index: call.id for call in whole.tool_calls
    }


@given(st.data())
def test_another_answer_is_seen_to_be_one_and_nothing_of_it_is_passed_on(data: st.DataObject) -> None:
    first = data.draw(answers().flatmap(chunked))
    other = data.draw(answers().flatmap(chunked))
    cut = data.draw(st.integers(0, len(first) - 2))
    alignment = Alignment(delivered_of(first[:cut]))
    rest: list[Chunk] = []
    for chunk in other:
        rest += alignment.feed([chunk])
    alignment.end()
    if alignment.diverged:
        assert not rest
        assert said(collected(alignment.held)) == said(collected(other))
    else:
        # Then what the caller has is the other answer, whole.
        assert said(collected([*first[:cut], *rest])) == said(collected(other))


@given(st.data())
def test_several_choices_are_aligned_each_by_itself(data: st.DataObject) -> None:
    streams = [data.draw(answers().flatmap(chunked)) for _ in range(2)]
    for index, stream in enumerate(streams):
        for chunk in stream:
            chunk.index = index

    def mixed() -> list[Chunk]:
        left = [list(stream) for stream in streams]
        made = []
        while any(left):
            made.append(data.draw(st.sampled_from([each for each in left if each])).pop(0))
        return made

    first, again = mixed(), mixed()
    cut = data.draw(st.integers(0, len(first)))
    if all(any(chunk.finish_reason and chunk.index == index for chunk in first[:cut]) for index in range(2)):
        return  # it was complete
    alignment = Alignment(delivered_of(first[:cut]))
    rest = alignment.feed(again)
    alignment.end()
    assert not alignment.diverged
    for index in range(2):
        whole = [chunk for chunk in [*first[:cut], *rest] if chunk.index == index]
        for chunk in whole:
            chunk.index = 0
        assert said(collected(whole))[:4] == said(collected([_at_zero(chunk) for chunk in streams[index]]))[:4]
        assert sum(chunk.finish_reason is not None for chunk in whole) == 1


def _at_zero(chunk: Chunk) -> Chunk:
    chunk.index = 0
    return chunk


def test_what_cannot_be_compared_is_not() -> None:
    for chunk in (
        Chunk(thinking_blocks=[{"type": "thinking", "signature": "x"}]),
        Chunk(tool_calls=[ToolCall(name="f", signature="x")]),
    ):
        assert Alignment(delivered_of([chunk])).diverged


@pytest.mark.parametrize(
    "other",
    [
        [Chunk("one tw", finish_reason="stop")],  # shorter
        [Chunk("one two"), Chunk(reasoning="hm"), Chunk(" three")],
        [Chunk(reasoning="hm"), Chunk("one two three")],
        [Chunk("One two three")],
        [Chunk("one tw"), Chunk(tool_calls=[ToolCall(name="f")])],
    ],
)
def test_other_answers(other: list[Chunk]) -> None:
    alignment = Alignment(delivered_of([Chunk("one "), Chunk("two th")]))
    assert alignment.feed(other) == []
    assert alignment.diverged


# --- continuations -----------------------------------------------------------------------------------------------

_words = st.text(alphabet="ab \n", max_size=60)


def texts(joint: Joint, chunks: list[str]) -> str:
    passed = [chunk for text in chunks for chunk in joint.feed([Chunk(text)])]
    passed += joint.feed([Chunk(finish_reason="stop")])
    passed += joint.feed([Chunk(usage=Usage(1, 1, reported=True))]) + joint.end()
    assert sum(chunk.finish_reason is not None for chunk in passed) == 1
    assert sum(chunk.usage is not None for chunk in passed) == 1
    return "".join(chunk.text for chunk in passed)


@given(_words, _words, st.lists(st.integers(1, 7), min_size=1))
def test_a_continuation_is_joined_without_a_gap(delivered: str, rest: str, sizes: list[int]) -> None:
    """The target was sent the text without the white space at its end, and goes on with it."""
    sent = delivered.rstrip()
    unsent = delivered[len(sent) :]
    follows = unsent + rest
    parts: list[str] = []
    position = 0
    while position < len(follows):
        size = sizes[len(parts) % len(sizes)]
        parts.append(follows[position : position + size])
        position += size
    if len(delivered) >= 24 and follows.startswith(delivered):
        return  # it looks like the whole answer from its beginning, and is taken for that
    assert texts(Joint(delivered, unsent), parts) == rest


@given(st.text(alphabet="abc ", min_size=24, max_size=60), _words, st.integers(1, 7))
def test_a_target_that_begins_anew_all_the_same_is_not_said_twice(delivered: str, rest: str, size: int) -> None:
    whole = delivered + rest
    parts = [whole[start : start + size] for start in range(0, len(whole), size)]
    assert texts(Joint(delivered, ""), parts) == rest


def test_a_continuation_that_says_less_white_space() -> None:
    assert texts(Joint("one \n\n", " \n\n"), ["two"]) == "two"
    assert texts(Joint("one \n\n", " \n\n"), [" ", "two"]) == "two"


def test_a_short_answer_may_repeat_itself() -> None:
    assert texts(Joint("ha", ""), ["ha", "ha"]) == "haha"
