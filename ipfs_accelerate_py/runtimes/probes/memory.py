"""How much memory a process takes at most: Linux's high-water mark, which can be set back."""

from __future__ import annotations

import contextlib
import re
import resource
import sys
from pathlib import Path

__all__ = ["Watermark", "available", "limit_to"]

_STATUS = Path("/proc/self/status")


class Watermark:
    """The most resident memory since it was made, beyond what there was then; bytes.

    https://man7.org/linux/man-pages/man5/proc_pid_clear_refs.5.html: writing 5 sets ``VmHWM`` back. Where that cannot
    be done, memory that was taken before and given back is not counted as free.
    """

    def __init__(self) -> None:
        with contextlib.suppress(OSError):
            Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
        self._before = _read("VmRSS")

    def peak(self) -> int:
        """Bytes at most so far."""
        return max(0, _read("VmHWM") - self._before)


def _read(name: str) -> int:
    try:
        found = re.search(rf"^{name}:\s*(\d+) kB", _STATUS.read_text(encoding="ascii"), re.MULTILINE)
    except OSError:
        found = None
    if found is not None:
        return int(found.group(1)) * 1024
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most if sys.platform == "darwin" else most * 1024


def limit_to(extra: int) -> None:
    """Let this process take ``extra`` bytes of address space beyond what it has; nothing where that is not told."""
    with contextlib.suppress(OSError, ValueError):
        taken = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (taken + extra, taken + extra))


def available() -> int | None:
    """Bytes that new programs could take, as Linux estimates it; None where nobody says."""
    try:
        found = re.search(r"^MemAvailable:\s*(\d+) kB", Path("/proc/meminfo").read_text("ascii"), re.MULTILINE)
    except OSError:
        return None
    return int(found.group(1)) * 1024 if found else None
