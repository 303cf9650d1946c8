"""Questions about pictures and documents."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

import torch  # noqa: E402

from ipfs_accelerate_py.errors import InvalidRequest, RuntimeUnavailable, UnsupportedOperation  # noqa: E402
from ipfs_accelerate_py.results import Spans  # noqa: E402

from .vision_models import SIZE, TEXT, VISION, Model, assert_batched_equals_single, image, tokenizer  # noqa: E402

PICTURES = [image(40, 30, 1), image(64, 64, 2), image(40, 30, 3)]
QUESTIONS = ["what is this", "how many cat on the photo", "what is red"]


@pytest.fixture(scope="module")
def vilt(tmp_path_factory: pytest.TempPathFactory) -> Model:
    config = transformers.ViltConfig(**VISION, vocab_size=64, max_position_embeddings=12, num_labels=6)
    images = transformers.ViltImageProcessorPil(size={"shortest_edge": 32}, size_divisor=8)
    parts = transformers.ViltProcessor(images, tokenizer())
    model = transformers.ViltForQuestionAnswering(config)
    return Model(tmp_path_factory.mktemp("vilt"), "visual-question-answering", model, parts)


def test_answers_are_those_of_the_plain_model(vilt: Model) -> None:
    given = [{"image": one, "question": two} for one, two in zip(PICTURES, QUESTIONS, strict=True)]
    parts = vilt.work.processor  # type: ignore[attr-defined]
    for each, result in zip(given, vilt.run(given, {"top_k": 6}), strict=True):
        with torch.no_grad():
            arrays = parts(images=each["image"], text=each["question"], return_tensors="pt")
            expected = vilt.model(**arrays).logits.sigmoid()[0]
        found = {label.label: label.score for label in result.labels}
        assert [found[f"LABEL_{at}"] for at in range(6)] == pytest.approx(expected.tolist(), abs=1e-5)
    same = [{"image": each, "question": QUESTIONS[0]} for each in PICTURES]
    assert_batched_equals_single(vilt, same)


@pytest.mark.parametrize("wrong", [PICTURES[0], {"image": PICTURES[0]}, {"image": PICTURES[0], "question": " "}])
def test_without_a_question_nothing_is_answered(vilt: Model, wrong: Any) -> None:
    with pytest.raises(InvalidRequest, match="question"):
        vilt.run([wrong])


def test_a_question_longer_than_the_model_reads_is_refused(vilt: Model) -> None:
    with pytest.raises(InvalidRequest, match="reads 12"):
        vilt.run([{"image": PICTURES[0], "question": "cat " * 20}])


def test_a_model_that_writes_its_answer(tmp_path: Path) -> None:
    text = {**TEXT, "max_position_embeddings": 64, "sep_token_id": 3, "encoder_hidden_size": 16}
    config = transformers.BlipConfig(text_config=text, vision_config=VISION)
    images = transformers.BlipImageProcessorPil(size=SIZE)
    parts = transformers.BlipProcessor(images, tokenizer())
    model = Model(tmp_path, "visual-question-answering", transformers.BlipForQuestionAnswering(config), parts)
    given = [{"image": one, "question": "what is this"} for one in PICTURES]
    results = model.run(given, {"max_tokens": 6})
    for each, result in zip(given, results, strict=True):
        with torch.no_grad():
            arrays = parts(images=each["image"], text=each["question"], return_tensors="pt")
            arrays.pop("token_type_ids", None)
            ids = model.model.generate(**arrays, max_new_tokens=6, do_sample=False)[0]
        assert result.labels[0].label == tokenizer().decode(ids, skip_special_tokens=True).strip()
        assert 0 < result.labels[0].score <= 1
    single = model.run(given, {"max_tokens": 6}, together=False)
    for one, two in zip(results, single, strict=True):
        assert one.labels[0].label == two.labels[0].label
        assert one.labels[0].score == pytest.approx(two.labels[0].score, abs=1e-4)

    class Other:
        model = None

    with pytest.raises(RuntimeUnavailable, match="torch"):
        model.work.run(Other(), model.work.split(given[0], {}))


WORDS = ["a", "b", "c", "cat", "dog", "bird", "photo", "of", "this", "red", "green", "blue"]
BOXES = [[at * 80, 10, at * 80 + 60, 30] for at in range(len(WORDS))]


@pytest.fixture(scope="module")
def layoutlm(tmp_path_factory: pytest.TempPathFactory) -> Model:
    config = transformers.LayoutLMConfig(**{**TEXT, "max_position_embeddings": 64})
    model = transformers.LayoutLMForQuestionAnswering(config)
    return Model(tmp_path_factory.mktemp("layoutlm"), "document-question-answering", model, tokenizer())


def test_a_document_answers_with_a_stretch_of_its_words(layoutlm: Model) -> None:
    given = {"question": "what is red", "words": WORDS, "boxes": BOXES}
    (result,) = layoutlm.run([given], {"top_k": 3})
    assert isinstance(result, Spans)
    text = " ".join(WORDS)
    for answer in result.answers:
        assert text[answer.start : answer.end] == answer.text
    # By hand: question and words, the separators at the page's far corner.
    ids = tokenizer()(
        ["what", "is", "red"], WORDS, is_split_into_words=True, return_token_type_ids=True, return_tensors="pt"
    )
    bbox = [[0] * 4] * 4 + [[1000] * 4] + BOXES + [[1000] * 4]
    with torch.no_grad():
        outputs = layoutlm.model(
            input_ids=ids["input_ids"], token_type_ids=ids["token_type_ids"], bbox=torch.tensor([bbox])
        )
    first, last = (each[0, 5:-1].softmax(-1) for each in (outputs.start_logits, outputs.end_logits))
    spans = torch.outer(first, last).triu()
    best = int(spans.argmax())
    left, right = divmod(best, len(WORDS))
    assert result.answers[0].text == " ".join(WORDS[left : right + 1])
    assert result.answers[0].score == pytest.approx(float(spans.max()), abs=1e-4)
    assert [each.score for each in result.answers] == sorted((each.score for each in result.answers), reverse=True)


def test_documents_are_answered_alike_alone_and_together(layoutlm: Model) -> None:
    long = {"question": "what is red", "words": WORDS * 12, "boxes": BOXES * 12}
    other = {"question": "how many cat", "words": WORDS, "boxes": [[b, a, d, c] for a, b, c, d in BOXES]}
    plain = {"question": "what is red", "word_boxes": list(zip(WORDS, BOXES, strict=True))}
    assert len(layoutlm.work.split(long, {"doc_stride": 8})) > 2
    assert_batched_equals_single(layoutlm, [plain, other, long], {"doc_stride": 8})


def test_boxes_in_pixels_are_scaled_to_the_page(layoutlm: Model) -> None:
    page = image(500, 200, 1)
    pixels = [[x0 / 2, y0 / 5, x1 / 2, y1 / 5] for x0, y0, x1, y1 in BOXES]
    given = {"question": "what is red", "words": WORDS}
    (told,) = layoutlm.run([{**given, "boxes": BOXES}])
    (same,) = layoutlm.run([{**given, "boxes": pixels, "image": page}], {"box_unit": "pixels"})
    assert told == same


def test_what_a_document_lacks_is_said(layoutlm: Model) -> None:
    with pytest.raises(UnsupportedOperation, match="nothing here reads text off an image"):
        layoutlm.run([{"question": "what", "image": image(20, 20, 1)}])
    with pytest.raises(InvalidRequest, match="question"):
        layoutlm.run([{"words": WORDS, "boxes": BOXES}])
    with pytest.raises(InvalidRequest, match="boxes"):
        layoutlm.run([{"question": "what", "words": WORDS, "boxes": BOXES[:2]}])
    with pytest.raises(InvalidRequest, match="pixels"):
        layoutlm.run([{"question": "what", "words": WORDS[:1], "boxes": [[0, 0, 4000, 10]]}])
