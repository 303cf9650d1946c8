"""Search with beams, by Transformers' own: the whole answer at once."""

from __future__ import annotations

import copy
from typing import Any

from ipfs_accelerate_py.errors import InvalidRequest
from ipfs_accelerate_py.runtimes.extras import require

from .base import BY_TOKEN, Prompt, Sampling
from .preparing import feature_tensors, generate

__all__ = ["beam_search"]


def beam_search(model: Any, prompt: Prompt, sampling: Sampling, limit: int) -> tuple[list[int], str]:
    """The likeliest answer that ``sampling.beams`` beams find, without prompt and end token, and how it ended.

    Raises:
        InvalidRequest: options that choose token by token, which a search does not.
    """
    for name, off in BY_TOKEN.items():
        if getattr(sampling, name) != off:
            raise InvalidRequest(f"{name} cannot be used with beams", status=400, param=name)
    torch = require("torch")
    config = copy.deepcopy(model.generation_config)
    config.update(
        num_beams=sampling.beams, do_sample=False, max_new_tokens=limit, max_length=None, temperature=None, top_p=None,
        top_k=None, repetition_penalty=sampling.repetition_penalty, min_new_tokens=sampling.min_tokens or None,
        num_return_sequences=1, return_dict_in_generate=False,
    )  # fmt: skip
    given = feature_tensors(model, prompt)
    encoder = model.config.is_encoder_decoder
    begins = 1
    if prompt.ids:
        given["decoder_input_ids" if encoder else "input_ids"] = torch.tensor([prompt.ids], device=model.device)
        begins = len(prompt.ids)
    with torch.inference_mode():
        found: list[int] = generate(model)(**given, generation_config=config)[0].tolist()[begins:]
    ends = config.eos_token_id if isinstance(config.eos_token_id, list) else [config.eos_token_id]
    for at, token in enumerate(found):
        if token in ends or token in sampling.stop_ids:
            return found[:at], "stop"
    return found, "length"
