"""Reading Google's answers: candidates and their parts, counts, vectors, lists.

Source: the API's reference (ai.google.dev/api/generate-content, /embeddings, /tokens, /models) and its protobuf,
google.ai.generativelanguage.v1beta. The counts of thoughts and of tool use are beside those of prompt and candidates
there, and inside them here.
"""

from __future__ import annotations

import base64
import binascii
import random
import struct
from collections.abc import Mapping
from typing import Any

import msgspec

from ipfs_accelerate_py.dialects.gemini.errors import blocked
from ipfs_accelerate_py.dialects.reading import arguments, content, count, name, part
from ipfs_accelerate_py.errors import ProtocolError
from ipfs_accelerate_py.results import Image
from ipfs_accelerate_py.types import ModelInfo, Reply, ToolCall, Usage

__all__ = ["Parts", "candidates_of", "chat", "decoded", "finish", "models", "speech", "usage_of", "vectors"]

_FILTERED = frozenset(
    (
        "SAFETY",
        "RECITATION",
        "BLOCKLIST",
        "PROHIBITED_CONTENT",
        "SPII",
        "IMAGE_SAFETY",
        "IMAGE_PROHIBITED_CONTENT",
        "IMAGE_RECITATION",
        "MODEL_ARMOR",
    )
)


class Parts(msgspec.Struct):
    """What the parts of one candidate's content hold. Parts of other kinds are in the raw answer."""

    text: str = ""
    reasoning: str = ""
    calls: list[ToolCall] = []
    images: list[Image] = []
    seen: bool = False

    @classmethod
    def read(cls, candidate: Mapping[str, Any], calls: int = 0) -> Parts:
        """``calls`` is the number of tool calls that came before."""
        found = cls()
        for item in part(candidate.get("content")).get("parts") or ():
            item = part(item)
            if "functionCall" in item:
                found.calls.append(_call(item, calls + len(found.calls)))
            elif "text" in item:
                text = content(item["text"])
                if item.get("thought") is True:
                    found.reasoning += text
                else:
                    found.text += text
            elif "inlineData" in item:
                blob = part(item["inlineData"])
                kind = name(blob.get("mimeType"))
                if kind.startswith("image/"):
                    found.images.append(Image(data=decoded(blob.get("data")), media_type=kind))
                found.seen = True
            elif item:
                found.seen = True
        found.seen = found.seen or bool(found.text or found.reasoning or found.calls)
        return found


def _call(item: Mapping[str, Any], index: int) -> ToolCall:
    called = part(item["functionCall"])
    given = called.get("args")
    return ToolCall(
        name(called.get("id")) or f"call_{random.getrandbits(96):024x}",  # older models give none
        name(called.get("name")),
        "{}" if given is None else arguments(given),
        index,
        signature=name(item.get("thoughtSignature")),
    )


