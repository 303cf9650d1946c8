"""TEI's requests and answers, its own and the router's."""

from __future__ import annotations

import contextlib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ipfs_accelerate_py import errors
from ipfs_accelerate_py.dialects.tei.dialect import TeiDialect
from ipfs_accelerate_py.errors import BackendError, ConfigurationError, ProtocolError, UnsupportedOperation
from ipfs_accelerate_py.types import Call, Label, Operation, Passthrough, RawRequest, Usage

from .hf_support import HOSTED_TEI, TEI, body, chat, classify, count, embed, read, rerank, sent
from .support import models, places, replaced

COUNTS = {"x-compute-tokens": "9"}


# --- requests ----------------------------------------------------------------------------------------------------


def test_embeddings() -> None:
    options: dict[str, Any] = {
        "normalize": False,
        "truncate": True,
        "prompt_name": "query",
        "dimensions": 8,
        "brand_new": 1,
    }
    wire = TEI.encode(embed("a", [1, 2], truncation_direction="left", encoding_format="base64", user="u", **options))
    assert wire.path == "/embed"
    assert body(wire) == {"inputs": ["a", [1, 2]], "truncation_direction": "Left", **options}
    assert set(wire.ignored) == {"encoding_format", "user"}
    wire = HOSTED_TEI.encode(embed("a", model="o/m:hf-inference", normalize=True))
    assert wire.path == "/hf-inference/models/o/m/pipeline/feature-extraction"
    assert body(wire) == {"inputs": ["a"], "normalize": True}
    assert (
        TeiDialect(hosted=True, model="o/d").encode(embed("a", model="")).path.startswith("/hf-inference/models/o/d/")
    )


def test_rankings() -> None:
    wire = TEI.encode(rerank("q", "a", {"text": "b", "id": 5}, top_n=1, return_documents=True, raw_scores=True))
    assert wire.path == "/rerank"
    assert body(wire) == {"query": "q", "texts": ["a", "b"], "return_text": True, "raw_scores": True}
    with pytest.raises(UnsupportedOperation, match="'text'"):
        TEI.encode(rerank("q", {"title": "b"}))


def test_classes_of_texts_and_of_pairs() -> None:
    wire = TEI.encode(classify("a", ["b", "c"], raw_scores=True))
    assert wire.path == "/predict"
    assert body(wire) == {"inputs": [["a"], ["b", "c"]], "raw_scores": True}
    with pytest.raises(ConfigurationError, match="pair"):
        TEI.encode(classify(["a", "b", "c"]))
    hosted = HOSTED_TEI.encode(classify("a", "b", top_k=2))
    assert hosted.path == "/hf-inference/models/o/m"
    assert body(hosted) == {"inputs": ["a", "b"], "parameters": {"top_k": 2}}
    with pytest.raises(UnsupportedOperation, match="pairs"):
        HOSTED_TEI.encode(classify(["a", "b"]))


def test_counts_are_of_texts() -> None:
    wire = TEI.encode(
        count(
            {"role": "user", "content": "a"},
            {"role": "user", "content": [{"type": "text", "text": "b"}]},
            add_special_tokens=False,
        )
    )
    assert (wire.path, body(wire)) == ("/tokenize", {"inputs": ["a", "b"], "add_special_tokens": False})
    with pytest.raises(UnsupportedOperation, match="'tools'"):
        TEI.encode(count({"role": "user", "content": "a"}, tools=[{}]))
    with pytest.raises(UnsupportedOperation, match="something else"):
        TEI.encode(count({"role": "user", "content": [{"type": "image_url", "image_url": {"url": "x"}}]}))


def test_what_there_is_not_is_refused() -> None:
    for call in (chat(), chat(stream=True)):
        with pytest.raises(UnsupportedOperation):
            TEI.encode(call)
    for call in (rerank("q", "a"), count({"role": "user", "content": "a"}), models()):
        with pytest.raises(UnsupportedOperation, match="router"):
            HOSTED_TEI.encode(call)
    with pytest.raises(UnsupportedOperation):
        TEI.stream_decoder(embed("a"))


def test_paths_of_ones_own_and_bodies_to_be_forwarded() -> None:
    own = Call(operation=Operation.RAW, request=RawRequest("/similarity", {"inputs": {}}), request_id="r")
    assert (TEI.encode(own).path, sent(own, TEI)) == ("/similarity", {"inputs": {}})
    assert read(own, [0.5], TEI, COUNTS).usage == Usage(9, reported=True)
    call = embed("a")
    call.passthrough = Passthrough("tei", b'{"inputs":"a" }')
    assert TEI.encode(call).body == b'{"inputs":"a" }'
    reply = read(call, b"[[1]]", TEI, COUNTS)
    assert (reply.body, reply.usage.input_tokens) == (b"[[1]]", 9)


# --- answers -----------------------------------------------------------------------------------------------------


