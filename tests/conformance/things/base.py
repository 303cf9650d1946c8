"""What a thing is, and how one is made."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any, NamedTuple

__all__ = ["PDF", "PNG", "SCHEMA", "Body", "Thing", "each", "put", "thing"]

Body = dict[str, Any]

PNG = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR4nGNgYGD4DwABBAEAwS2OUAAAAABJRU5ErkJggg=="
PDF = "JVBERi0xLjQK"
SCHEMA: Body = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}


class Thing(NamedTuple):
    """A body with one thing, and the same without it; ``words`` are names under which it may be refused or ignored."""

    name: str
    words: frozenset[str]
    body: Body
    without: Body


def put(body: Body, path: str, value: Any) -> Body:
    """A copy with a value at a path; a part of it may be a number, or ``+`` for one more."""
    made: Any = copy.deepcopy(body)
    at = made
    *before, last = path.split(".")
    for step in before:
        at = at[int(step)] if isinstance(at, list) else at.setdefault(step, {})
    if isinstance(at, list):
        if last == "+":
            at.append(value)
        else:
            at[int(last)] = value
    else:
        at[last] = value
    return dict(made)


def thing(base: Body, path: str, value: Any, *words: str) -> Thing:
    """The base with a value at a path. It may be called by the path's last name, by its own type, and by ``words``."""
    steps = [step for step in path.split(".") if not step.isdigit() and step != "+"]
    kind = value.get("type") if isinstance(value, dict) else None
    named = {steps[-1], *words, *([kind] if isinstance(kind, str) else ())}
    shown = str(value) if len(str(value)) < 60 else str(value)[:57] + "..."
    return Thing(f"{path}={shown}", frozenset(named), put(base, path, value), base)


def each(base: Body, *rows: tuple[Any, ...], under: str = "", words: tuple[str, ...] = ()) -> Iterator[Thing]:
    """A thing of each row: path (``under`` another), value, and words for it."""
    for path, value, *more in rows:
        yield thing(base, f"{under}.{path}" if under else path, value, *more, *words)
