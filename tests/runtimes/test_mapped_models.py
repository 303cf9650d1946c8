"""The mapped models by their types' names: each answers its own task, sync and async, one input and several.

All of them on the processor. On OpenVINO, where making a graph takes seconds, one of each way that it has: ``make
local`` asks all of them there too, compares both devices' answers and, with ``OUT=``, writes what came of each.
"""

from __future__ import annotations

from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest

from ipfs_accelerate_py import ipfs_accelerate_py
from ipfs_accelerate_py.runtimes.models import mapped_models

pytest.importorskip("torch", reason="the [local] extra is not installed")
# Of Transformers and PyTorch, about tiny models' own settings (several limits of length, parts of no elements).
pytestmark = [
    pytest.mark.filterwarnings("ignore:Initializing zero-element tensors:UserWarning"),
]

#: A network, a decoder with state, an encoder before a PyTorch decoder, two towers, pictures of any size, recordings.
OPENVINO = ("distilbert", "gpt2", "t5", "clip", "convnext", "hubert")
#: A trace gives the same graph as Transformers' exporter, which is tried first otherwise, in a part of the time.
QUICKLY = {"engine": {"trace_first": True}}


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("mapped")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("IPFS_ACCELERATE_MODELS", str(folder))
        patch.setenv("IPFS_ACCELERATE_CACHE", str(tmp_path_factory.mktemp("mapped-cache")))
        yield folder


@pytest.fixture(scope="module")
def accelerate(root: Path) -> Iterator[ipfs_accelerate_py]:
    """One for all types, so that what begins with the first model is paid once."""
    with ipfs_accelerate_py() as found:
        yield found


def test_there_are_as_many_as_there_were() -> None:
    assert len(mapped_models()) == 47


@pytest.mark.parametrize("model_type", list(mapped_models()))
def test_on_the_processor(accelerate: ipfs_accelerate_py, root: Path, model_type: str) -> None:
    from bench.mapped_models import examine, make_models

    make_models(root, [model_type])
    row = examine(accelerate, model_type, "cpu")
    assert not row.reason, row.reason
    assert row.engine.startswith("torch ")


@pytest.mark.skipif(find_spec("openvino") is None, reason="the [openvino] extra is not installed")
@pytest.mark.parametrize("model_type", OPENVINO)
def test_on_openvino(accelerate: ipfs_accelerate_py, root: Path, model_type: str) -> None:
    from bench.mapped_models import examine, make_models

    make_models(root, [model_type])
    row = examine(accelerate, model_type, "openvino", QUICKLY)
    row.compare(examine(accelerate, model_type, "cpu"))
    assert not row.reason, row.reason
    assert row.engine.startswith("openvino ")
