"""Single flight: who shares with whom, who leaves and who stays, and whose books a call is in."""

from __future__ import annotations

import asyncio
import gc
from typing import Any

import pytest

from ipfs_accelerate_py.errors import ConfigurationError, ReadTimeout, ServerError, StreamCut
from ipfs_accelerate_py.pipeline.singleflight import SingleFlight, SingleFlightPolicy
from ipfs_accelerate_py.pipeline.stack import Stack
from ipfs_accelerate_py.pipeline.usage import UsagePolicy, UsageTotals
from ipfs_accelerate_py.records import CallRecord
from ipfs_accelerate_py.types import Call, Chunk, Operation, Priority, Reply, ToolCall, Usage

from .support import Backend, Source, make_call, settle, stream_reply, text_reply

pytestmark = pytest.mark.virtual_time


class House:
    """A usage policy, single flight, and a backend that answers when it is told to."""

    def __init__(self, *plays: Any, **settings: Any) -> None:
        self.backend = Backend(*plays)
        self.state = SingleFlight(**{"nondeterministic": True, **settings})
        stack = Stack(self.backend)
        stack.install("single_flight", lambda inner: SingleFlightPolicy(inner, self.state))
        self.usage = UsagePolicy(stack, UsageTotals())
        self.records: list[CallRecord] = []
        self.usage.observers.append(self.records.append)

    def ask(self, **options: Any) -> asyncio.Task[Reply]:
        return asyncio.create_task(self.usage(self.call(**options)))

    def call(self, **options: Any) -> Call:
        names = ("cache", "tenant", "limits", "request_id")
        changes = {name: options.pop(name) for name in names if name in options}
        made = make_call(**options)
        for name, value in changes.items():
            setattr(made, name, value)
        return made


class Gate:
    """A reply that waits."""

    def __init__(self, outcome: Any = None) -> None:
        self.open = asyncio.Event()
        self.outcome = outcome
        self.cancelled = 0

    async def __call__(self, call: Call) -> Reply:
        try:
            await self.open.wait()
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        if isinstance(self.outcome, BaseException):
            raise self.outcome
        return self.outcome or text_reply()


async def read(reply: Reply) -> list[str]:
    assert reply.stream is not None
    return [chunk.text async for chunk in reply.stream]


def source(*texts: str, **options: Any) -> Source:
    return Source(*([Chunk(text)] for text in texts), **options)


# --- sharing -----------------------------------------------------------------------------------------------------


async def test_identical_calls_share_one_and_pay_once() -> None:
    gate = Gate(
        Reply(model="m", text="hi", raw={"a": [1]}, tool_calls=[ToolCall("1")], usage=Usage(3, 2, reported=True))
    )
    house = House(gate)
    tasks = [house.ask() for _ in range(5)]
    await settle()
    gate.open.set()
    first, *others = await asyncio.gather(*tasks)
    assert len(house.backend.calls) == 1
    assert first.cache == ""
    assert [reply.cache for reply in others] == ["shared"] * 4
    assert house.usage.totals.model("m").input_tokens == 3
    assert sum(record.usage.input_tokens for record in house.records if not record.cache) == 3
    # Each has an answer of its own.
    others[0].raw["a"].append(2)
    others[0].tool_calls[0].name = "changed"
    others[0].usage.input_tokens = 99
    assert (first.raw, others[1].raw) == ({"a": [1]}, {"a": [1]})
    assert (first.tool_calls[0].name, others[1].usage.input_tokens) == ("", 3)
    assert house.state.snapshot() == {"in_flight": 0, "flown": 1, "shared": 4}


async def test_after_the_answer_the_next_call_asks_anew() -> None:
    house = House()
    await house.ask()
    await house.ask()
    assert len(house.backend.calls) == 2


@pytest.mark.parametrize(
    ("settings", "one", "other", "calls"),
    [
        ({}, {}, {"tenant": "b"}, 2),
        ({}, {}, {"limits": {"idle_timeout": 1.0}}, 2),
        ({}, {}, {"cache": "off"}, 2),
        ({}, {}, {"cache": "refresh"}, 2),
        ({}, {"priority": Priority.LOW}, {}, 1),
        ({"nondeterministic": False}, {}, {}, 2),
        ({"nondeterministic": False}, {"cache": "on"}, {"cache": "on"}, 1),
        ({"nondeterministic": False}, {"options": {"seed": 1}}, {"options": {"seed": 1}}, 1),
        ({"operations": ["embed"]}, {}, {}, 2),
        ({"operations": [Operation.CHAT]}, {}, {}, 1),
    ],
)
async def test_who_shares(settings: dict[str, Any], one: dict[str, Any], other: dict[str, Any], calls: int) -> None:
    gates = [Gate(), Gate()]
    house = House(*gates, **settings)
    tasks = [house.ask(**one), house.ask(**other)]
    await settle()
    for gate in gates:
        gate.open.set()
    await asyncio.gather(*tasks)
    assert len(house.backend.calls) == calls


