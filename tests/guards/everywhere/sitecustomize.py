"""No test reaches past this machine: connections and look-ups that leave it fail, and are written down.

An audit hook sees every socket that Python itself connects, whichever library asked for it. Interpreters that tests
start load this file by its name (`site` imports ``sitecustomize``), so the rule holds for them as well; hence it
imports next to nothing, and knows nothing of pytest.

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


def _audit(event: str, args: tuple[Any, ...]) -> None:
    if not event.startswith("socket."):
        return
    if event in {"socket.connect", "socket.sendto", "socket.sendmsg"}:
        check_connection(args[1])
    elif event in {"socket.getaddrinfo", "socket.gethostbyname", "socket.gethostbyaddr"}:
        check_lookup(args[0])


if os.environ.get(LOG):
    sys.addaudithook(_audit)
