"""What writing weights in fewer bits costs: the same model with its weights as they come back from GGUF."""

from __future__ import annotations

from typing import Any

from ipfs_accelerate_py.runtimes.extras import require
from ipfs_accelerate_py.runtimes.gguf.writing import dequantised

from .loss import Loss, measure
from .outputs import flatten

__all__ = ["measure_gguf"]

#: Sequences and positions that are compared.
_ROWS, _POSITIONS = 8, 64


def measure_gguf(model: Any, precision: str) -> Loss:
    """The loss of ``model`` (float32; its weights are changed) by weights of that precision.

    The text is what the model itself writes by chance, so that it is text as the model expects it, whatever language
    that is. llama.cpp also rounds what it multiplies with to 8 bits, which adds less than the weights do and is not in
    this figure.
    """
    torch = require("torch")
    torch_state = torch.get_rng_state()
    torch.manual_seed(0)
    try:
        ids = _own_text(model)
    finally:
        torch.set_rng_state(torch_state)
    with torch.inference_mode():
        before = flatten({"logits": model(input_ids=ids).logits})
        for name, weight in model.named_parameters():
            if weight.ndim < 2:
                continue
            transposed = name.endswith(("c_attn.weight", "c_proj.weight", "c_fc.weight"))
            array = weight.detach().float().numpy()
            place = (
                "position_embd"
                if name.endswith("wpe.weight")
                else "token_embd"
                if "embed" in name or "wte" in name
                else name
            )
            place = "output.weight" if name == "lm_head.weight" else place
            rows = require("numpy").ascontiguousarray(array.T if transposed else array)
            lossy = dequantised(rows, place, precision).reshape(rows.shape)
            weight.copy_(torch.from_numpy(require("numpy").ascontiguousarray(lossy.T if transposed else lossy)))
        after = flatten({"logits": model(input_ids=ids).logits})
    return measure([before], [after], writes=True)


def _own_text(model: Any) -> Any:
    torch = require("torch")
    vocabulary = int(model.config.vocab_size)
    most = min(_POSITIONS, int(getattr(model.config, "max_position_embeddings", _POSITIONS) or _POSITIONS))
    ids = torch.randint(0, vocabulary, (_ROWS, 1))
    with torch.inference_mode():
        cache = None
        for _ in range(most - 1):
            out = model(input_ids=ids if cache is None else ids[:, -1:], past_key_values=cache, use_cache=True)
            cache = out.past_key_values
            chances = torch.softmax(out.logits[:, -1].float(), dim=-1)
            ids = torch.cat([ids, torch.multinomial(chances, 1)], dim=1)
    return ids
