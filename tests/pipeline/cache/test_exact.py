"""The exact cache as a policy: what is kept, what is given again, and what is not."""

from __future__ import annotations

import asyncio
import copy
from typing import Any

import msgspec
import pytest

from ipfs_accelerate_py.errors import ServerError, StreamCut
from ipfs_accelerate_py.pipeline.cache import ExactCache, ExactCachePolicy, MemoryStore
from ipfs_accelerate_py.results import Image, Label, Moderation, Ranked, Segment, Tensor
from ipfs_accelerate_py.stream import Collector
from ipfs_accelerate_py.types import (
    Call,
    ChatRequest,
    Chunk,
    Cost,
    ImageRequest,
    InferRequest,
    Operation,
    Passthrough,
    RawRequest,
    Reply,
    Request,
    RerankRequest,
    ResponseRequest,
    StoreRequest,
    ToolCall,
    TranscriptionRequest,
    Usage,
)
from tests.pipeline.support import Backend, Clock, Source, make_call, settle, stream_reply

USAGE = Usage(7, 5, cached_tokens=2, reasoning_tokens=1, reported=True)
WHOLE = {
    "backend": "openai",
    "id": "chatcmpl-7",
    "model": "m-2024",
    "target_model": "m",
    "text": "Grüße, " + "word " * 60 + "end.",
    "reasoning": "Let me think. " * 20,
    "thinking_blocks": [{"type": "thinking", "thinking": "hm", "signature": "sig"}],
    "tool_calls": [ToolCall("c1", "add", '{"a":1}'), ToolCall("c2", "sub", "{}", 1, signature="s")],
    "images": [Image(data=b"\x89PNG", media_type="image/png")],
    "finish_reason": "tool_calls",
    "usage": USAGE,
}


def a_whole_reply(**changes: Any) -> Reply:
    return Reply(**copy.deepcopy({**WHOLE, **changes}))


def policy(backend: Any, **options: Any) -> ExactCachePolicy:
    return ExactCachePolicy(backend, ExactCache(**options))


def ask(request: Request, **fields: Any) -> Call:
    return Call(operation=request.operation, request=request, request_id="req_test", **fields)


async def read(reply: Reply) -> list[Any]:
    assert reply.stream is not None
    return [item async for item in reply.stream]


def same_answer(one: Reply, other: Reply) -> bool:
    return all(getattr(one, name) == getattr(other, name) for name in WHOLE)


# --- given again ---------------------------------------------------------------------------------------------------


async def test_the_second_time_nobody_is_asked() -> None:
    backend = Backend(a_whole_reply(raw={"id": "chatcmpl-7", "choices": [1, 2.5, None]}))
    asked = policy(backend)
    first = await asked(make_call())
    second = await asked(make_call())
    assert len(backend.calls) == 1
    assert same_answer(first, second)
    assert second.raw == first.raw
    assert (first.cache, second.cache, second.attempts, second.key_name, second.cost) == (
        "",
        "exact",
        0,
        None,
        Cost(0.0),
    )
    found = asked.cache.snapshot()
    assert (found["hits"], found["misses"], found["hit_rate"], found["tokens_saved"], found["kept"]) == (
        1,
        1,
        0.5,
        12,
        1,
    )


async def test_what_one_caller_does_to_his_answer_nobody_else_sees() -> None:
    asked = policy(Backend(a_whole_reply(raw={"list": [1]})))
    for _ in range(3):
        reply = await asked(make_call())
        assert (reply.raw, len(reply.tool_calls)) == ({"list": [1]}, 2)
        reply.raw["list"].append("mine")
        reply.tool_calls.clear()
        reply.thinking_blocks[0]["signature"] = "changed"
        reply.usage.input_tokens = 10**9
    assert asked.cache.stats.tokens_saved == 24


