"""The same question to every backend that is configured, all at once, and what each of them says.

python examples/ask_everyone.py "Why is the sky blue?"   # those with a key or an address in the environment or .env
python examples/ask_everyone.py --simulated              # every one of them, simulated: needs no key
"""

from __future__ import annotations

import asyncio
import contextlib
import sys

from ipfs_accelerate_py import AccelerateError, AsyncClient
from ipfs_accelerate_py.backends import configured
from ipfs_accelerate_py.simulator import Simulator

#: Models of the hosted services; a server of one's own is asked for the first that it lists.
MODELS = {
    "openai": "gpt-4o-mini",
    "claude": "claude-haiku-4-5",
    "groq": "openai/gpt-oss-20b",
    "gemini": "gemini-2.5-flash",
    "opea": "",
}
#: Which simulator stands for each backend.
SIMULATORS = {
    "openai": "openai",
    "claude": "anthropic",
    "groq": "openai",
    "gemini": "gemini",
    "ollama": "ollama",
    "hf_tgi": "tgi",
    "llvm": "openai",
    "ovms": "ovms",
    "opea": "opea",
}


async def ask(client: AsyncClient, question: str) -> None:
    """Ask one backend; whatever goes wrong is one of ours, and says what it is."""
    try:
        model = MODELS.get(client.backend)
        if model is None:
            model = (await client.models())[0].id
        reply = await client.chat(model, question, max_tokens=300)
    except AccelerateError as error:
        print(f"{client.backend:8} {type(error).__name__}: {error}")
    else:
        print(f"{client.backend:8} {reply.model}, {reply.usage.output_tokens} tokens: {reply.text}")


async def everyone(question: str, *, simulated: bool = False) -> None:
    async with contextlib.AsyncExitStack() as stack:
        if simulated:
            clients = []
            for backend, service in SIMULATORS.items():
                simulator = await stack.enter_async_context(Simulator(service))
                clients.append(AsyncClient(backend, base_url=simulator.url, api_key="any"))
        else:
            clients = [AsyncClient(spec.name) for spec in configured()]
        if not clients:
            print("nothing is configured: `ipfs-accelerate config` says what to set; --simulated needs nothing")
        for client in clients:
            await stack.enter_async_context(client)
        await asyncio.gather(*(ask(client, question) for client in clients))


def main(*words: str) -> None:
    question = " ".join(word for word in words if word != "--simulated") or "Why is the sky blue?"
    asyncio.run(everyone(question, simulated="--simulated" in words))


if __name__ == "__main__":
    main(*sys.argv[1:])
