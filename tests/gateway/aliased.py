"""A gateway whose configuration is YAML, in front of several simulators."""

from __future__ import annotations

import asyncio
import contextlib
import tempfile
import textwrap
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

from ipfs_accelerate_py.credentials import Credentials
from ipfs_accelerate_py.gateway import GatewayConfig, RunningGateway, load_config
from ipfs_accelerate_py.simulator import Simulator

from .support import Got as Got
from .support import ask

#: What is the same in every one: nothing waits long, and nothing of the machine is served.
QUICK = "max_retries: 0, initial_retry_delay: 0.0, circuit_failure_threshold: 1000"
CHAT: dict[str, Any] = {"model": "smart", "messages": [{"role": "user", "content": "Hello"}]}
STREAM: dict[str, Any] = {**CHAT, "stream": True}


def read(text: str, environ: Mapping[str, str] | None = None) -> GatewayConfig:
    """A configuration of this text."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "gateway.yaml"
        path.write_text(textwrap.dedent(text))
        places = Credentials(environ=environ or {}, dotenv_path=None, home=None)
        return load_config(path, environ=environ or {}, credentials=places, overrides={"port": 0})


class Aliased:
    """A running gateway and the simulators behind it."""

    def __init__(self, gateway: RunningGateway, sims: list[Simulator]) -> None:
        self.gateway = gateway
        self.sims = sims

    @property
    def app(self) -> Any:
        return self.gateway.app

    async def ask(self, body: Any = CHAT, path: str = "/v1/chat/completions", **options: Any) -> Got:
        return await ask(self.gateway, body, path, **options)

    async def get(self, path: str, **options: Any) -> Got:
        return await ask(self.gateway, None, path, method="GET", **options)

    def counts(self) -> list[int]:
        """Requests for answers that each simulator has had."""
        return [sum(request.method == "POST" for request in sim.requests) for sim in self.sims]

    async def at_rest(self) -> None:
        """Slots, keys, connections and requests are back to none, on both sides."""

        def held() -> list[str]:
            found = [
                name
                for name, count in (("requests", self.app.metrics.in_flight), ("streams", self.app.metrics.streams))
                if count
            ]
            if self.app.front.usage_policy.in_flight:
                found.append("front")
            for name, backend in self.app.table.backends.items():
                state = backend.pipeline.snapshot()
                if state["in_flight"] or state["queue"]["active"] or any(k["active"] for k in state["keys"].values()):
                    found.append(name)
                if backend.transport is not None and backend.transport.open_connections:
                    found.append(f"{name}'s connections")
            return found + [f"simulator {n}" for n, sim in enumerate(self.sims) if sim.in_flight]

        async with asyncio.timeout(20):
            while held():  # noqa: ASYNC110
                await asyncio.sleep(0.002)


@contextlib.asynccontextmanager
async def aliased(
    text: str, *services: str, environ: Mapping[str, str] | None = None, **simulated: Any
) -> AsyncIterator[Aliased]:
    """A gateway with this configuration, in which ``{0}``, ``{1}``, ... are the simulators' addresses, and ``{quick}``
    settings under which nothing waits."""
    async with contextlib.AsyncExitStack() as stack:
        sims = [
            await stack.enter_async_context(Simulator(service, **simulated))
            for service in services or ("openai", "openai")
        ]
        made = text.replace("{quick}", QUICK)
        for number, sim in enumerate(sims):
            made = made.replace(f"{{{number}}}", sim.url)
        gateway = await stack.enter_async_context(RunningGateway(read(made, environ)))
        yield Aliased(gateway, sims)


#: Two targets of OpenAI's format, asked in order.
TWO = """
model_list:
  - name: smart
    targets:
      - {model: openai/gpt-4o, base_url: "{0}", api_key: sk-first, settings: {{quick}}}
      - {model: openai/gpt-4o-mini, base_url: "{1}", api_key: sk-second, settings: {{quick}}}
"""
#: One of OpenAI's and one of Anthropic's, which goes on where an answer breaks off.
FOREIGN = """
model_list:
  - name: smart
    targets:
      - {model: openai/gpt-4o, base_url: "{0}", api_key: sk-first, settings: {{quick}}}
      - model: claude/claude-sonnet-4-5
        base_url: "{1}"
        api_key: sk-second
        accepts_continuation: true
        settings: {{quick}}
"""
