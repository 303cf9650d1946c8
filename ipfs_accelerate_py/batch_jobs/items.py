"""One request of a batch: as callers write it, and as it is kept on disk."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, NamedTuple

import msgspec

from ipfs_accelerate_py.errors import ConfigurationError, ProtocolError
from ipfs_accelerate_py.types import (
    Call,
    ChatRequest,
    ClassifyRequest,
    CompletionRequest,
    EmbedRequest,
    ImageRequest,
    ModerationRequest,
    Operation,
    Request,
    RerankRequest,
    ResponseRequest,
)

__all__ = ["Item", "load_item", "read_item", "store_item"]

_KINDS: Final[dict[Operation, type[Any]]] = {
    Operation.CHAT: ChatRequest,
    Operation.COMPLETION: CompletionRequest,
    Operation.RESPONSE: ResponseRequest,
    Operation.EMBED: EmbedRequest,
    Operation.RERANK: RerankRequest,
    Operation.CLASSIFY: ClassifyRequest,
    Operation.MODERATE: ModerationRequest,
    Operation.IMAGE: ImageRequest,
}
#: Where OpenAI's own lines of a batch go.
_PATHS: Final = {
    "chat/completions": Operation.CHAT,
    "completions": Operation.COMPLETION,
    "responses": Operation.RESPONSE,
    "embeddings": Operation.EMBED,
    "moderations": Operation.MODERATE,
    "images/generations": Operation.IMAGE,
    "rerank": Operation.RERANK,
}
#: What every call takes, and a batch is told once for all of its requests.
_OF_THE_CALL: Final = frozenset(
    ("priority", "request_id", "api_key_name", "timeout", "timeouts", "headers", "tenant", "session", "cache", "tags")
)


class Item(NamedTuple):
    """``custom_id`` is the caller's own name for it, or empty."""

    custom_id: str
    operation: Operation
    request: Request

    def call(self, request_id: str) -> Call:
        """As a call that is not made: for translations."""
        return Call(operation=self.operation, request=self.request, request_id=request_id)


class _Stored(msgspec.Struct):
    operation: Operation
    request: msgspec.Raw
    custom_id: str = ""


_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(_Stored).decode


def read_item(value: Any, number: int, model: str = "") -> Item:
    """What a caller hands in: a dictionary as the verbs' arguments, a line of OpenAI's batch files, or a request.

    ``number`` is its place, for errors; ``model`` is asked where it names none. Raises `ConfigurationError`.
    """
    if isinstance(value, tuple(_KINDS.values())):
        request: Any = value
        return Item("", request.operation, request)
    if not isinstance(value, Mapping):
        raise _wrong(number, f"is a {type(value).__name__}; it must be a dictionary")
    fields = dict(value)
    name = fields.pop("custom_id", "")
    if not isinstance(name, str):
        raise _wrong(number, "has a custom_id that is no text")
    operation = fields.pop("operation", None)
    if "body" in fields and "url" in fields:
        path = str(fields["url"]).removeprefix("/").removeprefix("v1/")
        operation = _PATHS.get(path)
        if operation is None:
            raise _wrong(number, f"has the url {fields['url']!r}; there are: {', '.join(sorted(_PATHS))}")
        if not isinstance(fields["body"], Mapping):
            raise _wrong(number, "has a body that is no object")
        fields = dict(fields["body"])
    elif operation is None:
        operation = _guessed(fields, number)
    elif operation not in _KINDS:
        raise _wrong(number, f"has the operation {operation!r}; batches take {', '.join(sorted(_KINDS))}")
    if fields.pop("stream", False):
        raise _wrong(number, "asks for a stream, and a batch has none")
    told = sorted(_OF_THE_CALL & fields.keys())
    if told:
        raise _wrong(number, f"has {told[0]!r}, which is told the whole batch")
    return Item(name, Operation(operation), _request(Operation(operation), fields, number, model))


def _guessed(fields: Mapping[str, Any], number: int) -> Operation:
    if "messages" in fields:
        return Operation.CHAT
    if "documents" in fields:
        return Operation.RERANK
    if "prompt" in fields:
        return Operation.COMPLETION
    if "input" in fields:
        return Operation.EMBED
    raise _wrong(number, "has neither messages nor input, prompt or documents, and no operation")


def _request(operation: Operation, fields: dict[str, Any], number: int, model: str) -> Request:
    from ipfs_accelerate_py.verbs import chat_messages

    name = fields.pop("model", None) or model
    if not isinstance(name, str) or not name:
        raise _wrong(number, "names no model")
    try:
        if operation is Operation.CHAT:
            return ChatRequest(name, chat_messages(fields.pop("messages"), fields.pop("system", None)), fields)
        if operation is Operation.RERANK:
            return RerankRequest(name, fields.pop("query"), list(fields.pop("documents")), fields)
        if operation is Operation.RESPONSE:
            return ResponseRequest(name, fields.pop("input"), fields)
        if operation in (Operation.COMPLETION, Operation.IMAGE):
            made: Request = _KINDS[operation](name, fields.pop("prompt"), fields)
            return made
        given = fields.pop("input")
        listed = list(given) if isinstance(given, list | tuple) and given and not isinstance(given[0], int) else [given]
        several: Request = _KINDS[operation](name, listed, fields)
        return several
    except KeyError as missing:
        raise _wrong(number, f"has no {missing.args[0]!r}, which {operation} needs") from None
    except ConfigurationError as problem:
        raise _wrong(number, f"is wrong: {problem.message}") from None


def _wrong(number: int, what: str) -> ConfigurationError:
    return ConfigurationError(f"request {number + 1} of the batch {what}")


# --- on disk -----------------------------------------------------------------------------------------------------


def store_item(item: Item, number: int) -> bytes:
    """A line of JSON, with its end."""
    try:
        return _encode({"operation": item.operation, "request": item.request, "custom_id": item.custom_id}) + b"\n"
    except (TypeError, ValueError, RecursionError) as problem:
        raise _wrong(number, f"cannot be written as JSON: {problem}") from None


def load_item(line: bytes) -> Item:
    """What `store_item` has written."""
    try:
        stored = _decode(line)
        request: Request = msgspec.json.decode(stored.request, type=_KINDS[stored.operation])
    except (msgspec.DecodeError, KeyError) as problem:
        raise ProtocolError(f"a stored request of the batch cannot be read: {problem}") from None
    return Item(stored.custom_id, stored.operation, request)
