"""Texts to sound: speech and music, by models that make a waveform in one pass or write it by Transformers' generate.

Only PyTorch runs these: what they do between text and sound (durations, codes, several decoders, a vocoder) is a loop
of their own code, which other engines do not have.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ipfs_accelerate_py.errors import RuntimeUnavailable
from ipfs_accelerate_py.results import Audio
from ipfs_accelerate_py.runtimes.extras import require

from .arrays import tensor
from .base import Context, Piece, Processing
from .options import bad_input, bad_option, number, whole
from .voices import find_vocoder, find_voice, sampling_rate

__all__ = ["TextToAudio"]

# Types whose generate passes its arguments on to models inside, which have settings of their own.
_INNER = frozenset(("bark", "seamless_m4t", "seamless_m4t_v2"))
# Where outputs have their waveform, by name, in order.
_WAVES = ("waveform", "audio", "audio_values", "speech_outputs", "audio_codes_decoded", "sequences")


class TextToAudio(Processing):
    """Input: a text, or ``{"text": ...}``. Result: `Audio`. Each text is spoken by itself: a batch would change it.

    Options: ``voice`` (a preset of the checkpoint's, the number of a speaker, or the name of a file of the folder's),
    ``speaker_embedding`` (numbers; SpeechT5), ``language`` (SeamlessM4T), ``seed`` (0: what is drawn at random, so that
    a text sounds the same each time), ``max_tokens`` (of a model that writes), ``temperature``, ``speed`` (0.25 to 4,
    VITS).
    """

    runs = True

    def __init__(self, context: Context) -> None:
        self.context = context
        self.config = context.config
        self._kind = str(self.config.model_type)
        self._reader = _reader(context)
        spectral = context.auto == "AutoModelForTextToSpectrogram"
        self._vocoder: Any = find_vocoder(context) if spectral else None
        self.rate = sampling_rate(self.config if self._vocoder is None else self._vocoder.config, self._reader)

    def split(self, given: Any, options: Mapping[str, Any]) -> list[Piece]:
        text = given.get("text") if isinstance(given, Mapping) else given
        if not isinstance(text, str) or not text.strip():
            raise bad_input("input is a text that is not empty")
        settings: dict[str, Any] = {}
        if self._kind == "bark":
            settings = {"max_length": 256, "add_special_tokens": False, "return_token_type_ids": False}
            if (voice := options.get("voice")) is not None:
                settings["voice_preset"] = voice
        if self._kind == "csm" and not text.startswith("["):
            text = f"[{options.get('voice') or 0}]{text}"
        if self._kind.startswith("seamless"):
            settings = {"src_lang": options.get("language") or "eng"}
        try:
            made = self._reader(text=text, return_tensors="pt", **settings)
        except (ValueError, KeyError, TypeError) as exc:
            raise bad_input(f"input cannot be read by this model: {exc}") from exc
        features = {name: value for name, value in made.items() if value is not None}
        ids = features.get("input_ids")
        count = int(ids.shape[-1]) if ids is not None else len(text)
        if not count:
            raise bad_input("input has nothing that this model can speak")
        # Never two together: each draws its own random numbers, and ends where it likes.
        return [Piece(features, count, object(), dict(options))]

    def collate(self, pieces: Sequence[Piece]) -> dict[str, Any]:
        return pieces[0].features

    def run(self, network: Any, pieces: Sequence[Piece]) -> list[dict[str, Any]]:
        model = getattr(network, "model", None)
        if model is None:
            raise RuntimeUnavailable("sound is made by PyTorch alone here: load the model with runtime torch")
        torch = require("torch")
        rows = []
        for piece in pieces:
            seed = whole(piece.note, "seed", 0)
            devices = [network.device] if str(network.device).startswith("cuda") else []
            with torch.inference_mode(), torch.random.fork_rng(devices):
                torch.manual_seed(seed)
                wave = self._speak(torch, model, piece.features, piece.note)
            rows.append({"waveform": wave.detach().float().cpu().numpy().reshape(-1)})
        return rows

    def join(self, rows: Sequence[Mapping[str, Any]], pieces: Sequence[Piece], options: Mapping[str, Any]) -> Audio:
        return Audio(tensor("waveform", rows[0]["waveform"]), self.rate)

    def _speak(self, torch: Any, model: Any, features: Mapping[str, Any], options: Mapping[str, Any]) -> Any:
        inputs = {name: _placed(value, model) for name, value in features.items()}
        if self._kind == "speecht5":
            voice = find_voice(self.context, options, int(self.config.speaker_embedding_dim))
            speaker = torch.as_tensor(voice, dtype=model.dtype, device=model.device)[None]
            vocoder = self._vocoder.to(model.device)
            return model.generate_speech(inputs["input_ids"], speaker, vocoder=vocoder)
        if not model.can_generate():
            return self._forward(model, inputs, options)
        settings = self._settings(model, options)
        return _wave(model.generate(**inputs, **settings), model)

    def _forward(self, model: Any, inputs: dict[str, Any], options: Mapping[str, Any]) -> Any:
        settings: dict[str, Any] = {}
        if self._kind == "vits":
            settings = _speaker(options, int(self.config.num_speakers))
            speed = number(options, "speed", 1.0, low=0.25, high=4.0)
            usual, model.speaking_rate = model.speaking_rate, speed * float(self.config.speaking_rate)
            try:
                return model(**inputs, **settings).waveform[0]
            finally:
                model.speaking_rate = usual
        made = model(**inputs, **settings)
        if self._vocoder is not None:
            return self._vocoder.to(model.device)(made.spectrogram)
        return made.waveform[0]

    def _settings(self, model: Any, options: Mapping[str, Any]) -> dict[str, Any]:
        if self._kind.startswith("seamless"):
            made: dict[str, Any] = {"tgt_lang": options.get("language") or "eng"}
            if options.get("voice") is not None:
                made["speaker_id"] = whole(options, "voice", 0)
            return made
        if self._kind in _INNER:
            return {}
        made = {"max_new_tokens": whole(options, "max_tokens", 256, low=1)}
        if (heat := number(options, "temperature", -1.0, high=4.0)) >= 0:
            made |= {"do_sample": heat > 0, **({"temperature": heat} if heat else {})}
        if self._kind == "csm":
            made["output_audio"] = True
        return made


def _reader(context: Context) -> Any:
    """What turns a text into the model's inputs: its processor, or its tokenizer."""
    transformers = require("transformers")
    reasons = []
    # MusicGen's and SpeechT5's processors want sound as well.
    plain = context.config.model_type in ("musicgen", "musicgen_melody", "speecht5", "vits")
    for kind in ("AutoTokenizer",) if plain else ("AutoProcessor", "AutoTokenizer"):
        try:
            return getattr(transformers, kind).from_pretrained(
                str(context.path), local_files_only=True, trust_remote_code=context.trust_remote_code
            )
        except Exception as exc:
            reasons.append(str(exc).splitlines()[0])
    raise RuntimeUnavailable(f"the checkpoint has neither processor nor tokenizer that loads: {reasons[-1]}")


