"""The asynchronous client against the simulator: its verbs, what is refused and counted, and that no key is shown."""

from __future__ import annotations

import asyncio
import itertools
import json
import logging
import time
import traceback
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest

from ipfs_accelerate_py import AsyncClient, BackendSpec, Client, Priority, register_backend
from ipfs_accelerate_py.backends import backend_names, configured, find_backend
from ipfs_accelerate_py.backends import spec as specs
from ipfs_accelerate_py.client import chat_messages
from ipfs_accelerate_py.errors import (
    AccelerateError,
    AuthenticationError,
    BackendError,
    ConfigurationError,
    InvalidRequest,
    MissingCredential,
    QueueFull,
    QueueTimeout,
    RateLimited,
    ServerError,
    UnknownBackend,
    UnsupportedOperation,
)
from ipfs_accelerate_py.simulator import Fault, Simulator
from ipfs_accelerate_py.types import Call, ChatRequest, Operation, Passthrough
from tests.upstreams import QUICK, RawServer, client_of, eventually, nothing_held, replies, stream_head, whole

FUNCTION = {
    "name": "weather",
    "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
}
TOOL = {"type": "function", "function": FUNCTION}


@pytest.fixture
async def sim() -> AsyncIterator[Simulator]:
    async with Simulator() as simulator:
        yield simulator


@pytest.fixture
async def client(sim: Simulator) -> AsyncIterator[AsyncClient]:
    async with client_of(sim.url) as made:
        yield made
        await nothing_held(made)


# --- verbs -------------------------------------------------------------------------------------------------------


async def test_chat(client: AsyncClient, sim: Simulator) -> None:
    reply = await client.chat("gpt-4o", "Hello", system="Be brief.", temperature=0.2, priority="HIGH", seed=None)
    assert reply.text
    assert (reply.model, reply.backend, reply.key_name, reply.attempts) == ("gpt-4o", "openai", "explicit", 1)
    assert reply.finish_reason in ("stop", "length")
    assert reply.usage.reported
    assert reply.usage.input_tokens
    assert reply.usage.output_tokens == 20
    assert reply.raw["system_fingerprint"] == "fp_simulator"
    assert reply.request_id.startswith("req_")
    assert reply.upstream_request_id
    assert reply.latency > 0
    assert sim.requests[0].body == {
        "model": "gpt-4o",
        "messages": [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hello"}],
        "temperature": 0.2,
        "seed": None,
    }


async def test_tools_and_structured_output(client: AsyncClient) -> None:
    reply = await client.chat("gpt-4o", "Hello", tools=[TOOL], tool_choice="required")
    assert reply.finish_reason == "tool_calls"
    assert reply.tool_calls[0].name == "weather"
    assert "city" in json.loads(reply.tool_calls[0].arguments)
    streamed = await client.stream("gpt-4o", "Hello", tools=[TOOL], tool_choice="required").collect()
    assert [(call.name, call.arguments) for call in streamed.tool_calls] == [
        (call.name, call.arguments) for call in reply.tool_calls
    ]
    schema = {"name": "s", "schema": {"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"]}}
    reply = await client.chat("gpt-4o", "x", response_format={"type": "json_schema", "json_schema": schema})
    assert isinstance(json.loads(reply.text)["a"], int)


async def test_reasoning_and_log_probabilities(client: AsyncClient) -> None:
    reply = await client.chat("o3-mini", "Think")
    assert reply.usage.reasoning_tokens > 0
    reply = await client.chat("gpt-4o", "x", logprobs=True, top_logprobs=2)
    assert reply.raw["choices"][0]["logprobs"]["content"]


async def test_streams_add_up_to_the_unary_answer(client: AsyncClient) -> None:
    whole_ = await client.chat("gpt-4o", "Hello")
    stream = client.stream("gpt-4o", "Hello")
    text = ""
    async for chunk in stream:
        text += chunk.text
    assert text == whole_.text
    assert (stream.usage, stream.finish_reason, stream.model) == (whole_.usage, whole_.finish_reason, "gpt-4o")
    collected = await client.stream("gpt-4o", "Hello").collect()
    assert (collected.text, collected.usage, collected.backend) == (whole_.text, whole_.usage, "openai")
    assert collected.key_name == "explicit"
    async with client.stream("gpt-4o", "Hello") as stream:
        batches = [batch async for batch in _batches(stream)]
    assert "".join(chunk.text for batch in batches for chunk in batch) == whole_.text


