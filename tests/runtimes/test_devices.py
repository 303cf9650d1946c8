"""What the machine says it can do, and what is chosen from it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from ipfs_accelerate_py.errors import ConfigurationError, RuntimeUnavailable
from ipfs_accelerate_py.runtimes import devices


@pytest.mark.parametrize(
    ("cpuinfo", "native"),
    [
        ("processor\t: 0\nflags\t\t: fpu avx2 avx512f avx512_bf16\n", True),
        ("processor\t: 0\nflags\t\t: fpu amx_tile amx_bf16\nprocessor : 1\nflags : fpu\n", True),
        ("processor\t: 0\nFeatures\t: fp asimd bf16 i8mm\n", True),
        # AVX-512 without the format's own instructions only emulates it, slowly.
        ("processor\t: 0\nflags\t\t: fpu avx2 avx512f avx512_vnni\n", False),
        ("processor\t: 0\n", False),
    ],
)
def test_bfloat16_is_native_only_with_instructions_for_it(tmp_path: Path, cpuinfo: str, native: bool) -> None:
    file = tmp_path / "cpuinfo"
    file.write_text(cpuinfo)
    assert devices.native_bfloat16(devices.cpu_flags(file)) is native


def test_a_system_without_cpuinfo_has_no_flags_to_tell(tmp_path: Path) -> None:
    assert devices.cpu_flags(tmp_path / "none") == frozenset()


@pytest.mark.parametrize(
    ("flags", "wanted", "chosen"),
    [
        ({"avx512_bf16"}, "auto", "bfloat16"),
        ({"avx512f"}, "auto", "float32"),
        ({"avx512f"}, "bfloat16", "bfloat16"),
        ({"avx512_bf16"}, "float32", "float32"),
    ],
)
def test_auto_takes_bfloat16_only_where_it_is_native(
    monkeypatch: pytest.MonkeyPatch, flags: set[str], wanted: str, chosen: str
) -> None:
    monkeypatch.setattr(devices, "cpu_flags", lambda: frozenset(flags))
    assert devices.choose_dtype(wanted, "cpu") == chosen


@pytest.mark.parametrize(("native", "chosen"), [(True, "bfloat16"), (False, "float32")])
def test_on_cuda_the_device_is_asked(monkeypatch: pytest.MonkeyPatch, native: bool, chosen: str) -> None:
    torch = pytest.importorskip("torch")
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: native or including_emulation)
    assert devices.choose_dtype("auto", "cuda") == chosen


def test_torch_is_asked_where_the_system_does_not_tell(monkeypatch: pytest.MonkeyPatch) -> None:
    torch = pytest.importorskip("torch")
    monkeypatch.setattr(devices, "cpu_flags", lambda: frozenset())
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx512_bf16": True, "num_sockets": 1}, raising=False)
    assert devices.choose_dtype("auto", "cpu") == "bfloat16"


@pytest.mark.parametrize(
    ("files", "cpus"),
    [
        ({}, 8),
        ({"cpu.max": "max 100000\n"}, 8),
        ({"cpu.max": "250000 100000\n"}, 3),
        ({"cpu.max": "5000 100000\n"}, 1),
        ({"cpu.max": "9900000 100000\n"}, 8),
        ({"cpu/cpu.cfs_quota_us": "200000\n", "cpu/cpu.cfs_period_us": "100000\n"}, 2),
        ({"cpu/cpu.cfs_quota_us": "-1\n", "cpu/cpu.cfs_period_us": "100000\n"}, 8),
        ({"cpu.max": "garbage\n"}, 8),
    ],
)
def test_a_containers_quota_bounds_the_processors(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, files: dict[str, str], cpus: int
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)), raising=False)
    for name, content in files.items():
        file = tmp_path / name
        file.parent.mkdir(exist_ok=True)
        file.write_text(content)
    assert devices.available_cpus(tmp_path) == cpus


def test_words_that_are_no_device_or_dtype_are_refused() -> None:
    with pytest.raises(ConfigurationError, match="unknown device 'gpu'"):
        devices.choose_device("gpu")
    with pytest.raises(ConfigurationError, match="unknown dtype 'int8'"):
        devices.choose_dtype("int8", "cpu")


@pytest.mark.parametrize(
    ("present", "wanted", "chosen"),
    [(0, "auto", "cpu"), (0, "cpu", "cpu"), (2, "auto", "cuda"), (2, "cuda", "cuda"), (2, "cuda:1", "cuda:1")],
)
def test_auto_takes_cuda_where_there_is_one(
    monkeypatch: pytest.MonkeyPatch, present: int, wanted: str, chosen: str
) -> None:
    pretend_cuda(monkeypatch, present)
    assert devices.choose_device(wanted) == chosen


@pytest.mark.parametrize(("present", "wanted"), [(0, "cuda"), (0, "cuda:0"), (1, "cuda:1")])
def test_a_device_that_is_not_there_is_refused(monkeypatch: pytest.MonkeyPatch, present: int, wanted: str) -> None:
    pretend_cuda(monkeypatch, present)
    with pytest.raises(RuntimeUnavailable, match=wanted):
        devices.choose_device(wanted)


def pretend_cuda(monkeypatch: pytest.MonkeyPatch, present: int) -> None:
    torch = pytest.importorskip("torch")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: present > 0)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: present)
