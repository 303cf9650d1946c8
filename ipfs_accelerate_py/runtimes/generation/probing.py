"""Which way a model's rows are computed: found by trying, against ``model.generate`` itself."""

from __future__ import annotations

from typing import Any

from ipfs_accelerate_py.runtimes.extras import require

from .base import Prompt
from .kinds import layer_kinds
from .own_steps import OwnSteps, vocabulary
from .preparing import encoder_output, feature_tensors, generate, search_config
from .seq2seq import Seq2SeqSteps
from .steps import StepModel
from .torch_steps import TorchSteps

__all__ = ["torch_steps"]

_STEPS = 3
#: Largest difference of logits, as a part of their spread: what rounding may do, and a wrong position may not.
_TOLERANCE = {"float32": 2e-3, "float64": 2e-3, "bfloat16": 0.12, "float16": 0.03}


def torch_steps(model: Any) -> StepModel:
    """The step model of a Transformers decoder: rows together where two of different lengths, read as a batch and in
    parts, get what ``generate`` gives each alone; else one by one. Costs a dozen forward passes over a few tokens."""
    found = _with_encoder(model) if model.config.is_encoder_decoder else _together(model)
    return OwnSteps(model, found) if isinstance(found, str) else found


def _together(model: Any) -> StepModel | str:
    """Rows that step together, or why they cannot."""
    if any(hasattr(each, "rope_deltas") for each in model.modules()):
        return "positions of its images are kept in the model, for one sequence"
    if not model._supports_default_dynamic_cache():
        return "its cache is of a kind of its own"
    try:
        kinds = layer_kinds(model.config)
    except Exception as exc:
        return f"its layers are not told by its configuration ({exc})"
    if kinds is None:
        return "its cache has layers of a kind of its own"
    prompts = _prompts(vocabulary(model))
    try:
        expected = [_expected(model, ids) for ids in prompts]
    except Exception as exc:
        return f"it could not be tried ({type(exc).__name__}: {exc})"
    for in_parts in (True, False):
        steps = TorchSteps(model, kinds, in_parts=in_parts)
        try:
            worst = _difference(steps, prompts, expected)
        except Exception as exc:
            reason = f"it does not take a cache of ours ({type(exc).__name__}: {exc})"
            continue
        if worst <= _allowed(model):
            return steps
        reason = f"beside others a row would be changed by {worst:.2g} of its logits' spread"
    return reason


def _with_encoder(model: Any) -> StepModel | str:
    """The same for an encoder-decoder: two encoders' outputs of different lengths, made up, take the inputs' place."""
    try:
        kinds = layer_kinds(model.config)
    except Exception as exc:
        return f"its layers are not told by its configuration ({exc})"
    if kinds is None or not model._supports_default_dynamic_cache():
        return "its cache has layers of a kind of its own"
    torch = require("torch")
    noise = torch.Generator().manual_seed(0)
    text = model.main_input_name == "input_ids"
    reason = "the size of its encoder's outputs is not known"
    for size in _encoder_sizes(model):
        drawn = [torch.randn((1, 5 - 2 * row * text, size), generator=noise) for row in (0, 1)]
        prompts = [
            Prompt(features={"encoder_outputs": encoder_output(each.to(model.device, model.dtype))}) for each in drawn
        ]
        try:
            expected = [_expected(model, prompt) for prompt in prompts]
        except Exception as exc:
            reason = f"it could not be tried ({type(exc).__name__}: {exc})"
            continue
        steps = Seq2SeqSteps(model, kinds)
        try:
            worst = _difference(steps, prompts, expected)
        except Exception as exc:
            return f"it does not take caches of ours ({type(exc).__name__}: {exc})"
        finally:
            steps.close()
        if worst <= _allowed(model):
            return steps
        return f"beside others a row would be changed by {worst:.2g} of its logits' spread"
    return reason


def _encoder_sizes(model: Any) -> list[int]:
    """Sizes that its encoder's outputs may have, the likeliest first."""
    configs = [getattr(model.config, "encoder", None), model.config.get_text_config(encoder=True), model.config]
    found = [
        getattr(each, name, None) for each in configs for name in ("d_model", "hidden_size", "encoder_hidden_size")
    ]
    return list(dict.fromkeys(each for each in found if isinstance(each, int)))


def _allowed(model: Any) -> float:
    return _TOLERANCE.get(str(model.dtype).removeprefix("torch."), 0.12)


def _prompts(size: int) -> list[Prompt]:
    # Any ids do, but not special ones, which often stand first.
    first, span = min(10, size - 2), max(1, size - 12)
    return [Prompt(ids=[(7 * at + 11 * row) % span + first for at in range(3 + 4 * row)]) for row in (0, 1)]


def _expected(model: Any, prompt: Prompt) -> tuple[list[int], Any]:
    """Tokens that ``generate`` writes after ``prompt``, and their logits ``(steps, vocabulary)``."""
    torch = require("torch")
    config = search_config(model, output_logits=True, return_dict_in_generate=True)
    config.max_new_tokens = config.min_new_tokens = _STEPS
    given = feature_tensors(model, prompt)
    if prompt.ids:
        given["input_ids"] = torch.tensor([prompt.ids], device=model.device)
        given["attention_mask"] = torch.ones_like(given["input_ids"])
    with torch.inference_mode():
        found = generate(model)(**given, generation_config=config)
    tokens = found.sequences[0].tolist()[-_STEPS:]
    return tokens, torch.cat(found.logits).float().cpu().numpy()


def _difference(steps: StepModel, prompts: list[Prompt], expected: list[tuple[list[int], Any]]) -> float:
    """The largest difference from what is expected, as a part of the spread: read as a batch, in parts, and joining."""
    worst = 0.0
    steps.close()

    def compare(got: Any, row: int, step: int) -> None:
        nonlocal worst
        wanted = expected[row][1][step]
        spread = float(wanted.max() - wanted.min()) or 1.0
        worst = max(worst, float(abs(got - wanted).max()) / spread)
        if worst != worst:
            raise ValueError("logits are not finite")

    batch: list[Any] = [steps.open(prompt) for prompt in prompts]
    waiting = list(batch)
    while waiting:
        for at, got in enumerate(steps.prefill(waiting, 1 << 20)):
            if got is not None:
                compare(got, batch.index(waiting[at]), 0)
        waiting = [row for row in waiting if not row.length or row.length < len(row.ids)]
    late: Any = steps.open(prompts[1])
    for step in range(1, _STEPS):
        got = steps.step(batch, [expected[row][0][step - 1] for row in (0, 1)])
        for row in (0, 1):
            compare(got[row], row, step)
        if not late.length or late.length < len(late.ids):
            (read,) = steps.prefill([late], 4)
            if read is not None:
                compare(read, 1, 0)
    steps.release(batch[0])
    got = steps.step([batch[1], late], [expected[1][0][-1], expected[1][0][0]])
    compare(got[1], 1, 1)
    for each in (batch[1], late):
        steps.release(each)
    return worst
