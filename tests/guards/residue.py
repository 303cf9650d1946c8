"""What a test leaves behind: event-loop tasks, threads and network sockets."""

from __future__ import annotations

import asyncio
import asyncio.runners
import gc
import os
import socket
import sys
import threading
import time
from dataclasses import dataclass
from typing import Any

#: Seconds given to what is on its way out: a socket closes, and a thread ends, a little after it was told to.
GRACE = 3.0
_PORTAL_THREAD = "ipfs-accelerate-portal"

#: Modules that a test has imported for the first time, from which on their contents are left out as well.
MANY = 100

_never_finished: list[str] = []
_looked_through = 0


@dataclass(frozen=True)
class Residue:
    """What there is in this process right now; a later one minus an earlier one is what a test left behind."""

    threads: frozenset[threading.Thread]
    sockets: frozenset[str]
    portal_tasks: frozenset[asyncio.Task[Any]]

    @classmethod
    def now(cls) -> Residue:
        return cls(frozenset(_threads()), frozenset(_sockets()), frozenset(_portal_tasks()))

    def left_since(self) -> list[str]:
        """In words, what there is beyond this; waits for at most `GRACE` for it to go."""
        until = time.monotonic() + GRACE
        while found := self._beyond():
            if time.monotonic() > until:
                return found
            gc.collect()
            time.sleep(0.01)
        return []

    def _beyond(self) -> list[str]:
        inodes = _sockets()
        return [
            *(f"thread {thread.name!r}" for thread in _threads() - self.threads),
            *(f"socket {_describe(inodes[inode])}" for inode in inodes.keys() - self.sockets),
            *(f"task on the portal's loop: {_words(task)}" for task in _portal_tasks() - self.portal_tasks),
        ]


def thrown_away() -> list[str]:
    """Collect garbage, and say what complained that it had not been closed.

    Without this the complaint comes whenever the collector next runs, in the midst of another test.
    """
    complaints: list[str] = []
    previous = sys.unraisablehook
    sys.unraisablehook = lambda what: complaints.append(f"{what.exc_value} (in {what.object!r})")
    try:
        gc.collect()
    finally:
        sys.unraisablehook = previous
    if len(sys.modules) > _looked_through + MANY:
        leave_out()
    return complaints


def leave_out() -> None:
    """Never look again through what is there now, which has just been looked through.

    Modules, that is, and the tests themselves: none of it is ever garbage, and with all that is imported here it takes
    most of a second, for each of 200 files.
    """
    global _looked_through
    gc.freeze()
    _looked_through = len(sys.modules)


def unfinished_tasks() -> list[str]:
    """Tasks that were still there when their loop was closed, since the last time of asking."""
    tasks, _never_finished[:] = list(_never_finished), []
    return tasks


def watch_loops() -> None:
    """Note the tasks that `asyncio.Runner` (and so `asyncio.run` and pytest-asyncio) finds when it closes a loop.

    It cancels them without a word. That is the one moment when everything that may rightly hold a task, fixtures
    included, has been torn down.
    """
    runners: Any = asyncio.runners
    cancel_all_tasks = runners._cancel_all_tasks

    def watched(loop: asyncio.AbstractEventLoop) -> None:
        until = loop.time() + 2.0
        while asyncio.all_tasks(loop) and loop.time() < until:  # a few turns for what is about to end
            loop.run_until_complete(asyncio.sleep(0.001))
        _never_finished.extend(f"task {_words(task)}" for task in asyncio.all_tasks(loop))
        cancel_all_tasks(loop)

    runners._cancel_all_tasks = watched


def _threads() -> set[threading.Thread]:
    portal = _portal()
    found = set()
    for thread in threading.enumerate():
        if thread.name == _PORTAL_THREAD:
            continue  # lives as long as the process, by design
        if portal is not None and thread.name.startswith(("asyncio_", "uvloop_")):
            continue  # the pool of the portal's loop; those of other loops are joined when they close
        if type(thread).__name__ == "TMonitor":
            continue  # tqdm's one watcher
        found.add(thread)
    return found


def _sockets() -> dict[str, int]:
    """Network sockets of this process: inode and file descriptor. Empty where there is no /proc."""
    found: dict[str, int] = {}
    try:
        names = os.listdir("/proc/self/fd")
    except OSError:
        return found
    for name in names:
        try:
            target = os.readlink(f"/proc/self/fd/{name}")
        except OSError:
            continue
        if target.startswith("socket:") and _is_network(int(name)):
            found[target] = int(name)
    return found


def _is_network(descriptor: int) -> bool:
    """Not the unnamed pair by which a loop wakes itself; a loop that was never closed warns by itself."""
    try:
        with socket.socket(fileno=os.dup(descriptor)) as duplicate:
            return duplicate.family in {socket.AF_INET, socket.AF_INET6} or bool(duplicate.getsockname())
    except OSError:
        return False


def _describe(descriptor: int) -> str:
    try:
        with socket.socket(fileno=os.dup(descriptor)) as duplicate:
            here = duplicate.getsockname()
            try:
                return f"{here} connected to {duplicate.getpeername()}"
            except OSError:
                return f"{here}"
    except OSError:
        return "that has just gone"


def _portal() -> Any:
    module = sys.modules.get("ipfs_accelerate_py.portal")
    return None if module is None else module._portal


def _portal_tasks() -> set[asyncio.Task[Any]]:
    portal = _portal()
    return set() if portal is None or portal._closed else set(asyncio.all_tasks(portal.loop))


def _words(task: asyncio.Task[Any]) -> str:
    coroutine: Any = task.get_coro()
    name = getattr(coroutine, "__qualname__", repr(coroutine))
    frame = getattr(coroutine, "cr_frame", None)
    where = f" at {frame.f_code.co_filename}:{frame.f_lineno}" if frame is not None else ""
    return f"{name}{where}"
