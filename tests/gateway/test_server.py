"""A gateway as a process of its own: what it prints, how it stops; and as a part of another program."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from ipfs_accelerate_py.errors import ConfigurationError
from ipfs_accelerate_py.gateway import GatewayConfig, GatewayServer, RunningGateway
from ipfs_accelerate_py.gateway.app import GatewayApp
from ipfs_accelerate_py.gateway.banner import banner
from ipfs_accelerate_py.simulator import Fault, Simulator
from tests.conftest import ROOT

from .support import CHAT, CLIENT_KEY, STREAM, UPSTREAM_KEY, ask, config_for, until

PROGRAM = """
import sys
from ipfs_accelerate_py.gateway import load_config, serve
serve(load_config(sys.argv[1]), announce=lambda line: print(line, flush=True))
"""


class Process:
    """``serve`` in a process of its own."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process
        self.lines: list[str] = []
        self.rest = b""

    @property
    def url(self) -> str:
        return self.lines[0].split(" on ")[1]

    async def ready(self) -> None:
        """Read what it announces, up to the line to paste."""
        assert self.process.stdout is not None
        async with asyncio.timeout(60):
            while not (self.lines and self.lines[-1].strip().startswith("curl ")):
                line = await self.process.stdout.readline()
                assert line, "it ended before it was ready"
                self.lines.append(line.decode().rstrip())

    def signal(self, number: int = signal.SIGTERM) -> None:
        self.process.send_signal(number)

    async def ended(self) -> int:
        """Its exit status; `rest` is what it wrote since."""
        async with asyncio.timeout(60):
            self.rest, _ = await self.process.communicate()
        assert self.process.returncode is not None
        return self.process.returncode


@contextlib.asynccontextmanager
async def serving(tmp_path: Path, url: str, gateway: str = "", model: str = "openai/gpt-4o") -> AsyncIterator[Process]:
    path = tmp_path / "gateway.yaml"
    path.write_text(
        "model_list:\n"
        f"  - {{name: house-model, model: {model}, base_url: '{url}', api_key: {UPSTREAM_KEY}}}\n"
        f"gateway: {{port: 0, {gateway}}}\n"
    )
    command = [sys.executable, "-W", "error", "-c", PROGRAM, str(path)]
    environ = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])}
    process = Process(
        await asyncio.create_subprocess_exec(
            *command, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT, env=environ
        )
    )
    try:
        await process.ready()
        yield process
    finally:
        if process.process.returncode is None:
            process.process.kill()
            await process.process.wait()
        transport: Any = process.process
        transport._transport.close()


def test_importing_it_is_cheap() -> None:
    """Neither models nor web frameworks nor clients are loaded before somebody needs them."""
    code = "import sys, ipfs_accelerate_py.gateway; print(*sorted({name.split('.')[0] for name in sys.modules}))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=True)
    heavy = {"torch", "transformers", "numpy", "prometheus_client", "starlette", "aiohttp", "uvicorn", "rich", "openai"}
    assert heavy & set(done.stdout.split()) == set()


async def test_what_it_says_and_the_line_to_paste(tmp_path: Path) -> None:
    async with Simulator("openai") as sim, serving(tmp_path, sim.url) as process:
        text = "\n".join(process.lines)
        assert "house-model" in text
        assert UPSTREAM_KEY not in text
        assert sim.requests == []
        if shutil.which("curl"):
            pasted = await asyncio.create_subprocess_shell(f"{process.lines[-1]} --silent", stdout=subprocess.PIPE)
            out, _ = await pasted.communicate()
            assert json.loads(out)["object"] == "chat.completion"
        process.signal(signal.SIGINT)
        assert await process.ended() == 0
        assert process.rest == b""


