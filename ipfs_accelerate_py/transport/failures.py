"""aiohttp's and the operating system's errors in our own words.

No URL is quoted: a full one may hold what nobody should see.
"""

from __future__ import annotations

import functools

from ipfs_accelerate_py.errors import (
    AccelerateError,
    ConfigurationError,
    ConnectFailed,
    ProtocolError,
    ReadTimeout,
    StreamCut,
    TransportError,
)
from ipfs_accelerate_py.transport.seam import Limits

__all__ = ["connection_gone", "timed_out", "translate"]


@functools.cache
def connection_gone() -> tuple[type[Exception], ...]:
    """What aiohttp raises where a connection turns out to be closed."""
    import aiohttp

    return aiohttp.ServerDisconnectedError, aiohttp.ClientOSError


def timed_out(error: BaseException, limits: Limits, until: float | None, connecting: bool) -> TransportError:
    """The limit that ended an exchange before its headers came."""
    import aiohttp

    if isinstance(error, aiohttp.ConnectionTimeoutError | aiohttp.ServerTimeoutError):
        return ConnectFailed(f"no connection within connect_timeout ({limits.connect:g} s)")
    if connecting:
        return ConnectFailed("no connection before the call's deadline")
    if until is not None and until == limits.deadline:
        return ReadTimeout("the upstream did not answer before the call's deadline")
    return ReadTimeout(f"the upstream did not begin to answer within first_byte_timeout ({limits.first_byte:g} s)")


def translate(error: Exception, *, answered: bool) -> AccelerateError:
    """An error of the exchange; ``answered`` tells whether headers had come."""
    import aiohttp

    if isinstance(error, AccelerateError):
        return error
    made = _connecting(error)
    if made is not None:
        return made
    if isinstance(error, aiohttp.ClientPayloadError):
        return StreamCut("the upstream's answer broke off before its end")
    if isinstance(error, aiohttp.ClientResponseError):
        return ProtocolError(f"the upstream's answer is not HTTP that can be read: {error.message}")
    if isinstance(error, aiohttp.InvalidURL):
        return ConfigurationError("the base URL is not a URL")
    if isinstance(error, aiohttp.ClientConnectionError | OSError):
        if answered:
            return StreamCut("the connection broke in the middle of the upstream's answer")
        return TransportError("the upstream closed the connection without an answer")
    if isinstance(error, aiohttp.ClientError):
        return TransportError(f"the exchange with the upstream failed: {type(error).__name__}")
    if isinstance(error, TypeError | ValueError) and not answered:
        return ConfigurationError(f"the request cannot be sent; is a header no plain text? ({type(error).__name__})")
    return TransportError(f"the exchange with the upstream failed: {type(error).__name__}: {error}")


def _connecting(error: Exception) -> ConnectFailed | None:
    import aiohttp

    if isinstance(error, aiohttp.ClientProxyConnectionError | aiohttp.ClientHttpProxyError):
        return ConnectFailed("no connection through the proxy that the environment names")
    if isinstance(error, aiohttp.ClientConnectorCertificateError):
        return ConnectFailed(f"TLS: the upstream's certificate was refused: {error.certificate_error}")
    if isinstance(error, aiohttp.ClientConnectorDNSError):
        return ConnectFailed(f"DNS: the upstream's host name {error.host!r} was not found")
    if isinstance(error, aiohttp.ClientConnectorSSLError):
        return ConnectFailed(f"TLS: no secure connection to {error.host!r}: {error.os_error}")
    if isinstance(error, aiohttp.ClientConnectorError):
        return ConnectFailed(f"no connection to {error.host}:{error.port}: {error.os_error.strerror or error.os_error}")
    return None
