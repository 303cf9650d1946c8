"""The library in one page, against the simulator, so that it runs anywhere without a key.

python examples/library.py
"""

from __future__ import annotations

import asyncio

from ipfs_accelerate_py import AsyncClient, Client
from ipfs_accelerate_py.errors import RateLimited
from ipfs_accelerate_py.simulator import Fault, SimulatorThread


def main() -> None:
    with SimulatorThread("openai") as simulator:
        client = Client("openai", base_url=simulator.url, api_key="sk-example")

        reply = client.chat("gpt-4o", "Hello", temperature=0.2, priority="HIGH")
        print("chat:  ", reply.text)
        print("usage: ", reply.usage.input_tokens, "in,", reply.usage.output_tokens, "out")

        print("stream:", end=" ")
        for chunk in client.stream("gpt-4o", "Tell me a story"):
            print(chunk.text, end="", flush=True)
        print()

        vectors = client.embed("text-embedding-3-small", ["a", "b"]).vectors
        print("embed: ", len(vectors), "vectors of", len(vectors[0]))

        client.initial_retry_delay = 0.05
        simulator.script(Fault.status(503), Fault.status(503))
        print("after two failures:", client.chat("gpt-4o", "Still there?").attempts, "attempts")

        client.max_retries = 0
        simulator.script(Fault.status(429, retry_after=2))
        try:
            client.chat("gpt-4o", "Too fast?")
        except RateLimited as error:
            print("refused:", error, "- come back in", error.retry_after, "s")

        print("queue: ", client.snapshot()["queue"])
        client.close()

        async def at_once() -> None:
            async with AsyncClient("openai", base_url=simulator.url, api_key="sk-example") as several:
                replies = await asyncio.gather(*(several.chat("gpt-4o", f"Question {n}") for n in range(20)))
                print("at once:", len(replies), "answers,", several.max_concurrent_requests, "at a time")

        asyncio.run(at_once())


if __name__ == "__main__":
    main()
