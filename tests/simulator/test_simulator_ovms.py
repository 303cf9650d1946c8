"""The simulated model server: asked by Triton's own client, and held against the protocol's specification."""

from __future__ import annotations

import json
import os
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import jsonschema
import numpy as np
import pytest
import tritonclient.http as triton
import yaml
from tritonclient.utils import InferenceServerException

from ipfs_accelerate_py.simulator import Simulator, SimulatorThread

from .raw import ask

_FOLDERS = [
    *([Path(os.environ["IPFS_ACCELERATE_SPECS"])] if os.environ.get("IPFS_ACCELERATE_SPECS") else []),
    Path(__file__).resolve().parents[3] / "shared" / "specs",
]
_FILE = next((path for folder in _FOLDERS if (path := folder / "oip_v2_rest.yaml").is_file()), None)
X = {"name": "input", "shape": [2, 2], "datatype": "FP32", "data": [[1, 2], [3, 4.5]]}


@pytest.fixture
async def sim() -> AsyncIterator[Simulator]:
    async with Simulator("ovms", models=["m", "a/b"]) as simulator:
        yield simulator


@pytest.fixture(scope="module")
def schemas() -> dict[str, Any]:
    if _FILE is None:
        pytest.skip("oip_v2_rest.yaml not found: set IPFS_ACCELERATE_SPECS to the folder that holds it")
    loaded: dict[str, Any] = yaml.safe_load(_FILE.read_text())
    return loaded


def check(schemas: dict[str, Any], name: str, value: Any) -> None:
    jsonschema.validate(value, {"$ref": f"#/components/schemas/{name}", **schemas})


# --- Triton's client ---------------------------------------------------------------------------------------------


@pytest.fixture
def client() -> Iterator[triton.InferenceServerClient]:
    with SimulatorThread("ovms", models=["m"]) as simulator:
        client = triton.InferenceServerClient(f"127.0.0.1:{simulator.port}")
        yield client
        client.close()


def test_tritons_client_is_told_what_there_is(client: triton.InferenceServerClient) -> None:
    assert client.is_server_live()
    assert client.is_server_ready()
    assert client.is_model_ready("m", "1")
    assert not client.is_model_ready("m", "2")
    assert not client.is_model_ready("nope")
    assert client.get_server_metadata()["name"].startswith("OpenVINO Model Server")
    assert client.get_model_metadata("m", "1")["versions"] == ["1"]
    with pytest.raises(InferenceServerException, match="Model with requested name is not found"):
        client.get_model_metadata("nope")


@pytest.mark.parametrize("sent", [True, False])
@pytest.mark.parametrize("wanted", [True, False])
def test_tritons_client_infers(client: triton.InferenceServerClient, sent: bool, wanted: bool) -> None:
    arrays = {
        ("INPUT0", "FP32"): np.array([[1, 2], [3, 4.5]], np.float32),
        ("bytes", "BYTES"): np.array([b"ab", "€x".encode()], dtype=object),
        ("flags", "BOOL"): np.array([True, False]),
        ("wrap", "INT8"): np.array([100, -100], np.int8),
        ("large", "UINT64"): np.array([1 << 63, 7], np.uint64),
    }
    inputs = []
    for (name, kind), array in arrays.items():
        one = triton.InferInput(name, list(array.shape), kind)
        one.set_data_from_numpy(array, binary_data=sent)
        inputs.append(one)
    names = ["OUTPUT0", "bytes", "flags", "wrap", "large"]
    outputs = [triton.InferRequestedOutput(name, binary_data=wanted) for name in names]
    answer = client.infer("m", inputs, outputs=outputs, request_id="7")
    assert answer.get_response()["id"] == "7"
    assert answer.as_numpy("OUTPUT0").tolist() == [[2, 4], [6, 9]]
    assert [item.decode() if wanted else item for item in answer.as_numpy("bytes")] == ["ba", "x€"]
    assert answer.as_numpy("flags").tolist() == [False, True]
    assert answer.as_numpy("wrap").tolist() == [-56, 56]
    assert answer.as_numpy("large").tolist() == [0, 14]


def test_tritons_client_is_refused_what_is_wrong(client: triton.InferenceServerClient) -> None:
    one = triton.InferInput("input", [2], "FP32")
    one.set_data_from_numpy(np.array([1, 2], np.float32))
    for model, version, words in (("nope", "", "name is not found"), ("m", "9", "version is not found")):
        with pytest.raises(InferenceServerException, match=words):
            client.infer(model, [one], model_version=version)
    with pytest.raises(InferenceServerException, match="does not have"):
        client.infer("m", [one], outputs=[triton.InferRequestedOutput("nope")])


# --- the specification -------------------------------------------------------------------------------------------


