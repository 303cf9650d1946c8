"""Where an Ollama server is, of what people write: what OLLAMA_HOST takes, with or without ``/api``."""

from __future__ import annotations

import re
from urllib.parse import urlsplit

from ipfs_accelerate_py.errors import ConfigurationError

__all__ = ["api_url"]

DEFAULT_PORT = 11434
#: What a server listens on when it listens everywhere is no address to call; itself is meant.
_EVERYWHERE = {"": "127.0.0.1", "0.0.0.0": "127.0.0.1", "::": "[::1]"}  # noqa: S104
#: A server's root, its OpenAI-compatible part, or one of its endpoints.
_ENDING = re.compile(r"(/api(/(chat|embed|embeddings|generate|tags))?|/v1)$")


def api_url(text: str) -> str:
    """The base URL of the API: ``host``, ``host:port``, ``:port`` and URLs become ``http://host:port.../api``.

    Without a scheme the port is Ollama's own; a URL without a port has its scheme's, as with Ollama's own clients.
    """
    given = text.strip().strip("\"'").strip()
    bare = "://" not in given
    if bare and given.count(":") > 1 and "[" not in given:
        given = f"[{given}]"  # an IPv6 address by itself
    try:
        parts = urlsplit(f"http://{given}" if bare else given)
        port = parts.port
    except ValueError:
        # Not quoted: a password may be in it.
        raise ConfigurationError("the address of Ollama must be a host, host:port or URL; this is none") from None
    if parts.scheme not in ("http", "https"):
        raise ConfigurationError(f"the address of Ollama must begin with http:// or https://, not {parts.scheme}://")
    host = parts.hostname or ""
    host = _EVERYWHERE.get(host) or (f"[{host}]" if ":" in host else host)
    if port is None and bare:
        port = DEFAULT_PORT
    user = f"{parts.netloc.rpartition('@')[0]}@" if "@" in parts.netloc else ""
    path = _ENDING.sub("", parts.path.rstrip("/")).rstrip("/")
    return f"{parts.scheme}://{user}{host}{'' if port is None else f':{port}'}{path}/api"
