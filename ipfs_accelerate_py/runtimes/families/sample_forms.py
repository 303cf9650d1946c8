"""Which arrays stand behind the names of a forward pass, by trial: candidates from the likeliest on."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from ipfs_accelerate_py.runtimes.extras import require

from .special_inputs import INPUTS, PLACES
from .token_ids import REGULAR

if TYPE_CHECKING:
    from .samples import Sampler

__all__ = ["Form", "forms_of"]

Maker = Callable[[Any, "Sampler"], Any]
#: Tokens of a text.
LENGTH = 12


@dataclass(slots=True)
class Form:
    """One reading of a model's arguments.

    Attributes:
        makers: by argument, what makes one input's array.
        flattened: arguments whose first axis runs over the parts of all inputs.
        places: first guesses of how many tokens stand for an image.
    """

    makers: dict[str, Maker]
    flattened: frozenset[str] = frozenset()
    places: dict[str, int] = field(default_factory=dict)

    def flat(self, name: str) -> bool:
        return name in self.flattened


def forms_of(model: Any) -> Iterator[Form]:
    """Candidates for that model."""
    config = model.config
    parameters = inspect.signature(model.forward).parameters
    names = [name for name, each in parameters.items() if each.kind.name not in ("VAR_KEYWORD", "VAR_POSITIONAL")]
    required = {name for name in names if parameters[name].default is inspect.Parameter.empty}
    special = INPUTS.get(config.model_type, {})
    takes = getattr(model, "input_modalities", "text")
    takes = {takes} if isinstance(takes, str) else set(takes)
    main = getattr(model, "main_input_name", "input_ids")
    text = _text(model, names, required, takes, main)
    for media in _media(model, names, required, takes, main):
        makers: dict[str, Maker] = {}
        makers.update(text)
        makers.update(media.makers)
        flattened = set(media.flattened)
        for name, value in special.items():
            makers.pop(name, None)
            flattened.discard(name)
            if isinstance(value, tuple) and value[:1] == ("flat",):
                flattened.add(name)
                value = value[1]
            if value is not None:
                makers[name] = _literal(value)
        for name in required - set(makers):
            makers[name] = _any(name, config)
        if makers:
            yield Form(makers, frozenset(flattened), {**media.places, **PLACES.get(config.model_type, {})})


def _literal(value: Any) -> Maker:
    """From data: the shape of normal numbers, ``("ids", shape, below)``, ``("ones", shape)`` or ``("mask", shape)``."""
    if isinstance(value, tuple) and value and isinstance(value[0], str):
        kind, shape, *rest = value
        if kind == "ids":
            return lambda random, _: random.integers(0, rest[0], shape).astype("int64")
        if kind == "ones":
            return lambda random, _: require("numpy").ones(shape, "int64")
        if kind == "true":
            return lambda random, _: require("numpy").ones(shape, "bool")
        if kind == "uniform":
            return lambda random, _: random.random(shape).astype("float32")
        if kind == "const":
            return lambda random, _: require("numpy").array(rest[0] if rest else shape)
    return _normal(*value)


def _normal(*shape: int) -> Maker:
    return lambda random, _: random.standard_normal(shape).astype("float32")


def _text_config(config: Any) -> Any:
    try:
        return config.get_text_config()
    except Exception:  # more than one
        return getattr(config, "text_config", config)


def vocabulary(config: Any) -> int:
    """How many tokens its text has."""
    for each in (_text_config(config), config, getattr(config, "text_config", None)):
        for name in ("vocab_size", "src_vocab_size", "input_vocab_size"):
            if isinstance(size := getattr(each, name, None), int):
                return size
    return 64


def _ids(length: int = LENGTH) -> Maker:
    def make(random: Any, sampler: Sampler) -> Any:
        numpy = require("numpy")
        size = vocabulary(sampler.config)
        low = REGULAR if size > 2 * REGULAR else min(4, size // 2)
        parts = [random.integers(low, size - 4 if size > 16 else size, length)]
        for kind, count in sampler.places.items():
            token = place_token(sampler.config, kind)
            if token is not None and count:
                before, after = place_ends(sampler.config, kind)
                parts[1:1] = [numpy.array([*before, *[token] * count, *after])]
        ids = numpy.concatenate(parts)
        eos = getattr(_text_config(sampler.config), "eos_token_id", None)
        if sampler.config.model_type in ("bart", "mbart", "mvp", "plbart", "led", "bigbird_pegasus", "clip", "bart"):
            ids[-1] = eos if isinstance(eos, int) and eos < size else ids[-1]
        return ids.astype("int64")

    return make


def place_token(config: Any, kind: str) -> int | None:
    """The token that stands for an image or a sound."""
    for each in (
        config,
        _text_config(config),
        *(getattr(config, part, None) for part in ("thinker_config", "vlm_config")),
    ):
        for name in (f"{kind}_token_id", f"{kind}_token_index", f"{kind}_token"):
            if isinstance(found := getattr(each, name, None), int):
                return found
    return None


def place_ends(config: Any, kind: str) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Tokens before and after the places, where the type has such."""
    names = (
        ("vision_start_token_id", "vision_end_token_id"),
        (f"{kind}_start_token_id", f"{kind}_end_token_id"),
        ("boi_token_id", "eoi_token_id"),
        ("boi_token_index", "eoi_token_index"),
    )
    for before, after in names if kind != "audio" else names[1:2]:
        one, two = getattr(config, before, None), getattr(config, after, None)
        if isinstance(one, int) and isinstance(two, int):
            return (one,), (two,)
    return (), ()


