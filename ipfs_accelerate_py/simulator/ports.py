"""Holding on to a port while nothing listens on it."""

from __future__ import annotations

import os
import socket

__all__ = ["reserve"]


def reserve(host: str, port: int) -> tuple[socket.socket | None, int]:
    """Hold the port for as long as the simulator lives, so that it can stop listening and have the port again.

    On Linux a second socket may be bound to an address whose first one does not listen, if both allow reuse. Where the
    system does not have it so, the port is merely chosen.
    """
    if os.name != "posix":  # reuse means something else elsewhere
        return None, port
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    holder = socket.socket(family, socket.SOCK_STREAM)
    probe = socket.socket(family, socket.SOCK_STREAM)
    try:
        for sock in (holder, probe):
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        holder.bind((host, port))
        port = holder.getsockname()[1]
        try:
            probe.bind((host, port))
        except OSError:
            holder.close()
            return None, port
        return holder, port
    except BaseException:
        holder.close()
        raise
    finally:
        probe.close()
