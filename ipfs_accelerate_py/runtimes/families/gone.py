"""Types that Transformers had and has no more, and since when.

Release 5.0.0 (January 2026) has none of the models that 4.57 still had in ``models/deprecated``: "delete already
deprecated models", https://github.com/huggingface/transformers/pull/42235; seen in the wheels of 4.57.1 and 5.0.0.
Those of ``LATER`` were deprecated in May 2024, for 4.42 (https://github.com/huggingface/transformers/pull/30781: "at
least a year old and fewer than 5,000 downloads in the past 30 days"), so the last release to maintain them was 4.41;
``EARLIER`` are those that the folder had before.
"""

from __future__ import annotations

from collections.abc import Mapping

__all__ = ["GONE", "WITHOUT_CLASS", "gone"]

#: Deprecated by the time of 4.41.
EARLIER = ("mctct", "open-llama", "retribert", "trajectory_transformer", "transfo-xl", "van")

#: Deprecated with 4.42.
LATER = (
    *("deta", "efficientformer", "ernie_m", "gptsan-japanese", "graphormer", "jukebox", "mega", "nat", "nezha"),
    *("qdqbert", "realm", "speech_to_text_2", "tvlt", "vit_hybrid", "xlm-prophetnet"),
)

#: What comes nearest today, where something does.
INSTEAD: Mapping[str, str] = {
    "deta": "deformable_detr",
    "nezha": "bert",
    "qdqbert": "bert, quantised when it is loaded (precision int8)",
    "ernie_m": "ernie, or xlm-roberta for many languages",
    "mega": "modernbert",
    "open-llama": "llama",
    "speech_to_text_2": "speech_to_text, or whisper",
    "mctct": "wav2vec2",
    "van": "convnext",
    "vit_hybrid": "vit",
    "efficientformer": "levit or swiftformer",
    "retribert": "distilbert",
    "transfo-xl": "xlnet",
    "xlm-prophetnet": "prophetnet, or mbart for many languages",
    "jukebox": "musicgen",
}

#: Names of the older list that Transformers still has, but no Auto class makes a model of.
WITHOUT_CLASS: Mapping[str, str] = {
    "nougat": "it is a processor's name: Nougat's checkpoints are of type vision-encoder-decoder",
    "rag": "it is two models and an index of passages, which no Auto class puts together",
}

_REMOVED = "Transformers removed it with 5.0.0 (January 2026)"

#: By type, what became of it.
GONE: Mapping[str, str] = {
    **dict.fromkeys(EARLIER, f"{_REMOVED}, where it had been deprecated since before 4.42"),
    **dict.fromkeys(LATER, f"{_REMOVED}, where it had been deprecated since 4.42 (June 2024)"),
    # Its table of configurations had the name only to find the tokenizer: the models' own type was always llama.
    "code_llama": "it is a tokenizer's name, not a model type's: Code Llama's checkpoints are of type llama",
}


def gone(model_type: str) -> str | None:
    """What became of a type that Transformers no longer has, in a sentence; None where nothing is known."""
    if model_type in WITHOUT_CLASS:
        return f"model type {model_type!r} has no Auto class: {WITHOUT_CLASS[model_type]}"
    found = GONE.get(model_type)
    if found is None:
        return None
    instead = f"; nearest today: {INSTEAD[model_type]}" if model_type in INSTEAD else ""
    return f"model type {model_type!r} is gone: {found}{instead}"
