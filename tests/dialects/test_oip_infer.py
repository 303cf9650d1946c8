"""The Open Inference Protocol over HTTP: what is sent, and what is read of answers."""

from __future__ import annotations

import contextlib
import json
import math
from typing import Any

import numpy as np
import pytest
import tritonclient.http as triton
from hypothesis import given
from hypothesis import strategies as st

from ipfs_accelerate_py.dialects.oip.dialect import LENGTH, decode_infer, encode_infer, model_path
from ipfs_accelerate_py.errors import (
    BackendError,
    ConfigurationError,
    ModelNotFound,
    ProtocolError,
    UnsupportedOperation,
)
from ipfs_accelerate_py.types import InferRequest, Tensor

MATRIX = Tensor("x", [2, 2], "FP32", [[1.0, 2.0], [3.0, 4.5]])


def sent(*tensors: Tensor, **options: Any) -> tuple[dict[str, Any], bytes, dict[str, str]]:
    """The JSON object, the bytes after it, and the headers."""
    wire = encode_infer(InferRequest("m", list(tensors), options=options))
    assert (wire.method, wire.path) == ("POST", "/v2/models/m/infer")
    assert wire.body is not None
    headers = wire.headers or {}
    length = int(headers.get(LENGTH, len(wire.body)))
    return json.loads(wire.body[:length]), wire.body[length:], headers


def test_json_has_the_callers_lists_and_no_header_of_the_binary_form() -> None:
    body, rest, headers = sent(MATRIX, Tensor("t", [2], "BYTES", ["a", b"b"]))
    assert body == {
        "inputs": [
            {"name": "x", "shape": [2, 2], "datatype": "FP32", "data": [[1.0, 2.0], [3.0, 4.5]]},
            {"name": "t", "shape": [2], "datatype": "BYTES", "data": ["a", "b"]},
        ]
    }
    # Content-Type stays the backend's own: application/json.
    assert (rest, headers) == (b"", {})


def test_options_are_the_protocols_own_and_others_pass_through() -> None:
    body, _, _ = sent(
        MATRIX,
        id="7",
        parameters={"priority": 1},
        outputs=["y", {"name": "z", "parameters": {"classification": 2}}],
        sequence="s",
    )
    del body["inputs"]
    assert body == {
        "id": "7",
        "parameters": {"priority": 1},
        "outputs": [{"name": "y"}, {"name": "z", "parameters": {"classification": 2}}],
        "sequence": "s",
    }
    wrong: list[Any] = ["y", [1], [{"parameters": {}}]]
    for each in wrong:
        with pytest.raises(ConfigurationError, match="outputs"):
            sent(MATRIX, outputs=each)
    with pytest.raises(UnsupportedOperation, match="rows"):
        sent(MATRIX, row_format=True)


def test_what_json_cannot_say_goes_as_bytes_beside_what_it_can() -> None:
    body, rest, headers = sent(
        MATRIX,
        Tensor("h", [2], "FP16", [1.5, 2.0], {"binary_data_size": 99, "mine": "kept"}),
        Tensor("n", [1], "FP64", [math.nan]),
        Tensor("b", [1], "BYTES", [b"\xff"]),
        Tensor("r", [2], "UINT8", b"\1\2"),
    )
    assert headers == {"Content-Type": "application/octet-stream", LENGTH: headers[LENGTH]}
    sizes = [each.get("parameters", {}).get("binary_data_size") for each in body["inputs"]]
    assert sizes == [None, 4, 8, 5, 2]
    assert body["inputs"][1]["parameters"] == {"binary_data_size": 4, "mine": "kept"}
    assert "data" in body["inputs"][0]
    assert all("data" not in each for each in body["inputs"][1:])
    assert rest == np.array([1.5, 2.0], "<f2").tobytes() + np.array([np.nan]).tobytes() + b"\1\0\0\0\xff" + b"\1\2"
    # Answers were not asked for in bytes.
    assert "parameters" not in body


