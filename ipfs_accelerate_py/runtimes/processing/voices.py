"""What a speaking model needs beside its weights: a vocoder, a voice, and how many samples it makes a second."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ipfs_accelerate_py.errors import RuntimeUnavailable
from ipfs_accelerate_py.runtimes.engines.loading import quiet
from ipfs_accelerate_py.runtimes.extras import require

from .base import Context
from .options import bad_option

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = ["find_vocoder", "find_voice", "sampling_rate"]

#: Transformers' vocoders, by the model type in their own config.
_VOCODERS = {
    "hifigan": "SpeechT5HifiGan",
    "speecht5_hifigan": "SpeechT5HifiGan",
    "fastspeech2_conformer_hifigan": "FastSpeech2ConformerHifiGan",
}
#: Where no configuration says it: https://huggingface.co/suno/bark, https://huggingface.co/espnet/fastspeech2_conformer.
_RATES = {
    "bark": 24000,
    "fastspeech2_conformer": 22050,
    "fastspeech2_conformer_hifigan": 22050,
    "fastspeech2_conformer_with_hifigan": 22050,
}
_FOLDERS = ("vocoder", "hifigan")
_VOICES = ("speaker_embeddings", "speakers", "voices")


def find_vocoder(context: Context) -> Any:
    """The vocoder in a checkpoint's folder (``vocoder`` or ``hifigan``), or where ``options["vocoder"]`` says.

    Raises:
        RuntimeUnavailable: there is none, or it does not load.
    """
    transformers = require("transformers")
    said = context.options.get("vocoder")
    places = [Path(str(said))] if said else [context.path / name for name in _FOLDERS]
    found = next((place for place in places if (place / "config.json").is_file()), None)
    if found is None:
        raise RuntimeUnavailable(
            "this model makes spectrograms, and the checkpoint has no vocoder that makes sound of them: put one "
            "(SpeechT5HifiGan) into its folder 'vocoder', or name its folder by the option 'vocoder' when loading"
        )
    try:
        named = str(json.loads((found / "config.json").read_text(encoding="utf-8")).get("model_type"))
        if named not in _VOCODERS:
            raise RuntimeUnavailable(
                f"{found.name} is no vocoder that is known here, but {named}: {', '.join(_VOCODERS)}"
            )
        with quiet(transformers):
            return getattr(transformers, _VOCODERS[named]).from_pretrained(str(found), local_files_only=True).eval()
    except RuntimeUnavailable:
        raise
    except Exception as exc:
        raise RuntimeUnavailable(f"the vocoder in {found.name} does not load: {exc}") from exc


def find_voice(context: Context, options: Mapping[str, Any], size: int) -> NDArray[np.float32]:
    """The vector of a voice: ``speaker_embedding`` itself, the file that ``voice`` names in the checkpoint's folder of
    voices (``speaker_embeddings/NAME.npy``), the first one there, or zeros, the model's middle."""
    np = require("numpy")
    given = options.get("speaker_embedding")
    if given is not None:
        try:
            vector = np.asarray(given, dtype=np.float32).reshape(-1)
        except (TypeError, ValueError):
            raise bad_option("speaker_embedding", f"is a list of {size} numbers") from None
    else:
        files = {file.stem: file for name in _VOICES for file in sorted((context.path / name).glob("*.npy"))}
        voice = options.get("voice")
        if voice is not None and files and voice not in files:
            raise bad_option("voice", f"is one of {', '.join(files)}, not {voice!r}")
        file = files.get(str(voice)) or next(iter(files.values()), None)
        vector = np.zeros(size, np.float32) if file is None else np.load(file, allow_pickle=False).reshape(-1)
    if vector.size != size:
        raise bad_option("speaker_embedding", f"has {vector.size} numbers, and this model takes {size}")
    return vector.astype(np.float32)  # type: ignore[no-any-return]


def sampling_rate(config: Any, reader: Any = None) -> int:
    """Samples a second, from wherever a model's configuration (or its parts', or its processor's) says it.

    Raises:
        RuntimeUnavailable: nobody says.
    """
    parts = ("audio_encoder", "codec_config", "vocoder_config", "audio_tokenizer_config", "acoustic_tokenizer_config")
    places = [config, *(getattr(config, name, None) for name in parts)]
    places += [getattr(reader, "feature_extractor", None), getattr(reader, "audio_processor", None)]
    for place in places:
        for name in ("sampling_rate", "sample_rate"):
            value = place.get(name) if isinstance(place, dict) else getattr(place, name, None)
            if isinstance(value, int) and value > 0:
                return value
    if (known := _RATES.get(getattr(config, "model_type", ""))) is not None:
        return known
    raise RuntimeUnavailable("the checkpoint does not say how many samples a second its sound has")