async def _batches(stream: Any) -> AsyncIterator[Any]:
    while batch := await stream.next_batch():
        yield batch


async def test_a_stream_that_was_never_begun_was_never_sent(client: AsyncClient, sim: Simulator) -> None:
    stream = client.stream("gpt-4o", "Hello")
    await stream.aclose()
    assert [chunk async for chunk in stream] == []
    assert sim.requests == []


async def test_several_choices(client: AsyncClient) -> None:
    reply = await client.chat("gpt-4o", "x", n=2)
    assert len(reply.raw["choices"]) == 2
    assert reply.text == reply.raw["choices"][0]["message"]["content"]
    collected = await client.stream("gpt-4o", "x", n=2).collect()
    assert collected.text == reply.text


async def test_completions_and_responses(client: AsyncClient) -> None:
    reply = await client.complete("gpt-3.5-turbo-instruct", "Once", max_tokens=5)
    assert reply.text
    assert reply.usage.output_tokens == 5
    assert (await client.stream_complete("gpt-3.5-turbo-instruct", "Once", max_tokens=5).collect()).text == reply.text
    reply = await client.respond("gpt-4o", "Hello", instructions="Be brief.")
    assert reply.text
    assert reply.finish_reason == "stop"
    streamed = client.stream_respond("gpt-4o", "Hello", instructions="Be brief.")
    events = [chunk.event async for chunk in streamed]
    assert events[0] == "response.created"
    assert events[-1] == "response.completed"
    assert streamed.usage == reply.usage
    reply = await client.respond("gpt-4o", "Hello", tools=[{"type": "function", **FUNCTION}], tool_choice="required")
    assert reply.tool_calls[0].name == "weather"


async def test_embeddings(client: AsyncClient, sim: Simulator) -> None:
    floats = await client.embed("e", ["a", "b"], dimensions=8)
    assert [len(vector) for vector in floats.vectors] == [8, 8]
    packed = await client.embed("e", ["a", "b"], dimensions=8, encoding_format="base64")
    for one, two in zip(floats.vectors, packed.vectors, strict=True):
        assert one == pytest.approx(two, rel=1e-6)
    assert len((await client.embed("e", "a lone text")).vectors) == 1
    assert len((await client.embed("e", ("a", "b", "c"))).vectors) == 3
    assert sim.requests[-1].body["input"] == ["a", "b", "c"]
    assert len((await client.embed("e", [1, 2, 3])).vectors) == 1, "a lone list of token ids is one input"
    assert len((await client.embed("e", [[1, 2], [3]])).vectors) == 2
    with pytest.raises(ConfigurationError, match="no input"):
        await client.embed("e", [])


async def test_models_and_raw_requests(client: AsyncClient, sim: Simulator) -> None:
    sim.configure(models=("a", "b"))
    assert [model.id for model in await client.models()] == ["a", "b"]
    reply = await client.request("/embeddings", {"model": "a", "input": "x"})
    assert reply.raw["data"][0]["embedding"]
    assert reply.usage.input_tokens
    reply = await client.request("/models", method="GET")
    assert len(reply.raw["data"]) == 2
    with pytest.raises(InvalidRequest):
        await client.request("/nowhere", {})


async def test_forwarded_calls_come_back_as_bytes(client: AsyncClient, sim: Simulator) -> None:
    body = b'{"model":"m","messages":[{"role":"user","content":"x"}]}'

    def call(stream: bool, hide: bool = False) -> Call:
        options = b',"stream":true,"stream_options":{"include_usage":true}}' if stream else b"}"
        return Call(
            operation=Operation.CHAT,
            request=ChatRequest("m", []),
            request_id="r",
            stream=stream,
            passthrough=Passthrough("openai", body[:-1] + options, hide),
        )

    reply = await client.send(call(False))
    assert json.loads(reply.body)["choices"]
    assert reply.usage.total_tokens
    reply = await client.send(call(True, hide=True))
    assert reply.stream is not None
    data = b"".join([piece async for piece in reply.stream])
    assert data.endswith(b"data: [DONE]\n\n")
    assert b"prompt_tokens" not in data
    assert reply.stream.usage.total_tokens
    assert reply.content_type.startswith("text/event-stream")


# --- what is refused before anything is sent ---------------------------------------------------------------------


