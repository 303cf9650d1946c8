"""How large a checkpoint is said to be, without loading it."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest

from ipfs_accelerate_py.errors import RuntimeUnavailable
from ipfs_accelerate_py.runtimes.engines.sizes import Weights, human, measure_weights, needed

torch = pytest.importorskip("torch")
save_file = pytest.importorskip("safetensors.torch").save_file


def test_headers_are_added_up_over_shards_and_formats(tmp_path: Path) -> None:
    save_file(
        {"a": torch.zeros(3, 5), "b": torch.zeros(7, dtype=torch.bfloat16)}, tmp_path / "model-1.safetensors",
        metadata={"format": "pt"},
    )  # fmt: skip
    save_file({"c": torch.zeros(2, dtype=torch.int64), "d": torch.zeros(())}, tmp_path / "model-2.safetensors")
    weights = measure_weights(tmp_path)
    assert weights == Weights(count=15 + 7 + 2 + 1, bytes=60 + 14 + 16 + 4)
    assert weights.at("auto") == 94
    assert weights.at("bfloat16") == 50
    assert weights.at("int4") < weights.at("int8-weights") < weights.at("float16") < weights.at("float32")


def test_pickled_weights_are_taken_for_float32(tmp_path: Path) -> None:
    (tmp_path / "pytorch_model-1.bin").write_bytes(b"x" * 400)
    (tmp_path / "pytorch_model-2.bin").write_bytes(b"x" * 40)
    (tmp_path / "training_args.bin").write_bytes(b"x" * 4000)
    assert measure_weights(tmp_path) == Weights(110, 440)


def test_a_single_file_is_what_it_takes_on_disk(tmp_path: Path) -> None:
    (tmp_path / "model.gguf").write_bytes(b"GGUF" * 100)
    assert measure_weights(tmp_path / "model.gguf").at("auto") == 400


def test_a_model_that_shrinks_needs_what_loading_it_takes(tmp_path: Path) -> None:
    save_file({"a": torch.zeros(100, 10)}, tmp_path / "model.safetensors")
    assert needed(tmp_path, "float16") == 2000
    assert needed(tmp_path, "int4", loading="float32") == 4000


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\x01\x02",
        struct.pack("<Q", 1 << 60) + b"{}",
        struct.pack("<Q", 4) + b"{no}",
        struct.pack("<Q", 24) + b'{"a": {"dtype": "F32"}} ',
        struct.pack("<Q", 2) + b"[]",
    ],
)
def test_a_broken_header_is_a_typed_error_that_names_the_file(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "model.safetensors").write_bytes(content)
    with pytest.raises(RuntimeUnavailable, match=r"model\.safetensors is no readable"):
        measure_weights(tmp_path)


def test_a_folder_without_weights_says_so(tmp_path: Path) -> None:
    with pytest.raises(RuntimeUnavailable, match="has no weights"):
        measure_weights(tmp_path)


def test_sizes_for_people() -> None:
    assert [human(each) for each in (0, 999, 1500, 2_340_000, 7 * 10**9, 10**13)] == [
        "0 bytes", "999 bytes", "1.5 KB", "2.3 MB", "7.0 GB", "10.0 TB",
    ]  # fmt: skip
