"""``ipfs-accelerate config``: what is configured, is a gateway's file right, and templates to begin with."""

from __future__ import annotations

import sys
from typing import Any

import click

from ipfs_accelerate_py.cli.helping import Command, Group, common_options
from ipfs_accelerate_py.cli.terminal import Terminal

__all__ = ["command"]

EXAMPLES = (
    ("ipfs-accelerate config", "Which backends are configured, and where their keys come from"),
    ("ipfs-accelerate config check gateway.yaml", "Is this file right? Errors name the line"),
    ("ipfs-accelerate config template credentials --output ~/.ipfs_api_credentials", "Begin a file for keys"),
    ("ipfs-accelerate config template gateway --output gateway.yaml", "Begin a file for `serve --config`"),
)


@click.group(cls=Group, name="config", invoke_without_command=True, examples=EXAMPLES)
@common_options
@click.pass_context
def command(ctx: click.Context) -> None:
    """Show and check the configuration; write a template for it.

    Without a command it shows what is configured, as `config show` does.
    """
    if ctx.invoked_subcommand is None:
        ctx.invoke(show)


@command.command(cls=Command)
@common_options
@click.pass_obj
def show(terminal: Terminal) -> None:
    """Show which backends are configured, and from which source.

    Of keys the names are shown, never the values. In a pipe a line is: backend, configured or not, address, where that
    comes from, names of keys, and where those come from; separated by tabs.
    """
    from ipfs_accelerate_py.cli.configured import configuration

    found = configuration()
    if terminal.json:
        terminal.data(found)
        return
    backends = found["backends"]
    if not sys.stdout.isatty():
        terminal.table((), [_line(backend) for backend in backends])
        return
    terminal.table(("backend", "configured", "address", "key"), [_row(backend) for backend in backends])
    terminal.write("\n")
    default, model = found["default_backend"], found["default_model"]
    terminal.write(f"Default backend: {default['name'] or 'none; ' + default['reason']}{_from(default['source'])}\n")
    terminal.write(f"Default model:   {model['name'] or 'none'}{_from(model['source'])}\n")


def _line(backend: dict[str, Any]) -> tuple[str, ...]:
    keys = backend.get("keys", [])
    return (
        backend["name"],
        "yes" if backend["configured"] else "no",
        backend.get("base_url", ""),
        backend.get("base_url_source") or "",
        ",".join(key["name"] for key in keys),
        keys[0]["source"] if keys else "",
    )


def _row(backend: dict[str, Any]) -> tuple[str, ...]:
    """For people: what is there, or what to set."""
    configured = "yes" if backend["configured"] else "no"
    if "models" in backend:
        models = ", ".join(backend["models"]) or "no models"
        missing = ", ".join(backend["missing"])
        return (
            backend["name"],
            configured,
            f"this process: {models}",
            f'pip install "ipfs-accelerate-py[local]" (missing: {missing})' if missing else "none needed",
        )
    if backend["keys"]:
        names = ", ".join(key["name"] for key in backend["keys"])
        key = f"{names}{_from(backend['keys'][0]['source'])}"
    elif backend["requires_key"]:
        key = f"none: set {' or '.join(backend['variables']['key'])}"
    else:
        key = "none, and none needed"
    address = f"{backend['base_url']}{_from(backend['base_url_source'])}"
    if not backend["configured"] and not backend["requires_key"]:
        address = f"{backend['base_url']} (set {' or '.join(backend['variables']['base_url'])})"
    return backend["name"], configured, address, key


def _from(source: str | None) -> str:
    return f" (from {source})" if source else ""
