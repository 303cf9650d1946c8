"""No key is shown: not in errors, logs, reprs, snapshots or URLs, whatever the server echoes."""

from __future__ import annotations

import asyncio
import logging
import traceback
from collections.abc import AsyncIterator

import pytest

from ipfs_accelerate_py import AsyncClient, Client
from ipfs_accelerate_py.errors import (
    AccelerateError,
    BackendError,
    InvalidRequest,
    ServerError,
)
from ipfs_accelerate_py.simulator import Fault, Simulator
from tests.upstreams import RawServer, client_of, nothing_held, replies, stream_head, whole

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
