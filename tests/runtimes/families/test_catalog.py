"""What the catalog says of types: tasks, classes, types that are gone, and checkpoints on disk."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from ipfs_accelerate_py.errors import RuntimeUnavailable, UnsupportedOperation
from ipfs_accelerate_py.runtimes.families.catalog import family_of, known_types, listed_types, open_source, own_auto
from ipfs_accelerate_py.runtimes.families.gone import GONE, WITHOUT_CLASS, gone
from ipfs_accelerate_py.runtimes.families.tiny import write_tiny


@pytest.mark.parametrize(
    ("model_type", "task"),
    [
        ("bert", "fill-mask"),
        ("gpt2", "text-generation"),
        ("t5", "text2text-generation"),
        ("marian", "translation"),
        ("pegasus", "summarization"),
        ("whisper", "automatic-speech-recognition"),
        ("wav2vec2", "automatic-speech-recognition"),
        ("vits", "text-to-audio"),
        ("vit", "image-classification"),
        ("clip", "zero-shot-image-classification"),
        ("detr", "object-detection"),
        ("llava", "image-text-to-text"),
        ("qwen2_vl", "image-text-to-text"),
        ("videomae", "video-classification"),
        ("xclip", "video-classification"),
        ("clap", "zero-shot-audio-classification"),
        ("dpr", "sentence-similarity"),
        ("time_series_transformer", "time-series-forecasting"),
    ],
)
def test_a_type_has_the_task_it_was_made_for(model_type: str, task: str) -> None:
    assert task in family_of(model_type).tasks
    if model_type not in ("clap", "xclip"):
        assert family_of(model_type).tasks[0] == task


@pytest.mark.parametrize("model_type", ["encodec", "decision_transformer", "clvp", "pe_video_encoder", "regnet"])
def test_a_network_that_takes_no_text_makes_no_vectors_of_texts(model_type: str) -> None:
    """Transformers says "text" of every class that does not say itself what it takes."""
    assert not {"sentence-similarity", "feature-extraction"} & set(family_of(model_type).tasks)


def test_a_bare_network_of_pictures_is_known_by_its_argument() -> None:
    assert family_of("radio").tasks == ("image-feature-extraction",)
    assert "image-feature-extraction" in family_of("regnet").tasks


@pytest.mark.parametrize(
    ("model_type", "task", "reason"),
    [
        ("pop2piano", "automatic-speech-recognition", "it writes notes, not words"),
        ("qwen2_5_omni", "text-to-audio", "its speech is that of a conversation"),
        ("instructblipvideo", "image-text-to-text", "it reads films"),
    ],
)
def test_what_tables_say_of_a_type_and_is_not_done_is_told_before_anything_is_loaded(
    model_type: str, task: str, reason: str
) -> None:
    family = family_of(model_type)
    assert task not in family.tasks
    with pytest.raises(UnsupportedOperation, match=f"does not do '{task}' \\({reason}"):
        family.auto(task)


def test_every_listed_type_is_known_or_gone() -> None:
    known = set(known_types())
    lost = [name for name in listed_types() if name not in known]
    assert len(listed_types()) == 300
    assert sorted(lost) == sorted([*GONE, *WITHOUT_CLASS])
    assert len(known) > 600


def test_a_gone_type_says_since_when() -> None:
    assert gone("bert") is None
    said = gone("nezha")
    assert said is not None
    assert "5.0.0" in said
    assert "llama" in (gone("code_llama") or "")
    with pytest.raises(RuntimeUnavailable, match=r"'jukebox' is gone.*5\.0\.0"):
        own_auto("jukebox")


def test_architectures_decide_what_a_checkpoint_is(tmp_path: Path) -> None:
    write_tiny("bert", tmp_path, auto="AutoModelForSequenceClassification", labels=("bad", "good"))
    source, task = open_source("it", tmp_path)
    assert task.name == "text-classification"
    assert source.auto == "AutoModelForSequenceClassification"
    assert open_source("it", tmp_path, "fill-mask")[0].auto == "AutoModelForMaskedLM"
    with pytest.raises(UnsupportedOperation, match="does not do 'image-classification'"):
        open_source("it", tmp_path, "image-classification")
    with pytest.raises(UnsupportedOperation, match="no task 'juggling'"):
        open_source("it", tmp_path, "juggling")


def test_one_label_makes_a_reranker(tmp_path: Path) -> None:
    write_tiny("bert", tmp_path, auto="AutoModelForSequenceClassification", labels=("relevant",))
    assert open_source("it", tmp_path)[1].name == "text-ranking"


def test_a_checkpoint_of_a_gone_or_unknown_type(tmp_path: Path) -> None:
    config = tmp_path / "config.json"
    config.write_text(json.dumps({"model_type": "realm"}))
    with pytest.raises(RuntimeUnavailable, match=r"'realm' is gone"):
        open_source("it", tmp_path)
    config.write_text(json.dumps({"model_type": "of-tomorrow"}))
    with pytest.raises(RuntimeUnavailable, match="a newer release may have it"):
        open_source("it", tmp_path)
    config.write_text("{")
    with pytest.raises(RuntimeUnavailable, match=r"no readable config\.json"):
        open_source("it", tmp_path)


def test_a_gguf_file_is_a_text_generator(tmp_path: Path) -> None:
    source, task = open_source("it", tmp_path / "model.gguf")
    assert source.config is None
    assert task.name == "text-generation"


@pytest.mark.parametrize(
    ("model_type", "tasks"),
    [("videoprism", ("video-classification",)), ("videomt", ()), ("sam3_video", ()), ("seggpt", ())],
)
def test_what_takes_films_or_a_prompt_is_not_asked_with_one_image(model_type: str, tasks: tuple[str, ...]) -> None:
    assert family_of(model_type).tasks == tasks
