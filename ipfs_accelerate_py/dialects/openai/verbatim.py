"""Answers of OpenAI's kind that are not taken apart: those of any path, and those that are forwarded as they came."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from ipfs_accelerate_py.dialects.openai.errors import error_from_body
from ipfs_accelerate_py.dialects.reading import chat_usage, name, response_usage
from ipfs_accelerate_py.errors import ProtocolError
from ipfs_accelerate_py.types import Call, Operation, Reply, Usage

__all__ = ["decode_object", "read_passed", "read_raw"]

_decode = msgspec.json.Decoder().decode


def decode_object(body: bytes) -> dict[str, Any]:
    """An answer's JSON object. Raises `ProtocolError` where it is none."""
    try:
        raw = _decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise ProtocolError(f"the upstream's answer is not JSON; it begins with {_beginning(body)}") from None
    if not isinstance(raw, dict):
        raise ProtocolError(f"the upstream's answer is not a JSON object but a {type(raw).__name__}")
    return raw


def _beginning(body: bytes) -> str:
    return repr(body[:80].decode("utf-8", "replace"))


def read_raw(call: Call, body: bytes, headers: Mapping[str, str]) -> Reply:
    """JSON decoded, anything else as it came. A page of HTML is not the service's but from what stands before it."""
    kind = headers.get("content-type", "").strip()
    plain = kind.partition(";")[0].lower()
    if not body:
        return Reply(content_type=kind)
    if plain == "" or plain.endswith("json") or plain == "text/html" or body[:1] in (b"{", b"["):
        try:
            raw = _decode(body)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            if plain == "" or plain.endswith("json") or plain == "text/html":
                raise ProtocolError(f"the upstream's answer is not JSON; it begins with {_beginning(body)}") from None
        else:
            return Reply(raw=raw, usage=chat_usage(raw.get("usage")) if isinstance(raw, dict) else Usage())
    return Reply(body=body, content_type=kind)


# --- passthrough -------------------------------------------------------------------------------------------------


class _Passed(msgspec.Struct):
    """What is read of an answer whose bytes are forwarded; the rest is only checked to be JSON."""

    model: msgspec.Raw = msgspec.Raw(b"null")
    usage: msgspec.Raw = msgspec.Raw(b"null")
    error: msgspec.Raw = msgspec.Raw(b"null")
    choices: msgspec.Raw = msgspec.Raw(b"null")
    output: msgspec.Raw = msgspec.Raw(b"null")
    data: msgspec.Raw = msgspec.Raw(b"null")
    results: msgspec.Raw = msgspec.Raw(b"null")
    service_tier: msgspec.Raw = msgspec.Raw(b"null")


_decode_passed = msgspec.json.Decoder(_Passed).decode
_decode_items = msgspec.json.Decoder(list[msgspec.Raw]).decode
_MARKS = {
    Operation.CHAT: "choices",
    Operation.COMPLETION: "choices",
    Operation.RESPONSE: "output",
    Operation.EMBED: "data",
    Operation.IMAGE: "data",
    Operation.CLASSIFY: "data",
    Operation.MODERATE: "results",
    Operation.RERANK: "results",
}


def _length(items: msgspec.Raw) -> int:
    try:
        return len(_decode_items(items))
    except msgspec.ValidationError:
        return 0


def read_passed(call: Call, body: bytes) -> Reply:
    """What the pipeline needs to know of an answer whose bytes are forwarded."""
    try:
        passed = _decode_passed(body)
    except msgspec.ValidationError:
        raise ProtocolError(f"the upstream's answer is not a JSON object; it begins with {_beginning(body)}") from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise ProtocolError(f"the upstream's answer is not JSON; it begins with {_beginning(body)}") from None
    mark = getattr(passed, _MARKS[call.operation])
    if bytes(mark) == b"null":
        if bytes(passed.error) != b"null":
            raise error_from_body(_decode(body))
        raise ProtocolError(
            f"the upstream's answer is not OpenAI's {call.operation} format: it has no {_MARKS[call.operation]!r}"
        )
    counts = _decode(passed.usage)
    read = response_usage if call.operation is Operation.RESPONSE else chat_usage
    usage = read(counts, _decode(passed.service_tier))
    if call.operation is Operation.IMAGE:
        usage.images = _length(passed.data)
    return Reply(model=name(_decode(passed.model)), usage=usage, body=body)
