"""Whose part of a merged answer is whose, and answers in parts put together again: nothing is lost or doubled."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

import msgspec

from ipfs_accelerate_py.errors import ProtocolError
from ipfs_accelerate_py.pipeline.batching.work import Work
from ipfs_accelerate_py.types import Operation, Ranked, Reply, Usage

__all__ = ["apportioned", "joined", "shares"]

_COUNTS = (*(name for name in Usage.__struct_fields__ if name.endswith("_tokens")), "images", "characters")
#: Lists in services' own answers that have an entry for each input.
_LISTS = ("data", "results", "embeddings", "predictions")


def apportioned(total: int, weights: Sequence[int]) -> list[int]:
    """``total`` in whole shares by weight that sum to it exactly (largest remainders; the first of equals wins)."""
    whole = sum(weights)
    if whole <= 0:
        weights, whole = [1] * len(weights), len(weights)
    shares = [total * weight // whole for weight in weights]
    left = total - sum(shares)
    by_remainder = sorted(range(len(weights)), key=lambda place: -(total * weights[place] % whole))
    for place in by_remainder[:left]:
        shares[place] += 1
    return shares


def shares(operation: Operation, reply: Reply, works: Sequence[Work]) -> list[Reply]:
    """An answer for each of those whose inputs were merged, in their order.

    Vectors, labels, verdicts and places in the ranking are each caller's own; usage is shared by estimated tokens, and
    the shares sum to the whole. Raises `ProtocolError` where the answer does not have a part for every input.
    """
    total = sum(len(work.items) for work in works)
    _check(operation, reply, total)
    usages = _usages(reply.usage, [sum(work.tokens) for work in works])
    made = []
    start = 0
    for work, usage in zip(works, usages, strict=True):
        stop = start + len(work.items)
        part = Reply(
            backend=reply.backend,
            id=reply.id,
            model=reply.model,
            vectors=reply.vectors[start:stop],
            labels=reply.labels[start:stop],
            moderations=reply.moderations[start:stop],
            usage=usage,
            raw=_raw_part(reply.raw, start, stop, total, usage),
            ignored=reply.ignored,
            upstream_request_id=reply.upstream_request_id,
            attempts=reply.attempts,
            key_name=reply.key_name,
            target_model=reply.target_model,
            began=reply.began,
        )
        if operation is Operation.RERANK:
            own = [each for each in reply.ranking if start <= each.index < stop]
            part.ranking = [Ranked(each.index - start, each.score, each.document) for each in own[: work.top_n]]
        made.append(part)
        start = stop
    return made


def joined(operation: Operation, replies: Sequence[Reply], work: Work, sizes: Sequence[int]) -> Reply:
    """The answer to a call that was cut into parts of these sizes."""
    for reply, size in zip(replies, sizes, strict=True):
        _check(operation, reply, size)
    first = replies[0]
    usage = msgspec.structs.replace(first.usage, reported=all(reply.usage.reported for reply in replies))
    for name in _COUNTS:
        setattr(usage, name, sum(getattr(reply.usage, name) for reply in replies))
    whole = Reply(
        backend=first.backend,
        id=first.id,
        model=first.model,
        vectors=[vector for reply in replies for vector in reply.vectors],
        labels=[labels for reply in replies for labels in reply.labels],
        moderations=[verdict for reply in replies for verdict in reply.moderations],
        usage=usage,
        raw=_raw_joined([reply.raw for reply in replies], sizes, usage),
        ignored=tuple(dict.fromkeys(name for reply in replies for name in reply.ignored)),
        upstream_request_id=first.upstream_request_id,
        attempts=max(reply.attempts for reply in replies),
        key_name=first.key_name,
        target_model=first.target_model,
        began=first.began,
    )
    if operation is Operation.RERANK:
        start = 0
        ranking: list[Ranked] = []
        for reply, size in zip(replies, sizes, strict=True):
            ranking += [Ranked(start + each.index, each.score, each.document) for each in reply.ranking]
            start += size
        ranking.sort(key=lambda each: -each.score)
        whole.ranking = ranking[: work.top_n]
    return whole


def _check(operation: Operation, reply: Reply, total: int) -> None:
    answered: Sequence[Any]
    if operation is Operation.EMBED:
        answered = reply.vectors
    elif operation is Operation.CLASSIFY:
        answered = reply.labels
    elif operation is Operation.MODERATE:
        answered = reply.moderations
    else:
        answered = sorted({each.index for each in reply.ranking})
        if len(answered) != len(reply.ranking) or (answered and (answered[0] < 0 or answered[-1] >= total)):
            answered = ()
    if len(answered) != total:
        raise ProtocolError(f"{total} inputs were sent in one call and the upstream answered {len(answered)} of them")


def _usages(usage: Usage, weights: Sequence[int]) -> list[Usage]:
    made = [copy.copy(usage) for _ in weights]  # with what is no count, and so is everybody's
    for name in _COUNTS:
        if count := getattr(usage, name):
            for part, share in zip(made, apportioned(count, weights), strict=True):
                setattr(part, name, share)
    return made


# --- the services' own answers -----------------------------------------------------------------------------------


def _raw_part(raw: Any, start: int, stop: int, total: int, usage: Usage) -> Any:
    """A caller's part of the provider's answer; None where its shape is not known: others' parts are in it."""
    if isinstance(raw, list):
        return _entries(raw, start, stop, total)
    if not isinstance(raw, dict):
        return None
    for name in _LISTS:
        if isinstance(raw.get(name), list):
            entries = _entries(raw[name], start, stop, total)
            return None if entries is None else _with_usage({**raw, name: entries}, usage)
    return None


def _entries(entries: list[Any], start: int, stop: int, total: int) -> list[Any] | None:
    if len(entries) != total:
        return None
    if all(isinstance(entry, dict) and isinstance(entry.get("index"), int) for entry in entries):
        return [{**entry, "index": entry["index"] - start} for entry in entries if start <= entry["index"] < stop]
    return entries[start:stop]


def _with_usage(raw: dict[str, Any], usage: Usage) -> dict[str, Any]:
    given = raw.get("usage")
    if isinstance(given, dict):
        own = {"prompt_tokens": usage.input_tokens, "total_tokens": usage.total_tokens}
        raw["usage"] = {name: count for name, count in own.items() if name in given}
    return raw


def _raw_joined(raws: Sequence[Any], sizes: Sequence[int], usage: Usage) -> Any:
    if all(isinstance(raw, list) for raw in raws):
        return _shifted(raws, sizes)
    for name in _LISTS:
        if all(isinstance(raw, dict) and isinstance(raw.get(name), list) for raw in raws):
            return _with_usage({**raws[0], name: _shifted([raw[name] for raw in raws], sizes)}, usage)
    return None


def _shifted(lists: Sequence[list[Any]], sizes: Sequence[int]) -> list[Any]:
    made: list[Any] = []
    start = 0
    for entries, size in zip(lists, sizes, strict=True):
        for entry in entries:
            numbered = isinstance(entry, dict) and isinstance(entry.get("index"), int)
            made.append({**entry, "index": entry["index"] + start} if numbered else entry)
        start += size
    return made
