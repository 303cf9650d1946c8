"""What of a call can be merged: its inputs, their sizes, and with whose calls they may go."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import msgspec

from ipfs_accelerate_py.types import (
    Call,
    ClassifyRequest,
    EmbedRequest,
    ModerationRequest,
    Operation,
    Request,
    RerankRequest,
    new_request_id,
)

__all__ = ["MERGEABLE", "Work", "merged", "part_of", "work_of"]

#: The operations that are lists of inputs, of which each is answered by itself.
MERGEABLE = frozenset((Operation.EMBED, Operation.RERANK, Operation.CLASSIFY, Operation.MODERATE))

_encode = msgspec.json.Encoder(order="deterministic").encode


class Work:
    """The mergeable part of one call.

    Attributes:
        request: in the vocabulary, also where the call forwards a body of its caller's.
        items: its inputs, or documents.
        tokens: estimates, one for each; of a document with its query.
        top_n: how many places of its ranking the caller wants; the others are cut off after the answer is split.
        key: calls may go together where their keys are equal.
    """

    __slots__ = ("items", "key", "request", "tokens", "top_n")

    def __init__(self, request: Request, items: list[Any], tokens: list[int], top_n: int | None, key: Hashable) -> None:
        self.request = request
        self.items = items
        self.tokens = tokens
        self.top_n = top_n
        self.key = key


def work_of(call: Call) -> Work | None:
    """None for a call that goes by itself: a stream, inputs that are no texts, a body that cannot be written anew."""
    request: Request = call.request
    if call.stream:
        return None
    if call.passthrough is not None:
        if call.variants is None:
            return None
        request, _ = call.variants(None, None, call.request.model, False)
    query, top_n = "", None
    options: Mapping[str, Any] = request.options
    if isinstance(request, RerankRequest):
        # A score belongs to a query and one document; which of them are the best is for each caller.
        query, items = request.query, request.documents
        if "top_n" in options:
            top_n = options["top_n"]
            if top_n is not None and (isinstance(top_n, bool) or not isinstance(top_n, int) or top_n < 1):
                return None
            options = {name: value for name, value in options.items() if name != "top_n"}
    elif isinstance(request, EmbedRequest | ClassifyRequest | ModerationRequest):
        items = request.input
    else:
        return None
    if not items or not all(map(_CAN_GO[call.operation], items)):
        return None
    try:
        written = _encode(options) if options else b""
    except (TypeError, ValueError, RecursionError):
        return None  # numpy's and others' values: the dialect may know how to write them
    share = _size(query) if query else 0
    tokens = [(_size(item) + share) // 4 + 1 for item in items]
    key = (
        call.operation, request.model, call.alias, query, written, call.tenant, call.session, call.priority,
        call.key_name, call.key_strategy, call.cache, call.patience, call.timeouts, call.route,
        _sorted(call.headers), _sorted(call.limits),
    )  # fmt: skip
    return Work(request, items, tokens, top_n, key)


def _text(item: Any) -> bool:
    return isinstance(item, str)


def _text_or_tokens(item: Any) -> bool:
    return isinstance(item, str) or (isinstance(item, list) and bool(item) and isinstance(item[0], int))


def _text_or_pair(item: Any) -> bool:
    return isinstance(item, str) or (isinstance(item, list) and all(isinstance(each, str) for each in item))


def _document(item: Any) -> bool:
    return isinstance(item, str | dict)


#: Of moderations several parts (a text and its pictures) are judged as one, so only texts stand for themselves.
_CAN_GO = {
    Operation.EMBED: _text_or_tokens,
    Operation.RERANK: _document,
    Operation.CLASSIFY: _text_or_pair,
    Operation.MODERATE: _text,
}


def _size(item: Any) -> int:
    """Four for a token, and a byte for a byte: what is not written in Latin letters has more tokens a letter."""
    if isinstance(item, str):
        return len(item) if item.isascii() else len(item.encode("utf-8", "surrogatepass"))
    if isinstance(item, list):
        return sum(4 if isinstance(each, int) else _size(each) for each in item)
    if isinstance(item, dict):
        return sum(_size(each) for each in item.values())
    return 4


def _sorted(given: Mapping[str, Any] | None) -> Hashable:
    return tuple(sorted(given.items())) if given else None


# --- calls made of them ------------------------------------------------------------------------------------------


def merged(calls: Sequence[Call], works: Sequence[Work]) -> Call:
    """One call with the inputs of all, in their order. It may take as long as the most patient of them."""
    first = calls[0]
    items = [item for work in works for item in work.items]
    deadlines = [call.deadline for call in calls]
    made = _with(first, works[0], items)
    made.deadline = None if None in deadlines else max(each for each in deadlines if each is not None)
    return made


def part_of(call: Call, work: Work, start: int, stop: int) -> Call:
    """A call for some of the inputs of one that is too large."""
    return _with(call, work, work.items[start:stop])


def _with(call: Call, work: Work, items: list[Any]) -> Call:
    request = work.request
    if isinstance(request, RerankRequest):
        options = {name: value for name, value in request.options.items() if name != "top_n"}
        asked: Request = RerankRequest(request.model, request.query, items, options)
    else:
        asked = type(request)(request.model, items, request.options)  # type: ignore[call-arg,arg-type]
    return msgspec.structs.replace(
        call,
        request=asked,
        request_id=new_request_id(),
        # Another body than the caller's: written by the target's dialect, and answered in the vocabulary.
        passthrough=None,
        variants=None,
        cost=0,
        attempts=[],
        asked=[],
        queued=0.0,
        lease=None,
        since=None,
        barred=None,
        hurry=None,
    )
