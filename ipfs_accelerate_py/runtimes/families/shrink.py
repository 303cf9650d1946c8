"""Small configurations of any model type, cut down from its class's own defaults.

Widths become one width, so that what has to be equal stays equal; layers become as few as hold every kind of layer that
the type has; counts of heads, experts, tokens, patches and channels follow. The rules are names of fields, common to
nearly all configurations; the few types for which they do not do are in ``overrides``, each with its reason.
"""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Mapping
from typing import Any

from ipfs_accelerate_py.runtimes.extras import require

from .overrides import CONFIG
from .shrink_rules import HEAD, HEADS, RULES, WIDTH, at_most
from .special import Special
from .token_ids import Renumbering

__all__ = ["WIDTH", "small_config"]


def small_config(model_type: str) -> Any:
    """A small configuration of that type, valid by its own class's checks.

    Raises:
        KeyError: Transformers has no such type.
        ValueError: its class takes nothing that small; the reason is the class's.
    """
    mapping = require("transformers.models.auto.configuration_auto").CONFIG_MAPPING
    special = CONFIG.get(model_type)
    given = dict(special.before) if special is not None else {}
    config = mapping[model_type](**copy.deepcopy(given))
    return _small(config, Renumbering())


def _small(config: Any, numbers: Renumbering, outer: str = "") -> Any:
    kind = type(config)
    if config.model_type in ("timm_backbone", "timm_wrapper") and outer:
        return _plain_backbone(config)
    special = CONFIG.get(config.model_type)
    if special is not None and "**" in special.keep:
        return _whole(config, special)
    given = _set_by_parent(config) if outer else {}
    layers = _layers(config)
    for field in dataclasses.fields(kind):
        name = field.name
        if name.startswith("_") or not field.init:
            continue
        value = _get(config, name)
        if hasattr(value, "to_dict") and hasattr(value, "model_type"):
            given[name] = _small(value, numbers, outer=config.model_type)
        elif isinstance(value, list | tuple) and value and all(hasattr(each, "model_type") for each in value):
            given[name] = type(value)(_small(each, numbers, outer=config.model_type) for each in value)
        elif name in layers:
            given[name] = layers[name]
        elif value is None and name in FILL:
            given[name] = FILL[name]
        elif special is not None and (name in special.keep or "*" in special.keep):
            continue
        elif _declared(field) is not None or name in ("layer_types",):
            cut = _cut(name, value, config, numbers)
            if cut is not value:
                given[name] = cut
    if "num_key_value_heads" in given and _get(config, "num_key_value_heads") == _get(config, "num_attention_heads"):
        given["num_key_value_heads"] = HEADS  # heads of their own stay so
    keys, heads = given.get("num_key_value_heads"), given.get("num_attention_heads")
    if isinstance(keys, int) and isinstance(heads, int) and keys > heads:  # what a part is in set it
        given["num_key_value_heads"] = heads
    given.update(_taps(config, given) or (_stages(config) if outer else {}))
    given.update(_sizes_of_images(config, given))
    given.update(_rotary(config, given))
    if _get(config, "image_grid_pinpoints") and "vision_config" in given:
        side = given["vision_config"].image_size
        given["image_grid_pinpoints"] = [[side, 2 * side], [2 * side, side], [2 * side, 2 * side]]
    if special is not None:
        given = {**special.before, **given, **special.after}
    return kind(**{name: copy.deepcopy(value) for name, value in given.items()})


def _whole(config: Any, special: Special) -> Any:
    """The configuration as it is, but for what is set."""
    whole = copy.deepcopy(config)
    for name, value in special.after.items():
        setattr(whole, name, copy.deepcopy(value))
    return whole


def _set_by_parent(config: Any) -> dict[str, Any]:
    """What a part has other than its class alone would have it, since what it is a part of wants it so."""
    try:
        plain = type(config)()
    except Exception:  # it cannot be alone
        return {}
    found = {}
    for field in dataclasses.fields(type(config)):
        value = _get(config, field.name)
        if not field.init or field.name.startswith("_") or value is None or hasattr(value, "model_type"):
            continue
        if field.name not in ("id2label", "label2id", "layer_types") and value != _get(plain, field.name):
            found[field.name] = value
    return found


def _get(config: Any, name: str) -> Any:
    try:
        return getattr(config, name, None)
    except Exception:  # a field that each layer has its own value of
        return None


#: Fields whose class leaves them out, or has them follow from others, though its network needs them.
FILL: Mapping[str, Any] = {
    "head_dim": HEAD,
    "n_routed_experts": 4,
    "num_experts": 4,
    "n_shared_experts": 1,
    "num_experts_per_tok": 2,
    "n_group": 1,
    "topk_group": 1,
    "num_key_value_heads": HEADS,
}


def _declared(field: Any) -> Any:
    if field.default is not dataclasses.MISSING:
        return field.default
    return field.default_factory() if field.default_factory is not dataclasses.MISSING else None


def _cut(name: str, value: Any, config: Any, numbers: Renumbering) -> Any:
    if (number := numbers.new(name, value, config)) is not None:
        return number
    if isinstance(value, bool) or not isinstance(value, int | list | tuple) or value in ([], ()):
        return value
    if isinstance(value, list | tuple) and not all(isinstance(each, int | list | tuple) for each in value):
        return value
    for pattern, rule in RULES:
        if pattern.fullmatch(name):
            cut = rule(value)
            return value if cut == value else cut
    return value


