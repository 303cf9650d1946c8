"""What is measured of models on this machine: a module for each kind."""

from __future__ import annotations

from .audio import Audio
from .base import Kind
from .embeddings import Embeddings
from .multimodal import Multimodal
from .text_generation import TextGeneration
from .vision import Vision

__all__ = ["KINDS", "kind_of"]

#: By name.
KINDS: dict[str, type[Kind]] = {each.name: each for each in (TextGeneration, Embeddings, Audio, Vision, Multimodal)}


def kind_of(task: str) -> type[Kind] | None:
    """Which kind measures that task (Hugging Face's name); None where none does."""
    return next((kind for kind in KINDS.values() if task in kind.tasks), None)