@pytest.mark.parametrize(
    "make",
    [
        lambda c: c.chat("m", []),
        lambda c: c.chat("m", ["not a message"]),
        lambda c: c.chat("m", "x", stream=True),
        lambda c: c.chat("m", "x", priority="URGENT"),
        lambda c: c.chat("m", "x", timeout=-1),
        lambda c: c.chat("m", "x", api_key_name="nobody"),
        lambda c: c.chat("m", "x", odd=object()),
        lambda c: c.chat(5, "x"),
        lambda c: c.chat(None, "x"),
        lambda c: c.embed("m", []),
        lambda c: c.embed("m", 5),
        lambda c: c.chat("m", 5),
        lambda c: c.chat("m", None),
        lambda c: c.chat("m", "x", headers="X: y"),
        lambda c: c.chat("m", "x", request_id=5),
    ],
    ids=range(15),
)
async def test_wrong_use_is_said_before_anything_is_sent(client: AsyncClient, sim: Simulator, make: Any) -> None:
    with pytest.raises(ConfigurationError):
        await make(client)
    assert sim.requests == []


def test_messages_are_not_changed() -> None:
    given = [{"role": "user", "content": "x"}]
    assert chat_messages(given, "s") == [{"role": "system", "content": "s"}, *given]
    assert len(given) == 1
    assert chat_messages("x") == given
    assert chat_messages(iter(given)) == given  # type: ignore[arg-type]


async def test_a_missing_key_is_said_at_the_first_call_with_what_to_set() -> None:
    client = AsyncClient("openai", base_url="http://127.0.0.1:1/v1")
    for _ in range(2):
        with pytest.raises(MissingCredential, match="OPENAI_API_KEY") as caught:
            await client.chat("m", "x")
        assert str(caught.value).startswith("Authentication error")
    await client.aclose()


async def test_a_key_that_no_header_can_carry_is_said_at_the_first_call() -> None:
    client = AsyncClient("openai", base_url="http://127.0.0.1:1/v1", api_key="sk-\nsecret")
    with pytest.raises(ConfigurationError) as caught:
        await client.chat("m", "x")
    assert "secret" not in str(caught.value)


async def test_keys_and_urls_from_metadata_and_environment(sim: Simulator, monkeypatch: pytest.MonkeyPatch) -> None:
    async with AsyncClient("openai", metadata={"openai_api_key": "sk-m", "openai_base_url": sim.url}) as client:
        assert (await client.chat("m", "x")).key_name == "metadata"
        assert client.base_url == sim.url
    monkeypatch.setenv("GROQ_API_KEY", "sk-0")
    monkeypatch.setenv("GROQ_API_KEY_1", "sk-1")
    monkeypatch.setenv("GROQ_API_KEY_2", "sk-2")
    monkeypatch.setenv("GROQ_BASE_URL", sim.url + "/")
    assert "groq" in [spec.name for spec in configured()]
    async with AsyncClient("groq") as client:
        names = {(await client.chat("m", "x")).key_name for _ in range(6)}
    assert names == {"GROQ_API_KEY", "GROQ_API_KEY_1", "GROQ_API_KEY_2"}
    assert sim.requests[-1].path == "/v1/chat/completions"
    async with AsyncClient("vllm", base_url=sim.url) as client:  # needs no key
        assert (await client.chat("m", "x")).text
        assert sim.requests[-1].key is None


# --- rows --------------------------------------------------------------------------------------------------------


@pytest.fixture
def rows() -> Iterator[None]:
    before = dict(specs._specs)
    yield
    specs._specs.clear()
    specs._specs.update(before)


async def test_a_service_is_added_with_a_row(sim: Simulator, rows: None) -> None:
    register_backend(
        BackendSpec(
            "acme",
            base_url=sim.url,
            key_env=("ACME_API_KEY",),
            key_header="api-key",
            key_prefix="",
            headers={"X-Org": "o"},
            aliases=("acme_ai",),
            defaults={"max_retries": 1},
        )
    )
    assert "acme" in backend_names()
    async with AsyncClient("acme_ai", api_key="sk-acme", **QUICK) as client:
        assert client.max_retries == 1
        sim.script(Fault.status(500))
        assert (await client.chat("m", "x")).backend == "acme"
        assert sim.requests[-1].headers["x-org"] == "o"
        assert "authorization" not in sim.requests[-1].headers
    with pytest.raises(ConfigurationError, match="openai"):
        register_backend(BackendSpec("other", aliases=("openai",)))
    with pytest.raises(UnknownBackend, match="acme"):
        find_backend("nobody")


