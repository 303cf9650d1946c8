"""What speech models other than Whisper are given: features of a recording, and the tokens that an answer begins with.

Three manners: encoder-decoders with a feature extractor (their decoder begins with one token or a language's), those
whose processor makes a transcription request, and language models that are asked in words.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Protocol

from ipfs_accelerate_py.errors import RuntimeUnavailable
from ipfs_accelerate_py.runtimes.extras import lacks, require

from .base import Context
from .options import bad_option
from .recordings import feature_extractor

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = ["SpeechPrompts", "speech_prompts"]

# What a language model that hears is asked, where its processor has no request of its own.
_ASK = "can you transcribe the speech into a written format?"


class SpeechPrompts(Protocol):
    """One manner."""

    rate: int
    tokenizer: Any
    #: Ends an answer, where the model's own settings do not say.
    end: int | None
    #: Whether the arrays keep their first axis, which counts parts of a recording (`Prompt.flat`).
    flat: bool

    def make(self, samples: NDArray[np.float32], options: Mapping[str, Any]) -> tuple[list[int], dict[str, Any]]:
        """The answer's first tokens, and the arrays of a recording (at ``rate``), without the batch's axis."""
        ...

    def most(self, seconds: float) -> int:
        """Most tokens of an answer to a recording of that length."""
        ...


def speech_prompts(context: Context, generation: Any) -> SpeechPrompts:
    """The manner of a checkpoint.

    Raises:
        RuntimeUnavailable: it lacks a processor.
        MissingExtra: its processor needs a package that is not installed.
    """
    kind = str(context.config.model_type)
    if context.config.is_encoder_decoder and kind not in ("canary", "cohere_asr"):
        return _Plain(context, generation)
    return _Requested(context, generation)


class _Plain:
    """An encoder-decoder and its feature extractor."""

    flat = False

    def __init__(self, context: Context, generation: Any) -> None:
        transformers = require("transformers")
        self.extractor = feature_extractor(context)
        self.rate = int(self.extractor.sampling_rate)
        try:
            self.tokenizer = transformers.AutoTokenizer.from_pretrained(
                str(context.path), local_files_only=True, trust_remote_code=context.trust_remote_code
            )
        except Exception as exc:
            raise RuntimeUnavailable(f"the checkpoint has no tokenizer that loads: {str(exc).splitlines()[0]}") from exc
        self._config = context.config
        self._generation = generation
        self._inputs = context.inputs
        self.end = _first(generation.eos_token_id)
        # Seamless' codes are told apart by what they are codes of.
        self._languages: dict[str, int] = dict(
            getattr(generation, "text_decoder_lang_to_code_id", None)
            or getattr(self.tokenizer, "lang_code_to_id", None)
            or {}
        )

    def make(self, samples: NDArray[np.float32], options: Mapping[str, Any]) -> tuple[list[int], dict[str, Any]]:
        made = self.extractor(samples, sampling_rate=self.rate, return_tensors="np")
        features = {name: array[0] for name, array in made.items()}
        if self._inputs is not None:
            features = {name: array for name, array in features.items() if name in self._inputs}
        start = _first(self._generation.decoder_start_token_id)
        start = getattr(self._config, "decoder_start_token_id", None) if start is None else start
        language = self._language(options)
        if self._config.model_type.startswith("seamless"):
            return [language] if language is not None else [], features
        if start is None:
            return [], features
        return [int(start)] + ([language] if language is not None else []), features

    def _language(self, options: Mapping[str, Any]) -> int | None:
        wanted = options.get("language")
        if not self._languages:
            if wanted not in (None, ""):
                raise bad_option("language", "is not for this model: it knows one alone")
            return None
        if wanted in (None, ""):
            return next((self._languages[code] for code in ("eng", "en") if code in self._languages), None)
        if wanted not in self._languages:
            raise bad_option("language", f"is {wanted!r}, which this model does not know: {', '.join(self._languages)}")
        return int(self._languages[wanted])

    def most(self, seconds: float) -> int:
        # Moonshine's authors: at most 6.5 tokens a second, else it repeats itself. Others count in letters.
        return round(seconds * (6.5 if self._config.model_type.startswith("moonshine") else 25)) + 8


class _Requested:
    """A processor that makes a whole request of a recording, or a language model that is asked in words."""

    flat = True

    def __init__(self, context: Context, generation: Any) -> None:
        transformers = require("transformers")
        try:
            self.processor = transformers.AutoProcessor.from_pretrained(
                str(context.path), local_files_only=True, trust_remote_code=context.trust_remote_code
            )
        except ImportError as exc:
            raise lacks("the checkpoint's processor", exc) from exc
        except Exception as exc:
            raise RuntimeUnavailable(f"the checkpoint has no processor that loads: {str(exc).splitlines()[0]}") from exc
        found: list[Any] = [getattr(self.processor, name, None) for name in ("feature_extractor", "audio_processor")]
        self.rate = int(next((each.sampling_rate for each in found if hasattr(each, "sampling_rate")), 16000))
        self.tokenizer = self.processor.tokenizer
        self.end = _first(generation.eos_token_id)
        self._name = context.path.name
        request = getattr(self.processor, "apply_transcription_request", None)
        self._takes = set(inspect.signature(request).parameters) if request is not None else set()

    def make(self, samples: NDArray[np.float32], options: Mapping[str, Any]) -> tuple[list[int], dict[str, Any]]:
        language, prompt = options.get("language") or None, options.get("prompt") or None
        settings: dict[str, Any] = {}
        if "model_id" in self._takes:  # Mistral's: it wants the audio as a file's.
            settings = {"model_id": self._name, "format": ["wav"], "sampling_rate": self.rate}
        for name, value in (("language", language), ("source_language", language), ("prompt", prompt)):
            if value is not None and name in self._takes:
                settings[name] = value
        try:
            if self._takes:
                made = self.processor.apply_transcription_request(audio=[samples], **settings)
            elif "language" in inspect.signature(self.processor.__call__).parameters:
                made = self.processor(
                    audio=samples, language=language or "en", sampling_rate=self.rate, return_tensors="pt"
                )
            else:
                made = self.processor(self._asked(prompt), audio=samples, return_tensors="pt")
        except ImportError as exc:
            raise lacks("the checkpoint's processor", exc) from exc
        except (ValueError, TypeError) as exc:
            raise RuntimeUnavailable(f"the checkpoint's processor makes no request of a recording: {exc}") from exc
        arrays = {name: value.numpy() for name, value in made.items() if hasattr(value, "numpy")}
        ids = arrays.pop("decoder_input_ids", None)
        if ids is None:
            ids = arrays.pop("input_ids")
            arrays.pop("attention_mask", None)
        return [int(each) for each in ids[0]], arrays

    def _asked(self, prompt: Any) -> str:
        said = f"{getattr(self.processor, 'audio_token', '<|audio|>')}{prompt or _ASK}"
        if not getattr(self.tokenizer, "chat_template", None):
            return said
        messages = [{"role": "user", "content": said}]
        return str(self.tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True))

    def most(self, seconds: float) -> int:
        return round(seconds * 12) + 64


def _first(value: Any) -> int | None:
    if isinstance(value, list | tuple):
        value = value[0] if value else None
    return None if value is None else int(value)
