"""What a run of the matrix tries: which types, on which runtimes, in which precisions, and which part of them."""

from __future__ import annotations

import importlib.util
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ipfs_accelerate_py.errors import ConfigurationError, RuntimeUnavailable
from ipfs_accelerate_py.runtimes.families.catalog import known_types, why_unknown
from ipfs_accelerate_py.runtimes.hardware import find_hardware
from ipfs_accelerate_py.runtimes.probes.results import Cell

__all__ = ["PRECISIONS", "Plan", "devices_here", "known", "make_plan", "read_shard", "runtimes_here"]

#: By runtime, the precisions that are tried where nobody says, float32 first: others are compared with it.
PRECISIONS: Mapping[str, tuple[str, ...]] = {
    "torch": ("float32", "bfloat16"),
    "openvino": ("float32", "int8-weights"),
    "llvm": ("float32",),
}
#: By runtime, the extra that brings it, and what it is imported as.
_PACKAGES: Mapping[str, tuple[str, ...]] = {
    "torch": ("local", "torch", "transformers"),
    "openvino": ("openvino", "openvino"),
    "llvm": ("llvm", "iree.compiler", "iree.runtime"),
}
#: All that can be asked for.
ALL_PRECISIONS = ("float32", "bfloat16", "float16", "int8", "int8-weights", "int4")


@dataclass(frozen=True, slots=True)
class Plan:
    """Cells in the order in which they are tried, and what was asked for.

    Attributes:
        cells: those of a subject stand together, so that what is compared was measured within seconds.
        said: plain data, as a run keeps it: two runs of equal plans may be continued one by the other.
    """

    cells: tuple[Cell, ...]
    said: Mapping[str, Any] = field(default_factory=dict)


def devices_here() -> dict[str, str]:
    """By device, nothing where PyTorch can use it here, else the reason why not."""
    found = find_hardware()
    return {
        "cpu": "",
        **{
            name: "" if found[name] else str(found["details"][name].get("reason", "not here"))
            for name in ("cuda", "mps")
        },
    }


def runtimes_here() -> dict[str, str]:
    """By runtime, nothing where its packages are installed, else what to install."""
    return {
        name: ""
        if all(_there(module) for module in modules)
        else f'not installed: pip install "ipfs-accelerate-py[{extra}]"'
        for name, (extra, *modules) in _PACKAGES.items()
    }


def _there(module: str) -> bool:
    try:
        return importlib.util.find_spec(module) is not None
    except ModuleNotFoundError:  # of a part, whose whole is not there
        return False


def make_plan(
    *,
    types: Sequence[str] = (),
    models: Sequence[str] = (),
    runtimes: Sequence[str] = ("torch", "openvino"),
    precisions: Sequence[str] = (),
    devices: Sequence[str] = (),
    shard: tuple[int, int] = (1, 1),
    sample: int = 0,
    seed: int = 0,
) -> Plan:
    """The plan for these.

    Args:
        types: model types; every one that Transformers has, where neither these nor ``models`` are given.
        models: checkpoints on this machine, by name or path.
        runtimes: of `PRECISIONS`. One whose packages are not installed leaves its cells untested.
        precisions: the same for every runtime (those that one does not have are skipped, and say so); each runtime's
            usual ones without.
        devices: of PyTorch; those that are here without. A device that is not here leaves its cells untested.
        shard: the how-manieth of how many parts.
        sample: of the types, how many, drawn with ``seed``; 0 for all.

    Raises:
        ConfigurationError: no such runtime, precision or device, or a shard that there cannot be.
        RuntimeUnavailable: no such type, with what became of it where it is gone.
    """
    known("runtime", runtimes, PRECISIONS)
    known("precision", precisions, ALL_PRECISIONS)
    there = set(known_types())
    for name in types:
        if name not in there:
            raise RuntimeUnavailable(why_unknown(name))
    subjects = [*types, *models] or list(known_types())
    if sample and sample < len(subjects):
        subjects = sorted(random.Random(seed).sample(subjects, sample))
    subjects = list(dict.fromkeys(subjects))[shard[0] - 1 :: shard[1]]
    here = devices_here()
    known("device", [name.partition(":")[0] for name in devices], here)
    chosen = tuple(devices) or tuple(name for name, why in here.items() if not why)
    cells = [
        Cell(subject, runtime, precision, device)
        for subject in subjects
        for runtime in runtimes
        for device in (chosen if runtime == "torch" else ("cpu",))
        for precision in (precisions or PRECISIONS[runtime])
    ]
    said = {
        "types": list(types),
        "models": list(models),
        "runtimes": list(runtimes),
        "precisions": list(precisions),
        "devices": list(chosen),
        "absent": {
            **{name: why for name, why in runtimes_here().items() if why and name in runtimes},
            **{f"torch on {name}": why for name, why in here.items() if why},
        },
        "shard": f"{shard[0]}/{shard[1]}",
        "sample": sample,
        "seed": seed if sample else 0,
    }
    return Plan(tuple(cells), said)


def known(what: str, given: Sequence[str], there: Sequence[str] | Mapping[str, Any]) -> None:
    """Raise `ConfigurationError` for a name that is not there, with those that are."""
    for name in given:
        if name not in there:
            raise ConfigurationError(f"no {what} {name!r}: there are {', '.join(there)}")


def read_shard(text: str) -> tuple[int, int]:
    """``2/4`` as (2, 4). Raises `ConfigurationError`."""
    part, _, parts = text.partition("/")
    if part.isdecimal() and parts.isdecimal() and 1 <= int(part) <= int(parts):
        return int(part), int(parts)
    raise ConfigurationError(f"{text!r} is no shard: write 2/4 for the second of four parts")
