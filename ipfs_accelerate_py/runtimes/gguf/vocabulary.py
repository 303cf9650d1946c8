"""A checkpoint's tokenizer as GGUF's metadata: byte-level BPE, as its ``tokenizer.json`` has it."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ipfs_accelerate_py.errors import RuntimeUnavailable

__all__ = ["Vocabulary", "read_vocabulary"]

# llama.cpp's types of tokens: enum llama_token_type.
NORMAL, CONTROL, USER_DEFINED, UNUSED = 1, 3, 4, 5

# llama.cpp splits text before BPE by regular expressions that it knows by name ("pre"): those of the families that can
# be written, whose tokenizers all split as one of these does.
_PRE = {"gpt2": "gpt-2", "llama": "llama-bpe", "mistral": "tekken", "qwen2": "qwen2", "qwen3": "qwen2"}


@dataclass(frozen=True, slots=True)
class Vocabulary:
    """Tokens in order of their ids, the type of each, merges as ``"a b"``, and the name of the splitting."""

    tokens: list[str]
    types: list[int]
    merges: list[str]
    pre: str


def read_vocabulary(folder: Path, model_type: str, size: int) -> Vocabulary:
    """Read ``tokenizer.json``; ids up to ``size`` that it lacks become unused ones.

    Raises:
        RuntimeUnavailable: there is none, or it is no byte-level BPE.
    """
    try:
        data: dict[str, Any] = json.loads((folder / "tokenizer.json").read_text(encoding="utf-8"))
        model = data["model"]
        kind = model.get("type")
    except (OSError, ValueError, KeyError) as exc:
        raise RuntimeUnavailable(
            f"{folder.name} has no readable tokenizer.json, which GGUF's vocabulary is made of"
        ) from exc
    if kind != "BPE" or model.get("byte_fallback"):
        raise RuntimeUnavailable(
            f"{folder.name} has a tokenizer of the kind {kind}"
            f"{' with byte fallback' if model.get('byte_fallback') else ''}; only byte-level BPE is written as GGUF"
        )
    tokens = [f"[unused{at}]" for at in range(size)]
    types = [UNUSED] * size
    for token, at in model["vocab"].items():
        if at < size:
            tokens[at], types[at] = token, NORMAL
    for added in data.get("added_tokens", ()):
        if added["id"] < size:
            tokens[added["id"]] = added["content"]
            types[added["id"]] = CONTROL if added.get("special") else USER_DEFINED
    merges = [each if isinstance(each, str) else " ".join(each) for each in model["merges"]]
    return Vocabulary(tokens, types, merges, _PRE.get(model_type, "gpt-2"))