def test_binary_is_the_same_request_as_tritons_client_writes() -> None:
    arrays = [np.array([[1, 2], [3, 4]], np.float32), np.array([b"ab", "€".encode()], object), np.array([True])]
    kinds = ["FP32", "BYTES", "BOOL"]
    inputs = []
    for index, (array, kind) in enumerate(zip(arrays, kinds, strict=True)):
        one = triton.InferInput(f"i{index}", list(array.shape), kind)
        one.set_data_from_numpy(array, binary_data=True)
        inputs.append(one)
    outputs = [triton.InferRequestedOutput("o", binary_data=True)]
    theirs, length = triton.InferenceServerClient.generate_request_body(inputs, outputs=outputs, request_id="7")
    ours = [Tensor(f"i{i}", list(a.shape), k, a) for i, (a, k) in enumerate(zip(arrays, kinds, strict=True))]
    body, rest, _ = sent(*ours, binary=True, outputs=["o"], id="7")
    assert body == json.loads(theirs[:length])
    assert rest == theirs[length:]
    asked, _, _ = sent(*ours, binary=True)
    assert asked["parameters"] == {"binary_data_output": True}


def test_binary_can_be_refused_for_all() -> None:
    body, rest, headers = sent(Tensor("x", [2], "FP16", np.array([1.5, 2.0], np.float16)), binary=False)
    assert (body["inputs"][0]["data"], rest, headers) == ([1.5, 2.0], b"", {})
    for tensor in (Tensor("x", [1], "FP32", [math.inf]), Tensor("x", [1], "BYTES", [b"\xff"])):
        with pytest.raises(ConfigurationError, match="binary=True"):
            sent(tensor, binary=False)


@pytest.mark.parametrize(
    ("name", "version", "path"),
    [
        ("m", "", "/v2/models/m"),
        ("meta/llama 3", "2", "/v2/models/meta%2Fllama%203/versions/2"),
        ("a/../../admin?x#y%2e", "1/ready", "/v2/models/a%2F..%2F..%2Fadmin%3Fx%23y%252e/versions/1%2Fready"),
    ],
)
def test_names_stay_one_segment_of_the_path(name: str, version: str, path: str) -> None:
    assert model_path(name, version) == path
    assert model_path(name, version, "infer") == f"{path}/infer"


@pytest.mark.parametrize("name", ["", ".", ".."])
def test_names_that_lead_elsewhere_are_refused(name: str) -> None:
    with pytest.raises(ConfigurationError, match="no name of a model"):
        model_path(name)
    if name:
        with pytest.raises(ConfigurationError, match="no name of a version"):
            model_path("m", name)


# --- answers -----------------------------------------------------------------------------------------------------


def answer(*outputs: dict[str, Any], raw: bytes = b"", **fields: Any) -> tuple[bytes, dict[str, str]]:
    head = json.dumps({"model_name": "m", "outputs": list(outputs), **fields}).encode()
    return head + raw, {LENGTH: str(len(head))} if raw else {}


def output(name: str, shape: list[int], datatype: str, **fields: Any) -> dict[str, Any]:
    return {"name": name, "shape": shape, "datatype": datatype, **fields}


def test_json_and_bytes_may_be_mixed_in_one_answer() -> None:
    body, headers = answer(
        output("a", [2], "FP32", data=[1.0, 2.0]),
        output("b", [2], "INT16", parameters={"binary_data_size": 4, "kept": 1}),
        output("c", [1], "BYTES", parameters={"binary_data_size": 5}),
        output("d", [0], "FP32", parameters={"binary_data_size": 0}),
        raw=b"\1\0\2\0" + b"\1\0\0\0z",
        id="7",
        model_version="3",
        unknown={"kept": True},
    )
    reply = decode_infer(body, headers)
    assert [(each.name, each.data, each.parameters) for each in reply.tensors] == [
        ("a", [1.0, 2.0], {}),
        ("b", [1, 2], {"kept": 1}),
        ("c", [b"z"], {}),
        ("d", [], {}),
    ]
    assert (reply.model, reply.id, reply.raw["model_version"], reply.raw["unknown"]) == ("m", "7", "3", {"kept": True})
    kept = decode_infer(body, headers, binary=True).tensors
    assert [each.data for each in kept] == [[1.0, 2.0], b"\1\0\2\0", b"\1\0\0\0z", b""]