def test_an_operation_that_there_is_not_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="operations must be some of: chat"):
        SingleFlight(["chatting"])


async def test_an_error_goes_to_all_and_each_has_its_own() -> None:
    gate = Gate(ServerError("down", status=500))
    house = House(gate)
    tasks = [house.ask() for _ in range(3)]
    await settle()
    gate.open.set()
    errors = await asyncio.gather(*tasks, return_exceptions=True)
    assert [(type(error), getattr(error, "status", None)) for error in errors] == [(ServerError, 500)] * 3
    assert len({id(error) for error in errors}) == 3
    assert house.usage.totals.failures == 3
    assert not house.state.flights


async def test_a_call_in_the_queue_takes_the_priority_of_who_joins_it() -> None:
    hurried: list[Priority] = []
    gate = Gate()
    house = House(gate)
    low = house.ask(priority=Priority.LOW)
    await settle()
    house.backend.calls[0].hurry = hurried.append
    normal = house.ask(priority=Priority.NORMAL)
    await settle()
    assert hurried == [Priority.NORMAL]
    gate.open.set()
    await asyncio.gather(low, normal)


# --- leaving -----------------------------------------------------------------------------------------------------


async def test_who_began_it_may_leave_and_the_next_one_pays() -> None:
    gate = Gate()
    house = House(gate)
    tasks = [house.ask() for _ in range(3)]
    await settle()
    tasks[0].cancel()
    await settle()
    assert gate.cancelled == 0
    gate.open.set()
    outcomes = await asyncio.gather(*tasks, return_exceptions=True)
    assert isinstance(outcomes[0], asyncio.CancelledError)
    assert [reply.cache for reply in outcomes[1:] if isinstance(reply, Reply)] == ["", "shared"]
    assert house.usage.totals.model("m").input_tokens == 3
    assert (house.usage.totals.cancelled, house.usage.in_flight) == (1, 0)


async def test_when_the_last_one_leaves_the_upstream_is_given_up() -> None:
    gate = Gate()
    house = House(gate)
    tasks = [house.ask() for _ in range(3)]
    await settle()
    for task in tasks:
        task.cancel()
        await settle()
    assert gate.cancelled == 1
    assert not house.state.flights
    await asyncio.gather(*tasks, return_exceptions=True)
    # Nobody joins what is given up.
    assert (await house.ask()).text == "hi"


async def test_cancelled_before_it_has_begun() -> None:
    house = House()
    task = house.ask()
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    await settle()
    assert not house.state.flights
    assert len(house.backend.calls) == 0


async def test_ones_own_deadline_holds_and_the_others_wait_on() -> None:
    gate = Gate()
    house = House(gate)
    now = asyncio.get_running_loop().time()
    patient = house.ask(deadline=now + 60)
    await settle()
    hasty = house.ask(deadline=now + 0.02)
    with pytest.raises(ReadTimeout):
        await hasty
    assert gate.cancelled == 0
    gate.open.set()
    assert (await patient).text == "hi"


async def test_who_has_more_time_than_who_began_it_asks_again() -> None:
    now = asyncio.get_running_loop().time()

    async def until_its_deadline(call: Call) -> Reply:
        await asyncio.sleep(0.03)
        raise ReadTimeout("the deadline has come")

    house = House(until_its_deadline, text_reply("again"))
    hasty = house.ask(deadline=now + 0.03)
    await settle()
    patient = house.ask(deadline=now + 60)
    with pytest.raises(ReadTimeout):
        await hasty
    assert (await patient).text == "again"
    assert len(house.backend.calls) == 2


async def test_a_flight_of_another_loop_is_nobodys() -> None:
    """As a fork, or a loop that was closed, leaves it behind."""
    house = House(Gate(), text_reply())
    task = house.ask()
    await settle()
    (flight,) = house.state.flights.values()
    flight.loop = None  # type: ignore[assignment]
    assert (await asyncio.wait_for(house.ask(), 1)).text == "hi"
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


# --- streams -----------------------------------------------------------------------------------------------------


async def test_a_stream_is_played_back_to_who_joins_late() -> None:
    upstream = source("b", "c")
    house = House(stream_reply(upstream, Chunk("a")))
    first = await house.ask(stream=True)
    assert first.stream is not None
    assert (await first.stream.__anext__()).text == "a"
    assert (await first.stream.__anext__()).text == "b"
    late = await house.ask(stream=True)
    assert late.cache == "shared"
    assert await read(late) == ["a", "b", "c"]
    assert await read(first) == ["c"]
    assert (len(house.backend.calls), upstream.aborted) == (1, 1)
    assert [(record.cache, record.usage.input_tokens) for record in house.records] == [("shared", 3), ("", 3)]
    assert house.usage.totals.model("m").input_tokens == 3


