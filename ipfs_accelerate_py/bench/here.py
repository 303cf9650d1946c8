"""What of runtimes and devices this machine has."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.util import find_spec

__all__ = ["devices", "installed"]

#: A runtime is installed with any of these.
_MODULES = {"torch": ("torch",), "openvino": ("openvino",), "llvm": ("xllamacpp", "iree")}


def installed() -> tuple[str, ...]:
    """Runtimes whose libraries are installed."""
    return tuple(name for name, modules in _MODULES.items() if any(find_spec(module) for module in modules))


def devices(wanted: Sequence[str]) -> tuple[tuple[str, ...], dict[str, str]]:
    """Those of ``wanted`` that are here, and of the others why not; without a wish: cpu, and cuda where it is."""
    from ipfs_accelerate_py.runtimes.hardware import find_hardware

    found = find_hardware()
    if not wanted:
        return ("cpu", *(("cuda",) if found["cuda"] else ())), {}
    here, absent = [], {}
    for device in wanted:
        kind = device.partition(":")[0].lower()
        if found.get(kind, True):  # a name that only OpenVINO knows is its to refuse
            here.append(device)
        else:
            absent[device] = f"no {kind} device: {found['details'][kind]['reason']}"
    return tuple(here), absent
