"""An agent: a model with tools, which calls them until it has its answer. The same loop for every backend.

python examples/agent.py claude/claude-sonnet-5-5 "How warm is it in Rome, and in Oslo?"
python examples/agent.py ollama/qwen3 "..."
python examples/agent.py                         # against the simulator: needs no key, and its texts mean nothing
"""

from __future__ import annotations

import json
import sys

from ipfs_accelerate_py import Client, Reply
from ipfs_accelerate_py.simulator import SimulatorThread

QUESTION = "How warm is it in Rome? Use the tool get_temperature."
TOOLS = [
    {
        "type": "function",
        "function": {
            "name": "get_temperature",
            "description": "The temperature in a city, in degrees Celsius.",
            "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
        },
    }
]
#: An agent that is not done by then is going round in circles.
MOST_TURNS = 8


def get_temperature(city: str) -> float:
    return 10.0 + len(city)


def agent(client: Client, model: str, question: str) -> Reply:
    """Answer a question, with as many calls of tools as that takes."""
    messages = [{"role": "user", "content": question}]
    for _ in range(MOST_TURNS):
        reply = client.chat(model, messages, tools=TOOLS)
        if not reply.tool_calls:
            return reply
        messages.append(reply.message())  # with what the service signed, if it did
        for call in reply.tool_calls:  # there may be several
            print("calls: ", call.name, call.arguments)
            result: dict[str, object]
            try:
                result = {"celsius": get_temperature(**json.loads(call.arguments))}
            except (TypeError, ValueError) as error:
                result = {"error": str(error)}  # the model reads this, and tries again
            content = json.dumps(result)
            messages.append({"role": "tool", "tool_call_id": call.id, "name": call.name, "content": content})
    raise RuntimeError(f"no answer after {MOST_TURNS} turns")


def main(model: str = "", question: str = QUESTION) -> None:
    if model:
        backend, _, name = model.partition("/")
        with Client(backend) as client:
            print("answer:", agent(client, name, question).text)
        return
    with SimulatorThread("openai") as simulator, Client("openai", base_url=simulator.url, api_key="any") as client:
        print(f"(the simulator at {simulator.url} answers)")
        print("answer:", agent(client, "gpt-4o", question).text)


if __name__ == "__main__":
    main(*sys.argv[1:])
