"""What this machine has to compute with, as it is found: nothing heavy is imported that is not installed."""

from __future__ import annotations

import importlib.util
import platform
from collections.abc import Callable
from typing import Any

from .devices import available_cpus, cpu_flags, native_bfloat16
from .extras import require

__all__ = ["find_hardware"]


def find_hardware() -> dict[str, Any]:
    """Which kinds of hardware can be used here: ``cpu``, ``cuda``, ``rocm``, ``mps``, ``xpu``, ``openvino``.

    Each is True or False; ``details`` says of each what was found, or why it cannot be used. To see what CUDA has,
    torch is imported where it is installed, which takes seconds the first time.
    """
    details = {name: look() for name, look in _LOOKS.items()}
    return {**{name: "reason" not in found for name, found in details.items()}, "details": details}


def _cpu() -> dict[str, Any]:
    return {
        "architecture": platform.machine(),
        "processors": available_cpus(),
        "bfloat16": native_bfloat16(cpu_flags()),
    }


def _absent(module: str) -> dict[str, Any] | None:
    if importlib.util.find_spec(module) is not None:
        return None
    return {"reason": f"{module} is not installed"}


def _gpus(wanted: str) -> dict[str, Any]:
    """NVIDIA's and AMD's are asked for in the same way; which of them a build of torch is for, it says."""
    if (absent := _absent("torch")) is not None:
        return absent
    torch = require("torch")
    built = "rocm" if getattr(torch.version, "hip", None) else "cuda" if torch.version.cuda else "neither"
    if built != wanted:
        return {"reason": f"this build of torch is for {'processors alone' if built == 'neither' else built}"}
    if not torch.cuda.is_available():
        return {"reason": "torch sees no device"}
    return {"devices": [_gpu(torch.cuda.get_device_properties(at)) for at in range(torch.cuda.device_count())]}


def _gpu(properties: Any) -> dict[str, Any]:
    return {"name": properties.name, "memory": properties.total_memory}


def _mps() -> dict[str, Any]:
    if platform.system() != "Darwin":
        return {"reason": "Metal is macOS's"}
    if (absent := _absent("torch")) is not None:
        return absent
    return {} if require("torch").backends.mps.is_available() else {"reason": "torch sees no device"}


def _xpu() -> dict[str, Any]:
    if (absent := _absent("torch")) is not None:
        return absent
    xpu = getattr(require("torch"), "xpu", None)
    if xpu is None or not xpu.is_available():
        return {"reason": "torch sees no device"}
    return {"devices": [_gpu(xpu.get_device_properties(at)) for at in range(xpu.device_count())]}


def _openvino() -> dict[str, Any]:
    if (absent := _absent("openvino")) is not None:
        return absent
    devices = list(require("openvino").Core().available_devices)
    return {"devices": devices} if devices else {"reason": "OpenVINO sees no device"}


_LOOKS: dict[str, Callable[[], dict[str, Any]]] = {
    "cpu": _cpu,
    "cuda": lambda: _gpus("cuda"),
    "rocm": lambda: _gpus("rocm"),
    "mps": _mps,
    "xpu": _xpu,
    "openvino": _openvino,
}
