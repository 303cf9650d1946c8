"""The older API with OpenAI: the quickstart's first examples, and queue, keys, breaker and statistics.

python examples/quickstart_openai.py          # against the simulator: needs no key, and its texts mean nothing
python examples/quickstart_openai.py --live   # against the service, with OPENAI_API_KEY from the environment or .env
"""

from __future__ import annotations

import asyncio
import sys
import time

from ipfs_accelerate_py.api_backends import openai_api
from ipfs_accelerate_py.simulator import SimulatorThread


def show(client: openai_api) -> None:
    messages = [{"role": "user", "content": "Hello, how are you?"}]

    response = client.chat("gpt-4o", messages, system="You are a helpful assistant", temperature=0.7, max_tokens=100)
    print("chat:     ", response["text"])
    print("usage:    ", response["usage"])

    print("stream:   ", end="")
    for chunk in client.stream_chat("gpt-4o", messages, max_tokens=30):
        print(chunk["text"], end="", flush=True)
    print()

    vector = client.embedding("text-embedding-3-small", "This is a sample text", "float")["embedding"]
    print("embedding:", len(vector), "numbers")

    # An endpoint is the same service behind a queue of its own.
    endpoint_id = client.create_endpoint(max_concurrent_requests=10)
    client.chat("gpt-4o", messages, endpoint_id=endpoint_id, priority="HIGH", request_id="req_12345", max_tokens=30)

    request_info = {"endpoint_url": "/chat/completions", "data": {"model": "gpt-4o", "messages": messages}}
    ticket = client.queue_with_priority(request_info, client.PRIORITY_HIGH)
    while not ticket["completed"]:
        time.sleep(0.01)
    print("ticket:   ", ticket["error"] or ticket["result"]["choices"][0]["message"]["content"])

    handler = client.create_chat_endpoint_handler("gpt-4o", max_tokens=30)
    print("handler:  ", handler("Hello")["text"])
    print("awaited:  ", asyncio.run(ask(client)))

    print("queue:    ", client.get_queue_info(), client.get_queue_status())
    print("circuit:  ", client.get_circuit_state(), client.get_circuit_metrics()["failure_rate"], "% failures")
    for name, usage in client.get_key_usage_stats().items():
        print("key:      ", name, usage["requests"], "requests,", usage["tokens"], "tokens")
    stats = client.get_usage_stats()
    print("in all:   ", stats["total_requests"], "requests,", stats["total_tokens"], "tokens")


async def ask(client: openai_api) -> list[str]:
    """The awaitable twins share queue, breaker and keys with the blocking verbs."""
    answers = await asyncio.gather(*(client.achat("gpt-4o", f"Question {n}", max_tokens=10) for n in range(3)))
    return [answer["text"] for answer in answers]


def main(live: bool = False) -> None:
    if live:
        with openai_api() as client:
            show(client)
        return
    with SimulatorThread("openai") as simulator:
        print(f"(the simulator at {simulator.url} answers; --live asks the service itself)")
        metadata = {"openai_api_key": "your-key-here", "openai_base_url": simulator.url}
        with openai_api(metadata=metadata) as client:
            show(client)


if __name__ == "__main__":
    main(live="--live" in sys.argv[1:])
