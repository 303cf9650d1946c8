"""Megaservices: they flatten a conversation into a prompt, and answer with text in one of two ways of streaming it."""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterator
from typing import Any, Final

import msgspec

from ipfs_accelerate_py.simulator.answering import Said, say
from ipfs_accelerate_py.simulator.wire import Answer, Event, Request, Settings, StreamItem

from .checks import body_of, check, failed, required
from .forms import Form, form_of

__all__ = ["CHUNKED", "DONE", "SERVICES", "answer"]

DONE: Final = Event(b"[DONE]", last=True)
SERVICES: Final = (
    "audioqna", "chatqna", "codegen", "codetrans", "docsum", "faqgen", "graphrag", "hybridrag", "multimodalqna",
    "searchqna", "translation", "videoqna", "visualqna",
)  # fmt: skip
#: Those that pass the model server's own chunks on; the others write the repr of bytes.
CHUNKED: Final = frozenset(("codegen", "codetrans", "translation"))
_encode = msgspec.json.Encoder().encode
_numbers = itertools.count(1)


def answer(service: str, request: Request, settings: Settings) -> Answer:
    body: dict[str, Any]
    if service in ("docsum", "faqgen") and (form := form_of(request)) is not None:
        body = _from_form(form)
    else:
        body = body_of(request)
    if service == "codetrans":
        if not all(isinstance(body.get(name), str) for name in ("language_from", "language_to", "source_code")):
            failed()  # a KeyError there
        prompt = _encode([body["language_from"], body["language_to"], body["source_code"]]).decode()
        stream = True  # whatever was asked for
    else:
        required(body, "messages")
        check(body)
        if service == "docsum" and form is None and body.get("type") not in ("text", "audio", "video"):
            failed()
        prompt = _prompt(body["messages"]) + body.get("files", "")
        stream = body.get("stream", True) is not False
    model = body.get("model")
    behind = settings.models is None or not model or model in settings.models
    said = say(prompt.encode("utf-8", "surrogatepass"), settings, request.body, limit=body.get("max_tokens"))
    if stream:
        chunks = _chunks(service, said) if service in CHUNKED else _texts(said)
        # Nothing comes of a model behind it that fails, and the megaservice is not troubled by that.
        events = chunks if behind else iter((DONE,) if service not in CHUNKED else ())
        return Answer(content_type="text/event-stream; charset=utf-8", events=events)
    if not behind:
        failed()
    return Answer(body=_encode(_whole(service, "".join(said.tokens))))


def _from_form(form: Form) -> dict[str, Any]:
    body: dict[str, Any] = {part.name: part.text for part in form if part.filename is None}
    for name in ("max_tokens", "top_k"):
        if name in body:
            body[name] = int(body[name]) if body[name].isdigit() else body[name]
    if "stream" in body:
        body["stream"] = body["stream"].lower() not in ("false", "0", "no")
    body["files"] = "\n".join(part.text for part in form if part.filename is not None)
    return body


def _prompt(messages: str | list[dict[str, Any]]) -> str:
    """One prompt of a whole conversation; of several system messages the last one counts."""
    if isinstance(messages, str):
        return messages
    system = ""
    turns: list[str] = []
    for message in messages:
        role, content = message.get("role"), message.get("content")
        if role == "system" and isinstance(content, str):
            system = content
        elif role == "user" and isinstance(content, list):
            texts = [part.get("text", "") for part in content if part.get("type") == "text"]
            images = [part["image_url"]["url"] for part in content if part.get("type") == "image_url"]
            turns.append("user: " + "\n".join(texts) + "".join(f"[image {image}]" for image in images))
        elif role in ("user", "assistant") and isinstance(content, str):
            turns.append(f"{role}: {content}")
        else:
            failed()
    return "\n".join(([system] if system else []) + turns) + "\n"


def _texts(said: Said) -> Iterator[StreamItem]:
    """Each token as Python writes its bytes; some are parted in the middle of a character, as token bytes may be."""
    yield Event(b"b''")
    for token in said.tokens:
        data = token.encode()
        at = next((place for place, byte in enumerate(data) if byte >= 0xE0), None)
        if at is None:
            yield Event(repr(data).encode(), tokens=1)
        else:
            yield Event(repr(data[: at + 1]).encode())
            yield Event(repr(data[at + 1 :]).encode(), tokens=1)
    yield DONE


def _chunks(service: str, said: Said) -> Iterator[StreamItem]:
    start = {
        "id": f"chatcmpl-sim{next(_numbers):08x}",
        "object": "chat.completion.chunk",
        "created": int(time.time()),
        "model": service,
        "system_fingerprint": "fp_simulator",
    }

    def chunk(delta: dict[str, str], finish: str | None = None, tokens: int = 0) -> Event:
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish}
        return Event(_encode({**start, "choices": [choice]}), tokens=tokens)

    yield chunk({"role": "assistant", "content": ""})
    for token in said.tokens:
        yield chunk({"content": token}, tokens=1)
    yield chunk({}, "length" if said.cut else "stop")
    yield DONE


def _whole(service: str, text: str) -> dict[str, Any]:
    message = {"role": "assistant", "content": text, "audio": None}
    return {
        "id": f"chatcmpl-sim{next(_numbers):08x}",
        "object": "chat.completion",
        "created": int(time.time()),
        "model": service,
        "choices": [{"index": 0, "message": message, "finish_reason": "stop", "metadata": None}],
        # Megaservices do not count.
        "usage": {"prompt_tokens": 0, "total_tokens": 0, "completion_tokens": 0},
        "system_fingerprint": "fp_simulator",
    }