def _length(name: str) -> Maker:
    def make(random: Any, sampler: Sampler) -> Any:
        counted = _ids()(require("numpy").random.default_rng(0), sampler)
        return require("numpy").ones(len(counted), "int64") if name != "token_type_ids" else counted * 0

    return make


def _marks(random: Any, sampler: Sampler) -> Any:
    """Which tokens stand for images (1) and sounds (3), as multimodal rotary embeddings want told."""
    ids = _ids()(require("numpy").random.default_rng(0), sampler)
    found = ids * 0
    for kind, mark in (("image", 1), ("video", 2), ("audio", 3)):
        if (token := place_token(sampler.config, kind)) is not None and kind in sampler.places:
            found[ids == token] = mark
    return found


def _text(model: Any, names: list[str], required: set[str], takes: set[str], main: str) -> dict[str, Maker]:
    config = model.config
    makers: dict[str, Maker] = {}
    if "input_ids" in names and ("text" in takes or main == "input_ids"):
        makers["input_ids"] = _ids()
        if "attention_mask" in names:
            makers["attention_mask"] = _length("attention_mask")
        if "mm_token_type_ids" in names:
            makers["mm_token_type_ids"] = _marks
        if "bbox" in names:
            makers["bbox"] = _boxes
    if getattr(config, "is_encoder_decoder", False) and "decoder_input_ids" in names:
        makers["decoder_input_ids"] = _decoder_ids
    if "decoder_input_ids" in required:
        makers["decoder_input_ids"] = _decoder_ids
    if "past_values" in names:
        makers.update(_series(config, names))
    return makers


def _decoder_ids(random: Any, sampler: Sampler) -> Any:
    size = vocabulary(sampler.config)
    return random.integers(min(4, size // 2), size - 2 if size > 16 else size, 6).astype("int64")


def _boxes(random: Any, sampler: Sampler) -> Any:
    numpy = require("numpy")
    corner = random.integers(0, 400, (LENGTH, 2))
    return numpy.concatenate([corner, corner + random.integers(1, 400, (LENGTH, 2))], axis=1).astype("int64")


def _series(config: Any, names: list[str]) -> dict[str, Maker]:
    length = getattr(config, "context_length", None) or 16
    history = length + max(getattr(config, "lags_sequence", None) or [0])
    channels = getattr(config, "num_input_channels", None)
    size = getattr(config, "input_size", 1)
    shape = (history,) if channels is None and size == 1 else (history, channels or size)
    makers: dict[str, Maker] = {"past_values": _normal(*shape)}
    features = getattr(config, "num_time_features", 0) or 0
    if "past_time_features" in names:
        makers["past_time_features"] = _normal(history, features)
        makers["past_observed_mask"] = lambda random, _: require("numpy").ones(shape, "float32")
        ahead = getattr(config, "prediction_length", None) or 4
        makers["future_values"] = _normal(ahead, *shape[1:])
        makers["future_time_features"] = _normal(ahead, features)
    return makers


def _any(name: str, config: Any) -> Maker:
    """A guess for a required argument that nothing else knows."""
    width = getattr(config, "hidden_size", 32) or 32
    if name.endswith(("_ids", "codes")):
        return _ids()
    if "mask" in name:
        return _length("attention_mask")
    if name.endswith("grid_thw"):
        return lambda random, _: require("numpy").array([[1, 4, 4]])
    return _normal(LENGTH, width)


def _media(model: Any, names: list[str], required: set[str], takes: set[str], main: str) -> Iterator[Form]:
    from .sample_media import media_forms

    yield from media_forms(model, names, required, takes, main)
