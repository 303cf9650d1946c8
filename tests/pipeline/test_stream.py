"""The stream that carries an answer: every way to end lets go of everything once; chunks add up to the unary reply."""

from __future__ import annotations

import asyncio
import gc
import threading

import pytest

from ipfs_accelerate_py.errors import StreamCut
from ipfs_accelerate_py.stream import Collector, Stream
from ipfs_accelerate_py.types import Chunk, ToolCall, Usage

from .support import Source, settle


class Noted:
    """A stream whose end is noted."""

    def __init__(self, source: Source, *first: Chunk) -> None:
        self.source = source
        self.ends: list[BaseException | None] = []
        self.stream = Stream(source, list(first))
        self.stream.add_done_callback(lambda stream, error: self.ends.append(error))


async def test_read_to_the_end() -> None:
    noted = Noted(Source([Chunk(text="b"), Chunk(text="c")], [Chunk(text="d")]), Chunk(text="a"))
    assert [chunk.text async for chunk in noted.stream] == ["a", "b", "c", "d"]
    assert noted.ends == [None]
    assert noted.stream.done
    assert noted.source.aborted == 1
    assert [chunk async for chunk in noted.stream] == []
    noted.stream.abort()
    assert noted.ends == [None]
    assert noted.stream.usage == Usage(3, 2, reported=True)
    assert noted.stream.finish_reason == "stop"


async def test_batches_give_all_that_is_here() -> None:
    noted = Noted(Source([Chunk(text="c")]), Chunk(text="a"), Chunk(text="b"))
    assert [chunk.text for chunk in await noted.stream.next_batch()] == ["a", "b"]
    assert [chunk.text for chunk in await noted.stream.next_batch()] == ["c"]
    assert await noted.stream.next_batch() == []
    assert await noted.stream.next_batch() == []


async def test_an_error_comes_after_the_chunks_before_it_and_stays() -> None:
    noted = Noted(Source([Chunk(text="a")], error=StreamCut("cut")))
    assert (await anext(noted.stream)).text == "a"
    for _ in range(2):  # an ended stream never turns into a complete one
        with pytest.raises(StreamCut):
            await anext(noted.stream)
    assert len(noted.ends) == 1
    assert isinstance(noted.stream.error, StreamCut)


async def test_left_early_it_is_over() -> None:
    noted = Noted(Source([Chunk(text="b")]), Chunk(text="a"))
    async with noted.stream as stream:
        async for _ in stream:
            break
    assert isinstance(noted.ends[0], asyncio.CancelledError)
    assert noted.source.aborted == 1
    assert [chunk async for chunk in noted.stream] == []


async def test_a_cancelled_reader_lets_go() -> None:
    source = Source([Chunk(text="a")])
    source.gate = asyncio.Event()
    noted = Noted(source)
    reader = asyncio.create_task(noted.stream.next_batch())
    await settle()
    reader.cancel()
    with pytest.raises(asyncio.CancelledError):
        await reader
    assert len(noted.ends) == 1
    assert noted.source.aborted == 1


async def test_callbacks_run_innermost_first_and_a_late_one_at_once() -> None:
    noted = Noted(Source())
    seen: list[str] = []
    noted.stream.add_done_callback(lambda stream, error: seen.append("inner"))
    noted.stream.add_done_callback(lambda stream, error: seen.append("outer"))
    assert await noted.stream.next_batch() == []
    noted.stream.add_done_callback(lambda stream, error: seen.append("late"))
    assert seen == ["inner", "outer", "late"]


@pytest.mark.parametrize("where", ["here", "another thread", "a cycle"])
async def test_dropped_and_collected_it_lets_go_on_its_loop(where: str) -> None:
    source = Source([Chunk(text="b")])
    ends: list[int] = []
    stream: Stream | None = Stream(source, [Chunk(text="a")])
    assert stream is not None
    stream.add_done_callback(lambda stream, error: ends.append(threading.get_ident()))
    if where == "here":
        stream = None
    elif where == "a cycle":
        cycle: list[object] = [stream]
        cycle.append(cycle)
        stream = None
        del cycle
        gc.collect()
    else:
        held = [stream]
        stream = None
        thread = threading.Thread(target=held.clear)
        thread.start()
        thread.join()
    for _ in range(100):
        if ends:
            break
        await asyncio.sleep(0.001)
    assert ends == [threading.get_ident()]
    assert source.aborted == 1


def test_dropped_after_its_loop_is_gone_it_still_lets_go() -> None:
    source = Source()
    ends: list[BaseException | None] = []

    async def make() -> Stream:
        stream = Stream(source, [Chunk(text="a")])
        stream.add_done_callback(lambda stream, error: ends.append(error))
        return stream

    stream = asyncio.run(make())
    del stream
    gc.collect()
    assert len(ends) == 1


# --- adding up ---------------------------------------------------------------------------------------------------


def test_chunks_add_up_to_the_reply() -> None:
    collector = Collector()
    for chunk in (
        Chunk(model="m"),
        Chunk(reasoning="let me "),
        Chunk(reasoning="think"),
        Chunk(text="Hel"),
        Chunk(text="lo"),
        Chunk(text="other choice", index=1, finish_reason="length"),
        Chunk(refusal="no"),
        Chunk(tool_calls=[ToolCall("call_1", "f", '{"a"', 0)]),
        Chunk(tool_calls=[ToolCall("call_2", "g", "", 1), ToolCall("", "", ":1}", 0)]),
        Chunk(tool_calls=[ToolCall("", "", "{}", 1)]),
        Chunk(finish_reason="tool_calls"),
        Chunk(usage=Usage(1, 2, reported=True)),
    ):
        collector.add(chunk)
    reply = collector.reply()
    assert (reply.text, reply.reasoning, reply.refusal, reply.model) == ("Hello", "let me think", "no", "m")
    assert reply.finish_reason == "tool_calls"
    assert reply.usage.total_tokens == 3
    assert [(call.id, call.name, call.arguments) for call in reply.tool_calls] == [
        ("call_1", "f", '{"a":1}'),
        ("call_2", "g", "{}"),
    ]
