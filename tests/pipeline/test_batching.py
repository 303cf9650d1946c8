"""Callers merged: who goes together, who waits how long, who gets what; and who leaves, fails or is too large."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ipfs_accelerate_py.errors import (
    AccelerateError,
    InvalidRequest,
    ModelNotFound,
    QueueTimeout,
    RateLimited,
    ReadTimeout,
)
from ipfs_accelerate_py.pipeline.batching.shares import apportioned
from ipfs_accelerate_py.types import Call, EmbedRequest, Operation, Passthrough, Priority, Reply, Request
from tests.pipeline.batching_support import (
    Upstream,
    asking,
    batching,
    embed,
    idle,
    rerank,
    score_of,
    strategy,
    vector_of,
)
from tests.pipeline.support import settle

pytestmark = pytest.mark.virtual_time


async def together(policy: Any, *calls: Call) -> list[Any]:
    return await asyncio.gather(*(policy(call) for call in calls), return_exceptions=True)


# --- who goes together -------------------------------------------------------------------------------------------


async def test_callers_of_one_moment_go_together_and_each_has_its_own() -> None:
    upstream = Upstream()
    upstream.tokens = lambda items: 100
    policy = batching(upstream)
    texts = [["a"], ["bb", "ccc"], ["d" * 40]]
    replies = await together(policy, *(embed(*each) for each in texts))
    assert upstream.sizes == [4]
    for reply, own in zip(replies, texts, strict=True):
        assert reply.vectors == [vector_of(text) for text in own]
        assert [entry["index"] for entry in reply.raw["data"]] == list(range(len(own)))
        assert reply.raw["usage"]["total_tokens"] == reply.usage.input_tokens
        assert not reply.verbatim
    assert sum(reply.usage.input_tokens for reply in replies) == 100
    assert replies[2].usage.input_tokens > replies[1].usage.input_tokens > replies[0].usage.input_tokens
    assert len({id(reply) for reply in replies}) == 3
    assert policy.batcher.totals.snapshot()["avg_batch_size"] == 3.0
    assert idle(policy)


async def test_a_lone_caller_waits_for_nobody_and_its_call_is_its_own() -> None:
    upstream = Upstream()
    policy = batching(upstream, wait=60)
    call = embed("a")
    async with asyncio.timeout(1):
        assert (await policy(call)).vectors == [vector_of("a")]
        await policy(embed("b"))
    assert upstream.calls[0] is call
    assert policy.batcher.totals.alone == 2
    assert idle(policy)


async def test_while_one_is_under_way_the_others_gather_until_it_is_back() -> None:
    upstream = Upstream()
    upstream.gate = asyncio.Event()
    policy = batching(upstream, wait=60)
    first = asyncio.create_task(policy(embed("a")))
    await settle()
    others = [asyncio.create_task(policy(embed(str(n)))) for n in range(5)]
    await settle()
    assert upstream.sizes == [1]
    assert policy.batcher.snapshot()["waiting"] == 5
    upstream.gate.set()
    replies = await asyncio.gather(first, *others)
    assert upstream.sizes == [1, 5]
    assert [reply.vectors[0] for reply in replies[1:]] == [vector_of(str(n)) for n in range(5)]
    assert idle(policy)


async def test_the_window_is_the_longest_wait() -> None:
    upstream = Upstream()
    upstream.gate = asyncio.Event()
    policy = batching(upstream, wait=0.02)
    tasks = [asyncio.create_task(policy(embed("a")))]
    await settle()
    tasks += [asyncio.create_task(policy(embed(str(n)))) for n in range(3)]
    async with asyncio.timeout(2):
        while len(upstream.calls) < 2:  # noqa: ASYNC110
            await asyncio.sleep(0.002)
    assert upstream.sizes == [1, 3]
    assert upstream.running == 2
    upstream.gate.set()
    await asyncio.gather(*tasks)
    assert upstream.calls[0].queued == 0.0


async def test_a_full_batch_goes_at_once() -> None:
    upstream = Upstream()
    policy = batching(upstream, max_items=4, wait=60)
    await together(policy, *(embed(str(n)) for n in range(10)))
    assert upstream.sizes == [4, 4, 2]
    assert policy.batcher.totals.largest == 4


async def test_tokens_fill_a_batch_too() -> None:
    upstream = Upstream()
    policy = batching(upstream, max_tokens=250)
    await together(policy, *(embed("x" * 400) for n in range(5)))
    assert upstream.sizes == [2, 2, 1]


@pytest.mark.parametrize(
    "other",
    [
        {"model": "n"},
        {"options": {"dimensions": 8}},
        {"tenant": "b"},
        {"key_name": "k"},
        {"key_strategy": "least-loaded"},
        {"priority": Priority.LOW},
        {"headers": {"x-a": "1"}},
        {"limits": {"first_byte_timeout": 3.0}},
        {"session": "s"},
        {"alias": "other"},
        {"patience": 1.0},
        {"cache": "refresh"},
    ],
    ids=lambda given: next(iter(given)),
)
async def test_only_what_is_asked_alike_goes_together(other: dict[str, Any]) -> None:
    upstream = Upstream()
    policy = batching(upstream)
    await together(policy, embed("a"), embed("b", **other), embed("c"), embed("d", **other))
    assert sorted(upstream.sizes) == [2, 2]
    for call in upstream.calls:
        named = {name: value for name, value in other.items() if name not in ("model", "options")}
        assert all(getattr(call, name) in (value, Call.__struct_defaults__ and getattr(embed("x"), name))
                   for name, value in named.items())  # fmt: skip


async def test_options_are_alike_in_any_order() -> None:
    upstream = Upstream()
    await together(batching(upstream), embed("a", options={"x": 1, "y": [2]}), embed("b", options={"y": [2], "x": 1}))
    assert upstream.sizes == [2]
    assert upstream.calls[0].request.options == {"x": 1, "y": [2]}


async def test_what_cannot_be_merged_goes_by_itself() -> None:
    upstream = Upstream()
    policy = batching(upstream)
    calls = [
        embed({"image": "..."}),
        embed("a", options={"strange": object()}),
        asking(Operation.MODERATE, [{"type": "text", "text": "x"}]),
        embed("b", passthrough=Passthrough("openai", b"{}")),
    ]
    upstream.answer = lambda call: Reply(body=b"own")  # type: ignore[method-assign]
    replies = await together(policy, *calls)
    assert [reply.body for reply in replies] == [b"own"] * 4
    assert {id(call) for call in upstream.calls} == {id(call) for call in calls}
    assert policy.batcher.totals.apart == 4


async def test_forwarded_bodies_are_written_anew_to_be_merged() -> None:
    class Variants:
        def __init__(self, text: str) -> None:
            self.text = text

        def __call__(
            self, dialect: str | None, operations: Any, model: str, stream_usage: bool
        ) -> tuple[Request, Passthrough | None]:
            assert (dialect, operations, stream_usage) == (None, None, False)
            return EmbedRequest(model, [self.text], {}), None

    upstream = Upstream()
    policy = batching(upstream)
    calls = [
        Call(
            operation=Operation.EMBED, request=EmbedRequest("m", []), request_id=str(n),
            passthrough=Passthrough("openai", b"{}"), variants=Variants(f"text {n}"),
        )
        for n in range(3)
    ]  # fmt: skip
    replies = await together(policy, *calls)
    assert upstream.sizes == [3]
    assert upstream.calls[0].passthrough is None
    assert [reply.vectors for reply in replies] == [[vector_of(f"text {n}")] for n in range(3)]
    assert calls[0].passthrough is not None


# --- the other operations ----------------------------------------------------------------------------------------


async def test_rankings_of_one_query_are_merged_and_everybody_has_the_ranking_it_would_have_had() -> None:
    upstream = Upstream()
    policy = batching(upstream)
    wanted = [(["a", "b", "c"], None), (["d", "e"], 1), (["f"], None), (["g", "h", "i", "j"], 3)]
    calls = [rerank("q", *documents, options={} if n is None else {"top_n": n}) for documents, n in wanted]
    replies = await together(policy, *calls, rerank("another", "a"))
    assert sorted(upstream.sizes) == [1, 10]
    for reply, (documents, most) in zip(replies, wanted, strict=False):
        scores = sorted(((score_of("q", text), -place) for place, text in enumerate(documents)), reverse=True)
        assert [(each.score, -each.index) for each in reply.ranking] == scores[:most]


async def test_a_ranking_with_places_missing_is_given_to_nobody() -> None:
    upstream = Upstream()
    whole = upstream.answer

    def some(call: Call) -> Reply:
        reply = whole(call)
        if len(Upstream.items(call)) > 2:
            reply.ranking = reply.ranking[:2]
        return reply

    upstream.answer = some  # type: ignore[method-assign]
    replies = await together(batching(upstream), rerank("q", "a", "b"), rerank("q", "c", "d"))
    assert upstream.sizes == [4, 2, 2]
    assert all(sorted(each.index for each in reply.ranking) == [0, 1] for reply in replies)


async def test_labels_and_verdicts() -> None:
    upstream = Upstream()
    policy = batching(upstream)
    labels = await together(policy, *(asking(Operation.CLASSIFY, [f"t{n}", ["a", "b"]]) for n in range(3)))
    assert [reply.labels[0][0].label for reply in labels] == [f"label of t{n}" for n in range(3)]
    verdicts = await together(
        policy, asking(Operation.MODERATE, ["good", "bad"]), asking(Operation.MODERATE, ["bad", "good"])
    )
    assert [[each.flagged for each in reply.moderations] for reply in verdicts] == [[False, True], [True, False]]
    assert upstream.sizes == [6, 4]


async def test_operations_may_be_left_out() -> None:
    upstream = Upstream()
    policy = batching(upstream, operations=[Operation.EMBED])
    await together(policy, asking(Operation.CLASSIFY, ["a"]), asking(Operation.CLASSIFY, ["b"]))
    assert upstream.sizes == [1, 1]


# --- exact ---------------------------------------------------------------------------------------------------------


@given(st.integers(0, 10**6), st.lists(st.integers(0, 5000), min_size=1, max_size=40))
def test_shares_sum_exactly_and_are_fair(total: int, weights: list[int]) -> None:
    shares = apportioned(total, weights)
    assert sum(shares) == total
    whole = sum(weights)
    for share, weight in zip(shares, weights, strict=True):
        fair = total * weight / whole if whole else total / len(weights)
        assert abs(share - fair) < 1


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.lists(st.text(min_size=1, max_size=30), min_size=1, max_size=6), min_size=1, max_size=25),
    st.integers(1, 12),
    st.integers(1, 40),
    st.integers(0, 10**5),
    st.sets(st.integers(0, 24)),
)
def test_everybody_has_exactly_its_own(
    texts: list[list[str]], most: int, tokens: int, total: int, leaving: set[int]
) -> None:
    """Whatever the sizes, the limits, and who leaves meanwhile."""

    async def run() -> None:
        upstream = Upstream()
        upstream.tokens = lambda items: total % (len(items) * 97)
        policy = batching(upstream, given=strategy(max_items=most, max_tokens=tokens, max_wait=0.001))
        tasks = [asyncio.create_task(policy(embed(*own))) for own in texts]
        await asyncio.sleep(0)
        for place in leaving & set(range(len(tasks))):
            tasks[place].cancel()
        replies = await asyncio.gather(*tasks, return_exceptions=True)
        used = 0
        for place, (own, reply) in enumerate(zip(texts, replies, strict=True)):
            if place in leaving:
                assert isinstance(reply, asyncio.CancelledError)
                continue
            assert isinstance(reply, Reply)
            assert reply.vectors == [vector_of(text) for text in own]
            used += reply.usage.input_tokens
        assert used <= sum(total % (size * 97) for size in upstream.sizes)
        if not leaving:
            assert used == sum(total % (size * 97) for size in upstream.sizes)
            assert [text for call in upstream.calls for text in Upstream.items(call)].sort() == [
                text for own in texts for text in own
            ].sort()
        assert all(size <= most for size in upstream.sizes)
        await settle()
        assert idle(policy)

    asyncio.run(run())


async def test_a_thousand_callers() -> None:
    upstream = Upstream()
    policy = batching(upstream, max_items=64)
    replies = await together(policy, *(embed(f"text number {n}") for n in range(1000)))
    assert [reply.vectors for reply in replies] == [[vector_of(f"text number {n}")] for n in range(1000)]
    assert len(upstream.calls) == 16
    assert policy.batcher.totals.requests == 1000
    assert idle(policy)


# --- too large ----------------------------------------------------------------------------------------------------


async def test_a_call_that_is_too_large_is_cut_and_put_together_again() -> None:
    upstream = Upstream()
    upstream.tokens = lambda items: 7 * len(items)
    policy = batching(upstream, given=strategy(max_items=10))
    texts = [f"t{n}" * (n % 5 + 1) for n in range(95)]
    reply = await policy(embed(*texts))
    assert sorted(upstream.sizes) == [5, *[10] * 9]
    assert reply.vectors == [vector_of(text) for text in texts]
    assert reply.usage.input_tokens == 95 * 7
    assert [entry["index"] for entry in reply.raw["data"]] == list(range(95))
    assert policy.batcher.snapshot()["split_parts"] == 10


async def test_a_large_ranking_is_cut_too() -> None:
    upstream = Upstream()
    policy = batching(upstream, given=strategy(max_items=3))
    documents = [f"document {n}" for n in range(10)]
    reply = await policy(rerank("q", *documents, options={"top_n": 4}))
    best = sorted(range(10), key=lambda place: -score_of("q", documents[place]))[:4]
    assert [each.score for each in reply.ranking] == [score_of("q", documents[place]) for place in best]
    assert all(each.score == score_of("q", documents[each.index]) for each in reply.ranking)


async def test_an_error_of_one_part_is_the_calls_and_ends_the_others() -> None:
    upstream = Upstream(lambda call: RateLimited("Rate limit: slow down") if "t3" in Upstream.items(call) else None)
    policy = batching(upstream, given=strategy(max_items=1))
    with pytest.raises(RateLimited):
        await policy(embed(*(f"t{n}" for n in range(100))))
    assert len(upstream.calls) < 20
    assert upstream.running == 0


# --- errors -------------------------------------------------------------------------------------------------------


def refusing(*bad: str, status: int = 400) -> Any:
    def refuse(call: Call) -> AccelerateError | None:
        found = [text for text in Upstream.items(call) if text in bad]
        return InvalidRequest(f"{found[0]} is refused", status=status, param="input") if found else None

    return refuse


@pytest.mark.parametrize("status", [400, 413, 422])
@pytest.mark.parametrize("count", [2, 3, 16, 64])
async def test_one_bad_input_fails_alone(count: int, status: int) -> None:
    bad = count * 2 // 3
    upstream = Upstream(refusing(f"t{bad}", status=status))
    policy = batching(upstream)
    replies = await together(policy, *(embed(f"t{n}") for n in range(count)))
    for place, reply in enumerate(replies):
        if place == bad:
            assert isinstance(reply, InvalidRequest)
            assert reply.status == status
        else:
            assert reply.vectors == [vector_of(f"t{place}")]
    assert len(upstream.calls) <= 2 * count.bit_length() + 1
    assert idle(policy)


async def test_extra_calls_are_bounded_where_all_are_bad() -> None:
    upstream = Upstream(lambda call: InvalidRequest("no", status=400))
    policy = batching(upstream)
    replies = await together(policy, *(embed(f"t{n}") for n in range(64)))
    assert all(isinstance(reply, InvalidRequest) for reply in replies)
    assert len({id(reply) for reply in replies}) == 64
    assert len(upstream.calls) <= 64 + 16


async def test_what_all_have_in_common_is_not_looked_for_in_halves() -> None:
    for error in (
        InvalidRequest("dimensions must be at most 3", status=400, param="dimensions"),
        ModelNotFound("no such model", status=404),
    ):
        upstream = Upstream(lambda call, error=error: error)  # type: ignore[misc]
        replies = await together(batching(upstream), *(embed(f"t{n}", options={"dimensions": 5}) for n in range(8)))
        assert [type(reply) for reply in replies] == [type(error)] * 8
        assert len(upstream.calls) == 1


async def test_a_limit_of_the_service_that_nobody_knew_is_found_and_kept_to() -> None:
    upstream = Upstream(lambda call: InvalidRequest("too many", status=422) if len(Upstream.items(call)) > 16 else None)
    policy = batching(upstream)
    replies = await together(policy, *(embed(f"t{n}") for n in range(24)))
    assert upstream.sizes == [24, 12, 12]
    assert all(isinstance(reply, Reply) for reply in replies)
    upstream.calls.clear()
    await together(policy, *(embed(f"t{n}") for n in range(24)))
    assert upstream.sizes == [12, 12]


async def test_other_errors_are_everybodys_with_their_verdict() -> None:
    upstream = Upstream(lambda call: RateLimited("Rate limit: later", status=429, retry_after=7.0))
    replies = await together(batching(upstream), *(embed(f"t{n}") for n in range(5)))
    assert len(upstream.calls) == 1
    assert all(isinstance(reply, RateLimited) and reply.retry_after == 7.0 for reply in replies)
    assert len({id(reply) for reply in replies}) == 5
    upstream.refuse = lambda call: (_ for _ in ()).throw(RuntimeError("a mistake of ours"))
    replies = await together(batching(upstream), embed("a"), embed("b"))
    assert all(isinstance(reply, RuntimeError) for reply in replies)


# --- leaving ------------------------------------------------------------------------------------------------------


async def test_who_leaves_before_it_is_sent_is_taken_out() -> None:
    upstream = Upstream()
    upstream.gate = asyncio.Event()
    policy = batching(upstream, wait=60)
    first = asyncio.create_task(policy(embed("a")))
    await settle()
    tasks = [asyncio.create_task(policy(embed(str(n)))) for n in range(4)]
    await settle()
    tasks[1].cancel()
    tasks[2].cancel()
    await settle()
    upstream.gate.set()
    await first
    replies = await asyncio.gather(*tasks, return_exceptions=True)
    assert [Upstream.items(call) for call in upstream.calls] == [["a"], ["0", "3"]]
    assert [isinstance(reply, Reply) for reply in replies] == [True, False, False, True]
    assert policy.batcher.totals.left == 2
    assert idle(policy)


async def test_who_leaves_later_loses_its_part_and_the_last_one_ends_the_call() -> None:
    upstream = Upstream()
    upstream.gate = asyncio.Event()
    policy = batching(upstream)
    tasks = [asyncio.create_task(policy(embed(str(n)))) for n in range(3)]
    await settle()
    tasks[0].cancel()
    await settle()
    assert upstream.running == 1
    tasks[1].cancel()
    tasks[2].cancel()
    await settle()
    assert (upstream.running, upstream.cancelled) == (0, 1)
    assert idle(policy)
    more = [asyncio.create_task(policy(embed(str(n)))) for n in range(3)]
    await settle()
    more[1].cancel()
    upstream.gate.set()
    replies = await asyncio.gather(*more, return_exceptions=True)
    assert replies[0].vectors == [vector_of("0")]  # type: ignore[union-attr]
    assert replies[2].vectors == [vector_of("2")]  # type: ignore[union-attr]
    assert idle(policy)


async def test_who_leaves_in_the_moment_in_which_it_may_go_alone() -> None:
    upstream = Upstream()
    policy = batching(upstream)
    task = asyncio.create_task(policy(embed("a")))
    await asyncio.sleep(0)
    asyncio.get_running_loop().call_soon(task.cancel)
    await asyncio.gather(task, return_exceptions=True)
    await settle()
    assert idle(policy)
    assert (await policy(embed("b"))).vectors == [vector_of("b")]


async def test_each_keeps_to_its_own_limit_of_time() -> None:
    upstream = Upstream()
    upstream.gate = asyncio.Event()
    policy = batching(upstream)
    patient = embed("b", seconds=50)
    tasks = [asyncio.create_task(policy(call)) for call in (embed("a", seconds=0.03), patient, embed("c", seconds=20))]
    with pytest.raises(ReadTimeout, match="part of"):
        await tasks[0]
    assert upstream.calls[0].deadline == patient.deadline
    upstream.gate.set()
    assert [len(reply.vectors) for reply in await asyncio.gather(*tasks[1:])] == [1, 1]
    assert idle(policy)


async def test_a_limit_of_time_that_comes_before_the_batch_goes() -> None:
    upstream = Upstream()
    upstream.gate = asyncio.Event()
    policy = batching(upstream, wait=60)
    first = asyncio.create_task(policy(embed("a")))
    await settle()
    with pytest.raises(QueueTimeout, match="sent"):
        await policy(embed("b", seconds=0.02))
    upstream.gate.set()
    await first
    assert upstream.sizes == [1]
    assert idle(policy)


async def test_one_without_a_limit_of_time_makes_the_call_without() -> None:
    upstream = Upstream()
    await together(batching(upstream), embed("a", seconds=5), asking(Operation.EMBED, ["b"], seconds=None))
    assert upstream.calls[0].deadline is None


def test_another_loop_begins_anew() -> None:
    """What a loop that is gone (or a parent process's) had under way is waited for by nobody."""
    upstream = Upstream()
    policy = batching(upstream, wait=60)

    async def left_over() -> None:
        await policy(embed("a"))
        upstream.gate = asyncio.Event()
        task = asyncio.create_task(policy(embed("b")))
        await settle()
        held = dict(policy.batcher.groups)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        next(iter(held.values())).cutter.running = 1  # as it looks in a child that was forked now
        policy.batcher.groups.update(held)

    asyncio.run(left_over())
    upstream.gate = None
    reply = asyncio.run(asyncio.wait_for(policy(embed("x")), 5))
    assert reply.vectors == [vector_of("x")]
    assert idle(policy)
