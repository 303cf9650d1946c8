"""What every engine is and gives: the seam between models and whatever computes them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from ipfs_accelerate_py.runtimes.families.tasks import TaskSpec

__all__ = ["Engine", "LoadPlan", "Network", "Source"]


@dataclass(frozen=True, slots=True)
class Source:
    """A checkpoint on this machine.

    Attributes:
        name: what it was asked for by.
        path: its folder, or a GGUF file.
        config: Transformers' configuration object; None for GGUF.
        auto: name of the Auto class that makes the model for the task (empty for GGUF).
    """

    name: str
    path: Path
    config: Any = None
    auto: str = ""


@dataclass(frozen=True, slots=True)
class LoadPlan:
    """How a model is to be loaded.

    Attributes:
        runtime: ``auto``, ``torch``, ``openvino`` or ``llvm``.
        device: ``auto``, ``cpu``, ``cuda``, ``cuda:1``, ``mps``, ``xpu``; for OpenVINO also its own names (``GPU``).
        precision: ``auto``, ``float32``, ``bfloat16``, ``float16``, ``int8`` (weights and activations),
            ``int8-weights``, ``int4`` (weights).
        memory: most bytes that weights may take, None for what there is.
        device_map: as Transformers takes it (``auto``, ``balanced``, a mapping), for several GPUs and offload.
        threads: of one forward pass; None for the processors there are.
        force: load a quantised model although it answers too differently.
        trust_remote_code: run Python code that the checkpoint brings.
        options: further ones of the engine.
    """

    runtime: str = "auto"
    device: str = "auto"
    precision: str = "auto"
    memory: int | None = None
    device_map: Any = None
    threads: int | None = None
    force: bool = False
    trust_remote_code: bool = False
    options: Mapping[str, Any] = field(default_factory=dict)


class Network(Protocol):
    """A model's forward pass, on one device. Called from one thread at a time.

    Arrays have the batch's axis first; floats come back as float32 whatever the precision is.
    """

    engine: str
    device: str
    precision: str
    #: Bytes that its weights take.
    memory: int
    #: Names that a batch may have; None for any.
    inputs: frozenset[str] | None

    def launch(self, batch: Mapping[str, NDArray[Any]]) -> Any:
        """Begin a forward pass; may return before a device has finished it."""
        ...

    def collect(self, launched: Any) -> dict[str, NDArray[np.float32]]:
        """Wait for it: outputs by Transformers' names (``logits``, ``last_hidden_state``, ...), nested ones dotted."""
        ...

    def close(self) -> None:
        """Let go of weights and device."""
        ...


class Engine(Protocol):
    """Makes networks."""

    name: str

    def refuses(self, source: Source, task: TaskSpec, plan: LoadPlan) -> str | None:
        """Why it cannot run this model for this task with this plan, in a sentence; None where it can. Cheap."""
        ...

    def load(self, source: Source, task: TaskSpec, plan: LoadPlan) -> Network:
        """Load it. Slow. Raises `RuntimeUnavailable` with the reason where it turns out that it cannot."""
        ...