def _placed(value: Any, model: Any) -> Any:
    if isinstance(value, Mapping):
        return {name: _placed(each, model) for name, each in value.items()}
    if not hasattr(value, "to"):
        return value
    return value.to(model.device, model.dtype) if value.is_floating_point() else value.to(model.device)


def _speaker(options: Mapping[str, Any], count: int) -> dict[str, Any]:
    voice = options.get("voice")
    if count <= 1 or voice is None:
        return {}
    if not str(voice).isdigit() or int(voice) >= count:
        raise bad_option("voice", f"is the number of a speaker, 0 to {count - 1}, not {voice!r}")
    return {"speaker_id": int(voice)}


def _wave(made: Any, model: Any) -> Any:
    """The waveform in what generate gave."""
    for name in _WAVES:
        value = made.get(name) if isinstance(made, Mapping) else getattr(made, name, None)
        if value is not None:
            made = value
            break
    while isinstance(made, list | tuple):
        if not made or made[0] is None:
            raise RuntimeUnavailable(f"{type(model).__name__} gave no sound")
        made = made[0]
    while made.ndim > 1:
        made = made[0]
    if not made.is_floating_point():
        raise RuntimeUnavailable(
            f"{type(model).__name__} gives codes of sound, and the checkpoint brings nothing that decodes them"
        )
    return made
