"""The application by itself: it is plain ASGI, so another server may run it, and it is asked here without any."""

from __future__ import annotations

import asyncio
import json
from collections.abc import MutableMapping
from typing import Any

import pytest

from ipfs_accelerate_py.gateway.app import GatewayApp
from ipfs_accelerate_py.simulator import Fault, Simulator

from .support import CHAT, STREAM, config_for

pytestmark = pytest.mark.virtual_time


class Caller:
    """What a server is to the application: it brings the request, and takes the answer."""

    def __init__(self, app: GatewayApp, body: Any, path: str = "/v1/chat/completions") -> None:
        self.sent: list[MutableMapping[str, Any]] = []
        self._app = app
        self._scope = {
            "type": "http",
            "asgi": {"version": "3.0"},
            "http_version": "1.1",
            "method": "POST",
            "path": path,
            "query_string": b"",
            "headers": [(b"content-type", b"application/json")],
        }
        raw = json.dumps(body).encode()
        self._messages: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        for part, more in ((raw[:10], True), (raw[10:], False)):
            self._messages.put_nowait({"type": "http.request", "body": part, "more_body": more})

    def leave(self) -> None:
        self._messages.put_nowait({"type": "http.disconnect"})

    async def run(self) -> None:
        async def send(message: MutableMapping[str, Any]) -> None:
            self.sent.append(message)

        await self._app(self._scope, self._messages.get, send)

    @property
    def status(self) -> int:
        return int(self.sent[0]["status"])

    @property
    def body(self) -> bytes:
        return b"".join(message.get("body", b"") for message in self.sent[1:])


@pytest.mark.parametrize("body", [CHAT, STREAM])
async def test_it_answers(body: dict[str, Any]) -> None:
    async with Simulator("openai") as sim:
        app = GatewayApp(config_for(sim.url))
        caller = Caller(app, body)
        await caller.run()
        assert caller.status == 200
        assert caller.sent[-1].get("more_body", False) is False
        assert caller.body
        await app.aclose()


@pytest.mark.parametrize("fault", [Fault.hang(), Fault.stall(), Fault.silence(after=2)], ids=str)
async def test_who_leaves_is_noticed_without_our_own_server(fault: Fault) -> None:
    async with Simulator("openai") as sim:
        app = GatewayApp(config_for(sim.url))
        sim.always(fault)
        caller = Caller(app, STREAM)
        running = asyncio.create_task(caller.run())
        while not sim.in_flight:  # noqa: ASYNC110
            await asyncio.sleep(0.001)
        await asyncio.sleep(0.02)
        caller.leave()
        await running
        while sim.in_flight:  # noqa: ASYNC110
            await asyncio.sleep(0.001)
        assert sim.requests[0].aborted_by_client
        assert app.table.backends["openai"].pipeline.admission.active == 0
        assert app.metrics.disconnects == 1
        await app.aclose()


async def test_who_leaves_before_the_end_of_the_body() -> None:
    async with Simulator("openai") as sim:
        app = GatewayApp(config_for(sim.url))
        caller = Caller(app, CHAT)
        caller._messages.get_nowait()
        caller._messages.get_nowait()
        caller._messages.put_nowait({"type": "http.request", "body": b"{", "more_body": True})
        caller.leave()
        await caller.run()
        assert caller.sent == []
        assert sim.requests == []
        await app.aclose()


async def test_the_server_may_cancel_what_takes_too_long() -> None:
    """The client is told, in whichever way is still open."""
    async with Simulator("openai") as sim:
        app = GatewayApp(config_for(sim.url))
        sim.script(Fault.hang(), Fault.silence(after=2))
        for body in (CHAT, STREAM):
            caller = Caller(app, body)
            running = asyncio.create_task(caller.run())
            while not sim.in_flight:  # noqa: ASYNC110
                await asyncio.sleep(0.001)
            await asyncio.sleep(0.02)
            running.cancel()
            await running
            assert caller.status == (503 if body is CHAT else 200)
            assert b"shutting_down" in caller.body
            assert b"[DONE]" not in caller.body
            assert caller.sent[-1].get("more_body", False) is False
            while sim.in_flight:  # noqa: ASYNC110
                await asyncio.sleep(0.001)
        await app.aclose()


async def test_life_begins_and_ends() -> None:
    async with Simulator("openai") as sim:
        app = GatewayApp(config_for(sim.url))
        messages: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        sent: asyncio.Queue[MutableMapping[str, Any]] = asyncio.Queue()
        running = asyncio.create_task(app({"type": "lifespan"}, messages.get, sent.put))
        messages.put_nowait({"type": "lifespan.startup"})
        assert (await sent.get())["type"] == "lifespan.startup.complete"
        await Caller(app, CHAT).run()
        messages.put_nowait({"type": "lifespan.shutdown"})
        assert (await sent.get())["type"] == "lifespan.shutdown.complete"
        await running
        assert app.draining


async def test_there_are_no_websockets() -> None:
    app = GatewayApp(config_for("http://127.0.0.1:9/v1"))
    sent: asyncio.Queue[MutableMapping[str, Any]] = asyncio.Queue()
    await app({"type": "websocket"}, asyncio.Queue().get, sent.put)
    assert (await sent.get())["type"] == "websocket.close"
    await app.aclose()
