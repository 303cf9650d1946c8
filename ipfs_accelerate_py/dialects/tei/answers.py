"""TEI's answers, and the router's: one for each input and in order, or an error."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import msgspec

from ipfs_accelerate_py.dialects.reading import name
from ipfs_accelerate_py.errors import ProtocolError
from ipfs_accelerate_py.types import Label, Ranked, Usage

__all__ = ["classified", "counted", "embedded", "ranked", "usage_of"]


def usage_of(headers: Mapping[str, str]) -> Usage:
    """The tokens of all inputs, which TEI says in a header alone; the router says nothing."""
    value = headers.get("x-compute-tokens", "")
    if not (value.isascii() and value.isdecimal() and len(value) < 12):
        return Usage()
    return Usage(int(value), reported=True)


def embedded(raw: Any, inputs: int) -> list[list[float]]:
    """Vectors belong to inputs by position: one too few would shift all that follow."""
    if isinstance(raw, list) and raw and inputs == 1 and not isinstance(raw[0], list):
        raw = [raw]  # the router, of a lone text
    _as_many(raw, inputs)
    for vector in raw:
        if isinstance(vector, list) and vector and isinstance(vector[0], list):
            raise ProtocolError(
                "the model answered with a vector for each token and not for each text: it embeds no texts"
            )
    return msgspec.convert(raw, list[list[float]])


def classified(raw: Any, inputs: int) -> list[list[Label]]:
    """Labels of each input, the highest first."""
    if isinstance(raw, list) and raw and isinstance(raw[0], dict):
        # One text's labels, or (of the router) the first label of each text.
        raw = [raw] if inputs == 1 else [[each] for each in raw]
    _as_many(raw, inputs)
    found = [[Label(str(each["label"]), _score(each["score"])) for each in labels] for labels in raw]
    return [sorted(labels, key=lambda label: -label.score) for labels in found]


def ranked(raw: Any, documents: int, most: int | None) -> list[Ranked]:
    """Each document once, the best first."""
    _as_many(raw, documents)
    found = [Ranked(each["index"], _score(each["score"]), name(each.get("text")) or None) for each in raw]
    if sorted(each.index for each in found) != list(range(documents)):
        raise ProtocolError(f"the upstream's ranking is not one of the {documents} documents that were sent")
    found.sort(key=lambda each: -each.score)
    return found[:most] if most is not None else found


def counted(raw: Any) -> Usage:
    """Tokens of all texts together, special ones (begin, end) among them."""
    return Usage(sum(len(tokens) for tokens in raw), reported=True)


def _as_many(raw: Any, wanted: int) -> None:
    if not isinstance(raw, list):
        raise TypeError(f"a list was expected, not {type(raw).__name__}")
    if len(raw) != wanted:
        raise ProtocolError(f"{wanted} inputs were sent and the upstream answered {len(raw)}")


def _score(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise TypeError(f"a score must be a number, not {value!r}")
    return float(value)