async def test_sigterm_lets_answers_finish(tmp_path: Path) -> None:
    async with (
        Simulator("openai", chunk_interval=0.03, tokens=60) as sim,
        serving(tmp_path, sim.url) as process,
        httpx.AsyncClient(timeout=60) as client,
        client.stream("POST", f"{process.url}/chat/completions", json=STREAM) as answer,
    ):
        lines = answer.aiter_lines()
        await anext(lines)
        process.signal()
        with pytest.raises(httpx.ConnectError):
            while True:  # it takes a moment to hear of it, and who is connecting at that moment is cut off
                with contextlib.suppress(httpx.RemoteProtocolError, httpx.ReadError):
                    await client.get(process.url.removesuffix("/v1") + "/health", headers={"connection": "close"})
                await asyncio.sleep(0.02)
        rest = [line async for line in lines if line]
        assert rest[-1] == "data: [DONE]"
        assert len(rest) > 20
        assert await process.ended() == 0
        assert process.rest == b""


@pytest.mark.parametrize("body", [CHAT, STREAM], ids=["unary", "stream"])
async def test_what_does_not_finish_in_time_is_told_so(tmp_path: Path, body: dict[str, Any]) -> None:
    async with Simulator("openai") as sim, serving(tmp_path, sim.url, "shutdown_timeout: 0.2") as process:
        sim.always(Fault.hang() if body is CHAT else Fault.silence(after=2))
        async with httpx.AsyncClient(timeout=60) as client:
            asking = asyncio.create_task(client.post(f"{process.url}/chat/completions", json=body))
            await until(lambda: sim.in_flight == 1)
            await asyncio.sleep(0.05)
            process.signal()
            answer = await asking
        assert "shutting_down" in answer.text
        assert "[DONE]" not in answer.text
        assert answer.status_code == (503 if body is CHAT else 200)
        assert answer.headers["x-request-id"]
        assert await process.ended() == 0
        assert process.rest == b""
        await until(lambda: sim.in_flight == 0)


async def test_a_load_balancer_may_be_given_time_to_notice(tmp_path: Path) -> None:
    async with (
        Simulator("openai") as sim,
        serving(tmp_path, sim.url, "shutdown_delay: 2") as process,
        httpx.AsyncClient(timeout=60) as client,
    ):
        health = process.url.removesuffix("/v1") + "/health"
        assert (await client.get(health)).status_code == 200
        process.signal()
        answer = await client.get(health)
        while answer.status_code == 200:  # it takes a moment to hear of it
            await asyncio.sleep(0.02)
            answer = await client.get(health)
        assert (answer.status_code, answer.json()["status"]) == (503, "draining")
        assert (await client.post(f"{process.url}/chat/completions", json=CHAT)).status_code == 200
        assert await process.ended() == 0


async def test_idle_connections_do_not_hold_it_up(tmp_path: Path) -> None:
    async with (
        Simulator("openai") as sim,
        serving(tmp_path, sim.url) as process,
        httpx.AsyncClient(timeout=60) as client,
    ):
        await client.get(process.url + "/models")
        began = time.monotonic()
        process.signal()
        assert await process.ended() == 0
        assert time.monotonic() - began < 20


async def test_no_key_is_ever_written(tmp_path: Path) -> None:
    """Not by good requests, not by bad ones, not by an upstream that quotes its key."""
    async with (
        Simulator("openai", api_keys=["sk-another"]) as sim,
        serving(tmp_path, sim.url, "api_key: sk-in-file") as process,
    ):
        answers = []
        async with httpx.AsyncClient(timeout=60) as client:
            for key in ("sk-in-file", "sk-wrong-one"):
                client.headers["authorization"] = f"Bearer {key}"
                for path, body in (("/chat/completions", CHAT), ("/chat/completions", {"api_key": "sk-mine"})):
                    answers.append(await client.post(process.url + path, json=body))
                answers.append(await client.get(process.url.removesuffix("/v1") + "/metrics"))
            sim.always(Fault.status(401, message=f"Incorrect API key provided: {UPSTREAM_KEY}"))
            client.headers["authorization"] = "Bearer sk-in-file"
            answers.append(await client.post(process.url + "/chat/completions", json=CHAT))
        process.signal()
        await process.ended()
        written = "\n".join([*process.lines, process.rest.decode(), *(f"{a.headers} {a.text}" for a in answers)])
        for secret in (UPSTREAM_KEY, "sk-in-file", "sk-wrong-one", "sk-mine"):
            assert secret not in written


