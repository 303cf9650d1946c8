"""Types of endpoints that are hardware of this machine: what the local backend is told for each."""

from __future__ import annotations

import re
from collections.abc import Mapping

from ipfs_accelerate_py.errors import RuntimeUnavailable

__all__ = ["DEVICES", "device_options"]

#: By the older API's name, runtime and device. ``rocm`` is CUDA to PyTorch; ``apple`` is Metal.
DEVICES: Mapping[str, Mapping[str, str]] = {
    "local": {},
    "cpu": {"device": "cpu"},
    "cuda": {"runtime": "torch", "device": "cuda"},
    "rocm": {"runtime": "torch", "device": "cuda"},
    "mps": {"runtime": "torch", "device": "mps"},
    "apple": {"runtime": "torch", "device": "mps"},
    "xpu": {"runtime": "torch", "device": "xpu"},
    "torch": {"runtime": "torch"},
    "openvino": {"runtime": "openvino"},
    "openvino_local": {"runtime": "openvino"},
    "llvm_local": {"runtime": "llvm"},
}
_NOT_HERE = {
    "qualcomm": "Qualcomm's NPUs are reached through their own SDK, which no runtime here uses",
    "webgpu": "WebGPU belongs to a browser",
    "webnn": "WebNN belongs to a browser",
}
_NUMBERED = re.compile(r"(cuda|rocm|xpu):(\d+)|(openvino):([A-Za-z0-9._:]+)")


def device_options(endpoint_type: str) -> dict[str, str] | None:
    """Options of the local backend for a type, None where it is no device of this machine (but a service).

    Raises `RuntimeUnavailable` for hardware that nothing here can compute with.
    """
    name = endpoint_type.lower()
    if (found := DEVICES.get(name)) is not None:
        return dict(found)
    if (numbered := _NUMBERED.fullmatch(endpoint_type if name.startswith("openvino") else name)) is not None:
        kind, number, openvino, device = numbered.groups()
        if openvino:
            return {"runtime": "openvino", "device": device}
        return {**DEVICES[kind], "device": f"{DEVICES[kind]['device']}:{number}"}
    if (reason := _NOT_HERE.get(name.partition(":")[0])) is not None:
        raise RuntimeUnavailable(
            f"no endpoint can be bound to the device {endpoint_type!r}: {reason}. "
            f"The types on this machine are: {', '.join(DEVICES)}"
        )
    return None
