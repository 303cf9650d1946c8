"""Tensors: checked before anything is sent, written in the binary layout and read back."""

from __future__ import annotations

import math
import struct
from array import array
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tritonclient.utils import deserialize_bytes_tensor, serialize_byte_tensor

from ipfs_accelerate_py.dialects.oip.tensors import DATATYPES, check, elements, nested, pack, unpack
from ipfs_accelerate_py.errors import ConfigurationError, ProtocolError
from ipfs_accelerate_py.types import Tensor

NUMPY = {
    "BOOL": np.bool_,
    "INT8": np.int8,
    "INT16": np.int16,
    "INT32": np.int32,
    "INT64": np.int64,
    "UINT8": np.uint8,
    "UINT16": np.uint16,
    "UINT32": np.uint32,
    "UINT64": np.uint64,
    "FP16": np.float16,
    "FP32": np.float32,
    "FP64": np.float64,
}


def values(datatype: str) -> list[Any]:
    if datatype == "BOOL":
        return [True, False, True, True]
    if datatype.startswith(("FP", "BF")):
        return [0.0, -1.5, math.inf, 2.0]
    low, high = np.iinfo(NUMPY[datatype]).min, np.iinfo(NUMPY[datatype]).max
    return [int(low), 0, 1, int(high)]


@pytest.mark.parametrize("datatype", NUMPY)
def test_the_binary_layout_is_numpys(datatype: str) -> None:
    given = values(datatype)
    lying: Any = np.array(given, NUMPY[datatype]).reshape(2, 2)
    packed = pack(check(Tensor("x", [2, 2], datatype, given)))
    assert packed == lying.tobytes()
    assert unpack(packed, datatype) == given
    assert [type(value) for value in unpack(packed, datatype)] == [type(value) for value in given]
    # An array is read as it lies, and one that lies otherwise by its elements.
    assert check(Tensor("x", [2, 2], datatype, lying)).data == packed
    assert check(Tensor("x", [2, 2], datatype, np.asfortranarray(lying))).data == packed


def test_bfloat16_is_the_upper_half_of_a_float_rounded_to_even() -> None:
    given = [1.0, -2.5, 3.140625, 1.00390625, 1.01171875, math.inf, -0.0]
    packed = pack(check(Tensor("x", [7], "BF16", given)))
    assert packed[:2] == struct.pack("<f", 1.0)[2:]
    # The two between neighbours go to the even one, as every library rounds.
    assert unpack(packed, "BF16") == [1.0, -2.5, 3.140625, 1.0, 1.015625, math.inf, -0.0]
    assert math.isnan(unpack(pack(check(Tensor("x", [1], "BF16", [math.nan]))), "BF16")[0])


@given(st.lists(st.one_of(st.binary(max_size=20), st.text(max_size=10)), min_size=1, max_size=8))
def test_bytes_are_written_as_tritons_client_writes_them(given: list[Any]) -> None:
    packed = pack(check(Tensor("x", [len(given)], "BYTES", given)))
    expected = [item if isinstance(item, bytes) else item.encode() for item in given]
    theirs = serialize_byte_tensor(np.array([*expected, None], dtype=object)[:-1]).item()
    assert packed == theirs
    assert unpack(packed, "BYTES") == expected == list(deserialize_bytes_tensor(packed))


