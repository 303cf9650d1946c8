"""Models with planted faults, around a small BERT that has none."""

from __future__ import annotations

from typing import Any

import torch

from ipfs_accelerate_py.runtimes.families.tiny import tiny_model
from ipfs_accelerate_py.runtimes.probes.subjects import Subject

__all__ = ["FAULTS", "subject"]


class Sound(torch.nn.Module):
    """A language model's logits, as they are."""

    def __init__(self, inner: Any) -> None:
        super().__init__()
        self.inner, self.config = inner, inner.config
        self.main_input_name, self.input_modalities = inner.main_input_name, inner.input_modalities

    def forward(self, input_ids: Any = None, attention_mask: Any = None, return_dict: bool = True) -> Any:
        answer = self.inner(input_ids=input_ids, attention_mask=attention_mask, return_dict=True)
        return {"logits": self.change(answer.logits)}

    def change(self, logits: Any) -> Any:
        return logits


class Blind(Sound):
    """Answers the same whatever it is given."""

    def change(self, logits: Any) -> Any:
        return logits * 0 + 1


class Undefined(Sound):
    """Divides nothing by nothing."""

    def change(self, logits: Any) -> Any:
        return logits * 0 / 0


class Mixing(Sound):
    """Lets the inputs of a batch see each other."""

    def change(self, logits: Any) -> Any:
        return logits - logits.mean(0, keepdim=True) / 2


class Fragile(Sound):
    """Runs in float32 alone."""

    def change(self, logits: Any) -> Any:
        if logits.dtype != torch.float32:
            raise RuntimeError("The size of tensor a (3) must match the size of tensor b (4)")
        return logits


class Coarse(Sound):
    """In fewer bits it answers something else."""

    def change(self, logits: Any) -> Any:
        return logits if logits.dtype == torch.float32 else logits.roll(1, -1)


FAULTS: dict[str, type[Sound]] = {
    each.__name__.lower(): each for each in (Sound, Blind, Undefined, Mixing, Fragile, Coarse)
}


def subject(name: str) -> Subject:
    """A model with the fault of that name."""
    return Subject(name, "bert", "AutoModelForMaskedLM", FAULTS[name](tiny_model("bert")).eval())
