"""Tiny models that write, with weights large enough that a wrong position changes what is written."""

from __future__ import annotations

from functools import cache
from typing import Any

from ipfs_accelerate_py.runtimes.generation.base import Prompt, Sampling, Written
from ipfs_accelerate_py.runtimes.generation.batcher import Batcher
from ipfs_accelerate_py.runtimes.generation.steps import StepModel


@cache
def model(kind: str, auto: str | None = None) -> Any:
    """A model of that type."""
    import torch

    from ipfs_accelerate_py.runtimes.families.tiny import tiny_model

    made = tiny_model(kind, auto=auto).eval()
    torch.manual_seed(1)
    with torch.no_grad():
        for each in made.parameters():
            if each.dim() > 1:
                each.normal_(0, 0.25)
    # Settings that change what is likeliest, or search for it.
    for name in (
        *("forced_eos_token_id", "forced_bos_token_id", "suppress_tokens", "begin_suppress_tokens", "num_beams"),
        *("max_length", "min_length", "no_repeat_ngram_size", "repetition_penalty", "length_penalty", "early_stopping"),
    ):
        setattr(made.generation_config, name, None)
    return made


@cache
def steps(kind: str, auto: str | None = None) -> StepModel:
    from ipfs_accelerate_py.runtimes.generation.probing import torch_steps

    return torch_steps(model(kind, auto))


def expected(kind: str, count: int, ids: list[int] | None = None, **features: Any) -> list[int]:
    """Tokens that ``model.generate`` writes, the likeliest ones, never the end."""
    return written_by(model(kind), count, Prompt(ids=ids or [], features=features))


def written_by(made: Any, count: int, prompt: Prompt) -> list[int]:
    """The same of any model and prompt."""
    import torch
    from transformers import GenerationConfig, GenerationMixin

    config = GenerationConfig(max_new_tokens=count, min_new_tokens=count, do_sample=False)
    for name in ("decoder_start_token_id", "bos_token_id", "eos_token_id", "pad_token_id"):
        setattr(config, name, getattr(made.generation_config, name, None))
    if config.decoder_start_token_id is None and config.bos_token_id is None:
        config.decoder_start_token_id = config.pad_token_id or 0
    forget(made)
    given: dict[str, Any] = {}
    for name, value in prompt.features.items():
        array = hasattr(value, "dtype") or isinstance(value, list)
        tensor = torch.as_tensor(value) if array else value
        given[name] = tensor if name in prompt.flat or not array else tensor[None]
    if prompt.ids:
        given["decoder_input_ids" if made.config.is_encoder_decoder else "input_ids"] = torch.tensor([prompt.ids])
        if not made.config.is_encoder_decoder:
            given["attention_mask"] = torch.ones_like(given["input_ids"])
    with torch.inference_mode():
        # Whisper's own generate adds its task's rules; the plain one is what a step of it gives.
        kind = made.config.model_type
        plain = GenerationMixin.generate.__get__(made) if kind == "whisper" else made.generate
        found = plain(**given, generation_config=config)
    return list(found[0].tolist()[-count:])


def forget(made: Any) -> None:
    """RecurrentGemma begins a prompt of one token with what the last call has left behind."""
    for each in made.modules():
        for name in ("recurrent_states", "conv1d_state"):
            if hasattr(each, name):
                setattr(each, name, None)


def ends(kind: str) -> list[int]:
    return _ends(model(kind))


def _ends(made: Any) -> list[int]:
    found = made.generation_config.eos_token_id
    return [found] if isinstance(found, int) else list(found or [])


def greedy(kind: str, count: int) -> Sampling:
    return greedy_of(model(kind), count)


def greedy_of(made: Any, count: int) -> Sampling:
    """The likeliest tokens, never the end."""
    return Sampling(temperature=0.0, max_tokens=count, min_tokens=count, stop_ids=_ends(made))


def batcher(kind: str, **settings: Any) -> Batcher:
    """One that is worked by calling `Batcher.turn`."""
    return Batcher(steps(kind), start=False, **settings)


class Heard:
    """What one answer's listener is told."""

    def __init__(self) -> None:
        self.ids: list[int] = []
        self.text = ""
        self.pieces: list[Written] = []

    def __call__(self, written: Written) -> None:
        self.pieces.append(written)
        self.ids += written.ids
        self.text += written.text

    @property
    def reason(self) -> str | None:
        return self.pieces[-1].finish_reason if self.pieces else None


def ask(writer: Batcher, ids: list[int], sampling: Sampling, **settings: Any) -> Heard:
    heard = Heard()
    writer.submit(Prompt(ids=ids), sampling, heard, **settings)
    return heard


def finish(writer: Batcher, turns: int = 2000) -> None:
    for _ in range(turns):
        if not writer.turn():
            return
    raise AssertionError("it never ends")
