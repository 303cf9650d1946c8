"""``/audio/speech``, ``/audio/transcriptions`` and ``/audio/translations``."""

from __future__ import annotations

from typing import Any, Final

import msgspec

from ipfs_accelerate_py.simulator.media import RATE, duration, samples, wav
from ipfs_accelerate_py.simulator.multipart import Form, form_of
from ipfs_accelerate_py.simulator.text import count_tokens, generate
from ipfs_accelerate_py.simulator.wire import Answer, Request, Settings

from .checks import Rules, a_number, a_string, body_of, check, missing, model_of, one_of, refuse
from .common import FINGERPRINT

__all__ = ["speech", "transcription", "translation"]

_encode = msgspec.json.Encoder().encode

# --- speech ------------------------------------------------------------------------------------------------------

_TYPES: Final = {
    "aac": "audio/aac",
    "flac": "audio/flac",
    "mp3": "audio/mpeg",
    "mulaw": "audio/basic",
    "ogg": "audio/ogg",
    "opus": "audio/opus",
    "pcm": "audio/pcm",
    "wav": "audio/wav",
}
#: No encoder comes with Python: of these formats only how a file begins is real.
_MAGIC: Final = {"flac": b"fLaC", "mp3": b"ID3\x04\0\0\0\0\0\0", "ogg": b"OggS", "opus": b"OggS"}
_SPEECH: Final[Rules] = {
    "input": a_string,
    "instructions": a_string,
    "response_format": one_of(*_TYPES),
    "speed": a_number(0.25, 4),
}


def speech(request: Request, settings: Settings) -> Answer:
    body = body_of(request)
    model_of(body, settings)
    check(body, _SPEECH)
    for name in ("input", "voice"):
        if body.get(name) is None:
            missing(name)
    text = body["input"]
    if not text:
        refuse("Invalid 'input': string too short. Expected a string with minimum length 1.", "input")
    if len(text) > 4096:
        refuse("Invalid 'input': string too long. Expected a string with maximum length 4096.", "input")
    form = body.get("response_format") or "mp3"
    seconds = min(2.0, len(text) / 20) / (body.get("speed") or 1)
    sound = samples(f"{settings.seed}:{body['voice']}:{text}".encode("utf-8", "replace"), seconds)
    if form == "wav":
        sound = wav(sound, RATE)
    elif form != "pcm":
        sound = _MAGIC.get(form, b"") + sound
    return Answer(body=sound, content_type=_TYPES[form])


# --- transcriptions ----------------------------------------------------------------------------------------------

_FORMATS: Final = ("json", "text", "srt", "verbose_json", "vtt")
#: Words in a segment.
_SEGMENT: Final = 8


def transcription(request: Request, settings: Settings) -> Answer:
    return _heard(request, settings, translate=False)


def translation(request: Request, settings: Settings) -> Answer:
    return _heard(request, settings, translate=True)


def _heard(request: Request, settings: Settings, *, translate: bool) -> Answer:
    form = form_of(request)
    file = form.files.get("file")
    if file is None:
        missing("file")
    model = model_of({"model": form.last("model")}, settings)
    if not file.data:
        refuse("Audio file is too short. Minimum audio length is 0.1 seconds.", "file", "audio_too_short")
    if "." not in file.filename:
        refuse(
            "Unrecognized file format. Supported formats: ['flac', 'm4a', 'mp3', 'mp4', 'mpeg', 'mpga', 'oga', 'ogg', "
            "'wav', 'webm']",
            "file",
        )
    wanted = form.last("response_format") or "json"
    diarized = "diarize" in model
    one_of(*_FORMATS, *(["diarized_json"] if diarized else []))("response_format", wanted)
    _temperature(form)
    granularities = form.fields.get("timestamp_granularities", [])
    if granularities and wanted != "verbose_json":
        refuse(
            "timestamp_granularities is only supported with response_format 'verbose_json'", "timestamp_granularities"
        )
    words = _words(file.data, form, settings, translate)
    return _answer(wanted, words, duration(file.data), form, model, translate=translate)


