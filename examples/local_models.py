"""Models on this machine: what is here, and each asked for its own task. Nothing is downloaded.

python examples/local_models.py [FOLDER]

FOLDER has a model in each of its folders; without it, those are asked that are installed or in Hugging Face's cache.
"""

from __future__ import annotations

import io
import wave
from typing import Any

from ipfs_accelerate_py import Client
from ipfs_accelerate_py.errors import AccelerateError

#: An input for each of the tasks that are shown, and options.
INPUTS: dict[str, tuple[Any, dict[str, Any]]] = {
    "sentence-similarity": ("A cat sits outside.", {}),
    "fill-mask": ("The capital of France is [MASK].", {"top_k": 3}),
    "text-classification": ("I like this.", {}),
    "text-generation": ("Once upon a time", {"max_tokens": 12, "temperature": 0}),
    "text2text-generation": ("translate English to German: Hello", {"max_tokens": 12}),
}


def main(folder: str = "") -> None:
    with Client("local", models=folder or None) as client:
        for model in client.models():
            task = next(iter(model.raw["tasks"]), "")
            print(f"{model.id}: {model.raw['model_type']}, {task or 'task unknown'}, {model.raw['size']} bytes")
            if task == "automatic-speech-recognition":
                given: tuple[Any, dict[str, Any]] | None = (silence(), {})
            else:
                given = INPUTS.get(task)
            if given is None:
                continue
            try:
                reply = client.run(model.id, given[0], task=task, **given[1])
            except AccelerateError as error:
                print(f"  {type(error).__name__}: {error}")
                continue
            shown = str(reply.results[0])
            print(f"  {shown if len(shown) < 100 else shown[:97] + '...'}")


def silence() -> bytes:
    """Half a second of it, as a WAV file."""
    out = io.BytesIO()
    with wave.open(out, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(16000)
        file.writeframes(bytes(16000))
    return out.getvalue()


if __name__ == "__main__":
    import sys

    main(*sys.argv[1:2])
