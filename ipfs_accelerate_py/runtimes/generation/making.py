"""A loaded network to what writes with it, and what talks with it."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

from ipfs_accelerate_py.errors import ConfigurationError, RuntimeUnavailable
from ipfs_accelerate_py.runtimes.engines.base import LoadPlan, Network, Source
from ipfs_accelerate_py.runtimes.engines.loading import quiet
from ipfs_accelerate_py.runtimes.extras import require

from .base import Conversation, Generator
from .batcher import Batcher
from .constraints import Constraints
from .detokenizing import Decode
from .steps import StepModel
from .templates import MARKS, Template
from .tool_calls import format_of

__all__ = ["decoder", "end_ids", "generation_config", "load_tokenizer", "make_conversation", "make_generator"]

#: Names that ``LoadPlan.options`` may have for generation, and what each defaults to.
_ROWS, _PIECE = 16, 256


def make_generator(network: Network, source: Source, plan: LoadPlan | None = None) -> Generator:
    """What writes with ``network``: through its own ``steps()``, where its engine has one, or through its ``model``,
    Transformers' object. ``plan.options`` may have ``rows`` (answers at once, 16), ``positions`` (of all of them
    together) and ``prefill`` (positions of prompts read between two steps, 256).

    Raises:
        RuntimeUnavailable: the engine only has a forward pass for this model, or it writes in a way of its own.
        ConfigurationError: an option is no positive number.
    """
    plan = plan or LoadPlan()
    rows, piece = _option(plan, "rows", _ROWS), _option(plan, "prefill", _PIECE)
    budget = _option(plan, "positions", 0) or None
    own = getattr(network, "steps", None)
    if own is not None:
        steps = cast(StepModel, own())
    else:
        model = getattr(network, "model", None)
        # Qwen's that speak as well: the part that writes.
        model = getattr(model, "thinker", model)
        if model is None or not hasattr(model, "generate"):
            raise RuntimeUnavailable(
                f"model {source.name!r} cannot write on {network.engine}: it only has a forward pass there; "
                "use runtime torch"
            )
        if not hasattr(model, "_supports_default_dynamic_cache"):
            raise RuntimeUnavailable(
                f"model {source.name!r} writes in a way of its own, not token by token: {type(model).__name__} is no "
                "GenerationMixin of Transformers, and such are not served here"
            )
        from .probing import torch_steps

        steps = torch_steps(model)
    tokenizer = load_tokenizer(source, plan)
    ends = end_ids(source, tokenizer)
    return Batcher(
        steps,
        decode=None if tokenizer is None else decoder(tokenizer),
        stop_ids=ends,
        constraints=None if tokenizer is None else Constraints(tokenizer, steps.vocab_size, ends),
        rows=rows,
        budget=budget,
        piece=piece,
        name=source.name,
    )


def make_conversation(generator: Generator, source: Source, plan: LoadPlan | None = None) -> Conversation:
    """Chat and completion with a generator, by the checkpoint's tokenizer and chat template.

    Raises:
        RuntimeUnavailable: the checkpoint has no tokenizer, so there is no text to be had.
    """
    from .chat import Talk

    plan = plan or LoadPlan()
    tokenizer = load_tokenizer(source, plan)
    if tokenizer is None:
        raise RuntimeUnavailable(f"model {source.name!r} has no tokenizer, so nobody can talk with it")
    return Talk(generator, tokenizer, source, trust_remote_code=plan.trust_remote_code)


def _option(plan: LoadPlan, name: str, default: int) -> int:
    value = plan.options.get(name, default)
    if not isinstance(value, int) or isinstance(value, bool) or value < 0 or (value == 0 and default):
        raise ConfigurationError(f"option {name} of a model must be a positive whole number, not {value!r}")
    return value


def load_tokenizer(source: Source, plan: LoadPlan) -> Any:
    """The checkpoint's tokenizer; None where it has none."""
    transformers = require("transformers")
    folder = Path(source.path)
    if not folder.is_dir():
        return None
    with quiet(transformers):
        try:
            return transformers.AutoTokenizer.from_pretrained(
                str(folder), local_files_only=True, trust_remote_code=plan.trust_remote_code
            )
        except Exception:
            return None


def decoder(tokenizer: Any) -> Decode:
    """Ids to text, without tidying blanks, which would depend on what comes later. Special tokens are left out, but
    for those that mark calls of tools and thoughts, which a conversation reads (see `templates.MARKS`)."""
    added = getattr(tokenizer, "added_tokens_decoder", {})
    marks = {*MARKS, *marks_of(tokenizer)}
    special = {number for number, token in added.items() if token.special}
    hidden = (special | set(tokenizer.all_special_ids)) - {
        number for number, token in added.items() if token.content in marks
    }

    def decode(ids: list[int]) -> str:
        shown = [each for each in ids if each not in hidden]
        text: str = tokenizer.decode(shown, skip_special_tokens=False, clean_up_tokenization_spaces=False)
        return text

    def careful(ids: list[int]) -> str:
        # A model may have more ids than its tokenizer, and some tokenizers fail over those (SentencePiece's do).
        try:
            return decode(ids)
        except Exception:
            hidden.update(each for each in set(ids) - hidden if not _readable(decode, each))
            return decode(ids)

    inner: Any = getattr(tokenizer, "backend_tokenizer", None)
    if type(inner).__module__.partition(".")[0] != "tokenizers":
        return careful

    def quick(ids: list[int]) -> str:
        shown: str = inner.decode([each for each in ids if each not in hidden], skip_special_tokens=False)
        return shown

    # The tokenizer itself does much more around that at every token; where it gives the same, it is left out.
    sample = list(range(0, len(tokenizer), max(1, len(tokenizer) // 300)))
    try:
        return quick if quick(sample) == decode(sample) else careful
    except Exception:
        return careful


def _readable(decode: Decode, number: int) -> bool:
    try:
        decode([number])
    except Exception:
        return False
    return True


def marks_of(tokenizer: Any) -> tuple[str, ...]:
    """What a template of its own writes around calls."""
    template = Template(tokenizer, "")
    if template.text is None:
        return ()
    known = format_of(template.text, lambda messages: template.render(messages, {"add_generation_prompt": False}))
    return tuple(each for each in (known.begin, known.end) if each)


def generation_config(source: Source) -> Any:
    """The checkpoint's generation settings, or those that its configuration implies."""
    transformers = require("transformers")
    kind = transformers.GenerationConfig
    with quiet(transformers):
        try:
            return kind.from_pretrained(str(source.path), local_files_only=True)
        except Exception:
            try:
                return kind.from_model_config(source.config)
            except Exception:
                return kind()


def end_ids(source: Source, tokenizer: Any) -> tuple[int, ...]:
    """Ids that end an answer: those of its generation settings, else of its configuration or tokenizer."""
    text = source.config.get_text_config(decoder=True) if source.config is not None else None
    for holder in (generation_config(source), source.config, text, tokenizer):
        found = getattr(holder, "eos_token_id", None)
        if isinstance(found, int):
            return (found,)
        if isinstance(found, list | tuple) and found:
            return tuple(found)
    return ()