def _temperature(form: Form) -> None:
    given = form.last("temperature")
    if given is None:
        return
    try:
        a_number(0, 1)("temperature", float(given))
    except ValueError:
        refuse("Invalid type for 'temperature': expected a decimal, but got a string instead.", "temperature")


def _words(sound: bytes, form: Form, settings: Settings, translate: bool) -> list[str]:
    if isinstance(settings.reply, str):
        return settings.reply.split()
    if settings.reply is not None:
        return settings.reply({name: values[-1] for name, values in form.fields.items()}).split()
    mark = b"en:" if translate else f"{form.last('language') or ''}:".encode()
    return "".join(generate(mark + sound, settings.tokens, settings.seed)).split()


def _answer(wanted: str, words: list[str], length: float, form: Form, model: str, *, translate: bool) -> Answer:
    text = " ".join(words)
    each = length / max(1, len(words))
    stretches = [
        (at * each, min(at + _SEGMENT, len(words)) * each, " ".join(words[at : at + _SEGMENT]))
        for at in range(0, len(words), _SEGMENT)
    ]
    if wanted == "text":
        return Answer(body=text.encode() + b"\n", content_type="text/plain; charset=utf-8")
    if wanted in ("srt", "vtt"):
        document = _subtitles(stretches, vtt=wanted == "vtt")
        return Answer(body=document.encode(), content_type="text/plain; charset=utf-8")
    whole: dict[str, Any] = {"text": text, "system_fingerprint": FINGERPRINT}
    if wanted == "diarized_json":
        whole |= {"task": "transcribe", "duration": length}
        whole["segments"] = [
            {"type": "transcript.text.segment", "id": f"seg_{number}", "start": start, "end": end, "text": part}
            | {"speaker": "AB"[number % 2]}
            for number, (start, end, part) in enumerate(stretches)
        ]
    elif wanted == "verbose_json":
        language = "english" if translate else form.last("language") or "english"
        whole |= {"task": "translate" if translate else "transcribe", "language": language, "duration": length}
        granularities = form.fields.get("timestamp_granularities") or ["segment"]
        if "segment" in granularities:
            whole["segments"] = [_segment(number, *stretch) for number, stretch in enumerate(stretches)]
        if "word" in granularities:
            whole["words"] = [
                {"word": word, "start": at * each, "end": (at + 1) * each} for at, word in enumerate(words)
            ]
    if "gpt" in model:
        sounds, texts = max(1, int(length * 10)), count_tokens(form.last("prompt") or "")
        whole["usage"] = {
            "type": "tokens",
            "input_tokens": sounds + texts,
            "input_token_details": {"audio_tokens": sounds, "text_tokens": texts},
            "output_tokens": len(words),
            "total_tokens": sounds + texts + len(words),
        }
    elif not translate:
        whole["usage"] = {"type": "duration", "seconds": length}
    return Answer(body=_encode(whole))


def _segment(number: int, start: float, end: float, text: str) -> dict[str, Any]:
    return {
        "id": number,
        "seek": 0,
        "start": start,
        "end": end,
        "text": (" " if number else "") + text,
        "tokens": [50364 + number],
        "temperature": 0.0,
        "avg_logprob": -0.25,
        "compression_ratio": 1.1,
        "no_speech_prob": 0.01,
    }


def _subtitles(stretches: list[tuple[float, float, str]], *, vtt: bool) -> str:
    def clock(seconds: float) -> str:
        whole, thousandths = divmod(round(seconds * 1000), 1000)
        text = f"{whole // 3600:02d}:{whole // 60 % 60:02d}:{whole % 60:02d}.{thousandths:03d}"
        return text if vtt else text.replace(".", ",")

    cues = [
        ("" if vtt else f"{number}\n") + f"{clock(start)} --> {clock(end)}\n{text}\n"
        for number, (start, end, text) in enumerate(stretches, 1)
    ]
    return ("WEBVTT\n\n" if vtt else "") + "\n".join(cues)
