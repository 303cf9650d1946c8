"""No test reaches past this machine: connections and look-ups that leave it fail, and are written down.

Every socket that Python itself connects is looked at, whichever library asked for it. Interpreters that tests start
load this file by its name (`site` imports ``sitecustomize``), so the rule holds for them as well; hence it imports
next to nothing, and knows nothing of pytest.

A caller may well swallow the error, so each offence is also appended to the file that `LOG` names.
"""

from __future__ import annotations

import os
import sys
from typing import Any

#: The environment variable that holds the path of the file for offences.
LOG = "IPFS_ACCELERATE_TEST_NETWORK_LOG"


class NetworkForbidden(OSError):
    """A test, or a process it started, was about to leave this machine.

    An `OSError`, so that whoever asked clears up as after any connection that failed.
    """


def is_numeric(host: str) -> bool:
    """Whether ``host`` is an address, which takes no look-up."""
    from ipaddress import ip_address

    try:
        ip_address(host.partition("%")[0])
    except ValueError:
        return False
    return True


def is_local(host: str) -> bool:
    """Whether an address or a name means this machine."""
    from ipaddress import IPv6Address, ip_address

    if not is_numeric(host):
        name = host.lower().rstrip(".")
        return name in {"", "localhost", os.uname().nodename.lower()} or name.endswith(".localhost")
    address = ip_address(host.partition("%")[0])
    if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
        address = address.ipv4_mapped
    return address.is_loopback or address.is_unspecified


def check_connection(address: Any) -> None:
    """Raise `NetworkForbidden` for a socket address elsewhere. Paths (Unix sockets) and kernel sockets are here."""
    if isinstance(address, tuple) and isinstance(address[0], str) and not is_local(address[0]):
        _forbid(f"connection to {address[0]} port {address[1]}")


def check_lookup(host: Any) -> None:
    """Raise `NetworkForbidden` for a name that a name server would be asked for.

    A name in ``.invalid`` fails as it would in the real world (RFC 6761 keeps that domain empty for ever), so tests of
    failing look-ups have something to look up.
    """
    if isinstance(host, bytes | bytearray):
        host = host.decode("ascii", "replace")
    if not isinstance(host, str) or is_numeric(host) or is_local(host):
        return
    if host.lower().rstrip(".").endswith(".invalid"):
        import socket

        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
    _forbid(f"look-up of {host}")


def _forbid(what: str) -> None:
    path = os.environ.get(LOG)
    if path:
        with open(path, "a") as log:
            log.write(f"{what} (process {os.getpid()}: {' '.join(sys.argv[:3])})\n")
    raise NetworkForbidden(f"tests stay on this machine: {what}")


def guard() -> None:
    """Put the checks before every way by which Python itself leaves this machine."""
    # Not by an audit hook: in one, CPython before 3.12 may turn to another thread in the middle of `sys.settrace`, and
    # one that begins just then under coverage fails before it has done anything (python/cpython#98257).
    import _socket
    import socket

    kind: Any = socket.socket
    kind.connect = _before(kind.connect, lambda args: check_connection(args[1]))
    kind.connect_ex = _before(kind.connect_ex, lambda args: check_connection(args[1]))
    kind.sendto = _before(kind.sendto, lambda args: check_connection(args[-1]))
    kind.sendmsg = _before(kind.sendmsg, lambda args: check_connection(args[4]) if len(args) > 4 else None)
    for name in ("getaddrinfo", "gethostbyname", "gethostbyname_ex", "gethostbyaddr"):
        asked = _before(getattr(_socket, name), lambda args: check_lookup(args[0]))
        setattr(_socket, name, asked)
        if name != "getaddrinfo":  # that one is Python's own, and asks ours
            setattr(socket, name, asked)


def _before(real: Any, check: Any) -> Any:
    def checked(*args: Any, **options: Any) -> Any:
        check(args)
        return real(*args, **options)

    return checked


if os.environ.get(LOG):
    guard()