def _layers(config: Any) -> dict[str, Any]:
    """Fields that say something of each layer, cut to as few layers as show every kind; and their count."""
    count = _get(config, "num_hidden_layers")
    if not isinstance(count, int):
        return {}
    each = {
        field.name: _get(config, field.name)
        for field in dataclasses.fields(type(config))
        if isinstance(_get(config, field.name), list | tuple)
        and len(_get(config, field.name)) == count
        and field.name not in ("depths", "hidden_sizes", "id2label")
        and count > 4
    }
    if not each:
        return {}
    kinds: dict[Any, int] = {}
    for at in range(count):
        kinds.setdefault(repr([values[at] for values in each.values()]), at)
    kept = sorted(kinds.values())[:4]
    if len(kept) < 2:
        kept = sorted({*kept, 0, 1})
    found = {name: type(values)(values[at] for at in kept) for name, values in each.items()}
    for name in ("num_hidden_layers", *[n for n, m in type(config).attribute_map.items() if m == "num_hidden_layers"]):
        if name in {field.name for field in dataclasses.fields(type(config))}:
            found[name] = len(kept)
    mapped = type(config).attribute_map.get("num_hidden_layers")
    if mapped:
        found[mapped] = len(kept)
    return found


def _sizes_of_images(config: Any, given: Mapping[str, Any]) -> dict[str, Any]:
    """Images of four patches a side, or of 64 pixels where the network halves them itself."""
    size = _get(config, "image_size")
    if size is None or "image_size" not in {field.name for field in dataclasses.fields(type(config))}:
        return {}
    patch = given.get("patch_size", _get(config, "patch_size"))
    if isinstance(patch, list | tuple):
        patch = patch[0] if patch else None
    ladder = any(_get(config, name) for name in ("depths", "hidden_sizes", "embed_dims", "window_size"))
    side = 64 if ladder or not isinstance(patch, int) or patch < 4 else 4 * patch
    return {"image_size": at_most(side)(size)} if isinstance(size, int | list | tuple) else {}


def _taps(config: Any, given: Mapping[str, Any]) -> dict[str, Any]:
    """As many layers as a head takes features from, where it takes them from several."""
    for name in ("backbone_out_indices", "out_indices"):
        taps = _get(config, name)
        layers = given.get("num_hidden_layers")
        if isinstance(taps, list | tuple) and len(taps) > 1 and isinstance(layers, int) and not _get(config, "depths"):
            count = max(len(taps), layers)
            first = 0 if name.startswith("backbone") else 1
            return {"num_hidden_layers": count, name: [first + at for at in range(len(taps))]} | (
                {"out_features": None} if name == "out_indices" and _get(config, "out_features") else {}
            )
    return {}


def _stages(config: Any) -> dict[str, Any]:
    """The stages of a backbone that a head takes features from: the class keeps them apart from its fields."""
    indices, depths = _get(config, "out_indices"), _get(config, "depths") or _get(config, "hidden_sizes")
    if not isinstance(indices, list | tuple) or len(indices) < 2 or not isinstance(depths, list | tuple):
        return {}
    return {"out_indices": list(indices)} if max(indices) <= len(depths) else {}


def _rotary(config: Any, given: Mapping[str, Any]) -> dict[str, Any]:
    """Rotary embeddings for the smaller heads: parts that add up, no extension of the context."""
    parameters = _get(config, "rope_parameters")
    if not isinstance(parameters, dict):
        return {}
    if not parameters:
        kinds = sorted(set(given.get("layer_types") or _get(config, "layer_types") or ()))
        return {"rope_parameters": {each: {"rope_type": "default", "rope_theta": 10000.0} for each in kinds}}

    def small(each: dict[str, Any]) -> dict[str, Any]:
        kept = {k: v for k, v in each.items() if k in ("rope_theta", "partial_rotary_factor", "mrope_interleaved")}
        sections = each.get("mrope_section")
        if sections is None and "mrope_section" in getattr(config, "ignore_keys_at_rope_validation", ()):
            sections = [2, 1, 1]
        if isinstance(sections, list | tuple):
            half = int(HEAD * each.get("partial_rotary_factor", 1.0)) // 2
            kept["mrope_section"] = _sum_to(list(sections), half)
        kept["rope_type"] = "default"
        return kept

    if any(isinstance(value, dict) for value in parameters.values()):
        return {
            "rope_parameters": {
                kind: small(value) if isinstance(value, dict) else value for kind, value in parameters.items()
            }
        }
    return {"rope_parameters": small(parameters)}


def _sum_to(parts: list[int], total: int) -> list[int]:
    whole = sum(parts)
    cut = [part * total // whole for part in parts]
    for at in sorted(range(len(parts)), key=lambda at: -(parts[at] * total % whole))[: total - sum(cut)]:
        cut[at] += 1
    return cut


def _plain_backbone(config: Any) -> Any:
    """A small ResNet in the place of a network that the package timm would bring, which nothing here needs."""
    mapping = require("transformers.models.auto.configuration_auto").CONFIG_MAPPING
    indices = list(_get(config, "out_indices") or (1, 2, 3, 4))
    indices = [at for at in indices if 0 <= at <= 4] or [4]
    return mapping["resnet"](
        embedding_size=8, hidden_sizes=[8, 16, 32, 64], depths=[1, 1, 1, 1], layer_type="basic", out_indices=indices
    )
