"""Which models take padding, and on which side: what batches of texts depend on.

Most models ignore padding that the attention mask marks. Those that do not are named here with the reason, found by
running each alone and in a batch; their pieces run only with pieces of equal length, or alone.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from typing import Any

from .base import Context

__all__ = ["ALONE", "EQUAL_LENGTHS", "LEFT", "PaddingRule", "padding_rule"]

#: Model types whose pieces run only with others of their length: padding changes what the text itself gets.
EQUAL_LENGTHS: Mapping[str, str] = {
    "axk2": "its indexer takes a fixed number of positions, and width decides among equal ones (small models: alike)",
    "canine": "its convolutions over characters reach past the text's end",
    "convbert": "its convolutions run over hidden states that no mask has cleared, and reach past the text's end",
    "fnet": "mixes all positions by a Fourier transform and has no mask",
    "funnel": "pools neighbouring positions, padding among them",
    "hy_v4": "its indexer takes a fixed number of positions, and width decides among equal ones (small models: alike)",
    "mobilebert": "each embedding is joined with its neighbours', padding among them",
    "nystromformer": "its landmarks are means over stretches of the whole width, and its convolution sees padding",
    "prophetnet": "its hidden states of n-grams have positions on an axis that rows are not cut along",
    "t5gemma": "measured: hidden states of a text in a batch differ by 1.4 from its own (why is not known)",
    "t5gemma2": "measured: class scores in a batch differ from single ones, as t5gemma's do",
    "yoso": "measured: hidden states in a batch differ by 0.7; its convolution reaches past the text's end",
}

#: Model types that take one piece at a time: what a piece gets depends on the others in the batch.
ALONE: Mapping[str, str] = {}

#: Model types padded at the beginning: their heads read the last position.
LEFT: Mapping[str, str] = {
    "xlnet": "its summary is the last position's, and its positions are relative",
}


@dataclass(frozen=True, slots=True)
class PaddingRule:
    """How one model's pieces may be put together.

    Attributes:
        left: padding goes before the text.
        masked: the model takes an attention mask.
        equal: only pieces of equal length run together.
        alone: none runs with any other.
    """

    left: bool = False
    masked: bool = True
    equal: bool = False
    alone: bool = False

    def group(self, length: int) -> Hashable:
        """What pieces must share to run together: equal for those that may."""
        if self.alone:
            return object()
        return length if self.equal else None


def padding_rule(context: Context) -> PaddingRule:
    """The rule for a model, from its type and the inputs that it takes."""
    config: Any = context.config
    kind = str(getattr(config, "model_type", ""))
    masked = context.inputs is None or "attention_mask" in context.inputs
    return PaddingRule(left=kind in LEFT, masked=masked, equal=kind in EQUAL_LENGTHS or not masked, alone=kind in ALONE)
