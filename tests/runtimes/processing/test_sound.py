"""Recordings in every form that is read, at any rate, and the files that speech is handed out as."""

from __future__ import annotations

import base64
import io
import sys
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("soundfile")

import numpy as np

from ipfs_accelerate_py.errors import InvalidRequest, UnsupportedOperation
from ipfs_accelerate_py.runtimes.processing.sound import read_sound, resample
from ipfs_accelerate_py.runtimes.processing.sound_formats import SPEECH_FORMATS, encode_sound

from .small import tone


def file(samples: Any, rate: int, kind: str, coding: str) -> bytes:
    import soundfile

    out = io.BytesIO()
    soundfile.write(out, samples, rate, format=kind, subtype=coding)
    return out.getvalue()


@pytest.mark.parametrize(
    ("kind", "coding", "near"),
    [
        ("WAV", "PCM_16", 1e-4), ("WAV", "PCM_24", 1e-5), ("WAV", "PCM_U8", 1e-2), ("WAV", "FLOAT", 1e-6),
        ("FLAC", "PCM_16", 1e-4), ("OGG", "VORBIS", 0.25), ("MP3", "MPEG_LAYER_III", 0.1),
    ],
)  # fmt: skip
def test_files_are_read_and_mixed_to_one_channel(kind: str, coding: str, near: float) -> None:
    left, right = tone(0.5, 300), tone(0.5, 400)
    found = read_sound(file(np.stack([left, right], axis=1), 16000, kind, coding), 16000)
    assert found.seconds == pytest.approx(0.5, abs=0.01)
    middle = slice(500, 7500)
    assert found.samples[middle] == pytest.approx(((left + right) / 2)[middle], abs=near)


def test_plain_wav_is_read_without_soundfile(monkeypatch: pytest.MonkeyPatch) -> None:
    samples = tone(0.1)
    for coding in ("PCM_U8", "PCM_16", "PCM_24", "PCM_32"):
        data = file(samples, 16000, "WAV", coding)
        with monkeypatch.context() as patch:
            patch.setitem(sys.modules, "soundfile", None)
            found = read_sound(data, 16000)
        assert found.samples == pytest.approx(samples, abs=0.01 if coding == "PCM_U8" else 1e-4)


def test_arrays_lists_urls_and_paths_are_read(tmp_path: Path) -> None:
    samples = tone(0.2)
    data = file(samples, 16000, "WAV", "FLOAT")
    (tmp_path / "a.wav").write_bytes(data)
    encoded = base64.b64encode(data).decode()
    forms: list[Any] = [samples, samples.tolist(), (samples, 16000), {"array": samples, "sampling_rate": 16000}]
    forms += [{"audio": data}, encoded, f"data:audio/wav;base64,{encoded}", tmp_path / "a.wav", np.stack([samples] * 2)]
    forms += [np.stack([samples] * 2, axis=1), (samples * 32767).astype("i2")]
    for form in forms:
        assert read_sound(form, 16000).samples == pytest.approx(samples, abs=1e-4)
    assert len(read_sound((samples, 8000), 16000).samples) == 2 * len(samples)


@pytest.mark.parametrize(
    "wrong",
    [b"nothing", b"RIFF", b"", [], "talk.wav", {"rate": 1}, {"array": [0.0]}, None, [[1], [2, 3]], 7,
     [float("nan")], ([0.0] * 9, 3), np.zeros((40, 50)), Path("/nowhere/a.wav")],
)  # fmt: skip
def test_what_is_no_recording_is_refused(wrong: Any) -> None:
    with pytest.raises(InvalidRequest) as raised:
        read_sound(wrong, 16000)
    assert raised.value.param == "input"


@pytest.mark.parametrize(("rate", "wanted"), [(44100, 16000), (8000, 16000), (48000, 16000), (22050, 24000)])
def test_another_rate_keeps_what_both_can_hold(rate: int, wanted: int) -> None:
    def wave(at: int) -> Any:
        times = np.arange(at) / at
        return (0.5 * np.sin(2 * np.pi * 440 * times) + 0.3 * np.sin(2 * np.pi * 2500 * times)).astype("f4")

    found = resample(wave(rate), rate, wanted)
    inside = slice(wanted // 50, -wanted // 50)
    assert len(found) == wanted
    assert found[inside] == pytest.approx(wave(wanted)[inside], abs=1e-4)
    scipy = pytest.importorskip("scipy.signal")
    assert found[inside] == pytest.approx(scipy.resample_poly(wave(rate), wanted, rate)[inside], abs=5e-3)


def test_what_the_new_rate_cannot_hold_is_gone() -> None:
    high = np.sin(2 * np.pi * 11_000 * np.arange(48_000) / 48_000).astype("f4")
    assert np.abs(resample(high, 48_000, 16_000)[500:-500]).max() < 1e-4


@pytest.mark.parametrize("kind", SPEECH_FORMATS)
def test_speech_is_written_in_every_format(kind: str) -> None:
    samples = tone(0.5, rate=22050)
    data, media_type = encode_sound(samples, 22050, kind)
    assert media_type.startswith("audio/")
    if kind == "pcm":  # 24000 a second, 16 bits.
        assert len(data) == 24000
        return
    found = read_sound(data, 22050).samples
    assert len(found) == pytest.approx(len(samples), rel=0.1)
    # Lossy ones lose the noise, and Opus its highest tones.
    assert np.corrcoef(found[1000:9000], samples[1000:9000])[0, 1] > 0.95


def test_formats_that_cannot_be_made_say_so() -> None:
    with pytest.raises(UnsupportedOperation, match="aac"):
        encode_sound(tone(0.1), 16000, "aac")
    with pytest.raises(InvalidRequest, match="wav"):
        encode_sound(tone(0.1), 16000, "doc")
    loud, _ = encode_sound([2.0, -2.0], 24000, "pcm")
    assert list(np.frombuffer(loud, "<i2")) == [32767, -32767]
