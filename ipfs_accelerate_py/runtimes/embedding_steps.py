"""An embedding model's steps, for the batch scheduler: texts to tokens, tokens to vectors."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import Any

from ipfs_accelerate_py.errors import AccelerateError, ContextLengthExceeded, InvalidRequest

from .encoder import EncoderModel
from .scheduled import Steps
from .tokenizing import Encoded, TextEncoder

__all__ = ["embedding_steps"]


class _Text:
    """A tokenised text; ``skip`` is how many tokens at its start pooling leaves out."""

    __slots__ = ("encoded", "group", "length", "skip")

    def __init__(self, encoded: Encoded, skip: int) -> None:
        self.encoded = encoded
        self.skip = skip
        self.length = len(encoded.ids)
        self.group: Hashable = None


def embedding_steps(encoder: EncoderModel, tokenizer: TextEncoder, *, start: Callable[[], None]) -> Steps:
    """What the threads run. Options of a request are ``skip`` (tokens) and ``truncate``; an outcome is a vector."""
    limit = tokenizer.max_tokens

    def prepare(texts: Sequence[str], first: int, options: Mapping[str, Any]) -> list[tuple[_Text]]:
        encoded = tokenizer.encode(texts)
        if not options["truncate"]:
            for index, text in enumerate(encoded, first):
                if text.full_length > limit:
                    raise ContextLengthExceeded(
                        f"input {index} has at least {text.full_length} tokens, and this model takes at most {limit}",
                        status=400,
                        param="input",
                    )
        skip = options["skip"]
        return [(_Text(text, skip),) for text in encoded]

    def forward(texts: Sequence[_Text]) -> Any:
        return encoder.forward(
            [(text.encoded, text.skip) for text in texts], pad_id=tokenizer.pad_id, pad_type_id=tokenizer.pad_type_id
        )

    def collect(vectors: Any, texts: Sequence[_Text]) -> Any:
        return encoder.collect(vectors)

    def join(rows: Sequence[Any], texts: Sequence[_Text], options: Mapping[str, Any]) -> Any:
        return rows[0]

    def unusable(index: int, cause: BaseException) -> AccelerateError:
        return InvalidRequest(f"input {index} is no text a tokenizer can read: {cause}", status=400, param="input")

    return Steps(prepare, forward, collect, join, start, unusable=unusable)
