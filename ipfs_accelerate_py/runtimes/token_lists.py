"""A model's tokens of texts, and texts of tokens, by its ``tokenizer.json`` alone: no weights are loaded."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import Any

from ipfs_accelerate_py.errors import InvalidRequest, RuntimeUnavailable

from .extras import require
from .folder import read_folder

__all__ = ["decode", "do_token_task", "tokenize"]


def tokenize(path: Path, texts: list[str], *, add_special_tokens: bool = True) -> list[list[dict[str, Any]]]:
    """Tokens of each text: ``id``, ``text`` (as it stands there; a special token's name), ``special``, and of those in
    the text ``start`` and ``stop``, which count characters.

    Raises:
        RuntimeUnavailable: the model has no ``tokenizer.json`` (GGUF files, tokenizers in Python).
    """
    encodings = _tokenizer(_file(path)).encode_batch(texts, add_special_tokens=add_special_tokens)
    return [
        [
            _token(text, number, token, span, special=bool(special))
            for number, token, span, special in zip(
                found.ids, found.tokens, found.offsets, found.special_tokens_mask, strict=True
            )
        ]
        for text, found in zip(texts, encodings, strict=True)
    ]


def decode(path: Path, ids: list[list[int]], *, skip_special_tokens: bool = True) -> list[str]:
    """Texts of lists of token ids. Raises as `tokenize`, and `InvalidRequest` for an id that is none."""
    tokenizer = _tokenizer(_file(path))
    size = tokenizer.get_vocab_size(with_added_tokens=True)
    if wrong := next((each for row in ids for each in row if not 0 <= each < size), None):
        raise InvalidRequest(f"the model has {size} tokens, and {wrong} is none of them", status=400, param="ids")
    return [str(each) for each in tokenizer.decode_batch(ids, skip_special_tokens=skip_special_tokens)]


def do_token_task(path: Path, task: str, inputs: list[Any], options: dict[str, Any]) -> list[Any]:
    """``tokenize`` or ``decode``. Blocks. Raises `InvalidRequest` for inputs and options that are wrong."""
    name, kind = ("add_special_tokens", str) if task == "tokenize" else ("skip_special_tokens", list)
    if wrong := sorted(options.keys() - {name}):
        raise InvalidRequest(f"{task} takes no option {wrong[0]!r}", status=400, param=wrong[0])
    flag = options.get(name, True)
    if not isinstance(flag, bool):
        raise InvalidRequest(f"{name} must be true or false", status=400, param=name)
    if not all(isinstance(each, kind) for each in inputs):
        shown = "texts" if task == "tokenize" else "lists of token ids"
        raise InvalidRequest(f"inputs must be {shown}", status=400, param="input")
    if task == "tokenize":
        return tokenize(path, inputs, add_special_tokens=flag)
    if not all(type(each) is int for row in inputs for each in row):
        raise InvalidRequest("token ids are whole numbers", status=400, param="input")
    return decode(path, inputs, skip_special_tokens=flag)


def _token(text: str, number: int, token: str, span: tuple[int, int], *, special: bool) -> dict[str, Any]:
    start, stop = span
    if special:
        return {"id": number, "text": token, "special": True, "start": None, "stop": None}
    return {"id": number, "text": text[start:stop], "special": False, "start": start, "stop": stop}


def _file(path: Path) -> Path:
    folders = [path]
    if (path / "modules.json").is_file():
        folders.append(read_folder(path).transformer)
    for folder in folders:
        if (file := folder / "tokenizer.json").is_file():
            return file
    raise RuntimeUnavailable(f"{path.name} has no tokenizer.json, by which its tokens are told")


@lru_cache(maxsize=8)
def _tokenizer(file: Path) -> Any:
    made = require("tokenizers").Tokenizer.from_file(str(file))
    made.no_truncation()
    made.no_padding()
    return made