# --- inside another program --------------------------------------------------------------------------------------


def test_on_a_thread_of_its_own() -> None:
    gateway = GatewayServer(config_for("http://127.0.0.1:9/v1"))
    for _ in range(2):
        with gateway:
            assert httpx.get(gateway.url.removesuffix("/v1") + "/health").json()["status"] == "ok"
    gateway.stop()
    with pytest.raises(httpx.ConnectError):
        httpx.get(gateway.url.removesuffix("/v1") + "/health")


def test_an_address_that_is_taken() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        gateway = GatewayServer(config_for("http://127.0.0.1:9/v1"), port=taken.getsockname()[1])
        with pytest.raises(ConfigurationError, match=r"cannot listen on 127\.0\.0\.1:\d+: .*in use"):
            gateway.start()


async def test_a_host_that_is_none() -> None:
    with pytest.raises(ConfigurationError, match=r"the host 'nowhere\.invalid' to listen on is not known"):
        await RunningGateway(config_for("http://127.0.0.1:9/v1"), host="nowhere.invalid").start()


@pytest.mark.skipif(not socket.has_ipv6, reason="this machine has no IPv6")
async def test_ipv6() -> None:
    async with RunningGateway(config_for("http://127.0.0.1:9/v1"), host="::1") as gateway:
        assert gateway.url.startswith("http://[::1]:")
        async with httpx.AsyncClient() as client:
            assert (await client.get(gateway.url.removesuffix("/v1") + "/health")).status_code == 200


async def test_stopping_inside_a_running_loop_waits_for_answers() -> None:
    async with Simulator("openai", latency=0.1) as sim:
        gateway = await RunningGateway(config_for(sim.url)).start()
        asking = asyncio.create_task(ask(gateway))
        await until(lambda: sim.in_flight == 1)
        await gateway.stop()
        assert (await asking).status == 200


# --- what it announces -------------------------------------------------------------------------------------------


async def announced(host: str = "127.0.0.1", **fields: Any) -> str:
    app = GatewayApp(config_for("http://127.0.0.1:9/v1", **fields))
    try:
        return "\n".join(banner(app, host, 8000))
    finally:
        await app.aclose()


async def test_a_key_is_spoken_of_by_name() -> None:
    text = await announced(guarded=True)
    assert '-H "Authorization: Bearer $TEST_KEY"' in text
    assert CLIENT_KEY not in text


async def test_open_doors_are_warned_of() -> None:
    assert "WARNING" not in await announced()
    assert "WARNING" not in await announced("::1")
    assert "WARNING: it listens on 0.0.0.0 without a key" in await announced("0.0.0.0")
    assert "WARNING" not in await announced("0.0.0.0", guarded=True)
    assert "curl http://127.0.0.1:8000/" in await announced("0.0.0.0")


async def test_nothing_to_serve_is_said() -> None:
    app = GatewayApp(GatewayConfig(environment=False, local=False))
    text = "\n".join(banner(app, "127.0.0.1", 8000))
    assert "nothing is served yet" in text
    assert text.endswith("curl http://127.0.0.1:8000/v1/models")
    await app.aclose()


async def test_local_models_are_offered_first() -> None:
    app = GatewayApp(GatewayConfig(environment=False))
    text = "\n".join(banner(app, "127.0.0.1", 8000))
    if app.table.local:
        assert "models on this machine: " in text
        assert f"""-d '{{"model":"{app.table.local[0]}","input":"Hello"}}'""" in text
    await app.aclose()
