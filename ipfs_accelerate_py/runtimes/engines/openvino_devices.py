"""OpenVINO's devices, and how a graph is compiled for one.

Properties: https://docs.openvino.ai/2026/openvino-workflow/running-inference/inference-devices-and-modes.html
"""

from __future__ import annotations

from typing import Any

from ipfs_accelerate_py.errors import ConfigurationError, RuntimeUnavailable
from ipfs_accelerate_py.runtimes.devices import available_cpus
from ipfs_accelerate_py.runtimes.extras import require

from .base import LoadPlan

__all__ = ["PRECISIONS", "choose_openvino_device", "choose_precision", "core", "settings_of"]

#: What a plan may ask for, and the precision that OpenVINO computes in.
PRECISIONS = ("float32", "bfloat16", "float16", "int8", "int8-weights", "int4")

_KINDS = ("CPU", "GPU", "NPU", "AUTO", "HETERO", "MULTI")
_ALIASES = {"auto": "CPU", "cpu": "CPU", "xpu": "GPU", "igpu": "GPU"}


def core() -> Any:
    """OpenVINO's entry, one a process: it keeps the plugins that it has loaded."""
    global _core
    if _core is None:
        _core = require("openvino").Core()
    return _core


_core: Any = None


def choose_openvino_device(wanted: str) -> str:
    """OpenVINO's name of the device: ``auto`` and ``cpu`` are the processor, ``xpu`` an Intel GPU; its own names
    (``GPU.1``, ``NPU``, ``AUTO``, ``AUTO:GPU,CPU``) as they are.

    Raises:
        ConfigurationError: no such name.
        RuntimeUnavailable: it is not in this machine.
    """
    name = _ALIASES.get(wanted.lower(), wanted.upper())
    kind, _, listed = name.partition(":")
    kind = kind.partition(".")[0]
    if kind not in _KINDS:
        raise ConfigurationError(
            f"OpenVINO has no device {wanted!r}: use cpu, xpu, or its own names {', '.join(_KINDS[:4])}"
        )
    present = [str(each) for each in core().available_devices]
    for each in (listed.split(",") if listed else [name]) if kind != "AUTO" or listed else []:
        plain = each.strip().partition(".")[0]
        if each.strip() not in present and plain not in [one.partition(".")[0] for one in present]:
            raise RuntimeUnavailable(
                f"device {wanted!r} was asked for, and OpenVINO sees only {', '.join(present) or 'none'} here"
            )
    return name


def choose_precision(wanted: str, device: str) -> str:
    """The plan's precision after a check. ``auto`` takes bfloat16 only where the device computes it in hardware.

    Raises:
        ConfigurationError: no such precision.
        RuntimeUnavailable: the device does not compute it.
    """
    native = "BF16" in _capabilities(device)
    if wanted == "auto":
        return "bfloat16" if native else "float32"
    if wanted not in PRECISIONS:
        raise ConfigurationError(f"unknown precision {wanted!r}: OpenVINO has auto, {', '.join(PRECISIONS)}")
    if wanted == "bfloat16" and not native:
        raise RuntimeUnavailable(
            f"{device} has no bfloat16 instructions here, and emulating them is slower than float32: "
            "use float32, or int8-weights for less memory"
        )
    return wanted


def settings_of(device: str, precision: str, plan: LoadPlan) -> dict[str, Any]:
    """Properties to compile with. ``plan.options`` may add or replace them under ``openvino``.

    One caller at a time gives whole batches, so all processors work on one batch (LATENCY); who keeps several batches
    under way asks for ``hint="THROUGHPUT"``.
    """
    found: dict[str, Any] = {"PERFORMANCE_HINT": str(plan.options.get("hint", "LATENCY")).upper()}
    if device == "CPU":
        found["INFERENCE_NUM_THREADS"] = plan.threads or available_cpus()
        found["INFERENCE_PRECISION_HINT"] = "bf16" if precision == "bfloat16" else "f32"
        # Keys and values are kept in 8 bits otherwise, which nobody asked for and no measured loss covers.
        found["KV_CACHE_PRECISION"] = "bf16" if precision == "bfloat16" else "f32"
        if precision in ("float32", "float16", "bfloat16"):
            found["DYNAMIC_QUANTIZATION_GROUP_SIZE"] = 0
        # Other processes use these processors too: a thread that is bound to one waits for it.
        found["ENABLE_CPU_PINNING"] = False
    elif precision == "float32":
        found["INFERENCE_PRECISION_HINT"] = "f32"
    elif device.startswith("GPU"):
        found["INFERENCE_PRECISION_HINT"] = "f16"
    found.update(plan.options.get("openvino") or {})
    return found


def _capabilities(device: str) -> list[str]:
    try:
        return [str(each) for each in core().get_property(device, "OPTIMIZATION_CAPABILITIES")]
    except RuntimeError:
        return []
