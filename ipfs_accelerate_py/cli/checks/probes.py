"""One probe per operation: it asks, judges the answer, and says in a few words what came."""

from __future__ import annotations

import base64
import contextlib
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from ipfs_accelerate_py.client import AsyncClient
from ipfs_accelerate_py.types import Operation, Reply, Tensor

__all__ = ["PROBES", "Probe", "Wrong"]

#: One second of silence, 8 kHz, 8 bits: what a transcription can be asked of without a file.
_SILENCE = (
    b"RIFF" + (36 + 8000).to_bytes(4, "little") + b"WAVEfmt " + (16).to_bytes(4, "little")
    + (1).to_bytes(2, "little") + (1).to_bytes(2, "little") + (8000).to_bytes(4, "little")
    + (8000).to_bytes(4, "little") + (1).to_bytes(2, "little") + (8).to_bytes(2, "little")
    + b"data" + (8000).to_bytes(4, "little") + b"\x80" * 8000
)  # fmt: skip
#: A red dot.
_PIXEL = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mP8z8BQDwAEhQGAhKmMIQAAAABJRU5ErkJggg=="
)
_TOOL = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "The weather in a city, now",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    },
}


class Wrong(Exception):  # an answer that came and is not what was asked for
    """The answer is not what it has to be."""


@dataclass(frozen=True)
class Probe:
    """``kind`` is the sort of model that it needs (`MODELS` has a default for each)."""

    name: str
    operation: Operation
    kind: str
    run: Callable[[AsyncClient, str], Awaitable[str]]


def _expect(holds: object, what: str) -> None:
    if not holds:
        raise Wrong(what)


def _tokens(reply: Reply) -> str:
    return f"{reply.usage.total_tokens} tokens" if reply.usage.reported else "no token counts"


async def _chat(client: AsyncClient, model: str) -> str:
    reply = await client.chat(model, "Say hello.", max_tokens=64)
    _expect(reply.text or reply.reasoning, "the answer has no text")
    _expect(sum(reply.usage.classes().values()) == reply.usage.total_tokens, "the classes of tokens do not add up")
    return _tokens(reply)


async def _stream(client: AsyncClient, model: str) -> str:
    chunks = 0
    text = ""
    async with client.stream(model, "Count to five.", max_tokens=64) as stream:
        async for chunk in stream:
            chunks += 1
            text += chunk.text + chunk.reasoning
    _expect(text, "the stream has no text")
    _expect(stream.finish_reason or stream.usage.reported or chunks > 1, "the stream does not say how it ended")
    return f"{chunks} chunks"


async def _leave(client: AsyncClient, model: str) -> str:
    """A stream that is left early must give everything back at once."""
    async with contextlib.aclosing(client.stream(model, "Count to a hundred.")) as stream:
        async for _ in stream:
            break
    _expect(client.active_requests == 0, "a slot is still held after the stream was left")
    return "slot given back"


async def _tools(client: AsyncClient, model: str) -> str:
    reply = await client.chat(
        model,
        "What is the weather in Paris?",
        tools=[_TOOL],
        tool_choice={"type": "function", "function": {"name": "get_weather"}},
        max_tokens=256,
    )
    _expect(reply.tool_calls, "the model called no tool")
    _expect(reply.tool_calls[0].name == "get_weather", f"the model called {reply.tool_calls[0].name!r}")
    return f"{reply.tool_calls[0].name}({reply.tool_calls[0].arguments})"


async def _image_in(client: AsyncClient, model: str) -> str:
    url = "data:image/png;base64," + base64.b64encode(_PIXEL).decode()
    parts = [{"type": "text", "text": "Which colour?"}, {"type": "image_url", "image_url": {"url": url}}]
    reply = await client.chat(model, [{"role": "user", "content": parts}], max_tokens=64)
    _expect(reply.text or reply.reasoning, "the answer has no text")
    return _tokens(reply)


async def _complete(client: AsyncClient, model: str) -> str:
    reply = await client.complete(model, "Once upon a time", max_tokens=16)
    _expect(reply.text, "the completion is empty")
    return _tokens(reply)


async def _respond(client: AsyncClient, model: str) -> str:
    reply = await client.respond(model, "Say hello.", max_output_tokens=64)
    _expect(reply.text or reply.reasoning, "the answer has no text")
    return _tokens(reply)


