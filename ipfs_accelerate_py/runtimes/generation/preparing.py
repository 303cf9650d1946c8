"""What ``model.generate`` makes of a prompt before its loop begins, for loops of our own.

Transformers prepares a great deal by model: the encoder's pass, the decoder's first tokens, positions, the right kind
of cache. ``generate(custom_generate=...)`` hands all that to a function in place of its loop, which is how it is had
here (https://huggingface.co/docs/transformers/generation_strategies#custom-generation-methods).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ipfs_accelerate_py.runtimes.extras import require

from .base import Prompt

__all__ = ["encoder_output", "feature_tensors", "generate", "prepare", "search_config"]

_IDS = ("bos_token_id", "decoder_start_token_id", "pad_token_id", "eos_token_id")


def prepare(model: Any, ids: Any, features: Mapping[str, Any], cache: Any = None) -> tuple[Any, Any, dict[str, Any]]:
    """The model that writes (some hand on to a part of theirs), the ids ``(rows, length)`` that it begins with, and its
    further arguments, the encoder's outputs among them.

    Args:
        ids: of a decoder (or of what a decoder begins with after an encoder), ``(rows, length)``; None for none.
        features: tensors by the model's names, rows first.
        cache: one of ours in place of Transformers' own.
    """
    found: list[tuple[Any, Any, dict[str, Any]]] = []

    def capture(
        model: Any, input_ids: Any, logits_processor: Any = None, stopping_criteria: Any = None,
        generation_config: Any = None, **arguments: Any,
    ) -> Any:  # fmt: skip
        for name in ("synced_gpus", "streamer", "assistant_model"):
            arguments.pop(name, None)
        found.append((model, input_ids, arguments))
        return input_ids

    given = dict(features)
    if ids is not None:
        given["decoder_input_ids" if model.config.is_encoder_decoder else "input_ids"] = ids
    if cache is not None:
        given["past_key_values"] = cache
    begin = int(ids[0, 0]) if ids is not None else None
    generate(model)(**given, generation_config=search_config(model, begin), custom_generate=capture)
    return found[0]


def generate(model: Any) -> Any:
    """``model.generate``, told everything by its config: what the checkpoint has beside it (beams, lengths, rules) is
    left out. Of Whisper the plain one, without the windows that its task adds itself. To be called by one thread."""
    plain = model.generate
    if model.config.model_type == "whisper":
        plain = require("transformers").GenerationMixin.generate.__get__(model)

    def run(**given: Any) -> Any:
        own = model.generation_config
        model.generation_config = _ids_alone(own)
        try:
            return plain(**given)
        finally:
            model.generation_config = own

    return run


def _ids_alone(own: Any) -> Any:
    made = require("transformers").GenerationConfig()
    for name in _IDS:
        setattr(made, name, getattr(own, name, None))
    return made


def encoder_output(hidden: Any) -> Any:
    """An encoder's output, ``(rows, length, size)``; what some models' have beside it is None."""
    base = require("transformers.modeling_outputs").BaseModelOutput

    class Output(base):  # type: ignore[misc, valid-type]
        def __getattr__(self, name: str) -> Any:
            if name.startswith("__"):
                raise AttributeError(name)
            return None

    return Output(last_hidden_state=hidden)


def search_config(model: Any, begin: int | None = None, **more: Any) -> Any:
    """A generation config that takes over nothing that chooses tokens: no processors, no end, no length of its own.

    Args:
        begin: what a decoder's prompt begins with. Transformers puts its own start before any other, so where the
            checkpoint has none this is it.
    """
    kind = require("transformers").GenerationConfig
    made = kind(max_new_tokens=1, do_sample=False, num_beams=1, **more)
    ours = model.generation_config
    for name in _IDS:
        setattr(made, name, getattr(ours, name, None))
    if made.decoder_start_token_id is None and made.bos_token_id is None:
        # The padding for what is tried before there is a prompt.
        made.decoder_start_token_id = begin if begin is not None else made.pad_token_id or 0
    if made.pad_token_id is None:
        eos = made.eos_token_id[0] if isinstance(made.eos_token_id, list) and made.eos_token_id else made.eos_token_id
        made.pad_token_id = eos if isinstance(eos, int) else 0
    return made


def feature_tensors(model: Any, prompt: Prompt) -> dict[str, Any]:
    """A prompt's features as tensors of one row, on the model's device, floats in its precision."""
    torch = require("torch")
    made = {}
    for name, value in prompt.features.items():
        if not hasattr(value, "__array__") and not isinstance(value, list):
            made[name] = value
            continue
        tensor = torch.as_tensor(value).to(model.device)
        if tensor.is_floating_point():
            tensor = tensor.to(model.dtype)
        made[name] = tensor if name in prompt.flat else tensor[None]
    return made