@pytest.mark.parametrize(
    ("tensor", "words"),
    [
        (Tensor("x", [2, 2], "FP32", [1.0, 2.0, 3.0]), "'x' of shape .* has 4 elements, and its data has 3"),
        (Tensor("x", [2, 2], "FP32", [[1.0, 2.0, 3.0], [4.0]]), "its data is not so in dimension 1"),
        (Tensor("x", [4], "FP32", [[1.0, 2.0], [3.0, 4.0]]), "not so in dimension 0"),
        (Tensor("x", [2], "FP32", [[1.0], [2.0]]), "more dimensions"),
        (Tensor("x", [2], "FP32", b"\0" * 7), "has 8 bytes, and its data has 7"),
        (Tensor("x", [2], "FP31", [1.0, 2.0]), "datatype 'FP31'; the datatypes are: BOOL"),
        (Tensor("x", [-1], "FP32", [1.0]), "no dimension below 0"),
        (Tensor("x", [1.5], "FP32", [1.0]), "shape of whole numbers"),  # type: ignore[list-item]
        (Tensor("x", [1], "INT8", [200]), "out of range"),
        (Tensor("x", [1], "UINT64", [-1]), "out of range"),
        (Tensor("x", [1], "INT64", [1.0]), "an element of type float"),
        (Tensor("x", [1], "INT64", [True]), "an element of type bool"),
        (Tensor("x", [1], "BOOL", [1]), "an element of type int"),
        (Tensor("x", [1], "FP32", ["1"]), "an element of type str"),
        (Tensor("x", [1], "BYTES", [1]), "an element of type int"),
        (Tensor("x", [1], "BYTES", b"\x05\0\0\0abc"), "before the length"),
        (Tensor("x", [2], "BYTES", b"\x03\0\0\0abc"), "has 2 elements, and its data has 1"),
        (Tensor("x", [1], "FP32", 1.0), "a list, an array or bytes"),
        (Tensor("x", [2, 2], "FP32", np.zeros((4,), np.float64)), "not so|4 elements|16 bytes"),
    ],
)
def test_what_is_not_right_is_said_before_anything_is_sent(tensor: Tensor, words: str) -> None:
    if isinstance(tensor.data, np.ndarray):
        check(tensor)  # an array's elements in their order, whatever its own shape
        return
    with pytest.raises(ConfigurationError, match=words):
        check(tensor)


def test_arrays_of_another_kind_are_converted_where_nothing_is_lost() -> None:
    assert check(Tensor("x", [2], "FP32", np.array([1, 2], np.int64))).data == [1, 2]
    assert check(Tensor("x", [2], "INT32", np.array([1, 2], np.int64))).data == [1, 2]
    assert check(Tensor("x", [2], "FP64", array("d", [1.0, 2.0]))).data == struct.pack("<2d", 1, 2)
    assert check(Tensor("x", [2], "UINT8", bytearray(b"\1\2"))).data == b"\1\2"
    assert check(Tensor("x", [2], "FP32", (np.float32(1.5), 2))).data == [1.5, 2]
    assert check(Tensor("x", [2, 1], "FP32", [np.array([1.5], np.float32), [2.0]])).data == [[1.5], [2.0]]
    assert check(Tensor("x", [1], "BYTES", np.array(["é"], dtype=object))).data == ["é"]
    with pytest.raises(ConfigurationError, match="out of range"):
        check(Tensor("x", [1], "INT8", np.array([200], np.int64)))
    with pytest.raises(ConfigurationError, match="type float"):
        check(Tensor("x", [1], "INT8", np.array([1.5])))


@pytest.mark.parametrize("shape", [[], [3], [2, 3], [2, 1, 2], [0], [2, 0], [0, 3], [2, 0, 3]])
def test_nesting_is_numpys(shape: list[int]) -> None:
    expected = np.arange(math.prod(shape), dtype=np.int32).reshape(shape)
    tensor = Tensor("x", shape, "INT32", expected.tobytes())
    assert nested(tensor) == expected.tolist()
    assert elements(tensor) == expected.flatten().tolist()
    assert nested(Tensor("x", shape, "INT32", elements(tensor))) == expected.tolist()


def test_bytes_that_are_no_elements_are_refused() -> None:
    with pytest.raises(ProtocolError, match="no whole number"):
        unpack(b"\0\0\0", "FP16")
    with pytest.raises(ProtocolError, match="unknown datatype 'X'"):
        unpack(b"", "X")
    for cut in range(1, 9):
        with pytest.raises(ProtocolError):
            unpack(b"\x01\0\0\0a\x00\x00\x00\x00"[:cut] if cut not in (5,) else b"\1", "BYTES")
            raise ProtocolError("whole")  # cuts between elements are whole
    assert set(DATATYPES) == {*NUMPY, "BF16", "BYTES"}
