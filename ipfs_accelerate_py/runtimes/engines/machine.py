"""What of this machine decides which runtime is fastest on it."""

from __future__ import annotations

import platform
import re
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from ipfs_accelerate_py.runtimes.devices import available_cpus, cpu_flags

__all__ = ["describe_machine"]

_PACKAGES = ("torch", "transformers", "openvino", "iree-base-runtime", "xllamacpp")


def describe_machine(cpuinfo: Path = Path("/proc/cpuinfo")) -> dict[str, Any]:
    """Processor, how many of it, its instruction sets, and versions of what computes: plain data, equal where equal."""
    return {
        "processor": _processor(cpuinfo),
        "processors": available_cpus(),
        "flags": sorted(flag for flag in cpu_flags(cpuinfo) if flag.startswith(("avx", "amx", "asimd", "sve", "bf16"))),
        "versions": {name: found for name in _PACKAGES if (found := _version(name))},
    }


def _processor(cpuinfo: Path) -> str:
    try:
        found = re.search(
            r"^model name\s*:\s*(.+)$", cpuinfo.read_text(encoding="utf-8", errors="replace"), re.MULTILINE
        )
    except OSError:
        found = None
    return found.group(1).strip() if found else platform.processor() or platform.machine()


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return ""
