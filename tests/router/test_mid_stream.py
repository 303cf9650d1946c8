"""Streams that break after their first content: continued, aligned, begun anew, or ended in the error of the break."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest

from ipfs_accelerate_py import AsyncRouter, Router, Target
from ipfs_accelerate_py.errors import AccelerateError, ReadTimeout, ServerError, StreamCut
from ipfs_accelerate_py.router.continuation import accepts_continuation
from ipfs_accelerate_py.router.targets import Alias
from ipfs_accelerate_py.simulator import Fault, Simulator, SimulatorThread
from ipfs_accelerate_py.simulator.wire import Request
from ipfs_accelerate_py.types import Chunk
from tests import virtual_time
from tests.upstreams import eventually

from .support import QUICK, make_routed, nothing_held, nothing_held_sync, target

pytestmark = pytest.mark.virtual_time

TEXT = "One sees it coming from afar, and says so twice, so that everybody has heard of it by now."
OLD, NEW = "claude-sonnet-4-5", "claude-opus-4-6"
cut, silence = Fault.cut(after=8), Fault.silence(after=8)
breaks = pytest.mark.parametrize("fault", [cut, silence], ids=["cut", "silence"])


def _goes_on(body: Any) -> str:
    """A model that knows one text, and says what is missing of it."""
    messages = body.get("messages")
    if messages is None:
        prompt: str = body["prompt"]
        return TEXT.removeprefix(prompt.removeprefix("Once"))
    last = messages[-1]
    return TEXT.removeprefix(last["content"]) if last["role"] == "assistant" else TEXT


@pytest.fixture
def _services_on_threads() -> Iterator[dict[str, SimulatorThread]]:
    with (
        SimulatorThread("openai", reply=TEXT) as primary,
        SimulatorThread("openai", reply=_goes_on) as same,
        SimulatorThread("openai", reply="Something else altogether.") as other,
        SimulatorThread("anthropic", reply=_goes_on) as claude,
    ):
        yield {"primary": primary, "same": same, "other": other, "claude": claude}


@pytest.fixture
async def _services_here() -> AsyncIterator[dict[str, Simulator]]:
    async with (
        Simulator("openai", reply=TEXT) as primary,
        Simulator("openai", reply=_goes_on) as same,
        Simulator("openai", reply="Something else altogether.") as other,
        Simulator("anthropic", reply=_goes_on) as claude,
    ):
        yield {"primary": primary, "same": same, "other": other, "claude": claude}


@pytest.fixture
def services(request: pytest.FixtureRequest) -> dict[str, SimulatorThread]:
    here = virtual_time.applies(request.node)
    found: dict[str, SimulatorThread] = request.getfixturevalue("_services_here" if here else "_services_on_threads")
    return found


class Seen:
    """What a caller saw of one stream."""

    def __init__(self) -> None:
        self.chunks: list[Chunk] = []
        self.error: AccelerateError | None = None

    @property
    def text(self) -> str:
        return "".join("[anew]" if chunk.restart else chunk.text for chunk in self.chunks)

    @property
    def ends(self) -> int:
        return sum(chunk.finish_reason is not None for chunk in self.chunks)


def claude(services: dict[str, SimulatorThread], model: str, **options: Any) -> Target:
    url = services["claude"].url.removesuffix("/v1")
    return Target("claude", model, base_url=url, api_key="sk-test", **options)


def router(services: dict[str, SimulatorThread], *others: Target | str, **options: Any) -> AsyncRouter:
    """The primary, and then the others."""
    targets = [target(services["primary"], "primary")]
    targets += [target(services[each], each) if isinstance(each, str) else each for each in others]
    settings = {**QUICK, "max_retries": 0, "idle_timeout": 0.2, **options}
    return AsyncRouter({"smart": targets}, **settings)


async def watch(made: AsyncRouter, verb: str = "stream", **options: Any) -> tuple[Seen, Any]:
    seen = Seen()
    asked = "Once" if verb == "stream_complete" else "Hello"
    stream = getattr(made, verb)("smart", asked, timeout=10, **options)
    try:
        async for chunk in stream:
            seen.chunks.append(chunk)
    except AccelerateError as error:
        seen.error = error
    await nothing_held(made)
    await made.aclose()
    return seen, stream


def asked_to_go_on(request: Request) -> bool:
    return bool(request.body["messages"][-1]["role"] == "assistant")


# --- going on ----------------------------------------------------------------------------------------------------


@breaks
@pytest.mark.parametrize("mode", ["continue", "restart"])
async def test_a_target_that_accepts_it_continues(services: Any, fault: Fault, mode: str) -> None:
    services["primary"].script(fault)
    before = len(services["claude"].requests)
    seen, stream = await watch(router(services, claude(services, OLD), mid_stream=mode))
    assert (seen.text, seen.ends, seen.error) == (TEXT, 1, None)
    (request,) = services["claude"].requests[before:]
    last = request.body["messages"][-1]
    assert last["role"] == "assistant"
    assert TEXT.startswith(last["content"])
    assert last["content"] == last["content"].rstrip()
    assert (stream.reply.backend, stream.reply.target_model, stream.finish_reason) == ("claude", OLD, "stop")
    assert stream.usage.output_tokens > 0


async def test_the_next_that_can_go_on_is_asked_first_where_a_restart_is_not_allowed(services: Any) -> None:
    services["primary"].script(cut)
    before = len(services["other"].requests)
    seen, stream = await watch(router(services, "other", claude(services, OLD)))
    assert (seen.text, seen.error) == (TEXT, None)
    assert len(services["other"].requests) == before
    assert stream.reply.backend == "claude"


async def test_a_target_that_is_told_to_accept_it_does(services: Any) -> None:
    services["primary"].script(cut)
    before = len(services["same"].requests)
    told = target(services["same"], "same", accepts_continuation=True)
    seen, _ = await watch(router(services, told))
    assert seen.text == TEXT
    assert asked_to_go_on(services["same"].requests[before])


async def test_a_plain_completion_goes_on_anywhere(services: Any) -> None:
    services["primary"].script(cut)
    before = len(services["same"].requests)
    seen, _ = await watch(router(services, "same"), "stream_complete")
    assert (seen.text, seen.ends) == (TEXT, 1)
    prompt = services["same"].requests[before].body["prompt"]
    assert prompt.startswith("OnceOne sees")


async def test_the_one_that_goes_on_breaks_as_well(services: Any) -> None:
    services["primary"].script(cut)
    services["claude"].script(Fault.cut(after=3))
    seen, stream = await watch(router(services, claude(services, OLD), "same"))
    assert (seen.text, seen.ends, seen.error) == (TEXT, 1, None)
    assert stream.reply.target_model == "same"


async def test_limits_of_length_hold_for_the_whole(services: Any) -> None:
    services["primary"].script(cut)
    before = len(services["claude"].requests)
    await watch(router(services, claude(services, OLD)), max_tokens=50)
    assert services["claude"].requests[before].body["max_tokens"] == 42


@pytest.mark.parametrize(
    "options",
    [
        {"response_format": {"type": "json_object"}},
        {"n": 2},
        {"logprobs": True},
    ],
)
async def test_what_has_a_form_or_several_choices_is_not_continued(services: Any, options: dict[str, Any]) -> None:
    services["primary"].script(cut)
    before = len(services["same"].requests)
    told = target(services["same"], "same", accepts_continuation=True)
    await watch(router(services, told), **options)
    assert not any(asked_to_go_on(request) for request in services["same"].requests[before:])


# --- fault 14: who refuses to go on ------------------------------------------------------------------------------


async def test_who_refuses_to_go_on_is_asked_anew(services: Any) -> None:
    services["primary"].script(cut)
    services["same"].always(Fault.status(400), when=asked_to_go_on)
    before = len(services["same"].requests)
    told = target(services["same"], "same", accepts_continuation=True)
    seen, _ = await watch(router(services, told))
    assert (seen.text, seen.ends, seen.error) == (TEXT, 1, None)
    assert [asked_to_go_on(request) for request in services["same"].requests[before:]] == [True, False]


async def test_newer_models_are_not_asked_to_go_on(services: Any) -> None:
    services["primary"].script(cut)
    before = len(services["claude"].requests)
    seen, _ = await watch(router(services, claude(services, NEW)))
    assert (seen.text, seen.error) == (TEXT, None)
    assert [asked_to_go_on(request) for request in services["claude"].requests[before:]] == [False]


async def test_a_service_that_refuses_beginnings_is_asked_anew(services: Any) -> None:
    """The simulated service refuses for these models, as the real one does."""
    services["primary"].script(cut)
    before = len(services["claude"].requests)
    seen, _ = await watch(router(services, claude(services, NEW, accepts_continuation=True)))
    assert (seen.text, seen.error) == (TEXT, None)
    requests = services["claude"].requests[before:]
    assert [(asked_to_go_on(request), request.status) for request in requests] == [(True, 400), (False, 200)]


async def test_the_refusal_is_never_what_the_caller_sees(services: Any) -> None:
    services["primary"].script(cut)
    services["claude"].always(Fault.status(400))
    made = router(services, claude(services, OLD), claude(services, NEW, accepts_continuation=True))
    seen, _ = await watch(made)
    assert isinstance(seen.error, StreamCut)
    assert TEXT.startswith(seen.text)
    assert seen.ends == 0


def test_who_is_known_to_accept_it() -> None:
    def accepts(backend: str, model: str, **options: Any) -> bool:
        return accepts_continuation(make_routed(backend, model=model, **options))

    for model in ("claude-3-5-sonnet-20241022", "claude-sonnet-4-20250514", "claude-opus-4-1", "claude-haiku-4-5"):
        assert accepts("claude", model)
    for model in ("claude-opus-4-6", "claude-sonnet-4-6-20260217", "claude-opus-5", "claude-sonnet-4-10"):
        assert not accepts("claude", model)
    assert accepts("groq", "llama-3.3-70b-versatile")
    assert not accepts("groq", "openai/gpt-oss-120b")
    assert accepts("llvm", "any")
    for backend in ("openai", "gemini", "ollama", "hf_tgi", "local"):
        assert not accepts(backend, "any")
        assert accepts(backend, "any", accepts_continuation=True)
    assert not accepts("claude", "claude-3-opus", accepts_continuation=False)


# --- asking anew -------------------------------------------------------------------------------------------------


@breaks
@pytest.mark.parametrize("mode", ["continue", "restart"])
async def test_the_same_answer_goes_on_unseen(services: Any, fault: Fault, mode: str) -> None:
    services["primary"].script(fault)
    seen, stream = await watch(router(services, "same", mid_stream=mode))
    assert (seen.text, seen.ends, seen.error) == (TEXT, 1, None)
    assert stream.reply.target_model == "same"
    # The answer is the other target's from its beginning, and counted once.
    async with router(services, "same") as made:
        assert stream.usage == (await made.chat("smart", "Hello")).usage


@breaks
async def test_another_answer_begins_anew_where_that_is_allowed(services: Any, fault: Fault) -> None:
    services["primary"].script(fault)
    seen, stream = await watch(router(services, "other", mid_stream="restart"))
    before, _, after = seen.text.partition("[anew]")
    assert TEXT.startswith(before)
    assert (after, seen.ends, seen.error) == ("Something else altogether.", 1, None)
    assert stream.reply.target_model == "other"


@breaks
async def test_another_answer_is_no_continuation(services: Any, fault: Fault) -> None:
    services["primary"].script(fault)
    seen, stream = await watch(router(services, "other"))
    assert isinstance(seen.error, ReadTimeout if fault is silence else StreamCut)
    assert TEXT.startswith(seen.text)
    assert (seen.ends, stream.reply.target_model) == (0, "primary")


async def test_a_calls_own_word_goes_before_the_routers(services: Any) -> None:
    services["primary"].always(cut)
    seen, _ = await watch(router(services, "other"), mid_stream="restart")
    assert seen.text.endswith("[anew]Something else altogether.")
    seen, _ = await watch(router(services, "same"), mid_stream="error")
    assert isinstance(seen.error, StreamCut)
    assert len(seen.text) < len(TEXT)


async def test_restarts_follow_each_other(services: Any) -> None:
    services["primary"].script(cut)
    services["other"].script(Fault.cut(after=2))
    seen, _ = await watch(router(services, "other", "same", mid_stream="restart"))
    assert seen.text.count("[anew]") == 2
    assert (seen.text.rpartition("[anew]")[2], seen.ends) == (TEXT, 1)


async def test_tool_calls_in_pieces(services: Any) -> None:
    tool = {"type": "function", "function": {"name": "look_up", "parameters": {
        "type": "object", "properties": {"what": {"type": "string"}, "where": {"type": "string"}},
        "required": ["what", "where"]}}}  # fmt: skip
    options: dict[str, Any] = {"tools": [tool], "tool_choice": "required"}
    async with Simulator("openai") as one, Simulator("openai") as twin:
        made = AsyncRouter({"smart": [target(one, "m"), target(twin, "m")]}, **QUICK, max_retries=0)
        expected = await made.stream("smart", "Hello", **options).collect()
        assert expected.tool_calls
        pieces = [chunk async for chunk in made.stream("smart", "Hello", **options)]
        for after in range(1, len(pieces) - 2):
            one.script(Fault.cut(after=after))
            reply = await made.stream("smart", "Hello", mid_stream="continue", **options).collect()
            assert [(call.name, call.arguments) for call in reply.tool_calls] == [
                (call.name, call.arguments) for call in expected.tool_calls
            ]
            assert (reply.finish_reason, reply.text) == (expected.finish_reason, expected.text)
        await nothing_held(made)
        await made.aclose()


async def test_an_error_in_band_is_a_break_as_well(services: Any) -> None:
    services["primary"].script(Fault.error_event(at=8))
    seen, _ = await watch(router(services, "same"))
    assert (seen.text, seen.error) == (TEXT, None)


async def test_when_nobody_is_left_the_first_break_is_told(services: Any) -> None:
    services["primary"].script(cut)
    services["same"].always(Fault.status(503))
    services["other"].always(Fault.status(429))
    seen, _ = await watch(router(services, "same", "other"))
    assert isinstance(seen.error, StreamCut)
    assert seen.error.fallbacks
    assert TEXT.startswith(seen.text)


async def test_a_break_without_another_target_is_an_error(services: Any) -> None:
    services["primary"].script(cut)
    seen, stream = await watch(router(services))
    assert isinstance(seen.error, StreamCut)
    assert stream.reply.target_model == "primary"


async def test_requests_in_a_services_own_words_are_not_rescued(services: Any) -> None:
    services["primary"].script(cut)
    made = router(services, "same")
    body = {"model": "smart", "messages": [{"role": "user", "content": "Hello"}], "stream": True}
    stream = made.stream_request("/chat/completions", body)
    with pytest.raises(StreamCut):
        async for _ in stream:
            pass
    await made.aclose()


# --- collecting --------------------------------------------------------------------------------------------------


@breaks
@pytest.mark.parametrize("mode", ["continue", "restart", "error"])
async def test_collect_begins_anew_whatever_the_alias_says(services: Any, fault: Fault, mode: str) -> None:
    services["primary"].script(fault)
    made = router(services, "other", mid_stream=mode)
    reply = await made.stream("smart", "Hello").collect()
    assert (reply.text, reply.finish_reason, reply.target_model) == ("Something else altogether.", "stop", "other")
    await made.aclose()


@pytest.mark.parametrize("mode", ["continue", "error"])
def test_collect_of_ordinary_code(services: Any, mode: str) -> None:
    services["primary"].always(Fault.drip(size=200, interval=0.002) + cut)
    targets = [target(services["primary"], "primary"), target(services["other"], "other")]
    with Router({"smart": Alias(targets, mid_stream=mode)}, **QUICK, max_retries=0) as made:
        reply = made.stream("smart", "Hello").collect()
        assert (reply.text, reply.backend) == ("Something else altogether.", "openai")
        with pytest.raises(StreamCut):
            made.stream("smart", "Hello", mid_stream="error").collect()
        nothing_held_sync(made)


async def test_collect_of_what_was_read_in_part_does_not_begin_anew(services: Any) -> None:
    services["primary"].script(cut)
    made = router(services, "other")
    stream = made.stream("smart", "Hello")
    await stream.__anext__()
    with pytest.raises(StreamCut):
        await stream.collect()
    await made.aclose()


# --- letting go --------------------------------------------------------------------------------------------------


async def test_leaving_while_the_next_target_is_awaited(services: Any) -> None:
    services["primary"].always(cut)
    services["same"].always(Fault.hang())
    made = router(services, "same", first_byte_timeout=5)
    for _ in range(3):
        task = asyncio.create_task(made.stream("smart", "Hello").collect())
        await asyncio.sleep(0.05)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await nothing_held(made)
    await made.aclose()


async def test_leaving_at_any_moment_gives_everything_back(services: Any) -> None:
    services["primary"].always(Fault.drip(size=300, interval=0.001) + cut)
    services["same"].always(Fault.drip(size=300, interval=0.001))
    made = router(services, "same", max_concurrent_requests=50)

    async def leave(after: float) -> None:
        task = asyncio.create_task(made.stream("smart", "Hello").collect())
        await asyncio.sleep(after)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    await asyncio.gather(*(leave(0.001 * number) for number in range(40)))
    await nothing_held(made)
    await made.aclose()


async def test_what_the_dead_attempt_held_is_free_at_once(services: Any) -> None:
    services["primary"].script(cut)
    services["same"].script(Fault.latency(0.2))
    made = router(services, "same")
    primary = next(iter(made.targets.values()))
    task = asyncio.create_task(made.stream("smart", "Hello").collect())
    await eventually(lambda: primary.asked > 0 and not primary.outstanding)
    assert not task.done()
    assert (primary.pipeline.admission.active, primary.failed) == (0, 1)
    assert (await task).text == TEXT
    await nothing_held(made)
    await made.aclose()


async def test_the_deadline_holds_for_the_whole(services: Any) -> None:
    services["primary"].script(silence)
    services["same"].always(Fault.silence(after=10))
    made = router(services, "same", idle_timeout=5.0)
    began = asyncio.get_running_loop().time()
    with pytest.raises((ReadTimeout, ServerError)):
        await made.stream("smart", "Hello", timeout=0.5).collect()
    assert asyncio.get_running_loop().time() - began < 2.0
    await nothing_held(made)
    await made.aclose()


async def test_the_books_have_one_call(services: Any) -> None:
    services["primary"].script(cut)
    made = router(services, "same")
    records: list[Any] = []
    made.usage_policy.observers.append(records.append)
    reply = await made.stream("smart", "Hello").collect()
    (record,) = records
    assert (record.outcome, record.model, record.usage) == ("success", "same", reply.usage)
    assert made.usage_policy.totals.model("smart").requests == 1
    await made.aclose()


async def test_those_who_share_a_stream_all_see_the_rescue(services: Any) -> None:
    services["primary"].always(Fault.drip(size=200, interval=0.002) + cut)
    made = router(services, "same")
    made.enable_single_flight()
    before = len(services["primary"].requests)
    running = [made.stream("smart", "Hello", temperature=0, cache="on") for _ in range(5)]
    replies = await asyncio.gather(*(stream.collect() for stream in running))
    assert {reply.text for reply in replies} == {TEXT}
    assert {reply.target_model for reply in replies} == {"same"}
    assert [reply.cache for reply in replies].count("shared") == 4
    assert len(services["primary"].requests) - before == 1
    await nothing_held(made)
    await made.aclose()
