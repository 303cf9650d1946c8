"""Where a request goes: URLs, and the proxies that the environment names."""

from __future__ import annotations

import re
from urllib.parse import quote, unquote_to_bytes, urlsplit

from ipfs_accelerate_py.errors import ConfigurationError

__all__ = ["Origin", "Proxy", "Route", "resolve"]

_BARE_PERCENT = re.compile(r"%(?![0-9A-Fa-f]{2})")
_HOST = re.compile(r"[A-Za-z0-9._~!$&'()*+,;=:%-]+")
_PORTS = {"http": 80, "https": 443}


class Proxy:
    """An HTTP proxy. ``authorization`` is the value of ``Proxy-Authorization``, or empty."""

    __slots__ = ("authorization", "host", "port")

    def __init__(self, host: str, port: int, authorization: str) -> None:
        self.host = host
        self.port = port
        self.authorization = authorization


class Origin:
    """What a connection is opened to, and kept for. One object each, so that it is found by its identity."""

    __slots__ = ("host", "port", "proxy", "tls")

    def __init__(self, tls: bool, host: str, port: int, proxy: Proxy | None) -> None:
        self.tls = tls
        self.host = host
        self.port = port
        self.proxy = proxy

    @property
    def address(self) -> tuple[str, int]:
        """Host and port of the first hop."""
        return (self.host, self.port) if self.proxy is None else (self.proxy.host, self.proxy.port)

    @property
    def authority(self) -> str:
        """``host:port`` as HTTP writes it."""
        return f"{_written(self.host)}:{self.port}"


class Route:
    """A URL, taken apart once: its origin, and what stands in the head of each request for it."""

    __slots__ = ("extra", "host", "origin", "target")

    def __init__(self, origin: Origin, target: str, host: str, extra: str) -> None:
        self.origin = origin
        self.target = target
        self.host = host
        self.extra = extra


def resolve(url: str, origins: dict[tuple[str, str, int, str | None], Origin], *, trust_env: bool) -> Route:
    """The route of a URL; ``origins`` holds those known. Raises `ConfigurationError`, without quoting a password."""
    shown = repr(url) if "@" not in url else "one with a password in it"
    try:
        parts = urlsplit(url)
        host = _ascii(parts.hostname or "")
        port = parts.port
        path = _quoted(parts.path or "/", "")
        query = "?" + _quoted(parts.query, "?") if parts.query else ""
    except ValueError:
        raise ConfigurationError(f"the base URL is not a URL: {shown}") from None
    if parts.username or parts.password:
        raise ConfigurationError("a base URL must not hold a user name or password; give the key as api_key")
    if parts.scheme not in _PORTS or not host:
        raise ConfigurationError(f"the base URL must start with http:// or https:// and name a host, not {shown}")
    usual = _PORTS[parts.scheme]
    port = usual if port is None else port
    # Once per URL rather than per request: to ask costs more than the request.
    found = _environment_proxy(parts.scheme, parts.netloc) if trust_env else None
    key = (parts.scheme, host, port, found)
    origin = origins.get(key)
    if origin is None:
        proxy = None if found is None else _proxy(found)
        origin = origins[key] = Origin(parts.scheme == "https", host, port, proxy)
    written = _written(host) if port == usual else origin.authority
    target, extra = path + query, ""
    if origin.proxy is not None and not origin.tls:
        target = f"http://{written}{target}"
        if origin.proxy.authorization:
            extra = f"Proxy-Authorization: {origin.proxy.authorization}\r\n"
    return Route(origin, target, written, extra)


def _ascii(host: str) -> str:
    if host and not host.isascii():
        host = host.encode("idna").decode("ascii")  # UnicodeError is a ValueError
    if host and not _HOST.fullmatch(host):
        raise ValueError
    return host


def _written(host: str) -> str:
    return f"[{host}]" if ":" in host else host


def _quoted(text: str, more: str) -> str:
    """Percent-encoded where it must be; what is encoded already stays as it is."""
    if not text.isascii() or "%" in text or not text.replace("/", "").isalnum():
        text = quote(_BARE_PERCENT.sub("%25", text), safe="/%:@!$&'()*+,;=~-._" + more)
    return text


def _environment_proxy(scheme: str, host: str) -> str | None:
    from urllib.request import getproxies, proxy_bypass

    proxies = getproxies()
    proxy = proxies.get(scheme) or proxies.get("all")
    if proxy is None or proxy_bypass(host):
        return None
    return proxy


def _proxy(url: str) -> Proxy:
    from base64 import b64encode

    try:
        parts = urlsplit(url if "://" in url else "http://" + url)
        host, port = _ascii(parts.hostname or ""), parts.port
    except ValueError:
        host = ""
    if not host or parts.scheme != "http":
        raise ConfigurationError(
            "the proxy that the environment names cannot be used: only proxies that are spoken to in plain HTTP are "
            "(http://host:port, also for https:// services); set NO_PROXY to go without"
        )
    authorization = ""
    if parts.username or parts.password:
        pair = unquote_to_bytes(parts.username or "") + b":" + unquote_to_bytes(parts.password or "")
        authorization = "Basic " + b64encode(pair).decode()
    return Proxy(host, 80 if port is None else port, authorization)
