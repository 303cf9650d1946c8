"""What this machine can compute with: devices, number formats, and processors that may be used.

Nothing here imports torch until a device is asked for by :func:`choose_device` or :func:`choose_dtype`.
"""

from __future__ import annotations

import math
import os
import re
from pathlib import Path
from typing import Any

from ipfs_accelerate_py.errors import ConfigurationError, RuntimeUnavailable

from .extras import require

__all__ = ["available_cpus", "choose_device", "choose_dtype", "cpu_flags", "native_bfloat16"]

DTYPES = ("auto", "float32", "bfloat16")

# Instruction sets that multiply bfloat16 matrices in hardware. AVX-512 without them only emulates the format (oneDNN
# calls that "supported"), and is then several times slower than float32.
# x86: Linux arch/x86/include/asm/cpufeatures.h; Arm: Linux Documentation/arch/arm64/elf_hwcaps.rst.
_BF16_FLAGS = frozenset({"amx_bf16", "avx512_bf16", "bf16", "svebf16"})

_DEVICE = re.compile(r"cpu|cuda(:\d+)?|mps|xpu(:\d+)?")

_KINDS = {"cuda": "CUDA", "mps": "Metal", "xpu": "XPU"}


def cpu_flags(cpuinfo: Path = Path("/proc/cpuinfo")) -> frozenset[str]:
    """Instruction-set flags of the first processor, in Linux's spelling; empty where the system does not tell."""
    try:
        text = cpuinfo.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return frozenset()
    found = re.search(r"^(?:flags|Features)\s*:\s*(.+)$", text, re.MULTILINE)
    return frozenset(found.group(1).split()) if found else frozenset()


def native_bfloat16(flags: frozenset[str]) -> bool:
    """Whether a processor with these flags multiplies bfloat16 in hardware."""
    return not _BF16_FLAGS.isdisjoint(flags)


def available_cpus(cgroup: Path = Path("/sys/fs/cgroup")) -> int:
    """Processors this process may use: the affinity mask, cut by the container's quota. At least 1.

    torch sizes its thread pool by the machine, and a container with a quota of two processors on a machine of 64 would
    then spend its quota on waiting threads. Files: Linux Documentation/admin-guide/cgroup-v2.rst (``cpu.max``) and
    scheduler/sched-bwc.rst (version 1).
    """
    affinity = getattr(os, "sched_getaffinity", None)
    cpus = len(affinity(0)) if affinity is not None else os.cpu_count() or 1
    quota = _quota(cgroup)
    return max(1, min(cpus, math.ceil(quota)) if quota is not None else cpus)


def _quota(cgroup: Path) -> float | None:
    try:
        if (unified := cgroup / "cpu.max").exists():
            allowed, period = unified.read_text().split()
        else:
            allowed = (cgroup / "cpu/cpu.cfs_quota_us").read_text().strip()
            period = (cgroup / "cpu/cpu.cfs_period_us").read_text().strip()
        return float(allowed) / float(period) if float(allowed) > 0 else None
    except (OSError, ValueError, ZeroDivisionError):
        return None  # No quota: the files are absent, or say "max".


def choose_device(wanted: str = "auto") -> str:
    """The device to run on: ``wanted`` itself after a check; for ``"auto"`` CUDA where it works, else Metal, else the
    processor.

    Raises:
        ConfigurationError: not a device name (``auto``, ``cpu``, ``cuda``, ``cuda:1``, ``mps``, ``xpu``).
        RuntimeUnavailable: that device is not present.
        MissingExtra: torch is not installed.
    """
    if wanted != "auto" and not _DEVICE.fullmatch(wanted):
        raise ConfigurationError(
            f"unknown device {wanted!r}: use auto, cpu, cuda, cuda:<number>, mps, xpu or xpu:<number>"
        )
    if wanted == "cpu":
        return wanted
    if wanted == "auto":
        return "cuda" if _count("cuda") else "mps" if _count("mps") else "cpu"
    kind, _, number = wanted.partition(":")
    present = _count(kind)
    if not present:
        raise RuntimeUnavailable(f"device {wanted!r} was asked for, and torch sees no {_KINDS[kind]} device here")
    if number and int(number) >= present:
        raise RuntimeUnavailable(
            f"device {wanted!r} was asked for, and torch sees only {present} {_KINDS[kind]} device(s) here"
        )
    return wanted


def _count(kind: str) -> int:
    """How many devices of a kind torch sees."""
    torch = require("torch")
    if kind == "mps":
        return int(torch.backends.mps.is_available())
    found = getattr(torch, kind, None)
    return int(found.device_count()) if found is not None and found.is_available() else 0


def choose_dtype(wanted: str, device: str) -> str:
    """``"float32"`` or ``"bfloat16"``; ``"auto"`` takes bfloat16 only where ``device`` computes it in hardware.

    Raises:
        ConfigurationError: neither of the two, nor ``"auto"``.
    """
    if wanted not in DTYPES:
        raise ConfigurationError(f"unknown dtype {wanted!r}: use one of {', '.join(DTYPES)}")
    if wanted != "auto":
        return wanted
    if device == "cpu":
        native = native_bfloat16(cpu_flags() or _flags_from_torch())
    elif device.startswith("cuda"):
        native = bool(require("torch").cuda.is_bf16_supported(including_emulation=False))
    else:
        native = device.startswith("xpu")
    return "bfloat16" if native else "float32"


def _flags_from_torch() -> frozenset[str]:
    """Flags by torch's own detection, for systems without ``/proc/cpuinfo``."""
    capabilities: dict[str, Any] = getattr(require("torch").cpu, "get_capabilities", dict)()
    return frozenset(flag for flag, present in capabilities.items() if present is True)