async def _count(client: AsyncClient, model: str) -> str:
    reply = await client.count_tokens(model, "How many tokens is this?")
    _expect(reply.usage.input_tokens > 0, "the count is zero")
    return f"{reply.usage.input_tokens} tokens"


async def _embed(client: AsyncClient, model: str) -> str:
    reply = await client.embed(model, ["a cat", "a kitten", "a treaty"])
    _expect(len(reply.vectors) == 3, f"three texts were sent and {len(reply.vectors)} vectors came")
    _expect(len({len(vector) for vector in reply.vectors}) == 1, "the vectors differ in length")
    _expect(reply.vectors[0] != reply.vectors[2], "different texts have the same vector")
    return f"{len(reply.vectors[0])} dimensions"


async def _rerank(client: AsyncClient, model: str) -> str:
    reply = await client.rerank(model, "What is the capital of France?", ["Bread is baked.", "Paris is the capital."])
    _expect(sorted(each.index for each in reply.ranking) == [0, 1], "not every document was ranked")
    _expect(reply.ranking[0].score >= reply.ranking[-1].score, "the ranking is not sorted")
    return f"best {reply.ranking[0].score:.3f}"


async def _classify(client: AsyncClient, model: str) -> str:
    reply = await client.classify(model, ["I love it", "I hate it"])
    _expect(len(reply.labels) == 2 and all(reply.labels), "not every text has a label")
    return ", ".join(labels[0].label for labels in reply.labels)


async def _moderate(client: AsyncClient, model: str) -> str:
    reply = await client.moderate(model, ["Good morning"])
    _expect(len(reply.moderations) == 1, "there is no verdict")
    return "flagged" if reply.moderations[0].flagged else "not flagged"


async def _transcribe(client: AsyncClient, model: str) -> str:
    reply = await client.transcribe(model, _SILENCE, filename="silence.wav")
    _expect(isinstance(reply.text, str), "there is no text")  # of silence it may well be empty
    return f"{len(reply.text)} characters"


async def _speak(client: AsyncClient, model: str) -> str:
    reply = await client.speak(model, "Hello.", voice="alloy")
    _expect(len(reply.body) > 44, "the recording is empty")
    return f"{len(reply.body)} bytes of {reply.content_type}"


async def _image(client: AsyncClient, model: str) -> str:
    reply = await client.generate_images(model, "A red dot", n=1)
    _expect(len(reply.images) == 1 and (reply.images[0].url or reply.images[0].data), "no image came")
    return reply.images[0].url[:40] or f"{len(reply.images[0].data)} bytes"


async def _infer(client: AsyncClient, model: str) -> str:
    reply = await client.infer(model, [Tensor("input", [1, 4], "FP32", [1.0, 2.0, 3.0, 4.0])])
    _expect(reply.tensors, "no tensor came back")
    return ", ".join(f"{tensor.name} {tensor.datatype} {tensor.shape}" for tensor in reply.tensors)


async def _models(client: AsyncClient, model: str) -> str:
    found = await client.models()
    _expect(found, "the list of models is empty")
    return f"{len(found)} models"


PROBES = (
    Probe("models", Operation.MODELS, "chat", _models),
    Probe("chat", Operation.CHAT, "chat", _chat),
    Probe("stream", Operation.CHAT, "chat", _stream),
    Probe("leave early", Operation.CHAT, "chat", _leave),
    Probe("tools", Operation.CHAT, "chat", _tools),
    Probe("image in", Operation.CHAT, "chat", _image_in),
    Probe("completion", Operation.COMPLETION, "complete", _complete),
    Probe("response", Operation.RESPONSE, "chat", _respond),
    Probe("count tokens", Operation.COUNT, "chat", _count),
    Probe("embed", Operation.EMBED, "embed", _embed),
    Probe("rerank", Operation.RERANK, "rerank", _rerank),
    Probe("classify", Operation.CLASSIFY, "classify", _classify),
    Probe("moderate", Operation.MODERATE, "moderate", _moderate),
    Probe("transcribe", Operation.TRANSCRIBE, "transcribe", _transcribe),
    Probe("speak", Operation.SPEAK, "speak", _speak),
    Probe("image", Operation.IMAGE, "image", _image),
    Probe("infer", Operation.INFER, "infer", _infer),
)