@pytest.mark.parametrize("kept_as_stream", [False, True])
async def test_an_answer_is_given_again_as_a_stream_or_whole(kept_as_stream: bool) -> None:
    whole = a_whole_reply()
    if kept_as_stream:
        chunks = [
            Chunk(reasoning=whole.reasoning, model="m-2024"),
            Chunk(thinking_blocks=whole.thinking_blocks),
            *[Chunk(text=whole.text[at : at + 7]) for at in range(0, len(whole.text), 7)],
            Chunk(images=whole.images),
            Chunk(tool_calls=[ToolCall("c1", "add", '{"a"')]),
            Chunk(tool_calls=[ToolCall(arguments=":1}"), ToolCall("c2", "sub", "{}", 1, signature="s")]),
            Chunk(finish_reason="tool_calls"),
            Chunk(usage=USAGE),
        ]
        begun = stream_reply(Source(chunks[2:], usage=USAGE), *chunks[:2])
        assert begun.stream is not None
        begun.stream._source.finish_reason = "tool_calls"  # type: ignore[misc]
        begun.backend, begun.id, begun.target_model = "openai", "chatcmpl-7", "m"
        backend = Backend(begun)
        asked = policy(backend)
        assert len(await read(await asked(make_call(stream=True)))) == len(chunks)
    else:
        backend = Backend(whole)
        asked = policy(backend)
        await asked(make_call())
    unary = await asked(make_call())
    assert same_answer(unary, whole)
    streamed = await asked(make_call(stream=True))
    assert (streamed.cache, streamed.backend, streamed.id) == ("exact", "openai", "chatcmpl-7")
    pieces = await read(streamed)
    assert len(pieces) > 8
    assert max(len(piece.text) for piece in pieces) < 100
    collector = Collector()
    for piece in pieces:
        collector.add(piece)
    made = collector.reply(streamed)
    made.id, made.target_model = streamed.id, streamed.target_model
    assert same_answer(made, whole)
    assert streamed.stream is not None
    end = streamed.stream
    assert (end.usage, end.finish_reason, end.model) == (USAGE, "tool_calls", "m-2024")
    assert len(backend.calls) == 1


async def test_several_choices_and_probabilities_are_kept_as_they_came() -> None:
    for options in ({"n": 2}, {"logprobs": True}):
        chunks = [Chunk(text="a", data=b'{"x":1}'), Chunk(text="b", index=1), Chunk(finish_reason="stop", index=1)]
        backend = Backend(stream_reply(Source(chunks[1:]), chunks[0]), a_whole_reply(finish_reason="stop"))
        asked = policy(backend)
        await read(await asked(make_call(stream=True, options=options)))
        again = await read(await asked(make_call(stream=True, options=options)))
        assert [(piece.text, piece.index, piece.data) for piece in again] == [
            (piece.text, piece.index, piece.data) for piece in chunks
        ]
        assert (await asked(make_call(options=options))).cache == ""  # a whole answer is another thing
        assert (await asked(make_call(options=options))).cache == "exact"


async def test_forwarded_answers_are_forwarded_again() -> None:
    body = b'{"id":"x", "choices":[{"finish_reason": "stop"}]}'
    passed = Passthrough("openai", b'{"model":"m","messages":[]}')
    streaming = Passthrough("openai", b'{"model":"m","messages":[],"stream":true}')
    events = [b'data: {"a":1}\n\n', b"data: {" + b" " * 3000 + b"}\n\n", b"data: [DONE]\n\n"]
    begun = stream_reply(Source(events[1:], usage=USAGE), events[0])  # type: ignore[arg-type]
    begun.verbatim, begun.content_type = True, "text/event-stream; charset=utf-8"
    backend = Backend(Reply(verbatim=True, body=body, usage=USAGE, model="m"), begun)
    asked = policy(backend)
    first = await asked(ask(ChatRequest("m", []), passthrough=passed))
    second = await asked(ask(ChatRequest("m", []), passthrough=passed))
    assert (second.cache, second.verbatim, second.body, second.usage) == ("exact", True, first.body, USAGE)
    await read(await asked(ask(ChatRequest("m", []), passthrough=streaming, stream=True)))
    again = await asked(ask(ChatRequest("m", []), passthrough=streaming, stream=True))
    assert (again.cache, again.verbatim, again.content_type) == ("exact", True, "text/event-stream; charset=utf-8")
    assert b"".join(await read(again)) == b"".join(events)
    assert again.stream is not None
    assert again.stream.usage == USAGE
    for other in (Passthrough("anthropic", passed.body), Passthrough("openai", passed.body + b" ")):
        assert (await asked(ask(ChatRequest("m", []), passthrough=other))).cache == ""


