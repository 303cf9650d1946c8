"""Labels that the caller chooses: images and videos against texts of his own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ipfs_accelerate_py.results import Labels
from ipfs_accelerate_py.runtimes.extras import require

from .arrays import best_labels, sigmoid, softmax
from .base import Piece
from .options import words
from .pictures import refuse

__all__ = ["among", "candidate_labels", "encode", "ranked", "run_together", "sentences", "shared_text"]


def among(given: Any, name: str, options: Mapping[str, Any]) -> Any:
    """What the input (if it is a mapping) or else the options have under a name; None where neither has it."""
    if isinstance(given, Mapping) and given.get(name) is not None:
        return given[name]
    return options.get(name)


def candidate_labels(given: Any, options: Mapping[str, Any]) -> list[str]:
    """``candidate_labels`` of the input or the options: texts, or one text with commas between them."""
    told = {"candidate_labels": among(given, "candidate_labels", options)}
    return words(told, "candidate_labels", "the labels among which the model chooses")


def sentences(labels: Sequence[str], given: Any, options: Mapping[str, Any], default: str) -> list[str]:
    """A sentence for each label, by ``hypothesis_template``, where ``{}`` stands for the label."""
    template = among(given, "hypothesis_template", options)
    template = default if template is None else template
    if not isinstance(template, str) or "{}" not in template:
        raise refuse(f"hypothesis_template must be a text with {{}} in it, not {template!r}", "hypothesis_template")
    return [template.replace("{}", label) for label in labels]


def encode(tokenizer: Any, texts: Sequence[str], config: Any, takes: Any, lock: Any) -> dict[str, Any]:
    """Arrays of texts, padded as the model was trained: to the full length where it has no mask for padding.

    SigLIP's text tower was trained on 64 positions, all of them read (https://huggingface.co/docs/transformers/model_doc/siglip),
    VideoPrism's on as many.
    """
    settings: dict[str, Any] = {"padding": True, "truncation": True}
    longest = getattr(getattr(config, "text_config", None), "max_position_embeddings", None)
    kind = getattr(config, "model_type", "")
    if "siglip" in kind or kind == "videoprism":
        settings.update(padding="max_length", max_length=min(64, longest or 64))
    elif longest and tokenizer.model_max_length > longest:
        settings["max_length"] = longest
    with lock:  # a compiled tokenizer keeps the settings of padding in itself
        made = tokenizer(list(texts), return_tensors="np", **settings)
    return {name: value for name, value in made.items() if takes(name)}


#: Names of the arrays of texts, which pictures of one batch share.
TEXT = ("input_ids", "attention_mask", "token_type_ids", "position_ids")


def shared_text(pieces: Sequence[Piece]) -> dict[str, Any]:
    """A batch of pieces that have the same texts: pictures stacked, texts once."""
    np = require("numpy")
    return {
        name: value if name in TEXT else np.stack([piece.features[name] for piece in pieces])
        for name, value in pieces[0].features.items()
    }


def run_together(pieces: Sequence[Piece], outputs: Mapping[str, Any], *names: str) -> list[dict[str, Any]]:
    """Each picture's logits over the texts, from whichever of the outputs the model has."""
    for name in names:
        if name in outputs:
            return [{"logits": outputs[name][at]} for at in range(len(pieces))]
    raise refuse(f"the model gives none of {', '.join(names)}, so it cannot compare pictures with texts", "task")


def ranked(logits: Any, labels: Sequence[str], each_alone: bool, top: int | None) -> Labels:
    """Labels by score, the best first: each by itself (sigmoid), or one among all (softmax)."""
    scores = sigmoid(logits) if each_alone else softmax(logits)
    return Labels(labels=best_labels(labels, scores.reshape(-1).tolist(), top))
