"""Options that a command passes on to the service: ``--option name=json`` and those with a name of their own."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from typing import Any, TypeVar

import click

from ipfs_accelerate_py.cli.helping import option
from ipfs_accelerate_py.cli.selection import utf8

__all__ = ["free_options", "merged"]

F = TypeVar("F", bound=Callable[..., Any])

# Names that a call of a client takes for itself, and what says the same on the command line.
_RESERVED = {
    "model": ": use -m",
    "messages": ": that is the prompt",
    "input": ": that is the texts",
    "system": ": use --system",
    "stream": ": use --no-stream",
    "timeout": ": use --timeout",
    "timeouts": ": use --timeout",
    "priority": ": use --priority",
    "api_key_name": ": use --api-key-env",
    "headers": "",
    "request_id": "",
    "prompt": ": it has a place of its own",
    "query": ": that is an argument",
    "documents": ": those are arguments",
    "audio": ": that is the recording",
    "filename": ": use --filename",
    "translate": ": use --translate",
}


def _named(ctx: click.Context, parameter: click.Parameter, given: tuple[str, ...]) -> list[tuple[str, Any]]:
    """Each ``name=value`` as name and value: JSON where it is JSON, else the text itself."""
    return [_pair(text) for text in given]


def _pair(text: str) -> tuple[str, Any]:
    name, separator, value = text.partition("=")
    name = name.strip()
    if not separator or not name:
        raise click.BadParameter(f"{text!r} is not NAME=VALUE")
    if name in _RESERVED:
        raise click.BadParameter(f"{name!r} is not for --option{_RESERVED[name]}")
    try:
        return name, json.loads(value, parse_constant=_refuse)
    except ValueError:
        return name, utf8(value, f"the value of --option {name}")


def _refuse(constant: str) -> Any:
    raise ValueError(constant)  # NaN and Infinity are no JSON


def free_options(section: str) -> Callable[[F], F]:
    """Add ``--option``; the command gets pairs of name and value as its argument ``options``."""
    return option(
        "--option",
        "options",
        callback=_named,
        multiple=True,
        metavar="NAME=JSON",
        section=section,
        help="Any other option of the service, under its own name; may be repeated. What is not JSON is text.",
    )


def merged(free: Iterable[tuple[str, Any]], **named: Any) -> dict[str, Any]:
    """All options of a call; of the named ones those that were given. One given both ways is a usage error."""
    found = {name: value for name, value in named.items() if value is not None}
    for name, value in free:
        if name in found:
            raise click.UsageError(f"{name!r} is given twice")
        found[name] = value
    return found
