"""Routes, keys, health, request ids: everything around the requests for models."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from ipfs_accelerate_py.simulator import Fault

from .support import CHAT, CLIENT_KEY, UPSTREAM_KEY, Setup, ask, connect, error_of, request, running

pytestmark = pytest.mark.virtual_time

INFERENCE = ["/v1/chat/completions", "/v1/completions", "/v1/responses", "/v1/embeddings"]
GUARDED = [*[("POST", path) for path in INFERENCE], ("GET", "/v1/models"), ("GET", "/v1/models/x"), ("GET", "/metrics")]


@pytest.mark.parametrize(("method", "path"), GUARDED)
@pytest.mark.parametrize("key", [None, "", "wrong", CLIENT_KEY[:-1], CLIENT_KEY + "x", CLIENT_KEY.upper()])
async def test_without_the_right_key_there_is_nothing(guarded: Setup, method: str, path: str, key: str | None) -> None:
    got = await ask(guarded.gateway, CHAT if method == "POST" else None, path, method=method, key=key)
    assert got.status == 401
    assert error_of(got)["code"] == "invalid_api_key"
    assert got.headers["www-authenticate"] == "bearer"
    assert key is None or key == "" or key.encode() not in got.raw
    assert guarded.sim.requests == []


async def test_with_the_right_key_there_is(guarded: Setup) -> None:
    for method, path in (("POST", "/v1/chat/completions"), ("GET", "/v1/models"), ("GET", "/metrics")):
        body = CHAT if method == "POST" else None
        assert (await ask(guarded.gateway, body, path, method=method, key=CLIENT_KEY)).status == 200
    lower = await ask(guarded.gateway, CHAT, authorization=f"bearer   {CLIENT_KEY}")
    assert lower.status == 200


@pytest.mark.parametrize("value", [CLIENT_KEY, f"Basic {CLIENT_KEY}", f"Bearer{CLIENT_KEY}", "Bearer", "Bearer \xff"])
async def test_other_ways_to_show_a_key(guarded: Setup, value: str) -> None:
    raw = request(CHAT, content_type="application/json").replace(
        b"\r\n\r\n", b"\r\nAuthorization: " + value.encode("latin-1") + b"\r\n\r\n", 1
    )
    async with connect(guarded.gateway) as client:
        await client.send(raw)
        assert (await client.receive()).status == 401


async def test_a_key_is_asked_for_before_the_body_is_read(guarded: Setup) -> None:
    async with connect(guarded.gateway) as client:
        await client.send(
            b"POST /v1/chat/completions HTTP/1.1\r\nHost: h\r\nContent-Type: application/json\r\n"
            b"Content-Length: 60000000\r\n\r\n{"
        )
        got = await client.receive(to_end=True)
    assert (got.status, got.end) == (401, "fin")


async def test_health_is_open_to_all(guarded: Setup) -> None:
    got = await ask(guarded.gateway, None, "/health", method="GET")
    assert got.status == 200
    assert got.json["status"] == "ok"


async def test_health_says_when_the_gateway_is_about_to_stop(setup: Setup) -> None:
    setup.gateway.app.draining = True
    got = await ask(setup.gateway, None, "/health", method="GET")
    assert (got.status, got.json["status"]) == (503, "draining")
    assert (await setup.ask()).status == 200


@pytest.mark.parametrize(
    ("method", "path", "status", "words"),
    [
        ("GET", "/", 404, "/"),
        ("GET", "/v1", 404, "/v1"),
        ("POST", "/chat/completions", 404, "Did you mean /v1/chat/completions?"),
        ("POST", "/v1/chat/completions/", 404, "Did you mean /v1/chat/completions?"),
        ("GET", "/v1/models/", 404, "Did you mean /v1/models?"),
        ("POST", "/v1/fine_tuning/jobs", 404, "nothing at /v1/fine_tuning/jobs"),
        ("GET", "/v1/%63hat/completions", 405, "it takes POST"),
        ("GET", "/v1/chat/completions", 405, "it takes POST"),
        ("DELETE", "/v1/models", 405, "it takes GET, HEAD"),
        ("DELETE", "/v1/models/gpt", 405, "it takes GET, HEAD"),
        ("OPTIONS", "/v1/chat/completions", 405, "it takes POST"),
        ("POST", "/health", 405, "it takes GET, HEAD"),
    ],
)
async def test_paths_and_methods_that_are_none(setup: Setup, method: str, path: str, status: int, words: str) -> None:
    got = await ask(setup.gateway, None, path, method=method)
    assert got.status == status
    assert words in error_of(got)["message"]
    assert ("allow" in got.headers) is (status == 405)


@pytest.mark.parametrize("given", ["a", "mine-1", "with space", "x" * 128, "{}[]~!"])
async def test_a_sane_request_id_is_kept(setup: Setup, given: str) -> None:
    got = await setup.ask(x_request_id=given)
    assert got.headers["x-request-id"] == given


@pytest.mark.parametrize("given", ["", "x" * 129, "tab\there", "caf\xe9"])
async def test_another_one_is_replaced(setup: Setup, given: str) -> None:
    raw = request(CHAT, content_type="application/json").replace(
        b"\r\n\r\n", b"\r\nX-Request-Id: " + given.encode("latin-1") + b"\r\n\r\n", 1
    )
    async with connect(setup.gateway) as client:
        await client.send(raw)
        got = await client.receive()
    assert got.status == 200
    assert got.headers["x-request-id"].startswith("req_")


async def test_what_a_client_sends_of_headers_does_not_reach_the_upstream(setup: Setup) -> None:
    """Neither its own key, nor cookies, nor anything that could speak to the upstream in the gateway's name."""
    extra = {"cookie": "a=b", "openai_organization": "theirs", "x_forwarded_for": "1.2.3.4", "user_agent": "theirs"}
    await setup.ask(key="sk-clients-own", **extra)
    [sent] = setup.sim.requests
    assert sent.key == setup.sim.key_name(UPSTREAM_KEY)
    assert not {"cookie", "openai-organization", "x-forwarded-for"} & sent.headers.keys()
    assert sent.headers["user-agent"] != "theirs"


