"""Answers that follow a JSON schema, a regular expression or a grammar: at every step only tokens that keep to it.

By llguidance (https://github.com/guidance-ai/llguidance). Grammars are compiled once and copied for each answer.
"""

from __future__ import annotations

import json
import threading
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from ipfs_accelerate_py.errors import InvalidRequest, UnsupportedOperation
from ipfs_accelerate_py.runtimes.extras import require

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = ["KINDS", "Constraints", "GrammarMask"]

#: Names that `Sampling.constraint` may have, one of them.
KINDS = ("json_schema", "json_object", "regex", "grammar")
_KEPT = 64
#: Between the parts of JSON: what a model that indents writes, and no more, or one could write blanks for ever.
_BLANKS = r"[ \n]{0,20}"


class GrammarMask:
    """See `Mask`: one answer's state in its grammar."""

    __slots__ = ("_bits", "_matcher")

    def __init__(self, matcher: Any, size: int) -> None:
        import numpy as np

        self._matcher = matcher
        self._bits = np.zeros((1, (size + 31) // 32), np.int32)

    def allow(self, logits: NDArray[np.float32]) -> None:
        import numpy as np

        require("llguidance.numpy").fill_next_token_bitmask(self._matcher, self._bits)
        self._check()
        allowed = np.unpackbits(self._bits.view(np.uint8), bitorder="little")[: len(logits)]
        logits[allowed == 0] = -np.inf

    def accept(self, token: int) -> None:
        self._matcher.consume_token(token)
        self._check()

    def _check(self) -> None:
        if self._matcher.is_error():
            raise RuntimeError(f"the grammar could not be followed: {self._matcher.get_error()}")

    @property
    def finished(self) -> bool:
        """Whether nothing can follow but the end."""
        return bool(self._matcher.is_stopped())


class Constraints:
    """Grammars of one model's tokenizer. Thread-safe.

    Args:
        tokenizer: Transformers' tokenizer, a fast one.
        vocab_size: length of a row of logits, which may be more than the tokenizer's tokens.
        ends: ids that end an answer.
    """

    def __init__(self, tokenizer: Any, vocab_size: int, ends: Sequence[int]) -> None:
        self._tokenizer, self._size, self._ends = tokenizer, vocab_size, list(ends)
        self._inner: Any = None
        self._lock = threading.Lock()
        self._compiled: OrderedDict[str, Any] = OrderedDict()

    def mask(self, constraint: Mapping[str, Any]) -> GrammarMask:
        """A new answer's mask.

        Raises:
            InvalidRequest: the constraint is none, or its schema, expression or grammar cannot be read.
            UnsupportedOperation: the tokenizer's tokens are not pieces of text that can be put together.
        """
        name, value = _one(constraint)
        key = json.dumps([name, value], sort_keys=True, default=str)
        with self._lock:
            matcher = self._compiled.get(key)
            if matcher is None:
                matcher = self._compiled[key] = self._compile(name, value)
                if len(self._compiled) > _KEPT:
                    self._compiled.popitem(last=False)
            self._compiled.move_to_end(key)
            return GrammarMask(matcher.deep_copy(), self._size)

    def _compile(self, name: str, value: Any) -> Any:
        matcher = require("llguidance").LLMatcher
        try:
            if name == "regex":
                grammar = matcher.grammar_from_regex(_text(name, value))
            elif name == "grammar":
                grammar = matcher.grammar_from_lark(_text(name, value))
            else:
                schema = {"type": "object"} if name == "json_object" else value
                if not isinstance(schema, Mapping | bool):
                    raise ValueError("a JSON schema is an object")
                grammar = matcher.grammar_from_json_schema(
                    json.dumps(schema), overrides={"whitespace_flexible": True, "whitespace_pattern": _BLANKS}
                )
        except (ValueError, TypeError) as exc:
            raise InvalidRequest(f"{name} cannot be used: {exc}", status=400, param=name) from exc
        made = matcher(self._made_tokenizer(), grammar, log_level=0)
        if made.is_error():
            raise InvalidRequest(f"{name} cannot be used: {made.get_error()}", status=400, param=name)
        return made

    def _made_tokenizer(self) -> Any:
        if self._inner is not None:
            return self._inner
        llguidance_hf = require("llguidance.hf")
        if not self._ends:
            raise UnsupportedOperation("this model has no token that ends an answer, so none can be held to a form")
        backend = getattr(self._tokenizer, "backend_tokenizer", None)
        kind = type(backend.model).__name__ if backend is not None else "slow"
        if kind not in ("BPE", "Unigram"):
            raise UnsupportedOperation(
                f"this model's tokenizer ({kind}) does not keep text as it is, so its answers cannot be held to a form"
            )
        try:
            self._inner = llguidance_hf.from_tokenizer(self._tokenizer, n_vocab=self._size, eos_token=self._ends)
        except Exception as exc:
            raise UnsupportedOperation(f"answers of this model's tokenizer cannot be held to a form: {exc}") from exc
        return self._inner

    def literal(self, text: str) -> str:
        """``text`` in a Lark grammar: the special token of that name, or the text itself."""
        added = getattr(self._tokenizer, "added_tokens_decoder", {})
        for number, token in added.items():
            if token.content == text and token.special:
                return f"<[{number}]>"
        return json.dumps(text, ensure_ascii=False)


def _one(constraint: Mapping[str, Any]) -> tuple[str, Any]:
    named = [(name, value) for name, value in constraint.items() if value is not None and value is not False]
    if len(named) != 1 or named[0][0] not in KINDS:
        raise InvalidRequest(
            f"a constraint is one of {', '.join(KINDS)}; not {', '.join(map(repr, constraint)) or 'nothing'}",
            status=400,
            param="constraint",
        )
    return named[0]


def _text(name: str, value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{name} is a text, not {type(value).__name__}")
    return value