async def test_every_kind_of_answer_comes_back_whole() -> None:
    answers: list[tuple[Request, dict[str, Any]]] = [
        (RerankRequest("m", "q", ["a"]), {"ranking": [Ranked(0, 0.5, {"text": "a"})]}),
        (ImageRequest("m", "p"), {"images": [Image(data=b"\x00\xff", media_type="image/png", prompt="p")]}),
        (TranscriptionRequest("m", b"RIFF" * 100), {"text": "t", "segments": [Segment(0.0, 1.5, "t", "A")]}),
        (InferRequest("m", [Tensor("x", [1], "FP32", [1.0])]), {"tensors": [Tensor("y", [2], "BYTES", b"\0\1")]}),
        (ResponseRequest("m", "hi"), {"text": "t", "raw": {"status": "completed", "output": [{"type": "message"}]}}),
    ]
    for request, fields in answers:
        asked = policy(Backend(Reply(model="m", usage=USAGE, **fields)))
        await asked(ask(request))
        again = await asked(ask(request))
        assert again.cache == "exact", request
        assert {name: getattr(again, name) for name in fields} == fields
    more: dict[str, Any] = {
        "labels": [[Label("a", 0.9)]],
        "moderations": [Moderation(True, {"hate": True}, {"hate": 0.9})],
    }
    asked = policy(Backend(Reply(**more, body=b"\xffsound", content_type="audio/mpeg")))
    call = ask(RerankRequest("m", "q", ["a"]))
    await asked(call)
    again = await asked(call)
    assert {name: getattr(again, name) for name in more} == more
    assert (again.body, again.content_type) == (b"\xffsound", "audio/mpeg")


# --- not kept ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "reply",
    [
        {"text": "cut off by", "finish_reason": "content_filter"},
        {"text": "x", "finish_reason": "pause_turn"},
        {"text": "", "finish_reason": "stop"},
        {"text": "x", "refusal": "I will not", "finish_reason": "stop"},
        {"verbatim": True, "body": b'{"choices":[{"finish_reason":"content_filter"}]}'},
        {"verbatim": True, "body": b'{"stop_reason" : "refusal","content":[]}'},
        {"verbatim": True, "body": b'{"candidates":[{"finishReason":"SAFETY"}]}'},
        {"verbatim": True, "body": b'{"promptFeedback":{"blockReason":"OTHER"}}'},
        {"verbatim": True, "body": b'{"status":"incomplete","output":[]}'},
        {"text": "x", "raw": {"number": 2**70}},
        {"text": "x" * 2000},
        {"text": "x", "cache": "shared"},
    ],
)
async def test_an_answer_that_is_not_good_is_not_kept(reply: dict[str, Any]) -> None:
    backend = Backend(Reply(**reply), Reply(text="good", finish_reason="stop"))
    asked = policy(backend, max_entry_bytes=1500)
    await asked(make_call())
    assert (await asked(make_call())).cache == ""
    assert (await asked(make_call())).cache == "exact"


async def test_length_is_a_good_end_and_words_in_a_text_are_no_fields() -> None:
    said = b'{"choices":[{"message":{"content":"\\"finish_reason\\": \\"content_filter\\""},"finish_reason":"length"}]}'
    for reply in (Reply(text="x", finish_reason="length"), Reply(verbatim=True, body=said)):
        asked = policy(Backend(reply))
        await asked(make_call())
        assert (await asked(make_call())).cache == "exact"