async def test_the_local_backend_takes_no_key() -> None:
    client = AsyncClient("local")
    with pytest.raises(UnsupportedOperation):
        client.add_api_key("a", "sk-x")
    with pytest.raises(UnsupportedOperation, match="embed"):
        await client.chat("m", "x")
    await client.aclose()


# --- the pipeline, from outside ----------------------------------------------------------------------------------


async def test_priorities_and_the_queue(sim: Simulator) -> None:
    async with client_of(sim.url, max_concurrent_requests=1) as client:
        holder = client.stream("holder", "x")
        await anext(holder)
        tasks = []
        for number, priority in itertools.product(range(2), ("LOW", 1, Priority.HIGH)):
            tasks.append(asyncio.create_task(client.chat(f"{priority}-{number}", "x", priority=priority)))
            await asyncio.sleep(0)
        await eventually(lambda: client.snapshot()["queue"]["queued"] == 6)
        assert client.snapshot()["queue"]["queued_by_priority"] == {"HIGH": 2, "NORMAL": 2, "LOW": 2}
        assert client.active_requests == 1
        await holder.aclose()
        await asyncio.gather(*tasks)
        assert [request.body["model"] for request in sim.requests[1:]] == ["0-0", "0-1", "1-0", "1-1", "LOW-0", "LOW-1"]
        await nothing_held(client)


async def test_queue_limits(sim: Simulator) -> None:
    async with client_of(sim.url, max_concurrent_requests=1, queue_size=1, queue_timeout=0.03) as client:
        holder = client.stream("holder", "x")
        await anext(holder)
        waiting = asyncio.create_task(client.chat("m", "x"))
        await asyncio.sleep(0)
        with pytest.raises(QueueFull):
            await client.chat("m", "x")
        with pytest.raises(QueueTimeout):
            await waiting
        client.queue_enabled = False
        with pytest.raises(QueueFull):
            await client.chat("m", "x")
        await holder.aclose()
        assert (await client.chat("m", "x")).text
        await nothing_held(client)


async def test_a_deadline_covers_the_queue_and_the_retries(sim: Simulator) -> None:
    async with client_of(sim.url, max_concurrent_requests=1, initial_retry_delay=0.5, max_retry_delay=5.0) as client:
        holder = client.stream("holder", "x")
        await anext(holder)
        began = time.monotonic()
        with pytest.raises(QueueTimeout):
            await client.chat("m", "x", timeout=0.05)
        await holder.aclose()
        sim.always(Fault.status(429, retry_after=1))
        with pytest.raises(RateLimited):
            await client.chat("m", "x", timeout=0.5)
        assert time.monotonic() - began < 0.5
        await nothing_held(client)


async def test_limits_that_the_upstream_keeps_are_learnt_from_its_headers() -> None:
    """Nothing is configured: after the first answers the client knows the pace, and hardly a call is refused."""
    async with (
        Simulator(requests_per_minute=1200) as sim,
        client_of(sim.url, max_concurrent_requests=10, queue_size=1000) as client,
    ):
        sim.limiter._lane(sim.key_name("sk-test")).requests.take(1195)  # type: ignore[union-attr]
        await client.chat("m", "x")
        await asyncio.gather(*[client.chat("m", "x") for _ in range(12)])
        assert sim.counts["429"] <= 2
        await nothing_held(client)


async def test_concurrency_of_each_key_is_kept() -> None:
    async with (
        Simulator(concurrency_per_key=2, latency=0.002, concurrency_retry_after=0.01) as sim,
        client_of(sim.url, api_key={"a": "sk-a"}, max_concurrent_requests=50, queue_size=100) as client,
    ):
        client.add_api_key("a", "sk-a", 2)
        client.add_api_key("b", "sk-b", 2)
        await asyncio.gather(*[client.chat("m", "x") for _ in range(40)])
        assert sim.counts["429"] == 0
        used = client.snapshot()["keys"]
        assert used["a"]["requests"] + used["b"]["requests"] == 40
        assert min(used["a"]["requests"], used["b"]["requests"]) > 10
        await nothing_held(client)