def test_vectors_in_the_order_of_the_inputs() -> None:
    reply = read(embed("a", "b"), [[1, 2.5], [3, 4]], TEI, COUNTS)
    assert reply.vectors == [[1.0, 2.5], [3.0, 4.0]]
    assert (reply.usage, reply.model) == (Usage(9, reported=True), "o/m")
    assert read(embed("a"), [0.5, 1.5], HOSTED_TEI).vectors == [[0.5, 1.5]]
    assert not read(embed("a"), [[0.5]], HOSTED_TEI).usage.reported


@pytest.mark.parametrize(
    "answer", [[[1.0]], [[1.0], [2.0], [3.0]], [], {}, "x", None, [[1.0], None], [[1.0], ["x"]], [[1.0], 5], b"<html>"]
)
def test_one_vector_for_each_input_or_an_error(answer: Any) -> None:
    with pytest.raises(ProtocolError):
        read(embed("a", "b"), answer, TEI)


def test_a_vector_for_each_token_is_no_embedding_of_a_text() -> None:
    with pytest.raises(ProtocolError, match="each token"):
        read(embed("a"), [[[1.0], [2.0]]], HOSTED_TEI)


def test_rankings_are_sorted_and_cut() -> None:
    answer = [{"index": 1, "score": 0.25}, {"index": 0, "score": 0.5, "text": "a"}, {"index": 2, "score": 0.1}]
    reply = read(rerank("q", "a", "b", "c", top_n=2), answer, TEI, COUNTS)
    assert [(each.index, each.score, each.document) for each in reply.ranking] == [(0, 0.5, "a"), (1, 0.25, None)]
    assert reply.usage.input_tokens == 9


@pytest.mark.parametrize(
    "answer",
    [
        [{"index": 0, "score": 1}],
        [{"index": 0, "score": 1}, {"index": 0, "score": 1}],
        [{"index": 0, "score": 1}, {"index": 2, "score": 1}],
        [{"index": 0, "score": 1}, {"index": 1, "score": None}],
        [{"index": 0, "score": 1}, {"score": 1}],
        [1, 2],
        {"results": []},
    ],
)
def test_what_is_no_ranking_of_these_documents_is_an_error(answer: Any) -> None:
    with pytest.raises(ProtocolError):
        read(rerank("q", "a", "b"), answer, TEI)


def test_labels_of_each_input() -> None:
    low, high = {"label": "x", "score": 0.25}, {"label": "y", "score": 0.75}
    best, worst = Label("y", 0.75), Label("x", 0.25)
    assert read(classify("a", "b"), [[low, high], [low]], TEI).labels == [[best, worst], [worst]]
    assert read(classify("a"), [low, high], HOSTED_TEI).labels == [[best, worst]]
    assert read(classify("a", "b"), [low, high], HOSTED_TEI).labels == [[worst], [best]]
    wrong: Any
    for wrong in ([[low]], [low], {}, [[{"label": "x"}], []]):
        with pytest.raises(ProtocolError):
            read(classify("a", "b"), wrong, TEI)


def test_counts_and_what_it_serves() -> None:
    token = {"id": 1, "text": "a", "special": False, "start": 0, "stop": 1}
    assert read(count(), [[token, token], [token]], TEI).usage == Usage(3, reported=True)
    reply = read(models(), {"model_id": "o/m", "max_input_length": 512}, TEI)
    assert [model.id for model in reply.models] == ["o/m"]
    assert reply.models[0].raw["max_input_length"] == 512


def test_errors_are_tgis() -> None:
    with pytest.raises(errors.ContextLengthExceeded):
        read(
            embed("a"),
            {"error": "`inputs` must have less than 512 tokens. Given: 900", "error_type": "Validation"},
            TEI,
        )
    error = TEI.error(429, {}, b'{"message": "Model is overloaded", "code": 429, "type": "Overloaded"}')
    assert type(error) is errors.RateLimited


CALLS = [
    (embed("a", "b"), [[1.0, 2.0], [3.0, 4.0]]),
    (rerank("q", "a", "b"), [{"index": 1, "score": 0.25, "text": "b"}, {"index": 0, "score": 0.5}]),
    (classify("a", "b"), [[{"label": "x", "score": 1.0}], [{"label": "y", "score": 0.5}]]),
    (count(), [[{"id": 1}]]),
    (models(), {"model_id": "o/m"}),
]


@given(st.data())
def test_whatever_comes_it_is_read_or_a_typed_error(data: st.DataObject) -> None:
    call, answer = data.draw(st.sampled_from(CALLS))
    where = data.draw(st.sampled_from([(), *sorted(places(answer), key=str)]))
    value = data.draw(st.recursive(st.none() | st.booleans() | st.integers() | st.text(), st.lists, max_leaves=3))
    with contextlib.suppress(BackendError):
        read(call, replaced(answer, where, value), TEI)
