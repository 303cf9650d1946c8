"""Pictures, films and sounds in each of the forms that models take them in."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from ipfs_accelerate_py.runtimes.extras import require

from .special_inputs import SIDE

if TYPE_CHECKING:
    from .sample_forms import Form, Maker

__all__ = ["media_forms"]

_GRIDS = ("image_grid_thw", "grid_thw", "image_grid_hws", "grid_hws", "image_grid_hw")
_VISION = ("vision_config", "image_config", "vision_tower_config", "backbone_config", "encoder", "thinker_config")


def media_forms(model: Any, names: list[str], required: set[str], takes: set[str], main: str) -> Iterator[Form]:
    """Each with a model's text still to be added."""
    from .sample_forms import Form, place_token

    config = model.config
    if "pixel_values" not in names and "hidden_states" in required and set(_GRIDS) & set(names):
        for makers, flat in _pictures(config, names, required, {"image"}):  # patches, by another name
            made = {"hidden_states" if name == "pixel_values" else name: make for name, make in makers.items()}
            yield Form(made, frozenset("hidden_states" if each == "pixel_values" else each for each in flat))
        return
    sees = "pixel_values" in names and ("image" in takes or "video" in takes or main == "pixel_values")
    audio = next((name for name in ("input_features", "input_values", "audio_values") if name in names), None)
    hears = audio is not None and ("audio" in takes or main == audio or audio in required)
    if sees and ((hears and main != audio) or not hears):
        place = place_token(config, "image")
        places = {"image": 4} if place is not None and "input_ids" in names else {}
        for makers, flat in _pictures(config, names, required, takes):
            yield Form(makers, flat, dict(places))
        return
    if hears and audio is not None:
        place = place_token(config, "audio")
        places = {"audio": 4} if place is not None and "input_ids" in names else {}
        for makers in _sounds(config, names, required, audio):
            yield Form(makers, frozenset(), dict(places))
        return
    if "pixel_values_videos" in names and ("video" in takes or main == "pixel_values_videos"):
        side, channels = _side(config), _of(config, "num_channels", "in_channels", "in_chans") or 3
        for frames in dict.fromkeys((_of(config, "num_frames", "frames_per_clip") or 4, 4, 2, 16)):
            yield Form({"pixel_values_videos": _normal(frames, channels, side, side)})
        return
    yield Form({})


def _normal(*shape: int) -> Maker:
    return lambda random, _: random.standard_normal(shape).astype("float32")


def _fixed(value: Any, kind: str = "int64") -> Maker:
    return lambda random, _: require("numpy").array(value, kind)


def _of(config: Any, *names: str) -> Any:
    """The first of these fields, in the parts about pictures first."""
    inner = [getattr(config, each, None) for each in ("vlm_config", "thinker_config")]
    for part in (*(getattr(each, name, None) for each in (config, *inner) for name in _VISION), config):
        for field in names:
            value = getattr(part, field, None)
            if isinstance(value, list | tuple) and value and all(isinstance(each, int) for each in value):
                value = value[-1]
            if isinstance(value, int) and not isinstance(value, bool):
                return value
    return None


def _side(config: Any) -> int:
    if (known := SIDE.get(config.model_type)) is not None:
        return known
    found = _of(config, "image_size", "img_size", "input_size", "force_image_size")
    return found if isinstance(found, int) and 8 <= found <= 512 else 64


def _pictures(
    config: Any, names: list[str], required: set[str], takes: set[str]
) -> Iterator[tuple[dict[str, Maker], frozenset[str]]]:
    side = _side(config)
    channels = _of(config, "num_channels", "in_channels", "in_chans", "input_channels")
    channels = channels if channels in (1, 2, 3, 4) else 3
    patch = _of(config, "patch_size") or 8
    extra = _extras(config, names, side, patch)
    grid = next((name for name in _GRIDS if name in names), None)
    frames = _of(config, "num_frames") or 4
    if grid is not None:
        hw = "thw" not in grid
        for temporal in dict.fromkeys((_of(config, "temporal_patch_size") or 1, 1)):
            for shape in ((16, channels * temporal * patch * patch), (16, channels, patch, patch)):
                grids = _fixed([[4, 4] if hw else [1, 4, 4]])
                yield {**extra, "pixel_values": _normal(*shape), grid: grids}, frozenset({"pixel_values", grid})
    plain: dict[str, Maker] = {**extra, "pixel_values": _normal(channels, side, side)}
    film: dict[str, Maker] = {**extra, "pixel_values": _normal(frames, channels, side, side)}
    one: dict[str, Maker] = {**extra, "pixel_values": _normal(1, channels, side, side)}
    if "spatial_shapes" in names or "pixel_position_ids" in names or "image_position_ids" in names:
        yield from _patches(names, channels, patch, extra)
    if "video" in takes and "image" not in takes:
        yield film, frozenset()
        yield {**film, "pixel_values": _normal(channels, frames, side, side)}, frozenset()
    if "image_sizes" in names:
        tiles = _normal(5, channels, side, side)
        yield {**extra, "pixel_values": tiles, "image_sizes": _fixed([2 * side, 2 * side])}, frozenset()
        yield {**plain, "image_sizes": _fixed([side, side])}, frozenset()
    yield plain, frozenset()
    if "num_patches" in names or "image_num_patches" in names:
        yield {**one, "num_patches": _fixed([1])}, frozenset({"pixel_values", "num_patches"})
    yield one, frozenset()
    if "pixel_attention_mask" in names:
        whole = lambda random, _: require("numpy").ones((1, side, side), "bool")  # noqa: E731
        yield {**one, "pixel_attention_mask": whole}, frozenset()
    yield one, frozenset({"pixel_values"})
    yield film, frozenset()
    for other in (32, 64, 96, 128, 224, 256):
        if other != side:
            yield {**plain, "pixel_values": _normal(channels, other, other)}, frozenset()


