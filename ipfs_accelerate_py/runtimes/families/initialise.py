"""Random weights at which a network's answer depends on its input.

Models as their classes initialise them are close to constant: weights of 0.02 under a norm, gates and last layers of
zero. Here every matrix has the scale that keeps its input's, every norm is near one, and nothing stays at zero.
"""

from __future__ import annotations

import math
import zlib
from typing import Any

from ipfs_accelerate_py.runtimes.extras import require

__all__ = ["initialise", "settle"]


def initialise(model: Any, seed: int = 0) -> None:
    """Give ``model`` (PyTorch, in place) weights that follow from names and ``seed`` alone."""
    torch = require("torch")
    with torch.no_grad():
        for name, value in model.named_parameters():
            if not value.is_floating_point() or value.numel() == 0:
                continue
            random = torch.Generator().manual_seed(zlib.crc32(name.encode()) ^ seed)
            noise = torch.randn(value.shape, generator=random).to(value.dtype)
            if value.dim() >= 2:
                value.copy_(noise * _scale(name, value) * _calm(model, name))
            else:
                value.add_(0.1 * noise)
        for name, value in model.named_buffers():
            if name.rsplit(".", 1)[-1] in _BOOKS and value.dim() == 2:
                random = torch.Generator().manual_seed(zlib.crc32(name.encode()) ^ seed)
                value.copy_(torch.randn(value.shape, generator=random))


#: Codebooks that are kept as buffers: their classes leave them at zero, and every code would mean the same.
_BOOKS = ("embed", "embed_sum", "embed_avg")


#: By type, the last layers of parts that give exponents: of tens come boxes of millions of pictures, whose sines are
#: chance.
_EXPONENTS = {"rf_detr": "bbox_embed"}


def _calm(model: Any, name: str) -> float:
    part = _EXPONENTS.get(getattr(getattr(model, "config", None), "model_type", ""))
    return 0.05 if part is not None and part in name and ".layers.2." in name else 1.0


def _scale(name: str, value: Any) -> float:
    if "embed" in name and value.dim() == 2:
        return 0.5
    fan_in = math.prod(value.shape[1:])
    return 1.0 / math.sqrt(max(1, fan_in))


def settle(model: Any) -> None:
    """Give batch norms the means and variances of what really comes to them, as training would have.

    Without that the signal of a deep network of convolutions fades on its way, and every answer is the same.
    """
    torch = require("torch")
    norms = [each for each in model.modules() if isinstance(each, torch.nn.modules.batchnorm._BatchNorm)]
    if not norms:
        return
    from ipfs_accelerate_py.errors import RuntimeUnavailable

    from .samples import as_tensors, fit_sampler

    try:
        batch = fit_sampler(model).batch(7, 4)
    except RuntimeUnavailable:
        return  # who runs it says why
    kept = [each.momentum for each in norms]
    for each in norms:
        each.reset_running_stats()
        each.momentum = None  # the plain mean
        each.train()
    try:
        with torch.inference_mode(False), torch.no_grad():
            model(**as_tensors(batch), return_dict=True)
    except (ValueError, RuntimeError):  # one value a channel, or one input at a time: they stay at 0 and 1
        for each in norms:
            each.reset_running_stats()
    finally:
        for each, momentum in zip(norms, kept, strict=True):
            each.momentum = momentum
            each.eval()
