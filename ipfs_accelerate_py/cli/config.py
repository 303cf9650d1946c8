"""``ipfs-accelerate config``: what is configured, is a gateway's file right, and templates to begin with."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import click

from ipfs_accelerate_py.cli.helping import Command, Group, common_options, option
from ipfs_accelerate_py.cli.templates import TEMPLATES, template, write_file
from ipfs_accelerate_py.cli.terminal import Terminal, counted

if TYPE_CHECKING:
    from ipfs_accelerate_py.gateway.config import AliasEntry

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


@command.command(cls=Command)
@click.argument("file", metavar="FILE")
@common_options
@click.pass_obj
def check(terminal: Terminal, file: str) -> None:
    """Check a gateway's YAML file; errors name the line.

    Nothing is sent to anybody. Variables that the file names must be set, as they must for `serve`. The exit code is 0
    where `serve --config FILE` would begin, and else 2.
    """
    from ipfs_accelerate_py.gateway.config import load_config
    from ipfs_accelerate_py.gateway.table import ModelTable

    config = load_config(file)
    ModelTable(config)  # which finds what no single line is wrong about
    models = [{"name": entry.name, "backend": entry.target.backend, "model": entry.model} for entry in config.models]
    aliases = [_alias(entry) for entry in config.aliases if entry.listed]
    whole = [entry.backend for entry in config.backends]
    keys = [{"name": key.name, "tenant": key.tenant} for key in config.keys]
    on = sorted(config.features)
    if terminal.json:
        terminal.data(
            {
                "file": file,
                "valid": True,
                "models": models,
                "aliases": aliases,
                "backends": whole,
                "keys": keys,
                "features": on,
                "warnings": list(config.warnings),
            }
        )
        return
    for warning in config.warnings:
        terminal.warn(warning)
    rows = [(entry["name"], f"{entry['backend']}/{entry['model']}") for entry in models]
    rows += [(entry["name"], _targets(entry)) for entry in aliases]
    rows += [(f"{name}/*", f"every model of {name}") for name in whole]
    if rows:
        terminal.table(("name", "answered by"), rows)
    served = [counted(len(rows), "entry", "entries")] if rows else []
    if config.environment:
        served.append("what the environment has keys for")
    if config.local:
        served.append("the models on this machine")
    terminal.note(f"{file} is right; it serves {', and '.join(served) or 'nothing'}")
    if keys:
        tenants = counted(len({key["tenant"] for key in keys}), "tenant", "tenants")
        terminal.note(f"{counted(len(keys), 'virtual key', 'virtual keys')} of {tenants}")
    if on:
        terminal.note(f"switched on: {', '.join(name.replace('_', ' ') for name in on)}")


def _alias(entry: AliasEntry) -> dict[str, Any]:
    kinds = ("fallbacks", "context_fallbacks", "content_policy_fallbacks")
    return {
        "name": entry.name,
        "targets": [f"{target.target.backend}/{target.model}" for target in entry.targets],
        "strategy": entry.options.get("strategy", "order"),
        **{kind: entry.options[kind] for kind in kinds if kind in entry.options},
    }


def _targets(entry: dict[str, Any]) -> str:
    """Who answers, and who stands in: those that are asked in order with arrows, those that share with bars."""
    mark = " > " if entry["strategy"] == "order" else " | "
    how = "" if len(entry["targets"]) == 1 or entry["strategy"] == "order" else f" ({entry['strategy']})"
    others = "".join(f", then {name}" for name in entry.get("fallbacks", ()))
    return mark.join(entry["targets"]) + how + others


@command.command(cls=Command, name="template")
@click.argument("kind", type=click.Choice(TEMPLATES), default="credentials", metavar="[credentials|gateway]")
@option("--output", metavar="FILE", section="Output", help="Write a new file here, instead of to stdout.")
@common_options
@click.pass_obj
def write(terminal: Terminal, kind: str, output: str | None) -> None:
    """Write a template: the file for keys, or a gateway's YAML.

    A file that exists is left as it is. The file for keys is made readable for its owner alone, as it has to be.
    """
    if output is None:
        terminal.write(template(kind))
        return
    write_file(kind, output)
    terminal.note(f"{output} is written; edit it")
