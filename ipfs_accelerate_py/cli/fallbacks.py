"""``--fallback``: who is asked when the first fails. A client where that is nobody, and else a router."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

import click

from ipfs_accelerate_py.cli.helping import option
from ipfs_accelerate_py.cli.selection import Connection, shown_address, split_model, utf8
from ipfs_accelerate_py.cli.terminal import Terminal

if TYPE_CHECKING:
    from ipfs_accelerate_py.router.targets import Alias, Target
    from ipfs_accelerate_py.sync import Client
    from ipfs_accelerate_py.sync_router import Router

__all__ = ["Named", "Targets", "fallback_option", "same_model"]

F = TypeVar("F", bound=Callable[..., Any])
Named = tuple[str, str]
"""Backend and model."""


def fallback_option(text: str) -> Callable[[F], F]:
    """Add ``--fallback``; the command gets a list of `Named` as its argument ``fallbacks``."""
    return option(
        "--fallback",
        "fallbacks",
        multiple=True,
        callback=_named,
        metavar="BACKEND/MODEL",
        section="Model",
        help=f"{text} May be repeated. Its key and address are the configured ones.",
    )


def _named(ctx: click.Context, parameter: click.Parameter, given: tuple[str, ...]) -> list[Named]:
    found: list[Named] = []
    for text in given:
        backend, model = split_model(utf8(text, "--fallback"))
        if backend is None:
            raise click.BadParameter(f"{text!r} names no backend: it is BACKEND/MODEL")
        if (backend, model) in found:
            raise click.BadParameter(f"{text!r} is given twice")
        found.append((backend, model))
    return found


def same_model(one: str, other: str) -> bool:
    """Whether two backends' names mean one model: they are equal, but for an organization in front of one of them."""
    return one == other or one.endswith(f"/{other}") or other.endswith(f"/{one}")


class Targets:
    """The backend that is asked first, and those that are asked when it fails.

    Args:
        connection: address, key and settings; the address and the key are the first one's alone.
    """

    def __init__(self, backend: str, model: str, connection: Connection, fallbacks: Sequence[Named]) -> None:
        own = connection.base_url is not None or connection.api_key is not None
        if (backend, model) in fallbacks and not own:
            raise click.UsageError(f"--fallback {backend}/{model} is what is asked first")
        self.backend = backend
        self._connection = connection
        self._others: list[Target] = []
        if fallbacks:
            from ipfs_accelerate_py.router.targets import Target

            self._others = [Target(*each) for each in fallbacks]

    def open(self, model: str, **settings: Any) -> Client | Router:
        """A client of the one backend, or a router that has ``model`` as an alias."""
        if not self._others:
            from ipfs_accelerate_py.sync import Client

            return Client(self.backend, **self._connection.arguments(), **settings)
        from ipfs_accelerate_py.sync_router import Router

        # An answer may begin anew where a person sees that it does; in a pipe the two would be taken for one.
        mid_stream = "restart" if sys.stdout.isatty() else "continue"
        return Router({model: self._alias(model)}, mid_stream=mid_stream, **{**self._connection.settings, **settings})

    def change(self, opened: Client | Router, model: str) -> None:
        """Ask another model first, of the same backend; its name may be asked for from now on."""
        from ipfs_accelerate_py.sync_router import Router

        if isinstance(opened, Router):
            opened.set_alias(model, self._alias(model))

    def _alias(self, model: str) -> Alias:
        from ipfs_accelerate_py.router.targets import Alias, Target

        given = self._connection
        first = Target(self.backend, model, base_url=given.base_url, api_key=given.api_key)
        return Alias([first, *self._others])

    def tell(self, terminal: Terminal, opened: Client | Router, model: str) -> None:
        """Say with ``-v`` who is asked, and where; and always which fallback cannot be."""
        from ipfs_accelerate_py.sync_router import Router

        if not isinstance(opened, Router):
            terminal.detail(f"asking {model} of {self.backend} at {shown_address(opened.base_url)}")
            return
        said = []
        for number, each in enumerate(opened.asynchronous.targets.values()):
            backend = each.backend
            said.append(f"{each.model} of {backend.spec.name} at {shown_address(backend.base_url)}")
            needs_key = backend.spec.needs_key(backend.base_url, backend.options)
            if number and needs_key and not backend.pipeline.keys.names():
                variables = " or ".join(backend.spec.key_env)
                terminal.warn(f"--fallback {each.name} has no key and cannot be asked: set {variables}")
        terminal.detail(f"asking {', then '.join(said)}")
