"""What a run tries."""

from __future__ import annotations

import pytest

from ipfs_accelerate_py.errors import ConfigurationError, RuntimeUnavailable
from ipfs_accelerate_py.matrix.plan import devices_here, make_plan, read_shard
from ipfs_accelerate_py.runtimes.families.catalog import known_types
from ipfs_accelerate_py.runtimes.probes.results import Cell


def test_every_type_is_found_without_a_name() -> None:
    plan = make_plan(devices=("cpu",))
    assert {cell.subject for cell in plan.cells} == set(known_types())
    assert len(plan.cells) == 4 * len(known_types())
    assert plan.cells[:4] == tuple(
        Cell(known_types()[0], *each)
        for each in (("torch", "float32"), ("torch", "bfloat16"), ("openvino", "float32"), ("openvino", "int8-weights"))
    )


def test_shards_are_all_and_share_nothing() -> None:
    parts = [set(make_plan(shard=(number, 3)).cells) for number in (1, 2, 3)]
    assert set().union(*parts) == set(make_plan().cells)
    assert sum(map(len, parts)) == len(make_plan().cells)


def test_a_sample_follows_from_its_seed() -> None:
    one, again, other = (make_plan(sample=10, seed=seed) for seed in (1, 1, 2))
    assert one == again
    assert one.cells != other.cells
    assert len({cell.subject for cell in one.cells}) == 10


def test_a_device_that_is_not_here_is_planned_where_it_is_named_and_told_of_where_not() -> None:
    here = devices_here()
    if not here["cuda"]:
        pytest.skip("this machine has CUDA")
    assert make_plan().said["absent"]["torch on cuda"] == here["cuda"]
    named = make_plan(types=("bert",), runtimes=("torch",), precisions=("float32",), devices=("cpu", "cuda"))
    assert named.cells == (Cell("bert"), Cell("bert", device="cuda"))


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"runtimes": ("tensorrt",)}, "torch, openvino, llvm"),
        ({"precisions": ("int3",)}, "int8-weights"),
        ({"devices": ("tpu",)}, "cuda"),
    ],
)
def test_a_wrong_name_is_told_what_there_is(wrong: dict[str, tuple[str, ...]], says: str) -> None:
    with pytest.raises(ConfigurationError, match=says):
        make_plan(**wrong)  # type: ignore[arg-type]


def test_a_type_that_is_gone_is_told_what_became_of_it() -> None:
    with pytest.raises(RuntimeUnavailable, match="transfo-xl"):
        make_plan(types=("transfo-xl",))


@pytest.mark.parametrize("text", ["0/4", "5/4", "4", "a/b", "1/0", "-1/4"])
def test_a_shard_that_there_cannot_be(text: str) -> None:
    with pytest.raises(ConfigurationError, match="write 2/4"):
        read_shard(text)
