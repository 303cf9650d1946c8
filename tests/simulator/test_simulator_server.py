"""The server itself: HTTP, keys, records, clients that go away, its life and its thread."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import threading
from collections.abc import AsyncIterator

import httpx
import pytest

from ipfs_accelerate_py.errors import UnknownBackend
from ipfs_accelerate_py.simulator import Fault, Simulator, SimulatorThread, available, serve

from .raw import CHAT, STREAM, RawClient, Time, ask, request, until


@pytest.fixture
async def sim() -> AsyncIterator[Simulator]:
    async with Simulator() as simulator:
        yield simulator


def _answers(raw: bytes) -> int:
    """How many answers came, the last of them whole."""
    return raw.count(b"HTTP/1.1 200 OK") if raw.endswith((b"0\r\n\r\n", b"}")) else 0


# --- HTTP --------------------------------------------------------------------------------------------------------


async def test_pipelined_requests_are_answered_in_order(sim: Simulator) -> None:
    async with RawClient(sim) as client:
        many = [request({**(STREAM if number % 3 == 0 else CHAT), "model": f"m{number}"}) for number in range(30)]
        await client.send(b"".join(many))
        data = (await client.receive(to_end=True, done=lambda got: _answers(got.raw) == 30)).raw
    found = [part.partition(b'"model":"')[2].partition(b'"')[0].decode() for part in data.split(b"HTTP/1.1")[1:]]
    assert found == [f"m{number}" for number in range(30)]


async def test_an_answer_that_takes_time_holds_back_those_behind_it() -> None:
    async with Simulator() as sim, RawClient(sim) as client:
        sim.script(Fault.latency(0.02), Fault.ok())
        await client.send(request({**CHAT, "model": "slow"}) + request({**CHAT, "model": "fast"}))
        assert b'"model":"slow"' in (await client.receive()).raw
        await until(lambda: sim.in_flight == 0)
        assert [one.body["model"] for one in sim.requests] == ["slow", "fast"]
        assert sim.requests[1].t_start >= (sim.requests[0].t_end or 0)


async def test_thousands_of_pipelined_requests_pause_reading_and_are_all_answered(sim: Simulator) -> None:
    async with RawClient(sim) as client:
        sim.script(Fault.latency(0.01))
        small = request(None, "/v1/models", method="GET")
        sending = asyncio.create_task(client.send(small * 2000))
        await client.receive(to_end=True, done=lambda got: _answers(got.raw) == 2000)
        await sending
        assert len(sim.requests) == 2000


async def test_a_request_may_come_in_any_pieces(sim: Simulator) -> None:
    data = request({**CHAT, "model": "piecemeal"})
    async with RawClient(sim) as client:
        for byte in data:
            await client.send(bytes([byte]))
            await asyncio.sleep(0)
        assert (await client.receive()).json["model"] == "piecemeal"


async def test_connection_close_and_http_1_0(sim: Simulator) -> None:
    got = await ask(sim, connection="close", to_end=True)
    assert (got.end, got.headers["connection"]) == ("fin", "close")
    async with RawClient(sim) as client:
        await client.send(request(STREAM).replace(b"HTTP/1.1", b"HTTP/1.0"))
        got = await client.receive()
        assert (got.end, got.events[-1]) == ("fin", "[DONE]")
        assert "transfer-encoding" not in got.headers


async def test_head_has_the_length_and_no_body(sim: Simulator) -> None:
    async with RawClient(sim) as client:
        await client.send(request(None, "/v1/models", method="HEAD") + request(None, "/v1/models", method="GET"))
        raw = (await client.receive(to_end=True, done=lambda got: _answers(got.raw) == 2)).raw
    first, second = raw.split(b"HTTP/1.1 ")[1:]
    assert first.endswith(b"\r\n\r\n")
    length = first.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0]
    assert int(length) == len(second.partition(b"\r\n\r\n")[2]) > 0


async def test_chunked_request_bodies_and_expect_continue(sim: Simulator) -> None:
    body = b'{"model":"m","input":"x"}'
    async with RawClient(sim) as client:
        await client.send(
            b"POST /v1/embeddings HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\nexpect: 100-continue\r\n\r\n"
        )
        got = await client.receive(done=lambda got: got.status == 100)
        assert got.raw == b"HTTP/1.1 100 Continue\r\n\r\n"
        await client.send(b"5\r\n%b\r\n%x\r\n%b\r\n0\r\n\r\n" % (body[:5], len(body) - 5, body[5:]))
        assert (await client.receive()).status == 200


@pytest.mark.parametrize(
    ("data", "status"),
    [
        (b"this is not HTTP\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\ncontent-length: 1\r\ntransfer-encoding: chunked\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nx: " + b"y" * 70_000, 431),
    ],
)
async def test_bad_http_is_refused_and_the_connection_closed(sim: Simulator, data: bytes, status: int) -> None:
    async with RawClient(sim) as client:
        await client.send(data)
        got = await client.receive(to_end=True)
    assert (got.status, got.end) == (status, "fin")
    assert got.json["error"]["type"] == "invalid_request_error"
    assert sim.open_connections == 0


async def test_body_over_the_limit_is_refused(sim: Simulator, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ipfs_accelerate_py.simulator.connection.MAX_BODY", 1000)
    got = await ask(sim, b"x" * 1001, to_end=True)
    assert (got.status, got.headers["connection"]) == (413, "close")


async def test_an_upgrade_is_ignored_and_the_request_answered(sim: Simulator) -> None:
    got = await ask(sim, None, "/v1/models", method="GET", connection="upgrade", upgrade="h2c", to_end=True)
    assert (got.status, got.end) == (200, "fin")


# --- records and keys --------------------------------------------------------------------------------------------


async def test_records_say_what_happened_and_never_a_key() -> None:
    now = Time()
    async with Simulator(clock=now, sleep=now.sleep, latency=2.0, api_keys={"first": "sk-secret"}) as sim:
        await ask(
            sim, CHAT, "/v1/chat/completions?a=1&api_key=sk-query", authorization="Bearer sk-secret", x_more="sk-other"
        )
        await ask(sim, CHAT, authorization="Bearer sk-wrong", cookie="c=sk-cookie", api_key="sk-azure")
        first, second = sim.requests
    assert (first.number, first.method, first.path, first.query) == (
        1,
        "POST",
        "/v1/chat/completions",
        "a=1&api_key=<redacted>",
    )
    assert (first.body, first.key, first.status) == (CHAT, "first", 200)
    assert (first.t_start, first.t_end) == (100.0, 102.0)
    assert first.headers["authorization"] == "<first>"
    assert (second.status, second.key) == (401, sim.key_name("sk-wrong"))
    text = repr(sim.requests).replace("sk-other", "")
    assert "sk-" not in text


async def test_keys_are_checked_when_some_are_given() -> None:
    async with Simulator(api_keys={"sk-1", "sk-2"}) as sim:
        got = await ask(sim)
        assert (got.status, got.json["error"]["code"]) == (401, None)
        assert "didn't provide an API key" in got.json["error"]["message"]
        got = await ask(sim, authorization="Bearer sk-3")
        assert (got.status, got.json["error"]["code"]) == (401, "invalid_api_key")
        assert "sk-3" not in got.body.decode()
        assert (await ask(sim, authorization="Bearer sk-2")).status == 200
        assert (await ask(sim, api_key="sk-1")).status == 200
        assert (await ask(sim, authorization="Basic sk-1")).status == 401


async def test_only_so_many_records_are_kept() -> None:
    async with Simulator(keep=5) as sim, RawClient(sim) as client:
        for _ in range(23):
            await client.send(request())
            await client.receive()
        assert 5 <= len(sim.requests) < 10
        assert sim.requests[-1].number == 23
        assert sim.counts["200"] == 23


async def test_settings_may_change_while_it_runs(sim: Simulator) -> None:
    assert (await ask(sim)).json["usage"]["completion_tokens"] == 20
    sim.configure(tokens=3)
    assert (await ask(sim)).json["usage"]["completion_tokens"] == 3
    sim.configure(reply="As told, exactly.")
    assert (await ask(sim)).json["choices"][0]["message"]["content"] == "As told, exactly."
    assert (await ask(sim, STREAM)).tokens == ["As", " told,", " exactly."]
    sim.configure(reply=lambda body: body["messages"][-1]["content"].upper())
    assert (await ask(sim)).json["choices"][0]["message"]["content"] == "HELLO"


async def test_a_reply_that_fails_is_answered_and_reported(sim: Simulator) -> None:
    reported: list[str] = []
    sim.loop.set_exception_handler(lambda _, context: reported.append(str(context["exception"])))
    sim.configure(reply=lambda body: body["nothing"])
    got = await ask(sim)
    assert (got.status, got.json["error"]["type"]) == (500, "simulator_error")
    assert reported == ["'nothing'"]
    assert sim.in_flight == 0


# --- clients that go away ----------------------------------------------------------------------------------------


async def test_a_client_that_leaves_a_stream_stops_it() -> None:
    async with Simulator(chunk_interval=0.005, tokens=1000) as sim:
        async with RawClient(sim) as client:
            await client.send(request(STREAM))
            await client.receive(most=2000)
            assert sim.in_flight == 1
        await until(lambda: sim.in_flight == 0)
        one = sim.requests[0]
        assert one.aborted_by_client
        assert one.t_end is not None
        produced = one.streamed_chunks
        assert 2 <= produced < 200
        await asyncio.sleep(0.02)
        assert one.streamed_chunks == produced
        assert sim.counts == {"200": 1, "aborted": 1}


async def test_a_client_that_does_not_read_holds_the_stream_back_and_may_leave() -> None:
    async with Simulator(tokens=500_000) as sim:
        async with RawClient(sim) as client:
            await client.send(request(STREAM))
            await until(lambda: sim.in_flight == 1)
            before = -1
            while before != sim.requests[0].streamed_chunks:
                before = sim.requests[0].streamed_chunks
                await asyncio.sleep(0.02)
            assert before < 400_000
        await until(lambda: sim.in_flight == 0)
        assert sim.requests[0].aborted_by_client


async def test_a_slow_reader_holds_back_a_paced_stream_too() -> None:
    now = Time()
    async with Simulator(tokens=500_000, chunk_interval=0.001, clock=now, sleep=now.sleep) as sim:
        async with RawClient(sim) as client:
            await client.send(request(STREAM))
            await until(lambda: sim.requests and sim.requests[0].streamed_chunks)
            before = -1
            while before != sim.requests[0].streamed_chunks:
                before = sim.requests[0].streamed_chunks
                await asyncio.sleep(0.02)
            assert 0 < before < 100_000
        await until(lambda: sim.in_flight == 0)


async def test_a_client_that_leaves_in_the_latency() -> None:
    async with Simulator(latency=30) as sim:
        async with RawClient(sim) as client:
            await client.send(request())
            await until(lambda: sim.in_flight == 1)
        await until(lambda: sim.in_flight == 0)
        assert (sim.requests[0].aborted_by_client, sim.requests[0].status) == (True, 0)


async def test_a_client_that_reads_all_and_leaves_has_not_aborted() -> None:
    async with Simulator(tokens=50) as sim:
        async with httpx.AsyncClient() as client:
            for body in (CHAT, STREAM):
                await client.post(sim.url + "/chat/completions", json=body)
        await until(lambda: sim.open_connections == 0)
        assert [one.aborted_by_client for one in sim.requests] == [False, False]


# --- life --------------------------------------------------------------------------------------------------------


async def test_stop_ends_everything_at_once_and_it_can_start_again() -> None:
    sim = Simulator(latency=30)
    await sim.start()
    with pytest.raises(RuntimeError, match="running already"):
        await sim.start()
    async with RawClient(sim) as client, RawClient(sim) as idle:
        await client.send(request())
        await until(lambda: sim.in_flight == 1)
        await sim.stop()
        assert (await client.receive()).end in ("fin", "rst")
        assert (await idle.receive()).end in ("fin", "rst")
    assert (sim.in_flight, sim.open_connections) == (0, 0)
    assert not sim.requests[0].aborted_by_client
    with pytest.raises(ConnectionRefusedError):
        await ask(sim)
    sim.latency = 0.0
    async with sim:
        assert (await ask(sim)).status == 200


async def test_a_port_that_is_taken_is_said_at_once(sim: Simulator) -> None:
    with pytest.raises(OSError, match=r"in use"):
        await Simulator(port=sim.port).start()
    with pytest.raises(OSError, match=r"in use"):
        SimulatorThread(port=sim.port).start()


def test_wrong_options_are_said_at_once() -> None:
    with pytest.raises(UnknownBackend, match=r"'nope'.*openai"):
        Simulator("nope")
    with pytest.raises(ValueError, match="latency must not be negative"):
        Simulator(latency=-1)
    with pytest.raises(ValueError, match="requests_per_minute must be at least 1"):
        Simulator(requests_per_minute=0)
    with pytest.raises(ValueError, match="not one string"):
        Simulator(api_keys="sk-1")
    with pytest.raises(ValueError, match="rate must be between"):
        Simulator().random(2, ["500"])
    with pytest.raises(ValueError, match="at least one fault"):
        Simulator().random(0.5, [])
    with pytest.raises(ValueError, match="Unknown fault 'nope'"):
        Simulator().script("nope")
    with pytest.raises(RuntimeError, match="not running"):
        _ = Simulator().loop
    assert available() == ("anthropic", "gemini", "ollama", "opea", "openai", "ovms", "tei", "tgi")


def test_on_a_thread_of_its_own() -> None:
    before = threading.active_count()
    with SimulatorThread("openai", tokens=3, api_keys={"k": "sk-1"}) as sim:
        sim.script("500")
        sim.always(Fault.status(418), when=lambda one: one.method == "GET")
        headers = {"authorization": "Bearer sk-1"}
        with httpx.Client(headers=headers) as client:
            assert client.post(sim.url + "/chat/completions", json=CHAT).status_code == 500
            assert client.post(sim.url + "/chat/completions", json=CHAT).json()["usage"]["completion_tokens"] == 3
            assert client.get(sim.url + "/models").status_code == 418
            sim.clear()
            sim.configure(models=("only",))
            assert [one["id"] for one in client.get(sim.url + "/models").json()["data"]] == ["only"]
            sim.random(1.0, ["503"])
            assert client.get(sim.url + "/models").status_code == 503
            assert (sim.open_connections, sim.in_flight) == (1, 0)
        assert [one.status for one in sim.requests] == [500, 200, 418, 200, 503]
        assert sim.counts["200"] == 2
        assert sim.key_name("sk-1") == "k"
        sim.down()
        with pytest.raises(httpx.ConnectError):
            httpx.get(sim.url + "/models")
        sim.up()
        assert httpx.get(sim.url + "/models").status_code == 503
        with pytest.raises(RuntimeError, match="running already"):
            sim.start()
    sim.stop()
    assert threading.active_count() == before
    with pytest.raises(RuntimeError, match="not running"):
        _ = sim.requests


def test_serve_runs_until_it_is_told_to_end() -> None:
    code = (
        "from ipfs_accelerate_py.simulator import serve\n"
        "serve('openai', port=0, tokens=2, script=['429'], faults=['unknown_fields'],"
        " announce=lambda sim: print(sim.url, flush=True))\n"
        "print('ended')\n"
    )
    environment = {**os.environ, "PYTHONWARNINGS": "error"}
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, env=environment) as process:
        try:
            assert process.stdout is not None
            url = process.stdout.readline().strip()
            statuses = [httpx.post(url + "/chat/completions", json=CHAT) for _ in range(2)]
            assert [one.status_code for one in statuses] == [429, 200]
            assert "x_unknown" in statuses[1].json()
            process.send_signal(signal.SIGTERM)
            assert process.stdout.read().strip() == "ended"
            assert process.wait(5) == 0
        finally:
            process.kill()


def test_serve_with_wrong_options_says_so() -> None:
    with pytest.raises(UnknownBackend):
        serve("nope")
    with pytest.raises(ValueError, match="Unknown fault"):
        serve(port=0, faults=["nope"])


def test_works_on_uvloop_too() -> None:
    uvloop = pytest.importorskip("uvloop")

    async def run() -> None:
        async with Simulator() as sim:
            sim.script(Fault.cut(after=3, rst=True), Fault.reset(), Fault.close(), Fault.split(size=0))
            got = await ask(sim, STREAM)
            assert (len(got.tokens), got.end) == (3, "rst")
            assert (await ask(sim)).end == "rst"
            assert (await ask(sim)).end == "fin"
            assert (await ask(sim)).status == 200
            sim.down()
            with pytest.raises(ConnectionRefusedError):
                await ask(sim)
            await sim.up()
            assert (await ask(sim)).status == 200

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(run())


def test_importing_it_needs_nothing_but_the_base() -> None:
    code = (
        "import sys; import ipfs_accelerate_py.simulator\n"
        "heavy = {'aiohttp', 'torch', 'starlette', 'rich', 'click', 'httpx', 'yaml', 'uvloop'} & set(sys.modules)\n"
        "ours = {name for name in sys.modules if name.startswith('ipfs_accelerate_py.')}\n"
        "print(sorted(heavy), sorted({name.split('.')[1] for name in ours}))"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert out.startswith("[] ")
    assert "transport" not in out


@pytest.mark.parametrize("service", available())
async def test_every_answer_says_that_a_simulator_made_it(service: str) -> None:
    async with Simulator(service) as sim, httpx.AsyncClient() as client:
        for answer in (await client.get(f"{sim.url}/models"), await client.post(f"{sim.url}/nothing")):
            assert answer.headers["x-simulator"] == "ipfs_accelerate_py"
