"""What a gateway says when it starts: what it serves, where, and a line to paste that shows that it works."""

from __future__ import annotations

import ipaddress
import os
from collections.abc import Iterator
from typing import Any

import msgspec

from ipfs_accelerate_py._version import __version__
from ipfs_accelerate_py.gateway.app import GatewayApp
from ipfs_accelerate_py.gateway.config import VARIABLE_PREFIX
from ipfs_accelerate_py.gateway.table import ModelTable

__all__ = ["banner"]

#: More names than this are not listed one by one.
_MOST_NAMES = 12


def banner(app: GatewayApp, host: str, port: int) -> Iterator[str]:
    """The lines. No key is in them."""
    table = app.table
    address = f"http://{_reachable(host)}:{port}"
    yield f"ipfs-accelerate gateway {__version__} on {address}/v1"
    yield from _served(table)
    if app.keyring:
        yield f"  key: clients must send one of: {_list(app.keyring.names())}"
    elif not _is_loopback(host):
        yield (
            f"  WARNING: it listens on {host} without a key, so whoever reaches this machine can use it at your "
            f"expense; set {VARIABLE_PREFIX}API_KEY, or api_key under 'gateway'"
        )
    if app.config.features:
        yield f"  switched on: {', '.join(name.replace('_', ' ') for name in sorted(app.config.features))}"
    yield from (f"  warning: {warning}" for warning in app.config.warnings)
    variable = _key_variable(app)
    hint = f" (with the gateway's key in ${variable})" if variable and variable not in os.environ else ""
    yield f"Try it{hint}:"
    yield f"  {_curl(app, address, variable)}"


def _served(table: ModelTable) -> Iterator[str]:
    local = table.local
    others = [name for name in table.names() if name not in local]
    if local:
        hint = "" if table.can_load else ' (to load one: pip install "ipfs-accelerate-py[local]")'
        yield f"  models on this machine: {_list(local)}{hint}"
    if others:
        yield f"  models: {_list(others)}"
    for name, backend in table.whole.items():
        yield f"  backend {name}: {backend.base_url} (ask for {name}/<model>)"
    if not local and not others and not table.whole:
        yield (
            "  nothing is served yet: set a key (OPENAI_API_KEY, GROQ_API_KEY) or a URL (LLVM_API_ENDPOINT), "
            "or give a configuration"
        )


def _list(names: list[str]) -> str:
    more = f" and {len(names) - _MOST_NAMES} more" if len(names) > _MOST_NAMES else ""
    return ", ".join(names[:_MOST_NAMES]) + more


def _key_variable(app: GatewayApp) -> str | None:
    """The variable that holds a key, for the shell to fill in: the key itself is not printed."""
    if not app.keyring:
        return None
    if not app.config.api_keys:
        return "KEY"  # one of the virtual ones
    name = app.config.api_keys[0].name
    return name if name.isidentifier() and name.isupper() else VARIABLE_PREFIX + "API_KEY"


def _curl(app: GatewayApp, address: str, variable: str | None) -> str:
    table = app.table
    parts = ["curl"]
    body: dict[str, Any] = {}
    if table.local:
        path = "/v1/embeddings"
        body = {"model": table.local[0], "input": "Hello"}
    elif names := table.names():
        path = "/v1/chat/completions"
        body = {"model": names[0], "messages": [{"role": "user", "content": "Hello"}]}
    else:
        path = "/v1/models"
    parts.append(address + path)
    if variable:
        parts.append(f'-H "Authorization: Bearer ${variable}"')
    if body:
        text = msgspec.json.encode(body).decode().replace("'", "'\\''")
        parts.append(f"-H 'Content-Type: application/json' -d '{text}'")
    return " ".join(parts)


def _reachable(host: str) -> str:
    """The host as a URL has it, for whoever sits at this machine."""
    if host in ("0.0.0.0", "::", ""):  # noqa: S104  # compared, not bound
        return "127.0.0.1"
    return f"[{host}]" if ":" in host else host


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
