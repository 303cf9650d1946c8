"""Tasks of recordings beside Transformers' own pipelines, alone and in a batch."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("torch")

from ipfs_accelerate_py.errors import InvalidRequest, MissingExtra, RuntimeUnavailable
from ipfs_accelerate_py.results import Features, Labels, Transcript, Vector
from ipfs_accelerate_py.runtimes.families.tiny import write_tiny
from ipfs_accelerate_py.runtimes.processing.base import Context
from ipfs_accelerate_py.runtimes.processing.recordings import feature_extractor
from ipfs_accelerate_py.runtimes.processing.speech_prompts import _Requested
from ipfs_accelerate_py.runtimes.processing.speech_times import segments_of

from .small import Served, bert, gap, tone, wordpiece

CTC = ("automatic-speech-recognition", "Wav2Vec2ForCTC")
TASKS = [
    CTC,
    ("audio-classification", "Wav2Vec2ForSequenceClassification"),
    ("audio-frame-classification", "Wav2Vec2ForAudioFrameClassification"),
    ("audio-xvector", "Wav2Vec2ForXVector"),
]


def sounds() -> list[Any]:
    return [tone(0.5), tone(1.1, 500), tone(0.6, 800)]


@pytest.mark.parametrize("norm", ["layer", "group"])
@pytest.mark.parametrize(("task", "head"), TASKS, ids=[task for task, _ in TASKS])
def test_a_batch_gives_each_recording_what_it_gets_alone(
    wav2vec2: Callable[..., Served], task: str, head: str, norm: str
) -> None:
    model = wav2vec2(task, head, norm)
    together = model(*sounds())
    # A group norm over time sees padding, and so does the x-vector's mean: they run with their equals only.
    assert model.batches == ([3] if norm == "layer" and task != "audio-xvector" else [1, 1, 1])
    for one, other in zip(together, model.alone(*sounds()), strict=True):
        if isinstance(one, Features) and isinstance(other, Features):
            import numpy as np

            pair = [np.frombuffer(each.tensors[0].data, "<f4") for each in (one, other)]
            assert pair[0] == pytest.approx(pair[1], abs=1e-4)
        else:
            assert gap(one, other) < 1e-5
    assert together[0] != together[1]


@pytest.mark.parametrize("times", ["word", "char"])
def test_speech_is_that_of_the_pipeline(wav2vec2: Callable[..., Served], pipeline: Any, times: str) -> None:
    model = wav2vec2(*CTC)
    reference = pipeline("automatic-speech-recognition", model)
    for sound in sounds():
        (found,) = model(sound, return_timestamps=times)
        expected = reference(sound.copy(), return_timestamps=times)
        assert isinstance(found, Transcript)
        assert found.text == expected["text"].strip()
        chunks = [each for each in expected["chunks"] if each["text"].strip()]
        assert [each.text for each in found.segments] == [each["text"] for each in chunks]
        for segment, chunk in zip(found.segments, chunks, strict=True):
            assert (segment.start, segment.end) == pytest.approx(chunk["timestamp"], abs=1e-6)
        assert found.duration == pytest.approx(len(sound) / 16000)


def test_long_speech_is_heard_in_overlapping_windows(wav2vec2: Callable[..., Served], pipeline: Any) -> None:
    model = wav2vec2(*CTC)
    sound = tone(7)
    (found,) = model(sound, chunk_length_s=2, timestamp_granularities=["word", "segment"])
    assert model.batches[0] > 3
    assert isinstance(found, Transcript)
    expected = pipeline("automatic-speech-recognition", model)(sound.copy(), chunk_length_s=2)
    assert found.text == expected["text"].strip()
    assert found.words
    assert " ".join(each.text for each in found.segments) == " ".join(each.text for each in found.words)
    assert found.segments[-1].end <= found.duration
    with pytest.raises(InvalidRequest, match="stride_length_s"):
        model(sound, chunk_length_s=2, stride_length_s=1)
    with pytest.raises(InvalidRequest, match="return_timestamps"):
        model(sound, return_timestamps="sentence")
    with pytest.raises(InvalidRequest, match="too short"):
        model(sound[:100])


def test_classes_are_those_of_the_pipeline(wav2vec2: Callable[..., Served], pipeline: Any) -> None:
    model = wav2vec2("audio-classification", "Wav2Vec2ForSequenceClassification", num_labels=4)
    reference = pipeline("audio-classification", model)
    for sound, found in zip(sounds(), model(*sounds()), strict=True):
        expected = reference(sound.copy(), top_k=4)
        assert isinstance(found, Labels)
        assert [each.label for each in found.labels] == [each["label"] for each in expected]
        assert [each.score for each in found.labels] == pytest.approx([each["score"] for each in expected], abs=1e-5)
    (whole,) = model(tone(3), chunk_length_s=1, top_k=2)
    assert model.batches == [3]
    assert isinstance(whole, Labels)
    assert len(whole.labels) == 2


def test_a_voice_is_a_unit_vector(wav2vec2: Callable[..., Served]) -> None:
    import numpy as np

    (found,) = wav2vec2("audio-xvector", "Wav2Vec2ForXVector")(tone(0.5))
    assert isinstance(found, Vector)
    assert np.linalg.norm(found.values) == pytest.approx(1)
    with pytest.raises(InvalidRequest, match="too short"):
        wav2vec2("audio-xvector", "Wav2Vec2ForXVector")(tone(0.2))


@pytest.mark.filterwarnings("ignore:At least one mel filter")
def test_labels_of_ones_own_fit_a_recording(tmp_path: Any) -> None:
    import transformers

    write_tiny("clap", tmp_path, auto="AutoModel")
    model = Served("zero-shot-audio-classification", tmp_path, transformers.ClapModel.from_pretrained(tmp_path))
    asked = {"candidate_labels": ["a fox", "new york city"]}
    together = model(tone(0.5), tone(3), **asked)
    assert gap(together, model.alone(tone(0.5), tone(3), **asked)) < 1e-5
    assert gap(together[0], together[1]) > 1e-6
    with pytest.raises(InvalidRequest, match="candidate_labels"):
        model(tone(0.5))


def test_words_become_segments_at_pauses_and_sentences() -> None:
    from ipfs_accelerate_py.results import Segment

    words = [Segment(0, 0.4, "so"), Segment(0.5, 1, "it"), Segment(1.1, 1.5, "is."), Segment(1.6, 2, "and")]
    words += [Segment(4, 4.2, "then")]
    found = segments_of(words)
    assert [each.text for each in found] == ["so it is.", "and", "then"]
    assert (found[0].start, found[0].end) == (0, 1.5)


def test_a_checkpoint_without_a_feature_extractor_is_refused(tmp_path: Any) -> None:
    wordpiece(tmp_path)
    with pytest.raises(RuntimeUnavailable, match="feature extractor"):
        Served("audio-classification", tmp_path, bert("BertModel", tmp_path))


@pytest.mark.parametrize(
    ("reader", "kind"), [("AutoFeatureExtractor", feature_extractor), ("AutoProcessor", _Requested)]
)
def test_a_package_that_a_checkpoints_ears_need_is_named(
    reader: str, kind: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*args: Any, **named: Any) -> Any:
        raise ImportError("It requires the torchaudio library")

    monkeypatch.setattr(f"transformers.{reader}.from_pretrained", refuse)
    context = Context(tmp_path, None)
    with pytest.raises(MissingExtra, match="torchaudio"):
        kind(context) if kind is feature_extractor else kind(context, None)