async def test_addresses_of_images_end_before_a_cache_does() -> None:
    asked = policy(Backend(Reply(images=[Image(url="https://x/1.png")]), Reply(images=[Image(url="https://x/2.png")])))
    await asked(ask(ImageRequest("m", "p")))
    assert (await asked(ask(ImageRequest("m", "p")))).images[0].url == "https://x/2.png"


async def test_errors_are_not_kept() -> None:
    asked = policy(Backend(ServerError("down")))
    with pytest.raises(ServerError):
        await asked(make_call())
    assert (await asked(make_call())).cache == ""


async def test_a_stream_that_breaks_or_is_left_is_not_kept() -> None:
    good = [Chunk(text="a"), Chunk(finish_reason="stop")]
    broken = stream_reply(Source([Chunk(text="b")], error=StreamCut("cut")), Chunk(text="a"))
    left = stream_reply(Source([Chunk(text="b")], good), Chunk(text="a"))
    dropped = stream_reply(Source([Chunk(text="b")], good), Chunk(text="a"))
    filtered = stream_reply(Source([Chunk(finish_reason="content_filter")]), Chunk(text="a"))
    assert filtered.stream is not None
    filtered.stream._source.finish_reason = "content_filter"  # type: ignore[misc]
    backend = Backend(broken, left, dropped, filtered, stream_reply(Source(good[1:]), good[0]))
    asked = policy(backend)
    with pytest.raises(StreamCut):
        await read(await asked(make_call(stream=True)))
    reply = await asked(make_call(stream=True))
    assert reply.stream is not None
    async with reply.stream as stream:
        await stream.next_batch()
    reply = await asked(make_call(stream=True))
    assert reply.stream is not None
    reply.stream.abort()
    await read(await asked(make_call(stream=True)))
    assert asked.cache.snapshot()["entries"] == 0
    assert asked.cache.stats.not_kept == 4
    await read(await asked(make_call(stream=True)))
    assert (await asked(make_call())).text == "a"


async def test_a_stream_that_begins_anew_is_kept_without_what_came_before() -> None:
    source = Source([Chunk(text="new", restart=True), Chunk(finish_reason="stop")])
    asked = policy(Backend(stream_reply(source, Chunk(text="old"))))
    await read(await asked(make_call(stream=True)))
    assert (await asked(make_call())).text == "new"


async def test_a_large_stream_is_given_up_and_not_held() -> None:
    pieces = [Chunk(text="x" * 100) for _ in range(100)]
    asked = policy(Backend(stream_reply(Source(pieces), Chunk(text="a"))), max_entry_bytes=2000)
    assert len(await read(await asked(make_call(stream=True)))) == 101
    assert asked.cache.snapshot()["entries"] == 0


async def test_a_call_that_is_cancelled_keeps_nothing() -> None:
    started = asyncio.Event()

    async def never(call: Call) -> Reply:
        started.set()
        await asyncio.Event().wait()
        raise AssertionError

    asked = policy(never)
    task = asyncio.create_task(asked(make_call()))
    await started.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await settle()
    assert asked.cache.snapshot()["entries"] == 0


# --- what the caller and the settings say --------------------------------------------------------------------------


def with_cache(wish: str, **options: Any) -> Call:
    call = make_call(**options)
    call.cache = wish
    return call


async def test_a_call_may_say_otherwise() -> None:
    backend = Backend(*(Reply(text=f"answer {number}", finish_reason="stop") for number in range(9)))
    asked = policy(backend)
    assert (await asked(with_cache("off"))).text == "answer 0"
    assert (await asked(make_call())).text == "answer 1"  # what was said with "off" was not kept
    assert (await asked(with_cache("off"))).text == "answer 2"
    assert (await asked(make_call())).text == "answer 1"
    assert (await asked(with_cache("refresh"))).text == "answer 3"
    assert (await asked(make_call())).text == "answer 3"
    assert (await asked(with_cache("on"))).text == "answer 3"
    assert asked.cache.stats.bypassed == 2


