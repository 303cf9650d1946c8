"""Keeps tests on this machine: the checks of `everywhere.sitecustomize`, and uvloop, which connects in C."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

from tests.guards import everywhere as folder

# In a process that a guarded one has started (a worker of pytest's, for one) it is at work already, under the name by
# which the interpreter loads it; a second copy would have errors of its own.
_loaded = sys.modules.get("sitecustomize")
_at_work = _loaded is not None and Path(_loaded.__file__ or "").parent == Path(folder.__file__ or "").parent
if _at_work:
    sys.modules["tests.guards.everywhere.sitecustomize"] = _loaded  # type: ignore[assignment]

from tests.guards.everywhere import sitecustomize as everywhere  # noqa: E402  # now it is that one

EVERYWHERE = Path(everywhere.__file__).parent


_log: Path | None = None
_read = 0


def install(log: Path) -> None:
    """Guard this process (for good), and by its environment those that it will start."""
    global _log
    log.touch()
    _log = log
    os.environ[everywhere.LOG] = str(log)
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [str(EVERYWHERE), os.environ.get("PYTHONPATH")]))
    if not _at_work:
        everywhere.guard()
    _guard_uvloop()


def offences() -> list[str]:
    """What was tried since the last time of asking, by this process and its children."""
    global _read
    assert _log is not None, "install was not called"
    with _log.open() as log:
        log.seek(_read)
        lines = log.read().splitlines()
        _read = log.tell()
    return lines


def _guard_uvloop() -> None:
    try:
        import uvloop
    except ImportError:
        return
    loop: Any = uvloop.Loop

    create_connection, getaddrinfo = loop.create_connection, loop.getaddrinfo
    create_datagram_endpoint = loop.create_datagram_endpoint

    async def guarded_connection(self: Any, factory: Any, host: Any = None, port: Any = None, **options: Any) -> Any:
        if host is not None:
            everywhere.check_lookup(host)
            everywhere.check_connection((host, port))
        return await create_connection(self, factory, host, port, **options)

    async def guarded_getaddrinfo(self: Any, host: Any, port: Any, **options: Any) -> Any:
        everywhere.check_lookup(host)
        return await getaddrinfo(self, host, port, **options)

    async def guarded_datagrams(self: Any, factory: Any, local: Any = None, remote: Any = None, **options: Any) -> Any:
        remote = options.pop("remote_addr", remote)
        if remote is not None:
            everywhere.check_lookup(remote[0])
            everywhere.check_connection(remote)
        return await create_datagram_endpoint(
            self, factory, options.pop("local_addr", local), remote_addr=remote, **options
        )

    loop.create_connection = guarded_connection
    loop.getaddrinfo = guarded_getaddrinfo
    loop.create_datagram_endpoint = guarded_datagrams
