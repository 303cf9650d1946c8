"""The sixteen faults through the gateway where another target is at hand, unary and streaming.

(`test_faults` has them where there is none.) In every case: the answer is whole and has the terminator, or it is the
error it should be; the first service was not asked more often than it should be; and nothing is held afterwards.
"""

from __future__ import annotations

import asyncio
import time
from typing import Any

import pytest

from ipfs_accelerate_py.simulator import Fault

from .aliased import CHAT, FOREIGN, STREAM, TWO, Aliased, aliased
from .support import Got, error_of

pytestmark = pytest.mark.virtual_time

BOTH = pytest.mark.parametrize("body", [CHAT, STREAM], ids=["unary", "stream"])
#: The same model at two places, which answer alike.
TWINS = TWO.replace("openai/gpt-4o-mini", "openai/gpt-4o")
RETRIES = "max_retries: 2, initial_retry_delay: 0.0"


def two(**settings: float) -> str:
    return TWO.replace("{quick}", ", ".join([*(f"{name}: {value}" for name, value in settings.items()), "{quick}"]))


def whole(got: Got) -> str:
    """The text of an answer that is complete, with its counts."""
    assert got.status == 200, got.body
    if got.headers["content-type"].startswith("text/event-stream"):
        assert got.events[-1] == "[DONE]"
        assert not any(isinstance(event, dict) and "error" in event for event in got.events)
        return "".join(got.tokens)
    assert got.json["usage"]["completion_tokens"] > 0
    text: str = got.json["choices"][0]["message"]["content"]
    return text


async def healthy_again(setup: Aliased) -> None:
    for sim in setup.sims:
        sim.clear()
    assert (await setup.ask()).status == 200
    await setup.at_rest()


@BOTH
async def test_1_a_limit_that_lasts_is_not_waited_for(body: dict[str, Any]) -> None:
    async with aliased(TWO.replace("{quick}", RETRIES)) as setup:
        setup.sims[0].script(Fault.status(429, retry_after=2))
        began = time.monotonic()
        whole(await setup.ask(body))
        whole(await setup.ask(body))
        assert time.monotonic() - began < 1
        assert setup.counts() == [1, 2]  # and not asked again before it may be
        await setup.at_rest()


@BOTH
@pytest.mark.parametrize(
    "fault",
    [Fault.status(429), Fault.status(503), Fault.status(401), Fault.reset(), Fault.html(), Fault.not_object()],
    ids=["2", "4", "a key that is wrong", "5", "a page of HTML", "no object"],
)
async def test_2_4_5_what_fails_for_ever_is_left_for_the_other(body: dict[str, Any], fault: Fault) -> None:
    async with aliased(TWO) as setup:
        setup.sims[0].always(fault)
        whole(await setup.ask(body))
        assert setup.counts() == [1, 1]
        await healthy_again(setup)


@BOTH
async def test_3_one_failure_is_repaired_where_it_was(body: dict[str, Any]) -> None:
    async with aliased(TWO.replace("{quick}", RETRIES)) as setup:
        setup.sims[0].script(Fault.status(500))
        whole(await setup.ask(body))
        assert setup.counts() == [2, 0]
        await healthy_again(setup)


@BOTH
async def test_6_silence_is_not_waited_for_twice(body: dict[str, Any]) -> None:
    async with aliased(two(first_byte_timeout=0.05)) as setup:
        setup.sims[0].always(Fault.hang())
        began = time.monotonic()
        whole(await setup.ask(body))
        assert time.monotonic() - began < 1
        assert setup.counts() == [1, 1]
        await healthy_again(setup)


async def test_7_a_late_first_token_moves_on() -> None:
    async with aliased(two(first_content_timeout=0.05)) as setup:
        setup.sims[0].always(Fault.stall())
        whole(await setup.ask(STREAM))
        assert setup.counts() == [1, 1]
        await healthy_again(setup)


async def test_7_the_last_one_is_waited_for() -> None:
    text = """
    model_list:
      - name: smart
        first_content_timeout: 0.05
        targets: [{model: openai/gpt-4o, base_url: "{0}", api_key: k, settings: {{quick}}}]
        strategy: order
    """
    async with aliased(text, "openai") as setup:
        setup.sims[0].always(Fault.stall(seconds=0.2))
        whole(await setup.ask(STREAM))
        await healthy_again(setup)


@pytest.mark.parametrize(
    ("fault", "settings"),
    [(Fault.cut(after=12), {}), (Fault.cut(after=12, rst=True), {}), (Fault.silence(after=12), {"idle_timeout": 0.05})],
    ids=["8", "8 (reset)", "9"],
)
async def test_8_9_a_stream_that_breaks_is_whole_all_the_same(fault: Fault, settings: dict[str, float]) -> None:
    text = TWINS.replace("{quick}", ", ".join([*(f"{name}: {value}" for name, value in settings.items()), "{quick}"]))
    async with aliased(text) as setup:
        as_it_is = whole(await setup.ask(STREAM))
        setup.sims[0].script(fault)
        assert whole(await setup.ask(STREAM)) == as_it_is
        assert setup.counts() == [2, 1]
        await healthy_again(setup)


async def test_8_a_broken_stream_is_continued_by_who_accepts_it() -> None:
    async with aliased(FOREIGN, "openai", "anthropic") as setup:
        setup.sims[0].script(Fault.cut(after=12))
        got = await setup.ask(STREAM)
        text = whole(got)
        asked = setup.sims[1].requests[-1].body["messages"]
        begun = asked[-1]["content"]
        begun = begun if isinstance(begun, str) else "".join(part["text"] for part in begun)
        assert asked[-1]["role"] == "assistant"
        assert text.startswith(begun)
        assert len(text) > len(begun)
        await healthy_again(setup)


