"""Anthropic's own client, unchanged, with models of other vendors behind the gateway.

python examples/anthropic_sdk.py   # simulators answer, so no key is needed

Needs `pip install anthropic` and the extra [gateway]. Programs that are built on that client are pointed at a
gateway in the same way: ANTHROPIC_BASE_URL.
"""

from __future__ import annotations

import anthropic

from ipfs_accelerate_py.credentials import Secret
from ipfs_accelerate_py.gateway import GatewayConfig, GatewayServer
from ipfs_accelerate_py.gateway.config import BackendEntry
from ipfs_accelerate_py.simulator import SimulatorThread


def main() -> None:
    with SimulatorThread("openai") as one, SimulatorThread("gemini") as other:
        # What `ipfs-accelerate serve` makes of the keys in the environment, or of a gateway.yaml:
        backends = (served("openai", one.url), served("gemini", other.url))
        config = GatewayConfig(backends=backends, environment=False, local=False)
        with GatewayServer(config, port=0) as gateway:
            client = anthropic.Anthropic(base_url=gateway.url.removesuffix("/v1"), api_key="any")
            with client:
                for model in ("openai/gpt-4o", "gemini/gemini-2.5-flash"):
                    show(client, model)


def show(client: anthropic.Anthropic, model: str) -> None:
    message = client.messages.create(
        model=model, max_tokens=100, messages=[{"role": "user", "content": "Why is the sky blue?"}]
    )
    text = "".join(block.text for block in message.content if block.type == "text")
    print(f"{model}: {text} ({message.stop_reason}, {message.usage.output_tokens} tokens)")

    with client.messages.stream(
        model=model, max_tokens=100, messages=[{"role": "user", "content": "And at dusk?"}]
    ) as stream:
        print(f"{model}, streamed: ", end="")
        for piece in stream.text_stream:
            print(piece, end="", flush=True)
        print()


def served(backend: str, url: str) -> BackendEntry:
    return BackendEntry(backend, url, {"key": Secret("any")}, {}, {})


if __name__ == "__main__":
    main()
