"""Text tasks beside Transformers' own pipelines: the same labels, places and scores, alone and in a batch."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from ipfs_accelerate_py.errors import ContextLengthExceeded, InvalidRequest, RuntimeUnavailable
from ipfs_accelerate_py.results import Entities, Fills, Labels, Ranking, Spans

from .small import Served, bert, gap, wordpiece

TEXTS = ["Anna works at ACME in New York City.", "the fox", "Is this an example of sports, and who lives in new york?"]
TAGS = {0: "O", 1: "B-PER", 2: "I-PER", 3: "B-LOC", 4: "I-LOC"}
NLI = {"id2label": {0: "contradiction", 1: "neutral", 2: "entailment"}}
NLI |= {"label2id": {"contradiction": 0, "neutral": 1, "entailment": 2}}  # type: ignore[dict-item]

# (task, head, settings of the model, inputs, options)
TASKS: list[tuple[str, str, dict[str, Any], list[Any], dict[str, Any]]] = [
    ("fill-mask", "BertForMaskedLM", {}, ["the [MASK] fox", "anna [MASK] in new [MASK] city"], {}),
    ("text-classification", "BertForSequenceClassification", {"num_labels": 3}, TEXTS, {}),
    (
        "zero-shot-classification",
        "BertForSequenceClassification",
        NLI,
        TEXTS,
        {"candidate_labels": ["sports", "a b c"]},
    ),
    (
        "text-ranking",
        "BertForSequenceClassification",
        {"num_labels": 1},
        [{"query": "who?", "documents": TEXTS}, ("where", ["fox"])],
        {},
    ),
    ("token-classification", "BertForTokenClassification", {"id2label": TAGS}, TEXTS, {}),
    (
        "question-answering",
        "BertForQuestionAnswering",
        {},
        [{"question": "who?", "context": each} for each in TEXTS],
        {},
    ),
    ("multiple-choice", "BertForMultipleChoice", {}, [{"text": "who", "choices": TEXTS}, ("where", ["a", "b c"])], {}),
    (
        "next-sentence-prediction",
        "BertForNextSentencePrediction",
        {},
        [("a", "b"), ("who lives", "the quick brown")],
        {},
    ),
    ("sentence-similarity", "BertModel", {}, TEXTS, {}),
]


@pytest.mark.parametrize(("task", "head", "config", "inputs", "options"), TASKS, ids=[each[0] for each in TASKS])
def test_a_batch_gives_each_input_what_it_gets_alone(
    served: Callable[..., Served], task: str, head: str, config: Any, inputs: list[Any], options: dict[str, Any]
) -> None:
    model = served(task, head, **config)
    together = model(*inputs, **options)
    assert len(model.batches) == 1  # All lengths in one.
    assert gap(together, model.alone(*inputs, **options)) < 1e-5
    assert gap(together[0], together[1]) > 1e-4


@pytest.mark.parametrize("labels", [1, 3])
def test_classes_are_those_of_the_pipeline(served: Callable[..., Served], pipeline: Any, labels: int) -> None:
    model = served("text-classification", "BertForSequenceClassification", num_labels=labels)
    reference = pipeline("text-classification", model)
    for options in ({}, {"function_to_apply": "none"}, {"function_to_apply": "sigmoid"}):
        for text, found in zip(TEXTS, model(*TEXTS, **options), strict=True):
            assert isinstance(found, Labels)
            expected = reference(text, top_k=None, **options)
            assert [each.label for each in found.labels] == [each["label"] for each in expected]
            assert [each.score for each in found.labels] == pytest.approx([e["score"] for e in expected], abs=1e-5)
    pair = {"text": "the fox", "text_pair": "who lives"}
    (found,) = model(pair, top_k=1)
    assert isinstance(found, Labels)
    assert found.labels[0].score == pytest.approx(reference(pair)["score"], abs=1e-5)
    assert gap(found, model(["the fox", "who lives"], top_k=1)[0]) == 0


def test_a_regression_head_gives_its_number(served: Callable[..., Served]) -> None:
    import torch

    model = served("text-classification", "BertForSequenceClassification", num_labels=1, problem_type="regression")
    tokens = model.processing.tokenizer.inner(TEXTS[0], return_tensors="pt")  # type: ignore[attr-defined]
    with torch.no_grad():
        expected = model.model(**tokens).logits.item()
    (found,) = model(TEXTS[0])
    assert isinstance(found, Labels)
    assert found.labels[0].score == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize("several", [False, True])
def test_zero_shot_is_that_of_the_pipeline(served: Callable[..., Served], pipeline: Any, several: bool) -> None:
    model = served("zero-shot-classification", "BertForSequenceClassification", **NLI)
    asked = {"candidate_labels": ["sports", "the city", "a fox"], "multi_label": several}
    expected = pipeline("zero-shot-classification", model)(TEXTS[0], **asked)
    (found,) = model(TEXTS[0], **asked)
    assert isinstance(found, Labels)
    assert [each.label for each in found.labels] == expected["labels"]
    assert [each.score for each in found.labels] == pytest.approx(expected["scores"], abs=1e-5)
    with pytest.raises(InvalidRequest, match="candidate_labels") as raised:
        model(TEXTS[0])
    assert raised.value.param == "candidate_labels"


@pytest.mark.parametrize("kind", ["none", "simple", "first", "average", "max"])
@pytest.mark.filterwarnings("ignore:Tokenizer does not support real words")
def test_entities_are_those_of_the_pipeline(served: Callable[..., Served], pipeline: Any, kind: str) -> None:
    model = served("token-classification", "BertForTokenClassification", id2label=TAGS)
    reference = pipeline("token-classification", model)
    for text in TEXTS:
        (found,) = model(text, aggregation_strategy=kind)
        expected = reference(text, aggregation_strategy=kind)
        assert isinstance(found, Entities)
        assert [(each.label, each.start, each.end) for each in found.entities] == [
            (each.get("entity_group", each.get("entity")), each["start"], each["end"]) for each in expected
        ]
        assert [each.score for each in found.entities] == pytest.approx([float(e["score"]) for e in expected], abs=1e-5)
        assert all(text[each.start : each.end] == each.text for each in found.entities)


def test_a_long_text_is_read_in_windows(served: Callable[..., Served]) -> None:
    model = served("token-classification", "BertForTokenClassification", id2label=TAGS)
    text = " ".join(TEXTS * 9)
    (found,) = model(text, aggregation_strategy="none", ignore_labels=[])
    assert isinstance(found, Entities)
    assert model.batches[0] > 2
    # Every token of the text once, in order.
    starts = [each.start for each in found.entities]
    assert starts == sorted(set(starts))
    assert found.entities[-1].end == len(text)


def test_masks_are_those_of_the_pipeline(served: Callable[..., Served], pipeline: Any) -> None:
    model = served("fill-mask", "BertForMaskedLM")
    reference = pipeline("fill-mask", model)
    for text in ("the [MASK] fox", "anna [MASK] in new [MASK] city"):
        for options in ({"top_k": 3}, {"targets": ["fox", "city"]}):
            (found,) = model(text, **options)
            expected = reference(text, **options)
            assert isinstance(found, Fills)
            expected = [expected] if isinstance(expected[0], dict) else expected
            assert [[each.token_id for each in mask] for mask in found.masks] == [
                [each["token"] for each in mask] for mask in expected
            ]
            assert [[each.text for each in mask] for mask in found.masks] == [
                [each["sequence"] for each in mask] for mask in expected
            ]
            assert found.masks[0][0].score == pytest.approx(expected[0][0]["score"], abs=1e-5)
    with pytest.raises(InvalidRequest, match=r"\[MASK\]"):
        model("the fox")
    with pytest.raises(ContextLengthExceeded):
        model("fox " * 90 + "[MASK]")


def test_documents_are_ranked_by_the_models_own_score(served: Callable[..., Served]) -> None:
    import torch

    model = served("text-ranking", "BertForSequenceClassification", num_labels=1)
    tokenizer = model.processing.tokenizer.inner  # type: ignore[attr-defined]
    with torch.no_grad():
        expected = [model.model(**tokenizer("who?", each, return_tensors="pt")).logits.item() for each in TEXTS]
    asked = {"query": "who?", "documents": [TEXTS[0], {"text": TEXTS[1], "id": 7}, TEXTS[2]]}
    (raw,) = model(asked, function_to_apply="none", return_documents=True)
    assert isinstance(raw, Ranking)
    assert [each.index for each in raw.ranking] == sorted(range(3), key=lambda at: -expected[at])
    assert {each.index: each.score for each in raw.ranking} == pytest.approx(dict(enumerate(expected)), abs=1e-5)
    assert next(each.document for each in raw.ranking if each.index == 1) == {"text": TEXTS[1], "id": 7}
    (short,) = model(asked, top_n=1)
    assert isinstance(short, Ranking)
    assert len(short.ranking) == 1
    assert 0 < short.ranking[0].score < 1
    (cut,) = model({"query": "who? " * 60, "documents": ["fox " * 300]}, max_length=16)
    assert isinstance(cut, Ranking)
    with pytest.raises(InvalidRequest, match="documents"):
        model({"query": "who?", "documents": []})


def test_an_answer_is_the_likeliest_span_of_the_context(served: Callable[..., Served]) -> None:
    import numpy as np
    import torch

    model = served("question-answering", "BertForQuestionAnswering")
    tokenizer = model.processing.tokenizer.inner  # type: ignore[attr-defined]
    question, context = "who lives?", "anna works at ac and the fox lives in new york city"
    made = tokenizer(question, context, return_tensors="pt", return_offsets_mapping=True)
    offsets = made.pop("offset_mapping")[0].tolist()
    with torch.no_grad():
        out = model.model(**made)
    inside = [at for at, part in enumerate(made.sequence_ids(0)) if part == 1]
    best, span = -1e9, (0, 0)
    for first in inside:
        for last in inside:
            score = out.start_logits[0, first].item() + out.end_logits[0, last].item()
            if first <= last < first + 15 and score > best:
                best, span = score, (offsets[first][0], offsets[last][1])
    (found,) = model({"question": question, "context": context}, align_to_words=False)
    assert isinstance(found, Spans)
    assert (found.answers[0].start, found.answers[0].end) == span
    keep = [0, *inside]
    shares = [np.exp(logits[0, keep].numpy().astype("f8")) for logits in (out.start_logits, out.end_logits)]
    assert found.answers[0].score == pytest.approx(np.exp(best) / shares[0].sum() / shares[1].sum(), abs=1e-5)


def test_a_long_context_is_read_in_windows_and_answers_stay_inside_it(served: Callable[..., Served]) -> None:
    model = served("question-answering", "BertForQuestionAnswering")
    context = " ".join(TEXTS * 9)
    (found,) = model({"question": TEXTS[2], "context": context}, top_k=5, doc_stride=8, handle_impossible_answer=True)
    assert model.batches[0] > 2
    assert isinstance(found, Spans)
    assert len(found.answers) == 5
    assert all(context[each.start : each.end] == each.text for each in found.answers)
    assert [each.score for each in found.answers] == sorted((each.score for each in found.answers), reverse=True)
    with pytest.raises(InvalidRequest, match="empty"):
        model({"question": "who?", "context": " "})


def test_decoders_that_classify_are_batched_without_a_change(tmp_path: Any) -> None:
    import torch
    import transformers

    wordpiece(tmp_path)
    torch.manual_seed(1)
    size: dict[str, Any] = {"vocab_size": 128, "n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 64}
    for pad, batches in ((0, [3]), (None, [1, 1, 1])):
        config = transformers.GPT2Config(**size, pad_token_id=pad, num_labels=3, initializer_range=0.3)
        model = Served("text-classification", tmp_path, transformers.GPT2ForSequenceClassification(config))
        together = model(*TEXTS)
        assert model.batches == batches  # Without a padding token the head reads the very last position.
        assert gap(together, model.alone(*TEXTS)) < 1e-5


def test_what_is_no_input_is_refused_by_name(served: Callable[..., Served]) -> None:
    model = served("text-classification", "BertForSequenceClassification", num_labels=3)
    for wrong in (7, None, b"text", {"txt": "a"}, ["a", "b", "c"], {"text": "a", "text_pair": 3}):
        with pytest.raises(InvalidRequest) as raised:
            model(wrong)
        assert raised.value.param == "input"
    for options in ({"top_k": 0}, {"top_k": "2"}, {"function_to_apply": "relu"}):
        with pytest.raises(InvalidRequest) as raised:
            model("a", **options)
        assert raised.value.param == next(iter(options))
    with pytest.raises(InvalidRequest, match="tokens"):
        model("fox " * 99, truncation=False)
    assert model("fox " * 99)
    assert gap(model([2, 10, 3]), model.alone([2, 10, 3])) == 0  # Token ids.


def test_a_checkpoint_without_a_mask_token_is_refused(tmp_path: Any) -> None:
    tokenizer = wordpiece(tmp_path)
    tokenizer.mask_token = None
    tokenizer.save_pretrained(tmp_path)
    with pytest.raises(RuntimeUnavailable, match="mask token"):
        Served("fill-mask", tmp_path, bert("BertForMaskedLM", tmp_path))
