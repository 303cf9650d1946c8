"""Speech out of small models: the same each time, and what they lack said."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("torch")

import numpy as np

from ipfs_accelerate_py.errors import InvalidRequest, RuntimeUnavailable
from ipfs_accelerate_py.results import Audio
from ipfs_accelerate_py.runtimes.engines.torch_engine import TorchNetwork
from ipfs_accelerate_py.runtimes.families.tiny import write_tiny
from ipfs_accelerate_py.runtimes.processing.base import Context
from ipfs_accelerate_py.runtimes.processing.sound_formats import encode_audio
from ipfs_accelerate_py.runtimes.processing.text_to_audio import TextToAudio


def speaking(kind: str, folder: Path, auto: str) -> tuple[TextToAudio, TorchNetwork]:
    import transformers

    model = getattr(transformers, auto).from_pretrained(folder).eval()
    return TextToAudio(Context(folder, model.config, auto=auto)), TorchNetwork(model, device="cpu", precision="float32")


def say(made: tuple[TextToAudio, TorchNetwork], text: Any, **options: Any) -> Audio:
    work, network = made
    pieces = work.split(text, options)
    found = work.join(work.run(network, pieces), pieces, options)
    assert isinstance(found, Audio)
    return found


def samples(audio: Audio) -> Any:
    return np.frombuffer(audio.samples.data, "<f4")


def test_vits_speaks_the_same_each_time(tmp_path: Path) -> None:
    write_tiny("vits", tmp_path, auto="AutoModelForTextToWaveform")
    made = speaking("vits", tmp_path, "AutoModelForTextToWaveform")
    one = say(made, "hello there")
    assert one.rate == 16000
    assert np.isfinite(samples(one)).all()
    assert say(made, {"text": "hello there"}) == one
    assert say(made, "goodbye") != one
    slow = say(made, "hello there", speed=0.5)
    assert len(samples(slow)) > len(samples(one))
    data, media_type = encode_audio(one, "wav")
    assert media_type == "audio/wav"
    assert len(data) == 44 + 2 * len(samples(one))
    for wrong in ("", 7, {"words": "a"}):
        with pytest.raises(InvalidRequest):
            say(made, wrong)
    with pytest.raises(InvalidRequest, match="speed"):
        say(made, "hello", speed=9)


def test_what_is_drawn_at_random_follows_from_the_seed(tmp_path: Path) -> None:
    drawn = {"noise_scale": 0.667, "noise_scale_duration": 0.8}
    write_tiny("vits", tmp_path, auto="AutoModelForTextToWaveform", changes=drawn)
    made = speaking("vits", tmp_path, "AutoModelForTextToWaveform")
    one = say(made, "hello there")
    assert say(made, "hello there", seed=0) == one
    other = say(made, "hello there", seed=1)
    assert other != one
    assert say(made, "hello there", seed=1) == other


def test_speecht5_needs_a_vocoder_and_takes_a_voice(tmp_path: Path) -> None:
    import transformers

    auto = "AutoModelForTextToSpectrogram"
    write_tiny("speecht5", tmp_path, auto=auto)
    shutil.rmtree(tmp_path / "vocoder")
    with pytest.raises(RuntimeUnavailable, match="vocoder"):
        speaking("speecht5", tmp_path, auto)
    config = transformers.SpeechT5HifiGanConfig(
        model_in_dim=80, upsample_initial_channel=16, upsample_rates=[4, 4], upsample_kernel_sizes=[8, 8],
        resblock_kernel_sizes=[3], resblock_dilation_sizes=[[1, 3]],
    )  # fmt: skip
    transformers.SpeechT5HifiGan(config).save_pretrained(tmp_path / "vocoder")
    made = speaking("speecht5", tmp_path, auto)
    one = say(made, "hello there")
    assert one.rate == 16000
    size = int(made[0].config.speaker_embedding_dim)
    voice = [float(at % 3) for at in range(size)]
    other = say(made, "hello there", speaker_embedding=voice)
    assert not np.array_equal(samples(one), samples(other))
    (tmp_path / "speaker_embeddings").mkdir()
    np.save(tmp_path / "speaker_embeddings" / "anna.npy", np.asarray(voice, np.float32))
    assert say(made, "hello there", voice="anna") == other
    with pytest.raises(InvalidRequest, match="anna"):
        say(made, "hello there", voice="bert")
    with pytest.raises(InvalidRequest, match="speaker_embedding"):
        say(made, "hello there", speaker_embedding=[1.0])


def test_other_runtimes_cannot_speak(tmp_path: Path) -> None:
    write_tiny("vits", tmp_path, auto="AutoModelForTextToWaveform")
    work, _ = speaking("vits", tmp_path, "AutoModelForTextToWaveform")
    with pytest.raises(RuntimeUnavailable, match="torch"):
        work.run(object(), work.split("hello", {}))