async def test_a_refused_key_rests_and_the_others_work() -> None:
    async with (
        Simulator(api_keys={"good": "sk-good"}) as sim,
        client_of(sim.url, api_key={"bad": "sk-bad", "good": "sk-good"}) as client,
    ):
        for _ in range(4):
            assert (await client.chat("m", "x")).key_name == "good"
        assert client.snapshot()["keys"]["bad"]["quarantine_reason"] == "invalid_api_key"
        assert sim.counts["401"] == 1
        with pytest.raises(AuthenticationError):
            await client.chat("m", "x", api_key_name="bad")
        assert sim.counts["401"] == 1


async def test_wrong_use_is_no_failure_of_the_key(client: AsyncClient) -> None:
    for _ in range(3):
        with pytest.raises(ConfigurationError):
            await client.chat("m", "x", odd=object())
    assert client.snapshot()["keys"]["explicit"]["failures"] == 0
    assert client.circuit_state == "CLOSED"


async def test_usage_is_counted_and_can_be_reset(client: AsyncClient, sim: Simulator) -> None:
    await client.chat("a", "x")
    await client.stream("b", "x").collect()
    sim.script(Fault.status(400))
    with pytest.raises(InvalidRequest):
        await client.chat("a", "x")
    sim.script(Fault.status(500))
    await client.chat("a", "x")
    sim.script(Fault.bad_json(at=1, data="{oops"))
    await client.stream("b", "x").collect()
    found = client.snapshot()["usage"]
    assert (found["total_requests"], found["successful_requests"], found["failed_requests"]) == (5, 4, 1)
    assert found["errors"] == {"InvalidRequest": 1}
    assert found["retries"] == 1
    assert found["skipped_events"] == 1
    assert found["output_tokens"] == 80
    assert found["models"]["b"]["requests"] == 2
    assert json.dumps(client.snapshot())
    client.reset_usage()
    assert client.snapshot()["usage"]["total_requests"] == 0


async def test_the_callers_request_id_is_his_own(client: AsyncClient) -> None:
    assert (await client.chat("m", "x", request_id="mine-1")).request_id == "mine-1"
    stream = client.stream("m", "x", request_id="mine-2")
    assert (await stream.collect()).request_id == stream.request_id == "mine-2"


async def test_no_field_of_ours_goes_upstream(client: AsyncClient, sim: Simulator) -> None:
    """transformers serve refuses what it does not know."""
    await client.chat(
        "m", "x", priority="LOW", request_id="r", api_key_name="explicit", timeout=5, headers={"X-A": "b"}
    )
    assert set(sim.requests[0].body) == {"model", "messages"}


# --- secrets -----------------------------------------------------------------------------------------------------

KEY = "sk-secret-0123456789abcdef"


def shown(error: BaseException) -> str:
    """All that printing, logging and debugging an error would show of it."""
    parts = ["".join(traceback.format_exception(error))]
    seen: set[int] = set()
    todo: list[BaseException | None] = [error]
    while todo:
        one = todo.pop()
        if one is None or id(one) in seen:
            continue
        seen.add(id(one))
        parts += [repr(one), str(one), repr(one.args), repr(getattr(one, "body", None))]
        if isinstance(one, AccelerateError):
            parts.append(repr(one.__dict__))
        todo += [one.__cause__, one.__context__]
    return "\n".join(parts)


ECHOES = [
    whole({"error": {"message": f"Incorrect API key provided: {KEY}. Find yours", "code": "invalid_api_key"}}, 401),
    whole({"error": {"message": f"Incorrect API key provided: {KEY}"}, "debug": {KEY: [KEY]}}, 400),
    whole({"detail": [{"loc": ["header"], "input": f"Bearer {KEY}"}]}, 422),
    whole(b"x" * 290 + KEY.encode() + b"y" * 50, 500, content_type="text/plain"),
    whole(b"<html>" + b"x" * 280 + KEY.encode(), 502, content_type="text/html"),
    whole({"something": "z" * 490 + KEY}, 400),
    whole(b'{"almost json ' + b"x" * 60 + KEY.encode()),
    whole(["x", KEY]),
    whole({"error": KEY}),
    whole({"choices": [{"message": {"content": {"a": KEY}}}]}),
    whole({"choices": KEY}),
    whole({"error": {"message": "no", "code": KEY, "type": KEY, "param": KEY}}, 400),
    whole({"error": {"message": "no"}}, 400, x_request_id=KEY),
    b"HTTP/1.1 200 OK\r\nx: " + KEY.encode() + b"\x00\r\n\r\n",
    b"HTTP/1.1 " + KEY.encode() + b"\r\n\r\n",
    b"this is not HTTP\r\n\r\n",
    whole(b"", 307, location=f"http://elsewhere.invalid/?key={KEY}"),
    whole(KEY.encode(), content_encoding="gzip"),
    whole(b"x", content_encoding=KEY),
    stream_head() + b"zz" + KEY.encode() + b"\r\n",
]


