"""Whole checkpoints of a few hundred kilobytes, of any model type: what tests and the table of families run.

They are random and answer nonsense, but by the real classes' code, from files of the real formats.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ipfs_accelerate_py.errors import RuntimeUnavailable
from ipfs_accelerate_py.runtimes.engines.loading import attention_of, quiet
from ipfs_accelerate_py.runtimes.extras import require

from .catalog import auto_classes, own_auto
from .initialise import initialise, settle
from .shrink import small_config
from .toy_marks import marks_of
from .toy_processors import write_processors
from .toy_tokenizer import WHISPER, write_tokenizer

__all__ = ["tiny_model", "write_tiny"]


def tiny_model(
    model_type: str, *, auto: str | None = None, seed: int = 0, changes: Mapping[str, Any] | None = None
) -> Any:
    """A small random model of that type in evaluation mode, in float32.

    Args:
        model_type: as in ``config.json``.
        auto: name of the Auto class; the type's own without it.
        seed: of its weights.
        changes: values of the configuration in place of the small ones.

    Raises:
        RuntimeUnavailable: Transformers has no such type or class, or it cannot be made small; with the reason.
    """
    try:
        config = small_config(model_type)
    except KeyError:
        raise RuntimeUnavailable(f"Transformers has no model type {model_type!r}") from None
    for name, value in (changes or {}).items():
        setattr(config, name, value)
    return _make(config, auto or own_auto(model_type), seed)


def _make(config: Any, auto: str, seed: int) -> Any:
    transformers, torch = require("transformers"), require("torch")
    if config.architectures is None:  # types with several classes of one kind choose by it
        config.architectures = list(auto_classes().get(auto, {}).get(config.model_type, ()))[:1] or None
    if config.model_type == "reformer":  # its classes refuse a configuration that says otherwise
        config.is_decoder = auto == "AutoModelForCausalLM"
    random = torch.random.get_rng_state()
    torch.manual_seed(seed)
    try:
        kind = getattr(transformers, auto)
        make = kind.from_config if hasattr(kind, "from_config") else kind._from_config
        model = make(config, dtype=torch.float32, attn_implementation=attention_of(config))
    finally:
        torch.random.set_rng_state(random)
    initialise(model, seed)
    model.eval()
    settle(model)
    return model


def write_tiny(
    model_type: str,
    folder: str | Path,
    *,
    auto: str | None = None,
    seed: int = 0,
    labels: Sequence[str] = (),
    changes: Mapping[str, Any] | None = None,
) -> Path:
    """Write a small random checkpoint of that type: configuration, safetensors, tokenizer, processors.

    Args:
        model_type: as in ``config.json``.
        folder: where; made if it is not there.
        auto: name of the Auto class; the type's own without it.
        seed: of its weights.
        labels: of a classifier, in the order of its outputs.
        changes: values of the configuration in place of the small ones.

    Returns:
        The folder.

    Raises:
        RuntimeUnavailable: as `tiny_model`.
    """
    path = Path(folder)
    path.mkdir(parents=True, exist_ok=True)
    try:
        config = small_config(model_type)
    except KeyError:
        raise RuntimeUnavailable(f"Transformers has no model type {model_type!r}") from None
    tokenizer = write_tokenizer(model_type, config, path)
    _hold(config, tokenizer)
    _place(config, tokenizer)
    if labels:
        config.id2label = dict(enumerate(labels))
        config.label2id = {label: at for at, label in enumerate(labels)}
    for name, value in (changes or {}).items():
        setattr(config, name, value)
    model = _make(config, auto or own_auto(model_type), seed)
    config.architectures = [type(model).__name__]
    with quiet(require("transformers")):
        model.save_pretrained(str(path))
    if type(tokenizer).__name__ == "WhisperTokenizer":
        _whisper_generation(path, tokenizer)
    if type(model).__name__ == "ParakeetForTDT":
        _durations(path, config)
    if type(model).__name__ == "Qwen2_5OmniForConditionalGeneration":
        require("torch").save({}, path / "spk_dict.pt")  # its voices, without which it does not load
    if type(model).__name__ == "BarkModel":
        _bark_generation(path)
    if type(model).__name__ in ("SpeechT5ForTextToSpeech", "FastSpeech2ConformerModel"):
        _vocoder(path, config, seed)
    write_processors(model_type, config, path, tokenizer, model)
    return path


def _durations(path: Path, config: Any) -> None:
    """What is no token among a transducer's outputs is not written: its checkpoints' settings say so."""
    file = path / "generation_config.json"
    settings = json.loads(file.read_text(encoding="utf-8"))
    settings["suppress_tokens"] = [config.vocab_size + at for at, _ in enumerate(config.durations)]
    file.write_text(json.dumps(settings, indent=1), encoding="utf-8")


def _bark_generation(path: Path) -> None:
    """Which numbers mean what in Bark's three networks, for vocabularies of 10048 and a text of 512."""
    kind = require("transformers.models.bark.generation_configuration_bark")
    told = kind.BarkGenerationConfig(
        semantic_config={
            "semantic_vocab_size": 900,
            "eos_token_id": 900,
            "max_new_tokens": 12,
            "max_input_semantic_length": 16,
            "text_encoding_offset": 8000,
            "text_pad_token": 10_040,
            "semantic_infer_token": 10_041,
        },
        coarse_acoustics_config={"coarse_semantic_pad_token": 10_040, "coarse_infer_token": 10_041},
    )
    # Its own way of writing them fails (Transformers 5.23).
    (path / "generation_config.json").write_text(json.dumps(told.to_dict(), default=str), encoding="utf-8")


