"""A gateway in front of a simulator, both on real sockets, and what tests ask of them."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Mapping
from typing import Any, cast

from ipfs_accelerate_py.credentials import Secret
from ipfs_accelerate_py.gateway import GatewayConfig, RunningGateway
from ipfs_accelerate_py.gateway.config import BackendEntry, GatewayKey, ModelEntry
from ipfs_accelerate_py.simulator import Simulator
from tests.simulator.raw import Got, RawClient, request, until

__all__ = [
    "ALIAS",
    "CHAT",
    "CLIENT_KEY",
    "MODEL",
    "STREAM",
    "UPSTREAM_KEY",
    "Got",
    "RawClient",
    "Setup",
    "ask",
    "config_for",
    "connect",
    "nothing_held",
    "request",
    "running",
    "until",
]

#: What clients call the model, and what the upstream calls it.
ALIAS = "house-model"
MODEL = "gpt-4o"
UPSTREAM_KEY = "sk-upstream-0123456789abcdef"
CLIENT_KEY = "sk-client-fedcba9876543210"
CHAT: dict[str, Any] = {"model": ALIAS, "messages": [{"role": "user", "content": "Hello"}]}
STREAM: dict[str, Any] = {**CHAT, "stream": True}


class Setup:
    """A running gateway and the simulator behind it."""

    def __init__(self, gateway: RunningGateway, sim: Simulator) -> None:
        self.gateway = gateway
        self.sim = sim

    @property
    def backend(self) -> Any:
        return self.gateway.app.table.backends["openai"]

    async def ask(self, body: Any = CHAT, path: str = "/v1/chat/completions", **options: Any) -> Got:
        return await ask(self.gateway, body, path, **options)

    def status_count(self, status: int) -> int:
        """Requests that metrics know to have ended so."""
        return sum(count for (_, _, each), count in self.gateway.app.metrics.requests.items() if each == status)


def config_for(url: str, *, settings: Mapping[str, Any] | None = None, guarded: bool = False, **fields: Any) -> Any:
    """One model, ``ALIAS``, at ``url``; no retries, unless ``settings`` say otherwise; nothing from the environment."""
    quick = {"max_retries": 0, "initial_retry_delay": 0.0, **(settings or {})}
    target = BackendEntry("openai", base_url=url, keys={"first": Secret(UPSTREAM_KEY)}, settings=quick)
    keys = (GatewayKey("TEST_KEY", Secret(CLIENT_KEY)),) if guarded else ()
    return GatewayConfig(
        models=(ModelEntry(ALIAS, MODEL, target),),
        **{"api_keys": keys, "environment": False, "local": False, "port": 0, "shutdown_timeout": 2.0, **fields},
    )


@contextlib.asynccontextmanager
async def running(
    *,
    sim: Mapping[str, Any] | None = None,
    settings: Mapping[str, Any] | None = None,
    guarded: bool = False,
    **fields: Any,
) -> AsyncIterator[Setup]:
    """A gateway with these fields of `GatewayConfig`, in front of a simulator with these arguments."""
    async with (
        Simulator("openai", **(sim or {})) as simulator,
        RunningGateway(config_for(simulator.url, settings=settings, guarded=guarded, **fields)) as gateway,
    ):
        yield Setup(gateway, simulator)


def connect(gateway: RunningGateway) -> RawClient:
    """One connection to the gateway."""
    return RawClient(cast(Any, gateway))


async def ask(
    gateway: RunningGateway,
    body: Any = CHAT,
    path: str = "/v1/chat/completions",
    *,
    method: str = "POST",
    key: str | None = None,
    content_type: str | None = "application/json",
    **headers: str,
) -> Got:
    """One request on a connection of its own."""
    if content_type is not None and body is not None:
        headers.setdefault("content_type", content_type)
    if key is not None:
        headers["authorization"] = f"Bearer {key}"
    async with connect(gateway) as client:
        await client.send(request(body, path, method=method, **headers))
        return await client.receive()


def error_of(got: Got) -> dict[str, Any]:
    """The error object of an answer, whose shape is that of OpenAI's specification."""
    body = json.loads(got.body)
    assert body.keys() == {"error"}
    error: dict[str, Any] = body["error"]
    assert error.keys() == {"message", "type", "param", "code"}
    assert isinstance(error["message"], str)
    assert isinstance(error["type"], str)
    assert "None" not in (error["param"], error["code"])
    assert got.headers["content-type"] == "application/json"
    assert got.headers["x-request-id"]
    return error


async def nothing_held(setup: Setup) -> None:
    """Slots, keys, connections and requests are back to none, on both sides."""
    pipeline = setup.backend.pipeline
    app = setup.gateway.app

    def at_rest() -> bool:
        return (
            pipeline.admission.active == 0
            and sum(pipeline.admission.queued) == 0
            and pipeline.usage.in_flight == 0
            and all(key["active"] == 0 for key in pipeline.keys.snapshot().values())
            and setup.backend.transport.open_connections == 0
            and app.metrics.in_flight == 0
            and app.metrics.streams == 0
            and setup.sim.in_flight == 0
        )

    async with asyncio.timeout(20):
        while not at_rest():  # noqa: ASYNC110
            await asyncio.sleep(0.002)
