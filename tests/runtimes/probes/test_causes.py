"""Failures are counted by class: what real libraries say is put into the right one."""

from __future__ import annotations

import tempfile

import pytest

from ipfs_accelerate_py.errors import MemoryExhausted, MissingExtra, RuntimeUnavailable
from ipfs_accelerate_py.runtimes.probes.causes import FAILURES, cause_of, classify, one_line


@pytest.mark.parametrize(
    ("check", "exc", "failure"),
    [
        ("built", ValueError("hidden size must be divisible by heads"), "configuration"),
        ("built", ImportError("needs timm"), "missing-package"),
        ("ran", MissingExtra("openvino is not installed"), "missing-package"),
        ("ran", RuntimeUnavailable("none of 9 forms of input is taken: TypeError: x"), "input"),
        ("ran", RuntimeError("mat1 and mat2 must have the same dtype, but got Float and BFloat16"), "number-format"),
        ("ran", RuntimeError("Unsupported dtype BFloat16"), "number-format"),
        ("ran", RuntimeError("Input type (float) and bias type (c10::BFloat16) should be the same"), "number-format"),
        ("ran", RuntimeError("\"fft\" not implemented for 'BFloat16'"), "number-format"),
        ("ran", RuntimeError("The size of tensor a (3) must match the size of tensor b (4)"), "shape"),
        ("ran", NotImplementedError("aten::foo is not implemented"), "operator"),
        ("ran", MemoryExhausted("the device has no memory left"), "out-of-memory"),
        ("ran", RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to"), "out-of-memory"),
        ("ran", KeyError("states"), "error"),
        ("exported", RuntimeUnavailable("No conversion rule found for operations: aten::_conj"), "operator"),
        ("exported", RuntimeUnavailable("failed to legalize operation 'torch.operator'"), "operator"),
        ("exported", RuntimeUnavailable("FIX ME: Unimplemented call_function: target=<function sym_ite>"), "operator"),
        ("exported", RuntimeUnavailable("logits differs from torch's: cosine 0.9516"), "disagrees"),
        ("exported", RuntimeUnavailable("the graph lacks the output 'pooler_output'"), "export"),
        ("agrees", ValueError("logits differs"), "disagrees"),
    ],
)
def test_the_class_of_a_failure(check: str, exc: Exception, failure: str) -> None:
    assert classify(check, exc) == failure
    assert failure in FAILURES


def test_the_cause_is_the_first_of_a_chain() -> None:
    def inner() -> None:
        raise KeyError("weights")

    def outer() -> None:
        try:
            inner()
        except KeyError as exc:
            raise RuntimeUnavailable("model 'x' cannot be loaded") from exc

    with pytest.raises(RuntimeUnavailable) as raised:
        outer()
    assert cause_of(raised.value).startswith("KeyError: 'weights' [")
    assert cause_of(raised.value).endswith(" inner]")


def test_a_reason_is_one_line_without_folders_of_this_machine() -> None:
    line = one_line(ValueError("no\n such  file /some/where/lib/python3.11/site-packages/torch/nn/a.py"))
    assert line == "ValueError: no such file torch/nn/a.py"
    line = one_line(ValueError(f"at /some/where/ipfs_accelerate_py/a.py of {tempfile.gettempdir()}/probe-x/b"))
    assert line == "ValueError: at ipfs_accelerate_py/a.py of (a folder for the purpose)"
    assert len(one_line(ValueError("x" * 1000))) == 400
