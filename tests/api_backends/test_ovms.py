"""`ovms`: inferences, chats, and what the server says of itself."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from ipfs_accelerate_py import Client
from ipfs_accelerate_py.api_backends import ovms
from ipfs_accelerate_py.errors import ConfigurationError, InvalidRequest, ModelNotFound, ServerError
from ipfs_accelerate_py.simulator import SimulatorThread
from ipfs_accelerate_py.types import Tensor

MATRIX = [[1.0, 2.0], [3.0, 4.5]]
DOUBLED = [[2.0, 4.0], [6.0, 9.0]]


@pytest.fixture
def server() -> Iterator[SimulatorThread]:
    with SimulatorThread("ovms", models=["m", "other"], dimensions=4) as simulator:
        yield simulator


@pytest.fixture
def face(server: SimulatorThread) -> Iterator[ovms]:
    with ovms(base_url=server.url, initial_retry_delay=0.001) as made:
        yield made


def paths(server: SimulatorThread) -> list[str]:
    return [f"{request.method} {request.path}" for request in server.requests]


# --- inferences --------------------------------------------------------------------------------------------------


def test_a_list_alone_is_the_models_only_input(face: ovms, server: SimulatorThread) -> None:
    answer = face.infer("m", MATRIX, request_id="mine")
    assert answer["outputs"] == {"output": DOUBLED}
    assert answer["output"] == DOUBLED
    assert answer["tensors"] == [{"name": "output", "datatype": "FP32", "shape": [2, 2]}]
    assert (answer["model"], answer["version"], answer["request_id"]) == ("m", "1", "mine")
    # Its name and datatype were asked for, once.
    assert face.infer("m", inputs=[[1, 2]])["output"] == [[2.0, 4.0]]
    assert paths(server) == ["GET /v2/models/m", "POST /v2/models/m/infer", "POST /v2/models/m/infer"]
    assert server.requests[-1].body["inputs"][0]["datatype"] == "FP32"


@pytest.mark.parametrize(
    ("data", "asks"),
    [
        ({"input": MATRIX}, True),
        ({"input": np.array(MATRIX)}, True),  # float64, and the model wants FP32
        ({"input": Tensor("", [2, 2], "FP32", MATRIX)}, False),
        ({"input": {"shape": [2, 2], "datatype": "FP32", "data": MATRIX}}, False),
        (Tensor("input", [2, 2], "FP32", np.array(MATRIX, np.float32)), False),
        ([{"name": "input", "shape": [2, 2], "datatype": "FP32", "data": MATRIX}], False),
        (np.array(MATRIX, np.float32), True),
    ],
)
def test_the_forms_of_data(face: ovms, server: SimulatorThread, data: Any, asks: bool) -> None:
    answer = face.infer("m", data)
    assert answer["outputs"] == {"output": DOUBLED}
    assert answer["tensors"][0]["datatype"] == "FP32"
    assert (paths(server)[0] == "GET /v2/models/m") is asks


def test_several_inputs_and_kinds(face: ovms) -> None:
    outputs = face.infer(
        "m",
        {
            "texts": ["ab", "cd"],
            "flags": np.array([True, False]),
            "whole": [1, 2],
            "scalar": 3,
            "half": np.array([1.5], np.float16),
            "numbers": [np.float64(1.5), np.float64(2.5)],
        },
    )["outputs"]
    assert outputs == {
        "texts": ["ba", "dc"],
        "flags": [False, True],
        "whole": [2, 4],
        "scalar": [6],
        "half": [3.0],
        "numbers": [3.0, 5.0],
    }


def test_precision_is_the_datatype_of_floats_and_saves_the_question(server: SimulatorThread) -> None:
    with ovms(metadata={"ovms_api_url": server.url, "ovms_precision": "FP16", "ovms_model": "m"}) as face:
        answer = face.infer(data={"input": MATRIX, "whole": [1]})
        assert [each["datatype"] for each in answer["tensors"]] == ["FP16", "INT64"]
        assert face.infer(data={"input": MATRIX}, precision="FP64")["tensors"][0]["datatype"] == "FP64"
        assert paths(server) == ["POST /v2/models/m/infer"] * 2


def test_wrong_data_is_said_before_anything_is_sent(face: ovms, server: SimulatorThread) -> None:
    for data, words in (
        ({"x": [[1.0], [2.0, 3.0]]}, "nested unevenly"),
        ({"x": {"datatype": "FP32", "data": [1]}}, "needs shape, datatype and data"),
        ({"x": object()}, "an array or a list"),
    ):
        with pytest.raises(ConfigurationError, match=words):
            face.infer("m", data, precision="FP32")
    with pytest.raises(ConfigurationError, match="needs data"):
        face.infer("m")
    with pytest.raises(ConfigurationError, match="and not both"):
        face.infer("m", [1], [1])
    with pytest.raises(ConfigurationError, match="OVMS_MODEL"):
        face.infer(data={"x": [1.0]})
    assert not [path for path in paths(server) if path.startswith("POST")]


def test_versions_and_models_that_are_not_there(face: ovms) -> None:
    assert face.infer("m", {"input": MATRIX}, version=1)["version"] == "1"
    with pytest.raises(ModelNotFound, match="version is not found"):
        face.infer("m", {"input": MATRIX}, version="9")
    with pytest.raises(ModelNotFound, match="name is not found"):
        face.infer("nope", MATRIX)


def test_a_model_that_has_changed_is_asked_again(face: ovms, server: SimulatorThread) -> None:
    face.infer("m", MATRIX)
    server.script("400")
    with pytest.raises(InvalidRequest):
        face.infer("m", MATRIX)
    face.infer("m", MATRIX)
    assert paths(server).count("GET /v2/models/m") == 2


def test_tensorflow_servings_api(face: ovms, server: SimulatorThread) -> None:
    assert face.infer("m", {"input": MATRIX}, protocol="tfs", version=1)["outputs"] == {"output": DOUBLED}
    assert face.infer("m", MATRIX, protocol="tfs")["output"] == DOUBLED
    assert face.infer("m", {"a": [1, 2], "b": ["x", "y"]}, protocol="tfs", row_format=True)["outputs"] == {
        "a": [2, 4],
        "b": ["x", "y"],
    }
    assert face.infer("m", {"instances": [[1], [2]]}, protocol="tfs")["output"] == [[2], [4]]
    assert paths(server)[:2] == ["POST /v1/models/m/versions/1:predict", "POST /v1/models/m:predict"]


def test_the_rows_protocol_model_and_version(server: SimulatorThread, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in (("MODEL", "m"), ("VERSION", "1"), ("PROTOCOL", "tfs"), ("API_URL", server.url + "/v3")):
        monkeypatch.setenv(f"OVMS_{name}", value)
    with ovms() as face:
        assert face.infer(data=MATRIX)["output"] == DOUBLED
        assert face.chat(messages="Hello")["model"] == "m"
        assert "".join(piece["text"] for piece in face.stream_chat(None, "Hello"))
        assert "".join(each.text for each in Client("ovms").stream("", "Hello"))
    assert paths(server)[0] == "POST /v1/models/m/versions/1:predict"


def test_a_batch_is_answered_in_its_order(face: ovms, server: SimulatorThread) -> None:
    batch = [{"input": [[float(number)]]} for number in range(12)]
    answers = face.batch_infer("m", batch, precision="FP32", priority="LOW")
    assert [each["output"] for each in answers] == [[[2.0 * number]] for number in range(12)]
    assert face.batch_infer("m", []) == []
    with pytest.raises(ModelNotFound):
        face.batch_infer("nope", batch, precision="FP32")
    with pytest.raises(ConfigurationError, match="batch must be a list"):
        face.batch_infer("m", {"input": 1})  # type: ignore[arg-type]
    assert face.get_queue_info()["active_requests"] == 0


def test_binary_both_ways(face: ovms, server: SimulatorThread) -> None:
    answer = face.infer("m", {"input": np.array(MATRIX, np.float32)}, binary=True)
    assert answer["output"] == DOUBLED
    assert server.requests[-1].headers["content-type"] == "application/octet-stream"


# --- OpenAI's format ---------------------------------------------------------------------------------------------


def test_chat_stream_and_embedding(face: ovms, server: SimulatorThread) -> None:
    answer = face.chat("m", [{"role": "user", "content": "Hello"}], max_tokens=5)
    assert answer["usage"]["completion_tokens"] == 5
    pieces = list(face.stream_chat("m", "Hello", max_tokens=5))
    assert "".join(piece["text"] for piece in pieces) == face.chat("m", "Hello", max_tokens=5)["text"]
    assert [piece["done"] for piece in pieces][-1] is True
    assert len(face.embedding("m", "Some text")["embedding"]) == 4
    assert face.completions("m", "Once")["text"]
    assert [model["id"] for model in face.list_models()] == ["m", "other"]
    assert {path.split()[1].split("/")[1] for path in paths(server)} == {"v3"}


def test_rerank(face: ovms, server: SimulatorThread) -> None:
    documents = ["one", {"text": "two"}, "three"]
    answer = face.rerank("m", "Which?", documents, top_n=2)
    assert len(answer["results"]) == 2
    scores = [result["score"] for result in answer["results"]]
    assert scores == sorted(scores, reverse=True)
    assert server.requests[-1].path == "/v3/rerank"
    assert {result["index"] for result in answer["results"]} < {0, 1, 2}


def test_sound_and_images(server: SimulatorThread) -> None:
    with Client("ovms", base_url=server.url, model="m") as client:
        assert client.transcribe("", b"RIFF").text
        assert client.speak("", "Hello", voice="alloy").content_type.startswith("audio/")
        [image] = client.generate_images("", "A cat").images
        assert image.url or image.data
    assert paths(server) == [
        f"POST /v3/{name}" for name in ("audio/transcriptions", "audio/speech", "images/generations")
    ]


# --- the server --------------------------------------------------------------------------------------------------


def test_metadata_status_and_statistics(face: ovms, server: SimulatorThread) -> None:
    assert face.get_model_metadata("m")["inputs"][0]["name"] == "input"
    assert "signature_def" in face.get_model_metadata("m", protocol="tfs")["metadata"]
    status = face.get_model_status("m", version="1")
    assert (status["available"], status["versions"][0]["state"]) == (True, "AVAILABLE")
    for ask in (face.get_model_status, face.get_model_metadata):
        with pytest.raises(ModelNotFound):
            ask("nope")
    face.infer("m", MATRIX)
    found = face.get_server_statistics()
    assert found["models"]["m"]["requests_success"] == 5
    assert (found["successful_requests"], found["failed_requests"]) == (5, 2)


# --- shared ------------------------------------------------------------------------------------------------------


def test_a_handler_chats_or_infers_by_what_it_is_given(face: ovms) -> None:
    handler = face.create_ovms_endpoint_handler("m", max_tokens=3)
    assert handler("Hello")["usage"]["completion_tokens"] == 3
    assert handler([{"role": "user", "content": "Hello"}])["text"]
    assert face.create_ovms_endpoint_handler("m")({"input": MATRIX})["output"] == DOUBLED


async def test_every_verb_has_its_awaitable_twin(face: ovms) -> None:
    assert (await face.ainfer("m", MATRIX))["output"] == DOUBLED
    assert [each["output"] for each in await face.abatch_infer("m", [MATRIX])] == [DOUBLED]
    assert (await face.achat("m", "Hello"))["text"]
    assert [piece["done"] async for piece in face.astream_chat("m", "Hello")][-1] is True
    assert (await face.aget_model_metadata("m"))["name"] == "m"
    assert (await face.aget_model_status("m"))["available"]
    assert (await face.aget_server_statistics())["models"]
    assert (await face.create_ovms_endpoint_handler("m")(MATRIX))["output"] == DOUBLED


def test_an_endpoint_has_its_own_settings_and_the_same_model(server: SimulatorThread) -> None:
    with ovms(base_url=server.url, model="m", version="1") as face:
        endpoint = face.create_endpoint(max_retries=0)
        assert face.infer(data={"input": MATRIX}, endpoint_id=endpoint)["version"] == "1"
        server.script("503")
        with pytest.raises(ServerError):
            face.infer(data={"input": MATRIX}, endpoint_id=endpoint)
        assert face.get_usage_stats(endpoint)["failed_requests"] == 1


def test_failures_are_retried_and_keys_sent(server: SimulatorThread) -> None:
    with ovms(base_url=server.url, api_key="secret-key", initial_retry_delay=0.001) as face:
        server.script("503", "500")
        answer = face.infer("m", {"input": MATRIX}, precision="FP32")
        assert (answer["output"], answer["attempts"]) == (DOUBLED, 3)
        assert server.requests[-1].key == server.key_name("secret-key")