def _patches(
    names: list[str], channels: int, patch: int, extra: dict[str, Maker]
) -> Iterator[tuple[dict[str, Maker], frozenset[str]]]:
    """Pictures cut into a row of patches beforehand."""
    numpy = require("numpy")
    made: dict[str, Maker] = {**extra, "pixel_values": _normal(16, channels * patch * patch)}
    if "spatial_shapes" in names:
        made["spatial_shapes"] = _fixed([4, 4])
    for name in ("pixel_attention_mask", "attention_mask"):
        if name in names and name not in made and (name != "attention_mask" or "input_ids" not in names):
            made[name] = lambda random, _: numpy.ones(16, "int64")
    for name in ("pixel_position_ids", "image_position_ids"):
        if name in names:
            made[name] = _fixed([[x, y] for y in range(4) for x in range(4)])
    yield made, frozenset()


def _extras(config: Any, names: list[str], side: int, patch: int) -> dict[str, Maker]:
    """What some take beside the picture."""
    made: dict[str, Maker] = {}
    if "task_inputs" in names:
        made["task_inputs"] = lambda random, _: random.integers(4, 60, getattr(config, "task_seq_len", 77) or 77)
    if "input_points" in names:
        made["input_points"] = lambda random, _: (random.random((1, 2, 2)) * side).astype("float32")
        made["input_labels"] = _fixed([[1, 0]])
    if "bool_masked_pos" in names and "mae" in config.model_type:
        count = (side // patch) ** 2
        frames = (_of(config, "num_frames") or 0) // (_of(config, "tubelet_size") or 2)
        count *= max(1, frames)
        made["bool_masked_pos"] = _fixed([at % 2 == 0 for at in range(count)], "bool")
    return made


def _sounds(config: Any, names: list[str], required: set[str], name: str) -> Iterator[dict[str, Maker]]:
    numpy = require("numpy")
    parts = [getattr(config, each, None) for each in ("audio_config", "encoder_config", "speech_config", "encoder")]
    parts = [part for part in (*parts, config) if part is not None]

    def of(*fields: str) -> int | None:
        for part in parts:
            for field in fields:
                if isinstance(value := getattr(part, field, None), int) and not isinstance(value, bool):
                    return value
        return None

    bins = of("num_mel_bins", "feature_size", "input_feat_per_channel", "n_mels", "mel_bins", "input_dim") or 80
    bins = of("feature_projection_input_dim") or bins
    places = of("max_source_positions")
    lengths = [2 * places] if places is not None and places <= 200 else []
    frames = [*lengths, of("max_length") or 64, 64, 100, 128, 32]
    if places is not None and not lengths:  # as long as Whisper's window: slow, so only where nothing shorter is taken
        frames.append(2 * places)
    waves = (4000, 16000, 1920)
    if name == "input_features":
        masks = [each for each in ("input_features_mask", "feature_attention_mask", "features_mask") if each in names]
        for count in dict.fromkeys(frames):
            shapes = ((bins, count), (count, bins)) if places else ((count, bins), (bins, count))
            for shape in shapes:
                made: dict[str, Maker] = {name: _normal(*shape)}
                yield {**made, **{each: _ones(count) for each in masks}}
                yield made
            yield {
                name: _normal(1, count, bins),
                **({"is_longer": _fixed([True], "bool")} if "is_longer" in names else {}),
            }
    for count in waves:
        yield {name: _normal(count)}
        yield {name: _normal(1, count)}
    if name != "input_features":
        for count in dict.fromkeys(frames):
            yield {name: _normal(count, bins)}
    del numpy


def _ones(count: int) -> Maker:
    return lambda random, _: require("numpy").ones(count, "int64")
