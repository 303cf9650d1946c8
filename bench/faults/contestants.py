"""Who is put to the test, and how each is run: a driver process, and for gateways a server process beside it."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import socket
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import yaml

from bench.faults.cases import DEADLINE, FALLBACK, GRACE, LIMIT, PRIMARY, Case, Cell, Outcome, upstream

__all__ = ["CONTESTANTS", "Contestant", "Run"]

ROOT = Path(__file__).parent.parent.parent
PEERS = ROOT / ".tools" / "peers" / "bin"
KEY = "sk-bench-faults"
#: Seconds that a server may take to come up; one of them takes half a minute.
START = 120.0


@dataclass(frozen=True)
class Contestant:
    """One of those compared. ``server`` is a command that serves a configuration at a port, where there is one."""

    name: str
    driver: str
    python: Path = Path(sys.executable)
    arguments: tuple[str, ...] = ()
    fallbacks: bool = True
    server: Callable[[Path, int], list[str]] | None = None
    config: Callable[[list[Cell]], dict[str, Any]] | None = None

    def missing(self) -> str:
        """Why it cannot be run here; empty where it can."""
        return "" if self.python.exists() else "run tools/peers.sh first"

    async def cells(self, cases: list[Case]) -> list[Cell]:
        """Each fault in each way, with a pair of upstreams each."""
        made = []
        for case in cases:
            for stream in (True,) if case.streams_only else (False, True):
                for fallback in (False, True) if self.fallbacks else (False,):
                    cell = Cell(case, stream, fallback, upstream(PRIMARY), upstream(FALLBACK))
                    await cell.primary.start()
                    await cell.backup.start()
                    made.append(cell)
        return made


# --- configurations of gateways ----------------------------------------------------------------------------------


def _entry(name: str, model: str, url: str) -> dict[str, Any]:
    return {"model_name": name, "litellm_params": {"model": f"openai/{model}", "api_base": url, "api_key": "sk-test"}}


def _models(cells: list[Cell]) -> tuple[list[dict[str, Any]], list[Any], list[Any]]:
    models: list[dict[str, Any]] = []
    fallbacks: list[dict[str, list[str]]] = []
    context: list[dict[str, list[str]]] = []
    for cell in cells:
        models.append(_entry(cell.name, PRIMARY, cell.primary.url))
        if cell.fallback:
            models.append(_entry(f"{cell.name}-backup", FALLBACK, cell.backup.url))
            (context if cell.case.kind == "context" else fallbacks).append({cell.name: [f"{cell.name}-backup"]})
    return models, fallbacks, context


def _litellm_config(cells: list[Cell]) -> dict[str, Any]:
    models, fallbacks, context = _models(cells)
    for entry in models:
        entry["litellm_params"] |= {"timeout": LIMIT, "stream_timeout": LIMIT}
    return {
        "model_list": models,
        "router_settings": {
            "num_retries": 2,
            "cooldown_time": 1,
            "allowed_fails": 3,
            "fallbacks": fallbacks,
            "context_window_fallbacks": context,
        },
        "general_settings": {"master_key": KEY},
    }


def _our_config(cells: list[Cell]) -> dict[str, Any]:
    models, fallbacks, context = _models(cells)
    return {
        "model_list": models,
        "settings": {
            "first_byte_timeout": LIMIT,
            "first_content_timeout": LIMIT,
            "idle_timeout": LIMIT,
            "total_timeout": DEADLINE,
            "circuit_reset_timeout": 1.0,
        },
        "router_settings": {"num_retries": 2, "fallbacks": fallbacks, "context_window_fallbacks": context},
        "gateway": {"api_key": KEY},
    }


CONTESTANTS = {
    each.name: each
    for each in (
        Contestant("ours", "ours"),
        Contestant("ours sync", "ours", arguments=("sync",)),
        Contestant(
            "gateway",
            "openai_client",
            server=lambda config, port: [
                sys.executable, "-m", "ipfs_accelerate_py", "serve", "--config", str(config), "--port", str(port),
            ],
            config=_our_config,
        ),
        Contestant("litellm Router", "litellm_router", python=PEERS / "python"),
        Contestant(
            "litellm proxy",
            "openai_client",
            python=PEERS / "python",
            server=lambda config, port: [
                str(PEERS / "litellm"), "--config", str(config), "--port", str(port), "--host", "127.0.0.1",
            ],
            config=_litellm_config,
        ),
        Contestant("openai client", "openai_client", python=PEERS / "python", fallbacks=False),
    )
}  # fmt: skip


# --- running -----------------------------------------------------------------------------------------------------


class Run:
    """One contestant's processes, while it is played against."""

    def __init__(self, contestant: Contestant, cells: list[Cell]) -> None:
        self._contestant = contestant
        self._cells = cells
        self._stack = contextlib.AsyncExitStack()
        self._driver: asyncio.subprocess.Process

    async def __aenter__(self) -> Self:
        setup: dict[str, Any] = {
            "limit": LIMIT,
            "deadline": DEADLINE,
            "primary_model": PRIMARY,
            "fallback_model": FALLBACK,
            "cells": {
                cell.name: {
                    "primary": cell.primary.url,
                    "fallback": cell.backup.url if cell.fallback else None,
                    "kind": cell.case.kind,
                }
                for cell in self._cells
            },
        }
        if self._contestant.server is not None:
            setup |= {"gateway": await self._serve(), "key": KEY}
        self._driver = await self._start(
            str(self._contestant.python),
            "-m",
            f"bench.faults.drivers.{self._contestant.driver}",
            *self._contestant.arguments,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
        )
        await self._say(setup)
        while await self._hear() != "ready":
            pass
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._stack.aclose()

    async def play(self, cell: Cell) -> None:
        """The cell's calls, and a healthy one after them."""
        cell.case.faults(cell)
        for number in range(cell.case.calls):
            if number:
                await asyncio.sleep(cell.case.pause)
            if not number:
                cell.times.append(time.monotonic())
            cell.outcomes.append(await self._ask(cell))
            cell.times.append(time.monotonic())
        if cell.case.calls == 1:
            del cell.times[0]
        else:
            cell.outcomes.insert(0, cell.outcomes[0])
        cell.primary.clear()
        cell.backup.clear()
        await asyncio.sleep(1.2)  # for a breaker or a cooldown, which is a second for everybody
        cell.after = await self._ask(cell)

    async def _ask(self, cell: Cell) -> Outcome:
        await self._say({"cell": cell.name, "stream": cell.stream, "deadline": DEADLINE})
        try:
            answer = json.loads(await asyncio.wait_for(self._hear(), DEADLINE + 4 * GRACE))
        except TimeoutError:
            raise SystemExit(f"{self._contestant.name} does not answer at {cell.name}") from None
        return Outcome(**{name: value for name, value in answer.items() if value is not None})

    async def _serve(self) -> str:
        assert self._contestant.server is not None
        assert self._contestant.config is not None
        folder = self._stack.enter_context(tempfile.TemporaryDirectory())
        config = Path(folder) / "config.yaml"
        config.write_text(yaml.safe_dump(self._contestant.config(self._cells)), encoding="utf-8")
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
        await self._start(*self._contestant.server(config, port), stdout=asyncio.subprocess.DEVNULL)
        until = time.monotonic() + START
        while time.monotonic() < until:
            with contextlib.suppress(OSError):
                _, writer = await asyncio.open_connection("127.0.0.1", port)
                writer.close()
                return f"http://127.0.0.1:{port}/v1"
            await asyncio.sleep(0.2)
        raise SystemExit(f"{self._contestant.name} did not come up in {START:.0f} s")

    async def _start(self, *command: str, **pipes: Any) -> asyncio.subprocess.Process:
        environment = {**os.environ, "LITELLM_LOCAL_MODEL_COST_MAP": "True", "LITELLM_TELEMETRY": "False"}
        process = await asyncio.create_subprocess_exec(
            *command, cwd=ROOT, stderr=asyncio.subprocess.DEVNULL, env=environment, limit=1 << 20, **pipes
        )

        async def stop() -> None:
            with contextlib.suppress(ProcessLookupError):
                process.terminate()
            try:
                await asyncio.wait_for(process.wait(), 15)
            except TimeoutError:
                process.kill()
                await process.wait()

        self._stack.push_async_callback(stop)
        return process

    async def _say(self, message: dict[str, Any]) -> None:
        assert self._driver.stdin is not None
        self._driver.stdin.write(json.dumps(message).encode() + b"\n")
        await self._driver.stdin.drain()

    async def _hear(self) -> str:
        assert self._driver.stdout is not None
        line = await self._driver.stdout.readline()
        if not line:
            raise SystemExit(f"{self._contestant.name}: its driver has ended")
        return line.decode().strip()