def test_tritons_client_reads_the_same() -> None:
    body, headers = answer(
        output("b", [2], "INT16", parameters={"binary_data_size": 4}),
        output("a", [2], "FP32", data=[1.0, 2.0]),
        raw=b"\1\0\2\0",
    )
    theirs = triton.InferenceServerClient.parse_response_body(body, header_length=int(headers[LENGTH]))
    for each in decode_infer(body, headers).tensors:
        assert theirs.as_numpy(each.name).tolist() == each.data


def test_numbers_that_json_does_not_have_are_read() -> None:
    body = (
        b'{"model_name": "m", "outputs": [{"name": "a", "shape": [3], "datatype": "FP32", "data": [NaN, Infinity, 1]}]}'
    )
    assert str(decode_infer(body, {}).tensors[0].data) == "[nan, inf, 1]"


@pytest.mark.parametrize(
    ("body", "headers", "words"),
    [
        (b"<html>", {}, "not JSON"),
        (b"[1]", {}, "not a JSON object but a list"),
        (b"{}", {}, "KeyError: 'outputs'"),
        (b'{"outputs": 1}', {}, "no list"),
        (b'{"outputs": [1]}', {}, "AttributeError"),
        (answer(output("a", [2], "FP32", data=[1.0]))[0], {}, "another number of elements"),
        (answer(output("a", [2], "FP32"))[0], {}, "no data"),
        (answer(output("a", [-1], "FP32", data=[1.0]))[0], {}, "no shape"),
        (answer(output("a", [1], "FP32", parameters={"binary_data_size": 4}))[0], {}, "not there"),
        (*answer(output("a", [1], "FP32", parameters={"binary_data_size": 4}), raw=b"\0" * 3), "not there"),
        (*answer(output("a", [1], "FP32", parameters={"binary_data_size": 2}), raw=b"\0" * 2), "came with 2 bytes"),
        (*answer(output("a", [1], "FP32", parameters={"binary_data_size": 4}), raw=b"\0" * 5), "belong to no tensor"),
        (*answer(output("a", [1], "FP32", parameters={"binary_data_size": True}), raw=b"\0" * 5), "not there"),
        (*answer(output("a", [1], "NEW", parameters={"binary_data_size": 4}), raw=b"\0" * 4), "unknown datatype"),
        (b"{}", {LENGTH: "3"}, "says that '3'"),
        (b"{}", {LENGTH: "-1"}, "says that '-1'"),
    ],
)
def test_what_is_no_answer_is_an_error_and_never_a_gap(body: bytes, headers: dict[str, str], words: str) -> None:
    with pytest.raises(ProtocolError, match=words):
        decode_infer(body, headers)


def test_an_error_that_came_with_status_200_is_one() -> None:
    with pytest.raises(ModelNotFound, match="Model with requested name is not found"):
        decode_infer(b'{"error": "Model with requested name is not found"}', {})


@given(st.recursive(st.none() | st.booleans() | st.integers() | st.text(), lambda inner: st.lists(inner)), st.data())
def test_whatever_json_comes_is_read_or_a_typed_error(value: Any, data: st.DataObject) -> None:
    place = data.draw(st.sampled_from(["outputs", "name", "shape", "datatype", "data", "parameters"]))
    one: dict[str, Any] = output("a", [1], "FP32", data=[1.0])
    body = {"outputs": value} if place == "outputs" else {"outputs": [{**one, place: value}]}
    with contextlib.suppress(BackendError):
        decode_infer(json.dumps(body).encode(), {})