@pytest.mark.parametrize("answer", ECHOES, ids=range(len(ECHOES)))
@pytest.mark.parametrize("stream", [False, True])
async def test_a_key_that_the_server_echoes_is_not_shown(
    answer: bytes, stream: bool, caplog: pytest.LogCaptureFixture, recwarn: pytest.WarningsRecorder
) -> None:
    caplog.set_level(logging.DEBUG)
    asyncio.get_running_loop().set_debug(True)
    async with (
        RawServer(replies(answer)) as server,
        client_of(server.url, api_key={"prod": KEY}, max_retries=1) as client,
    ):
        with pytest.raises(AccelerateError) as caught:
            await (client.stream("m", "x").collect() if stream else client.chat("m", "x"))
        text = shown(caught.value) + caplog.text + repr(client.snapshot()) + repr(client)
        text += "".join(str(warning.message) for warning in recwarn)
    for secret in (KEY, KEY[:16]):
        assert secret not in text


async def test_a_key_echoed_in_band_is_not_shown() -> None:
    events = (
        b'data: {"choices":[{"delta":{"content":"a"}}]}\n\ndata: {"error":{"message":"bad key '
        + KEY.encode()
        + b'"}}\n\n'
    )
    answer = stream_head() + b"%x\r\n%b\r\n0\r\n\r\n" % (len(events), events)
    first = events.index(b'data: {"error')
    split = stream_head() + b"%x\r\n%b\r\n" % (first, events[:first])

    async def play(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        from tests.upstreams import framed, read_request

        await read_request(reader)
        writer.write(split)
        await writer.drain()
        await asyncio.sleep(0.01)
        writer.write(framed(events[first:]) + b"0\r\n\r\n")
        await writer.drain()

    for server_play in (replies(answer), play):
        async with RawServer(server_play) as server, client_of(server.url, api_key=KEY, max_retries=0) as client:
            with pytest.raises(BackendError) as caught:
                await client.stream("m", "x").collect()
            assert KEY not in shown(caught.value)
            assert "bad key [key explicit]" in str(caught.value)


async def test_no_key_in_logs_reprs_and_urls_of_ordinary_work(
    sim: Simulator, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    caplog.set_level(logging.DEBUG)
    asyncio.get_running_loop().set_debug(True)
    async with client_of(sim.url, api_key={"prod": KEY, "other": KEY + "2"}) as client:
        await client.chat("m", "x")
        sim.script(Fault.status(401), Fault.status(503), Fault.reset())
        await client.stream("m", "x").collect()
        pool = client._backend.pipeline.keys
        text = caplog.text + "".join(capfd.readouterr())
        text += repr([client, client.snapshot(), client._backend, pool, list(pool._keys.values()), client.settings])
        text += repr([request.path + request.query for request in sim.requests])
        text += repr([vars(client), vars(client._backend), vars(pool), vars(client._backend.http)])
    assert KEY not in text


def test_the_sync_client_shows_none_either() -> None:
    client = Client("openai", api_key=KEY, base_url="http://127.0.0.1:1/v1")
    assert KEY not in repr([client, vars(client), client.snapshot(), client.settings])
    client.close()


async def test_a_callers_own_authorization_is_not_shown(sim: Simulator) -> None:
    async with client_of(sim.url, max_retries=0) as client:
        sim.script(Fault.status(400))
        call = client.stream("m", "x", headers={"Authorization": f"Bearer {KEY}"})
        with pytest.raises(InvalidRequest) as caught:
            await call.collect()
        assert KEY not in shown(caught.value) + repr(call) + repr(call._call)
        assert sim.requests[0].key == sim.key_name(KEY)


async def test_errors_say_what_the_support_desk_will_ask(sim: Simulator) -> None:
    async with client_of(sim.url, max_retries=2) as client:
        sim.always(Fault.status(503))
        with pytest.raises(ServerError) as caught:
            await client.chat("m", "x")
        error = caught.value
        assert (error.status, error.backend, error.attempts) == (503, "openai", 3)
        assert error.request_id
        assert error.request_id.startswith("req_sim")
        assert "503" in str(error)