async def test_10_an_unreadable_event_is_skipped_and_counted() -> None:
    async with aliased(TWO) as setup:
        text = whole(await setup.ask(STREAM))
        setup.sims[0].script(Fault.bad_json(at=3, data="{oops"))
        assert whole(await setup.ask(STREAM)) == text
        assert setup.counts() == [2, 0]
        page = setup.app._page.text().decode()
        assert 'ipfs_accelerate_backend_skipped_events_total{backend="openai/gpt-4o"} 1.0' in page
        await healthy_again(setup)


async def test_10_a_piece_that_is_missing_is_made_good() -> None:
    async with aliased(TWINS) as setup:
        text = whole(await setup.ask(STREAM))
        setup.sims[0].script(Fault.bad_json(at=8, replace=True))
        assert whole(await setup.ask(STREAM)) == text
        await healthy_again(setup)


@pytest.mark.parametrize("hold", [False, True])
async def test_11_a_stream_without_its_terminator_is_given_one(hold: bool) -> None:
    async with aliased(TWO) as setup:
        setup.sims[0].script(Fault.no_done(hold=hold))
        began = time.monotonic()
        got = await setup.ask({**STREAM, "stream_options": {"include_usage": True}})
        whole(got)
        assert time.monotonic() - began < 2
        assert [event["usage"]["total_tokens"] > 0 for event in got.events[:-1] if event.get("usage")] == [True]
        assert setup.counts() == [1, 0]
        await healthy_again(setup)


@BOTH
async def test_12_what_does_not_fit_goes_to_who_holds_more(body: dict[str, Any]) -> None:
    text = TWO.replace("{model: openai/gpt-4o-mini", "{context_window: 1000000, model: openai/gpt-4o-mini").replace(
        "{model: openai/gpt-4o,", "{context_window: 8192, model: openai/gpt-4o,"
    )
    async with aliased(text) as setup:
        setup.sims[0].always(Fault.context_length_exceeded())
        whole(await setup.ask(body))
        assert setup.counts() == [1, 1]
        setup.sims[1].always(Fault.context_length_exceeded())
        got = await setup.ask(body)
        assert (got.status, error_of(got)["code"]) == (400, "context_length_exceeded")
        assert setup.counts() == [2, 2]
        await healthy_again(setup)


@BOTH
async def test_13_a_refusal_of_the_content_policy_is_told(body: dict[str, Any]) -> None:
    async with aliased(TWO) as setup:
        setup.sims[0].always(Fault.content_policy_violation())
        got = await setup.ask(body)
        assert (got.status, error_of(got)["code"]) == (400, "content_policy_violation")
        assert len(error_of(got)["message"]) > 20
        assert setup.counts() == [1, 0]
        await healthy_again(setup)


async def test_14_the_caller_never_sees_a_fallback_s_refusal() -> None:
    """Whoever refuses a request that ends in an assistant's message is not asked to continue, or it is not told."""
    text = FOREIGN
    async with aliased(text, "openai", "anthropic") as setup:
        setup.sims[0].script(Fault.cut(after=6))
        setup.sims[1].always(Fault.status(400, message="This model does not support assistant message prefill."))
        got = await setup.ask(STREAM)
        assert got.status == 200
        error = got.events[-1]["error"]
        assert error["code"] == "stream_cut"
        assert "prefill" not in error["message"]
        assert "[DONE]" not in got.events
        await healthy_again(setup)


async def test_15_the_first_one_is_returned_to_when_it_is_well() -> None:
    settings = "max_retries: 0, circuit_failure_threshold: 2, circuit_reset_timeout: 0.2"
    async with aliased(TWO.replace("{quick}", settings)) as setup:
        setup.sims[0].always(Fault.status(503))
        for _ in range(6):
            whole(await setup.ask())
        assert setup.counts() == [2, 6]  # the breaker is open: nobody waits for it, and it is left in peace
        setup.sims[0].clear()
        await asyncio.sleep(0.25)
        for _ in range(3):
            whole(await setup.ask())
        assert setup.counts() == [5, 6]
        await setup.at_rest()


@BOTH
async def test_16_the_answer_names_who_gave_it(body: dict[str, Any]) -> None:
    async with aliased(TWO) as setup:
        setup.sims[0].always(Fault.status(503))
        seen: list[Any] = []
        setup.app.front.usage_policy.observers.append(seen.append)
        got = await setup.ask({**body, **({"stream_options": {"include_usage": True}} if "stream" in body else {})})
        whole(got)
        models = {event["model"] for event in got.events[:-1]} if "stream" in body else {got.json["model"]}
        assert models == {"gpt-4o-mini"}
        assert got.headers["x-ipfs-accelerate-model"] == "gpt-4o-mini"
        [record] = seen
        assert (record.alias, record.model, record.attempts, record.outcome) == ("smart", "gpt-4o-mini", 2, "success")
        assert record.usage.output_tokens > 0  # of the answer alone: what failed is not billed
        await healthy_again(setup)


@BOTH
async def test_a_client_that_leaves_takes_the_second_attempt_with_it(body: dict[str, Any]) -> None:
    from .support import connect, request, until

    async with aliased(TWO) as setup:
        setup.sims[0].always(Fault.status(503))
        setup.sims[1].always(Fault.hang() if body is CHAT else Fault.silence(after=3))
        async with connect(setup.gateway) as client:
            await client.send(request(body, content_type="application/json"))
            await until(lambda: setup.sims[1].in_flight == 1)
        await setup.at_rest()
