"""The operating system's errors in our own words.

No URL is quoted: a full one may hold what nobody should see.
"""

from __future__ import annotations

import os
import socket
import ssl

from ipfs_accelerate_py.errors import ConnectFailed
from ipfs_accelerate_py.transport.urls import Origin

__all__ = ["no_proxy_connection", "no_time_to_connect", "not_connected", "not_secured"]


def not_connected(error: Exception, origin: Origin) -> ConnectFailed:
    """The name was not found, or nobody listens there."""
    if origin.proxy is not None:
        return no_proxy_connection()
    if isinstance(error, socket.gaierror | UnicodeError):
        return ConnectFailed(f"DNS: the upstream's host name {origin.host!r} was not found")
    return ConnectFailed(f"no connection to {origin.host}:{origin.port}: {_reason(error)}")


def not_secured(error: Exception, origin: Origin) -> ConnectFailed:
    """TLS could not be agreed on."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return ConnectFailed(f"TLS: the upstream's certificate was refused: {error.verify_message or error}")
    return ConnectFailed(f"TLS: no secure connection to {origin.host!r}: {_reason(error)}")


def no_proxy_connection(status: int | None = None) -> ConnectFailed:
    """The proxy is not there, or does not let us through."""
    answered = "" if status is None else f": it answered HTTP {status}"
    return ConnectFailed(f"no connection through the proxy that the environment names{answered}")


def no_time_to_connect(connect: float | None) -> ConnectFailed:
    """``connect`` is the limit that ended it, or None where that was the call's deadline."""
    if connect is None:
        return ConnectFailed("no connection before the call's deadline")
    return ConnectFailed(f"no connection within connect_timeout ({connect:g} s)")


def _reason(error: Exception) -> str:
    if isinstance(error, OSError):
        # asyncio writes a strerror of its own ("Connect call failed"), which does not tell why.
        if error.errno and not isinstance(error, ssl.SSLError | socket.gaierror):
            return os.strerror(error.errno)
        if error.strerror:
            return error.strerror
    return str(error) or type(error).__name__