async def test_answers_are_the_specifications(sim: Simulator, schemas: dict[str, Any]) -> None:
    check(schemas, "metadata_server_response", (await ask(sim, None, "/v2", method="GET")).json)
    check(schemas, "metadata_model_response", (await ask(sim, None, "/v2/models/m", method="GET")).json)
    request = {"id": "7", "inputs": [X, {"name": "b", "shape": [1], "datatype": "BOOL", "data": [True]}]}
    check(schemas, "inference_request", request)
    answer = await ask(sim, request, "/v2/models/a%2Fb/versions/1/infer")
    check(schemas, "inference_response", answer.json)
    assert (answer.json["model_name"], answer.json["id"]) == ("a/b", "7")
    assert [each["data"] for each in answer.json["outputs"]] == [[2.0, 4.0, 6.0, 9.0], [False]]
    refused = await ask(sim, {"inputs": []}, "/v2/models/m/infer")
    assert refused.status == 400
    check(schemas, "inference_error_response", refused.json)
    for path in ("/v2/health/live", "/v2/health/ready", "/v2/models/m/ready", "/v2/models/m/versions/1/ready"):
        got = await ask(sim, None, path, method="GET")
        assert (got.status, got.body) == (200, b"")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"shape": [3, 2]}, "Invalid number of elements"),
        ({"shape": ["2"]}, "shape"),
        ({"datatype": "FP31"}, "precision"),
        ({"datatype": "INT8"}, "Could not parse"),
        ({"datatype": "FP16"}, "binary form"),
        ({"name": None}, "no name"),
        ({"data": 1}, "must be a list"),
    ],
)
async def test_wrong_tensors_are_refused(sim: Simulator, change: dict[str, Any], words: str) -> None:
    got = await ask(sim, {"inputs": [{**X, **change}]}, "/v2/models/m/infer")
    assert got.status == 400
    assert words in got.json["error"]


async def test_wrong_requests_are_refused(sim: Simulator) -> None:
    for method, path, body, status in (
        ("GET", "/v2/models/m/infer", None, 405),
        ("POST", "/v2/models/m", {}, 405),
        ("POST", "/v2/models/m/infer", [], 400),
        ("POST", "/v2/models/m/infer", b"{", 400),
        ("GET", "/v2/nothing", None, 404),
        ("GET", "/nothing", None, 400),
        ("GET", "/v1/models/m/versions/9", None, 404),
    ):
        got = await ask(sim, body, path, method=method)
        assert (path, got.status, list(got.json)) == (path, status, ["error"])


# --- TensorFlow Serving's API, OpenAI's format, and the rest ------------------------------------------------------


async def test_predictions_in_rows_and_columns(sim: Simulator) -> None:
    async def predict(body: Any) -> Any:
        return (await ask(sim, body, "/v1/models/m/versions/1:predict")).json

    assert await predict({"inputs": {"input": [[1, 2]], "t": ["ab"]}}) == {"outputs": {"output": [[2, 4]], "t": ["ba"]}}
    assert await predict({"inputs": [[1.5], [2]]}) == {"outputs": [[3.0], [4.0]]}
    assert await predict({"instances": [{"a": [1], "b": True}, {"a": [2], "b": False}]}) == {
        "predictions": [{"a": [2], "b": False}, {"a": [4], "b": True}]
    }
    assert await predict({"instances": [[1], [2]]}) == {"predictions": [[2], [4]]}
    assert await predict({"instances": [{"b64": "/w=="}]}) == {"predictions": [{"b64": "/w=="}]}
    wrong: list[dict[str, Any]] = [
        {},
        {"inputs": 1, "instances": [1]},
        {"instances": []},
        {"inputs": [[1], [2, 3]]},
        {"inputs": None},
    ]
    for each in wrong:
        assert "error" in await predict(each)


async def test_status_metadata_and_configuration(sim: Simulator) -> None:
    async def get(path: str, method: str = "GET") -> Any:
        return (await ask(sim, None, path, method=method)).json

    [status] = (await get("/v1/models/m"))["model_version_status"]
    assert (status["version"], status["state"], status["status"]["error_code"]) == ("1", "AVAILABLE", "OK")
    assert list(await get("/v1/config")) == list(await get("/v1/config/reload", "POST")) == ["m", "a/b"]
    signature = (await get("/v1/models/m/metadata"))["metadata"]["signature_def"]["signatureDef"]["serving_default"]
    assert list(signature["inputs"]) == ["input"]


async def test_metrics_count_what_was_asked(sim: Simulator) -> None:
    from prometheus_client.parser import text_string_to_metric_families

    await ask(sim, {"inputs": [X]}, "/v2/models/m/infer")
    await ask(sim, {"inputs": [X]}, "/v2/models/m/infer")
    await ask(sim, {"inputs": []}, "/v2/models/m/infer")
    page = await ask(sim, None, "/metrics", method="GET")
    assert page.headers["content-type"].startswith("text/plain")
    found = {
        (sample.name, sample.labels.get("name")): sample.value
        for family in text_string_to_metric_families(page.body.decode())
        for sample in family.samples
    }
    assert (found["ovms_requests_success_total", "m"], found["ovms_requests_fail_total", "m"]) == (2, 1)


async def test_openais_format_is_under_v3() -> None:
    async with Simulator("ovms", models=["m"], reply="Hello there", api_keys=["k"]) as sim:
        body = {"model": "m", "messages": [{"role": "user", "content": "a"}]}
        got = await ask(sim, body, "/v3/chat/completions", authorization="Bearer k")
        assert got.json["choices"][0]["message"]["content"] == "Hello there"
        streamed = await ask(sim, {**body, "stream": True}, "/v3/chat/completions", authorization="Bearer k")
        assert "".join(streamed.tokens) == "Hello there"
        refused = await ask(sim, body, "/v3/chat/completions")
        assert (refused.status, refused.json) == (401, {"error": "Missing API key"})
        sim.script("503")
        failed = await ask(sim, body, "/v3/chat/completions", authorization="Bearer k")
        assert failed.status == 503
        assert isinstance(failed.json["error"], str), json.dumps(failed.json)