async def test_only_what_is_answered_the_same_each_time() -> None:
    asked = policy(Backend(), only_deterministic=True)
    for options, kept in (({}, False), ({"temperature": 0.7}, False), ({"temperature": 0}, True), ({"seed": 1}, True)):
        await asked(make_call(options=options))
        assert (await asked(make_call(options=options))).cache == ("exact" if kept else ""), options
    await asked(with_cache("on"))
    assert (await asked(with_cache("on"))).cache == "exact"


async def test_only_who_asks_for_it() -> None:
    asked = policy(Backend(), opt_in=True)
    await asked(make_call())
    assert (await asked(make_call())).cache == ""
    await asked(with_cache("on"))
    assert (await asked(with_cache("on"))).cache == "exact"


async def test_time_to_live() -> None:
    clock = Clock()
    asked = policy(Backend(), store=MemoryStore(clock=clock), ttl=60)
    await asked(make_call())
    clock.advance(59)
    assert (await asked(make_call())).cache == "exact"
    clock.advance(2)
    assert (await asked(make_call())).cache == ""


@pytest.mark.parametrize(
    "request_",
    [StoreRequest("upload_file", {"a": 1}), RawRequest("/x", {}, "POST"), RawRequest("/x", None, "GET")],
)
async def test_what_changes_something_is_never_kept(request_: Request) -> None:
    backend = Backend()
    asked = policy(backend)
    for _ in range(2):
        assert (await asked(ask(request_, cache="on"))).cache == ""
    assert len(backend.calls) == 2


async def test_clearing_by_tenant_and_model() -> None:
    asked = policy(Backend())

    async def state() -> list[str]:
        found = []
        for tenant in ("a", "b"):
            for model in ("m", "n"):
                call = make_call(model=model)
                call.tenant, call.cache = tenant, "on"
                found.append((await asked(call)).cache)
        return found

    await state()
    assert await state() == ["exact"] * 4
    assert await asked.cache.clear(tenant="a", model="n") == 1
    assert await state() == ["exact", "", "exact", "exact"]
    assert await asked.cache.clear(model="m") == 2
    assert await state() == ["", "exact", "", "exact"]
    assert await asked.cache.clear() == 4


async def test_what_cannot_be_read_any_more_is_asked_anew() -> None:
    store = MemoryStore()
    asked = policy(Backend(), store=store)
    await asked(make_call())
    [key] = store._entries
    for junk in (b"", b"\xff\xff", msgspec.msgpack.encode([999, "x"]), msgspec.msgpack.encode({"a": 1})):
        store.put(key, junk, None)
        assert (await asked(make_call())).cache == ""
        assert (await asked(make_call())).cache == "exact"


async def test_money_saved() -> None:
    class Prices:
        def cost(self, backend: str, model: str, usage: Usage) -> Cost | None:
            assert (backend, model) == ("openai", "m")
            return Cost(0.001 * usage.total_tokens)

        def estimate(self, call: Call, backend: str, model: str) -> float | None:
            return None

    asked = policy(Backend(a_whole_reply()), pricer=Prices)
    for _ in range(3):
        await asked(make_call())
    assert asked.cache.snapshot()["cost_saved"] == pytest.approx(0.024)


def test_the_operations_are_all_decided_on() -> None:
    from ipfs_accelerate_py.pipeline.cache.answers import OPERATIONS

    never = {Operation.STORE, Operation.MODELS, Operation.RAW, Operation.TASK}
    assert OPERATIONS.isdisjoint(never)
    asked_for_batches = {each for each in Operation if each.value == "batch"}
    assert OPERATIONS | never | asked_for_batches == set(Operation)
