"""A text as weights of the words of a vocabulary, most of them zero: what a masked language model trained for it gives.

Source: SPLADE v2, Formal et al. 2021 (arXiv:2109.10086), equation 2: log(1 + relu(logits)), the highest of all tokens.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ipfs_accelerate_py.errors import RuntimeUnavailable
from ipfs_accelerate_py.results import Features, Tensor
from ipfs_accelerate_py.runtimes.extras import require

from .arrays import tensor
from .base import Piece
from .text_features import TextPieces

__all__ = ["SparseVectors"]


class SparseVectors(TextPieces):
    """`Features` of two tensors of equal length: ``indices`` (INT64, ids of tokens, rising) and ``values`` (FP32, above
    zero).

    Options: ``max_length``, ``truncation``.
    """

    def join(self, rows: Sequence[Mapping[str, Any]], pieces: Sequence[Piece], options: Mapping[str, Any]) -> Features:
        np = require("numpy")
        logits = rows[0].get("logits")
        if logits is None:
            raise RuntimeUnavailable("the model gives no logits of tokens, of which a sparse vector is made")
        weights = np.log1p(np.maximum(logits, 0)).max(axis=0)
        indices = np.nonzero(weights)[0].astype("<i8")
        found = Tensor("indices", [len(indices)], "INT64", indices.tobytes())
        return Features([found, tensor("values", weights[indices])])
