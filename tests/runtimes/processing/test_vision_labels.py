"""Images and videos to labels: of the model's classes, or of the caller's."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

import torch  # noqa: E402

from ipfs_accelerate_py.errors import InvalidRequest, RuntimeUnavailable  # noqa: E402
from ipfs_accelerate_py.results import Labels  # noqa: E402

from .vision_models import (  # noqa: E402
    SIZE,
    TEXT,
    VISION,
    Model,
    assert_batched_equals_single,
    assert_same,
    image,
    png,
    tokenizer,
)

PICTURES = [image(40, 30, 1), image(100, 64, 2), image(32, 32, 3), image(30, 40, 4)]


def processor(kind: str, **named: Any) -> Any:
    return getattr(transformers, f"{kind}ImageProcessorPil")(**{"size": SIZE, **named})


@pytest.fixture(scope="module")
def vit(tmp_path_factory: pytest.TempPathFactory) -> Model:
    config = transformers.ViTConfig(**VISION, num_labels=7)
    model = transformers.ViTForImageClassification(config)
    return Model(tmp_path_factory.mktemp("vit"), "image-classification", model, processor("ViT"))


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Model:
    config = transformers.CLIPConfig(text_config=TEXT, vision_config=VISION, projection_dim=16)
    parts = (tokenizer(), processor("CLIP", size={"shortest_edge": 32}, crop_size=SIZE))
    return Model(
        tmp_path_factory.mktemp("clip"), "zero-shot-image-classification", transformers.CLIPModel(config), *parts
    )


def by_label(found: Any) -> dict[str, float]:
    pairs = [(each.label, each.score) if hasattr(each, "label") else (each["label"], each["score"]) for each in found]
    return dict(pairs)


def test_an_image_gets_the_labels_that_transformers_gives_it(vit: Model) -> None:
    pipe = vit.pipeline()
    for picture, result in zip(PICTURES, vit.run(PICTURES), strict=True):
        assert isinstance(result, Labels)
        scores = [each.score for each in result.labels]
        assert len(scores) == 5
        assert scores == sorted(scores, reverse=True)
        assert by_label(result.labels) == pytest.approx(by_label(pipe(picture)), abs=1e-5)


def small(config: Any, task: str = "ImageClassification") -> Any:
    config.architectures = config.architectures or []
    return getattr(transformers, f"AutoModelFor{task}").from_config(config)


def classifiers() -> dict[str, tuple[Any, Any]]:
    hierarchy = {
        "embed_dim": 8,
        "depths": [1, 1],
        "num_heads": [1, 2],
        "window_size": 4,
        "patch_size": 4,
        "image_size": 32,
    }
    return {
        "deit": (transformers.DeiTConfig(**VISION, num_labels=3), processor("DeiT", do_center_crop=False)),
        "swin": (transformers.SwinConfig(**hierarchy, num_labels=3), processor("ViT")),
        "convnext": (
            transformers.ConvNextConfig(hidden_sizes=[8, 8, 16, 16], depths=[1, 1, 1, 1], num_labels=3),
            processor("ConvNext", size={"shortest_edge": 64}),
        ),
        "siglip": (transformers.SiglipConfig(vision_config=VISION, num_labels=3), processor("Siglip")),
    }


@pytest.mark.parametrize("kind", ["deit", "swin", "convnext", "siglip"])
def test_a_batch_gives_each_image_what_it_gets_alone(kind: str, tmp_path: Path) -> None:
    config, images = classifiers()[kind]
    model = Model(tmp_path, "image-classification", small(config), images)
    assert_batched_equals_single(model, PICTURES)


def test_options_of_a_classifier(vit: Model) -> None:
    (two,) = vit.run(PICTURES[:1], {"top_k": 2})
    assert len(two.labels) == 2
    (all_of_them,) = vit.run(PICTURES[:1], {"top_k": 99, "function_to_apply": "none"})
    (single,) = vit.run(PICTURES[:1], {"top_k": 7, "function_to_apply": "sigmoid"})
    logits = torch.tensor([each.score for each in all_of_them.labels])
    assert [each.score for each in single.labels] == pytest.approx(torch.sigmoid(logits).tolist(), abs=1e-6)
    for wrong in ({"top_k": 0}, {"top_k": "x"}, {"function_to_apply": "tanh"}):
        with pytest.raises(InvalidRequest):
            vit.run(PICTURES[:1], wrong)


@pytest.mark.parametrize("told", [{"num_labels": 1}, {"num_labels": 3, "problem_type": "multi_label_classification"}])
def test_one_label_and_several_at_once_are_scored_each_by_itself(told: dict[str, Any], tmp_path: Path) -> None:
    model = Model(tmp_path, "image-classification", small(transformers.ViTConfig(**VISION, **told)), processor("ViT"))
    (plain,) = model.run(PICTURES[:1])
    (raw,) = model.run(PICTURES[:1], {"function_to_apply": "none"})
    expected = torch.sigmoid(torch.tensor([each.score for each in raw.labels])).tolist()
    assert [each.score for each in plain.labels] == pytest.approx(expected, abs=1e-6)


def test_labels_of_the_caller_as_transformers_scores_them(clip: Model) -> None:
    labels = ["cat", "a dog", "bird"]
    pipe = clip.pipeline(tokenizer=tokenizer())
    for picture, result in zip(PICTURES, clip.run(PICTURES, {"candidate_labels": labels}), strict=True):
        assert by_label(result.labels) == pytest.approx(by_label(pipe(picture, candidate_labels=labels)), abs=1e-5)
    template = {"candidate_labels": labels, "hypothesis_template": "{} on the"}
    (other,) = clip.run(PICTURES[:1], template)
    assert by_label(other.labels) == pytest.approx(by_label(pipe(PICTURES[0], **template)), abs=1e-5)


def test_images_with_equal_labels_share_a_batch_and_others_do_not(clip: Model) -> None:
    one = {"image": PICTURES[0], "candidate_labels": "cat, a dog"}
    two = {"image": png(PICTURES[1]), "candidate_labels": ["cat", "a dog"]}
    other = {"image": PICTURES[2], "candidate_labels": ["bird", "cat", "a dog"]}
    groups = [clip.work.split(each, {})[0].group for each in (one, two, other)]
    assert groups[0] == groups[1] != groups[2]
    assert_batched_equals_single(clip, [one, two, other])
    (alone,) = clip.run([one], {"multi_label": True})
    assert sum(each.score for each in alone.labels) != pytest.approx(1)
    assert len(clip.run([one], {"top_k": 1})[0].labels) == 1


@pytest.mark.parametrize("wrong", [{}, {"candidate_labels": []}, {"candidate_labels": [1]}, {"candidate_labels": 5}])
def test_without_labels_nothing_is_guessed(clip: Model, wrong: dict[str, Any]) -> None:
    with pytest.raises(InvalidRequest, match="candidate_labels"):
        clip.run(PICTURES[:1], wrong)


def test_siglip_reads_padding_and_scores_each_label_by_itself(tmp_path: Path) -> None:
    text = {**TEXT, "max_position_embeddings": 64}
    config = transformers.SiglipConfig(text_config=text, vision_config=VISION)
    model = Model(
        tmp_path, "zero-shot-image-classification", transformers.SiglipModel(config), tokenizer(), processor("Siglip")
    )
    labels = ["cat", "a dog"]
    pipe = model.pipeline(tokenizer=tokenizer())
    options = {"candidate_labels": labels, "hypothesis_template": "This is a photo of {}."}
    (result,) = model.run(PICTURES[:1], options)
    assert by_label(result.labels) == pytest.approx(by_label(pipe(PICTURES[0], **options)), abs=1e-5)
    assert_batched_equals_single(model, PICTURES, options)


def clips(count: int) -> list[list[Any]]:
    return [[image(48, 40, seed * 20 + at) for at in range(12)] for seed in range(count)]


def videos() -> dict[str, tuple[Any, Any]]:
    frames = {"num_frames": 4, "num_labels": 5}
    cut = {"size": {"shortest_edge": 32}, "crop_size": SIZE}
    return {
        "videomae": (
            transformers.VideoMAEForVideoClassification(
                transformers.VideoMAEConfig(**VISION, **frames, tubelet_size=2)
            ),
            processor("VideoMAE", **cut),
        ),
        "timesformer": (
            transformers.TimesformerForVideoClassification(transformers.TimesformerConfig(**VISION, **frames)),
            processor("VideoMAE", **cut),
        ),
        "vivit": (
            transformers.VivitForVideoClassification(
                transformers.VivitConfig(**VISION, **frames, tubelet_size=[2, 8, 8])
            ),
            transformers.VivitImageProcessor(**cut),
        ),
    }


@pytest.mark.parametrize("kind", ["videomae", "timesformer", "vivit"])
def test_videos_get_the_labels_of_the_plain_model(kind: str, tmp_path: Path) -> None:
    network, images = videos()[kind]
    model = Model(tmp_path, "video-classification", network, images)
    given = clips(3)
    with torch.no_grad():
        chosen = [given[0][at] for at in (0, 3, 7, 11)]
        expected = model.model(**images(chosen, return_tensors="pt")).logits.softmax(-1)[0]
    (result,) = model.run(given[:1], {"top_k": 5})
    found = by_label(result.labels)
    assert [found[f"LABEL_{at}"] for at in range(5)] == pytest.approx(expected.tolist(), abs=1e-5)
    assert_batched_equals_single(model, given)
    assert_same(model.run(given[:1], {"frame_sampling_rate": 1}), model.run([given[0][:4]]))


def test_a_model_of_videos_and_texts_takes_the_callers_labels(tmp_path: Path) -> None:
    tower = {
        "mit_hidden_size": 16,
        "mit_intermediate_size": 32,
        "mit_num_hidden_layers": 1,
        "mit_num_attention_heads": 2,
    }
    config = transformers.XCLIPConfig(
        text_config=TEXT,
        vision_config={**VISION, **tower, "num_frames": 4},
        projection_dim=16,
        prompt_num_attention_heads=2,
    )
    images = processor("VideoMAE", size={"shortest_edge": 32}, crop_size=SIZE)
    words = tokenizer()
    model = Model(tmp_path, "video-classification", transformers.XCLIPModel(config), words, images)
    given, labels = clips(3), ["cat on the photo", "a dog"]
    seen = [given[0][at] for at in (0, 3, 7, 11)]
    with torch.no_grad():
        arrays = {**words(labels, padding=True, return_tensors="pt"), **images(seen, return_tensors="pt")}
        arrays.pop("token_type_ids", None)
        expected = model.model(**arrays).logits_per_video.softmax(-1)[0]
    (result,) = model.run(given[:1], {"candidate_labels": labels})
    found = by_label(result.labels)
    assert [found[each] for each in labels] == pytest.approx(expected.tolist(), abs=1e-5)
    assert_batched_equals_single(model, given, {"candidate_labels": labels})


def test_a_checkpoint_without_image_processor_is_refused_with_the_reason(vit: Model, tmp_path: Path) -> None:
    model = Model(tmp_path, "image-classification", small(transformers.ViTConfig(**VISION)))
    with pytest.raises(RuntimeUnavailable, match="no image processor"):
        model.run(PICTURES)
