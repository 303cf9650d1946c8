"""Models of images and films that take or give something else than most of their kind."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

import numpy as np  # noqa: E402
import torch  # noqa: E402

from ipfs_accelerate_py.errors import MissingExtra, RuntimeUnavailable  # noqa: E402
from ipfs_accelerate_py.runtimes.engines.base import Source  # noqa: E402
from ipfs_accelerate_py.runtimes.engines.loading import load_model  # noqa: E402
from ipfs_accelerate_py.runtimes.families.tiny import tiny_model, write_tiny  # noqa: E402
from ipfs_accelerate_py.runtimes.processing.base import Context  # noqa: E402
from ipfs_accelerate_py.runtimes.processing.borrowed import borrowed  # noqa: E402
from ipfs_accelerate_py.runtimes.processing.film_processors import film_processor  # noqa: E402
from ipfs_accelerate_py.runtimes.processing.object_detection import boxes  # noqa: E402

from .vision_models import (  # noqa: E402
    SIZE,
    VISION,
    Model,
    array,
    assert_batched_equals_single,
    assert_same,
    image,
    tokenizer,
)

PICTURES = [image(40, 30, 1), image(40, 30, 2), image(32, 32, 3)]


def films(count: int) -> list[list[Any]]:
    return [[image(48, 40, seed * 20 + at) for at in range(4)] for seed in range(count)]


def scores(result: Any) -> dict[str, float]:
    return {each.label: each.score for each in result.labels}


def test_a_network_that_puts_all_images_into_one_row_gets_one_at_a_time(tmp_path: Path) -> None:
    network = transformers.PixtralVisionModel(transformers.PixtralVisionConfig(**VISION))
    images = transformers.ViTImageProcessorPil(size=SIZE)
    assert_batched_equals_single(Model(tmp_path, "image-feature-extraction", network, images), PICTURES)


def test_what_is_hidden_of_an_image_does_not_change_from_call_to_call(tmp_path: Path) -> None:
    network = transformers.ViTMAEModel(transformers.ViTMAEConfig(**VISION, mask_ratio=0.5))
    model = Model(tmp_path, "image-feature-extraction", network, transformers.ViTImageProcessorPil(size=SIZE))
    first, again = model.run(PICTURES[:1])[0], model.run(PICTURES[:1])[0]
    assert_same(first, again)
    assert array(first.tensors[0]).shape == (9, 16)  # half of 16 patches, and the token of the class
    assert_batched_equals_single(model, PICTURES)
    (other,) = model.run(PICTURES[:1], {"seed": 1})
    assert np.abs(array(other.tensors[0]) - array(first.tensors[0])).max() > 0.1


def test_a_classifier_that_calls_its_logits_otherwise(tmp_path: Path) -> None:
    images = borrowed("PPLCNetImageProcessor")(resize_short=64, crop_size=64)
    model = Model(tmp_path, "image-classification", tiny_model("pp_lcnet"), images)
    (result,) = model.run(PICTURES[:1], {"function_to_apply": "none"})
    with torch.no_grad():
        expected = model.model(**images(PICTURES[0], return_tensors="pt")).last_hidden_state[0]
    assert [scores(result)[f"LABEL_{at}"] for at in range(2)] == pytest.approx(expected.tolist(), rel=1e-4)


def test_depth_by_a_network_that_does_not_measure_the_field_of_view(tmp_path: Path) -> None:
    images = borrowed("DepthProImageProcessor")(size={"height": 128, "width": 128})
    model = Model(tmp_path, "depth-estimation", tiny_model("depth_pro"), images)
    (result,) = model.run(PICTURES[:1])
    with torch.no_grad():
        found = model.model(**images(PICTURES[0], return_tensors="pt"))
    assert found.field_of_view is None
    expected = images.post_process_depth_estimation(found, [(30, 40)])[0]["predicted_depth"].numpy()
    np.testing.assert_allclose(array(result.depth), expected, rtol=1e-3)


def test_films_are_read_by_the_checkpoints_own_video_processor(tmp_path: Path) -> None:
    reader = borrowed("VJEPA2VideoProcessor")(crop_size=32)
    network = tiny_model("vjepa2", auto="AutoModelForVideoClassification")
    model = Model(tmp_path, "video-classification", network, reader)
    assert not (tmp_path / "preprocessor_config.json").exists()
    given = films(3)
    arrays = reader(videos=[np.stack(given[0])], do_sample_frames=False, return_tensors="pt")
    with torch.no_grad():
        expected = model.model(**arrays).logits.softmax(-1)[0]
    (result,) = model.run(given[:1], {"num_frames": 4})
    assert [scores(result)[f"LABEL_{at}"] for at in range(2)] == pytest.approx(expected.tolist(), abs=1e-5)
    assert_batched_equals_single(model, given, {"num_frames": 4})


def test_a_video_processor_that_is_not_there_is_said(tmp_path: Path) -> None:
    context = Context(tmp_path, transformers.VJEPA2Config())
    assert film_processor(context) is None
    (tmp_path / "video_preprocessor_config.json").write_text('{"video_processor_type": "NoVideoProcessor"}')
    with pytest.raises(RuntimeUnavailable, match="NoVideoProcessor"):
        film_processor(context)


def test_videoprism_chooses_among_the_callers_texts_whatever_else_is_in_the_batch(tmp_path: Path) -> None:
    network = tiny_model("videoprism")
    images = transformers.VideoMAEImageProcessorPil(size={"shortest_edge": 64}, crop_size={"height": 64, "width": 64})
    words = tokenizer(model_max_length=64)
    model = Model(tmp_path, "video-classification", network, words, images)
    texts = ["cat on the photo", "a dog"]
    labels = {"candidate_labels": texts, "num_frames": 4}
    given = films(3)
    padded = words(texts, padding="max_length", max_length=64, return_tensors="pt")
    pixels = images(given[0], return_tensors="pt")["pixel_values"]
    with torch.no_grad():
        found = model.model(pixels, padded["input_ids"], padded["attention_mask"]).logits_per_text[:, 0]
    (result,) = model.run(given[:1], labels)
    assert [scores(result)[each] for each in texts] == pytest.approx(found.tolist(), abs=1e-5)
    assert_batched_equals_single(model, given, labels)


def test_points_around_a_line_of_text_become_the_rectangle_around_them() -> None:
    found = {"scores": torch.tensor([0.5]), "boxes": torch.tensor([[[3, 9], [20, 5], [21, 12], [4, 16]]])}
    [box] = boxes(["text"], found, {}).boxes
    assert (box.x0, box.y0, box.x1, box.y1) == (3, 5, 21, 16)


def test_a_package_that_a_processor_needs_is_not_the_inputs_fault(tmp_path: Path) -> None:
    network = transformers.ViTForImageClassification(transformers.ViTConfig(**VISION))
    model = Model(tmp_path, "image-classification", network, transformers.ViTImageProcessorPil(size=SIZE))

    def lacking(*args: Any, **named: Any) -> Any:
        raise ImportError("ViTImageProcessor requires\nthe PyTesseract library")

    model.work.images = lacking  # type: ignore[attr-defined]
    with pytest.raises(MissingExtra, match=r"the model's image processor needs .* requires the PyTesseract library"):
        model.run(PICTURES[:1])


def test_a_backbone_is_loaded_from_its_folder_without_a_look_at_the_network(tmp_path: Path) -> None:
    folder = write_tiny("vitpose_backbone", tmp_path, auto="AutoBackbone")
    config = transformers.AutoConfig.from_pretrained(str(folder))
    model = load_model(Source("tiny", folder, config, "AutoBackbone"), "float32")
    assert type(model).__name__ == "VitPoseBackbone"


def test_a_package_that_a_network_needs_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def lacking(*args: Any, **named: Any) -> Any:
        raise ImportError("TimmWrapperModel requires the timm library")

    monkeypatch.setattr(transformers.ViTModel, "from_pretrained", lacking)
    source = Source("mine", tmp_path, transformers.ViTConfig(), "ViTModel")
    with pytest.raises(MissingExtra, match=r"model 'mine' needs a package .* requires the timm library"):
        load_model(source, "float32")
