"""Embeddings are kept a text at a time: of ten texts of which seven are known, three are asked for."""

from __future__ import annotations

import hashlib
from array import array
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import msgspec

from ipfs_accelerate_py.pipeline.fingerprint import fingerprint
from ipfs_accelerate_py.types import Call, Cost, EmbedRequest, Handler, Reply, Usage

if TYPE_CHECKING:
    from ipfs_accelerate_py.pipeline.cache.exact import ExactCache

__all__ = ["embed_each", "shares"]

#: Counts what is incompatible in how vectors are written.
VERSION = 1
_encode = msgspec.msgpack.Encoder().encode
_json = msgspec.json.Encoder(order="sorted").encode


class _Vector(msgspec.Struct, array_like=True):
    """One text's vector at rest: ``kind`` is "f" where single precision holds it exactly, else "d"."""

    version: int
    kind: str
    data: bytes
    tokens: int
    #: The count is this text's own; else it is its share of what several came to together.
    counted: bool
    backend: str
    model: str
    target_model: str


_decode = msgspec.msgpack.Decoder(_Vector).decode


async def embed_each(cache: ExactCache, inner: Handler, call: Call) -> Reply:
    """Ask for what is not known, and put the answer together in the order of the texts.

    ``usage`` is what was really spent: of an answer in which something is known, that of the rest. Of one from
    the cache alone it is what the texts came to when they were asked for: exact where each was counted alone, and
    else their shares of what was counted together, by length (then ``usage.reported`` is False).
    """
    request = call.request
    asked = call
    if call.variants is not None:
        # The caller's format is put around it by whoever answers; what is kept are the vectors.
        try:
            request = call.variants(None, None, request.model, False)[0]
        except Exception:  # our vocabulary has no word for something in it
            cache.stats.bypassed += 1
            return await inner(call)
        asked = msgspec.structs.replace(call, request=request, passthrough=None, variants=None)
    if not isinstance(request, EmbedRequest):
        cache.stats.bypassed += 1
        return await inner(call)
    names = _names(cache, asked, request)
    if names is None:
        cache.stats.bypassed += 1
        return await inner(call)
    kept: list[_Vector | None] = [None] * len(names)
    if call.cache != "refresh":
        kept = [_read(data) for data in await cache.store.get(names)]
    missing = [at for at, vector in enumerate(kept) if vector is None]
    # A text that occurs twice is asked for once.
    first = {names[at]: at for at in reversed(missing)}
    wanted = sorted(first.values())
    known = [vector for vector in kept if vector is not None]
    cache.stats.hits += len(names) - len(missing)
    cache.stats.misses += len(missing)
    if not missing:
        reply = _answer(known, _sum(known))
        reply.cache = "exact"
        reply.cost = Cost(0.0)
        cache.stats.saved(call, reply, reply.usage)
        return reply
    if len(wanted) == len(names):
        reply = await _ask(inner, call, asked)
        _keep(cache, names, wanted, request.input, reply)
        return reply
    part = EmbedRequest(request.model, [request.input[at] for at in wanted], request.options)
    reply = await _ask(inner, call, msgspec.structs.replace(asked, request=part))
    if len(reply.vectors) != len(wanted):
        return await _ask(inner, call, asked)  # not a vector for each text: nothing can be put together from it
    _keep(cache, names, wanted, request.input, reply)
    new = {names[at]: vector for at, vector in zip(wanted, reply.vectors, strict=True)}
    reply.vectors = [
        list(new[name]) if vector is None else _floats(vector) for name, vector in zip(names, kept, strict=True)
    ]
    reply.raw = None  # it holds the vectors that were asked for, and no others
    cache.stats.saved(call, reply, _sum(known))
    return reply


async def _ask(inner: Handler, call: Call, asked: Call) -> Reply:
    try:
        return await inner(asked)
    finally:
        call.queued = asked.queued  # the list of attempts is the same one


def _names(cache: ExactCache, call: Call, request: EmbedRequest) -> list[str] | None:
    """A name for each text: that of the request without texts, and the text."""
    bare = msgspec.structs.replace(call, request=EmbedRequest(request.model, [], request.options))
    common = fingerprint(bare, stream=False)
    if common is None:
        return None
    try:
        texts = [item.encode() if isinstance(item, str) else b"\0" + _json(item) for item in request.input]
    except (TypeError, ValueError, RecursionError):
        return None
    return [cache.entry(call, hashlib.blake2b(text, digest_size=16, key=common).digest()) for text in texts]


def _keep(cache: ExactCache, names: list[str], wanted: list[int], texts: list[Any], reply: Reply) -> None:
    if reply.cache or reply.verbatim or len(reply.vectors) != len(wanted) or not all(reply.vectors):
        cache.stats.not_kept += len(wanted)
        return
    weights = [len(texts[at]) for at in wanted]
    tokens = shares(reply.usage.input_tokens, weights)
    counted = len(wanted) == 1 and reply.usage.reported
    for at, vector, count in zip(wanted, reply.vectors, tokens, strict=True):
        packed = array("f", vector)
        kind = "f"
        if packed.tolist() != vector:
            packed, kind = array("d", vector), "d"
        made = _Vector(VERSION, kind, packed.tobytes(), count, counted, reply.backend, reply.model, reply.target_model)
        cache.put(names[at], _encode(made))


def shares(total: int, weights: Sequence[int]) -> list[int]:
    """``total`` in whole parts by weight that sum to it exactly."""
    whole = sum(weights) or 1
    made: list[int] = []
    given = passed = 0
    for weight in weights:
        passed += weight
        upto = total * passed // whole if passed else 0
        made.append(upto - given)
        given = upto
    if made and given != total:
        made[-1] += total - given
    return made


def _read(data: bytes | None) -> _Vector | None:
    if data is None:
        return None
    try:
        found = _decode(data)
    except (msgspec.MsgspecError, ValueError):
        return None
    return found if found.version == VERSION and found.kind in ("f", "d") else None


def _floats(vector: _Vector) -> list[float]:
    values = array("f" if vector.kind == "f" else "d")
    values.frombytes(vector.data)
    return values.tolist()


def _sum(vectors: list[_Vector]) -> Usage:
    return Usage(
        input_tokens=sum(vector.tokens for vector in vectors), reported=all(vector.counted for vector in vectors)
    )


def _answer(vectors: list[_Vector], usage: Usage) -> Reply:
    one = vectors[0]
    return Reply(
        backend=one.backend,
        model=one.model,
        target_model=one.target_model,
        vectors=[_floats(vector) for vector in vectors],
        usage=usage,
        attempts=0,
    )
