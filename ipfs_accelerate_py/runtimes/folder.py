"""Reading a sentence-transformers folder: what its JSON files say must be computed. No torch, no weights.

Layout: https://sbert.net/docs/sentence_transformer/usage/custom_models.html. ``modules.json`` lists a chain of modules;
the first is the transformer, then comes pooling, then any number of dense layers and normalisations. Both the older
key names (up to version 5 of the package) and the newer ones are read.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from ipfs_accelerate_py.errors import RuntimeUnavailable

__all__ = ["DenseStep", "ModelFolder", "NormalizeStep", "PoolingStep", "find_weights", "read_folder"]

_WEIGHTS = ("model.safetensors", "model.safetensors.index.json", "pytorch_model.bin", "pytorch_model.bin.index.json")

# In the order in which sentence-transformers concatenates several modes.
_LEGACY_MODES = {
    "pooling_mode_cls_token": "cls",
    "pooling_mode_max_tokens": "max",
    "pooling_mode_mean_tokens": "mean",
    "pooling_mode_mean_sqrt_len_tokens": "mean_sqrt_len_tokens",
    "pooling_mode_weightedmean_tokens": "weightedmean",
    "pooling_mode_lasttoken": "lasttoken",
}
POOLING_MODES = tuple(_LEGACY_MODES.values())

_TRANSFORMER_CONFIGS = tuple(
    f"sentence_{family}_config.json"
    for family in ("bert", "roberta", "distilbert", "camembert", "albert", "xlm-roberta", "xlnet")
)

# Options that a folder may hand on to the tokenizer; any other could change the vectors behind our back.
_TOKENIZER_OPTIONS = {"add_bos_token", "add_eos_token", "do_lower_case", "model_max_length", "padding_side"}
_TOKENIZER_OPTIONS |= {"truncation_side"}
# Options without effect on local inference in the format we choose ourselves.
_IGNORED_OPTIONS = {"attn_implementation", "device_map", "dtype", "local_files_only", "token", "torch_dtype"}
_IGNORED_OPTIONS |= {"trust_remote_code", "use_cache", "use_fast", "use_safetensors"}


@dataclass(frozen=True, slots=True)
class PoolingStep:
    """Token vectors to one vector; the results of several modes are concatenated."""

    modes: tuple[str, ...] = ("mean",)
    include_prompt: bool = True


@dataclass(frozen=True, slots=True)
class DenseStep:
    """``activation(W x + b)``, plus ``x`` (projected where sizes differ) when ``residual``.

    ``activation`` is the name of a class in ``torch.nn``.
    """

    weights: Path
    in_features: int
    out_features: int
    bias: bool
    activation: str
    residual: bool


@dataclass(frozen=True, slots=True)
class NormalizeStep:
    """Scaling to unit length (L2)."""


@dataclass(frozen=True, slots=True)
class ModelFolder:
    """What a folder says about its model.

    Attributes:
        name: what to call the model.
        path: the folder.
        transformer: where the configuration, tokenizer and weights of the transformer are.
        max_tokens: longest input in tokens that the folder asks for, or None where the model's own limit holds.
        lower_case: whether texts are lower-cased before tokenising.
        tokenizer_options: further options for the tokenizer.
        pooling: how token vectors become one.
        steps: what follows pooling.
        prompts: text to put in front, by the name of the prompt.
        default_prompt: name of the prompt used when a caller names none.
    """

    name: str
    path: Path
    transformer: Path
    max_tokens: int | None
    lower_case: bool
    tokenizer_options: Mapping[str, Any]
    pooling: PoolingStep
    steps: tuple[DenseStep | NormalizeStep, ...]
    prompts: Mapping[str, str]
    default_prompt: str | None


def read_folder(path: str | Path, name: str | None = None) -> ModelFolder:
    """Read the JSON files of a sentence-transformers folder.

    Raises:
        RuntimeUnavailable: it is no such folder, or it asks for something that is not computed here; the message says
            what.
    """
    path = Path(path)
    reader = _Reader(path, name or path.name)
    try:
        return reader.read()
    except (AttributeError, TypeError, ValueError) as exc:  # Somewhere a list where an object is due, or the like.
        raise reader.refuse(f"its JSON files do not have the usual shape: {exc}") from exc


def find_weights(folder: Path) -> Path | None:
    """The weights file in ``folder``, safetensors first."""
    return next((file for each in _WEIGHTS if (file := folder / each).is_file()), None)


class _Reader:
    def __init__(self, path: Path, name: str) -> None:
        self.path = path
        self.name = name

    def refuse(self, reason: str) -> RuntimeUnavailable:
        return RuntimeUnavailable(f"model {self.name!r} cannot be served: {reason}")

    def read(self) -> ModelFolder:
        if not self.path.is_dir():
            raise self.refuse(f"there is no folder {self.path}")
        modules = self.modules()
        kinds = [kind for kind, _ in modules]
        if kinds[:2] != ["Transformer", "Pooling"] or kinds.count("Transformer") + kinds.count("Pooling") != 2:
            raise self.refuse(
                f"its modules are {' > '.join(kinds)}, where Transformer > Pooling, then Dense or Normalize, is served"
            )
        options = self.transformer(modules[0][1])
        limit = options.get("max_seq_length")
        config = self.json("config_sentence_transformers.json")
        # sentence-transformers gives every model these two, empty unless the folder fills them.
        prompts = {"query": "", "document": ""}
        prompts |= {str(key): str(text or "") for key, text in (config.get("prompts") or {}).items()}
        default = config.get("default_prompt_name")
        if default is not None and default not in prompts:
            raise self.refuse(f"its default prompt {default!r} is not among its prompts")
        return ModelFolder(
            name=self.name,
            path=self.path,
            transformer=self.path / modules[0][1],
            max_tokens=int(limit) if limit else None,
            lower_case=bool(options.get("do_lower_case", False)),
            tokenizer_options=self.tokenizer_options(options),
            pooling=self.pooling(modules[1][1]),
            steps=tuple(
                NormalizeStep() if kind == "Normalize" and self.on_sentences(where) else self.dense(where)
                for kind, where in modules[2:]
            ),
            prompts=prompts,
            default_prompt=default,
        )

    def json(self, *parts: str) -> dict[str, Any]:
        file = self.path.joinpath(*parts)
        if not file.exists():
            return {}
        content = self.load(file)
        if not isinstance(content, dict):
            raise self.refuse(f"{'/'.join(parts)} is not a JSON object")
        return content

    def load(self, file: Path) -> Any:
        try:
            return json.loads(file.read_text(encoding="utf-8"))
        except (OSError, ValueError) as exc:
            raise self.refuse(f"{file.relative_to(self.path)} cannot be read: {exc}") from exc

    def modules(self) -> list[tuple[str, str]]:
        file = self.path / "modules.json"
        if not file.is_file():
            raise self.refuse("it has no modules.json, so it is no sentence-transformers folder")
        entries = self.load(file)
        if not isinstance(entries, list) or not entries or not all(isinstance(entry, dict) for entry in entries):
            raise self.refuse("modules.json is not a list of modules")
        found = []
        for entry in entries:
            kind, where = str(entry.get("type", "")), str(entry.get("path", ""))
            package, _, last = kind.rpartition(".")
            if not package.startswith("sentence_transformers") or last not in _MODULES:
                raise self.refuse(f"module type {kind!r} is not known here (known: {', '.join(_MODULES)})")
            parts = PurePosixPath(where)
            if parts.is_absolute() or ".." in parts.parts:
                raise self.refuse(f"module path {where!r} leaves the folder")
            found.append((last, where))
        return found

    def transformer(self, where: str) -> dict[str, Any]:
        folder = self.path / where
        if not (folder / "config.json").is_file():
            raise self.refuse("its transformer has no config.json")
        if (folder / "adapter_config.json").exists():
            raise self.refuse("its weights are an adapter (PEFT), which is not merged here")
        if find_weights(folder) is None:
            raise self.refuse(f"it has no weights (looked for {', '.join(_WEIGHTS)})")
        options = next((found for each in _TRANSFORMER_CONFIGS if (found := self.json(where, each))), {})
        task = options.get("transformer_task", "feature-extraction")
        text = (options.get("modality_config") or {"text": {}}).get("text")
        served = {"method": "forward", "method_output_name": "last_hidden_state"}
        if task != "feature-extraction" or text is None or served | text != served:
            raise self.refuse(f"its transformer computes {task!r} from {text!r}, not token vectors from text")
        if options.get("module_output_name", "token_embeddings") != "token_embeddings":
            raise self.refuse(f"its transformer puts out {options['module_output_name']!r}, not token vectors")
        if "message" in (options.get("modality_config") or {}):
            raise self.refuse("its texts go through a chat template, which is not applied here")
        if options.get("processing_kwargs"):
            raise self.refuse(f"it asks for processing options {sorted(options['processing_kwargs'])}")
        for group in ("model_args", "model_kwargs", "config_args", "config_kwargs"):
            if unknown := sorted(set(options.get(group) or {}) - _IGNORED_OPTIONS):
                raise self.refuse(f"it asks for model options {unknown}, which are not applied here")
        return options

    def tokenizer_options(self, options: dict[str, Any]) -> dict[str, Any]:
        merged = {**(options.get("tokenizer_args") or {}), **(options.get("processor_kwargs") or {})}
        merged = {key: value for key, value in merged.items() if key not in _IGNORED_OPTIONS}
        if unknown := sorted(set(merged) - _TOKENIZER_OPTIONS):
            raise self.refuse(f"it asks for tokenizer options {unknown}, which are not applied here")
        return merged

    def pooling(self, where: str) -> PoolingStep:
        config = self.json(where, "config.json")
        modes = config.get("pooling_mode")
        if modes is None:
            modes = [mode for key, mode in _LEGACY_MODES.items() if config.get(key)] or ["mean"]
        elif isinstance(modes, str):
            modes = [modes]
        if unknown := [mode for mode in modes if mode not in POOLING_MODES]:
            raise self.refuse(f"pooling modes {unknown} are not known here (known: {', '.join(POOLING_MODES)})")
        return PoolingStep(tuple(modes), bool(config.get("include_prompt", True)))

    def on_sentences(self, where: str) -> bool:
        config = self.json(where, "config.json")
        source = config.get("module_input_name") or "sentence_embedding"
        target = config.get("module_output_name") or source
        if (source, target) != ("sentence_embedding", "sentence_embedding"):
            raise self.refuse(f"{where} works on {source!r} and writes {target!r}; only sentence_embedding is served")
        return True

    def dense(self, where: str) -> DenseStep:
        self.on_sentences(where)
        config = self.json(where, "config.json")
        weights = find_weights(self.path / where)
        if weights is None or weights.suffix == ".json":
            raise self.refuse(f"{where} has no weights")
        activation = config.get("activation_function", "torch.nn.modules.activation.Tanh")
        if not isinstance(activation, str) or not activation.startswith("torch.nn."):
            raise self.refuse(f"{where} asks for activation {activation!r}, which is not one of torch.nn's")
        try:
            sizes = int(config["in_features"]), int(config["out_features"])
        except (KeyError, TypeError, ValueError) as exc:
            raise self.refuse(f"{where}/config.json gives no in_features and out_features") from exc
        return DenseStep(
            weights=weights,
            in_features=sizes[0],
            out_features=sizes[1],
            bias=bool(config.get("bias", True)),
            activation=activation.rpartition(".")[2],
            residual=bool(config.get("use_residual", False)),
        )


_MODULES = ("Transformer", "Pooling", "Dense", "Normalize")
