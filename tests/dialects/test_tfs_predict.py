"""TensorFlow Serving's API: columns and rows, both ways."""

from __future__ import annotations

import contextlib
import json
import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ipfs_accelerate_py.dialects.tfs import decode_predict, encode_predict, model_path
from ipfs_accelerate_py.errors import (
    BackendError,
    ConfigurationError,
    ModelNotFound,
    ProtocolError,
    UnsupportedOperation,
)
from ipfs_accelerate_py.types import InferRequest, Tensor

A = Tensor("a", [2, 2], "FP32", np.array([[1, 2], [3, 4]], np.float32))
B = Tensor("b", [2], "BYTES", ["x", b"\xff"])


def sent(*tensors: Tensor, **options: Any) -> Any:
    wire = encode_predict(InferRequest("m", list(tensors), "3", options))
    assert (wire.method, wire.path, wire.headers) == ("POST", "/v1/models/m/versions/3:predict", None)
    assert wire.body is not None
    return json.loads(wire.body)


def read(body: Any, **options: Any) -> list[tuple[str, list[int], str, Any]]:
    reply = decode_predict(json.dumps(body).encode(), InferRequest("m", [], options=options))
    return [(each.name, each.shape, each.datatype, each.data) for each in reply.tensors]


def test_columns_and_rows() -> None:
    assert sent(A, B) == {"inputs": {"a": [[1, 2], [3, 4]], "b": ["x", {"b64": "/w=="}]}}
    assert sent(A, B, row_format=True, signature_name="s") == {
        "signature_name": "s",
        "instances": [{"a": [1, 2], "b": "x"}, {"a": [3, 4], "b": {"b64": "/w=="}}],
    }
    lone = Tensor("", [2, 1], "INT64", [5, 6])
    assert sent(lone) == {"inputs": [[5], [6]]}
    assert sent(lone, row_format=True) == {"instances": [[5], [6]]}
    # A body of the caller's own.
    assert sent(instances=[1.0]) == {"instances": [1.0]}


def test_what_the_api_cannot_say_is_refused() -> None:
    for options in ({"binary": True}, {"parameters": {"a": 1}}):
        with pytest.raises(UnsupportedOperation, match=r"protocol='oip'"):
            sent(A, **options)
    assert encode_predict(InferRequest("m", [A], options={"id": "7", "binary": False})).ignored == ("id",)
    wrong: list[tuple[list[Tensor], dict[str, Any], str]] = [
        ([A, A], {}, "one name"),
        ([A, Tensor("", [1], "INT64", [1])], {}, "needs a name"),
        ([], {}, "needs tensors"),
        ([A, Tensor("c", [3], "INT64", [1, 2, 3])], {"row_format": True}, "first dimension"),
        ([Tensor("c", [], "INT64", [1])], {"row_format": True}, "first dimension"),
        ([Tensor("c", [1], "FP32", [math.nan])], {}, "not finite"),
        ([Tensor("c", [2], "FP32", [1.0])], {}, "2 elements"),
    ]
    for tensors, options, words in wrong:
        with pytest.raises(ConfigurationError, match=words):
            sent(*tensors, **options)


def test_paths() -> None:
    assert model_path("a/b", "", "predict") == "/v1/models/a%2Fb:predict"
    assert model_path("a:predict", "1:x") == "/v1/models/a%3Apredict/versions/1%3Ax"
    assert model_path("m", "2", "metadata") == "/v1/models/m/versions/2/metadata"


def test_answers_in_columns_and_rows() -> None:
    assert read({"outputs": {"y": [[1, 2.5]], "z": [True]}}) == [
        ("y", [1, 2], "FP32", [1, 2.5]),
        ("z", [1], "BOOL", [True]),
    ]
    assert read({"outputs": [[1], [2]]}) == [("outputs", [2, 1], "INT64", [1, 2])]
    assert read({"predictions": [[0.5], [1.5]]}) == [("predictions", [2, 1], "FP32", [0.5, 1.5])]
    assert read({"predictions": [{"y": [1], "t": "a"}, {"y": [2], "t": {"b64": "/w=="}}]}) == [
        ("y", [2, 1], "INT64", [1, 2]),
        ("t", [2], "BYTES", ["a", b"\xff"]),
    ]
    assert read({"outputs": {"b64": "/w=="}}) == [("outputs", [], "BYTES", [b"\xff"])]
    assert [each[0] for each in read({"outputs": {"y": [1], "z": [2]}}, outputs=["z"])] == ["z"]


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ({}, "neither"),
        ({"outputs": [[1], [2, 3]]}, "unevenly"),
        ({"outputs": [[1], 2]}, "unevenly"),
        ({"outputs": [1, "a"]}, "several kinds"),
        ({"outputs": [None]}, "several kinds"),
        ({"outputs": [{"c64": ""}]}, "cannot be read"),
        ({"predictions": [{"a": 1}, {"b": 1}]}, "same outputs"),
    ],
)
def test_answers_that_are_none(body: Any, words: str) -> None:
    with pytest.raises(ProtocolError, match=words):
        read(body)


def test_errors_and_outputs_that_are_missing() -> None:
    with pytest.raises(ModelNotFound):
        read({"error": "Model with requested name is not found"})
    with pytest.raises(ProtocolError, match="no output 'q'; it has: y"):
        read({"outputs": {"y": [1]}}, outputs=["q"])


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(), lambda i: st.lists(i) | st.dictionaries(st.text(), i)
    )
)
def test_whatever_comes_is_read_or_a_typed_error(value: Any) -> None:
    for name in ("outputs", "predictions"):
        with contextlib.suppress(BackendError):
            read({name: value})
