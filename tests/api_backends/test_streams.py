"""Streaming: pieces with ``text`` and ``done``, in order, for ``for`` and for ``async for``."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from ipfs_accelerate_py.api_backends import groq, llvm, openai_api
from ipfs_accelerate_py.errors import StreamCut
from ipfs_accelerate_py.simulator import Fault
from tests.api_backends.conftest import eventually

Make = Callable[..., Any]
SAID = "An answer that the test has chosen."


def given_back(face: Any, simulator: Any) -> bool:
    """Whether slot and connection are free again; a stream that was forgotten is let go when it is collected."""
    gc.collect()
    return bool(face.active_requests == 0 and simulator.counts["aborted"] == 1)


async def gathered(stream: Any) -> list[dict[str, Any]]:
    return [piece async for piece in stream]


@pytest.mark.parametrize("kind", [openai_api, groq, llvm])
async def test_pieces_add_up_and_the_last_one_says_how_it_ended(simulators: Make, faces: Make, kind: type) -> None:
    simulator = simulators(reply=SAID)
    face = faces(kind, simulator)
    blocking = await asyncio.to_thread(lambda: list(face.stream_chat("any", "Hello", temperature=0.5)))
    awaited = await gathered(face.astream_chat("any", "Hello", temperature=0.5))
    for pieces in (blocking, awaited):
        assert "".join(piece["text"] for piece in pieces) == SAID
        assert [piece["done"] for piece in pieces] == [False] * (len(pieces) - 1) + [True]
        last = pieces[-1]
        assert (last["finish_reason"], last["model"], last["tool_calls"]) == ("stop", "any", [])
        assert last["usage"]["total_tokens"] == last["usage"]["prompt_tokens"] + last["usage"]["completion_tokens"]
        assert last["request_id"].startswith("req_")
    assert simulator.requests[-1].body["temperature"] == 0.5


def test_options_prepare_the_request_as_those_of_chat_do(simulators: Make, faces: Make) -> None:
    simulator = simulators()
    face = faces(openai_api, simulator)
    list(face.stream_chat("gpt-4o", [{"role": "user", "content": "A"}], prompt="B", system="S", max_tokens=None))
    body = simulator.requests[-1].body
    assert [message["content"] for message in body["messages"]] == ["S", "A", "B"]
    assert "max_tokens" not in body
    assert "prompt" not in body


def test_tool_calls_come_whole_with_the_last_piece(simulators: Make, faces: Make) -> None:
    face = faces(openai_api, simulators())
    tool = {"type": "function", "function": {"name": "weather", "parameters": {"type": "object", "properties": {}}}}
    *_, last = face.stream_chat("gpt-4o", "Use the tool weather", tools=[tool])
    assert last["finish_reason"] == "tool_calls"
    assert [call["function"]["name"] for call in last["tool_calls"]] == ["weather"]
    assert last["tool_calls"] == [
        {**call, "id": last["tool_calls"][0]["id"]}
        for call in face.chat("gpt-4o", "Use the tool weather", tools=[tool])["tool_calls"]
    ]


def test_a_stream_that_breaks_off_raises_and_never_says_done(simulators: Make, faces: Make) -> None:
    simulator = simulators()
    face = faces(openai_api, simulator)
    simulator.script(Fault.cut(after=3))
    stream = face.stream_chat("gpt-4o", "Hello")
    pieces = [next(stream) for _ in range(3)]
    with pytest.raises(StreamCut):
        next(stream)
    assert not any(piece["done"] for piece in pieces)
    assert list(stream) == []
    assert face.active_requests == 0


async def test_an_async_stream_that_breaks_off_raises_and_never_says_done(simulators: Make, faces: Make) -> None:
    simulator = simulators()
    face = faces(openai_api, simulator)
    simulator.script(Fault.cut(after=3))
    stream = face.astream_chat("gpt-4o", "Hello")
    pieces = [await anext(stream) for _ in range(3)]
    with pytest.raises(StreamCut):
        await anext(stream)
    assert not any(piece["done"] for piece in pieces)
    assert await gathered(stream) == []


def test_a_stream_closed_from_another_thread_ends_and_never_says_done(simulators: Make, faces: Make) -> None:
    simulator = simulators(tokens=10_000, chunk_interval=0.02)
    face = faces(openai_api, simulator)
    stream = face.stream_chat("gpt-4o", "Hello")
    with ThreadPoolExecutor(1) as pool:
        reading = pool.submit(list, stream)
        eventually(lambda: simulator.in_flight == 1)
        stream.close()
        assert not any(piece["done"] for piece in reading.result(timeout=60))
    eventually(lambda: given_back(face, simulator))


@pytest.mark.parametrize("way", ["close", "with", "forget"])
def test_leaving_a_stream_early_gives_everything_back(simulators: Make, faces: Make, way: str) -> None:
    simulator = simulators(tokens=10_000, chunk_interval=0.001)
    face = faces(openai_api, simulator)
    stream = face.stream_chat("gpt-4o", "Hello")
    assert next(stream)["text"]
    assert face.active_requests == 1
    if way == "close":
        stream.close()
        assert list(stream) == []
    elif way == "with":
        with stream:
            pass
    del stream
    eventually(lambda: given_back(face, simulator))


@pytest.mark.parametrize("way", ["aclose", "async with", "cancel", "forget"])
async def test_leaving_an_async_stream_early_gives_everything_back(simulators: Make, faces: Make, way: str) -> None:
    simulator = simulators(tokens=10_000, chunk_interval=0.001)
    face = faces(openai_api, simulator)
    stream = face.astream_chat("gpt-4o", "Hello")
    assert (await anext(stream))["text"]
    if way == "aclose":
        await stream.aclose()
        assert await gathered(stream) == []
    elif way == "async with":
        async with stream:
            pass
    elif way == "cancel":
        reading = asyncio.ensure_future(gathered(stream))
        await asyncio.sleep(0.01)
        reading.cancel()
        with pytest.raises(asyncio.CancelledError):
            await reading
        del reading
    del stream
    await asyncio.to_thread(eventually, lambda: given_back(face, simulator))


async def test_a_stream_never_begun_sends_nothing(simulators: Make, faces: Make) -> None:
    simulator = simulators()
    face = faces(openai_api, simulator)
    stream = face.astream_chat("gpt-4o", "Hello")
    await stream.aclose()
    assert await gathered(stream) == []
    assert simulator.requests == []
