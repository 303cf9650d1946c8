"""How much memory there is, and how much of it a process has for itself."""

from __future__ import annotations

import ctypes
import ctypes.util
import gc
import os
import re
from pathlib import Path

__all__ = ["data_memory", "free_unused", "killed_for_memory", "near_limit", "own_memory", "room", "total_memory"]


def total_memory(meminfo: Path = Path("/proc/meminfo"), cgroup: Path = Path("/sys/fs/cgroup")) -> int:
    """Bytes that this process may use at most: the machine's, or the container's limit where that is less.

    Files: proc(5); Linux Documentation/admin-guide/cgroup-v2.rst (``memory.max``), cgroup-v1/memory.rst.
    """
    found = [_sysconf()]
    if (value := _field(meminfo, "MemTotal")) is not None:
        found = [value * 1024]
    for name in ("memory.max", "memory/memory.limit_in_bytes"):
        try:
            found.append(int((cgroup / name).read_text()))
        except (OSError, ValueError):  # absent, or "max"
            continue
    return min(found)


def _sysconf() -> int:
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (OSError, ValueError):
        return 8 << 30


def own_memory(pid: int | str = "self") -> int:
    """Bytes that this process alone has, so that they are free when it ends; 0 where the system does not tell.

    What it shares with others (pages of the zygote, libraries) is not counted; what is swapped out is.
    """
    where = Path(f"/proc/{pid}")
    rollup = where / "smaps_rollup"
    kinds = [_field(rollup, name) for name in ("Private_Clean", "Private_Dirty", "Swap")]
    if any(kinds):
        return sum(each or 0 for each in kinds) * 1024
    return (_field(where / "status", "RssAnon") or _field(where / "status", "VmRSS") or 0) * 1024


def data_memory(pid: int | str = "self") -> int:
    """Bytes of private writable memory that it has asked for, which is what ``RLIMIT_DATA`` is of; 0 where unknown."""
    return (_field(Path(f"/proc/{pid}/status"), "VmData") or 0) * 1024


def room() -> int | None:
    """Bytes of private memory that this process may yet have (``RLIMIT_DATA``); None where there is no limit."""
    try:
        import resource
    except ImportError:  # not a Unix system
        return None
    limit = resource.getrlimit(resource.RLIMIT_DATA)[0]
    return None if limit == resource.RLIM_INFINITY else limit - data_memory()


def near_limit(margin: int = 32 << 20) -> bool:
    """Whether this process is within ``margin`` bytes of the private memory that it may have."""
    left = room()
    return left is not None and left < margin


def _field(file: Path, name: str) -> int | None:
    try:
        text = file.read_text()
    except OSError:
        return None
    found = re.search(rf"^{name}:\s*(\d+)", text, re.MULTILINE)
    return int(found.group(1)) if found else None


def killed_for_memory(cgroup: Path = Path("/sys/fs/cgroup"), vmstat: Path = Path("/proc/vmstat")) -> int:
    """How many processes the kernel has ended because memory ran out, here or in this container; 0 where it does not
    tell."""
    count = 0
    for file in (cgroup / "memory.events", vmstat):
        try:
            found = re.search(r"^oom_kill (\d+)", file.read_text(), re.MULTILINE)
        except OSError:
            continue
        count += int(found.group(1)) if found else 0
    return count


def free_unused() -> None:
    """Give memory back to the system that Python and the C library keep for later."""
    gc.collect()
    trim = getattr(_libc(), "malloc_trim", None)
    if trim is not None:
        trim(0)


def _libc() -> ctypes.CDLL | None:
    try:
        return ctypes.CDLL(None)
    except (OSError, TypeError):
        return None
