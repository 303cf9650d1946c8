"""What the row of Anthropic's service needs beside its data."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

from ipfs_accelerate_py.backends.spec import BackendSpec
from ipfs_accelerate_py.dialects.base import Dialect
from ipfs_accelerate_py.errors import ConfigurationError

__all__ = ["anthropic_dialect", "anthropic_headers", "anthropic_url"]

_VERSION = re.compile(r"v\d+\w*")
_STYLES = ("x-api-key", "bearer")


def anthropic_dialect(base_url: str, options: Mapping[str, Any]) -> Dialect:
    """The format, with the row's options. A wrong way to send keys is told here, before there is a key to send."""
    from ipfs_accelerate_py.dialects.anthropic.dialect import AnthropicDialect

    _style(options)
    return AnthropicDialect(
        model=str(options.get("model") or ""),
        max_tokens=options["max_tokens"],
        reasoning=options["reasoning"],
    )


def anthropic_headers(spec: BackendSpec, secret: str | None, options: Mapping[str, Any]) -> dict[str, str]:
    """The version, which every request names, and the key in the style of the service's documents or as a bearer's."""
    headers = {"anthropic-version": str(options["anthropic_version"])}
    if secret is not None:
        if _style(options) == "bearer":
            headers["Authorization"] = f"Bearer {secret}"
        else:
            headers["x-api-key"] = secret
    return headers


def anthropic_url(url: str) -> str:
    """With its version at the end: Anthropic's own client takes URLs without, and so do those who write them for it."""
    url = url.rstrip("/")
    last = urlsplit(url).path.rpartition("/")[2]
    return url if _VERSION.fullmatch(last) else f"{url}/v1"


def _style(options: Mapping[str, Any]) -> str:
    style = str(options["auth_style"]).lower()
    if style not in _STYLES:
        raise ConfigurationError(f"auth_style must be {' or '.join(map(repr, _STYLES))}, not {style!r}")
    return style
