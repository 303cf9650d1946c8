"""What is probed: a small random model of a type, or a checkpoint, as PyTorch in float32 runs it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ipfs_accelerate_py.runtimes.engines.base import Source
from ipfs_accelerate_py.runtimes.engines.loading import load_model
from ipfs_accelerate_py.runtimes.engines.openvino_hybrid import shorter
from ipfs_accelerate_py.runtimes.extras import require
from ipfs_accelerate_py.runtimes.families.catalog import known_types, open_source, own_auto
from ipfs_accelerate_py.runtimes.families.overrides import UNBATCHED
from ipfs_accelerate_py.runtimes.families.samples import Sampler, fit_sampler
from ipfs_accelerate_py.runtimes.families.tasks import TaskSpec
from ipfs_accelerate_py.runtimes.families.tiny import tiny_model
from ipfs_accelerate_py.runtimes.models import find_model

if TYPE_CHECKING:
    from ipfs_accelerate_py.runtimes.engines.openvino_export import Exported

__all__ = ["Subject", "open_subject"]

# Seeds of what a graph is exported with.
_EXPORTED = (11, 12)


@dataclass(slots=True, eq=False)
class Subject:
    """A model and inputs for it.

    Attributes:
        name: a model type, or what a checkpoint was asked for by.
        model_type: as in ``config.json``.
        auto: Auto class that made it.
        model: Transformers' object, in evaluation mode, float32, on the processor.
        files: where a checkpoint lies, and the task it is for; None of a type.
    """

    name: str
    model_type: str
    auto: str
    model: Any
    files: tuple[Source, TaskSpec] | None = None
    _sampler: Sampler | None = None
    _exported: Exported | Exception | None = None

    @property
    def batches(self) -> bool:
        """Whether it takes several inputs at once."""
        return self.model_type not in UNBATCHED

    @property
    def sampler(self) -> Sampler:
        """Makes inputs; found by trying them. Raises `RuntimeUnavailable` where the model takes none."""
        if self._sampler is None:
            self._sampler = fit_sampler(self.model)
        return self._sampler

    def parameters(self) -> int:
        """How many numbers its weights are."""
        return sum(each.numel() for each in self.model.parameters())

    def samples(self) -> list[Mapping[str, Any]]:
        """Batches to export with: of other sizes, and texts of another length too, so that a graph must follow them."""
        sizes = (2, 3) if self.batches else (1,)
        found: list[Mapping[str, Any]] = [
            self.sampler.batch(seed, size) for seed, size in zip(_EXPORTED, sizes, strict=False)
        ]
        return found + [each for each in (shorter(found[0]),) if each]

    def exported(self) -> Exported:
        """Its OpenVINO graph in float32, which agrees with it; exported once, and refused again in the same words.

        Raises `RuntimeUnavailable`.
        """
        if self._exported is None:
            from ipfs_accelerate_py.runtimes.engines.openvino_export import export_model

            try:
                self._exported = export_model(self.model, self.samples(), trace_first=True)
            except Exception as exc:  # kept: another precision would fail at the same, minutes later
                self._exported = exc
        if isinstance(self._exported, Exception):
            raise self._exported
        return self._exported

    def run(self, batch: Mapping[str, Any]) -> dict[str, Any]:
        """All outputs by name, of PyTorch in float32."""
        from ipfs_accelerate_py.runtimes.engines.outputs import flatten
        from ipfs_accelerate_py.runtimes.families.samples import as_tensors

        torch = require("torch")
        torch.manual_seed(0)  # of what samples inside
        with torch.inference_mode():
            return flatten(self.model(**as_tensors(batch), return_dict=True))


def open_subject(name: str) -> Subject:
    """A small random model where ``name`` is a model type; else the checkpoint of that name or path on this machine.

    Raises:
        RuntimeUnavailable: it cannot be made or loaded, or there is none; with the reason.
    """
    if name in known_types():
        auto = own_auto(name)
        return Subject(name, name, auto, tiny_model(name, auto=auto))
    source, task = open_source(name, find_model(name))
    model = load_model(source, "float32")
    return Subject(name, model.config.model_type, source.auto, model, (source, task))
