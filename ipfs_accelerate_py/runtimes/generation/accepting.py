"""Whether a request can be written at all, before anything is begun."""

from __future__ import annotations

from ipfs_accelerate_py.errors import ContextLengthExceeded, UnsupportedOperation

from .base import Prompt, Sampling
from .constraints import Constraints, GrammarMask
from .sampling import check_sampling
from .steps import StepModel

__all__ = ["accept"]


def accept(
    steps: StepModel, constraints: Constraints | None, prompt: Prompt, sampling: Sampling
) -> tuple[int, GrammarMask | None]:
    """Positions that are left for the answer, and its grammar, where it is held to one.

    Raises:
        ContextLengthExceeded: the prompt leaves no room.
        InvalidRequest: an option is out of its range, or a form cannot be read.
        UnsupportedOperation: of beams or forms, where the model does none.
    """
    check_sampling(sampling, steps.vocab_size)
    room = steps.max_positions - len(prompt.ids)
    if room < 1:
        raise ContextLengthExceeded(
            f"the prompt has {len(prompt.ids)} tokens and the model's context {steps.max_positions}: "
            "nothing can be written after it",
            status=400,
            param="prompt",
        )
    if sampling.beams > 1 and not hasattr(steps, "search"):
        raise UnsupportedOperation("this model is not searched with beams here: use beams=1")
    if sampling.constraint is None:
        return room, None
    if constraints is None:
        raise UnsupportedOperation("this model has no tokenizer, so its answers cannot be held to a form")
    return room, constraints.mask(sampling.constraint)