def _vocoder(path: Path, config: Any, seed: int) -> None:
    """What makes sound of spectrograms, in the folder where it is looked for."""
    transformers = require("transformers")
    settings = transformers.SpeechT5HifiGanConfig(
        model_in_dim=config.num_mel_bins, upsample_initial_channel=16, normalize_before=False
    )
    model = transformers.SpeechT5HifiGan(settings)
    initialise(model, seed)
    with quiet(transformers):
        model.save_pretrained(str(path / "vocoder"))


def _hold(config: Any, tokenizer: Any) -> None:
    """Widen the model's vocabulary to its tokenizer's."""
    try:
        text = config.get_text_config()
    except Exception:  # more than one: each keeps its own
        return
    text = getattr(config, "model_config", text)  # of a network with its vocoder
    size = getattr(text, "vocab_size", None)
    highest = max(tokenizer.get_vocab().values(), default=0)
    if isinstance(size, int) and highest >= size:
        text.vocab_size = -(-(highest + 1) // 8) * 8
        if getattr(text, "vocab_size_per_layer_input", None):  # Gemma's embeddings of each layer
            text.vocab_size_per_layer_input = text.vocab_size


def _place(config: Any, tokenizer: Any) -> None:
    """The number of the token that an image's features take the place of: the one that the tokenizer has for it."""
    marks = marks_of(config.model_type)
    token = marks.named.get(marks.place)
    number = tokenizer.get_vocab().get(token) if token else None
    for name in ("image_token_id", "image_token_index"):
        if number is not None and hasattr(config, name) and getattr(config, name) != number:
            setattr(config, name, number)


def _whisper_generation(path: Path, tokenizer: Any) -> None:
    """Whisper's rules of what may be written: they are in its ``generation_config.json``."""
    number = tokenizer.convert_tokens_to_ids
    file = path / "generation_config.json"
    settings = json.loads(file.read_text(encoding="utf-8")) if file.exists() else {}
    settings.pop("_from_model_config", None)  # of which Transformers takes nothing that it does not know
    settings |= {
        "is_multilingual": True,
        "lang_to_id": {token: number(token) for token in ("<|en|>", "<|de|>", "<|fr|>")},
        "task_to_id": {task: number(f"<|{task}|>") for task in ("transcribe", "translate")},
        "no_timestamps_token_id": number("<|notimestamps|>"),
        "prev_sot_token_id": number("<|startofprev|>"),
        "decoder_start_token_id": number(WHISPER[0]),
        "max_initial_timestamp_index": 25,
        "max_length": 64,
        "eos_token_id": tokenizer.eos_token_id,
        "pad_token_id": tokenizer.pad_token_id if tokenizer.pad_token_id is not None else tokenizer.eos_token_id,
        "suppress_tokens": [],
        "begin_suppress_tokens": [],
    }
    file.write_text(json.dumps(settings, indent=1), encoding="utf-8")
