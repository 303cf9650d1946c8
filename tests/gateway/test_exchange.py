"""The HTTP layer under applications that do odd things: whatever they do, no answer looks complete that is not."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from ipfs_accelerate_py.gateway.incoming import Incoming
from ipfs_accelerate_py.gateway.ingresses import ingress

from .support import CHAT, Got, Setup, ask, connect, error_of, request

pytestmark = pytest.mark.virtual_time

Handler = Callable[[Incoming], Awaitable[None]]


def serve(setup: Setup, handler: Handler) -> None:
    """Put the handler at /odd."""
    app = setup.gateway.app
    app._posts["/odd"] = app._gets["/odd"] = (handler, "/odd", False, ingress("openai"))


async def odd(setup: Setup, handler: Handler, method: str = "GET") -> Got:
    """What a client gets of the handler's answer; after it the gateway serves on."""
    serve(setup, handler)
    async with connect(setup.gateway) as client:
        await client.send(request(None, "/odd", method=method, connection="close"))
        got = await client.receive(to_end=True)
    assert (await ask(setup.gateway, None, "/health", method="GET")).status == 200
    assert setup.gateway.app.metrics.in_flight == 0
    return got


def start(*headers: tuple[bytes, bytes], status: int = 200) -> dict[str, Any]:
    return {"type": "http.response.start", "status": status, "headers": list(headers)}


def body(data: bytes = b"", more: bool = False) -> dict[str, Any]:
    return {"type": "http.response.body", "body": data, "more_body": more}


async def test_no_answer_at_all(setup: Setup, caplog: pytest.LogCaptureFixture) -> None:
    async def handler(incoming: Incoming) -> None:
        return

    got = await odd(setup, handler)
    assert (got.status, got.json["error"]["code"]) == (500, "internal_error")
    assert "returned before its answer was complete" in caplog.text


async def test_half_an_answer(setup: Setup, caplog: pytest.LogCaptureFixture) -> None:
    async def handler(incoming: Incoming) -> None:
        incoming.started = True
        await incoming.send(start())
        await incoming.send(body(b"half", more=True))

    got = await odd(setup, handler)
    assert got.body == b"half"
    assert not got.raw.endswith(b"0\r\n\r\n")
    assert "returned before its answer was complete" in caplog.text


async def test_a_failure_after_the_beginning(setup: Setup, caplog: pytest.LogCaptureFixture) -> None:
    async def handler(incoming: Incoming) -> None:
        incoming.started = True
        await incoming.send(start((b"content-length", b"10")))
        await incoming.send(body(b"half", more=True))
        raise RuntimeError("odd")

    got = await odd(setup, handler)
    assert got.body == b"half"
    assert "odd" in caplog.text


@pytest.mark.parametrize("data", [b"short", b"much too long"])
async def test_a_body_that_is_not_as_long_as_it_says(
    setup: Setup, data: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    async def handler(incoming: Incoming) -> None:
        await incoming.send(start((b"content-length", b"8")))
        await incoming.send(body(data))

    got = await odd(setup, handler)
    assert got.status == 500
    assert "not as long as" in caplog.text


async def test_a_header_cannot_be_split(setup: Setup, caplog: pytest.LogCaptureFixture) -> None:
    async def handler(incoming: Incoming) -> None:
        await incoming.send(start((b"x-odd", b"a\r\nset-cookie: b")))

    got = await odd(setup, handler)
    assert got.status == 500
    assert "set-cookie" not in got.headers
    assert "line break" in caplog.text


@pytest.mark.parametrize(
    "messages",
    [
        [body(b"first")],
        [start(), start()],
        [start((b"content-length", b"0")), body(), body()],
        [{"type": "http.response.trailers"}],
    ],
)
async def test_messages_in_the_wrong_order(
    setup: Setup, messages: list[dict[str, Any]], caplog: pytest.LogCaptureFixture
) -> None:
    async def handler(incoming: Incoming) -> None:
        for message in messages:
            await incoming.send(message)

    got = await odd(setup, handler)
    # What comes after a complete answer on a connection that is about to close does no harm.
    assert got.status == (200 if len(messages) == 3 else 500)
    assert bool(caplog.records) is (got.status == 500)


async def test_a_large_answer(setup: Setup) -> None:
    async def handler(incoming: Incoming) -> None:
        await incoming.answer(200, b"x" * 1_000_000)

    assert (await odd(setup, handler)).body == b"x" * 1_000_000


@pytest.mark.parametrize("status", [204, 304])
async def test_answers_without_a_body(setup: Setup, status: int) -> None:
    async def handler(incoming: Incoming) -> None:
        await incoming.send(start(status=status))
        await incoming.send(body())

    got = await odd(setup, handler)
    assert got.status == status
    assert not {"transfer-encoding", "content-length"} & got.headers.keys()
    assert got.raw.endswith(b"\r\n\r\n")


async def test_a_status_without_a_name(setup: Setup) -> None:
    async def handler(incoming: Incoming) -> None:
        await incoming.answer(299, b"{}")

    assert (await odd(setup, handler)).raw.startswith(b"HTTP/1.1 299 \r\n")


async def test_a_stream_begins_before_its_first_piece(setup: Setup) -> None:
    """Who waits for an event knows that the answer has begun."""
    go = asyncio.Event()

    async def handler(incoming: Incoming) -> None:
        await incoming.send(start((b"content-type", b"text/event-stream")))
        await go.wait()
        await incoming.send(body(b"data: 1\n\n", more=True))
        await incoming.send(body())

    serve(setup, handler)
    async with connect(setup.gateway) as client:
        await client.send(request(None, "/odd", method="GET"))
        begun = await client.receive(done=lambda got: got.raw.endswith(b"\r\n\r\n"))
        assert begun.status == 200
        go.set()
        rest = await client.receive(done=lambda got: got.raw.endswith(b"0\r\n\r\n"))
        assert rest.raw == b"9\r\ndata: 1\n\n\r\n0\r\n\r\n"


async def test_receive_tells_of_the_end(setup: Setup) -> None:
    """After a complete request there is nothing but the client's leaving, or the answer's end."""
    told: list[str] = []

    async def handler(incoming: Incoming) -> None:
        message = await incoming._receive()
        told.append(message["type"])
        waiting = asyncio.create_task(asyncio.wait_for(incoming._receive(), 5))
        await incoming.answer(200, b"{}")
        told.append((await waiting)["type"])
        told.append((await incoming._receive())["type"])

    got = await odd(setup, handler)
    assert got.status == 200
    assert told == ["http.request", "http.disconnect", "http.disconnect"]


async def test_who_registers_too_late_is_told_at_once(setup: Setup) -> None:
    left: list[bool] = []
    begun = asyncio.Event()

    async def handler(incoming: Incoming) -> None:
        begun.set()
        while (await incoming._receive())["type"] != "http.disconnect":
            pass
        incoming.scope["extensions"]["ipfs_accelerate.disconnect"](lambda: left.append(True))
        incoming.left = True

    serve(setup, handler)
    async with connect(setup.gateway) as client:
        await client.send(request(CHAT, "/odd"))
        await begun.wait()
    async with asyncio.timeout(20):
        while not left:  # noqa: ASYNC110
            await asyncio.sleep(0.001)
    assert left == [True]


async def test_an_error_of_the_application_has_openais_shape(setup: Setup) -> None:
    async def handler(incoming: Incoming) -> None:
        raise ZeroDivisionError

    assert error_of(await odd(setup, handler))["code"] == "internal_error"
