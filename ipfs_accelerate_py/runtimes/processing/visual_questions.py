"""Questions about a picture: of what it shows, or of a document's words and where they stand."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from typing import Any

from ipfs_accelerate_py.errors import RuntimeUnavailable
from ipfs_accelerate_py.results import Label, Labels
from ipfs_accelerate_py.runtimes.extras import require

from .arrays import best_labels, label_names, sigmoid, softmax
from .base import Context, Piece
from .candidates import among
from .document_questions import DocumentQuestions
from .options import choice, whole
from .pictures import picture, refuse, refused
from .processors import processor
from .vision import ImageTask

__all__ = ["DocumentQuestions", "VisualQuestions"]


class VisualQuestions(ImageTask):
    """Input: a mapping of ``image`` and ``question``. Options: ``top_k`` (5), ``function_to_apply``; of a model that
    writes its answer (BLIP) ``max_tokens`` (20). A written answer's score is the probability of its text."""

    def __init__(self, context: Context) -> None:
        self.context = context
        self.config = context.config
        self.processor = processor(context)
        self.images = self.processor.image_processor
        self.lock = threading.Lock()
        self.runs = self.config.model_type.startswith("blip")

    def split(self, given: Any, options: Mapping[str, Any]) -> list[Piece]:
        question = among(given, "question", options) or among(given, "text", options)
        if not isinstance(question, str) or not question.strip():
            raise refuse("input must have a 'question' beside the 'image'", "question")
        image = picture(given)
        try:
            with self.lock:
                made = self.processor(images=image, text=question, return_tensors="np")
        except Exception as exc:  # a processor raises whatever its library does
            raise refused("processor", "this image and question", exc) from exc
        longest = getattr(self.config, "max_position_embeddings", None)
        if longest and made["input_ids"].shape[1] > longest:
            raise refuse(f"question has {made['input_ids'].shape[1]} tokens; the model reads {longest}", "question")
        features = {name: value[0] for name, value in made.items() if self.takes(name)}
        return [self.piece(features, whole(options, "max_tokens", 20, low=1))]

    def run(self, network: Any, pieces: Sequence[Piece]) -> list[dict[str, Any]]:
        if not self.runs:
            return super().run(network, pieces)
        model = getattr(network, "model", None)
        if model is None:
            raise RuntimeUnavailable("answers that a model writes come from the torch runtime only: use runtime torch")
        torch = require("torch")
        batch = {name: torch.from_numpy(value).to(model.device) for name, value in self.collate(pieces).items()}
        with torch.inference_mode():
            made = model.generate(
                **batch,
                max_new_tokens=max(piece.note for piece in pieces),
                do_sample=False,
                num_beams=1,
                output_logits=True,
                return_dict_in_generate=True,
            )
        return [self._written(made, at, piece.note) for at, piece in enumerate(pieces)]

    def _written(self, made: Any, at: int, most: int) -> dict[str, Any]:
        np = require("numpy")
        steps = len(made.logits)
        ids = made.sequences[at, -steps:].tolist()[:most]
        ends = {self.processor.tokenizer.sep_token_id, self.processor.tokenizer.eos_token_id}
        sure, kept = 0.0, []
        for step, token in enumerate(ids):
            sure += float(np.log(softmax(made.logits[step][at].float().cpu().numpy())[token]))
            if token in ends:
                break
            kept.append(token)
        return {"ids": kept, "score": float(np.exp(sure))}

    def join(self, rows: Sequence[Mapping[str, Any]], pieces: Sequence[Piece], options: Mapping[str, Any]) -> Labels:
        row = rows[0]
        if self.runs:
            text = self.processor.tokenizer.decode(row["ids"], skip_special_tokens=True).strip()
            return Labels(labels=[Label(text, row["score"])])
        # ViLT was trained to give each of several right answers a share of its own.
        function = choice(options, "function_to_apply", ("sigmoid", "softmax"), "sigmoid")
        scores = {"sigmoid": sigmoid, "softmax": softmax}[function](row["logits"])
        names = label_names(self.config, len(scores))
        return Labels(labels=best_labels(names, scores.tolist(), whole(options, "top_k", 5, low=1)))