async def test_each_reads_at_its_own_pace_and_nothing_is_read_that_nobody_wants() -> None:
    upstream = source("b", "c", "d")
    house = House(stream_reply(upstream, Chunk("a")))
    fast, slow = await asyncio.gather(house.ask(stream=True), house.ask(stream=True))
    assert fast.stream is not None
    await fast.stream.__anext__()
    await fast.stream.__anext__()
    await settle()
    assert len(upstream._batches) == 2
    assert await read(slow) == ["a", "b", "c", "d"]
    assert await read(fast) == ["c", "d"]


async def test_who_began_a_stream_may_leave_it() -> None:
    upstream = source("b", "c")
    house = House(stream_reply(upstream, Chunk("a")))
    first, second, third = await asyncio.gather(*(house.ask(stream=True) for _ in range(3)))
    assert first.stream is not None
    await first.stream.__anext__()
    first.stream.abort()
    assert upstream.aborted == 0
    assert await read(second) == ["a", "b", "c"]
    assert await read(third) == ["a", "b", "c"]
    assert [(record.outcome, record.cache) for record in house.records] == [
        ("cancelled", "shared"),
        ("success", ""),
        ("success", "shared"),
    ]
    assert house.usage.totals.model("m").input_tokens == 3


async def test_a_stream_is_given_up_with_its_last_reader_also_where_it_is_forgotten() -> None:
    upstream = source("b", "c")
    house = House(stream_reply(upstream, Chunk("a")))
    first, second = await asyncio.gather(house.ask(stream=True), house.ask(stream=True))
    assert first.stream is not None
    await first.stream.__anext__()
    first.stream.abort()
    assert upstream.aborted == 0
    del first, second
    await settle()
    gc.collect()
    await settle()
    assert upstream.aborted >= 1
    assert (house.usage.in_flight, len(house.state.flights)) == (0, 0)


async def test_a_stream_left_while_its_next_chunk_is_awaited() -> None:
    upstream = source("b")
    house = House(stream_reply(upstream, Chunk("a")))
    first, second = await asyncio.gather(house.ask(stream=True), house.ask(stream=True))
    upstream.gate = asyncio.Event()
    readers = [asyncio.create_task(read(first)), asyncio.create_task(read(second))]
    await settle()
    readers[0].cancel()
    await settle()
    assert upstream.aborted == 0
    readers[1].cancel()
    await settle()
    assert upstream.aborted >= 1
    await asyncio.gather(*readers, return_exceptions=True)
    assert (house.usage.totals.cancelled, house.usage.in_flight) == (2, 0)


async def test_a_stream_that_breaks_breaks_for_all_after_what_came() -> None:
    house = House(stream_reply(source("b", error=StreamCut("broken")), Chunk("a")))
    replies = await asyncio.gather(house.ask(stream=True), house.ask(stream=True))
    for reply in replies:
        assert reply.stream is not None
        seen: list[str] = []
        with pytest.raises(StreamCut, match="broken"):
            while True:
                seen.append((await reply.stream.__anext__()).text)
        assert seen == ["a", "b"]
    assert house.usage.totals.failures == 2


async def test_a_streams_deadline_is_each_readers_own() -> None:
    upstream = source("b")
    house = House(stream_reply(upstream, Chunk("a")))
    now = asyncio.get_running_loop().time()
    patient = await house.ask(stream=True, deadline=now + 60)
    hasty = await house.ask(stream=True, deadline=now + 0.02)
    upstream.gate = asyncio.Event()
    with pytest.raises(ReadTimeout):
        await read(hasty)
    upstream.gate.set()
    assert await read(patient) == ["a", "b"]


async def test_a_reader_that_falls_too_far_behind_is_let_go_and_the_others_read_on() -> None:
    texts = ["x" * 1000] * 20
    upstream = source(*texts)
    house = House(stream_reply(upstream, Chunk("a")), most_kept=5000)
    fast, slow = await asyncio.gather(house.ask(stream=True), house.ask(stream=True))
    assert slow.stream is not None
    assert await read(fast) == ["a", *texts]
    with pytest.raises(StreamCut, match="slower than the others"):
        await slow.stream.__anext__()
    # Who comes after so much of it begins one of its own.
    assert not house.state.flights


async def test_a_long_stream_cannot_be_joined_and_is_not_kept() -> None:
    texts = ["x" * 1000] * 20
    house = House(stream_reply(source(*texts), Chunk("a")), text_reply(), most_kept=5000)
    reply = await house.ask(stream=True)
    stream = reply.stream
    assert stream is not None
    flight = next(iter(house.state.flights.values()))
    for _ in range(12):
        await stream.__anext__()
    assert flight.kept.size < 5000
    assert not house.state.flights
    assert len(await read(reply)) == 9


async def test_verbatim_bytes_are_shared_too() -> None:
    house = House(Reply(stream=stream_reply(Source([b"two"]), b"one").stream, verbatim=True))  # type: ignore[list-item, arg-type]
    one, other = await asyncio.gather(house.ask(stream=True), house.ask(stream=True))
    for reply in (one, other):
        assert reply.stream is not None
        assert b"".join([item async for item in reply.stream]) == b"onetwo"