@pytest.mark.parametrize("value", ["URGENT", "7", "-1", ""])
async def test_priorities_that_are_none(setup: Setup, value: str) -> None:
    got = await setup.ask(x_priority=value)
    assert got.status == 400
    assert error_of(got)["param"] == "x-priority"


async def test_priorities_decide_who_is_next() -> None:
    async with running(sim={"latency": 0.02}, settings={"max_concurrent_requests": 1}) as setup:

        async def send(name: str, **headers: str) -> Any:
            return await setup.ask({**CHAT, "user": name}, **headers)

        first = asyncio.create_task(send("first"))
        while not setup.sim.in_flight:  # noqa: ASYNC110
            await asyncio.sleep(0.001)
        others = []
        for name, priority in (("low", "LOW"), ("normal", ""), ("high", "high"), ("also high", "0")):
            headers = {"x_priority": priority} if priority else {}
            others.append(asyncio.create_task(send(name, **headers)))
            await asyncio.sleep(0.003)
        await asyncio.gather(first, *others)
        assert [each.body["user"] for each in setup.sim.requests] == ["first", "high", "also high", "normal", "low"]


async def test_nobody_foresaw_it(
    setup: Setup, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A fault of ours is an error in OpenAI's shape, and its words stay in the log."""

    async def fail(name: str) -> None:
        raise RuntimeError("a detail of the inside")

    monkeypatch.setattr(setup.gateway.app.table, "find", lambda name: None)
    monkeypatch.setattr(setup.gateway.app.table, "discover", fail)
    got = await setup.ask()
    assert got.status == 500
    assert error_of(got)["code"] == "internal_error"
    assert got.headers["x-should-retry"] == "false"
    assert b"inside" not in got.raw
    assert "a detail of the inside" in caplog.text
    assert got.headers["x-request-id"] in caplog.text


async def test_nobody_foresaw_it_in_mid_stream(
    setup: Setup, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    from ipfs_accelerate_py.stream import Stream

    original = Stream.next_batch
    calls = 0

    async def fail(self: Stream) -> Any:
        nonlocal calls
        calls += 1
        if calls > 1:
            raise RuntimeError("a detail of the inside")
        return await original(self)

    monkeypatch.setattr(Stream, "next_batch", fail)
    setup.sim.script(Fault.split(size=200))
    got = await setup.ask({**CHAT, "stream": True})
    assert got.events[-1]["error"]["code"] == "internal_error"
    assert "[DONE]" not in got.events
    assert "a detail of the inside" in caplog.text
