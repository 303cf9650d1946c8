"""The simulated TEI, read by Hugging Face's own client and OpenAI's, and held against TEI's OpenAPI description."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import openai
import pytest
from huggingface_hub import AsyncInferenceClient, InferenceClient

from ipfs_accelerate_py.simulator import Simulator, SimulatorThread
from tests.hf_specs import description

from .hf_client import online
from .raw import Got, ask

__all__ = ["online"]


@pytest.fixture
def sim(online: None) -> Iterator[SimulatorThread]:
    with SimulatorThread("tei", dimensions=8) as made:
        yield made


# --- other people's clients --------------------------------------------------------------------------------------


def test_hugging_faces_client(sim: SimulatorThread) -> None:
    pytest.importorskip("numpy")
    client = InferenceClient(model=sim.url, token="hf_test")
    vectors = client.feature_extraction("Hello", normalize=True)
    assert vectors.shape == (1, 8)
    assert math.isclose(float((vectors**2).sum()), 1, rel_tol=1e-5)
    longer = client.feature_extraction("Hello", normalize=False)
    assert math.isclose(float((longer**2).sum()), 4, rel_tol=1e-5)
    scores = InferenceClient(model=f"{sim.url}/similarity").sentence_similarity("Hello", ["Hello", "Goodbye"])
    assert math.isclose(scores[0], 1, rel_tol=1e-5)
    assert scores[1] < 0.99
    labels = InferenceClient(model=f"{sim.url}/hf-inference/models/o/m").text_classification("Hello")
    assert {label.label for label in labels} == {"joy", "neutral", "anger"}
    assert math.isclose(sum(label.score for label in labels), 1)


async def test_hugging_faces_asynchronous_client(online: None) -> None:
    pytest.importorskip("numpy")
    async with Simulator("tei", dimensions=8) as sim, AsyncInferenceClient(model=sim.url, token="hf_test") as client:
        assert (await client.feature_extraction("Hello")).shape == (1, 8)


def test_openais_client(sim: SimulatorThread) -> None:
    with openai.OpenAI(base_url=f"{sim.url}/v1", api_key="x", max_retries=0) as client:
        packed = client.embeddings.create(model="m", input=["a", "b"])  # as base64
        plain = client.embeddings.create(model="m", input=["a", "b"], encoding_format="float")
        assert [each.embedding for each in packed.data] == [each.embedding for each in plain.data]
        assert packed.usage.prompt_tokens == 6
        with pytest.raises(openai.APIStatusError, match="batch size 33 > maximum allowed batch size 32"):
            client.embeddings.create(model="m", input=["a"] * 33)


# --- on the wire -------------------------------------------------------------------------------------------------

ANSWERS: list[tuple[str, str | None, Any, str]] = [
    ("/embed", "EmbedRequest", {"inputs": "Hello", "truncation_direction": "Left"}, "EmbedResponse"),
    ("/embed", "EmbedRequest", {"inputs": ["a", "b"], "normalize": False, "dimensions": 4}, "EmbedResponse"),
    ("/embed_all", "EmbedAllRequest", {"inputs": ["a", "b"]}, "EmbedAllResponse"),
    ("/embed_sparse", "EmbedSparseRequest", {"inputs": ["a b", "b"]}, "EmbedSparseResponse"),
    (
        "/similarity",
        "SimilarityRequest",
        {"inputs": {"source_sentence": "a", "sentences": ["a", "b"]}},
        "SimilarityResponse",
    ),
    ("/rerank", "RerankRequest", {"query": "a b", "texts": ["c", "b a"], "return_text": True}, "RerankResponse"),
    ("/predict", "PredictRequest", {"inputs": "Hello"}, "PredictResponse"),
    ("/predict", "PredictRequest", {"inputs": ["Hello", "you"], "raw_scores": True}, "PredictResponse"),
    ("/predict", "PredictRequest", {"inputs": [["Hello"], ["a", "b"]]}, "PredictResponse"),
    ("/tokenize", "TokenizeRequest", {"inputs": ["Hello", "you"]}, "TokenizeResponse"),
    ("/decode", "DecodeRequest", {"ids": [[101, 5], [6]], "skip_special_tokens": False}, "DecodeResponse"),
    ("/v1/embeddings", "OpenAICompatRequest", {"input": "Hello", "model": "m"}, "OpenAICompatResponse"),
    ("/info", None, None, "Info"),
]


@pytest.mark.parametrize(("path", "request_name", "body", "name"), ANSWERS)
async def test_answers_are_what_the_description_says(path: str, request_name: str | None, body: Any, name: str) -> None:
    spec = description("tei")
    if request_name is not None:
        spec.check(request_name, body)
    async with Simulator("tei", dimensions=8) as sim:
        got = await ask(sim, body, path, method="GET" if body is None else "POST")
    assert (got.status, got.headers["x-compute-type"]) == (200, "simulator")
    spec.check(name, got.json)
    if path not in ("/tokenize", "/decode", "/info"):
        assert int(got.headers["x-compute-tokens"]) > 0


async def test_rankings_fit_the_query_and_tokens_come_back() -> None:
    async with Simulator("tei") as sim:
        body = {"query": "what is deep learning", "texts": ["cheese", "deep learning is deep", "what is it"]}
        ranks = (await ask(sim, body, "/rerank")).json
        assert [rank["index"] for rank in ranks] == [1, 2, 0]
        tokens = (await ask(sim, {"inputs": "Hello é世界"}, "/tokenize")).json[0]
        assert [token["special"] for token in tokens] == [True, False, False, False, True]
        ids = [token["id"] for token in tokens]
        assert (await ask(sim, {"ids": ids}, "/decode")).json == ["Hello é世界"]
        assert (await ask(sim, {"ids": [5]}, "/decode")).json == ["[UNK]"]


@pytest.mark.parametrize(
    ("path", "body", "status", "kind", "words"),
    [
        ("/embed", {"inputs": []}, 400, "Empty", "`inputs` cannot be empty"),
        ("/embed", {"inputs": ["a"] * 33}, 413, "Validation", "batch size 33 > maximum allowed batch size 32"),
        ("/embed", {"inputs": "x" * 4000}, 413, "Validation", "`inputs` must have less than 512 tokens. Given: 1002"),
        ("/embed", {"inputs": "x", "prompt_name": "query"}, 422, "Tokenizer", "prompt"),
        ("/rerank", {"query": "q", "texts": []}, 400, "Empty", "`texts` cannot be empty"),
        ("/predict", {"inputs": [["a"]] * 33}, 413, "Validation", "batch size 33"),
    ],
)
async def test_rules_and_their_words(path: str, body: Any, status: int, kind: str, words: str) -> None:
    async with Simulator("tei") as sim:
        got = await ask(sim, body, path)
        assert (got.status, got.json["error_type"]) == (status, kind)
        assert words in got.json["error"]
        description("tei").check("ErrorResponse", got.json)
        if "tokens" in words:
            assert (await ask(sim, {**body, "truncate": True}, path)).status == 200


@pytest.mark.parametrize(
    ("path", "body", "status", "words"),
    [
        ("/embed", b"{", 400, "Failed"),
        ("/embed", {}, 422, "missing field `inputs`"),
        ("/embed", {"inputs": 5}, 422, "enum Input"),
        ("/embed", {"inputs": "x", "normalize": "yes"}, 422, "normalize: invalid type"),
        ("/embed", {"inputs": "x", "truncation_direction": "up"}, 422, "`Left` or `Right`"),
        ("/rerank", {"query": "q"}, 422, "missing field `texts`"),
        ("/predict", {"inputs": [["a", "b", "c"]]}, 422, "a batch of mixed strings and pairs"),
        ("/similarity", {"inputs": {}}, 422, "missing field `source_sentence`"),
        ("/v1/embeddings", {"input": "x", "encoding_format": "hex"}, 422, "unknown variant `hex`"),
        ("/generate", {"inputs": "x"}, 404, ""),
    ],
)
async def test_what_does_not_fit_is_refused(path: str, body: Any, status: int, words: str) -> None:
    async with Simulator("tei") as sim:
        got = await ask(sim, body, path)
    assert got.status == status
    assert words in got.body.decode()


async def test_health_metrics_keys_and_the_routers_paths() -> None:
    async with Simulator("tei", api_keys=["hf_1"], models=["o/m"], dimensions=4) as sim:

        async def send(path: str, body: Any = None, key: str = "hf_1") -> Got:
            method = "GET" if body is None else "POST"
            return await ask(sim, body, path, method=method, authorization=f"Bearer {key}")

        assert (await send("/health")).status == (await send("/")).status == 200
        assert "te_request_count" in (await send("/metrics")).body.decode()
        assert (await send("/info")).json["model_id"] == "o/m"
        assert (await send("/info", key="hf_2")).status == 401
        assert (await send("/embed")).status == 405
        folder = "/hf-inference/models/o/m"
        assert len((await send(f"{folder}/pipeline/feature-extraction", {"inputs": "x"})).json[0]) == 4
        scores = await send(
            f"{folder}/pipeline/sentence-similarity", {"inputs": {"source_sentence": "x", "sentences": ["x"]}}
        )
        assert math.isclose(scores.json[0], 1, rel_tol=1e-5)
        assert (await send("/hf-inference/models/o/other", {"inputs": "x"})).status == 404