def candidates_of(raw: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The candidates, by their index. Raises `ContentFiltered` where the prompt was blocked instead."""
    given = raw.get("candidates") or []
    if not isinstance(given, list):
        raise ProtocolError(f"the upstream's candidates are not a list but a {type(given).__name__}")
    if not given and (refusal := blocked(raw.get("promptFeedback"), raw)) is not None:
        raise refusal
    return sorted(map(part, given), key=lambda candidate: count(candidate.get("index")))


def chat(raw: dict[str, Any]) -> Reply:
    """The first candidate as the reply; the others are in ``raw``."""
    candidates = candidates_of(raw)
    if not candidates:
        raise ProtocolError("the upstream's answer has no candidates, and does not say that the prompt was blocked")
    first = candidates[0]
    parts = Parts.read(first)
    return Reply(
        id=name(raw.get("responseId")),
        model=name(raw.get("modelVersion")),
        text=parts.text,
        reasoning=parts.reasoning,
        tool_calls=parts.calls,
        images=parts.images,
        finish_reason=finish(first.get("finishReason"), bool(parts.calls)),
        usage=usage_of(raw.get("usageMetadata")),
    )


def finish(word: Any, called: bool) -> str | None:
    """A candidate's end in the words of chat; ``called`` says that it called a tool."""
    if not isinstance(word, str) or word in ("", "FINISH_REASON_UNSPECIFIED"):
        return None
    if word == "STOP":
        return "tool_calls" if called else "stop"
    if word == "MAX_TOKENS":
        return "length"
    return "content_filter" if word in _FILTERED else word


def usage_of(raw: Any) -> Usage:
    """``usageMetadata``: thoughts become part of the output, and what tools read part of the input."""
    if not isinstance(raw, dict):
        return Usage()
    prompt, tools = count(raw.get("promptTokenCount")), count(raw.get("toolUsePromptTokenCount"))
    made, thoughts = count(raw.get("candidatesTokenCount")), count(raw.get("thoughtsTokenCount"))
    # Some servers count the thoughts among the candidates' tokens; their total gives them away.
    inside = thoughts > 0 and made >= thoughts and count(raw.get("totalTokenCount")) == prompt + tools + made
    return Usage(
        prompt + tools,
        made if inside else made + thoughts,
        cached_tokens=count(raw.get("cachedContentTokenCount")),
        reasoning_tokens=thoughts,
        input_audio_tokens=_tokens_of(raw.get("promptTokensDetails"))
        + _tokens_of(raw.get("toolUsePromptTokensDetails")),
        output_audio_tokens=_tokens_of(raw.get("candidatesTokensDetails")),
        reported=True,
        output_image_tokens=_tokens_of(raw.get("candidatesTokensDetails"), "IMAGE"),
    )


def _tokens_of(details: Any, modality: str = "AUDIO") -> int:
    if not isinstance(details, list):
        return 0
    return sum(
        count(each.get("tokenCount")) for each in details if isinstance(each, dict) and each.get("modality") == modality
    )


def vectors(raw: Mapping[str, Any], wanted: int | None) -> Reply:
    """Embeddings, in the order of the requests: there is no index, so their number must be right."""
    given = raw["embeddings"]
    if wanted is not None and len(given) != wanted:
        raise ProtocolError(f"{wanted} inputs were sent and the upstream answered with {len(given)} vectors")
    return Reply(
        vectors=[msgspec.convert(each["values"], list[float]) for each in given],
        usage=usage_of(raw.get("usageMetadata")),
    )


def models(raw: Mapping[str, Any]) -> Reply:
    """The list of models, each under the name without ``models/``."""
    return Reply(
        models=[
            ModelInfo(str(item["name"]).removeprefix("models/"), "google", 0, item) for item in raw.get("models") or ()
        ]
    )


def speech(raw: dict[str, Any], as_wave: bool) -> Reply:
    """The recording that the first candidate holds; Google's is PCM without a head, which ``as_wave`` adds."""
    reply = chat(raw)
    sound, kind = bytearray(), ""
    for item in part(candidates_of(raw)[0].get("content")).get("parts") or ():
        blob = part(part(item).get("inlineData"))
        if name(blob.get("mimeType")).startswith("audio/"):
            kind = kind or name(blob.get("mimeType"))
            sound += decoded(blob.get("data"))
    if not sound:
        raise ProtocolError(f"the upstream's answer has no recording (it ended with {reply.finish_reason!r})")
    reply.body, reply.content_type = bytes(sound), kind
    if as_wave and kind.lower().startswith(("audio/l16", "audio/pcm")):
        reply.body, reply.content_type = _wave_head(len(sound), _rate(kind)) + reply.body, "audio/wav"
    return reply


def _rate(kind: str) -> int:
    for parameter in kind.split(";"):
        label, _, value = parameter.strip().partition("=")
        if label.lower() == "rate" and value.isdigit():
            return int(value)
    return 24_000  # what the service's models speak at


def _wave_head(size: int, rate: int) -> bytes:
    """A WAV head for one channel of 16-bit samples."""
    form = struct.pack("<HHIIHH", 1, 1, rate, rate * 2, 2, 16)
    return (
        b"RIFF"
        + struct.pack("<I", 36 + size)
        + b"WAVEfmt "
        + struct.pack("<I", 16)
        + form
        + b"data"
        + struct.pack("<I", size)
    )


def decoded(data: Any) -> bytes:
    """Base64 of either alphabet, with or without its padding, as protobuf's JSON has it."""
    text = name(data).replace("-", "+").replace("_", "/")
    try:
        return base64.b64decode(text + "=" * (-len(text) % 4), validate=True)
    except (binascii.Error, ValueError):
        raise ProtocolError("a piece of the upstream's answer is not base64") from None
