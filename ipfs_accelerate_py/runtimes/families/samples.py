"""Fresh inputs that a model of any type takes: from the names of its forward pass's arguments and its configuration.

What stands behind a name is the same in nearly all types; where it is not (pictures as patches, films, sounds as
spectra) the model is tried with each form in turn and the first that it takes is kept.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ipfs_accelerate_py.errors import RuntimeUnavailable
from ipfs_accelerate_py.runtimes.extras import require

from .sample_forms import Form, forms_of

__all__ = ["Sampler", "fit_sampler"]

#: How a model says that a text has another number of places for images than the images need.
_PLACES = re.compile(r"tokens:?\s*(\d+)\D+features:?\s*(\d+)", re.IGNORECASE)


@dataclass(slots=True)
class Sampler:
    """Makes batches for one model: the same for the same seed, another for every other.

    Attributes:
        form: what stands behind the names.
        config: the model's configuration.
        places: by kind (``image``, ``audio``), how many tokens of a text stand for one of them.
    """

    form: Form
    config: Any
    places: dict[str, int] = field(default_factory=dict)

    def batch(self, seed: int, count: int = 1) -> dict[str, Any]:
        """Arrays by name, for ``count`` different inputs of equal shape; those of one seed begin alike."""
        numpy = require("numpy")
        rows = [self._row(numpy.random.default_rng([seed, at])) for at in range(count)]
        return {
            name: numpy.concatenate([row[name] for row in rows])
            if self.form.flat(name)
            else numpy.stack([row[name] for row in rows])
            for name in rows[0]
        }

    def _row(self, random: Any) -> dict[str, Any]:
        return {name: make(random, self) for name, make in self.form.makers.items()}


def fit_sampler(model: Any) -> Sampler:
    """The sampler for a PyTorch model of Transformers.

    Raises:
        RuntimeUnavailable: the model took none of the forms; the message has what it said to the likeliest.
    """
    torch = require("torch")
    first: Exception | None = None
    tried = 0
    for form in forms_of(model):
        sampler = Sampler(form, model.config, dict(form.places))
        for _ in range(6):
            try:
                with torch.inference_mode():
                    model(**as_tensors(sampler.batch(0, 1)), return_dict=True)
                return sampler
            except Exception as exc:
                first = first or exc
                if not _learn(sampler, exc):
                    break
        tried += 1
    raise RuntimeUnavailable(f"none of {tried} forms of input is taken: {type(first).__name__}: {first}") from first


def _learn(sampler: Sampler, exc: Exception) -> bool:
    """Take from a refusal how many places the text should have had; whether it said so."""
    match = _PLACES.search(str(exc))
    if match is None:
        return False
    kind = next((kind for kind in ("video", "audio", "image") if kind in str(exc).lower()), "image")
    kind = kind if kind in sampler.places else next(iter(sampler.places), kind)
    wanted = int(match[2])
    if int(match[1]) == wanted:  # some count numbers in the features, not features
        wanted //= getattr(sampler.config.get_text_config(), "hidden_size", wanted + 1)
    if wanted == sampler.places.get(kind):
        return False
    sampler.places[kind] = wanted
    return 0 < wanted <= 4096


def as_tensors(batch: Mapping[str, Any]) -> dict[str, Any]:
    """PyTorch tensors of a batch's arrays; what is no array stays."""
    torch = require("torch")
    return {name: torch.as_tensor(value) if hasattr(value, "dtype") else value for name, value in batch.items()}
